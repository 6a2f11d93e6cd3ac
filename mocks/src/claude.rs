//! The Messages API: who may ask, what is answered and when, and what it costs.

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
mod validate;

use std::future::pending;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use crate::body::{Answer, Recording};
use crate::control;
use crate::draw;
use crate::front::{self, Arrived};
use crate::ledger::Ledger;
use crate::script::{ClaudeScript, Fault, Recorded};
use crate::server::Service;
use crate::stage::{Asked, Stage, lock, routed};
use batches::Batches;
use conversation::Conversation;
use diagnostics::Diagnostics;
use limits::Limits;
use message::{Frame, Message};
use models::Model;
use prefix::{Block, Toggles};
use problem::Problem;
use prompt_cache::{Plan, PromptCache};
use reply::{Followed, Reply};
use validate::{Dialect, Purpose};

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

/// A request whose headers are good.
struct Caller {
    key: String,
    dialect: Dialect,
}

/// A request that can be answered.
struct Accepted {
    model: &'static Model,
    blocks: Vec<Block>,
}

/// What Claude says, and from where.
struct Turn<'a> {
    reply: Reply,
    recorded: Option<&'a Recorded>,
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
        if let Some(fault) = &wanted
            && (fault.status.is_some() || fault.resets_at_once() || fault.half_open)
        {
            let id = self.stage.next_id("req_011");
            return self.fail(fault, arrived.recording, &id).await;
        }
        match self.route(&mut arrived, body, conversation.as_ref()) {
            Ok(Routed::Answer(answer)) => {
                let id = self.stage.next_id("req_011");
                Some(
                    self.dress(answer, &arrived, &id)
                        .into_response(arrived.recording),
                )
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
                let id = self.stage.next_id("req_011");
                let answer = match batches::create(&self, &caller, &requests) {
                    Ok(batch) => Answer::json(200, &batch),
                    Err(problem) => return Some(self.refuse(&problem, arrived.recording)),
                };
                Some(
                    self.dress(answer, &arrived, &id)
                        .into_response(arrived.recording),
                )
            }
            Err(problem) => Some(self.refuse(&problem, arrived.recording)),
        }
    }
}

/// Where a request leads.
enum Routed {
    Answer(Answer),
    Message {
        caller: Caller,
        body: Value,
        accepted: Accepted,
    },
    Batch(Caller, Bytes),
}

/// A question that will be answered.
struct Question {
    caller: Caller,
    body: Value,
    accepted: Accepted,
    conversation: Conversation,
    wanted: Option<Fault>,
}

