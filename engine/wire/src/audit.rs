//! The audit log.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// One event of the audit log.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
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

/// What `GET /api/v1/audit` says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct AuditPage {
    /// The newest first.
    pub events: Vec<AuditEvent>,
    /// For the next page; null where there is none.
    pub next_cursor: Option<String>,
}
