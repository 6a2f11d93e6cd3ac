//! The tools: what there is, who may use it, and one call from its name to its audited outcome.

pub mod arcade;
mod arguments;
pub mod files;
pub mod outcome;
pub mod sql;

use crate::audit::{Audit, Happening, Receipt};
use crate::auth::Principal;
use crate::metrics::Metrics;
use arcade::Arcade;
use fact_wire::ToolDefinition;
use files::Files;
use outcome::{ToolError, ToolOutput};
use serde_json::{Value, json};
use sql::Database;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

/// All tools of this engine.
#[derive(Debug, Clone)]
pub struct Tools {
    pub(crate) database: Database,
    pub(crate) files: Option<Arc<Files>>,
    pub(crate) arcade: Option<Arcade>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Audit,
    pub(crate) timeout: Duration,
}

/// Who called: the model within a question, or a client directly.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// For whom.
    pub principal: &'a Principal,
    /// The request it belongs to.
    pub trace_id: &'a str,
    /// `model` or `caller`.
    pub by: &'static str,
}

/// What became of a call. No answer may rest on it before its audit event is on disk.
#[derive(Debug)]
pub struct Executed {
    /// What the tool says, or why it says nothing.
    pub outcome: Result<ToolOutput, ToolError>,
    /// Its audit event.
    pub audited: Receipt,
}

impl Tools {
    /// What the principal may use, sorted by name. `offered`: only what Claude is given.
    pub fn definitions(&self, principal: &Principal, offered: bool) -> Vec<ToolDefinition> {
        let mut all = vec![
            define(
                "SQL.GetSampleQueries",
                "Example questions with their statements, written by the operator.",
                &json!({}),
            ),
            define(
                "SQL.GetSchema",
                "The tables that may be read, with columns, types, keys and comments.",
                &json!({ "table": { "type": "string", "description": "Only this table." } }),
            ),
            define(
                "SQL.QueryReadonly",
                "Runs one SELECT statement and returns its columns and rows. Nothing can be changed.",
                &json!({
                    "statement": { "type": "string", "description": "One SELECT statement." },
                    "parameters": { "type": "array", "description": "Values for $1, $2 … ($n on Postgres, ? on SQLite)." },
                    "max_rows": { "type": "integer", "minimum": 1, "maximum": 10_000, "description": "At most so many rows; 1,000 by default." },
                }),
            ),
            define(
                "System.GetMetrics",
                "What this engine counted so far.",
                &json!({}),
            ),
        ];
        require(&mut all, "SQL.QueryReadonly", "statement");
        if self.files.is_some() {
            all.push(define(
                "FileSystem.ListDirectory",
                "The entries of a folder.",
                &json!({
                    "path": { "type": "string", "description": "Relative to a root, or absolute within one." },
                    "recursive": { "type": "boolean" },
                    "include_hidden": { "type": "boolean" },
                }),
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
            ));
            require(&mut all, "FileSystem.ListDirectory", "path");
            require(&mut all, "FileSystem.ReadFile", "path");
        }
        if let Some(arcade) = &self.arcade {
            all.extend(
                arcade
                    .tools()
                    .into_iter()
                    .filter(|tool| tool.requirements_met || !offered)
                    .map(|tool| tool.definition),
            );
        }
        all.retain(|tool| principal.may_use(&tool.name));
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// One call: granted, checked, run in time, handed to the audit log. `None` where there is no such tool.
    pub async fn execute(&self, call: Call<'_>, tool: &str, arguments: &Value) -> Option<Executed> {
        let definition = self.definition(call.principal, tool)?;
        self.metrics.tool_executions.fetch_add(1, Relaxed);
        let mut running = Running {
            audit: &self.audit,
            call,
            tool,
            arguments,
            done: false,
        };
        let violations = arguments::check(&definition.input_schema, arguments);
        let outcome = if violations.is_empty() {
            let result = self.run(call.principal, tool, arguments);
            tokio::time::timeout(self.timeout, result)
                .await
                .unwrap_or(Err(ToolError::Timeout))
        } else {
            Err(ToolError::InvalidArguments { violations })
        };
        if let Err(ToolError::Refused { rule, .. }) = &outcome {
            tracing::warn!(rule, tool, "a tool call is refused");
            self.metrics.refusals.fetch_add(1, Relaxed);
        }
        running.done = true;
        let audited = self
            .audit
            .submit(happening(call, tool, arguments, &outcome));
        Some(Executed { outcome, audited })
    }

    /// Whether the principal may call a tool of this name.
    pub fn has(&self, principal: &Principal, tool: &str) -> bool {
        self.definition(principal, tool).is_some()
    }

    fn definition(&self, principal: &Principal, tool: &str) -> Option<ToolDefinition> {
        self.definitions(principal, false)
            .into_iter()
            .find(|definition| definition.name == tool)
    }

    async fn run(
        &self,
        principal: &Principal,
        tool: &str,
        arguments: &Value,
    ) -> Result<ToolOutput, ToolError> {
        let caller = principal.caller();
        match tool {
            "SQL.QueryReadonly" => self.database.query_readonly(&caller, arguments).await,
            "SQL.GetSchema" => self.database.get_schema(&caller, arguments).await,
            "SQL.GetSampleQueries" => Ok(self.database.get_sample_queries()),
            "System.GetMetrics" => Ok(ToolOutput::plain(self.metrics.as_json())),
            "FileSystem.ReadFile" | "FileSystem.ListDirectory" => {
                let files = self
                    .files
                    .as_ref()
                    .ok_or_else(|| ToolError::NotFound("no such tool".into()))?;
                if tool == "FileSystem.ReadFile" {
                    files.read_file(arguments).await
                } else {
                    files.list_directory(arguments).await
                }
            }
            _ => {
                let arcade = self
                    .arcade
                    .as_ref()
                    .ok_or_else(|| ToolError::NotFound("no such tool".into()))?;
                arcade.execute(tool, &caller, arguments).await
            }
        }
    }
}

/// A call under way. Whoever asked may leave, or the time may be over: what ran leaves its event all the same.
struct Running<'a> {
    audit: &'a Audit,
    call: Call<'a>,
    tool: &'a str,
    arguments: &'a Value,
    done: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.done {
            let given_up = Err(ToolError::Failed("given up".into()));
            let happening = happening(self.call, self.tool, self.arguments, &given_up);
            drop(self.audit.submit(happening));
        }
    }
}

