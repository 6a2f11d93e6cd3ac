//! Errors as Arcade words them.

use axum::response::Response;
use serde_json::json;

use crate::body::{Answer, Recording};

/// A refusal: status, name and message.
#[derive(Debug)]
pub(crate) struct Refusal(pub(crate) u16, pub(crate) &'static str, pub(crate) String);

impl Refusal {
    /// A 400.
    pub(super) fn bad(message: String) -> Self {
        Self(400, "bad_request", message)
    }

    /// A 404.
    pub(super) fn not_found(message: &str) -> Self {
        Self(404, "not_found", message.to_owned())
    }

    pub(super) fn answer(&self) -> Answer {
        let Self(status, name, message) = self;
        Answer::json(*status, &json!({"name": name, "message": message}))
    }

    pub(super) fn into_response(self, recording: Recording) -> Response {
        self.answer().into_response(recording)
    }
}
