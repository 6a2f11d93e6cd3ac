//! Limits as people write them: what a gate speaks of, and where it ends. `judge` holds what was measured against them.

mod judge;

pub use judge::{Judged, judge, of_series};

use crate::nearest::nearest;
use schemars::JsonSchema;
use serde::de::value::MapAccessDeserializer;
use serde::de::{self, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use std::fmt;

/// What a gate speaks of.
#[derive(Debug, Clone, PartialEq)]
pub enum Subject {
    /// A quantile of a time of a class, such as `hit.p95`.
    Quantile {
        /// `hit`, `miss` or `tool`.
        class: String,
        /// Which of its times.
        time: Time,
        /// Between 0 and 1.
        quantile: f64,
    },
    /// The share of requests that succeeded.
    Success,
    /// The share of requests that were answered, those that may fail while an upstream is broken among them.
    Answered,
    /// Answers that are not what they have to be.
    Wrong,
    /// Requests a second that were answered, in whatever way.
    Throughput,
    /// Requests a second that were answered as they should be.
    Goodput,
    /// What hits saved of the uncached price.
    HitCostReduction,
    /// What Claude billed, over all answers.
    CostPerAnswer,
    /// How often Claude was called for a miss.
    ClaudeCalls,
    /// Processor time of the target for a request.
    Processor,
    /// Peak memory of the target.
    Memory,
}

/// Which time of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Time {
    /// From when it was due to its last byte.
    Response,
    /// From when it was due to its first byte.
    FirstByte,
    /// What neither upstreams nor the database took.
    Own,
}

/// What becomes of a run that does not keep a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Level {
    /// It fails.
    #[default]
    Fail,
    /// It says so.
    Warn,
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
    /// Nanoseconds for a time, a share of 1, a second's number, dollars or bytes.
    pub value: f64,
    /// What becomes of a run that does not keep it.
    pub level: Level,
}

/// A limit as a scenario file has it: `"<= 50ms"`, or `{ fail: "<= 50ms", warn: "<= 10ms" }`.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(untagged)]
pub enum Written {
    /// The run fails where it is not kept.
    Plain(String),
    /// One limit that fails the run, or one that is only told, or both.
    Levels(Levels),
}

/// Two limits on one figure.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Levels {
    /// The run fails where it is not kept.
    #[serde(default)]
    pub fail: Option<String>,
    /// It is told where it is not kept.
    #[serde(default)]
    pub warn: Option<String>,
}

impl<'de> Deserialize<'de> for Written {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Either)
    }
}

/// Reads a text or levels, so that what is wrong with the levels is told.
struct Either;

