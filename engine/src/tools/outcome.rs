//! What a tool call comes to, and who made it.

use fact_guard::{Refusal, Rule};
use serde::Serialize;
use serde_json::Value;

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
}

impl ToolOutput {
    /// A result without tables.
    pub fn plain(result: Value) -> Self {
        Self {
            result,
            tables: Vec::new(),
            statement: None,
            row_count: None,
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
    /// It took too long.
    #[error("the tool took too long")]
    Timeout,
    /// Anything else.
    #[error("{0}")]
    Failed(String),
}

impl ToolError {
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
