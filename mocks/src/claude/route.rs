//! Where a request leads: who asks, what for, and whether it can be answered at all.

use bytes::Bytes;
use serde_json::{Value, json};

use super::models::{self, Model};
use super::prefix::{self, Block, Toggles};
use super::problem::Problem;
use super::validate::{self, Dialect, Purpose};
use super::{Claude, pages};
use crate::body::Answer;
use crate::front::Arrived;

/// A request whose headers are good.
pub(super) struct Caller {
    pub(super) key: String,
    pub(super) dialect: Dialect,
}

/// A request that can be answered.
pub(super) struct Accepted {
    pub(super) model: &'static Model,
    pub(super) blocks: Vec<Block>,
}

/// Where a request leads.
pub(super) enum Routed {
    Answer(Answer),
    Message {
        caller: Caller,
        body: Value,
        accepted: Accepted,
    },
    Batch(Caller, Bytes),
}

impl Claude {
    /// Finds what a request is about; messages and batches take time, all else is answered.
    pub(super) fn route(
        &self,
        arrived: &Arrived,
        body: Option<Result<Value, serde_json::Error>>,
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
                let base = arrived.base();
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
                let base = arrived.base();
                Answer::json(200, &self.batches.shown(&caller.key, id, &base)?)
            }
            ("DELETE", ["messages", "batches", id]) => {
                self.batches.delete(&caller.key, id)?;
                Answer::json(200, &json!({"id": id, "type": "message_batch_deleted"}))
            }
            (_, ["messages", "batches", id, _]) => {
                let base = arrived.base();
                Answer::json(200, &self.batches.cancel(&caller.key, id, &base)?)
            }
            _ => return Err(Problem::of_status(404, "Not found")),
        };
        Ok(Routed::Answer(answer))
    }
}

/// Checks a request's body, and takes it apart as prompt caching sees it.
pub(super) fn accept(
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

/// The API key, in either form of header.
pub(super) fn key(arrived: &Arrived) -> Option<&str> {
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
