//! Sessions: what was asked and answered before.

use crate::cache::CacheStatus;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What `GET /api/v1/sessions/{id}` says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
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

/// What became of `DELETE /api/v1/sessions/{id}`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SessionForgotten {
    /// As its owner named it.
    pub session_id: String,
    /// `deleted`.
    pub status: String,
    /// RFC 3339.
    pub timestamp: String,
}
