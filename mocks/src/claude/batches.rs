//! Batches: taken at once, answered by themselves after a while, at half the price.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;
use serde_json::value::RawValue;
use serde_json::{Value, json};

use super::conversation::Conversation;
use super::message::{Frame, Message};
use super::pages;
use super::problem::Problem;
use super::route::{Caller, accept};
use super::validate::{Dialect, Purpose};
use super::{Claude, today};
use crate::stage::lock;

/// Where batches are made.
pub(super) const PATH: &str = "/v1/messages/batches";
/// How many requests a batch may have.
const REQUESTS: usize = 100_000;
/// After what time a batch expires.
const EXPIRY: SignedDuration = SignedDuration::from_hours(24);

/// All batches, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Batches {
    batches: Mutex<BTreeMap<u64, Batch>>,
}

#[derive(Debug)]
struct Batch {
    id: String,
    key: String,
    created: Timestamp,
    cancelled: Option<Timestamp>,
    ended: Option<Timestamp>,
    requests: usize,
    outcomes: Outcomes,
}

/// What became of a batch's requests.
#[derive(Clone, Debug, Default)]
struct Outcomes {
    succeeded: usize,
    errored: usize,
    canceled: usize,
    lines: Bytes,
}

#[derive(Deserialize)]
struct Posted {
    requests: Vec<Request>,
}

#[derive(Deserialize)]
struct Request {
    custom_id: String,
    params: Box<RawValue>,
}

/// Takes a batch and sees to it that it ends.
pub(super) fn create(claude: &Arc<Claude>, caller: &Caller, body: &[u8]) -> Result<Value, Problem> {
    let posted: Posted = serde_json::from_slice(body)
        .map_err(|error| Problem::invalid(format!("requests: {error}")))?;
    let requests = posted.requests;
    if requests.is_empty() || requests.len() > REQUESTS {
        return Err(Problem::invalid(format!(
            "requests: List should have at least 1 and at most {REQUESTS} items, not {}",
            requests.len()
        )));
    }
    let mut ids = HashSet::new();
    for (index, request) in requests.iter().enumerate() {
        let id = &request.custom_id;
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
        if !(1..=64).contains(&id.len()) || !id.bytes().all(fits) {
            return Err(Problem::invalid(format!(
                "requests.{index}.custom_id: String should match pattern '^[a-zA-Z0-9_-]{{1,64}}$'"
            )));
        }
        if !ids.insert(id.as_str()) {
            return Err(Problem::invalid(format!(
                "requests.{index}.custom_id: '{id}' is not unique within the batch"
            )));
        }
    }
    let stage = &claude.stage;
    let batch = Batch {
        id: stage.next_id("msgbatch_01"),
        key: caller.key.clone(),
        created: Timestamp::now(),
        cancelled: None,
        ended: None,
        requests: requests.len(),
        outcomes: Outcomes::default(),
    };
    let shown = batch.shown("");
    let number = {
        let mut batches = lock(&claude.batches.batches);
        let number = batches.last_key_value().map_or(0, |(last, _)| last + 1);
        batches.insert(number, batch);
        number
    };
    let due = stage.journal.clock().now_ns();
    let due = stage.instant(due, claude.script.batch_time.0);
    let wait = stage.until(due);
    let (claude, dialect) = (Arc::clone(claude), caller.dialect);
    tokio::spawn(async move {
        wait.await;
        process(&claude, number, dialect, &requests);
    });
    Ok(shown)
}

/// Answers every request of a batch, unless it has been cancelled.
fn process(claude: &Claude, number: u64, dialect: Dialect, requests: &[Request]) {
    let (key, cancelled) = match lock(&claude.batches.batches).get(&number) {
        Some(batch) => (batch.key.clone(), batch.cancelled.is_some()),
        None => return,
    };
    let caller = Caller { key, dialect };
    let mut outcomes = Outcomes::default();
    let mut lines = String::new();
    for request in requests {
        let result = if cancelled {
            outcomes.canceled += 1;
            json!({"type": "canceled"})
        } else {
            match answer(claude, &caller, request.params.get().as_bytes()) {
                Ok(message) => {
                    outcomes.succeeded += 1;
                    json!({"type": "succeeded", "message": message})
                }
                Err(problem) => {
                    outcomes.errored += 1;
                    let id = claude.stage.next_id("req_011");
                    json!({"type": "errored", "error": problem.json(&id)})
                }
            }
        };
        lines.push_str(&json!({"custom_id": request.custom_id, "result": result}).to_string());
        lines.push('\n');
    }
    outcomes.lines = lines.into();
    if let Some(batch) = lock(&claude.batches.batches).get_mut(&number) {
        batch.outcomes = outcomes;
        batch.ended = Some(Timestamp::now());
    }
}

