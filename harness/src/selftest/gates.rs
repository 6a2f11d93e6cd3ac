//! Gates on simulated loads: how often what is fast enough fails, what is too slow passes, and intervals miss the truth.

use super::Row;
use super::series::{KINDS, Kind, Machine};
use crate::gates::of_series;
use crate::load::alpha_of;
use crate::statistics::{design_effect, quantile_interval, share_bounds};
use fact_reports::run::Outcome;

const LIMIT_NS: f64 = 50e6;
const POINT: f64 = 0.95;
/// Requests of one class between two looks.
const BETWEEN_LOOKS: usize = 300;
const LOOKS: u32 = 4;
/// One of so many requests goes to the target that answers at once.
const PROBES: usize = 5;
/// Wrong in at most one run of a hundred.
const SELDOM: (f64, f64) = (0.0, 0.01);
/// An interval of 95 %.
const COVERED: (f64, f64) = (0.935, 0.965);

pub(super) fn rows(runs: u32, seed: u64) -> Vec<Row> {
    let mut rows = Vec::new();
    for (kind, name) in KINDS {
        let times = |share: f64, outcome| {
            let wrong = |run: &u32| gate(kind, share * LIMIT_NS, seed, *run) == outcome;
            tally((0..runs).filter(wrong).count())
        };
        let case = |truth: &str| format!("p95 {truth} the limit, {name}");
        let failed = times(0.8, Outcome::Failed);
        rows.push(Row::new(&case("at 0.8 of"), "failed", runs, failed, SELDOM));
        let passed = times(1.25, Outcome::Passed);
        rows.push(Row::new(
            &case("at 1.25 of"),
            "passed",
            runs,
            passed,
            SELDOM,
        ));
        // Whoever stands on the limit has both errors; all looks together may spend 5 % on each.
        let failed = times(1.0, Outcome::Failed);
        rows.push(Row::new(&case("at"), "failed", runs, failed, (0.0, 0.05)));
    }
    for (kind, name) in KINDS.into_iter().filter(|(kind, _)| *kind != Kind::Bursts) {
        for point in [0.5, 0.95] {
            let covers = |run: &u32| quantile_is_covered(kind, point, seed, *run);
            let covered = tally((0..runs).filter(covers).count());
            let case = format!(
                "95 % interval of the {:.0}th percentile, {name}",
                point * 100.0
            );
            rows.push(Row::new(&case, "covers the truth", runs, covered, COVERED));
        }
    }
    let covered = tally((0..runs).filter(|run| share_is_covered(seed, *run)).count());
    let case = "95 % interval of a share";
    rows.push(Row::new(case, "covers the truth", runs, covered, COVERED));
    rows
}

/// A load as it is looked at in reality, again and again until it is decided.
fn gate(kind: Kind, true_ns: f64, seed: u64, run: u32) -> Outcome {
    let mut machine = Machine::new(seed, run);
    let (mut times, mut noise) = (Vec::new(), Vec::new());
    for look in 1..=LOOKS {
        for at in 0..BETWEEN_LOOKS {
            let request = machine.request(kind, POINT, true_ns);
            times.push(request.ns);
            if at % PROBES == 0 {
                noise.push(request.noise_ns);
            }
        }
        let judged = of_series(&times, POINT, LIMIT_NS, &noise, alpha_of(look, LOOKS));
        if judged.outcome != Outcome::Inconclusive {
            return judged.outcome;
        }
    }
    Outcome::Inconclusive
}

/// Enough samples for correlated ones to be worth some hundred.
const SAMPLES: usize = 3000;

fn quantile_is_covered(kind: Kind, point: f64, seed: u64, run: u32) -> bool {
    const TRUE_NS: u64 = 10_000_000;
    let mut machine = Machine::new(seed ^ 1, run);
    let times: Vec<u64> = (0..SAMPLES)
        .map(|_| machine.request(kind, point, 1e7).ns)
        .collect();
    let mut ordered = times.clone();
    ordered.sort_unstable();
    let own = crate::statistics::quantile(&ordered, point).unwrap_or_default();
    let above: Vec<bool> = times.iter().map(|time| *time > own).collect();
    let (from, to) = quantile_interval(&ordered, point, design_effect(&above));
    from.is_none_or(|from| from <= TRUE_NS) && to.is_none_or(|to| TRUE_NS <= to)
}

fn share_is_covered(seed: u64, run: u32) -> bool {
    let mut machine = Machine::new(seed ^ 2, run);
    let all = 0..SAMPLES;
    // One in ten is above 1.2816 standard deviations.
    let count = all.filter(|_| machine.normal() > 1.281_552).count();
    #[expect(clippy::cast_precision_loss, reason = "a few thousand")]
    let (lower, upper) = share_bounds(count as f64, SAMPLES as f64, 0.025);
    lower <= 0.1 && 0.1 <= upper
}

fn tally(count: usize) -> u32 {
    u32::try_from(count).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_far_from_its_limit_is_decided_and_rightly() {
        for (kind, name) in KINDS {
            let (fast, slow) = (
                gate(kind, 0.5 * LIMIT_NS, 1, 0),
                gate(kind, 2.0 * LIMIT_NS, 1, 0),
            );
            if kind == Kind::Bursts {
                assert_ne!((fast, slow), (Outcome::Failed, Outcome::Passed), "{name}");
            } else {
                assert_eq!((fast, slow), (Outcome::Passed, Outcome::Failed), "{name}");
            }
        }
    }
}
