//! Workers: servers that offer their tools to Arcade, and which this mock calls as Arcade would.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use base64::Engine as _;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac as _};
use jiff::Timestamp;
use serde_json::{Value, json};
use sha2::Sha256;

use super::refusal::Refusal;
use super::tools::Tool;
use crate::stage::lock;

/// How long a worker may take unless it says otherwise.
const TIMEOUT: Duration = Duration::from_secs(30);
/// How long its health and its tools may take.
const PATIENCE: Duration = Duration::from_secs(5);

/// All workers, by id.
#[derive(Debug, Default)]
pub(super) struct Workers {
    all: Mutex<BTreeMap<String, Worker>>,
    /// Made when the first worker is called: it reads the certificates of the machine.
    http: OnceLock<reqwest::Client>,
}

#[derive(Clone, Debug)]
struct Worker {
    id: String,
    enabled: bool,
    kind: String,
    /// `http` or `mcp`, as it was given.
    settings: Value,
    tools: Option<Vec<Arc<Tool>>>,
}

/// A call that came to nothing: the kind of the error and why.
struct Failure(&'static str, String);

impl Worker {
    fn shown(&self) -> Value {
        let mut settings = self.settings.clone();
        if settings.get("secret").is_some() {
            settings["secret"] = json!({"exists": true, "editable": true, "binding": "project"});
        }
        let mut shown = json!({
            "id": self.id,
            "enabled": self.enabled,
            "type": self.kind,
            "managed": false,
            "binding": {"id": "project", "type": "project"},
            "requirements": {"met": true},
        });
        shown[&self.kind] = settings;
        shown
    }

    fn url(&self, path: &str) -> String {
        let uri = self.settings["uri"].as_str().unwrap_or_default();
        format!("{}/worker{path}", uri.trim_end_matches('/'))
    }

    fn token(&self) -> String {
        let secret = self.settings["secret"].as_str().unwrap_or_default();
        token(secret, Timestamp::now().as_second())
    }
}

/// The JWT that opens a worker: HS256, for the audience `worker`, version 1.
fn token(secret: &str, now: i64) -> String {
    let part = |value: &Value| BASE64_URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({"alg": "HS256", "typ": "JWT"}));
    let claims = part(&json!({"aud": "worker", "ver": "1", "iat": now, "exp": now + 60}));
    let signed = format!("{header}.{claims}");
    let signature = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).map(|mut mac| {
        mac.update(signed.as_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes())
    });
    format!("{signed}.{}", signature.unwrap_or_default())
}

impl Workers {
    pub(super) fn clear(&self) {
        lock(&self.all).clear();
    }

    pub(super) fn all(&self) -> Vec<Value> {
        lock(&self.all).values().map(Worker::shown).collect()
    }

    pub(super) fn shown(&self, id: &str) -> Result<Value, Refusal> {
        Ok(self.get(id)?.shown())
    }

    fn get(&self, id: &str) -> Result<Worker, Refusal> {
        let found = lock(&self.all).get(id).cloned();
        found.ok_or_else(|| Refusal::not_found(&format!("worker `{id}` not found")))
    }

    pub(super) async fn create(&self, body: &Value) -> Result<Value, Refusal> {
        let id = super::request::text(body, "id")?.to_owned();
        let kind = if body["mcp"].is_object() {
            "mcp"
        } else {
            "http"
        };
        let mut needed = vec!["uri", "retry", "timeout"];
        if kind == "http" {
            needed.push("secret");
        }
        let settings = &body[kind];
        if !settings.is_object() {
            return Err(Refusal::bad("http or mcp is required".to_owned()));
        }
        for name in needed {
            if settings[name].is_null() {
                return Err(Refusal::bad(format!("{kind}.{name} is required")));
            }
        }
        check(settings, kind)?;
        let worker = Worker {
            id: id.clone(),
            enabled: enabled(body)?.unwrap_or(true),
            kind: kind.to_owned(),
            settings: settings.clone(),
            tools: None,
        };
        let shown = worker.shown();
        {
            let mut all = lock(&self.all);
            if all.contains_key(&id) {
                let message = format!("worker `{id}` exists");
                return Err(Refusal(400, "bad_request", message));
            }
            all.insert(id.clone(), worker);
        }
        self.refresh(&id).await;
        Ok(shown)
    }

