//! Holds what was measured against a limit: passed, failed, or not enough evidence yet.
//!
//! A share has exact binomial bounds, with correlated samples counted by what they are worth, and each look at a load
//! that may go on spends its part of the error that is allowed. Noise only ever makes requests slower: so what passes
//! on a noisy machine has passed, and what fails there has failed only if it would fail with the noise taken off.

use super::{Level, Limit, Subject, Time};
use crate::load::Measured;
use crate::statistics::{as_f64, design_effect, quantile, quantile_interval, share_bounds};
use fact_reports::run::{Gate, Outcome};
use std::fmt::Write as _;

/// Above this share of the limit, the noise floor is taken off before anything fails.
const LOUD: f64 = 0.2;

/// Holds what was measured against a limit; wrong with probability `alpha` at most in either direction.
pub fn judge(limit: &Limit, measured: &Measured, alpha: f64) -> Gate {
    let gate = match &limit.subject {
        Subject::Quantile {
            class,
            time,
            quantile,
        } => judge_quantile(limit, class, *time, *quantile, measured, alpha),
        Subject::Success => judge_success(limit, measured, alpha),
        Subject::Answered => judge_answered(limit, measured, alpha),
        Subject::Wrong => judge_wrong(limit, measured),
        Subject::Throughput => judge_rate(limit, measured, measured.answered),
        Subject::Goodput => judge_rate(limit, measured, measured.succeeded),
        Subject::HitCostReduction => judge_cost(limit, measured),
        Subject::CostPerAnswer => judge_figure(
            limit,
            (measured.succeeded > 0).then(|| measured.billed_usd / as_f64(measured.succeeded)),
            measured.succeeded,
            |usd| format!("${usd:.6}"),
            "the ledger's sum over the answers; exact, no estimate",
        ),
        Subject::ClaudeCalls => judge_figure(
            limit,
            (measured.miss_calls.answers > 0)
                .then(|| as_f64(measured.miss_calls.calls) / as_f64(measured.miss_calls.answers)),
            measured.miss_calls.answers,
            |calls| format!("{calls:.3}"),
            "calls that the mock saw, over the misses; exact, no estimate",
        ),
        Subject::Processor => judge_figure(
            limit,
            measured
                .target_cpu_seconds
                .map(|seconds| seconds * 1e9 / as_f64(measured.sent.max(1))),
            measured.sent,
            |ns| format!("{:.3} ms", ns / 1e6),
            "the target's processor time over all requests, the warm-up's too",
        ),
        Subject::Memory => judge_figure(
            limit,
            measured.target_peak_bytes.map(as_f64),
            measured.sent,
            |bytes| format!("{:.1} MiB", bytes / 1_048_576.0),
            "the target's peak resident memory",
        ),
    };
    match (limit.level, gate.outcome) {
        (Level::Warn, Outcome::Failed | Outcome::Inconclusive) => Gate {
            outcome: Outcome::Warned,
            ..gate
        },
        _ => gate,
    }
}

/// A gate on something that never happened proves nothing: it fails.
fn never_happened(limit: &Limit, what: &str) -> Gate {
    gate(
        limit,
        "nothing",
        "none",
        0,
        Outcome::Failed,
        format!("no {what} was seen; a gate on something that never happened cannot pass"),
    )
}

fn gate(
    limit: &Limit,
    measured: &str,
    interval: &str,
    samples: u64,
    outcome: Outcome,
    why: String,
) -> Gate {
    Gate {
        name: limit.name.clone(),
        limit: limit.text.clone(),
        measured: measured.to_owned(),
        interval: interval.to_owned(),
        samples,
        outcome,
        why,
    }
}

/// What a series of times comes to against a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// Passed, failed or inconclusive.
    pub outcome: Outcome,
    /// How many were slower than the limit.
    pub above: u64,
    /// The share that is surely slower, and the share that is surely not exceeded.
    pub bounds: (f64, f64),
    /// How many samples are worth one.
    pub effect: f64,
    /// What was taken off before anything failed, in nanoseconds.
    pub credit: f64,
}

