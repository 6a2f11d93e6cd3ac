//! Tools of Arcade: found at the start and every minute, executed for a client. Its outage leaves the others alone.

use super::outcome::{Caller, ToolError, ToolOutput};
use fact_wire::ToolDefinition;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Map, Value, json};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// How often Arcade is asked what it has.
pub const DISCOVERY_EVERY: Duration = Duration::from_mins(1);

/// One tool.
#[derive(Debug, Clone, PartialEq)]
pub struct ArcadeTool {
    /// As callers see it.
    pub definition: ToolDefinition,
    /// Whether Claude may be offered it.
    pub requirements_met: bool,
}

/// The client.
#[derive(Debug, Clone)]
pub struct Arcade {
    http: reqwest::Client,
    url: String,
    key: SecretString,
    tools: Arc<RwLock<Vec<ArcadeTool>>>,
    edition: Arc<AtomicU64>,
}

impl Arcade {
    /// Speaks to this endpoint.
    pub fn new(url: &str, key: SecretString) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            url: url.to_owned(),
            key,
            tools: Arc::default(),
            edition: Arc::default(),
        })
    }

    /// What was found last.
    pub fn tools(&self) -> Vec<ArcadeTool> {
        self.tools
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// Grows whenever the tools have changed.
    pub fn edition(&self) -> u64 {
        self.edition.load(Relaxed)
    }

    /// Asks Arcade for all its tools, page by page. On a failure the earlier list stays.
    pub async fn discover(&self) -> Result<usize, reqwest::Error> {
        let mut found = Vec::new();
        loop {
            let url = format!("{}/v1/tools?limit=100&offset={}", self.url, found.len());
            let page: Value = self
                .request(self.http.get(url))
                .timeout(Duration::from_secs(10))
                .send()
                .await?
                .error_for_status()?
                .json()
                .await?;
            let items = page["items"].as_array().cloned().unwrap_or_default();
            let total = page["total_count"].as_u64().unwrap_or(0);
            let none = items.is_empty();
            found.extend(items.iter().filter_map(tool));
            if none || u64::try_from(found.len()).unwrap_or(u64::MAX) >= total {
                break;
            }
        }
        found.sort_by(|a, b| a.definition.name.cmp(&b.definition.name));
        let number = found.len();
        let mut tools = self.tools.write().unwrap_or_else(PoisonError::into_inner);
        if *tools != found {
            *tools = found;
            self.edition.fetch_add(1, Relaxed);
        }
        Ok(number)
    }

    fn request(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header("authorization", self.key.expose_secret())
    }

    /// Executes a tool as the caller.
    pub async fn execute(
        &self,
        tool: &str,
        caller: &Caller,
        arguments: &Value,
    ) -> Result<ToolOutput, ToolError> {
        let unavailable = || ToolError::Unavailable("Arcade cannot be reached".into());
        let body = json!({ "tool_name": tool, "input": arguments, "user_id": caller.client_id });
        let response = self
            .request(self.http.post(format!("{}/v1/tools/execute", self.url)))
            .json(&body)
            .send()
            .await
            .map_err(|_| unavailable())?;
        let status = response.status().as_u16();
        let answer: Value = response.json().await.map_err(|_| unavailable())?;
        match status {
            200 if answer["success"] == true => {
                Ok(ToolOutput::plain(answer["output"]["value"].clone()))
            }
            200 => Err(ToolError::Failed(
                answer["output"]["error"]["message"]
                    .as_str()
                    .unwrap_or("the tool failed")
                    .to_owned(),
            )),
            403 => Err(ToolError::Failed(
                "the tool needs its user's authorization".into(),
            )),
            400 | 404 | 422 => Err(ToolError::Failed(
                answer["message"]
                    .as_str()
                    .unwrap_or("Arcade refused the call")
                    .to_owned(),
            )),
            _ => Err(unavailable()),
        }
    }
}

fn tool(item: &Value) -> Option<ArcadeTool> {
    let name = item["qualified_name"].as_str()?.to_owned();
    let parameters = item["input"]["parameters"]
        .as_array()
        .cloned()
        .unwrap_or_default();
    let mut properties = Map::new();
    let mut required = Vec::new();
    for parameter in &parameters {
        let Some(parameter_name) = parameter["name"].as_str() else {
            continue;
        };
        properties.insert(parameter_name.to_owned(), schema(parameter));
        if parameter["required"] == true {
            required.push(parameter_name);
        }
    }
    let definition = ToolDefinition {
        name,
        description: item["description"].as_str().unwrap_or_default().to_owned(),
        input_schema: json!({ "type": "object", "properties": properties, "required": required }),
        version: item["toolkit"]["version"]
            .as_str()
            .unwrap_or("1")
            .to_owned(),
    };
    Some(ArcadeTool {
        definition,
        requirements_met: item["requirements"]["met"].as_bool().unwrap_or(true),
    })
}

fn schema(parameter: &Value) -> Value {
    let value = &parameter["value_schema"];
    let name = |kind: &Value| match kind.as_str() {
        Some("json") | None => "object".to_owned(),
        Some(kind) => kind.to_owned(),
    };
    let mut schema = json!({ "type": name(&value["val_type"]) });
    if value["val_type"] == "array" {
        schema["items"] = json!({ "type": name(&value["inner_val_type"]) });
    } else if value["enum"].is_array() {
        schema["enum"] = value["enum"].clone();
    }
    if let Some(description) = parameter["description"].as_str() {
        schema["description"] = description.into();
    }
    schema
}
