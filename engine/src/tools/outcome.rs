//! What a tool call comes to, and who made it.

use fact_guard::{Refusal, Rule};
use serde::Serialize;
use serde_json::Value;
use std::time::Duration;

/// On whose behalf a tool runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The client.
    pub client_id: String,
    /// Its tenant.
    pub tenant: String,
    /// The tables that it may read; all that the role may read by default.
    pub tables: Option<Vec<String>>,
}

/// A successful call.
#[derive(Debug, Clone, PartialEq)]
pub struct ToolOutput {
    /// What the tool says.
    pub result: Value,
    /// As written, sorted, default schema left out.
    pub tables: Vec<String>,
    /// The statement that ran.
    pub statement: Option<String>,
    /// Its rows.
    pub row_count: Option<u64>,
    /// The kind of source it was read from, where the tool's name does not say it.
    pub source: Option<&'static str>,
}

impl ToolOutput {
    /// A result without tables.
    pub fn plain(result: Value) -> Self {
        Self {
            result,
            tables: Vec::new(),
            statement: None,
            row_count: None,
            source: None,
        }
    }
}

/// One bad argument.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Violation {
    /// Where, as a JSON pointer.
    pub path: String,
    /// What is wrong.
    pub message: String,
}

/// Why a call has no result.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ToolError {
    /// A guard said no.
    #[error("refused by `{rule}`: {why}")]
    Refused {
        /// The rule's id.
        rule: &'static str,
        /// For the caller.
        why: String,
        /// Line and column in a statement.
        place: Option<(u32, u32)>,
    },
    /// The arguments do not fit.
    #[error("{}", in_words(.violations))]
    InvalidArguments {
        /// One per bad argument.
        violations: Vec<Violation>,
    },
    /// What was asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Its source is down.
    #[error("{0}")]
    Unavailable(String),
    /// Its source is down, and nobody need ask before that.
    #[error("{why}")]
    Outage {
        /// For the caller.
        why: String,
        /// From now.
        retry_after: Duration,
    },
    /// It is called as often as it may be.
    #[error("the tool is called too often; again in {} s", .retry_after.as_secs_f64().ceil())]
    Busy {
        /// `tool.rate` or `tool.concurrency`.
        rule: &'static str,
        /// From now.
        retry_after: Duration,
    },
    /// A person has to consent first.
    #[error("the tool needs its user's authorization first{}", .url.as_deref().map(|url| format!(": the user gives it at {url}")).unwrap_or_default())]
    AuthorizationRequired {
        /// Where.
        url: Option<String>,
    },
    /// It took too long.
    #[error("the tool took too long")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl ToolError {
    /// Whether its source is down.
    pub fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Outage { .. })
    }

    /// The rule by which the call was not made, where it was not.
    pub fn rule(&self) -> Option<&'static str> {
        match self {
            Self::Refused { rule, .. } | Self::Busy { rule, .. } => Some(rule),
            Self::AuthorizationRequired { .. } => Some("tool.authorization"),
            _ => None,
        }
    }

    /// By a guard, in the rule's own words.
    pub fn refused(rule: Rule) -> Self {
        Refusal::of(rule).into()
    }

    /// One bad argument.
    pub fn argument(path: &str, message: impl Into<String>) -> Self {
        Self::InvalidArguments {
            violations: vec![Violation {
                path: path.to_owned(),
                message: message.into(),
            }],
        }
    }
}

impl From<Refusal> for ToolError {
    fn from(refusal: Refusal) -> Self {
        Self::Refused {
            rule: refusal.rule.id(),
            why: refusal.why,
            place: refusal.line.zip(refusal.column),
        }
    }
}

fn in_words(violations: &[Violation]) -> String {
    violations
        .iter()
        .map(|violation| format!("`{}` {}", violation.path, violation.message))
        .collect::<Vec<_>>()
        .join("; ")
}
