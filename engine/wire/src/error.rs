//! Errors: their codes, statuses and envelope.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The codes of errors, and nothing but them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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