impl Claude {
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
    ) -> Option<crate::script::RawResponse> {
        let method = arrived.parts.method.as_str();
        if let Some(rule) = self.stage.raw(method, &arrived.path) {
            return Some(rule.response);
        }
        let rules = self.script.script.iter().enumerate();
        let mut rules = rules.filter(|(_, rule)| rule.response.is_some());
        let (index, rule) = rules.find(|(index, rule)| {
            let route = rule.route.as_ref();
            let here = route.is_none_or(|route| routed(route, method, &arrived.path));
            let fits = match conversation {
                Some(conversation) => reply::fits(&rule.when, conversation),
                None => route.is_some() && rule.when == crate::script::When::default(),
            };
            let question = conversation
                .map(|it| it.question.clone())
                .unwrap_or_default();
            let followed = lock(&self.followed).get(&(*index, question)).copied();
            let left = rule
                .times
                .is_none_or(|times| followed.unwrap_or_default() < times);
            here && fits && left
        })?;
        let question = conversation
            .map(|it| it.question.clone())
            .unwrap_or_default();
        if rule.times.is_some() {
            *lock(&self.followed).entry((index, question)).or_default() += 1;
        }
        rule.response.clone()
    }

    /// Finds what a request is about; messages and batches take time, all else is answered.
    fn route(
        &self,
        arrived: &mut Arrived,
        body: Option<Result<Value, serde_json::Error>>,
        conversation: Option<&Conversation>,
    ) -> Result<Routed, Problem> {
        let path = arrived.path.clone();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let method = arrived.parts.method.as_str().to_owned();
        let rest = segments.strip_prefix(&["v1"]).unwrap_or_default();
        let known: &[&str] = match rest {
            ["messages"] | ["messages", "count_tokens"] | ["messages", "batches", _, "cancel"] => {
                &["POST"]
            }
            ["models"] | ["models", _] | ["messages", "batches", _, "results"] => &["GET"],
            ["messages", "batches"] => &["GET", "POST"],
            ["messages", "batches", _] => &["GET", "DELETE"],
            _ => return Err(Problem::of_status(404, "Not found")),
        };
        if !known.contains(&method.as_str()) {
            return Err(Problem::of_status(405, "Method Not Allowed"));
        }
        let caller = caller(arrived)?;
        let bytes = arrived.body.clone().ok_or_else(|| {
            Problem::of_status(413, "Request exceeds the maximum allowed number of bytes.")
        })?;
        let read = || match body {
            Some(Ok(body)) => Ok(body),
            Some(Err(error)) => Err(Problem::invalid(format!(
                "The request body is not valid JSON: {error}"
            ))),
            None => Err(Problem::invalid("The request body is empty: expected JSON")),
        };
        let answer = match (method.as_str(), rest) {
            (_, ["messages"]) => {
                let body = read()?;
                let accepted = accept(&caller, &body, &bytes, Purpose::Message)?;
                return Ok(Routed::Message {
                    caller,
                    body,
                    accepted,
                });
            }
            (_, ["messages", "count_tokens"]) => {
                debug_assert!(conversation.is_some());
                let accepted = accept(&caller, &read()?, &bytes, Purpose::CountTokens)?;
                let tokens = accepted.blocks.last().map_or(0, |block| block.tokens);
                Answer::json(200, &json!({"input_tokens": tokens}))
            }
            (_, ["models"]) => Answer::json(200, &pages::models(&arrived.query())?),
            (_, ["models", id]) => {
                let model = models::find(id);
                let model = model.ok_or_else(|| Problem::of_status(404, format!("model: {id}")))?;
                Answer::json(200, &model.shown())
            }
            ("POST", ["messages", "batches"]) => {
                read()?;
                return Ok(Routed::Batch(caller, bytes));
            }
            ("GET", ["messages", "batches"]) => {
                let base = base(arrived);
                Answer::json(
                    200,
                    &self.batches.page(&caller.key, &arrived.query(), &base)?,
                )
            }
            ("GET", ["messages", "batches", id, "results"]) => {
                let lines = self.batches.results(&caller.key, id)?;
                Answer::new(200, "application/x-jsonl", lines)
            }
            ("GET", ["messages", "batches", id]) => {
                let base = base(arrived);
                Answer::json(200, &self.batches.shown(&caller.key, id, &base)?)
            }
            ("DELETE", ["messages", "batches", id]) => {
                self.batches.delete(&caller.key, id)?;
                Answer::json(200, &json!({"id": id, "type": "message_batch_deleted"}))
            }
            (_, ["messages", "batches", id, _]) => {
                let base = base(arrived);
                Answer::json(200, &self.batches.cancel(&caller.key, id, &base)?)
            }
            _ => return Err(Problem::of_status(404, "Not found")),
        };
        Ok(Routed::Answer(answer))
    }

    /// Answers a question when it is due.
    async fn message(&self, question: Question, mut arrived: Arrived) -> Option<Response> {
        let Question {
            caller,
            body,
            accepted: Accepted { model, blocks },
            conversation,
            wanted,
        } = question;
        let stage = &self.stage;
        let arrived_ns = arrived.recording.entry.arrived_ns;
        let key = conversation.question.as_str();
        let number = conversation.call.to_string();
        let identity = [key, number.as_str()];
        let request_id = draw::id("req_011", stage.seed, &identity);
        let fault = wanted.or_else(|| {
            stage.fault(&Asked {
                key,
                subject: key,
                client: &caller.key,
                arrived_ns,
            })
        });
        let turn = self.turn(&body, &conversation);
        let (latency, recorded) = match &turn {
            Ok(turn) => (turn.reply.latency.as_ref(), turn.recorded),
            Err(_) => (None, None),
        };
        let latency = latency.unwrap_or(&self.script.latency);
        let mut delays = stage.delays(latency, (key, conversation.call), recorded);
        if let Some(slow) = fault.as_ref().and_then(|fault| fault.slow) {
            delays.first_byte = delays.first_byte.saturating_add(slow.0);
            delays.total = delays.total.map(|total| total.saturating_add(slow.0));
        }
        arrived.recording.entry.scheduled_ns = ns(delays.first_byte);
        if let Some(fault) = &fault {
            arrived.recording.entry.fault = Some(fault.describe());
            let status = fault.status.is_some() && fault.error_after_events.is_none();
            if status || fault.resets_at_once() || fault.half_open {
                stage
                    .until(stage.instant(arrived_ns, delays.first_byte))
                    .await;
                return self.fail(fault, arrived.recording, &request_id).await;
            }
        }
        let turn = match turn {
            Ok(turn) => turn,
            Err(problem) => {
                // Refused at once, so no time was kept or missed.
                arrived.recording.entry.scheduled_ns = 0;
                return Some(self.refuse(&problem, arrived.recording));
            }
        };
        let plan = self.plan(&blocks, model, arrived_ns);
        let frame = Frame {
            body: &body,
            model: &model.id,
            plan: &plan,
            seed: stage.seed,
            identity,
            batch: false,
        };
        let mut message = Message::new(turn.reply, &frame);
        message.diagnose(|| {
            let previous = body["diagnostics"]["previous_message_id"].as_str();
            self.diagnostics.reason(previous, model, &blocks, &plan)
        });
        let used = message.used;
        let limited = self
            .limits
            .take(&caller.key, &model.id, &used.usage, arrived_ns);
        let limited = match limited {
            Ok(headers) => headers,
            Err(exceeded) => {
                let answer = exceeded.problem.answer(&request_id);
                let answer = with(answer, exceeded.headers);
                arrived.recording.entry.scheduled_ns = 0;
                let answer = self.dress(answer, &arrived, &request_id);
                return Some(answer.into_response(arrived.recording));
            }
        };
        let stream = body["stream"] == true;
        let due = if stream {
            delays.first_byte
        } else {
            message.ends(&delays)
        };
        arrived.recording.entry.scheduled_ns = ns(due);
        let mut answer = with(message.answer(stream, &delays), limited);
        if let Some(fault) = &fault {
            fault.strike(&mut answer, |status| {
                message::written(&Problem::injected(status).json(&request_id))
            });
        }
        let answer = self.dress(answer, &arrived, &request_id);
        stage.until(stage.instant(arrived_ns, due)).await;
        lock(&self.prompt_cache).commit(&plan);
        if body.get("diagnostics").is_some() {
            self.diagnostics.remember(message.id(), model, &blocks);
        }
        let cost = model.cost(today(), &used);
        let entry = &mut arrived.recording.entry;
        entry.usage = Some(used.usage);
        entry.cost_usd = cost.served;
        entry.uncached_usd = cost.uncached;
        let kind = if stream { "stream" } else { "message" };
        self.ledger.book(
            (&caller.key, &model.id, kind),
            &used.usage,
            (cost.served, cost.uncached),
        );
        Some(answer.into_response(arrived.recording))
    }

    /// What Claude says: as recorded, as scripted, or what keeps a client going.
    fn turn(&self, body: &Value, conversation: &Conversation) -> Result<Turn<'_>, Problem> {
        if let Some(recording) = &self.script.recording {
            let recorded = reply::replayed(recording, body)?;
            return Ok(Turn {
                reply: Reply::of_message(&recorded.response),
                recorded: Some(recorded),
            });
        }
        let reply = if self
            .script
            .script
            .iter()
            .all(|rule| rule.response.is_some())
        {
            reply::unscripted(body, conversation)
        } else {
            let mut followed = lock(&self.followed);
            reply::scripted(&self.script.script, conversation, &mut followed)?
        };
        Ok(Turn {
            reply,
            recorded: None,
        })
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

    fn refuse(&self, problem: &Problem, recording: Recording) -> Response {
        let id = self.stage.next_id("req_011");
        problem
            .answer(&id)
            .header("anthropic-organization-id", &self.organization)
            .into_response(recording)
    }

    /// An injected failure instead of an answer.
    async fn fail(
        &self,
        fault: &Fault,
        mut recording: Recording,
        request_id: &str,
    ) -> Option<Response> {
        recording.entry.fault = Some(fault.describe());
        if fault.half_open {
            pending::<()>().await;
        }
        let Some(status) = fault.status else {
            return Answer::reset(&recording);
        };
        let answer = Problem::injected(status).answer(request_id);
        let answer = answer.header("anthropic-organization-id", &self.organization);
        let mut answer = fault.advise(answer);
        fault.strike(&mut answer, |_| Bytes::new());
        Some(answer.into_response(recording))
    }
}

