//! What a scenario tells the mocks to say, how fast, and where to fail.

mod millis;

pub use millis::{BadMillis, Millis};

use std::time::Duration;

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What Claude does in a scenario (`claude:`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaudeScript {
    /// How long the first byte takes.
    pub latency: Latency,
    /// The rules; the first that matches is followed.
    pub script: Vec<Rule>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Default for ClaudeScript {
    fn default() -> Self {
        Self {
            latency: Latency {
                first_byte: Distribution::Lognormal {
                    p50: Millis(Duration::from_millis(40)),
                    p99: Millis(Duration::from_millis(90)),
                },
            },
            script: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// One turn of Claude's: when it is said, and what.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// When the rule matches.
    pub when: When,
    /// Text to say; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub say: Option<String>,
    /// Tools to call, by name (dots become `_`), with their input; several are called in one turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<IndexMap<String, Value>>,
    /// Does what the texts before it ask for: every tool of `[[call {"TOOL": {…}}]]` in the tool results, or else in
    /// the question, is called. The worst model that there is.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub obey: bool,
    /// Overrides the `stop_reason`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stop_reason: Option<String>,
    /// How often the rule may be followed; without it, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
}

/// When a rule matches; what is left out matches anything.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct When {
    /// The question, exactly; `*` stands for any run of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// The last user message holds a result of this tool. Without it the rule matches only a first turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<String>,
    /// Whether that result is an error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failed: Option<bool>,
    /// The turn of the conversation, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub turn: Option<u32>,
}

/// How long answers take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Until the first byte.
    pub first_byte: Distribution,
}

/// A distribution of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Always the same.
    Constant(Millis),
    /// Lognormal, given by two of its percentiles.
    Lognormal {
        /// The median.
        p50: Millis,
        /// The 99th percentile.
        p99: Millis,
    },
}

/// Something that goes wrong.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// From which call of the same question on (from 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_call: Option<u32>,
    /// For how many calls of each question; without it, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only questions of this pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Only this share of the calls, 0 to 1, drawn by seed, question and call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Answers with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Sent with the status, in whole seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
    /// Added delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Millis>,
    /// After so many bytes of the body the connection is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_bytes: Option<usize>,
}

/// What Arcade does in a scenario (`arcade:`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArcadeScript {
    /// How long the first byte takes.
    pub latency: Latency,
    /// Tools besides those the mock has of its own; one of the same name replaces it.
    pub tools: Vec<ArcadeTool>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
}

impl Default for ArcadeScript {
    fn default() -> Self {
        Self {
            latency: Latency {
                first_byte: Distribution::Constant(Millis(Duration::from_millis(5))),
            },
            tools: Vec::new(),
            faults: Vec::new(),
        }
    }
}

/// A tool that Arcade offers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArcadeTool {
    /// `Toolkit.Tool`.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Its parameters, as in `ToolDefinition.input`: `{parameters: [{name, required, value_schema: {val_type}}]}`.
    #[serde(default)]
    pub input: Value,
    /// What it returns; strings in it may hold `{{ input.NAME }}`.
    #[serde(default)]
    pub result: Value,
    /// The message of the error it always fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
}
