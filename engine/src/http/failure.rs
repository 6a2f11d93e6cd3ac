//! How a failure looks to the caller: the envelope of the contract, with the status of its code.

use super::Trace;
use crate::answer::AnswerError;
use crate::store::StoreError;
use crate::tools::outcome::ToolError;
use axum::Json;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use fact_wire::{ErrorBody, ErrorCode, ErrorDetail};
use serde_json::{Value, json};

/// A failure on its way to the caller.
#[derive(Debug, Clone)]
pub(crate) struct Failure {
    code: ErrorCode,
    message: String,
    details: Option<Value>,
    retry_after_seconds: Option<u64>,
    query_id: Option<Box<str>>,
    closing: bool,
    trace_id: String,
}

impl Failure {
    pub(crate) fn new(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
            details: None,
            retry_after_seconds: None,
            query_id: None,
            closing: false,
            trace_id: String::new(),
        }
    }

    pub(crate) fn with(mut self, trace: &Trace) -> Self {
        self.trace_id.clone_from(&trace.0);
        self
    }

    pub(crate) fn detailed(mut self, details: Value) -> Self {
        self.details = Some(details);
        self
    }

    pub(crate) fn code(&self) -> ErrorCode {
        self.code
    }

    /// Nobody is to come back before that.
    pub(crate) fn retry_after(mut self, wait: std::time::Duration) -> Self {
        self.retry_after_seconds = Some(whole_seconds(wait));
        self
    }

    /// What was not read of the body would be taken for the next request: there is none on this connection.
    pub(crate) fn closing(mut self) -> Self {
        self.closing = true;
        self
    }

    /// The question that failed.
    pub(crate) fn of_query(mut self, query_id: &str) -> Self {
        self.query_id = Some(query_id.into());
        self
    }
}

/// Rounded up, and at least one: nobody is to come back too early.
pub(super) fn whole_seconds(wait: std::time::Duration) -> u64 {
    (wait.as_secs() + u64::from(wait.subsec_nanos() > 0)).max(1)
}

impl From<AnswerError> for Failure {
    fn from(error: AnswerError) -> Self {
        let code = match &error {
            AnswerError::Deadline => ErrorCode::DeadlineExceeded,
            AnswerError::Claude { .. } | AnswerError::SourcesDown => {
                ErrorCode::ExternalServiceError
            }
            AnswerError::Limit(_) => ErrorCode::LimitExceeded,
            AnswerError::Busy => ErrorCode::RateLimited,
            AnswerError::NotCached => ErrorCode::CacheMiss,
            AnswerError::Unaudited | AnswerError::Lost => ErrorCode::Internal,
        };
        let failure = Self::new(code, error.to_string());
        let second = std::time::Duration::from_secs(1);
        match error {
            AnswerError::Claude { retry_after } => {
                failure.retry_after(retry_after.unwrap_or(second))
            }
            AnswerError::SourcesDown | AnswerError::Busy => failure.retry_after(second),
            _ => failure,
        }
    }
}

impl From<ToolError> for Failure {
    fn from(error: ToolError) -> Self {
        match error {
            ToolError::Refused { rule, why, place } => {
                let mut details = json!({ "rule": rule });
                if let Some((line, column)) = place {
                    details["line"] = line.into();
                    details["column"] = column.into();
                }
                Self::new(ErrorCode::SecurityViolation, why).detailed(details)
            }
            ToolError::InvalidArguments { violations } => Self::new(
                ErrorCode::InvalidArguments,
                "the arguments do not fit the tool",
            )
            .detailed(json!({ "violations": violations })),
            ToolError::NotFound(message) => Self::new(ErrorCode::NotFound, message),
            ToolError::Unavailable(message) => Self {
                retry_after_seconds: Some(1),
                ..Self::new(ErrorCode::ExternalServiceError, message)
            },
            ToolError::Outage { why, retry_after } => {
                Self::new(ErrorCode::ExternalServiceError, why).retry_after(retry_after)
            }
            ToolError::Busy { rule, retry_after } => {
                Self::new(ErrorCode::RateLimited, "the tool is called too often")
                    .detailed(json!({ "rule": rule }))
                    .retry_after(retry_after)
            }
            ToolError::AuthorizationRequired { url } => Self::new(
                ErrorCode::AuthorizationRequired,
                "the tool needs its user's authorization first",
            )
            .detailed(json!({ "authorization_url": url })),
            ToolError::Timeout => Self::new(ErrorCode::ToolTimeout, "the tool took too long"),
            ToolError::Failed(message) => Self::new(ErrorCode::ToolExecutionFailed, message),
        }
    }
}

impl From<StoreError> for Failure {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "the state cannot be used");
        Self::new(
            ErrorCode::Internal,
            "the engine's state cannot be used at the moment",
        )
    }
}

impl Failure {
    /// What went wrong, without its envelope.
    pub(crate) fn detail(&self) -> ErrorDetail {
        ErrorDetail {
            code: self.code,
            message: self.message.clone(),
            details: self.details.clone(),
            trace_id: self.trace_id.clone(),
        }
    }

    /// As it is told.
    pub(crate) fn body(&self) -> ErrorBody {
        ErrorBody {
            error: self.detail(),
            query_id: self.query_id.as_deref().map(str::to_owned),
            timestamp: jiff::Timestamp::now().to_string(),
            status: "error".into(),
        }
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.code.status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut response = (status, Json(self.body())).into_response();
        response.extensions_mut().insert(self.code);
        if let Some(seconds) = self.retry_after_seconds {
            response
                .headers_mut()
                .insert("retry-after", HeaderValue::from(seconds));
        }
        if self.code == ErrorCode::Unauthorized {
            response
                .headers_mut()
                .insert("www-authenticate", HeaderValue::from_static("Bearer"));
        }
        if self.closing || self.code == ErrorCode::PayloadTooLarge {
            response
                .headers_mut()
                .insert("connection", HeaderValue::from_static("close"));
        }
        response
    }
}
