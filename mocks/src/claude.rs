//! The Messages API: who may ask, what is answered and when, and what it costs.

mod answering;
mod batches;
mod conversation;
mod diagnostics;
mod example;
mod limits;
mod message;
mod models;
mod pages;
mod prefix;
mod problem;
mod prompt_cache;
mod reply;
mod route;
mod validate;

use std::sync::{Arc, Mutex};

use axum::extract::Request;
use axum::response::Response;
use serde_json::Value;

use crate::body::{Answer, Recording};
use crate::control;
use crate::front::{self, Arrived};
use crate::ledger::Ledger;
use crate::script::{ClaudeScript, RawResponse, When};
use crate::server::Service;
use crate::stage::{Stage, lock, routed};
use answering::Question;
use batches::Batches;
use conversation::Conversation;
use diagnostics::Diagnostics;
use limits::Limits;
use models::Model;
use prefix::Block;
use problem::Problem;
use prompt_cache::{Plan, PromptCache};
use reply::Followed;
use route::{Routed, key};

/// The largest body that is taken, in bytes.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// The largest batch.
const BATCH_LIMIT: usize = 256 * 1024 * 1024;

/// The mock.
#[derive(Debug)]
pub(crate) struct Claude {
    stage: Arc<Stage>,
    script: ClaudeScript,
    followed: Mutex<Followed>,
    prompt_cache: Mutex<PromptCache>,
    ledger: Ledger,
    limits: Limits,
    batches: Batches,
    diagnostics: Diagnostics,
    organization: String,
    /// Whether `/_mock/` is there.
    control: bool,
}

impl Service for Claude {
    async fn serve(self: Arc<Self>, request: Request) -> Option<Response> {
        let path = front::known_path(request.uri().path());
        if self.control && path.starts_with("/_mock/") {
            return Some(self.control(request).await);
        }
        let batch = path == batches::PATH;
        let limit = if batch { BATCH_LIMIT } else { BODY_LIMIT };
        let mut arrived = front::arrive(&self.stage, request, limit).await?;
        let body = arrived.body.as_ref().filter(|body| !body.is_empty());
        let body = body.map(|body| serde_json::from_slice::<Value>(body));
        let conversation = self.listen(&mut arrived, body.as_ref());
        if let Some(response) = self.scripted_bytes(&arrived, conversation.as_ref()) {
            let id = self.stage.next_id("req_011");
            return front::play(&self.stage, &response, arrived.recording, Some(id)).await;
        }
        let wanted = match arrived.wanted_fault(&self.stage) {
            Ok(wanted) => wanted,
            Err(why) => return Some(self.refuse(&Problem::invalid(why), arrived.recording)),
        };
        if let Some(fault) = wanted.as_ref().filter(|fault| fault.refuses()) {
            let id = self.stage.next_id("req_011");
            let error = |status| self.injected(status, &id);
            return fault.fail(arrived.recording, error).await;
        }
        match self.route(&arrived, body) {
            Ok(Routed::Answer(answer)) => {
                let id = self.stage.next_id("req_011");
                let answer = self.dress(answer, &arrived, &id);
                Some(answer.into_response(arrived.recording))
            }
            Ok(Routed::Message {
                caller,
                body,
                accepted,
            }) => {
                let conversation = conversation.unwrap_or_default();
                let asked = Question {
                    caller,
                    body,
                    accepted,
                    conversation,
                    wanted,
                };
                self.message(asked, arrived).await
            }
            Ok(Routed::Batch(caller, requests)) => {
                let answer = match batches::create(&self, &caller, &requests) {
                    Ok(batch) => Answer::json(200, &batch),
                    Err(problem) => return Some(self.refuse(&problem, arrived.recording)),
                };
                let id = self.stage.next_id("req_011");
                let answer = self.dress(answer, &arrived, &id);
                Some(answer.into_response(arrived.recording))
            }
            Err(problem) => Some(self.refuse(&problem, arrived.recording)),
        }
    }
}

impl Claude {
    pub(crate) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

    pub(crate) fn new(stage: &Arc<Stage>, script: ClaudeScript, control: bool) -> Self {
        let digits = blake3::hash(&stage.seed.to_le_bytes()).to_hex();
        let part = |from: usize, to: usize| &digits.as_str()[from..to];
        Self {
            stage: Arc::clone(stage),
            followed: Mutex::default(),
            prompt_cache: Mutex::default(),
            ledger: Ledger::default(),
            limits: Limits::new(script.rate_limits),
            batches: Batches::default(),
            diagnostics: Diagnostics::default(),
            organization: format!(
                "{}-{}-4{}-8{}-{}",
                part(0, 8),
                part(8, 12),
                part(12, 15),
                part(15, 18),
                part(18, 30)
            ),
            script,
            control,
        }
    }

