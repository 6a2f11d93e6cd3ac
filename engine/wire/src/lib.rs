//! Every message of the contract that crosses a process boundary, as plain data. No behaviour, no I/O.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use std::collections::BTreeMap;

/// The body of `POST /api/v1/query`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueryRequest {
    /// The question.
    pub query: String,
    /// Where it belongs.
    #[serde(default)]
    pub context: QueryContext,
    /// How the cache may be used.
    #[serde(default)]
    pub cache_options: CacheOptions,
    /// Accepted when it is the token's own client.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// `context` of a question.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct QueryContext {
    /// A session of the asker's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
}

/// How the cache may be used for one question.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CacheOptions {
    /// False: neither read nor written.
    #[serde(default = "yes")]
    pub use_cache: bool,
    /// Keeps answers of different prompts apart.
    #[serde(default = "default_prefix")]
    pub cache_prefix: String,
    /// Whether a stored answer may, must, or must not be used.
    #[serde(default)]
    pub mode: CacheMode,
    /// No older answer is wanted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_age_seconds: Option<u64>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            use_cache: true,
            cache_prefix: default_prefix(),
            mode: CacheMode::Default,
            max_age_seconds: None,
        }
    }
}

fn yes() -> bool {
    true
}

fn default_prefix() -> String {
    "fact_v1".to_owned()
}

/// Whether a stored answer may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// It may.
    #[default]
    Default,
    /// It must not, and is replaced.
    Refresh,
    /// It must.
    OnlyIfCached,
}

/// The answer of `POST /api/v1/query`.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
}

/// What the cache did for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CacheStatus {
    /// Answered from the cache.
    Hit,
    /// Made anew, and stored when it may be.
    Miss,
    /// The cache was not asked.
    Bypass,
    /// Made anew on demand.
    Refresh,
    /// Made anew for several askers at once.
    Collapsed,
    /// Answered from the cache although its time is over.
    Stale,
}

/// Tokens as billed.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Progress {
    /// Under way.
    Processing,
    /// Done.
    Completed,
    /// Ended without a result.
    Failed,
}

/// What `GET /api/v1/sessions/{id}` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Session {
    /// As its owner named it.
    pub session_id: String,
    /// RFC 3339.
    pub created_at: String,
    /// RFC 3339.
    pub updated_at: String,
    /// The oldest first.
    pub turns: Vec<SessionTurn>,
}

/// One question of a session and its answer.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SessionTurn {
    /// Names the answer.
    pub query_id: String,
    /// The question.
    pub query: String,
    /// The answer.
    pub response: String,
    /// What the cache did for it.
    pub cache_status: CacheStatus,
    /// RFC 3339.
    pub timestamp: String,
}

/// The body of `POST /api/v1/cache/warm`.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WarmRequest {
    /// Questions to ask.
    pub queries: Vec<String>,
}

/// How far a warming job is.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WarmingJob {
    /// Names the job.
    pub warming_job_id: String,
    /// How far it is.
    pub status: Progress,
    /// Questions in all.
    pub total_queries: usize,
    /// Questions that have an answer in the cache now.
    pub completed_queries: usize,
    /// Questions that could not be answered, or whose answer may not be stored.
    pub failed_queries: usize,
    /// Where this is told.
    pub progress_url: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; nothing while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

/// The body of `POST /api/v1/auth/token`, as JSON or form.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct TokenRequest {
    /// `client_credentials`.
    pub grant_type: String,
    /// Who asks.
    pub client_id: String,
    /// And proves it.
    pub client_secret: String,
    /// Separated by blanks; all that the client owns by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub scope: Option<String>,
}

/// The body of `POST /api/v1/auth/revoke`; it may be absent.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeRequest {
    /// The token; the one that asks by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
}

/// The body of `POST /api/v1/auth/tools/{name}/authorize`; it may be absent.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct AuthorizeToolRequest {
    /// Who consents; the client itself by default. Another one only for a client that acts for others.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub user_id: Option<String>,
}

/// The body of `POST /api/v1/auth/tools/callback`: what the provider sent the person back with.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct CallbackRequest {
    /// Of the authorization.
    pub state: String,
    /// Of the provider.
    pub code: String,
}

/// The body of `POST /api/v1/tools/{name}/execute`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ExecuteRequest {
    /// As the tool's schema says.
    #[serde(default)]
    pub arguments: Map<String, Value>,
    /// Whether the result is waited for; `Prefer: respond-async` says the same.
    #[serde(default)]
    pub mode: ExecuteMode,
}