fn define(name: &str, description: &str, properties: &Value) -> ToolDefinition {
    let input_schema = json!({ "type": "object", "properties": properties, "required": [], "additionalProperties": false });
    ToolDefinition {
        name: name.into(),
        description: description.into(),
        input_schema,
        version: "1".into(),
    }
}

fn require(all: &mut [ToolDefinition], tool: &str, argument: &str) {
    for definition in all.iter_mut().filter(|definition| definition.name == tool) {
        definition.input_schema["required"] = json!([argument]);
    }
}

/// The kind of source that a tool reads, as answers name it.
pub fn source_kind(tool: &str) -> &'static str {
    match tool.split('.').next() {
        Some("SQL") => "sql",
        Some("FileSystem") => "file",
        Some("Web") => "web",
        Some("System") => "system",
        _ => "arcade",
    }
}

fn happening(
    call: Call<'_>,
    tool: &str,
    arguments: &Value,
    outcome: &Result<ToolOutput, ToolError>,
) -> Happening {
    let digest = blake3::hash(arguments.to_string().as_bytes()).to_hex();
    let mut details = json!({ "by": call.by, "arguments_blake3": digest.as_str() });
    let (kind, result, rule) = match outcome {
        Ok(output) => {
            if let Some(rows) = output.row_count {
                details["row_count"] = rows.into();
            }
            ("tool_call", "success", None)
        }
        Err(ToolError::Refused { rule, place, .. }) => {
            if let Some((line, column)) = place {
                details["line"] = (*line).into();
                details["column"] = (*column).into();
            }
            ("refusal", "refused", Some((*rule).to_owned()))
        }
        Err(_) => ("tool_call", "failure", None),
    };
    Happening {
        kind,
        outcome: result,
        client_id: call.principal.client.id.clone(),
        tenant: call.principal.client.tenant.clone(),
        resource: tool.to_owned(),
        rule,
        trace_id: call.trace_id.to_owned(),
        details,
    }
}