/// Judges times in the order in which they were due; `noise` is what a request that costs nothing took meanwhile.
pub fn of_series(times: &[u64], point: f64, limit: f64, noise: &[u64], alpha: f64) -> Judged {
    let mut ordered = times.to_vec();
    ordered.sort_unstable();
    of_ordered(times, &ordered, point, limit, noise, alpha)
}

fn of_ordered(
    times: &[u64],
    ordered: &[u64],
    point: f64,
    limit: f64,
    noise: &[u64],
    alpha: f64,
) -> Judged {
    let total = count(times.len());
    let effect = effect(times, ordered, point, limit);
    let allowed = 1.0 - point;
    let bounds = |limit: f64| {
        let above = total - count(ordered.partition_point(|sample| as_f64(*sample) <= limit));
        let (k, n) = (as_f64(above) / effect, as_f64(total) / effect);
        (above, share_bounds(k, n, alpha))
    };
    let (above, (lower, upper)) = bounds(limit);
    let mut noise = noise.to_vec();
    noise.sort_unstable();
    let floor = quantile(&noise, point).map_or(0.0, as_f64);
    let credit = if floor > LOUD * limit { floor } else { 0.0 };
    let surely_broken = lower > allowed && bounds(limit + credit).1.0 > allowed;
    Judged {
        outcome: by_bounds(surely_broken, upper <= allowed),
        above,
        bounds: (lower, upper),
        effect,
        credit,
    }
}

/// How many samples are worth one: by those above the limit, and by those above the quantile itself, which there
/// always are.
fn effect(times: &[u64], ordered: &[u64], point: f64, limit: f64) -> f64 {
    let above = |bound: f64| {
        let events: Vec<bool> = times.iter().map(|sample| as_f64(*sample) > bound).collect();
        design_effect(&events)
    };
    let own = quantile(ordered, point).map_or(0.0, as_f64);
    above(own).max(above(limit))
}

fn judge_quantile(
    limit: &Limit,
    class: &str,
    time: Time,
    point: f64,
    measured: &Measured,
    alpha: f64,
) -> Gate {
    let of_class = measured.times(time).get(class);
    let Some(samples) = of_class.filter(|samples| !samples.is_empty()) else {
        return never_happened(limit, &format!("request of class `{class}`"));
    };
    let mut ordered = samples.clone();
    ordered.sort_unstable();
    let noise: &[u64] = if time == Time::Own {
        &[]
    } else {
        &measured.noise_ns
    };
    let judged = of_ordered(samples, &ordered, point, limit.value, noise, alpha);
    let total = count(ordered.len());
    let (from, to) = quantile_interval(&ordered, point, judged.effect);
    let end = |value: Option<u64>, open: &str| value.map_or_else(|| open.to_owned(), in_words);
    let mut why = format!(
        "{} of {total} were slower; with {:.1} % confidence at most {:.2} % and at least {:.2} % are, {:.1} % may be",
        judged.above,
        (1.0 - alpha) * 100.0,
        judged.bounds.1 * 100.0,
        judged.bounds.0 * 100.0,
        (1.0 - point) * 100.0
    );
    if judged.effect > 1.0 {
        let _ = write!(
            why,
            "; they come in clusters and are worth {:.0} independent ones",
            as_f64(total) / judged.effect
        );
    }
    if judged.credit > 0.0 {
        let _ = write!(
            why,
            "; a request that costs nothing took {:.3} ms meanwhile, over a fifth of the limit, so that it fails only if it would with so much taken off",
            judged.credit / 1e6
        );
    }
    gate(
        limit,
        &quantile(&ordered, point).map(in_words).unwrap_or_default(),
        &format!("{} to {}", end(from, "0"), end(to, "unknown")),
        total,
        judged.outcome,
        why,
    )
}