/// Whether the result of a tool is waited for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecuteMode {
    /// It is.
    #[default]
    Sync,
    /// It is fetched from `status_url`.
    Async,
}

/// The body of `POST /api/v1/tools/batch`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatchRequest {
    /// 1 to 100.
    pub calls: Vec<BatchCall>,
}

/// One call of a batch.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct BatchCall {
    /// `Toolkit.Tool`.
    #[serde(alias = "tool_name", alias = "name")]
    pub tool: String,
    /// As the tool's schema says. What is no object is this call's own mistake.
    #[serde(default = "no_arguments")]
    pub arguments: Value,
}

fn no_arguments() -> Value {
    Value::Object(Map::new())
}

/// What `GET /api/v1/tools/executions/{id}` says.
#[derive(Debug, Clone, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExecutionStatus {
    /// Under way.
    Processing,
    /// The tool has answered.
    Success,
    /// It has not.
    Failed,
}

/// The body of `POST /api/v1/tools`.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct RegisterRequest {
    /// `Toolkit.Tool`, of letters, digits and underscores.
    pub name: String,
    /// For people and models.
    pub description: String,
    /// JSON Schema (draft 2020-12) of the arguments, of type object. An Arcade tool that is known may do without.
    #[serde(default, alias = "parameters", skip_serializing_if = "Option::is_none")]
    pub input_schema: Option<Value>,
    /// JSON Schema of the result.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output_schema: Option<Value>,
    /// Of the definition; `1` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// What runs it; by default what `http`, `url` or `arcade` say.
    #[serde(default, alias = "type", skip_serializing_if = "Option::is_none")]
    pub kind: Option<RegisteredKind>,
    /// The endpoint of an HTTP tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub http: Option<HttpEndpoint>,
    /// Short for `http.url`.
    #[serde(default, alias = "endpoint", skip_serializing_if = "Option::is_none")]
    pub url: Option<String>,
    /// Short for `http.method`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Short for `http.headers`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub headers: Option<BTreeMap<String, String>>,
    /// The tool of Arcade.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arcade: Option<ArcadeEndpoint>,
    /// What a call may take.
    #[serde(default)]
    pub limits: LimitsRequest,
}

/// What runs a registered tool.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RegisteredKind {
    /// A tool of Arcade.
    Arcade,
    /// An HTTP endpoint.
    Http,
}

/// The endpoint of an HTTP tool.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct HttpEndpoint {
    /// Absolute, `http` or `https`; judged as the web tool's are.
    #[serde(alias = "endpoint")]
    pub url: String,
    /// `GET` by default, of `GET`, `POST`, `PUT`, `PATCH` and `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<String>,
    /// Sent with every call, never shown.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
    /// Where the arguments go; into the query string of `GET` and `DELETE` by default, else into the body as JSON.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub arguments_in: Option<ArgumentsIn>,
    /// Whether a call may be made twice; by default true of `GET`, `PUT` and `DELETE`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotent: Option<bool>,
    /// Short for `limits.timeout_seconds`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// Where a person consents, for an endpoint that acts for one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oauth: Option<OAuthClient>,
}

/// Where the arguments of an HTTP tool go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ArgumentsIn {
    /// Into the query string.
    Query,
    /// Into the body.
    #[serde(alias = "body")]
    Json,
}

/// An OAuth client of the engine's at the service behind an HTTP tool.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct OAuthClient {
    /// Where the person is sent.
    pub authorization_url: String,
    /// Where the code is traded.
    pub token_url: String,
    /// The client there.
    pub client_id: String,
    /// Its secret, where it has one; never shown.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client_secret: Option<String>,
    /// How the secret is told; `client_secret_basic` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_endpoint_auth_method: Option<ClientAuthentication>,
    /// What is asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub scopes: Vec<String>,
    /// Where the person is sent back to, as the provider knows it; the engine's own by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redirect_uri: Option<String>,
}

/// How an OAuth client tells its secret, in the words of RFC 7591.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize)]
pub enum ClientAuthentication {
    /// In a header.
    #[default]
    #[serde(rename = "client_secret_basic")]
    Basic,
    /// In the body.
    #[serde(rename = "client_secret_post")]
    Body,
}

