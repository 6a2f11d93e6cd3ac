//! Tools: what they are, and calls of them.

use crate::error::ErrorDetail;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// The body of `POST /api/v1/tools/{name}/execute`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRequest {
    /// As the tool's schema says.
    pub arguments: Map<String, Value>,
    /// Whether the result is waited for; `Prefer: respond-async` says the same.
    #[serde(default)]
    pub mode: ExecuteMode,
}

/// Whether the result of a tool is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecuteMode {
    /// It is.
    #[default]
    Sync,
    /// It is fetched from `status_url`.
    Async,
}

/// The body of `POST /api/v1/tools/batch`.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// 1 to 100.
    #[schemars(length(min = 1, max = 100))]
    pub calls: Vec<BatchCall>,
}

/// One call of a batch.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BatchCall {
    /// `Toolkit.Tool`.
    #[serde(alias = "tool_name", alias = "name")]
    pub tool: String,
    /// As the tool's schema says. What is no object is this call's own mistake.
    pub arguments: Value,
}

/// What `GET /api/v1/tools/executions/{id}` says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionState {
    /// Names the call.
    pub execution_id: String,
    /// `Toolkit.Tool`.
    pub tool_name: String,
    /// How far it is.
    pub status: ExecutionStatus,
    /// What the tool said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// How far a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Under way.
    Processing,
    /// The tool has answered.
    Success,
    /// It has not.
    Failed,
}

/// What a tool is, as `GET /api/v1/tools` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolDefinition {
    /// `Toolkit.Tool`.
    pub name: String,
    /// For people and models.
    pub description: String,
    /// JSON Schema of the arguments.
    pub input_schema: Value,
    /// JSON Schema of the result, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Of the definition.
    pub version: String,
    /// Versions that were registered, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub versions: Vec<String>,
    /// What runs it.
    pub kind: ToolKind,
    /// Whether the caller may use it at once; else a person's consent or a secret is missing.
    pub requirements_met: bool,
    /// What a call may take.
    pub limits: ToolLimits,
    /// What the caller's tenant has made of it since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<ToolUsage>,
    /// The endpoint, for administrators; what may be secret is masked.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<Value>,
}

/// What runs a tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ToolKind {
    /// The engine.
    BuiltIn,
    /// Arcade.
    Arcade,
    /// An HTTP endpoint.
    Http,
}

/// What a call of a tool may take.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolLimits {
    /// Of one call.
    pub timeout_seconds: f64,
    /// Of a result.
    pub max_bytes: u64,
    /// Of a result, for SQL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rows: Option<u64>,
    /// Calls a minute.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// Calls at once.
    pub max_concurrent: u32,
}

/// What was made of a tool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolUsage {
    /// Calls that ran, failed ones included.
    pub calls: u64,
    /// Calls that ran and failed.
    pub failures: u64,
    /// Calls that were refused before they ran.
    pub refusals: u64,
    /// Of the calls that ran: their mean, and p50 and p95 of the latest 256.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub latency_ms: Option<ToolLatency>,
    /// RFC 3339.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_used_at: Option<String>,
}

/// How long calls took, in milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ToolLatency {
    /// Of all.
    pub mean: f64,
    /// The median of the latest.
    pub p50: f64,
    /// The 95th percentile of the latest.
    pub p95: f64,
}

/// What `GET /api/v1/tools` says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolList {
    /// Those that the caller may use, by name.
    pub tools: Vec<ToolDefinition>,
    /// How many they are.
    pub total: usize,
}

/// What a tool said.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolAnswer {
    /// Names the call.
    pub execution_id: String,
    /// `Toolkit.Tool`.
    pub tool_name: String,
    /// `success`.
    pub status: String,
    /// As the tool defines it.
    pub result: Value,
    /// How it came about.
    pub metadata: ToolMetadata,
}

/// How a tool's answer came about.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolMetadata {
    /// Milliseconds inside the engine.
    pub latency_ms: f64,
    /// The tables that were read, for SQL.
    pub tables: Vec<String>,
}

/// A call that was taken and is not waited for.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ExecutionBegun {
    /// Names the call.
    pub execution_id: String,
    /// `Toolkit.Tool`.
    pub tool_name: String,
    /// `processing`.
    pub status: ExecutionStatus,
    /// Where its outcome is told.
    pub status_url: String,
}

/// What `POST /api/v1/tools/batch` says: one result a call, in order.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchAnswer {
    /// In the order of the calls.
    pub results: Vec<BatchResult>,
}

/// What became of one call of a batch.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct BatchResult {
    /// `success` or `error`.
    pub status: String,
    /// `Toolkit.Tool`.
    pub tool_name: String,
    /// Names the call, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub execution_id: Option<String>,
    /// What the tool said.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub result: Option<Value>,
    /// Why it said nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// What became of `DELETE /api/v1/tools/{name}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct ToolRemoved {
    /// `Toolkit.Tool`.
    pub tool_name: String,
    /// `deleted`.
    pub status: String,
    /// RFC 3339.
    pub timestamp: String,
}
