//! The latency distribution of every class, drawn: time to the right (logarithmic), percentile upwards, and the
//! upward axis stretched so that each further nine takes as much room as the one before.

use super::load::milliseconds;
use crate::escape::xml;
use crate::run::{Class, Gate, Load};
use std::fmt::Write as _;

const LEFT: f64 = 52.0;
const RIGHT: f64 = 700.0;
const TOP: f64 = 16.0;
const BOTTOM: f64 = 268.0;
/// Number of nines at the upper edge.
const NINES: f64 = 3.0;
/// Classes have this many colours, used in turn.
const COLOURS: usize = 4;

/// The decades, as powers of ten of a millisecond, that the picture shows.
struct Decades {
    from: f64,
    to: f64,
}

impl Decades {
    fn of(load: &Load, gates: &[Gate]) -> Self {
        let hdrs = load
            .classes
            .values()
            .filter_map(|class| class.response.to_hdr());
        let ends = hdrs
            .filter(|hdr| !hdr.is_empty())
            .flat_map(|hdr| [in_milliseconds(hdr.min()), in_milliseconds(hdr.max())]);
        let limits = gates
            .iter()
            .filter_map(|gate| limit(gate).map(|(_, _, at)| at));
        let decades = ends
            .chain(limits)
            .map(|value| value.clamp(1e-3, 1e5).log10());
        let (from, to) = decades.fold((f64::INFINITY, f64::NEG_INFINITY), |(from, to), value| {
            (from.min(value), to.max(value))
        });
        if from > to {
            return Self { from: 0.0, to: 2.0 };
        }
        Self {
            from: from.floor(),
            to: to.ceil().max(from.floor() + 1.0),
        }
    }

    fn x(&self, milliseconds: f64) -> f64 {
        let decade = milliseconds.max(1e-9).log10().clamp(self.from, self.to);
        LEFT + (decade - self.from) / (self.to - self.from) * (RIGHT - LEFT)
    }
}

fn y(share: f64) -> f64 {
    let nines = -(1.0 - share).max(1e-9).log10();
    BOTTOM - nines.min(NINES) / NINES * (BOTTOM - TOP)
}

/// The figure with its axes, curves, limits and legend.
pub(super) fn figure(load: &Load, gates: &[Gate], page: &mut String) {
    let decades = Decades::of(load, gates);
    page.push_str("<figure><svg viewBox=\"0 0 720 312\" role=\"img\" aria-label=\"latency distribution of each class; the figures are in the table below\">\n");
    axes(&decades, page);
    for (number, (name, class)) in load.classes.iter().enumerate() {
        let colour = number % COLOURS;
        curve(&decades, class, colour, page);
        for gate in gates {
            if let Some((_, share, at)) = limit(gate).filter(|(of, ..)| *of == name) {
                let (x, top, bottom) = (decades.x(at), y(share), y(0.0));
                let _ = writeln!(
                    page,
                    "<line class=\"limit s{colour}\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{bottom:.1}\" y2=\"{top:.1}\"/><circle class=\"f{colour}\" cx=\"{x:.1}\" cy=\"{top:.1}\" r=\"4\"><title>{} {}</title></circle>",
                    xml(&gate.name),
                    xml(&gate.limit)
                );
            }
        }
        let at = 62.0 + 160.0 * f64::from(u32::try_from(number).unwrap_or(0));
        let _ = writeln!(
            page,
            "<rect class=\"f{colour}\" x=\"{at:.0}\" y=\"298\" width=\"14\" height=\"4\"/><text x=\"{:.0}\" y=\"304\">{}, {} answers</text>",
            at + 20.0,
            xml(name),
            class.response.count
        );
    }
    page.push_str("</svg>\n<figcaption class=\"dim small\">Share of answers (upwards) that took at most so long (to the right). A dashed line is a limit: it is kept where the curve passes above its dot.</figcaption></figure>\n");
}

fn axes(decades: &Decades, page: &mut String) {
    let mut decade = decades.from;
    while decade <= decades.to {
        let value = 10_f64.powf(decade);
        let label = if value >= 1_000.0 {
            format!("{:.0} s", value / 1_000.0)
        } else if value < 1.0 {
            format!("{:.0} µs", value * 1_000.0)
        } else {
            format!("{value:.0} ms")
        };
        let x = decades.x(value);
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{x:.1}\" x2=\"{x:.1}\" y1=\"{TOP}\" y2=\"{BOTTOM}\"/><text x=\"{x:.1}\" y=\"{:.0}\" text-anchor=\"middle\">{label}</text>",
            BOTTOM + 16.0
        );
        decade += 1.0;
    }
    for (share, label) in [
        (0.0, "0 %"),
        (0.5, "50 %"),
        (0.9, "90 %"),
        (0.95, "95 %"),
        (0.99, "99 %"),
        (0.999, "99.9 %"),
    ] {
        let y = y(share);
        let _ = writeln!(
            page,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{RIGHT}\" y1=\"{y:.1}\" y2=\"{y:.1}\"/><text x=\"{:.0}\" y=\"{:.1}\" text-anchor=\"end\">{label}</text>",
            LEFT - 6.0,
            y + 4.0
        );
    }
}

fn curve(decades: &Decades, class: &Class, colour: usize, page: &mut String) {
    const POINTS: u32 = 240;
    let Some(hdr) = class.response.to_hdr().filter(|hdr| !hdr.is_empty()) else {
        return;
    };
    let mut points = String::new();
    for step in 0..=POINTS {
        let share = 1.0 - 10_f64.powf(-NINES * f64::from(step) / f64::from(POINTS));
        let at = in_milliseconds(hdr.value_at_quantile(share));
        let _ = write!(points, "{:.1},{:.1} ", decades.x(at), y(share));
    }
    let p95 = milliseconds(class.response.p95_ms);
    let _ = writeln!(
        page,
        "<polyline class=\"curve s{colour}\" points=\"{}\"><title>p95 {p95} ms</title></polyline>",
        points.trim_end()
    );
}

/// Class, share and milliseconds of a gate on a percentile: `hit.p95` with `<= 50ms` is (`hit`, 0.95, 50).
fn limit(gate: &Gate) -> Option<(&str, f64, f64)> {
    let (class, point) = gate.name.split_once(".p")?;
    let share = point.parse::<f64>().ok()? / 100.0;
    let text = gate.limit.strip_prefix("<=")?.trim();
    let units = [
        ("ns", 1e-6),
        ("us", 1e-3),
        ("µs", 1e-3),
        ("ms", 1.0),
        ("s", 1e3),
    ];
    let at = units.iter().find_map(|(unit, factor)| {
        Some(text.strip_suffix(unit)?.trim().parse::<f64>().ok()? * factor)
    })?;
    (share > 0.0 && share < 1.0 && at > 0.0).then_some((class, share, at))
}

#[expect(
    clippy::cast_precision_loss,
    reason = "latencies are far below 2^52 ns"
)]
fn in_milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_gates_on_percentiles_are_drawn() {
        let gate = |name: &str, limit: &str| crate::run::Gate {
            name: name.into(),
            limit: limit.into(),
            ..crate::sample::passed().scenarios[1].gates[0].clone()
        };
        let drawn = gate("miss.p95", "<= 0.14s");
        let (class, share, at) = limit(&drawn).unwrap();
        assert_eq!(class, "miss");
        assert!((share - 0.95).abs() < 1e-9 && (at - 140.0).abs() < 1e-9);
        assert!(
            limit(&gate("success", ">= 99.5%")).is_none()
                && limit(&gate("cost.reduction.hit", ">= 90%")).is_none()
        );
    }
}
