//! A turn as the Messages API sends it: whole, or as a stream of events.

use std::collections::VecDeque;

use axum::http::{HeaderMap, HeaderValue, header};
use bytes::Bytes;
use serde_json::{Value, json};

use super::prompt_cache::Plan;
use super::reply::Reply;
use crate::body::Answer;
use crate::draw;
use crate::journal::Usage;

/// How many characters a text delta has.
const DELTA: usize = 24;

/// A finished message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    id: String,
    model: String,
    content: Vec<Value>,
    stop_reason: String,
    pub(crate) usage: Usage,
    pub(crate) written_1h: u64,
}

impl Message {
    /// `identity` names the call: the same call gets the same ids.
    pub(crate) fn new(
        reply: Reply,
        body: &Value,
        plan: &Plan,
        seed: u64,
        identity: &[&str],
    ) -> Self {
        let limit = body["max_tokens"].as_u64().unwrap_or(u64::MAX);
        let mut text = reply.text.unwrap_or_default();
        let mut calls = reply.calls;
        let mut stop_reason = reply.stop_reason;
        if calls.is_empty() && tokens(text.len()) > limit {
            let mut end = usize::try_from(limit.saturating_mul(4)).unwrap_or(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
            stop_reason = Some("max_tokens".to_owned());
        } else if limit == 0 {
            calls.clear();
            text.clear();
            stop_reason = Some("max_tokens".to_owned());
        }
        let mut content = Vec::new();
        let mut output_tokens = 0;
        if !text.is_empty() {
            output_tokens += tokens(text.len());
            content.push(json!({"type": "text", "text": text}));
        }
        let called = !calls.is_empty();
        for (index, (name, input)) in calls.into_iter().enumerate() {
            let mut parts = identity.to_vec();
            let index = index.to_string();
            parts.push(&index);
            let id = draw::id("toolu_01", seed, &parts);
            output_tokens += tokens(name.len() + input.to_string().len());
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        }
        let natural = if called { "tool_use" } else { "end_turn" };
        Self {
            id: draw::id("msg_01", seed, identity),
            model: body["model"].as_str().unwrap_or_default().to_owned(),
            content,
            stop_reason: stop_reason.unwrap_or_else(|| natural.to_owned()),
            usage: Usage {
                input_tokens: plan.uncached,
                cache_creation_input_tokens: plan.write_5m + plan.write_1h,
                cache_read_input_tokens: plan.read,
                output_tokens,
            },
            written_1h: plan.write_1h,
        }
    }

    fn json(&self) -> Value {
        let mut usage = json!(self.usage);
        usage["cache_creation"] = json!({
            "ephemeral_5m_input_tokens": self.usage.cache_creation_input_tokens - self.written_1h,
            "ephemeral_1h_input_tokens": self.written_1h,
        });
        usage["service_tier"] = json!("standard");
        usage["inference_geo"] = json!("global");
        json!({
            "id": self.id,
            "type": "message",
            "role": "assistant",
            "model": self.model,
            "content": self.content,
            "stop_reason": self.stop_reason,
            "stop_sequence": null,
            "stop_details": null,
            "usage": usage,
        })
    }

    pub(crate) fn answer(&self, stream: bool) -> Answer {
        if !stream {
            return Answer::json(200, &self.json());
        }
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("text/event-stream; charset=utf-8"),
        );
        let chunks: VecDeque<Bytes> = self
            .events()
            .iter()
            .map(|event| {
                let name = event["type"].as_str().unwrap_or_default();
                Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
            })
            .collect();
        Answer {
            status: 200,
            headers,
            chunks,
            sized: false,
        }
    }

    fn events(&self) -> Vec<Value> {
        let mut start = self.json();
        start["content"] = json!([]);
        start["stop_reason"] = Value::Null;
        start["usage"]["output_tokens"] = json!(1);
        let mut events = vec![json!({"type": "message_start", "message": start})];
        for (index, block) in self.content.iter().enumerate() {
            let mut opening = block.clone();
            let deltas = if let Some(text) = block["text"].as_str() {
                opening["text"] = json!("");
                pieces(text)
                    .map(|piece| json!({"type": "text_delta", "text": piece}))
                    .collect()
            } else {
                opening["input"] = json!({});
                input_deltas(&block["input"])
            };
            events.push(
                json!({"type": "content_block_start", "index": index, "content_block": opening}),
            );
            if index == 0 {
                events.push(json!({"type": "ping"}));
            }
            for delta in deltas {
                events.push(json!({"type": "content_block_delta", "index": index, "delta": delta}));
            }
            events.push(json!({"type": "content_block_stop", "index": index}));
        }
        events.push(json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason, "stop_sequence": null},
            "usage": self.usage,
        }));
        events.push(json!({"type": "message_stop"}));
        events
    }
}

/// An estimate: a quarter of the bytes, rounded up.
fn tokens(bytes: usize) -> u64 {
    u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX)
}

fn pieces(text: &str) -> impl Iterator<Item = &str> {
    let mut rest = text;
    std::iter::from_fn(move || {
        let end = rest
            .char_indices()
            .nth(DELTA)
            .map_or(rest.len(), |(end, _)| end);
        let (piece, tail) = rest.split_at(end);
        rest = tail;
        (!piece.is_empty()).then_some(piece)
    })
}

/// An empty fragment first, then one key with its value at a time.
fn input_deltas(input: &Value) -> Vec<Value> {
    let mut fragments = vec![String::new()];
    if let Some(fields) = input.as_object().filter(|fields| !fields.is_empty()) {
        let last = fields.len() - 1;
        for (index, (name, value)) in fields.iter().enumerate() {
            let open = if index == 0 { "{" } else { "" };
            let close = if index == last { "}" } else { ", " };
            fragments.push(format!("{open}{}: {value}{close}", json!(name)));
        }
    }
    fragments
        .into_iter()
        .map(|fragment| json!({"type": "input_json_delta", "partial_json": fragment}))
        .collect()
}
