//! The Arcade Engine API: health, tools, and running them.

mod tools;

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use serde_json::{Value, json};

use crate::body::{Answer, Recording};
use crate::control;
use crate::draw;
use crate::journal::{self, Upstream};
use crate::script::ArcadeTool;
use crate::stage::{Stage, describe, lock, wait_until};
use tools::Tool;

/// The largest body that is taken, in bytes.
const BODY_LIMIT: usize = 4 * 1024 * 1024;
/// How many tools a page has unless asked, and at most.
const PAGE: usize = 25;
const PAGE_MAX: usize = 100;

#[derive(Debug)]
struct Arcade {
    stage: Arc<Stage>,
    tools: Vec<Tool>,
    /// Executions by tool and whether they succeeded.
    ledger: std::sync::Mutex<BTreeMap<(String, bool), u64>>,
}

/// A refusal: status, name and message.
struct Refusal(u16, &'static str, String);

/// The routes of the mock, its control plane included.
pub(crate) fn routes(stage: &Arc<Stage>, scripted: Vec<ArcadeTool>) -> Router {
    let arcade = Arc::new(Arcade {
        stage: Arc::clone(stage),
        tools: tools::all(scripted),
        ledger: std::sync::Mutex::default(),
    });
    let [for_reset, for_ledger] = [(); 2].map(|()| Arc::clone(&arcade));
    Router::new()
        .route("/v1/health", get(health))
        .route("/v1/tools", get(list))
        .route("/v1/tools/{name}", get(one))
        .route("/v1/tools/execute", post(execute))
        .fallback(nothing_here)
        .with_state(arcade)
        .merge(control::routes(
            stage,
            move || lock(&for_reset.ledger).clear(),
            move || for_ledger.lines(),
        ))
}

impl Arcade {
    fn lines(&self) -> Value {
        lock(&self.ledger)
            .iter()
            .map(|((tool, success), executions)| {
                json!({"tool": tool, "success": success, "executions": executions})
            })
            .collect()
    }

    fn recording(&self, parts: &Parts) -> Recording {
        let what = format!("{} {}", parts.method, parts.uri.path());
        Recording::start(&self.stage.journal, Upstream::Arcade, what)
    }

    /// Names match whatever their case, with a version or not, and with `_` for the dot.
    fn find(&self, name: &str) -> Option<&Tool> {
        let name = name.split('@').next().unwrap_or_default();
        self.tools.iter().find(|tool| {
            tool.name().eq_ignore_ascii_case(name)
                || tool.name().replace('.', "_").eq_ignore_ascii_case(name)
        })
    }
}

impl Refusal {
    fn into_response(self, recording: Recording) -> Response {
        let Self(status, name, message) = self;
        Answer::json(status, &json!({"name": name, "message": message}))
            .into_response(recording, None)
    }
}

/// The API key is sent bare or as a bearer token.
fn authorized(headers: &HeaderMap) -> Result<(), Refusal> {
    let header = headers
        .get("authorization")
        .and_then(|value| value.to_str().ok())
        .unwrap_or_default();
    let key = header.strip_prefix("Bearer ").unwrap_or(header);
    if key.starts_with("arc_") && key != "arc_invalid" {
        Ok(())
    } else {
        let message = "invalid or missing API key".to_owned();
        Err(Refusal(401, "unauthorized", message))
    }
}

fn unknown(name: &str) -> Refusal {
    Refusal(404, "not_found", format!("tool `{name}` not found"))
}

async fn health(State(arcade): State<Arc<Arcade>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let recording = arcade.recording(&parts);
    Answer::json(200, &json!({"healthy": true})).into_response(recording, None)
}

async fn list(
    State(arcade): State<Arc<Arcade>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let recording = arcade.recording(&parts);
    arcade.stage.remember(control::seen(&parts, &Value::Null));
    if let Err(refusal) = authorized(&parts.headers) {
        return refusal.into_response(recording);
    }
    let number = |name: &str| query.get(name).and_then(|text| text.parse::<usize>().ok());
    let limit = number("limit").unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let offset = number("offset").unwrap_or(0);
    let tools: Vec<&Tool> = arcade
        .tools
        .iter()
        .filter(|tool| {
            query
                .get("toolkit")
                .is_none_or(|toolkit| tool.toolkit().eq_ignore_ascii_case(toolkit))
        })
        .collect();
    let items: Vec<Value> = tools
        .iter()
        .skip(offset)
        .take(limit)
        .map(|tool| tool.definition())
        .collect();
    let page = json!({
        "limit": limit,
        "offset": offset,
        "page_count": items.len(),
        "total_count": tools.len(),
        "items": items,
    });
    Answer::json(200, &page).into_response(recording, None)
}

async fn one(
    State(arcade): State<Arc<Arcade>>,
    Path(name): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let recording = arcade.recording(&parts);
    arcade.stage.remember(control::seen(&parts, &Value::Null));
    let found =
        authorized(&parts.headers).and_then(|()| arcade.find(&name).ok_or_else(|| unknown(&name)));
    match found {
        Ok(tool) => Answer::json(200, &tool.definition()).into_response(recording, None),
        Err(refusal) => refusal.into_response(recording),
    }
}

async fn execute(State(arcade): State<Arc<Arcade>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut recording = arcade.recording(&parts);
    let bytes = to_bytes(body, BODY_LIMIT).await.unwrap_or_default();
    let body: Option<Value> = serde_json::from_slice(&bytes).ok();
    let shown = body.clone().unwrap_or_default();
    arcade.stage.remember(control::seen(&parts, &shown));
    recording.entry.question = shown["tool_name"].as_str().map(str::to_owned);
    recording.entry.nonce = journal::nonce_in(&shown.to_string()).map(str::to_owned);
    recording.entry.request = Some(shown);
    if let Err(refusal) = authorized(&parts.headers) {
        return refusal.into_response(recording);
    }
    let Some(body) = body.filter(Value::is_object) else {
        let message = "the body is not a JSON object".to_owned();
        return Refusal(400, "bad_request", message).into_response(recording);
    };
    let Some(name) = body["tool_name"].as_str() else {
        let message = "tool_name is required".to_owned();
        return Refusal(400, "bad_request", message).into_response(recording);
    };
    let Some(tool) = arcade.find(name) else {
        return unknown(name).into_response(recording);
    };
    if tool.needs_authorization() {
        let message = "authorization required".to_owned();
        return Refusal(403, "tool_authorization_required", message).into_response(recording);
    }
    let stage = &arcade.stage;
    let input = match &body["input"] {
        Value::Null => json!({}),
        input => input.clone(),
    };
    let key = format!("{} {input}", tool.name());
    let call = stage.call(&key, tool.name());
    recording.entry.scheduled_ns = call.delay_ns();
    recording.entry.fault = call.fault.as_ref().map(describe);
    let due = stage.journal.clock().instant(recording.entry.arrived_ns) + call.delay;
    let number = call.number.to_string();
    let fault = call.fault.unwrap_or_default();
    if let Some(status) = fault.status {
        wait_until(due).await;
        let body = json!({"name": "injected", "message": "injected by the scenario"});
        let mut answer = Answer::json(status, &body);
        if let Some(retry_after) = fault.retry_after {
            let seconds = retry_after.0.as_nanos().div_ceil(1_000_000_000);
            answer = answer.header("retry-after", &seconds.to_string());
        }
        return answer.into_response(recording, fault.cut_after_bytes);
    }
    let output = tool.run(&input);
    let success = output.get("error").is_none();
    let identity = [key.as_str(), number.as_str()];
    wait_until(due).await;
    let answer = json!({
        "id": draw::id("te_", stage.seed, &identity),
        "execution_id": draw::id("tc_", stage.seed, &identity),
        "execution_type": "immediate",
        "status": if success { "success" } else { "failed" },
        "success": success,
        "duration": call.delay.as_secs_f64() * 1e3,
        "finished_at": jiff::Timestamp::now().to_string(),
        "run_at": null,
        "output": output,
    });
    *lock(&arcade.ledger)
        .entry((tool.name().to_owned(), success))
        .or_default() += 1;
    Answer::json(200, &answer).into_response(recording, fault.cut_after_bytes)
}

async fn nothing_here(State(arcade): State<Arc<Arcade>>, request: Request) -> Response {
    let (parts, _) = request.into_parts();
    let recording = arcade.recording(&parts);
    Refusal(404, "not_found", "no such route".to_owned()).into_response(recording)
}
