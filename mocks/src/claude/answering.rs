//! Answers a question: what is said, when it is due, what goes wrong with it, and what it costs.

use std::time::Duration;

use axum::response::Response;
use serde_json::Value;

use super::conversation::Conversation;
use super::message::{self, Frame, Message};
use super::problem::Problem;
use super::reply::{self, Reply};
use super::route::{Accepted, Caller};
use super::{Claude, limits, today};
use crate::body::Answer;
use crate::draw;
use crate::front::Arrived;
use crate::script::{Fault, Recorded};
use crate::stage::{Asked, lock};

/// A question that will be answered.
pub(super) struct Question {
    pub(super) caller: Caller,
    pub(super) body: Value,
    pub(super) accepted: Accepted,
    pub(super) conversation: Conversation,
    pub(super) wanted: Option<Fault>,
}

/// What Claude says, and from where.
pub(super) struct Turn<'a> {
    pub(super) reply: Reply,
    recorded: Option<&'a Recorded>,
}

impl Claude {
    /// Answers a question when it is due.
    pub(super) async fn message(
        &self,
        question: Question,
        mut arrived: Arrived,
    ) -> Option<Response> {
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
            if fault.refuses() {
                let due = stage.instant(arrived_ns, delays.first_byte);
                stage.until(due).await;
                let error = |status| self.injected(status, &request_id);
                return fault.fail(arrived.recording, error).await;
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
    pub(super) fn turn(
        &self,
        body: &Value,
        conversation: &Conversation,
    ) -> Result<Turn<'_>, Problem> {
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
}

fn with(mut answer: Answer, headers: limits::Headers) -> Answer {
    answer.headers.reserve(headers.len() + 4);
    answer.headers.extend(headers);
    answer
}

fn ns(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}
