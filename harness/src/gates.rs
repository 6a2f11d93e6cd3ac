//! Limits, and whether what was measured keeps them: pass, fail, or not enough evidence.

use crate::load::Measured;
use crate::statistics::{quantile, quantile_interval, share_bounds};
use fact_reports::run::{Gate, Outcome};

/// What a gate speaks of.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A quantile of the response time of a class, such as `hit.p95`.
    Quantile {
        /// `hit`, `miss` or `tool`.
        class: String,
        /// Between 0 and 1.
        quantile: f64,
    },
    /// The share of requests that succeeded.
    Success,
    /// The share of requests that were answered, those that may fail while an upstream is broken among them.
    Answered,
    /// Answers that are not what they have to be.
    Wrong,
    /// What hits saved of the uncached price.
    HitCostReduction,
}

/// One gate of a scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    /// As it was written, such as `hit.p95`.
    pub name: String,
    /// As it was written, such as `<= 50ms`.
    pub text: String,
    /// What it speaks of.
    pub subject: Subject,
    /// Nanoseconds for a quantile, a share of 1 otherwise.
    pub value: f64,
}

const NAMES: &str = "`hit`, `miss` or `tool` with `.p50 .p90 .p95 .p99`, `success`, `answered`, `wrong`, `cost.reduction.hit`";

/// Reads a gate. The error says what is wrong and what would be right.
pub fn parse(name: &str, text: &str) -> Result<Limit, String> {
    let subject = match name {
        "success" => Subject::Success,
        "answered" => Subject::Answered,
        "wrong" => Subject::Wrong,
        "cost.reduction.hit" => Subject::HitCostReduction,
        _ => {
            let (class, point) = name
                .split_once('.')
                .ok_or_else(|| format!("unknown gate `{name}`; gates are {NAMES}"))?;
            let quantile = match point {
                "p50" => 0.50,
                "p90" => 0.90,
                "p95" => 0.95,
                "p99" => 0.99,
                _ => return Err(format!("unknown gate `{name}`; gates are {NAMES}")),
            };
            if !["hit", "miss", "tool"].contains(&class) {
                return Err(format!("unknown gate `{name}`; gates are {NAMES}"));
            }
            Subject::Quantile {
                class: class.to_owned(),
                quantile,
            }
        }
    };
    let (sign, unit) = match subject {
        Subject::Quantile { .. } => ("<=", "`50ms`, `1.5s`"),
        Subject::Wrong => ("<=", "`0`"),
        _ => (">=", "`99.5%`"),
    };
    let bad = || {
        format!("gate `{name}`: `{text}` is not a limit; write `{sign}` and a value such as {unit}")
    };
    let value = text.trim().strip_prefix(sign).ok_or_else(bad)?.trim();
    let value = match subject {
        Subject::Quantile { .. } => nanoseconds(value),
        Subject::Wrong => value.parse::<u32>().ok().map(f64::from),
        _ => percent(value),
    }
    .ok_or_else(bad)?;
    Ok(Limit {
        name: name.to_owned(),
        text: text.trim().to_owned(),
        subject,
        value,
    })
}

fn nanoseconds(text: &str) -> Option<f64> {
    for (unit, factor) in [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
    ] {
        if let Some(number) = text.strip_suffix(unit) {
            return number
                .trim()
                .parse::<f64>()
                .ok()
                .filter(|n| n.is_finite() && *n > 0.0)
                .map(|n| n * factor);
        }
    }
    None
}

fn percent(text: &str) -> Option<f64> {
    text.strip_suffix('%')?
        .trim()
        .parse::<f64>()
        .ok()
        .filter(|n| (0.0..=100.0).contains(n))
        .map(|n| n / 100.0)
}

