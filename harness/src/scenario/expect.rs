//! What must be seen of a step, as people write it.

use super::values::{Count, OneOf, Percent};
use fact_mocks::script::Millis;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::{Deserialize, Deserializer, de};
use serde_json::Value;
use std::fmt;

/// What must be seen; what is left out is not looked at, but that `ask` and `execute` must succeed unless
/// a `status`, an `error` or a `rule` is expected.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Expect {
    /// The HTTP status, or several that will do.
    pub status: Option<OneOf<u16>>,
    /// What the cache did, by the journal and the target's word.
    pub cache: Option<OneOf<CacheStatus>>,
    /// What reached the upstreams during the whole step.
    pub upstream: Option<Upstreams>,
    /// The `code` of the error.
    pub error: Option<OneOf<String>>,
    /// The rule that refused.
    pub rule: Option<OneOf<String>>,
    /// How long each answer took.
    pub took: Option<Took>,
    /// Headers by name; `*` in a value stands for any characters, and `null` says that there is none.
    pub headers: IndexMap<String, Option<String>>,
    /// The body.
    pub body: Option<Body>,
    /// The events of a stream.
    pub stream: Option<Stream>,
    /// What Claude was told.
    pub claude_saw: Option<ClaudeSaw>,
    /// New events of the audit log, by type: `tool_call`, `refusal`, `login`, `admin`.
    pub audit: IndexMap<String, Count>,
    /// What the ledger says.
    pub bill: Option<Bill>,
    /// The database is as before, and no statement of the step named a relation in it.
    pub no_trace: bool,
}

/// What the answer cache did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheStatus {
    /// Answered without any upstream.
    Hit,
    /// Answered by a conversation.
    Miss,
    /// The cache was neither read nor written.
    Bypass,
    /// Answered anew and stored.
    Refresh,
    /// Shared another one's conversation.
    Collapsed,
    /// A stored answer past its time.
    Stale,
}

impl fmt::Display for CacheStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
            Self::Bypass => "bypass",
            Self::Refresh => "refresh",
            Self::Collapsed => "collapsed",
            Self::Stale => "stale",
        })
    }
}

/// How often each upstream was reached.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Upstreams {
    /// Calls of the Messages API.
    pub claude: Option<Count>,
    /// Statements that name a relation of the user's.
    pub sql: Option<Count>,
    /// Tools executed or authorised at Arcade.
    pub arcade: Option<Count>,
}

/// How long an answer took, from the send to the last byte.
#[derive(Debug, Clone, Copy, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Took {
    /// So long or longer.
    pub at_least: Option<Millis>,
    /// So long or shorter.
    pub at_most: Option<Millis>,
}

/// The body of an answer.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Body {
    /// Compared with the stored one.
    pub snapshot: bool,
    /// Paths that differ each time, such as `$.query_id` or `$.sources[*].at`.
    pub redact: Vec<String>,
    /// Values by path, such as `$.rows[0].name`; texts may hold `{{ last.PATH }}`.
    pub equals: IndexMap<String, Value>,
    /// What kind of value there is, by path; all values at a path such as `$.rows[*].id` are of it.
    pub is: IndexMap<String, Kind>,
    /// Texts that it has.
    pub contains: Vec<String>,
    /// Texts that it has not.
    pub lacks: Vec<String>,
}

/// What kind of value something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// There is none.
    Absent,
    /// `null`.
    Null,
    /// `true` or `false`.
    Boolean,
    /// A number.
    Number,
    /// A number above zero.
    Positive,
    /// A whole number that is not negative.
    Count,
    /// A text that is not empty.
    Text,
    /// A text that is a time by RFC 3339.
    Timestamp,
    /// A list, which may be empty.
    List,
    /// An object, which may be empty.
    Object,
}

impl Kind {
    /// Whether the value is of this kind.
    pub fn fits(self, value: &Value) -> bool {
        match self {
            Self::Absent => false,
            Self::Null => value.is_null(),
            Self::Boolean => value.is_boolean(),
            Self::Number => value.is_number(),
            Self::Positive => value.as_f64().is_some_and(|number| number > 0.0),
            Self::Count => value.as_u64().is_some(),
            Self::Text => value.as_str().is_some_and(|text| !text.is_empty()),
            Self::Timestamp => value
                .as_str()
                .is_some_and(|text| text.parse::<jiff::Timestamp>().is_ok()),
            Self::List => value.is_array(),
            Self::Object => value.is_object(),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "absent",
            Self::Null => "null",
            Self::Boolean => "true or false",
            Self::Number => "a number",
            Self::Positive => "a number above zero",
            Self::Count => "a whole number",
            Self::Text => "a text",
            Self::Timestamp => "a time by RFC 3339",
            Self::List => "a list",
            Self::Object => "an object",
        })
    }
}

/// The events of an answer that came as a stream.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Stream {
    /// How many `delta` there are.
    pub deltas: Option<Count>,
    /// How many `progress` there are.
    pub progress: Option<Count>,
    /// How soon the first `delta` is there.
    pub first_delta_within: Option<Millis>,
}

/// What Claude was told during the step.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaudeSaw {
    /// Whether a `tool_result` had `is_error`.
    pub tool_error: Option<bool>,
    /// The largest number of `tool_result` in one user message.
    pub parallel_results: Option<Count>,
    /// Texts in one of its requests.
    pub contains: Vec<String>,
    /// Texts in none of its requests.
    pub lacks: Vec<String>,
    /// Texts that stand in messages at most: never in the system prompt or in a tool's definition.
    pub only_as_data: Vec<String>,
}

/// What the ledger says.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Bill {
    /// How far the step's bill lies below the uncached price, such as `">= 65%"`.
    pub reduction: Option<Reduction>,
}

/// A least reduction, written `>= 65%`.
#[derive(Debug, Clone, Copy, PartialEq, JsonSchema)]
pub struct Reduction(#[schemars(with = "String")] pub f64);

impl<'de> Deserialize<'de> for Reduction {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let share = text
            .trim()
            .strip_prefix(">=")
            .and_then(|share| share.parse::<Percent>().ok());
        share.map(|share| Self(share.0 / 100.0)).ok_or_else(|| {
            de::Error::custom(format!("`{text}` is not a reduction; write `\">= 65%\"`"))
        })
    }
}
