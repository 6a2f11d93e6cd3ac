//! What Arcade has: asked at the start and every minute, and every two seconds while Arcade is unwell.

use super::super::built_in::TOOLKITS;
use super::super::tool::{ArcadeCall, Backing, MOST_BYTES, Tool};
use super::{Arcade, Inner};
use crate::store::Store;
use fact_wire::{ToolDefinition, ToolKind, ToolLimits};
use serde_json::{Map, Value, json};
use std::collections::{BTreeMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How often Arcade is asked what it has.
const DISCOVERY_EVERY: Duration = Duration::from_mins(1);
/// How often, after an attempt that failed.
const RECOVERY_EVERY: Duration = Duration::from_secs(2);
/// For one page.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);
const RECOVERY_TIMEOUT: Duration = Duration::from_secs(2);
/// For all pages at the start, which waits for them.
const START_TIMEOUT: Duration = Duration::from_secs(2);
/// Nobody has more tools than that.
const MOST_TOOLS: usize = 10_000;
/// Calls of one tool at once.
const MOST_AT_ONCE: u32 = 128;

/// Why the tools are not known.
#[derive(Debug, thiserror::Error)]
pub enum DiscoveryError {
    /// Arcade cannot be reached, or does not answer as it should.
    #[error("Arcade's list of tools cannot be read")]
    Request(#[from] reqwest::Error),
    /// It takes too long.
    #[error("Arcade's list of tools does not come in time")]
    Slow,
}

impl Arcade {
    /// Asks once, for a while; who starts need not wait for an Arcade that hangs. `store`: who consented there.
    pub async fn start(&self, store: Store) {
        self.remember(store).await;
        let found = tokio::time::timeout(START_TIMEOUT, self.discover()).await;
        if let Err(error) = found.unwrap_or(Err(DiscoveryError::Slow)) {
            tracing::warn!(%error, "Arcade's tools are not known yet");
        }
    }

    /// Keeps what is known up to date, for ever.
    pub async fn tend(self) {
        let mut asked = Instant::now();
        loop {
            tokio::time::sleep(RECOVERY_EVERY).await;
            if self.health() && asked.elapsed() < DISCOVERY_EVERY {
                continue;
            }
            let breaker = &self.0.breaker;
            let now = std::time::Instant::now();
            if breaker.is_open() && breaker.admit(now).is_err() {
                continue;
            }
            asked = Instant::now();
            match self.discover().await {
                Ok(_) => breaker.succeeded(),
                Err(error) => {
                    if breaker.is_open() {
                        breaker.failed(std::time::Instant::now());
                    }
                    tracing::warn!(%error, "the earlier list stays");
                }
            }
        }
    }

    /// Asks Arcade for all its tools, page by page; how many there are. On a failure the earlier list stays.
    pub async fn discover(&self) -> Result<usize, DiscoveryError> {
        let listed = self.list(None).await;
        self.0.discovered.store(listed.is_ok(), Relaxed);
        let items = listed?;
        let number = self.0.keep(&items);
        for person in self.0.consents.persons() {
            let items = self.list(Some(&person)).await?;
            let met = |item: &&Value| item["requirements"]["met"] == true;
            let name = |item: &Value| item["qualified_name"].as_str().map(str::to_owned);
            let granted: HashSet<String> = items.iter().filter(met).filter_map(name).collect();
            if self.0.consents.replace(&person, granted) {
                self.0.edition.fetch_add(1, Relaxed);
            }
        }
        Ok(number)
    }

    async fn list(&self, person: Option<&str>) -> Result<Vec<Value>, DiscoveryError> {
        let well = self.health();
        let mut found: Vec<Value> = Vec::new();
        loop {
            let mut path = format!("/v1/tools?limit=100&offset={}", found.len());
            if let Some(person) = person {
                path.push_str("&user_id=");
                path.extend(url::form_urlencoded::byte_serialize(person.as_bytes()));
            }
            let mut page: Value = self
                .0
                .upstream
                .get(&path)
                .timeout(if well { PAGE_TIMEOUT } else { RECOVERY_TIMEOUT })
                .send()
                .await?
                .error_for_status()?
                .json()
                .await?;
            let total = page["total_count"].as_u64().unwrap_or(0);
            let Value::Array(items) = page["items"].take() else {
                return Ok(found);
            };
            let none = items.is_empty();
            found.extend(items);
            let all = u64::try_from(found.len()).unwrap_or(u64::MAX) >= total;
            if none || all || found.len() >= MOST_TOOLS {
                return Ok(found);
            }
        }
    }
}

impl Inner {
    /// Those that stay as they were keep their limits' state.
    fn keep(&self, items: &[Value]) -> usize {
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        let mut found = BTreeMap::new();
        let mut changed = false;
        for (definition, backing) in items.iter().filter_map(|item| read(item, self.timeout)) {
            let name = definition.name.clone();
            let known = tools
                .get(&name)
                .filter(|known| known.definition == definition && known.backing == backing);
            let made = known
                .cloned()
                .or_else(|| Tool::new(definition, backing).ok().map(Arc::new));
            let Some(tool) = made else {
                tracing::warn!(name, "a tool of Arcade's has a schema that is none");
                continue;
            };
            changed |= known.is_none();
            found.insert(name, tool);
        }
        changed |= found.len() != tools.len();
        let number = found.len();
        if changed {
            *tools = Arc::new(found);
            self.edition.fetch_add(1, Relaxed);
        }
        number
    }
}

fn read(item: &Value, timeout: Duration) -> Option<(ToolDefinition, Backing)> {
    let name = item["qualified_name"].as_str()?.to_owned();
    let toolkit = name.split('.').next().unwrap_or_default();
    if TOOLKITS.contains(&toolkit) {
        return None;
    }
    let requirements = &item["requirements"];
    let mut secrets = requirements["secrets"].as_array().into_iter().flatten();
    let behavior = &item["metadata"]["behavior"];
    let call = ArcadeCall {
        name: name.clone(),
        repeatable: behavior["read_only"] == true || behavior["idempotent"] == true,
        acts_for_a_person: requirements["authorization"].is_object(),
        consent_is_enough: requirements["authorization"].is_object()
            && secrets.all(|secret| secret["met"] != false),
    };
    let definition = ToolDefinition {
        name,
        description: item["description"].as_str().unwrap_or_default().to_owned(),
        input_schema: input_schema(&item["input"]["parameters"]),
        output_schema: output_schema(&item["output"]),
        version: item["toolkit"]["version"]
            .as_str()
            .unwrap_or("1")
            .to_owned(),
        versions: Vec::new(),
        kind: ToolKind::Arcade,
        requirements_met: requirements["met"].as_bool().unwrap_or(true),
        limits: limits(timeout),
        usage: None,
        http: None,
    };
    Some((definition, Backing::Arcade(call)))
}

/// Of a tool of Arcade's.
pub(in crate::tools) fn limits(timeout: Duration) -> ToolLimits {
    ToolLimits {
        timeout_seconds: timeout.as_secs_f64(),
        max_bytes: MOST_BYTES,
        max_rows: None,
        rate_per_minute: None,
        max_concurrent: MOST_AT_ONCE,
    }
}

fn input_schema(parameters: &Value) -> Value {
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in parameters.as_array().into_iter().flatten() {
        let Some(name) = parameter["name"].as_str() else {
            continue;
        };
        let mut schema = value_schema(&parameter["value_schema"], "object");
        if let Some(description) = parameter["description"].as_str() {
            schema["description"] = description.into();
        }
        properties.insert(name.to_owned(), schema);
        if parameter["required"] == true {
            required.push(name);
        }
    }
    json!({ "type": "object", "properties": properties, "required": required })
}

/// What Arcade promises of a result; of `json` it promises nothing.
fn output_schema(output: &Value) -> Option<Value> {
    let schema = value_schema(&output["value_schema"], "");
    let mut modes = output["available_modes"].as_array().into_iter().flatten();
    let may_be_null = modes.any(|mode| mode == "null");
    match schema.get("type") {
        None => None,
        Some(_) if may_be_null => Some(json!({ "anyOf": [schema, { "type": "null" }] })),
        Some(_) => Some(schema),
    }
}

/// `json` as the type that is given for it.
fn value_schema(value: &Value, json: &str) -> Value {
    let of = |kind: &Value| match kind.as_str() {
        Some(kind @ ("string" | "integer" | "number" | "boolean" | "array")) => {
            json!({ "type": kind })
        }
        Some("json") if !json.is_empty() => json!({ "type": json }),
        _ => json!({}),
    };
    let mut schema = of(&value["val_type"]);
    if value["val_type"] == "array" {
        schema["items"] = of(&value["inner_val_type"]);
        if value["enum"].is_array() {
            schema["items"]["enum"] = value["enum"].clone();
        }
    } else if value["enum"].is_array() {
        schema["enum"] = value["enum"].clone();
    }
    schema
}