    pub(super) async fn patch(&self, id: &str, body: &Value) -> Result<Value, Refusal> {
        let mut worker = self.get(id)?;
        if let Some(enabled) = enabled(body)? {
            worker.enabled = enabled;
        }
        let kind = worker.kind.clone();
        for (name, value) in body[&kind].as_object().into_iter().flatten() {
            worker.settings[name] = value.clone();
        }
        check(&worker.settings, &kind)?;
        worker.tools = None;
        let shown = worker.shown();
        lock(&self.all).insert(id.to_owned(), worker);
        self.refresh(id).await;
        Ok(shown)
    }

    pub(super) fn delete(&self, id: &str) -> Result<(), Refusal> {
        self.get(id)?;
        lock(&self.all).remove(id);
        Ok(())
    }

    /// Whether a worker answers, and takes the token.
    pub(super) async fn health(&self, id: &str) -> Result<Value, Refusal> {
        let worker = self.get(id)?;
        let message = if !worker.enabled {
            Err("the worker is disabled".to_owned())
        } else if worker.kind != "http" {
            Err("this mock speaks to workers of type http only".to_owned())
        } else {
            match self.ask(&worker, "/health").await {
                Ok(_) => self.ask(&worker, "/tools").await.map(drop),
                Err(why) => Err(why),
            }
        };
        Ok(json!({
            "id": id,
            "enabled": worker.enabled,
            "healthy": message.is_ok(),
            "message": message.err().unwrap_or_else(|| "ok".to_owned()),
        }))
    }

    /// The tools of a worker, asked for again.
    pub(super) async fn tools_of(&self, id: &str) -> Result<Vec<Arc<Tool>>, Refusal> {
        self.get(id)?;
        self.refresh(id).await;
        Ok(self.get(id)?.tools.unwrap_or_default())
    }

    /// The tools of all workers that are enabled.
    pub(super) async fn tools(&self) -> Vec<Arc<Tool>> {
        let unknown: Vec<String> = {
            let all = lock(&self.all);
            let unknown = all.values().filter(|it| it.enabled && it.tools.is_none());
            unknown.map(|it| it.id.clone()).collect()
        };
        for id in unknown {
            self.refresh(&id).await;
        }
        let all = lock(&self.all);
        let enabled = all.values().filter(|worker| worker.enabled);
        enabled
            .flat_map(|worker| worker.tools.iter().flatten().cloned())
            .collect()
    }

    async fn refresh(&self, id: &str) {
        let Ok(worker) = self.get(id) else {
            return;
        };
        if !worker.enabled || worker.kind != "http" {
            return;
        }
        match self.ask(&worker, "/tools").await {
            Ok(tools) => {
                let tools = tools.as_array().into_iter().flatten();
                let tools = tools
                    .filter_map(|tool| Tool::of_worker(id, tool))
                    .map(Arc::new);
                let tools = tools.collect();
                if let Some(worker) = lock(&self.all).get_mut(id) {
                    worker.tools = Some(tools);
                }
            }
            Err(why) => tracing::debug!(worker = id, why, "a worker's tools are not known"),
        }
    }

    async fn ask(&self, worker: &Worker, path: &str) -> Result<Value, String> {
        let url = worker.url(path);
        let request = self
            .http
            .get_or_init(reqwest::Client::default)
            .get(&url)
            .timeout(PATIENCE)
            .bearer_auth(worker.token());
        let reply = request
            .send()
            .await
            .map_err(|error| format!("{url}: {error}"))?;
        let status = reply.status();
        let text = reply
            .text()
            .await
            .map_err(|error| format!("{url}: {error}"))?;
        if !status.is_success() {
            return Err(format!("{url} answered {status}: {text:.200}"));
        }
        serde_json::from_str(&text).map_err(|error| format!("{url}: {error}"))
    }

    /// Has a worker run its tool; what it says is the output.
    pub(super) async fn invoke(
        &self,
        id: &str,
        tool: &Tool,
        (input, context): (&Value, Value),
        execution: &str,
    ) -> Value {
        let error = |Failure(kind, why)| json!({"error": tool.error(kind, 500, &why)});
        let Ok(worker) = self.get(id) else {
            return tool.run(input);
        };
        let request = json!({
            "run_id": format!("run_{execution}"),
            "execution_id": execution,
            "created_at": Timestamp::now().to_string(),
            "tool": {"name": tool.short(), "toolkit": tool.toolkit(), "version": tool.version},
            "inputs": input,
            "context": context,
        });
        match self.call(&worker, &request).await {
            Ok(reply) => output(&reply),
            Err(failure) => error(failure),
        }
    }

