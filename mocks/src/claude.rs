//! The Messages API: who may ask, what is answered and when, and what it costs.

mod conversation;
mod message;
mod prefix;
pub mod prices;
mod problem;
mod prompt_cache;
mod reply;
mod validate;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Path, Query, Request, State};
use axum::http::HeaderMap;
use axum::http::request::Parts;
use axum::response::Response;
use axum::routing::{get, post};
use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use crate::body::{Answer, Recording};
use crate::control;
use crate::draw;
use crate::journal::{Upstream, Usage};
use crate::script::Rule;
use crate::stage::{Stage, describe, lock, wait_until};
use conversation::Conversation;
use message::Message;
use prices::Model;
use problem::Problem;
use prompt_cache::PromptCache;
use reply::Followed;

/// The largest body that is taken, in bytes.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// How many models a page has unless asked.
const PAGE: usize = 20;

#[derive(Debug)]
struct Claude {
    stage: Arc<Stage>,
    rules: Vec<Rule>,
    followed: Mutex<Followed>,
    prompt_cache: Mutex<PromptCache>,
    ledger: Mutex<BTreeMap<(String, String, &'static str), Line>>,
    refused: AtomicU64,
    /// The day that prices are taken from.
    day: String,
}

/// A line of the ledger: one key, model and kind of request.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Line {
    requests: u64,
    usage: Usage,
    cost_usd: f64,
    uncached_usd: f64,
}

/// The routes of the mock, its control plane included.
pub(crate) fn routes(stage: &Arc<Stage>, rules: Vec<Rule>) -> Router {
    let claude = Arc::new(Claude {
        stage: Arc::clone(stage),
        rules,
        followed: Mutex::default(),
        prompt_cache: Mutex::default(),
        ledger: Mutex::default(),
        refused: AtomicU64::new(0),
        day: jiff::Timestamp::now().strftime("%Y-%m-%d").to_string(),
    });
    let [for_reset, for_ledger] = [(); 2].map(|()| Arc::clone(&claude));
    Router::new()
        .route("/v1/messages", post(messages))
        .route("/v1/messages/count_tokens", post(count_tokens))
        .route("/v1/models", get(models))
        .route("/v1/models/{id}", get(model))
        .fallback(nothing_here)
        .method_not_allowed_fallback(nothing_here)
        .with_state(claude)
        .merge(control::routes(
            stage,
            move || for_reset.reset(),
            move || for_ledger.lines(),
        ))
}

impl Claude {
    fn reset(&self) {
        lock(&self.followed).clear();
        lock(&self.prompt_cache).clear();
        lock(&self.ledger).clear();
    }

    fn lines(&self) -> Value {
        lock(&self.ledger)
            .iter()
            .map(|((key, model, kind), line)| {
                let mut shown = json!(line);
                // Enough to tell keys apart, too little to use one.
                shown["key"] = json!(key.chars().take(12).collect::<String>());
                shown["model"] = json!(model);
                shown["kind"] = json!(kind);
                shown
            })
            .collect()
    }

    fn recording(&self, parts: &Parts) -> Recording {
        let what = format!("{} {}", parts.method, parts.uri.path());
        Recording::start(&self.stage.journal, Upstream::Claude, what)
    }

    fn refuse(&self, problem: &Problem, recording: Recording) -> Response {
        let number = self.refused.fetch_add(1, Ordering::SeqCst).to_string();
        let id = draw::id("req_011", self.stage.seed, &["refused", &number]);
        problem.answer(&id).into_response(recording, None)
    }

    /// What was asked, as far as it can be answered at all.
    async fn admit(
        &self,
        recording: &mut Recording,
        parts: &Parts,
        body: axum::body::Body,
        counts_only: bool,
    ) -> Result<Admitted, Problem> {
        let bytes = to_bytes(body, BODY_LIMIT).await.map_err(|_| {
            Problem::of_status(413, "Request exceeds the maximum allowed number of bytes.")
        })?;
        let body: Result<Value, _> = serde_json::from_slice(&bytes);
        let shown = body.as_ref().ok().cloned().unwrap_or_default();
        self.stage.remember(control::seen(parts, &shown));
        let conversation = Conversation::read(&shown);
        recording.entry.question =
            Some(conversation.question.clone()).filter(|question| !question.is_empty());
        recording.entry.nonce.clone_from(&conversation.nonce);
        recording.entry.request = Some(shown);
        let key = key(&parts.headers)?.to_owned();
        let version = parts.headers.get("anthropic-version");
        let version = validate::version(version.and_then(|version| version.to_str().ok()))?;
        let body = body.map_err(|error| {
            Problem::invalid(format!("The request body is not valid JSON: {error}"))
        })?;
        let model = validate::request(&body, version, counts_only)?;
        let blocks = prefix::blocks(&bytes, &key, model.id).map_err(Problem::invalid)?;
        Ok(Admitted {
            key,
            body,
            conversation,
            model,
            blocks,
        })
    }
}

struct Admitted {
    key: String,
    body: Value,
    conversation: Conversation,
    model: &'static Model,
    blocks: Vec<prefix::Block>,
}

/// The API key, in either form of header.
fn key(headers: &HeaderMap) -> Result<&str, Problem> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    let key = text("authorization")
        .and_then(|value| value.strip_prefix("Bearer "))
        .or_else(|| text("x-api-key"))
        .ok_or_else(|| Problem::of_status(401, "x-api-key header is required"))?;
    if key.starts_with("sk-ant-") && key != "sk-ant-invalid" {
        Ok(key)
    } else {
        Err(Problem::of_status(401, "invalid x-api-key"))
    }
}

