//! A question, its answer, and how far it is.

use crate::cache::{CacheOptions, CacheStatus};
use crate::error::ErrorDetail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The body of `POST /api/v1/query`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// The question: 1 to 8,000 code points after trimming.
    #[schemars(
        regex(pattern = r"^[^\u0000]*[^\u0000\s][^\u0000]*$"),
        length(min = 1, max = 8_000)
    )]
    pub query: String,
    /// Where it belongs.
    #[serde(default)]
    pub context: QueryContext,
    /// How the cache may be used.
    #[serde(default)]
    pub cache_options: CacheOptions,
    /// Accepted when it is the token's own client, or the client may act for others.
    #[schemars(
        regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"),
        length(max = 256)
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// `context` of a question.
#[derive(Debug, Clone, Default, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct QueryContext {
    /// A session of the asker's own.
    #[schemars(
        regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"),
        length(max = 256)
    )]
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// The answer of `POST /api/v1/query`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QueryAnswer {
    /// Names this answer.
    pub query_id: String,
    /// What the model said last.
    pub response: String,
    /// `success`.
    pub status: String,
    /// One entry per successful tool call, in order.
    pub sources: Vec<Source>,
    /// RFC 3339.
    pub timestamp: String,
    /// How it came about.
    pub metadata: AnswerMetadata,
}

/// How an answer came about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AnswerMetadata {
    /// Milliseconds inside the engine.
    pub latency_ms: f64,
    /// What the cache did.
    pub cache_status: CacheStatus,
    /// The model.
    pub model: String,
    /// First use first, no doubles.
    pub tools_used: Vec<String>,
    /// What was billed for this answer.
    pub tokens: Tokens,
    /// Dollars billed for this answer.
    pub cost_usd: f64,
    /// Dollars of the same answer with no caching of any kind.
    pub baseline_cost_usd: f64,
    /// Of the baseline.
    pub cost_savings_percent: f64,
    /// Whether a source of it was down, so that the answer may lack what stands there.
    #[serde(default, skip_serializing_if = "is_false")]
    pub degraded: bool,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde asks for"
)]
fn is_false(flag: &bool) -> bool {
    !flag
}

/// Tokens as billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Tokens {
    /// Uncached input.
    pub input: u64,
    /// Output.
    pub output: u64,
    /// Written to the provider's cache.
    pub cache_creation: u64,
    /// Read from the provider's cache.
    pub cache_read: u64,
}

/// Where a part of an answer was read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `sql`, `file`, `web`, `arcade` or `system`.
    pub r#type: String,
    /// The dotted name of the tool.
    pub tool: String,
    /// The statement, for SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub statement: Option<String>,
    /// The tables, for SQL.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tables: Vec<String>,
    /// Rows, for SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub row_count: Option<u64>,
    /// RFC 3339.
    pub at: String,
}

/// What `GET /api/v1/query/{id}/status` says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct QueryState {
    /// Names the answer.
    pub query_id: String,
    /// How far it is.
    pub status: Progress,
    /// What is done right now, while it is being made.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub progress: Option<Value>,
    /// The answer, once there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<QueryAnswer>,
    /// Why there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// How far a question or a job is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Under way.
    Processing,
    /// Done.
    Completed,
    /// Ended without a result.
    Failed,
}
