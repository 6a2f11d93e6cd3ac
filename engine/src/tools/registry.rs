//! Tools that administrators registered: checked, kept over restarts with their earlier versions, each tenant its own.

use super::built_in::TOOLKITS;
use super::claude_name;
use super::endpoint::Endpoint;
use super::outcome::Violation;
use super::tool::{ArcadeCall, Backing, MOST_BYTES, Tool};
use super::web::Web;
use crate::consent::{Unopened, Vault};
use crate::store::{Kind, Store, StoreError};
use fact_guard::Refusal;
use fact_wire::{
    HttpEndpoint, LimitsRequest, RegisterRequest, RegisteredKind, ToolDefinition, ToolKind,
    ToolLimits,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Of a tenant.
const MOST_TOOLS: usize = 256;
/// Of a tool; older ones are forgotten.
const MOST_VERSIONS: usize = 20;
const LONGEST_NAME: usize = 64;
const LONGEST_VERSION: usize = 64;
const LONGEST_DESCRIPTION: usize = 4_096;
const LONGEST_SCHEMA: usize = 64 * 1024;
const LONGEST_TIMEOUT_SECONDS: f64 = 300.0;
const MOST_AT_ONCE: u32 = 1_024;
/// Unless asked otherwise.
const AT_ONCE: u32 = 64;

/// Why a tool is not registered.
#[derive(Debug, thiserror::Error)]
pub enum RegisterError {
    /// The definition.
    #[error("the definition of the tool does not hold")]
    Invalid(Vec<Violation>),
    /// There is one already.
    #[error("{0}")]
    Conflict(String),
    /// There are as many as there may be.
    #[error("a tenant has at most {MOST_TOOLS} registered tools")]
    TooMany,
    /// Its URL.
    #[error("{}", .0.why)]
    Refused(Refusal),
    /// It cannot be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be encrypted.
    #[error(transparent)]
    Sealed(#[from] Unopened),
}

/// Why a tool is not removed.
#[derive(Debug, thiserror::Error)]
pub enum RemoveError {
    /// There is none.
    #[error("there is no such tool")]
    Unknown,
    /// It was not registered.
    #[error("only registered tools can be removed; this one is the engine's or Arcade's own")]
    NotRegistered,
    /// It cannot be removed.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// A registration as it was accepted.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Registration {
    request: RegisterRequest,
    version: String,
    registered_by: String,
    registered_at: String,
}

/// All versions of a tool, the newest last, as they lie in the store: sealed, for headers and clients have secrets.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Record {
    /// Of this form.
    format: u32,
    tenant: String,
    versions: Vec<Registration>,
}

const FORMAT: u32 = 1;

#[derive(Debug)]
struct Entry {
    tool: Arc<Tool>,
    record: Record,
}

/// The registered tools.
#[derive(Debug)]
pub(super) struct Registry {
    store: Store,
    vault: Vault,
    /// By tenant and name.
    tools: RwLock<HashMap<String, BTreeMap<String, Entry>>>,
    edition: AtomicU64,
    /// One change at a time.
    changing: tokio::sync::Mutex<()>,
    timeout: Duration,
}

/// Where a name stands before a registration.
pub(super) struct Beside<'a> {
    /// The tools of the tenant that were not registered.
    pub(super) others: &'a [Arc<Tool>],
    pub(super) web: &'a Web,
}

impl Registry {
    /// Those that were registered earlier. `timeout`: of a call, unless its tool says otherwise.
    pub(super) async fn load(
        store: Store,
        vault: Vault,
        timeout: Duration,
    ) -> Result<Self, StoreError> {
        let mut tools: HashMap<String, BTreeMap<String, Entry>> = HashMap::new();
        for (key, kept) in store.all::<Value>(Kind::Tool).await? {
            // Earlier engines kept them as they are.
            let plain = kept.is_object();
            let record: Option<Record> = match kept {
                Value::String(sealed) => vault.open(&place(&key), &sealed).ok(),
                kept => serde_json::from_value(kept).ok(),
            };
            let read = record
                .filter(|record| record.format == FORMAT)
                .and_then(|record| {
                    let newest = record.versions.last()?;
                    let tool = made(newest, &record, timeout).ok()?;
                    Some((tool, record))
                });
            let Some((tool, record)) = read else {
                tracing::error!(key, "a registered tool cannot be read and is left out");
                continue;
            };
            if plain && let Ok(sealed) = vault.seal(&place(&key), &record) {
                store.put(Kind::Tool, &key, &sealed, None).await?;
            }
            let own = tools.entry(record.tenant.clone()).or_default();
            own.insert(tool.definition.name.clone(), Entry { tool, record });
        }
        Ok(Self {
            store,
            vault,
            tools: RwLock::new(tools),
            edition: AtomicU64::new(0),
            changing: tokio::sync::Mutex::default(),
            timeout,
        })
    }

