//! The tools: what there is, who may use it, and one call from its name to its audited outcome.

pub mod arcade;
mod attempts;
pub(crate) mod authorization;
mod built_in;
mod endpoint;
pub mod files;
mod gate;
pub mod outcome;
pub mod registry;
mod schema;
pub mod sql;
mod tool;
mod usage;
pub mod web;

use crate::audit::{Audit, Happening, Receipt};
use crate::auth::Principal;
use crate::consent::{Consents, Vault, Whose};
use crate::mask::mask;
use crate::metrics::Metrics;
use crate::overhead::outside;
use crate::store::{Store, StoreError};
use arcade::Arcade;
use endpoint::Endpoint;
use fact_guard::Rule;
use fact_wire::{RegisterRequest, ToolDefinition};
use files::Files;
use outcome::{ToolError, ToolOutput};
use registry::{Beside, RegisterError, Registry, RemoveError};
use serde_json::{Value, json};
use sql::Database;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::time::Instant;
use tool::{ArcadeCall, Backing, Tool};
use usage::{Ended, Usage};
use web::{Reach, Web};

/// What the tools are made of.
#[derive(Debug)]
pub struct Sources {
    /// Behind the SQL tools.
    pub database: Database,
    /// Behind the file tools, where there are some.
    pub files: Option<Arc<Files>>,
    /// The web tool.
    pub web: Web,
    /// Where there is one.
    pub arcade: Option<Arcade>,
    /// Keeps what administrators register.
    pub store: Store,
    /// Encrypts it.
    pub vault: Vault,
    /// What persons consented to.
    pub consents: Consents,
    /// For one call, unless its tool says otherwise.
    pub timeout: Duration,
}

/// All tools of this engine.
#[derive(Debug, Clone)]
pub struct Tools {
    pub(crate) database: Database,
    pub(crate) files: Option<Arc<Files>>,
    pub(crate) web: Web,
    pub(crate) arcade: Option<Arcade>,
    pub(crate) metrics: Arc<Metrics>,
    pub(crate) audit: Audit,
    built_in: Arc<BTreeMap<String, Arc<Tool>>>,
    registry: Arc<Registry>,
    consents: Consents,
    usage: Arc<Usage>,
}