async fn messages(State(claude): State<Arc<Claude>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut recording = claude.recording(&parts);
    let admitted = claude.admit(&mut recording, &parts, body, false).await;
    let Admitted {
        key,
        body,
        conversation,
        model,
        blocks,
    } = match admitted {
        Ok(admitted) => admitted,
        Err(problem) => return claude.refuse(&problem, recording),
    };
    let stage = &claude.stage;
    let arrived_ns = recording.entry.arrived_ns;
    let call = stage.call(&conversation.question, &conversation.question);
    recording.entry.scheduled_ns = call.delay_ns();
    recording.entry.fault = call.fault.as_ref().map(describe);
    let due = stage.journal.clock().instant(arrived_ns) + call.delay;
    let number = call.number.to_string();
    let identity = [conversation.question.as_str(), number.as_str()];
    let request_id = draw::id("req_011", stage.seed, &identity);
    let fault = call.fault.unwrap_or_default();
    if let Some(status) = fault.status {
        wait_until(due).await;
        let mut answer = Problem::injected(status).answer(&request_id);
        if let Some(retry_after) = fault.retry_after {
            let seconds = retry_after.0.as_nanos().div_ceil(1_000_000_000);
            answer = answer.header("retry-after", &seconds.to_string());
        }
        return answer.into_response(recording, fault.cut_after_bytes);
    }
    let reply = if claude.rules.is_empty() {
        Ok(reply::unscripted(&body, &conversation))
    } else {
        let mut followed = lock(&claude.followed);
        reply::scripted(&claude.rules, &conversation, &mut followed)
    };
    let reply = match reply {
        Ok(reply) => reply,
        Err(problem) => {
            // Refused at once, so no time was kept or missed.
            recording.entry.scheduled_ns = 0;
            return claude.refuse(&problem, recording);
        }
    };
    let plan = lock(&claude.prompt_cache).plan(&blocks, model.cache_minimum, arrived_ns);
    let message = Message::new(reply, &body, &plan, stage.seed, &identity);
    let stream = body["stream"] == true;
    let answer = message.answer(stream).header("request-id", &request_id);
    wait_until(due).await;
    lock(&claude.prompt_cache).commit(&plan);
    let cost = prices::cost(model, &claude.day, &message.usage, message.written_1h);
    recording.entry.usage = Some(message.usage);
    recording.entry.cost_usd = cost.served;
    recording.entry.uncached_usd = cost.uncached;
    let kind = if stream { "stream" } else { "message" };
    {
        let mut ledger = lock(&claude.ledger);
        let line = ledger.entry((key, model.id.to_owned(), kind)).or_default();
        line.requests += 1;
        line.usage.add(&message.usage);
        line.cost_usd += cost.served;
        line.uncached_usd += cost.uncached;
    }
    answer.into_response(recording, fault.cut_after_bytes)
}

async fn count_tokens(State(claude): State<Arc<Claude>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let mut recording = claude.recording(&parts);
    match claude.admit(&mut recording, &parts, body, true).await {
        Ok(admitted) => {
            let tokens = admitted.blocks.last().map_or(0, |block| block.tokens);
            Answer::json(200, &json!({"input_tokens": tokens})).into_response(recording, None)
        }
        Err(problem) => claude.refuse(&problem, recording),
    }
}

async fn models(
    State(claude): State<Arc<Claude>>,
    Query(query): Query<BTreeMap<String, String>>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let recording = claude.recording(&parts);
    if let Err(problem) = key(&parts.headers) {
        return claude.refuse(&problem, recording);
    }
    let limit = query
        .get("limit")
        .and_then(|limit| limit.parse().ok())
        .unwrap_or(PAGE)
        .clamp(1, 1000);
    let place = |name: &str| {
        let id = query.get(name)?;
        prices::MODELS.iter().position(|model| model.id == id)
    };
    let to = place("before_id").unwrap_or(prices::MODELS.len());
    let from = place("after_id").map_or(0, |index| index + 1).min(to);
    let page: Vec<Value> = prices::MODELS[from..to]
        .iter()
        .take(limit)
        .map(shown)
        .collect();
    let body = json!({
        "has_more": page.len() < to - from,
        "first_id": page.first().map(|model| &model["id"]),
        "last_id": page.last().map(|model| &model["id"]),
        "data": page,
    });
    Answer::json(200, &body).into_response(recording, None)
}

async fn model(
    State(claude): State<Arc<Claude>>,
    Path(id): Path<String>,
    request: Request,
) -> Response {
    let (parts, _) = request.into_parts();
    let recording = claude.recording(&parts);
    let found = key(&parts.headers).and_then(|_| {
        prices::find(&id).ok_or_else(|| Problem::of_status(404, format!("model: {id}")))
    });
    match found {
        Ok(model) => Answer::json(200, &shown(model)).into_response(recording, None),
        Err(problem) => claude.refuse(&problem, recording),
    }
}

/// A model as the API lists it. Days of release are not in the sources, so all have the same.
fn shown(model: &Model) -> Value {
    json!({
        "type": "model",
        "id": model.id,
        "display_name": model.id,
        "created_at": "2026-01-01T00:00:00Z",
        "lifecycle": if model.retires.is_some() { "deprecated" } else { "active" },
        "line": model.line,
        "deprecated_at": null,
        "retires_at": model.retires.map(|day| format!("{day}T00:00:00Z")),
        "max_input_tokens": model.max_input,
        "max_tokens": model.max_output,
    })
}

async fn nothing_here(State(claude): State<Arc<Claude>>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let recording = claude.recording(&parts);
    // Read, so that the connection stays usable.
    let _: Result<Bytes, _> = to_bytes(body, BODY_LIMIT).await;
    claude.refuse(&Problem::of_status(404, "Not found"), recording)
}
