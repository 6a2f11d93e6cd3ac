//! A load as people write it: how often, how long, and of what.

use super::step::{Ask, Execute};
use super::values::Percent;
use fact_mocks::script::Millis;
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de};
use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

/// What is sent, whatever becomes of it.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Load {
    /// Rate, arrivals and duration.
    pub open: Open,
    /// Sent before anything is measured.
    #[serde(default)]
    pub warm_up: Option<Millis>,
    /// The share of each class: `hit`, `miss`, `tool`.
    pub mix: IndexMap<String, Percent>,
    /// What the answers of each class have to be, `*` standing for any characters; for `tool`, the whole body.
    #[serde(default)]
    pub answers: IndexMap<String, String>,
    /// Statuses that will do while an upstream is broken: they count neither as success nor as failure.
    #[serde(default)]
    pub excused: Vec<u16>,
    /// The question that is asked again and again.
    #[serde(default)]
    pub hit: Option<Ask>,
    /// The question that is new every time, by `{{ nonce }}`.
    #[serde(default)]
    pub miss: Option<Ask>,
    /// The tool that is executed, with `{{ nonce }}` in its arguments.
    #[serde(default)]
    pub tool: Option<Execute>,
}

/// An open loop: due times do not depend on answers.
#[derive(Debug, Clone, Copy, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Open {
    /// How many requests in which time.
    pub rate: Rate,
    /// How they are spread.
    #[serde(default)]
    pub arrivals: Arrivals,
    /// How long it is measured.
    pub r#for: Millis,
}

/// How requests are spread over time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Arrivals {
    /// By chance, as from many users who know nothing of each other.
    #[default]
    Poisson,
    /// Evenly.
    Constant,
}

/// Requests per second; written `100/s` or `600/m`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Rate(pub f64);

impl Load {
    /// How long the warm-up is, in seconds.
    pub fn warm_up_seconds(&self) -> f64 {
        self.warm_up.map_or(0.0, |warm_up| warm_up.0.as_secs_f64())
    }

    /// The classes with their shares of 1, in the order of the file.
    pub fn shares(&self) -> impl Iterator<Item = (&str, f64)> {
        self.mix
            .iter()
            .map(|(class, share)| (class.as_str(), share.0 / 100.0))
    }

    /// The whole load in a few words.
    pub fn in_words(&self) -> String {
        let mix: Vec<String> = self
            .mix
            .iter()
            .map(|(class, share)| format!("{}% {class}", share.0))
            .collect();
        let arrivals = match self.open.arrivals {
            Arrivals::Poisson => "Poisson",
            Arrivals::Constant => "constant",
        };
        let warm_up = self
            .warm_up
            .map(|warm_up| format!(" after {warm_up} of warm-up"))
            .unwrap_or_default();
        format!(
            "open loop, {}, {arrivals} arrivals, for {}{warm_up}: {}",
            self.open.rate,
            self.open.r#for,
            mix.join(", ")
        )
    }
}

impl Open {
    /// How long it is measured, in seconds.
    pub fn for_seconds(&self) -> f64 {
        self.r#for.0.as_secs_f64()
    }

    /// Requests per second.
    pub fn rate_per_second(&self) -> f64 {
        self.rate.0
    }
}

impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/s", self.0)
    }
}

impl FromStr for Rate {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.split_once('/').and_then(|(number, unit)| {
            let seconds = match unit.trim() {
                "s" => 1.0,
                "m" => 60.0,
                _ => return None,
            };
            number
                .trim()
                .parse::<f64>()
                .ok()
                .map(|number| number / seconds)
        });
        parsed
            .filter(|rate| rate.is_finite() && *rate > 0.0)
            .map(Self)
            .ok_or_else(|| format!("`{text}` is not a rate; write `100/s` or `600/m`"))
    }
}

impl<'de> Deserialize<'de> for Rate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?
            .parse()
            .map_err(de::Error::custom)
    }
}

impl JsonSchema for Rate {
    fn schema_name() -> Cow<'static, str> {
        "Rate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "description": "A rate, such as `100/s`.", "pattern": "^[0-9.]+\\s*/\\s*[sm]$" })
    }
}