fn judge_wrong(limit: &Limit, measured: &Measured) -> Gate {
    let Some(wrong) = measured.wrong.filter(|_| measured.succeeded > 0) else {
        return never_happened(limit, "answer that could be compared");
    };
    let outcome = by_bounds(as_f64(wrong) > limit.value, as_f64(wrong) <= limit.value);
    gate(
        limit,
        &wrong.to_string(),
        "exact",
        measured.succeeded + wrong,
        outcome,
        "every answer was compared with what it has to be".to_owned(),
    )
}

fn judge_success(limit: &Limit, measured: &Measured, alpha: f64) -> Gate {
    let (succeeded, all) = (measured.succeeded, measured.measured);
    let effect = design_effect(&measured.failed);
    let why = |failed| format!("{failed} of {all} failed");
    judge_share(limit, succeeded, all, effect, alpha, why)
}

/// A share of requests of which `effect` are worth one.
fn judge_share(
    limit: &Limit,
    succeeded: u64,
    all: u64,
    effect: f64,
    alpha: f64,
    why: impl Fn(u64) -> String,
) -> Gate {
    if all == 0 {
        return never_happened(limit, "request");
    }
    let failed = all - succeeded;
    let (k, n) = (as_f64(failed) / effect, as_f64(all) / effect);
    let (lower, upper) = share_bounds(k, n, alpha);
    let allowed = 1.0 - limit.value;
    let outcome = by_bounds(lower > allowed, upper <= allowed);
    let (lower, upper) = share_bounds(k, n, 0.025);
    gate(
        limit,
        &format!("{:.2} %", as_f64(succeeded) / as_f64(all) * 100.0),
        &format!(
            "{:.2} to {:.2} %",
            (1.0 - upper) * 100.0,
            (1.0 - lower) * 100.0
        ),
        all,
        outcome,
        why(failed),
    )
}

/// What is excused fails on a schedule, not in clusters by chance: each request is one sample.
fn judge_answered(limit: &Limit, measured: &Measured, alpha: f64) -> Gate {
    let all = measured.measured + measured.excused;
    let why = |failed| {
        let excused = measured.excused;
        format!(
            "{failed} of {all} were not answered, {excused} of them while an upstream was broken"
        )
    };
    judge_share(limit, measured.succeeded, all, 1.0, alpha, why)
}

fn judge_rate(limit: &Limit, measured: &Measured, answers: u64) -> Gate {
    let rate = (measured.seconds > 0.0 && measured.measured > 0)
        .then(|| as_f64(answers) / measured.seconds);
    let why = format!("{answers} answers in {:.1} s", measured.seconds);
    let Some(rate) = rate else {
        return never_happened(limit, "request");
    };
    let outcome = by_bounds(rate < limit.value, rate >= limit.value);
    gate(
        limit,
        &format!("{rate:.1}/s"),
        "exact",
        answers,
        outcome,
        why,
    )
}

fn judge_cost(limit: &Limit, measured: &Measured) -> Gate {
    let Some(hits) = &measured.hit_cost else {
        return never_happened(limit, "billed conversation of the repeated question");
    };
    let reduction = 1.0 - hits.billed_usd / hits.uncached_usd;
    let outcome = by_bounds(reduction < limit.value, reduction >= limit.value);
    let why = format!(
        "the ledger billed ${:.6} for {} answers that would have cost ${:.6} uncached; exact, no estimate",
        hits.billed_usd, hits.answers, hits.uncached_usd
    );
    gate(
        limit,
        &format!("{:.2} %", reduction * 100.0),
        "exact",
        hits.answers,
        outcome,
        why,
    )
}

/// A figure that is no sample of anything.
fn judge_figure(
    limit: &Limit,
    figure: Option<f64>,
    samples: u64,
    in_words: impl Fn(f64) -> String,
    why: &str,
) -> Gate {
    let Some(figure) = figure.filter(|figure| figure.is_finite()) else {
        return never_happened(limit, "such figure");
    };
    let outcome = by_bounds(figure > limit.value, figure <= limit.value);
    gate(
        limit,
        &in_words(figure),
        "exact",
        samples,
        outcome,
        why.to_owned(),
    )
}