/// Who called: the model within a question, or a client directly.
#[derive(Debug, Clone, Copy)]
pub struct Call<'a> {
    /// For whom.
    pub principal: &'a Principal,
    /// In whose name: the client's own, or that of a person that it acts for.
    pub person: &'a str,
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
    /// The tools of these sources, and those that were registered earlier.
    pub async fn new(
        sources: Sources,
        metrics: Arc<Metrics>,
        audit: Audit,
    ) -> Result<Self, StoreError> {
        let Sources {
            database,
            files,
            web,
            arcade,
            store,
            vault,
            consents,
            timeout,
        } = sources;
        Ok(Self {
            built_in: Arc::new(built_in::all(timeout, files.is_some())),
            registry: Arc::new(Registry::load(store, vault, timeout).await?),
            consents,
            usage: Arc::default(),
            database,
            files,
            web,
            arcade,
            metrics,
            audit,
        })
    }

    /// Grows whenever somebody's tools have changed.
    pub fn edition(&self) -> u64 {
        let arcade = self.arcade.as_ref().map_or(0, Arcade::edition);
        arcade + self.registry.edition() + self.consents.edition()
    }

    /// What Claude is given when the principal asks for a person, sorted by name; whether one of it acts for that
    /// person.
    pub fn offered(&self, principal: &Principal, person: &str) -> (Vec<ToolDefinition>, bool) {
        let mut personal = false;
        let mut offered = Vec::new();
        for tool in self.all(&principal.client.tenant) {
            if !principal.may_use(&tool.definition.name) {
                continue;
            }
            let definition = self.defined(&tool, principal, person);
            if definition.requirements_met {
                personal |= match &tool.backing {
                    Backing::BuiltIn => false,
                    Backing::Arcade(_) => true,
                    Backing::Http(endpoint) => endpoint.provider().is_some(),
                };
                offered.push(definition);
            }
        }
        (offered, personal)
    }

    /// One of them, with what was made of it so far.
    pub fn show(&self, principal: &Principal, name: &str) -> Option<ToolDefinition> {
        let tool = self.find(&principal.client.tenant, name)?;
        let granted = principal.may_use(&tool.definition.name);
        granted.then(|| self.shown(&tool, principal))
    }

    /// All that the principal may use, with what was made of it so far.
    pub fn show_all(&self, principal: &Principal) -> Vec<ToolDefinition> {
        self.all(&principal.client.tenant)
            .iter()
            .filter(|tool| principal.may_use(&tool.definition.name))
            .map(|tool| self.shown(tool, principal))
            .collect()
    }

    fn shown(&self, tool: &Tool, principal: &Principal) -> ToolDefinition {
        let name = &tool.definition.name;
        let http = match &tool.backing {
            Backing::Http(endpoint) if principal.may("admin") => Some(endpoint.shown()),
            _ => None,
        };
        ToolDefinition {
            usage: Some(self.usage.of(&principal.client.tenant, name)),
            http,
            ..self.defined(tool, principal, &principal.client.id)
        }
    }

    /// Its definition, as far as it depends on who asks and for whom.
    fn defined(&self, tool: &Tool, principal: &Principal, person: &str) -> ToolDefinition {
        let requirements_met = match &tool.backing {
            Backing::BuiltIn => true,
            Backing::Http(endpoint) => endpoint.provider().is_none_or(|provider| {
                let tenant = &principal.client.tenant;
                let whose = Whose::new(tenant, person, &tool.definition.name);
                self.consents.has(&whose, provider)
            }),
            Backing::Arcade(call) => self.arcade.as_ref().is_some_and(|arcade| {
                let known = arcade.tools();
                known.get(&call.name).is_some_and(|known| {
                    let Backing::Arcade(call) = &known.backing else {
                        return false;
                    };
                    arcade.is_usable(known, call, person)
                })
            }),
        };
        ToolDefinition {
            requirements_met,
            ..tool.definition.clone()
        }
    }

    fn find(&self, tenant: &str, name: &str) -> Option<Arc<Tool>> {
        if let Some(tool) = self.built_in.get(name) {
            return Some(tool.clone());
        }
        if let Some(tool) = self.registry.find(tenant, name) {
            return Some(tool);
        }
        let arcade = self.arcade.as_ref()?;
        let tool = arcade.tools().get(name)?.clone();
        // A registered tool that Claude would take for it is there instead.
        let alike = |other: &Arc<Tool>| claude_name(&other.definition.name) == claude_name(name);
        let hidden = self.registry.of(tenant).iter().any(alike);
        (!hidden).then_some(tool)
    }

    /// Every tool that there is for a tenant, sorted by name.
    fn all(&self, tenant: &str) -> Vec<Arc<Tool>> {
        // Of two tools that Claude would know by one name the first stays.
        let mut all: BTreeMap<String, Arc<Tool>> = BTreeMap::new();
        let arcade = self.arcade.as_ref().map(Arcade::tools).unwrap_or_default();
        let registered = self.registry.of(tenant);
        let tools = self.built_in.values().chain(&registered);
        for tool in tools.chain(arcade.values()) {
            let name = claude_name(&tool.definition.name);
            all.entry(name).or_insert_with(|| tool.clone());
        }
        let mut all: Vec<Arc<Tool>> = all.into_values().collect();
        all.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        all
    }

    /// Why a name that Claude was not offered is not called.
    pub fn not_offered(&self, principal: &Principal, name: &str) -> Rule {
        let exists = |tool: &Arc<Tool>| claude_name(&tool.definition.name) == name;
        if self.all(&principal.client.tenant).iter().any(exists) {
            Rule::ToolScope
        } else {
            Rule::ToolUnknown
        }
    }

    /// Registers a tool for the principal's tenant.
    pub async fn register(
        &self,
        request: RegisterRequest,
        principal: &Principal,
    ) -> Result<ToolDefinition, RegisterError> {
        let client = &principal.client;
        let arcade = self.arcade.as_ref().map(Arcade::tools).unwrap_or_default();
        let others: Vec<Arc<Tool>> = self
            .built_in
            .values()
            .chain(arcade.values())
            .cloned()
            .collect();
        let beside = Beside {
            others: &others,
            web: &self.web,
        };
        let who = (client.tenant.as_str(), client.id.as_str());
        let tool = self.registry.register(request, who, beside).await?;
        Ok(self.shown(&tool, principal))
    }

    /// Forgets a registered tool of the principal's tenant.
    pub async fn remove(&self, name: &str, principal: &Principal) -> Result<(), RemoveError> {
        let tenant = &principal.client.tenant;
        if self.registry.remove(tenant, name).await? {
            self.consents.forget_tool(tenant, name).await?;
            self.usage.forget(tenant, name);
            return Ok(());
        }
        match self.find(tenant, name) {
            Some(_) => Err(RemoveError::NotRegistered),
            None => Err(RemoveError::Unknown),
        }
    }

    /// One call: granted, checked, run in time, handed to the audit log.
    pub async fn execute(&self, call: Call<'_>, tool: &str, arguments: &Value) -> Executed {
        self.metrics.tool_executions.fetch_add(1, Relaxed);
        let mut running = Running {
            tools: self,
            call,
            tool,
            arguments,
            began: Instant::now(),
            done: false,
        };
        let outcome = outside(self.attempt(call, tool, arguments)).await;
        running.done = true;
        self.finished(call, tool, arguments, outcome, running.began)
    }

    /// A call that is not made, with its audit event.
    pub fn refuse(&self, call: Call<'_>, tool: &str, arguments: &Value, rule: Rule) -> Executed {
        let refused = Err(ToolError::refused(rule));
        self.finished(call, tool, arguments, refused, Instant::now())
    }

    fn finished(
        &self,
        call: Call<'_>,
        tool: &str,
        arguments: &Value,
        outcome: Result<ToolOutput, ToolError>,
        began: Instant,
    ) -> Executed {
        let rule = outcome.as_ref().err().and_then(ToolError::rule);
        if let Some(rule) = rule {
            tracing::warn!(rule, tool = mask(tool), "a tool call is refused");
            self.metrics.refusals.fetch_add(1, Relaxed);
        }
        let known = if self.exists(call.principal, tool) {
            tool
        } else {
            "unknown"
        };
        let named = match (&outcome, rule) {
            (Ok(_), _) => "success",
            (Err(_), None) => "failure",
            (Err(_), Some(_)) => "refused",
        };
        self.metrics
            .tool_calls
            .with([known, named])
            .record(began.elapsed());
        let ended = match (&outcome, rule) {
            (Ok(_), _) => Ended::Success,
            (Err(_), None) => Ended::Failure,
            (Err(_), Some(_)) => Ended::Refused,
        };
        self.count(call, tool, ended, began);
        let audited = self
            .audit
            .submit(happening(call, tool, arguments, &outcome));
        Executed { outcome, audited }
    }

    fn count(&self, call: Call<'_>, tool: &str, ended: Ended, began: Instant) {
        let tenant = call.principal.client.tenant.as_str();
        if self.find(tenant, tool).is_some() {
            let now = jiff::Timestamp::now();
            let who = (tenant, tool);
            self.usage.count(who, ended, began.elapsed(), now);
        }
    }

    /// Whether there is a tool of this name for the principal, granted or not.
    pub fn exists(&self, principal: &Principal, tool: &str) -> bool {
        self.find(&principal.client.tenant, tool).is_some()
    }

    /// Whether a call would be made: its tool granted, its arguments good.
    pub fn is_callable(&self, principal: &Principal, tool: &str, arguments: &Value) -> bool {
        let granted = self.granted(principal, tool);
        granted.is_ok_and(|tool| tool.read(arguments).is_ok())
    }

    fn granted(&self, principal: &Principal, tool: &str) -> Result<Arc<Tool>, ToolError> {
        let found = self
            .find(&principal.client.tenant, tool)
            .ok_or_else(|| ToolError::refused(Rule::ToolUnknown))?;
        if !principal.may_use(tool) {
            return Err(ToolError::refused(Rule::ToolScope));
        }
        Ok(found)
    }

    async fn attempt(
        &self,
        call: Call<'_>,
        tool: &str,
        arguments: &Value,
    ) -> Result<ToolOutput, ToolError> {
        let tool = self.granted(call.principal, tool)?;
        let arguments = tool.read(arguments)?;
        let _room = tool.gate.enter(std::time::Instant::now())?;
        let deadline = Instant::now() + tool.timeout();
        let running = self.run(call, &tool, &arguments, deadline);
        let output = tokio::time::timeout_at(deadline, running).await;
        tool.judge(output.unwrap_or(Err(ToolError::Timeout))?)
    }

    async fn run(
        &self,
        call: Call<'_>,
        tool: &Tool,
        arguments: &Value,
        deadline: Instant,
    ) -> Result<ToolOutput, ToolError> {
        let most_bytes = tool.definition.limits.max_bytes;
        match &tool.backing {
            Backing::BuiltIn => self.run_own(call, &tool.definition.name, arguments).await,
            Backing::Http(endpoint) => {
                self.run_endpoint(call, tool, endpoint, arguments, deadline)
                    .await
            }
            Backing::Arcade(registered) => {
                let arcade = self.arcade.as_ref().ok_or_else(absent)?;
                // What Arcade says of it now stands above what was known when it was registered.
                let known = arcade.tools().get(&registered.name).cloned();
                let known: Option<&ArcadeCall> =
                    known.as_ref().and_then(|known| match &known.backing {
                        Backing::Arcade(call) => Some(call),
                        _ => None,
                    });
                let tool = known.unwrap_or(registered);
                arcade
                    .execute(tool, call.person, arguments, most_bytes, deadline)
                    .await
            }
        }
    }

    /// By the person's consent, where the endpoint acts for one.
    async fn run_endpoint(
        &self,
        call: Call<'_>,
        tool: &Tool,
        endpoint: &Endpoint,
        arguments: &Value,
        deadline: Instant,
    ) -> Result<ToolOutput, ToolError> {
        let (web, most_bytes) = (&self.web, tool.definition.limits.max_bytes);
        let Some(provider) = endpoint.provider() else {
            return endpoint
                .execute(web, arguments, None, most_bytes, deadline)
                .await;
        };
        let client = &call.principal.client;
        let whose = Whose::new(&client.tenant, call.person, &tool.definition.name);
        let token = self.consents.token(&client.id, &whose, provider).await?;
        let with = Some(token.clone());
        let executed = endpoint.execute(web, arguments, with, most_bytes, deadline);
        match executed.await {
            Err(ToolError::AuthorizationRequired { .. }) => Err(self
                .consents
                .withdrawn(&client.id, &whose, provider, &token)
                .await),
            outcome => outcome,
        }
    }

    async fn run_own(
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
            "FileSystem.ReadFile" => {
                let files = self.files.as_ref().ok_or_else(absent)?;
                files.read_file(arguments).await
            }
            "FileSystem.ListDirectory" => {
                let files = self.files.as_ref().ok_or_else(absent)?;
                files.list_directory(arguments).await
            }
            _ => Err(absent()),
        }
    }
}