/// The tool of Arcade behind a registered one.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct ArcadeEndpoint {
    /// As Arcade knows it; the registered name by default.
    #[serde(default, alias = "tool", skip_serializing_if = "Option::is_none")]
    pub tool_name: Option<String>,
}

/// What a call of a registered tool may take.
#[derive(Debug, Clone, Copy, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsRequest {
    /// Over 0, at most 300; the engine's own limit by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub timeout_seconds: Option<f64>,
    /// At least 1; none by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate_per_minute: Option<u32>,
    /// 1 to 1,024.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_concurrent: Option<u32>,
    /// Of a result, as JSON: 1 to 1 MiB, the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
}

/// What a tool is, as `GET /api/v1/tools` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ToolLatency {
    /// Of all.
    pub mean: f64,
    /// The median of the latest.
    pub p50: f64,
    /// The 95th percentile of the latest.
    pub p95: f64,
}

/// One event of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AuditEvent {
    /// Names it.
    pub event_id: String,
    /// Counts from 1 without gaps.
    pub sequence: u64,
    /// RFC 3339.
    pub at: String,
    /// `tool_call`, `refusal`, `login` or `admin`.
    pub r#type: String,
    /// `success`, `failure` or `refused`.
    pub outcome: String,
    /// Who acted, where it is known.
    pub client_id: String,
    /// For whom.
    pub tenant: String,
    /// On what.
    pub resource: String,
    /// The rule that refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<String>,
    /// The request it belongs to.
    pub trace_id: String,
    /// More, masked.
    pub details: Value,
    /// Of the event before; 64 zeros for the first.
    pub previous_hash: String,
    /// Hex SHA-256 of the RFC 8785 JSON of the event without this field.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub hash: String,
}

/// The codes of errors, and nothing but them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub enum ErrorCode {
    /// Bad JSON, type, unknown or missing field.
    InvalidRequest,
    /// Blank.
    InvalidQuery,
    /// Too many code points.
    QueryTooLong,
    /// No token, or a bad one.
    Unauthorized,
    /// Not in the token's scope.
    Forbidden,
    /// A person has to consent first.
    AuthorizationRequired,
    /// Refused by a guard.
    SecurityViolation,
    /// No such tool.
    ToolNotFound,
    /// No such query.
    QueryNotFound,
    /// No such path.
    NotFound,
    /// Not this method.
    MethodNotAllowed,
    /// There is one already, or it is used.
    Conflict,
    /// Over 1 MiB.
    PayloadTooLarge,
    /// Arguments against the schema.
    InvalidArguments,
    /// Turns, tokens, or a refusal of the model.
    LimitExceeded,
    /// Too many requests.
    RateLimited,
    /// A tool failed.
    ToolExecutionFailed,
    /// A defect of the engine.
    Internal,
    /// The shared cache is required and absent.
    CacheUnavailable,
    /// Claude, Arcade or the database.
    ExternalServiceError,
    /// `only_if_cached`, and it is not.
    CacheMiss,
    /// A tool took too long.
    ToolTimeout,
    /// The whole took too long.
    DeadlineExceeded,
}

impl ErrorCode {
    /// The HTTP status that goes with it.
    pub fn status(self) -> u16 {
        match self {
            Self::InvalidRequest | Self::InvalidQuery | Self::QueryTooLong => 400,
            Self::Unauthorized => 401,
            Self::Forbidden | Self::AuthorizationRequired | Self::SecurityViolation => 403,
            Self::ToolNotFound | Self::QueryNotFound | Self::NotFound => 404,
            Self::MethodNotAllowed => 405,
            Self::Conflict => 409,
            Self::PayloadTooLarge => 413,
            Self::InvalidArguments | Self::LimitExceeded => 422,
            Self::RateLimited => 429,
            Self::ToolExecutionFailed | Self::Internal => 500,
            Self::CacheUnavailable | Self::ExternalServiceError => 503,
            Self::CacheMiss | Self::ToolTimeout | Self::DeadlineExceeded => 504,
        }
    }
}

/// The body of every error.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
    /// The question that it happened to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query_id: Option<String>,
    /// RFC 3339.
    pub timestamp: String,
    /// `error`.
    pub status: String,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ErrorDetail {
    /// For programs.
    pub code: ErrorCode,
    /// For people; names no path, address, secret or stack.
    pub message: String,
    /// More, by code.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub details: Option<Value>,
    /// Also in the log.
    pub trace_id: String,
}
