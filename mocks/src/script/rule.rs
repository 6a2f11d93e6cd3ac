//! What is said to whom: turns of Claude's, and answers given byte for byte.

use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Latency;

/// One turn of Claude's: when it is said, and what. With `match` and `response` it is an answer given byte for byte.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Rule {
    /// When the rule matches.
    pub when: When,
    /// Only requests of this method and path, before all else is looked at; needs `response`.
    #[serde(rename = "match", skip_serializing_if = "Option::is_none")]
    pub route: Option<Route>,
    /// Answered byte for byte, before the request is so much as looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub response: Option<RawResponse>,
    /// What is thought before anything is said; a template.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub think: Option<String>,
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
    /// How long this answer takes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub latency: Option<Latency>,
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
    /// The how-manieth request with this question, from 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub call: Option<u32>,
    /// The key of the client; `*` stands for any run of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

/// A method and a path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Route {
    /// The method; any without.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// The path; `*` stands for any run of characters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
}

/// An answer that is given byte for byte, so many times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct RawRule {
    /// Which requests.
    #[serde(rename = "match", default)]
    pub route: Route,
    /// How often; without it, for ever.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// What is answered.
    pub response: RawResponse,
}

/// An answer as it is sent.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RawResponse {
    /// The status; 200 without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Headers, beside those that every answer has.
    #[serde(skip_serializing_if = "IndexMap::is_empty")]
    pub headers: IndexMap<String, Value>,
    /// The body: a string goes out as it is, anything else as JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub body: Option<Value>,
    /// Instead of a body, the events of a stream.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sse: Option<Vec<RawEvent>>,
    /// Waited before the answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delay_ms: Option<f64>,
}

/// An event: its data, named by its `type`; or a string, which goes out as it is. `delay_ms` in it is waited before.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct RawEvent(pub Value);
