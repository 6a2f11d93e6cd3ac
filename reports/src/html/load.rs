//! The part of the page about loads: gates, distributions, and where the time and the money went.

use super::{badge, curve};
use crate::escape::xml;
use crate::run::{Class, Histogram, Load, Noise, Scenario};
use std::fmt::Write as _;

/// All gates of the run.
pub(super) fn gates(scenarios: &[Scenario], page: &mut String) {
    page.push_str("<h2>Gates</h2>\n<div class=\"scroll\"><table><thead><tr><th>Scenario</th><th>Gate</th><th>Limit</th><th class=\"n\">Measured</th><th>Interval</th><th class=\"n\">Samples</th><th>Outcome</th></tr></thead>\n");
    for scenario in scenarios {
        for gate in &scenario.gates {
            let doubt = if scenario.invalid.is_empty() {
                ""
            } else {
                " <span class=\"doubt\">not to be believed</span>"
            };
            let _ = writeln!(
                page,
                "<tr><td class=\"w\">{}</td><td class=\"w\">{}</td><td class=\"w\">{}</td><td class=\"n\">{}</td><td class=\"w\">{}</td><td class=\"n\">{}</td><td>{}{doubt}<br><span class=\"dim small\">{}</span></td></tr>",
                xml(&scenario.id),
                xml(&gate.name),
                xml(&gate.limit),
                xml(&gate.measured),
                xml(&gate.interval),
                gate.samples,
                badge(gate.outcome),
                xml(&gate.why)
            );
        }
    }
    page.push_str("</table></div>\n");
}

/// One load.
pub(super) fn section(scenario: &Scenario, page: &mut String) {
    let Some(load) = &scenario.load else { return };
    let _ = writeln!(
        page,
        "<h2>{}</h2>\n<p>{}</p>\n<p class=\"dim\">{}. {} requests planned, {} sent, {} of those after the warm-up answered as they should.</p>",
        xml(&scenario.id),
        xml(&scenario.title),
        xml(&load.description),
        load.planned,
        load.sent,
        load.succeeded
    );
    for why in &scenario.invalid {
        let _ = writeln!(
            page,
            "<p class=\"doubt\">Not to be believed: {}</p>",
            xml(why)
        );
    }
    curve::figure(load, &scenario.gates, page);
    times(load, page);
    split(load, page);
    meter(load, page);
}

fn times(load: &Load, page: &mut String) {
    page.push_str("<div class=\"scroll\"><table><thead><tr><th>Milliseconds</th><th class=\"n\">Answers</th><th class=\"n\">p50</th><th class=\"n\">p90</th><th class=\"n\">p95</th><th class=\"n\">p99</th><th class=\"n\">Longest</th><th class=\"n\">Own p50</th><th class=\"n\">Own p95</th><th class=\"n\">Claude, Arcade p95</th><th class=\"n\">Database p95</th></tr></thead>\n");
    for (name, class) in &load.classes {
        let Class {
            response,
            own,
            upstream,
            database,
            ..
        } = class;
        let _ = write!(
            page,
            "<tr><td>{}</td><td class=\"n\">{}</td>",
            xml(name),
            response.count
        );
        for value in [
            response.p50_ms,
            response.p90_ms,
            response.p95_ms,
            response.p99_ms,
            response.max_ms,
            own.p50_ms,
            own.p95_ms,
            upstream.p95_ms,
            database.p95_ms,
        ] {
            let _ = write!(page, "<td class=\"n\">{}</td>", milliseconds(value));
        }
        page.push_str("</tr>\n");
    }
    page.push_str("</table></div>\n<p class=\"dim small\">From the due time to the last byte; failures count as slower than any limit. Own time is what neither the mocks nor the database took.</p>\n");
}