    async fn control(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = front::read(body, BATCH_LIMIT)
            .await
            .flatten()
            .unwrap_or_default();
        front::settle(&self.stage).await;
        let path = front::known_path(parts.uri.path());
        let asked = (&parts.method, path, parts.uri.query());
        let answer = control::answer(
            &self.stage,
            asked,
            &body,
            || self.ledger.shown(),
            || self.reset(),
        );
        answer
            .unwrap_or_else(|| Problem::of_status(404, "Not found").answer("req_control"))
            .unrecorded()
    }

    fn reset(&self) {
        lock(&self.followed).clear();
        lock(&self.prompt_cache).clear();
        self.ledger.clear();
        self.limits.clear();
        self.batches.clear();
        self.diagnostics.clear();
    }

    /// Reads the conversation of a request, and writes into the journal whose it is.
    fn listen(
        &self,
        arrived: &mut Arrived,
        body: Option<&Result<Value, serde_json::Error>>,
    ) -> Option<Conversation> {
        if !arrived.path.starts_with("/v1/messages") || arrived.path == batches::PATH {
            return None;
        }
        let mut conversation = Conversation::read(body?.as_ref().ok()?);
        conversation.client = key(arrived).unwrap_or_default().to_owned();
        if arrived.path == "/v1/messages" {
            conversation.call = self.stage.count(&conversation.question);
        }
        let (under_way, concurrent) = self.stage.enter(&conversation.question);
        let recording = &mut arrived.recording;
        recording.under_way = Some(under_way);
        recording.entry.concurrent = concurrent;
        let question = Some(conversation.question.clone());
        recording.entry.question = question.filter(|question| !question.is_empty());
        recording.entry.nonce.clone_from(&conversation.nonce);
        Some(conversation)
    }

    /// The answer that the control plane or the script gives byte for byte.
    fn scripted_bytes(
        &self,
        arrived: &Arrived,
        conversation: Option<&Conversation>,
    ) -> Option<RawResponse> {
        let method = arrived.parts.method.as_str();
        if let Some(rule) = self.stage.raw(method, &arrived.path) {
            return Some(rule.response);
        }
        let question = conversation.map_or("", |conversation| conversation.question.as_str());
        let mut followed = lock(&self.followed);
        let rules = self.script.script.iter().enumerate();
        for (index, rule) in rules.filter(|(_, rule)| rule.response.is_some()) {
            let route = rule.route.as_ref();
            let here = route.is_none_or(|route| routed(route, method, &arrived.path));
            let fits = match conversation {
                Some(conversation) => reply::fits(&rule.when, conversation),
                None => route.is_some() && rule.when == When::default(),
            };
            if here && fits && reply::follow(rule, (index, question), &mut followed) {
                return rule.response.clone();
            }
        }
        None
    }

    fn plan(&self, blocks: &[Block], model: &Model, started_ns: u64) -> Plan {
        let rules = prompt_cache::Rules::with(self.stage.mutant);
        lock(&self.prompt_cache).plan(blocks, model.cache_minimum, started_ns, rules)
    }

    /// The headers that every answer has.
    fn dress(&self, answer: Answer, arrived: &Arrived, request_id: &str) -> Answer {
        let answer = answer
            .header("request-id", request_id)
            .header("anthropic-organization-id", &self.organization);
        match arrived.header("anthropic-workspace-id") {
            Some(workspace) => answer.header("anthropic-workspace-id", workspace),
            None => answer,
        }
    }

    /// The error of an injected fault.
    fn injected(&self, status: u16, request_id: &str) -> Answer {
        let answer = Problem::injected(status).answer(request_id);
        answer.header("anthropic-organization-id", &self.organization)
    }

    fn refuse(&self, problem: &Problem, recording: Recording) -> Response {
        let id = self.stage.next_id("req_011");
        problem
            .answer(&id)
            .header("anthropic-organization-id", &self.organization)
            .into_response(recording)
    }
}

fn today() -> jiff::civil::Date {
    let now = jiff::Timestamp::now();
    now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date()
}
