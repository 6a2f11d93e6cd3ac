//! The engine's own tools: what they take, and what a call of theirs may take.

use super::tool::{Backing, Tool};
use fact_wire::{ToolDefinition, ToolKind, ToolLimits};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

/// Calls of one tool at once. What they wait for has bounds of its own.
const MOST_AT_ONCE: u32 = 1_024;
const MOST_BYTES: u64 = 1 << 20;
const MOST_ROWS: u64 = 10_000;

/// The toolkits that nobody else may add to.
pub(super) const TOOLKITS: [&str; 4] = ["FileSystem", "SQL", "System", "Web"];

/// All of them, by name; those for files only where there are some.
pub(super) fn all(timeout: Duration, offers_files: bool) -> BTreeMap<String, Arc<Tool>> {
    let limits = ToolLimits {
        timeout_seconds: timeout.as_secs_f64(),
        max_bytes: MOST_BYTES,
        max_rows: None,
        rate_per_minute: None,
        max_concurrent: MOST_AT_ONCE,
    };
    let rows = ToolLimits {
        max_rows: Some(MOST_ROWS),
        ..limits
    };
    let mut all = vec![
        define(
            "SQL.GetSampleQueries",
            "Example questions with their statements, written by the operator.",
            &json!({}),
            &[],
            limits,
        ),
        define(
            "SQL.GetSchema",
            "The tables that may be read, with columns, types, keys and comments.",
            &json!({ "table": { "type": "string", "description": "Only this table." } }),
            &[],
            limits,
        ),
        define(
            "SQL.QueryReadonly",
            "Runs one SELECT statement and returns its columns and rows. Nothing can be changed.",
            &json!({
                "statement": { "type": "string", "description": "One SELECT statement." },
                "parameters": { "type": "array", "description": "Values for $1, $2 … ($n on Postgres, ? on SQLite)." },
                "max_rows": { "type": "integer", "minimum": 1, "maximum": MOST_ROWS, "description": "At most so many rows; 1,000 by default." },
            }),
            &["statement"],
            rows,
        ),
        define(
            "System.GetMetrics",
            "What this engine counted so far.",
            &json!({}),
            &[],
            limits,
        ),
        define(
            "Web.HttpRequest",
            "Fetches a public page.",
            &json!({
                "url": { "type": "string", "description": "Absolute, http or https." },
                "method": { "type": "string", "description": "GET or HEAD; GET by default." },
                "headers": { "type": "object", "description": "Of Accept, Accept-Language, If-*, Range and User-Agent." },
                "timeout_seconds": { "type": "number", "minimum": 0.001, "maximum": 10, "description": "10 by default." },
            }),
            &["url"],
            limits,
        ),
    ];
    if offers_files {
        all.push(define(
            "FileSystem.ListDirectory",
            "The entries of a folder.",
            &json!({
                "path": { "type": "string", "description": "Relative to a root, or absolute within one." },
                "recursive": { "type": "boolean" },
                "include_hidden": { "type": "boolean" },
            }),
            &["path"],
            limits,
        ));
        all.push(define(
            "FileSystem.ReadFile",
            "The content of a file.",
            &json!({
                "path": { "type": "string", "description": "Relative to a root, or absolute within one." },
                "encoding": { "type": "string", "enum": ["utf-8", "base64"] },
                "offset": { "type": "integer", "minimum": 0, "description": "In bytes." },
                "length": { "type": "integer", "minimum": 0, "description": "In bytes." },
            }),
            &["path"],
            limits,
        ));
    }
    all.into_iter()
        .filter_map(|definition| Tool::new(definition, Backing::BuiltIn).ok())
        .map(|tool| (tool.definition.name.clone(), Arc::new(tool)))
        .collect()
}

fn define(
    name: &str,
    description: &str,
    properties: &Value,
    required: &[&str],
    limits: ToolLimits,
) -> ToolDefinition {
    ToolDefinition {
        name: name.into(),
        description: description.into(),
        input_schema: json!({ "type": "object", "properties": properties, "required": required, "additionalProperties": false }),
        output_schema: None,
        version: "1".into(),
        versions: Vec::new(),
        kind: ToolKind::BuiltIn,
        requirements_met: true,
        limits,
        usage: None,
        http: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_schema_of_ours_is_one() {
        assert_eq!(all(Duration::from_secs(1), true).len(), 7);
        let without_files = all(Duration::from_secs(1), false);
        assert_eq!(without_files.len(), 5);
        let own = |name: &String| TOOLKITS.iter().any(|kit| name.starts_with(kit));
        assert!(without_files.keys().all(own));
    }
}