    /// Grows with every change.
    pub(super) fn edition(&self) -> u64 {
        self.edition.load(Relaxed)
    }

    pub(super) fn find(&self, tenant: &str, name: &str) -> Option<Arc<Tool>> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let entry = tools.get(tenant)?.get(name)?;
        Some(entry.tool.clone())
    }

    /// Those of a tenant.
    pub(super) fn of(&self, tenant: &str) -> Vec<Arc<Tool>> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let own = tools.get(tenant).into_iter().flat_map(BTreeMap::values);
        own.map(|entry| entry.tool.clone()).collect()
    }

    /// Checks a definition, keeps it, and puts it in the place of an earlier version.
    pub(super) async fn register(
        &self,
        request: RegisterRequest,
        (tenant, client_id): (&str, &str),
        beside: Beside<'_>,
    ) -> Result<Arc<Tool>, RegisterError> {
        let request = normal(request, beside.others).map_err(RegisterError::Invalid)?;
        let violations = mistakes(&request);
        if !violations.is_empty() {
            return Err(RegisterError::Invalid(violations));
        }
        free(&request, beside.others).map_err(RegisterError::Conflict)?;
        if let Some(http) = &request.http {
            beside
                .web
                .judge(&http.url)
                .map_err(RegisterError::Refused)?;
            if let Ok(endpoint) = Endpoint::read(http)
                && let Some(provider) = endpoint.provider()
            {
                provider.judge(beside.web).map_err(RegisterError::Refused)?;
            }
        }
        let _changing = self.changing.lock().await;
        let mut record = self
            .record(tenant, &request.name)
            .map_err(RegisterError::Conflict)?
            .unwrap_or_default();
        if record.versions.is_empty() {
            self.room(tenant, &request.name)?;
        }
        let version = request.version.clone().unwrap_or_else(|| "1".into());
        if record.versions.iter().any(|known| known.version == version) {
            return Err(RegisterError::Conflict(format!(
                "this tool is registered in version `{version}` already; a new one takes its place under another version"
            )));
        }
        tenant.clone_into(&mut record.tenant);
        record.versions.push(Registration {
            request,
            version,
            registered_by: client_id.to_owned(),
            registered_at: jiff::Timestamp::now().to_string(),
        });
        let over = record.versions.len().saturating_sub(MOST_VERSIONS);
        record.versions.drain(..over);
        let tool = match record.versions.last() {
            Some(newest) => made(newest, &record, self.timeout).map_err(RegisterError::Invalid)?,
            None => return Err(RegisterError::TooMany),
        };
        let name = tool.definition.name.clone();
        let key = key(tenant, &name);
        let sealed = self.vault.seal(&place(&key), &record)?;
        self.store.put(Kind::Tool, &key, &sealed, None).await?;
        let entry = Entry {
            tool: tool.clone(),
            record,
        };
        self.change(|tools| {
            let own = tools.entry(tenant.to_owned()).or_default();
            own.insert(name, entry);
        });
        Ok(tool)
    }

    /// Forgets a tool with all its versions; whether there was one.
    pub(super) async fn remove(&self, tenant: &str, name: &str) -> Result<bool, StoreError> {
        let _changing = self.changing.lock().await;
        if self.find(tenant, name).is_none() {
            return Ok(false);
        }
        self.store.remove(Kind::Tool, &key(tenant, name)).await?;
        self.change(|tools| {
            if let Some(own) = tools.get_mut(tenant) {
                own.remove(name);
            }
        });
        Ok(true)
    }

    fn change(&self, change: impl FnOnce(&mut HashMap<String, BTreeMap<String, Entry>>)) {
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut tools);
        self.edition.fetch_add(1, Relaxed);
    }

    /// What there is of this name, unless Claude would take another one for it.
    fn record(&self, tenant: &str, name: &str) -> Result<Option<Record>, String> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let Some(own) = tools.get(tenant) else {
            return Ok(None);
        };
        let same = |other: &&String| *other != name && claude_name(other) == claude_name(name);
        match own.keys().find(same) {
            Some(other) => Err(alike(other)),
            None => Ok(own.get(name).map(|entry| entry.record.clone())),
        }
    }

    fn room(&self, tenant: &str, name: &str) -> Result<(), RegisterError> {
        let tools = self.tools.read().unwrap_or_else(PoisonError::into_inner);
        let own = tools.get(tenant);
        if own.is_some_and(|own| own.len() >= MOST_TOOLS && !own.contains_key(name)) {
            return Err(RegisterError::TooMany);
        }
        Ok(())
    }
}

