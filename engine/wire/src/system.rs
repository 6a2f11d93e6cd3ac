//! What operators look at: health and readiness.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What `GET /api/v1/health` says.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Health {
    /// Of the whole; `unhealthy` comes with status 503.
    pub status: HealthStatus,
    /// Of the implementation.
    pub version: String,
    /// Since its start.
    pub uptime_seconds: f64,
    /// The profiles of the contract that it claims.
    pub profiles: Vec<String>,
    /// What it rests on.
    pub components: BTreeMap<String, Component>,
    /// RFC 3339.
    pub timestamp: String,
}

/// How well something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// All is as it should be.
    Healthy,
    /// Some of it works.
    Degraded,
    /// Nothing works.
    Unhealthy,
}

/// Something that an implementation rests on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Component {
    /// How it is.
    pub status: HealthStatus,
    /// What it is, such as `postgres`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
}

/// What `GET /api/v1/ready` says.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct Ready {
    /// Whether requests are answered.
    pub ready: bool,
}