/// Holds what was measured against a limit.
pub fn judge(limit: &Limit, measured: &Measured) -> Gate {
    match &limit.subject {
        Subject::Quantile { class, quantile } => judge_quantile(limit, class, *quantile, measured),
        Subject::Success => judge_success(limit, measured, 0),
        Subject::Answered => judge_success(limit, measured, measured.excused),
        Subject::Wrong => judge_wrong(limit, measured),
        Subject::HitCostReduction => judge_cost(limit, measured),
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

fn judge_quantile(limit: &Limit, class: &str, point: f64, measured: &Measured) -> Gate {
    let Some(samples) = measured
        .response_ns
        .get(class)
        .filter(|samples| !samples.is_empty())
    else {
        return never_happened(limit, &format!("request of class `{class}`"));
    };
    let mut ordered = samples.clone();
    ordered.sort_unstable();
    let total = count(ordered.len());
    let above = count(
        ordered
            .iter()
            .filter(|sample| milliseconds(**sample) * 1e6 > limit.value)
            .count(),
    );
    let allowed = 1.0 - point;
    let (lower, upper) = share_bounds(above, total);
    let outcome = by_bounds(lower > allowed, upper <= allowed);
    let (from, to) = quantile_interval(&ordered, point);
    let end = |value: Option<u64>, open: &str| value.map_or_else(|| open.to_owned(), in_words);
    gate(
        limit,
        &quantile(&ordered, point).map(in_words).unwrap_or_default(),
        &format!("{} to {}", end(from, "0"), end(to, "unknown")),
        total,
        outcome,
        format!(
            "{above} of {total} were slower; with 95 % confidence at most {:.2} % and at least {:.2} % are, {:.0} % may be",
            upper * 100.0,
            lower * 100.0,
            allowed * 100.0
        ),
    )
}

fn judge_wrong(limit: &Limit, measured: &Measured) -> Gate {
    let Some(wrong) = measured.wrong.filter(|_| measured.succeeded > 0) else {
        return never_happened(limit, "answer that could be compared");
    };
    #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
    let outcome = by_bounds(wrong as f64 > limit.value, wrong as f64 <= limit.value);
    gate(
        limit,
        &wrong.to_string(),
        "exact",
        measured.succeeded + wrong,
        outcome,
        "every answer was compared with what it has to be".to_owned(),
    )
}

fn judge_success(limit: &Limit, measured: &Measured, excused: u64) -> Gate {
    let all = measured.measured + excused;
    if all == 0 {
        return never_happened(limit, "request");
    }
    let failed = all - measured.succeeded;
    let (lower, upper) = share_bounds(failed, all);
    let allowed = 1.0 - limit.value;
    let outcome = by_bounds(lower > allowed, upper <= allowed);
    gate(
        limit,
        &format!("{:.2} %", share(measured.succeeded, all) * 100.0),
        &format!(
            "{:.2} to {:.2} %",
            (1.0 - upper) * 100.0,
            (1.0 - lower) * 100.0
        ),
        all,
        outcome,
        format!("{failed} of {all} failed"),
    )
}

fn judge_cost(limit: &Limit, measured: &Measured) -> Gate {
    let Some(hits) = &measured.hit_cost else {
        return never_happened(limit, "billed conversation of the repeated question");
    };
    let reduction = 1.0 - hits.billed_usd / hits.uncached_usd;
    let outcome = if reduction >= limit.value {
        Outcome::Passed
    } else {
        Outcome::Failed
    };
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

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn share(part: u64, whole: u64) -> f64 {
    part as f64 / whole as f64
}

#[expect(
    clippy::cast_precision_loss,
    reason = "latencies are far below 2^52 ns"
)]
fn milliseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e6
}

fn in_words(nanoseconds: u64) -> String {
    format!("{:.3} ms", milliseconds(nanoseconds))
}

#[cfg(test)]
mod tests {
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
            ("success", ">= 0%"),
            ("cost.reduction.hit", ">= 0%"),
        ] {
            let gate = judge(&parse(name, text).unwrap(), &Measured::default());
            assert_eq!((gate.outcome, gate.samples), (Outcome::Failed, 0), "{name}");
        }
    }

    #[test]
    fn few_fast_samples_are_inconclusive_and_enough_of_them_pass() {
        let limit = parse("hit.p95", "<= 50ms").unwrap();
        assert_eq!(
            judge(&limit, &measured(vec![1_000_000; 58])).outcome,
            Outcome::Inconclusive
        );
        assert_eq!(
            judge(&limit, &measured(vec![1_000_000; 59])).outcome,
            Outcome::Passed
        );
        assert_eq!(
            judge(&limit, &measured(vec![50_000_000; 59])).outcome,
            Outcome::Passed
        );
        assert_eq!(
            judge(&limit, &measured(vec![60_000_000; 59])).outcome,
            Outcome::Failed
        );
    }

    #[test]
    fn a_gate_that_cannot_be_read_says_what_would_be_right() {
        assert!(
            parse("hit.p96", "<= 50ms")
                .unwrap_err()
                .contains("`.p50 .p90 .p95 .p99`")
        );
        assert!(
            parse("hit.p95", ">= 50ms")
                .unwrap_err()
                .contains("write `<=`")
        );
        assert!(parse("success", ">= 99.5").unwrap_err().contains("`99.5%`"));
        assert!((parse("miss.p95", "<= 0.14s").unwrap().value - 140_000_000.0).abs() < 1.0);
    }
}