impl<'de> Visitor<'de> for Either {
    type Value = Written;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a limit such as `<= 50ms`, or `{ fail: LIMIT, warn: LIMIT }`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Written, E> {
        Ok(Written::Plain(text.to_owned()))
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Written, A::Error> {
        Levels::deserialize(MapAccessDeserializer::new(map)).map(Written::Levels)
    }
}

const QUANTILES: [(&str, f64); 6] = [
    ("p50", 0.50),
    ("p75", 0.75),
    ("p90", 0.90),
    ("p95", 0.95),
    ("p99", 0.99),
    ("p99.9", 0.999),
];

/// Reads a gate with its levels. The error says what is wrong and what would be right.
pub fn read(name: &str, written: &Written) -> Result<Vec<Limit>, String> {
    let levels = match written {
        Written::Plain(text) => return parse(name, text).map(|limit| vec![limit]),
        Written::Levels(levels) => levels,
    };
    let at = |level, text: &Option<String>| {
        text.as_ref()
            .map(|text| parse(name, text).map(|limit| Limit { level, ..limit }))
    };
    let limits: Vec<Limit> = [at(Level::Fail, &levels.fail), at(Level::Warn, &levels.warn)]
        .into_iter()
        .flatten()
        .collect::<Result<_, _>>()?;
    if limits.is_empty() {
        return Err(format!("gate `{name}` has neither `fail` nor `warn`"));
    }
    Ok(limits)
}

/// Reads a gate that fails the run.
pub fn parse(name: &str, text: &str) -> Result<Limit, String> {
    let subject = subject(name).ok_or_else(|| unknown(name))?;
    let form = Form::of(&subject);
    let bad = || {
        format!(
            "gate `{name}`: `{text}` is not a limit; write `{}` and a value such as {}",
            form.sign, form.example
        )
    };
    let value = text.trim().strip_prefix(form.sign).ok_or_else(bad)?.trim();
    let value = (form.read)(value).ok_or_else(bad)?;
    Ok(Limit {
        name: name.to_owned(),
        text: text.trim().to_owned(),
        subject,
        value,
        level: Level::Fail,
    })
}

fn subject(name: &str) -> Option<Subject> {
    Some(match name {
        "success" => Subject::Success,
        "answered" => Subject::Answered,
        "wrong" => Subject::Wrong,
        "throughput" => Subject::Throughput,
        "goodput" => Subject::Goodput,
        "cost.reduction.hit" => Subject::HitCostReduction,
        "cost.per_answer" => Subject::CostPerAnswer,
        "claude.calls.miss" => Subject::ClaudeCalls,
        "target.processor" => Subject::Processor,
        "target.memory" => Subject::Memory,
        _ => {
            let (class, rest) = name.split_once('.')?;
            let (time, point) = if let Some(point) = rest.strip_prefix("own.") {
                (Time::Own, point)
            } else if let Some(point) = rest.strip_prefix("first_byte.") {
                (Time::FirstByte, point)
            } else {
                (Time::Response, rest)
            };
            let known = QUANTILES.iter().find(|(name, _)| *name == point);
            let quantile = known.map(|(_, quantile)| *quantile)?;
            ["hit", "miss", "tool"].contains(&class).then_some(())?;
            Subject::Quantile {
                class: class.to_owned(),
                time,
                quantile,
            }
        }
    })
}

/// Gates that are not about the time of a class.
const OTHERS: usize = 10;

/// All names of gates, those first that are not about a time.
pub fn names() -> Vec<String> {
    let others: [&str; OTHERS] = [
        "success",
        "answered",
        "wrong",
        "throughput",
        "goodput",
        "cost.reduction.hit",
        "cost.per_answer",
        "claude.calls.miss",
        "target.processor",
        "target.memory",
    ];
    let mut names = others.map(str::to_owned).to_vec();
    for class in ["hit", "miss", "tool"] {
        for time in ["", "own.", "first_byte."] {
            let all = QUANTILES.iter();
            names.extend(all.map(|(point, _)| format!("{class}.{time}{point}")));
        }
    }
    names
}

fn unknown(name: &str) -> String {
    let names = names();
    let hint = nearest(name, names.iter().map(String::as_str))
        .map(|nearest| format!(" did you mean `{nearest}`?"));
    format!(
        "unknown gate `{name}`;{} gates are `hit`, `miss` or `tool` with `.p50 .p75 .p90 .p95 .p99 .p99.9`, also `.own.p95` and `.first_byte.p95`, and {}",
        hint.unwrap_or_default(),
        names[..OTHERS]
            .iter()
            .map(|name| format!("`{name}`"))
            .collect::<Vec<_>>()
            .join(", ")
    )
}

/// How the limit of a gate is written.
struct Form {
    sign: &'static str,
    example: &'static str,
    read: fn(&str) -> Option<f64>,
}

impl Form {
    fn of(subject: &Subject) -> Self {
        let (sign, example, read): (_, _, fn(&str) -> Option<f64>) = match subject {
            Subject::Quantile { .. } | Subject::Processor => ("<=", "`50ms`, `1.5s`", nanoseconds),
            Subject::Wrong => ("<=", "`0`", |text| text.parse::<u32>().ok().map(f64::from)),
            Subject::ClaudeCalls => ("<=", "`2`", positive),
            Subject::Throughput | Subject::Goodput => (">=", "`95/s`", |text| {
                text.strip_suffix("/s").and_then(positive)
            }),
            Subject::CostPerAnswer => ("<=", "`$0.002`", |text| {
                text.strip_prefix('$').and_then(positive)
            }),
            Subject::Memory => ("<=", "`200MiB`", bytes),
            Subject::Success | Subject::Answered | Subject::HitCostReduction => {
                (">=", "`99.5%`", percent)
            }
        };
        Self {
            sign,
            example,
            read,
        }
    }
}

fn positive(text: &str) -> Option<f64> {
    let number = text.trim().parse::<f64>().ok()?;
    (number.is_finite() && number >= 0.0).then_some(number)
}

fn in_units(text: &str, units: &[(&str, f64)]) -> Option<f64> {
    units
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .and_then(|(number, factor)| positive(number).map(|number| number * factor))
        .filter(|value| *value > 0.0)
}

fn nanoseconds(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 5] = [
        ("ns", 1.0),
        ("us", 1e3),
        ("µs", 1e3),
        ("ms", 1e6),
        ("s", 1e9),
    ];
    in_units(text, &UNITS)
}