fn by_bounds(surely_broken: bool, surely_kept: bool) -> Outcome {
    match (surely_broken, surely_kept) {
        (true, _) => Outcome::Failed,
        (_, true) => Outcome::Passed,
        _ => Outcome::Inconclusive,
    }
}

fn count(length: usize) -> u64 {
    u64::try_from(length).unwrap_or(u64::MAX)
}

fn in_words(nanoseconds: u64) -> String {
    format!("{:.3} ms", as_f64(nanoseconds) / 1e6)
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;
    use std::collections::BTreeMap;

    fn measured(hits_ns: Vec<u64>) -> Measured {
        Measured {
            response_ns: BTreeMap::from([("hit".to_owned(), hits_ns)]),
            ..Measured::default()
        }
    }

    #[test]
    fn no_gate_passes_on_an_empty_sample() {
        for (name, text) in [
            ("hit.p95", "<= 50ms"),
            ("hit.own.p95", "<= 50ms"),
            ("success", ">= 0%"),
            ("goodput", ">= 0/s"),
            ("cost.reduction.hit", ">= 0%"),
            ("cost.per_answer", "<= $1"),
            ("claude.calls.miss", "<= 1"),
            ("target.processor", "<= 1s"),
            ("target.memory", "<= 1GiB"),
        ] {
            let gate = judge(&parse(name, text).unwrap(), &Measured::default(), 0.05);
            assert_eq!((gate.outcome, gate.samples), (Outcome::Failed, 0), "{name}");
        }
    }

    #[test]
    fn few_fast_samples_are_inconclusive_and_enough_of_them_pass() {
        let limit = parse("hit.p95", "<= 50ms").unwrap();
        for (ns, number, outcome) in [
            (1_000_000, 58, Outcome::Inconclusive),
            (1_000_000, 59, Outcome::Passed),
            (50_000_000, 59, Outcome::Passed),
            (60_000_000, 59, Outcome::Failed),
        ] {
            let gate = judge(&limit, &measured(vec![ns; number]), 0.05);
            assert_eq!(gate.outcome, outcome, "{number} of {ns} ns");
        }
        let an_early_look = judge(&limit, &measured(vec![1_000_000; 59]), 0.018);
        assert_eq!(an_early_look.outcome, Outcome::Inconclusive);
    }

    #[test]
    fn what_fails_in_noise_has_failed_only_if_it_would_without() {
        let limit = parse("hit.p95", "<= 50ms").unwrap();
        for (slow_ms, noise_ms, outcome) in [
            (60, 0, Outcome::Failed),
            (60, 9, Outcome::Failed),
            (60, 20, Outcome::Inconclusive),
            (90, 20, Outcome::Failed),
            (40, 30, Outcome::Passed),
        ] {
            let noisy = Measured {
                noise_ns: vec![noise_ms * 1_000_000; 50],
                ..measured(vec![slow_ms * 1_000_000; 200])
            };
            let gate = judge(&limit, &noisy, 0.05);
            assert_eq!(
                gate.outcome, outcome,
                "{slow_ms} ms in {noise_ms} ms of noise"
            );
        }
    }

    #[test]
    fn clusters_of_slow_requests_are_less_evidence() {
        let limit = parse("hit.p95", "<= 50ms").unwrap();
        // Eight in a hundred are slow, once scattered and once in one block of each three hundred.
        let scattered = (0..900).map(|at| if at % 25 < 2 { 60_000_000 } else { 1_000_000 });
        let clustered = (0..900).map(|at| if at % 300 < 24 { 60_000_000 } else { 1_000_000 });
        let outcome = |times: Vec<u64>| judge(&limit, &measured(times), 0.05).outcome;
        assert_eq!(outcome(scattered.collect()), Outcome::Failed);
        assert_eq!(outcome(clustered.collect()), Outcome::Inconclusive);
    }
}