fn with(mut answer: Answer, headers: limits::Headers) -> Answer {
    answer.headers.reserve(headers.len() + 4);
    answer.headers.extend(headers);
    answer
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

fn today() -> jiff::civil::Date {
    let now = jiff::Timestamp::now();
    now.to_zoned_datetime(jiff::tz::TimeZone::UTC).date()
}

/// Checks a request's body, and takes it apart as prompt caching sees it.
fn accept(
    caller: &Caller,
    body: &Value,
    bytes: &[u8],
    purpose: Purpose,
) -> Result<Accepted, Problem> {
    let model = validate::request(body, caller.dialect, purpose)?;
    let blocks = prefix::blocks(bytes, Toggles::of(body), &caller.key, &model.id);
    let blocks = blocks.map_err(Problem::invalid)?;
    let total = blocks.last().map_or(0, |block| block.tokens);
    if total > model.max_input {
        return Err(Problem::invalid(format!(
            "prompt is too long: {total} tokens > {} maximum",
            model.max_input
        )));
    }
    Ok(Accepted { model, blocks })
}

/// Where this mock is, for the client that asks.
fn base(arrived: &Arrived) -> String {
    let host = arrived.header("host").unwrap_or("localhost");
    format!("http://{host}{}", arrived.prefix())
}

/// The API key, in either form of header.
fn key(arrived: &Arrived) -> Option<&str> {
    let bearer = arrived.header("authorization");
    let bearer = bearer.and_then(|value| value.strip_prefix("Bearer "));
    bearer.or_else(|| arrived.header("x-api-key"))
}

/// Who asks, and in which version.
fn caller(arrived: &Arrived) -> Result<Caller, Problem> {
    let key =
        key(arrived).ok_or_else(|| Problem::of_status(401, "x-api-key header is required"))?;
    if !key.starts_with("sk-ant-") || key == "sk-ant-invalid" {
        return Err(Problem::of_status(401, "invalid x-api-key"));
    }
    let asks_beta = arrived.parts.uri.query();
    let asks_beta = asks_beta.is_some_and(|query| query.split('&').any(|pair| pair == "beta=true"));
    let version = arrived.header("anthropic-version");
    let dialect = Dialect::read(version, arrived.header("anthropic-beta"), asks_beta)?;
    Ok(Caller {
        key: key.to_owned(),
        dialect,
    })
}
