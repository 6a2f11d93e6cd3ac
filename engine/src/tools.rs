//! The tools: what there is, who may use it, and one call from its name to its audited outcome.

pub mod arcade;
mod arguments;
pub mod files;
pub mod outcome;
pub mod sql;
pub mod web;

use crate::audit::{Audit, Happening, Receipt};
use crate::auth::Principal;
use crate::mask::mask;
use crate::metrics::Metrics;
use crate::overhead::outside;
use arcade::Arcade;
use fact_guard::Rule;
use fact_wire::ToolDefinition;
use files::Files;
use outcome::{ToolError, ToolOutput};
use serde_json::{Value, json};
use sql::Database;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};
use web::{Reach, Web};

/// All tools of this engine.
#[derive(Debug, Clone)]
pub struct Tools {
    pub(crate) database: Database,
    pub(crate) files: Option<Arc<Files>>,
    pub(crate) web: Web,
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
    /// Which hosts it may reach.
    pub reach: &'a Reach,
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
        let mut granted = self.all(offered);
        granted.retain(|tool| principal.may_use(&tool.name));
        granted
    }

    /// The tools of the engine's own, without those that it has nothing for.
    fn built_in(&self) -> impl Iterator<Item = &'static ToolDefinition> {
        let offers_files = self.files.is_some();
        BUILT_IN
            .iter()
            .filter(move |tool| offers_files || !tool.name.starts_with("FileSystem."))
    }

    fn definition(&self, name: &str) -> Option<ToolDefinition> {
        let own = self.built_in().find(|tool| tool.name == name).cloned();
        own.or_else(|| self.all(false).into_iter().find(|tool| tool.name == name))
    }

    /// Every tool that there is, sorted by name.
    fn all(&self, offered: bool) -> Vec<ToolDefinition> {
        let mut all: Vec<ToolDefinition> = self.built_in().cloned().collect();
        for tool in self.arcade.iter().flat_map(Arcade::tools) {
            // Two tools that Claude would know by one name: the first stays.
            let name = claude_name(&tool.definition.name);
            let known = all.iter().any(|other| claude_name(&other.name) == name);
            if !known && (tool.requirements_met || !offered) {
                all.push(tool.definition);
            }
        }
        all.sort_by(|a, b| a.name.cmp(&b.name));
        all
    }

    /// Why a name that Claude was not offered is not called.
    pub fn not_offered(&self, name: &str) -> Rule {
        let exists = |tool: &ToolDefinition| claude_name(&tool.name) == name;
        if self.all(false).iter().any(exists) {
            Rule::ToolScope
        } else {
            Rule::ToolUnknown
        }
    }

    /// One call: granted, checked, run in time, handed to the audit log.
    pub async fn execute(&self, call: Call<'_>, tool: &str, arguments: &Value) -> Executed {
        self.metrics.tool_executions.fetch_add(1, Relaxed);
        let mut running = Running {
            audit: &self.audit,
            call,
            tool,
            arguments,
            done: false,
        };
        let began = Instant::now();
        let granted = self.granted(call.principal, tool, arguments);
        let outcome = if let Err(error) = granted {
            Err(error)
        } else {
            let run = tokio::time::timeout(self.timeout, self.run(call, tool, arguments));
            outside(run).await.unwrap_or(Err(ToolError::Timeout))
        };
        running.done = true;
        let known = if self.exists(tool) { tool } else { "unknown" };
        let named = match &outcome {
            Ok(_) => "success",
            Err(ToolError::Refused { .. }) => "refused",
            Err(_) => "failure",
        };
        self.metrics
            .tool_calls
            .with([known, named])
            .record(began.elapsed());
        self.finished(call, tool, arguments, outcome)
    }

    /// A call that is not made, with its audit event.
    pub fn refuse(&self, call: Call<'_>, tool: &str, arguments: &Value, rule: Rule) -> Executed {
        self.finished(call, tool, arguments, Err(ToolError::refused(rule)))
    }

    fn finished(
        &self,
        call: Call<'_>,
        tool: &str,
        arguments: &Value,
        outcome: Result<ToolOutput, ToolError>,
    ) -> Executed {
        if let Err(ToolError::Refused { rule, .. }) = &outcome {
            tracing::warn!(rule, tool = mask(tool), "a tool call is refused");
            self.metrics.refusals.fetch_add(1, Relaxed);
        }
        let audited = self
            .audit
            .submit(happening(call, tool, arguments, &outcome));
        Executed { outcome, audited }
    }

    /// Whether there is a tool of this name, granted or not.
    pub fn exists(&self, tool: &str) -> bool {
        self.definition(tool).is_some()
    }

    fn granted(
        &self,
        principal: &Principal,
        tool: &str,
        arguments: &Value,
    ) -> Result<(), ToolError> {
        let definition = self
            .definition(tool)
            .ok_or_else(|| ToolError::refused(Rule::ToolUnknown))?;
        if !principal.may_use(tool) {
            return Err(ToolError::refused(Rule::ToolScope));
        }
        let violations = arguments::check(&definition.input_schema, arguments);
        if violations.is_empty() {
            Ok(())
        } else {
            Err(ToolError::InvalidArguments { violations })
        }
    }

    async fn run(
        &self,
        call: Call<'_>,
        tool: &str,
        arguments: &Value,
    ) -> Result<ToolOutput, ToolError> {
        let caller = call.principal.caller();
        match tool {
            "SQL.QueryReadonly" => self.database.query_readonly(&caller, arguments).await,
            "SQL.GetSchema" => self.database.get_schema(&caller, arguments).await,
            "SQL.GetSampleQueries" => Ok(self.database.get_sample_queries()),
            "Web.HttpRequest" => self.web.request(arguments, call.reach).await,
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

/// Every tool of the engine's own.
static BUILT_IN: LazyLock<Vec<ToolDefinition>> = LazyLock::new(|| {
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
    all.push(define(
            "Web.HttpRequest",
            "Fetches a public page.",
            &json!({
                "url": { "type": "string", "description": "Absolute, http or https." },
                "method": { "type": "string", "description": "GET or HEAD; GET by default." },
                "headers": { "type": "object", "description": "Of Accept, Accept-Language, If-*, Range and User-Agent." },
                "timeout_seconds": { "type": "number", "minimum": 0.001, "maximum": 10, "description": "10 by default." },
            }),
        ));
    require(&mut all, "Web.HttpRequest", "url");
    require(&mut all, "SQL.QueryReadonly", "statement");
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
    all
});

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

/// As Claude knows a tool.
pub fn claude_name(tool: &str) -> String {
    tool.replace('.', "_")
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
            // A statement's literals are its asker's; what a path or URL names is what was tried.
            let named = ["path", "url"]
                .iter()
                .find_map(|name| arguments[name].as_str());
            if let Some(named) = named {
                details["argument"] = mask(named).into();
            }
            details["layer"] = rule.split('.').next().unwrap_or_default().into();
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
        resource: mask(tool),
        rule,
        trace_id: call.trace_id.to_owned(),
        details,
    }
}