    async fn call(&self, worker: &Worker, body: &Value) -> Result<Value, Failure> {
        let url = worker.url("/tools/invoke");
        let seconds = worker.settings["timeout"]
            .as_u64()
            .filter(|seconds| *seconds > 0);
        let timeout = seconds.map_or(TIMEOUT, Duration::from_secs);
        let retries = worker.settings["retry"].as_u64().unwrap_or_default();
        let mut attempt = 0;
        loop {
            let request = self
                .http
                .get_or_init(reqwest::Client::default)
                .post(&url)
                .timeout(timeout)
                .bearer_auth(worker.token());
            let failure = match request.json(body).send().await {
                Ok(reply) if reply.status().is_success() => {
                    let text = reply.text().await.unwrap_or_default();
                    return serde_json::from_str(&text).map_err(|error| {
                        Failure("UPSTREAM_RUNTIME_UNMAPPED", format!("{url}: {error}"))
                    });
                }
                Ok(reply) => {
                    let kind = match reply.status().as_u16() {
                        401 | 403 => "UPSTREAM_RUNTIME_AUTH_ERROR",
                        404 => "UPSTREAM_RUNTIME_NOT_FOUND",
                        429 => "UPSTREAM_RUNTIME_RATE_LIMIT",
                        500.. => "UPSTREAM_RUNTIME_SERVER_ERROR",
                        _ => "UPSTREAM_RUNTIME_BAD_REQUEST",
                    };
                    let status = reply.status();
                    let text = reply.text().await.unwrap_or_default();
                    return Err(Failure(
                        kind,
                        format!("{url} answered {status}: {text:.200}"),
                    ));
                }
                Err(error) if error.is_timeout() => {
                    Failure("NETWORK_TRANSPORT_RUNTIME_TIMEOUT", error.to_string())
                }
                Err(error) => Failure("NETWORK_TRANSPORT_RUNTIME_UNREACHABLE", error.to_string()),
            };
            attempt += 1;
            if attempt > retries {
                return Err(failure);
            }
        }
    }
}

/// What a worker's reply says, in the Engine's words.
fn output(reply: &Value) -> Value {
    let given = &reply["output"];
    let asked = &given["requires_authorization"];
    let mut output = if reply["success"] == true {
        json!({"value": given["value"]})
    } else if asked.is_object() {
        json!({"authorization": {
            "id": asked["authorization_id"],
            "url": asked["authorization_url"],
            "scopes": asked["scopes"],
            "status": asked["status"],
        }})
    } else {
        json!({"error": given["error"]})
    };
    if !given["logs"].is_null() {
        output["logs"] = given["logs"].clone();
    }
    output
}

fn enabled(body: &Value) -> Result<Option<bool>, Refusal> {
    match &body["enabled"] {
        Value::Null => Ok(None),
        Value::Bool(enabled) => Ok(Some(*enabled)),
        _ => Err(Refusal::bad("enabled must be a boolean".to_owned())),
    }
}

fn check(settings: &Value, kind: &str) -> Result<(), Refusal> {
    let uri = settings["uri"].as_str();
    if uri.is_none_or(|uri| reqwest::Url::parse(uri).is_err()) {
        return Err(Refusal::bad(format!("{kind}.uri must be a URL")));
    }
    for name in ["retry", "timeout"] {
        if !settings[name].is_u64() {
            return Err(Refusal::bad(format!(
                "{kind}.{name} must be a whole number"
            )));
        }
    }
    if kind == "http" && !settings["secret"].is_string() {
        return Err(Refusal::bad("http.secret must be a string".to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_signed_with_the_workers_secret() {
        let signed = token("s3cret", 1_700_000_000);
        let parts: Vec<&str> = signed.split('.').collect();
        let claims = BASE64_URL_SAFE_NO_PAD.decode(parts[1]).unwrap();
        let claims: Value = serde_json::from_slice(&claims).unwrap();
        assert_eq!(
            (&claims["aud"], &claims["ver"]),
            (&json!("worker"), &json!("1"))
        );
        let mut mac = Hmac::<Sha256>::new_from_slice(b"s3cret").unwrap();
        mac.update(format!("{}.{}", parts[0], parts[1]).as_bytes());
        let signature = BASE64_URL_SAFE_NO_PAD.decode(parts[2]).unwrap();
        assert!(mac.verify_slice(&signature).is_ok());
    }
}
