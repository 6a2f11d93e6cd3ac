//! What Arcade does in a scenario.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Distribution, Fault, Latency, Millis, Outage, RawRule};

/// What Arcade does in a scenario (`arcade:`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ArcadeScript {
    /// How long answers take.
    pub latency: Latency,
    /// Tools besides those the mock has of its own; one of the same name replaces it.
    pub tools: Vec<ArcadeTool>,
    /// Answers given byte for byte, before all else.
    pub script: Vec<RawRule>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// When nobody answers at all.
    pub outages: Vec<Outage>,
    /// After what time a pending authorization completes by itself.
    pub authorization_time: Millis,
}

impl Default for ArcadeScript {
    fn default() -> Self {
        Self {
            latency: Latency::of(Distribution::Constant(Millis(Duration::from_millis(5)))),
            tools: Vec::new(),
            script: Vec::new(),
            faults: Vec::new(),
            outages: Vec::new(),
            authorization_time: Millis(Duration::from_secs(2)),
        }
    }
}

impl ArcadeScript {
    /// Reads the files that the script names; `read` finds the text of a file beside the scenario.
    pub fn load(&mut self, read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        if self.latency.is_recorded() {
            return Err("`latency: recorded` is for Claude".to_owned());
        }
        self.latency.load(read)
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
    /// Its parameters, as in `ToolDefinition.input`: `{parameters: [{name, required, value_schema: {val_type}}]}`, or
    /// as a JSON Schema of an object.
    #[serde(default)]
    pub input: Value,
    /// What it returns; strings in it may hold `{{ input.NAME }}`.
    #[serde(default)]
    pub result: Value,
    /// The message of the error it always fails with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fails: Option<String>,
    /// The error it always fails with, as in `output.error`: `{kind, message, can_retry, …}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<Value>,
    /// What a user has to authorize first.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authorization: Option<ToolAuthorization>,
    /// `metadata.behavior`, as it is: `{read_only, destructive, idempotent, open_world}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub behavior: Option<Value>,
}

/// What a user has to authorize before a tool runs.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ToolAuthorization {
    /// With whom.
    pub provider_id: String,
    /// What the tool may do there.
    #[serde(default)]
    pub scopes: Vec<String>,
}
