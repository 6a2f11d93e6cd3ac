//! Errors as the Messages API words them.

use serde_json::{Value, json};

use crate::body::Answer;

/// A refusal: status, type and message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) status: u16,
    pub(crate) kind: &'static str,
    message: String,
    /// `details.error_code`.
    code: Option<&'static str>,
}

impl Problem {
    /// The error that goes with this status.
    pub(crate) fn of_status(status: u16, message: impl Into<String>) -> Self {
        let kind = match status {
            401 => "authentication_error",
            402 => "billing_error",
            403 => "permission_error",
            404 => "not_found_error",
            409 => "conflict_error",
            413 => "request_too_large",
            429 => "rate_limit_error",
            504 => "timeout_error",
            529 => "overloaded_error",
            500.. => "api_error",
            _ => "invalid_request_error",
        };
        Self {
            status,
            kind,
            message: message.into(),
            code: None,
        }
    }

    /// With `details` that name the error for programs.
    pub(crate) fn coded(mut self, code: &'static str) -> Self {
        self.code = Some(code);
        self
    }

    /// A 400.
    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Self::of_status(400, message)
    }

    /// The error of an injected fault.
    pub(crate) fn injected(status: u16) -> Self {
        Self::of_status(
            status,
            match status {
                429 => {
                    "This request would exceed your organization's rate limit. Please try again later."
                }
                500 => "Internal server error",
                529 => "Overloaded",
                _ => "Injected by the scenario",
            },
        )
    }

    /// The body of its answer.
    pub(crate) fn json(&self, request_id: &str) -> Value {
        let mut body = json!({
            "type": "error",
            "error": {"type": self.kind, "message": self.message},
            "request_id": request_id,
        });
        if let Some(code) = self.code {
            body["error"]["details"] = json!({"error_code": code});
        }
        body
    }

    pub(crate) fn answer(&self, request_id: &str) -> Answer {
        Answer::json(self.status, &self.json(request_id)).header("request-id", request_id)
    }
}