/// Where the mean time of each class went, as one bar.
fn split(load: &Load, page: &mut String) {
    page.push_str("<table><thead><tr><th>Mean</th><th class=\"n\">Own</th><th class=\"n\">Claude, Arcade</th><th class=\"n\">Database</th><th style=\"width:45%\">Shares: <span style=\"color:var(--c0)\">own</span>, <span style=\"color:var(--c1)\">Claude and Arcade</span>, <span style=\"color:var(--c2)\">database</span></th></tr></thead>\n");
    for (name, class) in &load.classes {
        let parts = [
            class.own.mean_ms,
            class.upstream.mean_ms,
            class.database.mean_ms,
        ];
        let _ = write!(page, "<tr><td>{}</td>", xml(name));
        for part in parts {
            let _ = write!(page, "<td class=\"n\">{}</td>", milliseconds(part));
        }
        page.push_str(
            "<td><svg viewBox=\"0 0 400 14\" role=\"img\" aria-label=\"shares of the mean time\">",
        );
        let total: f64 = parts.iter().sum();
        let mut from = 0.0;
        for (number, part) in parts.into_iter().enumerate().filter(|_| total > 0.0) {
            let width = part / total * 400.0;
            let _ = write!(
                page,
                "<rect class=\"f{number}\" x=\"{from:.1}\" y=\"1\" width=\"{width:.1}\" height=\"12\"/>"
            );
            from += width;
        }
        page.push_str("</svg></td></tr>\n");
    }
    page.push_str("</table>\n<p class=\"dim small\">Means add up; percentiles do not.</p>\n");
}

/// What it cost, and how well it was measured.
fn meter(load: &Load, page: &mut String) {
    let cost = &load.cost;
    let saved = if cost.uncached_usd > 0.0 {
        format!(" instead of ${:.4} uncached", cost.uncached_usd)
    } else {
        String::new()
    };
    let mut rows = vec![
        (
            "Billed",
            format!(
                "${:.4}{saved}, for {} conversations",
                cost.billed_usd, cost.conversations
            ),
        ),
        (
            "Tokens",
            format!(
                "{} input, {} written to and {} read from the provider's cache, {} output",
                cost.input_tokens,
                cost.cache_write_tokens,
                cost.cache_read_tokens,
                cost.output_tokens
            ),
        ),
        (
            "Sent late",
            format!(
                "p50 {} ms, p99 {} ms, of {} requests",
                milliseconds(load.lag.p50_ms),
                milliseconds(load.lag.p99_ms),
                load.lag.count
            ),
        ),
        (
            "Mocks late",
            format!(
                "p50 {} ms, p99 {} ms, of {} calls",
                milliseconds(load.mock_lag.p50_ms),
                milliseconds(load.mock_lag.p99_ms),
                load.mock_lag.count
            ),
        ),
    ];
    rows.extend(load.noise.iter().flat_map(noise));
    rows.extend(
        load.target_cpu_seconds
            .map(|seconds| ("Processor time", format!("{seconds:.2} s of the target"))),
    );
    rows.extend(
        load.target_peak_bytes
            .map(|bytes| ("Peak memory", format!("{} MiB of the target", bytes >> 20))),
    );
    page.push_str("<table class=\"facts\">\n");
    for (name, value) in rows {
        let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", xml(&value));
    }
    page.push_str("</table>\n");
}

/// What the machine did meanwhile.
fn noise(noise: &Noise) -> Vec<(&'static str, String)> {
    let late = |histogram: &Histogram| {
        format!(
            "p50 {} ms, p99 {} ms, longest {} ms",
            milliseconds(histogram.p50_ms),
            milliseconds(histogram.p99_ms),
            milliseconds(histogram.max_ms)
        )
    };
    let mut rows = vec![
        (
            "Noise floor",
            format!("{}, for a request that costs nothing", late(&noise.floor)),
        ),
        (
            "Hiccups",
            format!("{}, of a thread that only sleeps", late(&noise.hiccups)),
        ),
    ];
    let taken = [
        noise
            .stolen_percent
            .map(|percent| format!("{percent:.1} % by the hypervisor")),
        noise
            .throttled_ms
            .map(|ms| format!("{} ms by the container's limit", milliseconds(ms))),
    ];
    let taken: Vec<String> = taken.into_iter().flatten().collect();
    if !taken.is_empty() {
        rows.push(("Taken away", taken.join(", ")));
    }
    rows
}

/// Three significant digits or so.
pub(super) fn milliseconds(value: f64) -> String {
    if value == 0.0 {
        "0".to_owned()
    } else if value < 1.0 {
        format!("{value:.3}")
    } else if value < 10.0 {
        format!("{value:.2}")
    } else if value < 1_000.0 {
        format!("{value:.1}")
    } else {
        format!("{value:.0}")
    }
}