fn bytes(text: &str) -> Option<f64> {
    const UNITS: [(&str, f64); 4] = [
        ("GiB", 1_073_741_824.0),
        ("MiB", 1_048_576.0),
        ("KiB", 1024.0),
        ("B", 1.0),
    ];
    in_units(text, &UNITS)
}

fn percent(text: &str) -> Option<f64> {
    let number = positive(text.strip_suffix('%')?)?;
    (number <= 100.0).then_some(number / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gate_that_cannot_be_read_says_what_would_be_right() {
        for (name, text, says) in [
            ("hit.p96", "<= 50ms", "did you mean `hit.p9"),
            ("hits.p95", "<= 50ms", "did you mean `hit.p95`?"),
            ("hit.p95", ">= 50ms", "write `<=`"),
            ("hit.p95", "<= -50ms", "`50ms`, `1.5s`"),
            ("hit.p95", "<= 50", "`50ms`, `1.5s`"),
            ("success", ">= 99.5", "`99.5%`"),
            ("success", ">= 101%", "`99.5%`"),
            ("goodput", ">= 95", "`95/s`"),
            ("cost.per_answer", "<= 0.1", "`$0.002`"),
            ("target.memory", "<= 200MB", "`200MiB`"),
        ] {
            let why = parse(name, text).unwrap_err();
            assert!(why.contains(says), "{name} {text}: {why}");
        }
        assert!((parse("miss.p95", "<= 0.14s").unwrap().value - 140_000_000.0).abs() < 1.0);
    }

    #[test]
    fn every_name_that_is_told_can_be_read() {
        for name in names() {
            let subject = subject(&name).unwrap();
            let form = Form::of(&subject);
            let example = form.example.split(',').next().unwrap().trim_matches('`');
            let text = format!("{} {example}", form.sign);
            assert_eq!(parse(&name, &text).unwrap().subject, subject, "{text}");
        }
    }

    #[test]
    fn a_gate_may_have_a_limit_that_is_only_told() {
        let written: Written =
            serde_json::from_str(r#"{ "fail": "<= 50ms", "warn": "<= 10ms" }"#).unwrap();
        let levels: Vec<Level> = read("hit.p95", &written)
            .unwrap()
            .iter()
            .map(|limit| limit.level)
            .collect();
        assert_eq!(levels, [Level::Fail, Level::Warn]);
        let misspelt: Result<Written, _> = serde_json::from_str(r#"{ "fial": "<= 50ms" }"#);
        let why = misspelt.unwrap_err().to_string();
        assert!(why.contains("`fial`") && why.contains("`fail`"), "{why}");
        let neither = Written::Levels(Levels::default());
        assert!(read("hit.p95", &neither).unwrap_err().contains("neither"));
    }
}