/// The message that answers one request of a batch.
fn answer(claude: &Claude, caller: &Caller, params: &[u8]) -> Result<Value, Problem> {
    let body: Value = serde_json::from_slice(params)
        .map_err(|error| Problem::invalid(format!("params: {error}")))?;
    let accepted = accept(caller, &body, params, Purpose::Batch)?;
    let mut conversation = Conversation::read(&body);
    conversation.client.clone_from(&caller.key);
    conversation.call = claude.stage.count(&conversation.question);
    let turn = claude.turn(&body, &conversation)?;
    let model = accepted.model;
    let plan = claude.plan(
        &accepted.blocks,
        model,
        claude.stage.journal.clock().now_ns(),
    );
    lock(&claude.prompt_cache).commit(&plan);
    let number = conversation.call.to_string();
    let frame = Frame {
        body: &body,
        model: &model.id,
        plan: &plan,
        seed: claude.stage.seed,
        identity: [&conversation.question, &number],
        batch: true,
    };
    let message = Message::new(turn.reply, &frame);
    let cost = model.cost(today(), &message.used);
    claude.ledger.book(
        (&caller.key, &model.id, "batch"),
        &message.used.usage,
        (cost.served, cost.uncached),
    );
    Ok(message.json())
}

fn missing(id: &str) -> Problem {
    Problem::of_status(404, format!("Message Batch {id} not found"))
}

impl Batch {
    /// As the API shows it; `base` is where its results are found.
    fn shown(&self, base: &str) -> Value {
        let at = |time: Timestamp| time.to_string();
        let expires = self.created.saturating_add(EXPIRY).unwrap_or(self.created);
        let processing = if self.ended.is_some() {
            0
        } else {
            self.requests
        };
        let status = match (self.ended, self.cancelled) {
            (Some(_), _) => "ended",
            (None, Some(_)) => "canceling",
            (None, None) => "in_progress",
        };
        json!({
            "id": self.id,
            "type": "message_batch",
            "processing_status": status,
            "request_counts": {
                "processing": processing,
                "succeeded": self.outcomes.succeeded,
                "errored": self.outcomes.errored,
                "canceled": self.outcomes.canceled,
                "expired": 0,
            },
            "created_at": at(self.created),
            "expires_at": at(expires),
            "ended_at": self.ended.map(at),
            "cancel_initiated_at": self.cancelled.map(at),
            "archived_at": null,
            "results_url": self.ended.map(|_| format!("{base}{PATH}/{}/results", self.id)),
        })
    }
}

impl Batches {
    pub(crate) fn clear(&self) {
        lock(&self.batches).clear();
    }

    pub(super) fn page(
        &self,
        key: &str,
        query: &[(String, String)],
        base: &str,
    ) -> Result<Value, Problem> {
        let batches = lock(&self.batches);
        let mine = batches.values().rev().filter(|batch| batch.key == key);
        pages::page(
            &mine.map(|batch| batch.shown(base)).collect::<Vec<_>>(),
            query,
        )
    }

    pub(super) fn shown(&self, key: &str, id: &str, base: &str) -> Result<Value, Problem> {
        self.with(key, id, |batch| Ok(batch.shown(base)))
    }

    pub(super) fn cancel(&self, key: &str, id: &str, base: &str) -> Result<Value, Problem> {
        self.with(key, id, |batch| {
            if batch.ended.is_none() {
                batch.cancelled.get_or_insert_with(Timestamp::now);
            }
            Ok(batch.shown(base))
        })
    }

    pub(super) fn results(&self, key: &str, id: &str) -> Result<Bytes, Problem> {
        self.with(key, id, |batch| {
            if batch.ended.is_some() {
                return Ok(batch.outcomes.lines.clone());
            }
            Err(Problem::invalid(format!(
                "Message Batch {id} has no available results: its processing has not ended"
            )))
        })
    }

    pub(super) fn delete(&self, key: &str, id: &str) -> Result<(), Problem> {
        self.with(key, id, |batch| {
            if batch.ended.is_some() {
                return Ok(());
            }
            Err(Problem::invalid(format!(
                "Message Batch {id} cannot be deleted while it is being processed: cancel it first"
            )))
        })?;
        lock(&self.batches).retain(|_, batch| batch.id != id);
        Ok(())
    }

    fn with<T>(
        &self,
        key: &str,
        id: &str,
        then: impl FnOnce(&mut Batch) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        let mut batches = lock(&self.batches);
        let mut mine = batches.values_mut();
        let batch = mine.find(|batch| batch.id == id && batch.key == key);
        then(batch.ok_or_else(|| missing(id))?)
    }
}
