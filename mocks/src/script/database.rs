//! What goes wrong between a target and its database.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Millis, Window};

/// Something that goes wrong before the database, for all statements.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DatabaseFault {
    /// What it is.
    pub kind: DatabaseFaultKind,
    /// When; always without it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
}

/// What goes wrong: `down`, `hang`, or `slow: 200ms`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseFaultKind {
    /// Connections are closed, and new ones too.
    Down,
    /// Statements are taken, and nothing comes back.
    Hang,
    /// Each answer is late.
    Slow(Millis),
}