impl Default for Record {
    fn default() -> Self {
        Self {
            format: FORMAT,
            tenant: String::new(),
            versions: Vec::new(),
        }
    }
}

/// A name has no slash.
fn key(tenant: &str, name: &str) -> String {
    format!("{tenant}/{name}")
}

/// Where a tool is sealed for.
fn place(key: &str) -> [&str; 2] {
    ["tool", key]
}

fn alike(other: &str) -> String {
    format!("the model could not tell this name from `{other}`")
}

/// Whether the name is nobody else's. An Arcade tool may be registered under its own name, with limits of its own.
fn free(request: &RegisterRequest, others: &[Arc<Tool>]) -> Result<(), String> {
    let toolkit = request.name.split('.').next().unwrap_or_default();
    if TOOLKITS.iter().any(|own| own.eq_ignore_ascii_case(toolkit)) {
        return Err(format!("the toolkit `{toolkit}` is the engine's own"));
    }
    let arcade = request.arcade.as_ref();
    let own = arcade.and_then(|arcade| arcade.tool_name.as_deref());
    for other in others {
        let name = &other.definition.name;
        if *name == request.name && own != Some(name) {
            return Err("there is a tool of this name already".into());
        }
        if *name != request.name && claude_name(name) == claude_name(&request.name) {
            return Err(alike(name));
        }
    }
    Ok(())
}

/// The request with its short forms written out.
fn normal(
    mut request: RegisterRequest,
    others: &[Arc<Tool>],
) -> Result<RegisterRequest, Vec<Violation>> {
    let wrong = |path: &str, message: &str| Err(vec![violation(path, message)]);
    if let Some(url) = request.url.take() {
        if request.http.is_some() {
            return wrong("/url", "is given twice, here and in `http`");
        }
        request.http = Some(HttpEndpoint {
            url,
            ..HttpEndpoint::default()
        });
    }
    let (method, headers) = (request.method.take(), request.headers.take());
    match &mut request.http {
        Some(http) => {
            if (method.is_some() && http.method.is_some())
                || (headers.is_some() && !http.headers.is_empty())
            {
                return wrong("/http", "repeats what stands beside it");
            }
            http.method = http.method.take().or(method);
            http.headers.extend(headers.unwrap_or_default());
            if let Some(seconds) = http.timeout_seconds.take() {
                request.limits.timeout_seconds.get_or_insert(seconds);
            }
        }
        None if method.is_some() || headers.is_some() => {
            return wrong("/http/url", "is missing");
        }
        None => {}
    }
    let known = |name: &str| others.iter().find(|other| other.definition.name == name);
    let is_arcade = |tool: &&Arc<Tool>| matches!(tool.backing, Backing::Arcade(_));
    let kind = request.kind.or(match (&request.http, &request.arcade) {
        (Some(_), _) => Some(RegisteredKind::Http),
        (None, Some(_)) => Some(RegisteredKind::Arcade),
        (None, None) => known(&request.name)
            .filter(is_arcade)
            .map(|_| RegisteredKind::Arcade),
    });
    request.kind = kind;
    match kind {
        None => return wrong("/kind", "is missing"),
        Some(RegisteredKind::Http) if request.arcade.is_some() => {
            return wrong("/arcade", "does not belong to an HTTP tool");
        }
        Some(RegisteredKind::Http) if request.http.is_none() => {
            return wrong("/http", "is missing");
        }
        Some(RegisteredKind::Http) => {}
        Some(RegisteredKind::Arcade) if request.http.is_some() => {
            return wrong("/http", "does not belong to an Arcade tool");
        }
        Some(RegisteredKind::Arcade) => {
            let arcade = request.arcade.get_or_insert_default();
            let name = arcade.tool_name.get_or_insert(request.name.clone()).clone();
            if request.input_schema.is_none() {
                let tool = known(&name).filter(is_arcade);
                request.input_schema = tool.map(|tool| tool.definition.input_schema.clone());
            }
        }
    }
    Ok(request)
}