fn absent() -> ToolError {
    ToolError::NotFound("no such tool".into())
}

/// A call under way. Whoever asked may leave, or the time may be over: what ran leaves its event all the same.
struct Running<'a> {
    tools: &'a Tools,
    call: Call<'a>,
    tool: &'a str,
    arguments: &'a Value,
    began: Instant,
    done: bool,
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        if !self.done {
            let given_up = Err(ToolError::Failed("given up".into()));
            let happening = happening(self.call, self.tool, self.arguments, &given_up);
            self.tools
                .count(self.call, self.tool, Ended::Failure, self.began);
            drop(self.tools.audit.submit(happening));
        }
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
        Err(error) if error.rule().is_some() => {
            let rule = error.rule().unwrap_or_default();
            // A statement's literals are its asker's; what a path or URL names is what was tried.
            let named = ["path", "url"]
                .iter()
                .find_map(|name| arguments[name].as_str());
            if let Some(named) = named {
                details["argument"] = mask(named).into();
            }
            details["layer"] = rule.split('.').next().unwrap_or_default().into();
            if let ToolError::Refused {
                place: Some((line, column)),
                ..
            } = error
            {
                details["line"] = (*line).into();
                details["column"] = (*column).into();
            }
            ("refusal", "refused", Some(rule.to_owned()))
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