/// One entry per mistake in a request whose short forms are written out.
fn mistakes(request: &RegisterRequest) -> Vec<Violation> {
    let mut violations = Vec::new();
    let mut wrong = |path: &str, message: String| violations.push(violation(path, &message));
    if !is_name(&request.name) {
        let message = "is not `Toolkit.Tool`, of letters, digits and underscores";
        wrong("/name", message.into());
    }
    if request.name.len() > LONGEST_NAME {
        wrong("/name", format!("is longer than {LONGEST_NAME} characters"));
    }
    if request.description.trim().is_empty() {
        wrong("/description", "is blank".into());
    }
    if request.description.len() > LONGEST_DESCRIPTION {
        let message = format!("is longer than {LONGEST_DESCRIPTION} bytes");
        wrong("/description", message);
    }
    if let Some(version) = &request.version
        && (version.trim().is_empty() || version.len() > LONGEST_VERSION)
    {
        let message = format!("is blank, or longer than {LONGEST_VERSION} bytes");
        wrong("/version", message);
    }
    match &request.input_schema {
        None => wrong("/input_schema", "is missing".into()),
        Some(schema) if schema["type"] != "object" => {
            wrong("/input_schema/type", "is not `object`".into());
        }
        Some(schema) => {
            // The model's service takes none of these.
            for keyword in ["allOf", "anyOf", "oneOf"] {
                if schema.get(keyword).is_some() {
                    let path = format!("/input_schema/{keyword}");
                    wrong(&path, "does not belong to the top level".into());
                }
            }
        }
    }
    let schemas = [
        ("/input_schema", &request.input_schema),
        ("/output_schema", &request.output_schema),
    ];
    for (path, schema) in schemas {
        let length = schema.as_ref().map_or(0, |schema| schema.to_string().len());
        if length > LONGEST_SCHEMA {
            wrong(path, format!("is longer than {LONGEST_SCHEMA} bytes"));
        }
    }
    if let Some(Err((field, message))) = request.http.as_ref().map(Endpoint::read) {
        wrong(&format!("/http{field}"), message);
    }
    let LimitsRequest {
        timeout_seconds,
        rate_per_minute,
        max_concurrent,
        max_bytes,
    } = request.limits;
    let good_timeout = |seconds: f64| seconds > 0.0 && seconds <= LONGEST_TIMEOUT_SECONDS;
    if !timeout_seconds.is_none_or(good_timeout) {
        let message = format!("is not over 0 and at most {LONGEST_TIMEOUT_SECONDS}");
        wrong("/limits/timeout_seconds", message);
    }
    if rate_per_minute == Some(0) {
        wrong("/limits/rate_per_minute", "is below 1".into());
    }
    if !max_concurrent.is_none_or(|at_once| (1..=MOST_AT_ONCE).contains(&at_once)) {
        let message = format!("is not between 1 and {MOST_AT_ONCE}");
        wrong("/limits/max_concurrent", message);
    }
    if !max_bytes.is_none_or(|bytes| (1..=MOST_BYTES).contains(&bytes)) {
        let message = format!("is not between 1 and {MOST_BYTES}");
        wrong("/limits/max_bytes", message);
    }
    violations
}

fn is_name(name: &str) -> bool {
    let word = |word: &str| {
        !word.is_empty()
            && word
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    name.split_once('.')
        .is_some_and(|(toolkit, tool)| word(toolkit) && word(tool))
}

/// The tool of a registration.
fn made(
    registration: &Registration,
    record: &Record,
    timeout: Duration,
) -> Result<Arc<Tool>, Vec<Violation>> {
    let request = &registration.request;
    let (kind, backing) = match (&request.http, &request.arcade) {
        (Some(http), _) => {
            let endpoint = Endpoint::read(http)
                .map_err(|(field, message)| vec![violation(&format!("/http{field}"), &message)])?;
            (ToolKind::Http, Backing::Http(Box::new(endpoint)))
        }
        (None, arcade) => {
            let name = arcade.as_ref().and_then(|arcade| arcade.tool_name.clone());
            let call = ArcadeCall {
                name: name.unwrap_or_else(|| request.name.clone()),
                repeatable: false,
                acts_for_a_person: false,
                consent_is_enough: false,
            };
            (ToolKind::Arcade, Backing::Arcade(call))
        }
    };
    let limits = &request.limits;
    let definition = ToolDefinition {
        name: request.name.clone(),
        description: request.description.clone(),
        input_schema: request.input_schema.clone().unwrap_or(Value::Null),
        output_schema: request.output_schema.clone(),
        version: registration.version.clone(),
        versions: record
            .versions
            .iter()
            .map(|registration| registration.version.clone())
            .collect(),
        kind,
        requirements_met: true,
        limits: ToolLimits {
            timeout_seconds: limits.timeout_seconds.unwrap_or(timeout.as_secs_f64()),
            max_bytes: limits.max_bytes.unwrap_or(MOST_BYTES),
            max_rows: None,
            rate_per_minute: limits.rate_per_minute,
            max_concurrent: limits.max_concurrent.unwrap_or(AT_ONCE),
        },
        usage: None,
        http: None,
    };
    Tool::new(definition, backing).map(Arc::new)
}

fn violation(path: &str, message: &str) -> Violation {
    Violation {
        path: path.to_owned(),
        message: message.to_owned(),
    }
}

#[cfg(test)]
mod tests;
