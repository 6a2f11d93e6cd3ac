//! A turn as the Messages API sends it: whole, or as a stream of events.

use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use serde_json::{Value, json};

use super::models::Used;
use super::prompt_cache::Plan;
use super::reply::Reply;
use crate::body::{Answer, Chunk};
use crate::draw;
use crate::journal::Usage;
use crate::stage::Delays;

/// How many characters a text delta has.
const DELTA: usize = 24;

/// A finished message.
#[derive(Clone, Debug)]
pub(crate) struct Message {
    id: String,
    model: &'static str,
    content: Vec<Value>,
    stop_reason: String,
    stop_sequence: Option<String>,
    thinking_tokens: u64,
    /// Settings of the request that its usage repeats.
    speed: Value,
    diagnostics: Option<Value>,
    pub(crate) used: Used,
}

/// A message as it is written.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    #[serde(rename = "type")]
    kind: &'static str,
    role: &'static str,
    model: &'static str,
    content: &'a [Value],
    stop_reason: &'a str,
    stop_sequence: Option<&'a str>,
    stop_details: Option<Value>,
    usage: ShownUsage<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    diagnostics: Option<&'a Value>,
}

#[derive(Serialize)]
struct ShownUsage<'a> {
    #[serde(flatten)]
    tokens: Usage,
    cache_creation: CacheCreation,
    service_tier: &'static str,
    inference_geo: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    output_tokens_details: Option<Details>,
    #[serde(skip_serializing_if = "Option::is_none")]
    speed: Option<&'a str>,
}

#[derive(Serialize)]
struct CacheCreation {
    ephemeral_5m_input_tokens: u64,
    ephemeral_1h_input_tokens: u64,
}

#[derive(Serialize)]
struct Details {
    thinking_tokens: u64,
}

/// What a message is made of besides what Claude says.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Frame<'a> {
    pub(crate) body: &'a Value,
    pub(crate) model: &'static str,
    pub(crate) plan: &'a Plan,
    pub(crate) seed: u64,
    /// Names the call: the same call gets the same ids.
    pub(crate) identity: [&'a str; 2],
    pub(crate) batch: bool,
}

impl Message {
    pub(crate) fn new(reply: Reply, frame: &Frame<'_>) -> Self {
        let Frame {
            body,
            plan,
            seed,
            identity,
            ..
        } = *frame;
        let limit = body["max_tokens"].as_u64().unwrap_or(u64::MAX);
        let mut said = Said {
            thinking: reply.thinking,
            text: reply.text.unwrap_or_default(),
            calls: reply.calls,
            stop_reason: reply.stop_reason,
            stop_sequence: None,
        };
        said.stop_at(&body["stop_sequences"]);
        said.limit(limit);
        let mut content = Vec::new();
        let mut output_tokens = 0;
        let mut thinking_tokens = 0;
        if let Some(thinking) = &said.thinking {
            thinking_tokens = tokens(thinking.len());
            let omitted = body["thinking"]["display"] == "omitted";
            let shown = if omitted { "" } else { thinking.as_str() };
            let signature = draw::id("EqMB", seed, &["signature", identity[0], identity[1]]);
            content.push(json!({"type": "thinking", "thinking": shown, "signature": signature}));
        }
        output_tokens += thinking_tokens;
        if !said.text.is_empty() {
            output_tokens += tokens(said.text.len());
            content.push(json!({"type": "text", "text": said.text}));
        }
        let called = !said.calls.is_empty();
        for (index, (name, input)) in said.calls.into_iter().enumerate() {
            let index = index.to_string();
            let id = draw::id("toolu_01", seed, &[identity[0], identity[1], &index]);
            output_tokens += tokens(name.len() + input.to_string().len());
            content.push(json!({"type": "tool_use", "id": id, "name": name, "input": input}));
        }
        let natural = if called { "tool_use" } else { "end_turn" };
        let diagnostics = body.get("diagnostics").filter(|value| !value.is_null());
        Self {
            id: draw::id("msg_01", seed, &identity),
            model: frame.model,
            content,
            stop_reason: said.stop_reason.unwrap_or_else(|| natural.to_owned()),
            stop_sequence: said.stop_sequence,
            thinking_tokens,
            speed: body["speed"].clone(),
            diagnostics: diagnostics.map(|_| Value::Null),
            used: Used {
                usage: Usage {
                    input_tokens: plan.uncached,
                    cache_creation_input_tokens: plan.write_5m + plan.write_1h,
                    cache_read_input_tokens: plan.read,
                    output_tokens,
                },
                written_1h: plan.write_1h,
                batch: frame.batch,
                only_us: body["inference_geo"] == "us",
            },
        }
    }

    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// Says why the cache was missed, to who asked for it.
    pub(crate) fn diagnose(&mut self, reason: impl FnOnce() -> Option<Value>) {
        if let Some(diagnostics) = &mut self.diagnostics {
            *diagnostics = reason().map_or(Value::Null, |why| json!({"cache_miss_reason": why}));
        }
    }

    fn shown(&self) -> Shown<'_> {
        let used = &self.used;
        Shown {
            id: &self.id,
            kind: "message",
            role: "assistant",
            model: self.model,
            content: &self.content,
            stop_reason: &self.stop_reason,
            stop_sequence: self.stop_sequence.as_deref(),
            stop_details: (self.stop_reason == "refusal")
                .then(|| json!({"type": "refusal", "category": null, "explanation": null})),
            usage: ShownUsage {
                tokens: used.usage,
                cache_creation: CacheCreation {
                    ephemeral_5m_input_tokens: used.usage.cache_creation_input_tokens
                        - used.written_1h,
                    ephemeral_1h_input_tokens: used.written_1h,
                },
                service_tier: if used.batch { "batch" } else { "standard" },
                inference_geo: if used.only_us { "us" } else { "global" },
                output_tokens_details: self.details(),
                speed: self.speed.as_str(),
            },
            diagnostics: self.diagnostics.as_ref(),
        }
    }

    fn details(&self) -> Option<Details> {
        let thinking_tokens = self.thinking_tokens;
        (thinking_tokens > 0).then_some(Details { thinking_tokens })
    }

    pub(crate) fn json(&self) -> Value {
        json!(self.shown())
    }

    /// When all has been said, counted from the request.
    pub(crate) fn ends(&self, delays: &Delays) -> Duration {
        delays.total.unwrap_or_else(|| {
            let spoken = self.used.usage.output_tokens;
            delays.first_byte + speaking(spoken, delays)
        })
    }

    pub(crate) fn answer(&self, stream: bool, delays: &Delays) -> Answer {
        if !stream {
            let body = serde_json::to_vec(&self.shown()).unwrap_or_default();
            return Answer::new(200, "application/json", body);
        }
        let Events { bytes, ends } = self.events();
        let bytes = Bytes::from(bytes);
        let last = u32::try_from(ends.len() - 1).unwrap_or(1).max(1);
        let paced = delays.total.is_some() || delays.tokens_per_second.is_some();
        let (mut spoken, mut start) = (0, 0);
        let chunks = ends.into_iter().zip(0_u32..).map(|((end, tokens), index)| {
            spoken += tokens;
            let at = match delays.total {
                _ if !paced || index == 0 => Duration::ZERO,
                Some(total) => {
                    let after = total.saturating_sub(delays.first_byte);
                    delays.first_byte + after * index / last
                }
                None => delays.first_byte + speaking(spoken, delays),
            };
            let bytes = bytes.slice(std::mem::replace(&mut start, end)..end);
            Chunk { at, bytes }
        });
        Answer::events(chunks.collect())
    }

    fn events(&self) -> Events {
        let mut start = self.json();
        start["content"] = json!([]);
        start["stop_reason"] = Value::Null;
        start["stop_sequence"] = Value::Null;
        start["usage"]["output_tokens"] = json!(1);
        let mut events = Events::default();
        events.push(&json!({"type": "message_start", "message": start}));
        for (index, block) in self.content.iter().enumerate() {
            events.push(
                &json!({"type": "content_block_start", "index": index, "content_block": opening(block)}),
            );
            if index == 0 {
                events.push(&json!({"type": "ping"}));
            }
            events.push_deltas(index, block);
            events.push(&json!({"type": "content_block_stop", "index": index}));
        }
        let mut usage = json!(self.used.usage);
        if let Some(details) = self.details() {
            usage["output_tokens_details"] = json!(details);
        }
        events.push(&json!({
            "type": "message_delta",
            "delta": {"stop_reason": self.stop_reason, "stop_sequence": self.stop_sequence},
            "usage": usage,
        }));
        events.push(&json!({"type": "message_stop"}));
        events
    }
}

/// An event of a stream, as it is written.
pub(crate) fn written(event: &Value) -> Bytes {
    let name = event["type"].as_str().unwrap_or_default();
    Bytes::from(format!("event: {name}\ndata: {event}\n\n"))
}

/// What is said, before it is put into blocks.
struct Said {
    thinking: Option<String>,
    text: String,
    calls: Vec<(String, Value)>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
}

impl Said {
    /// Ends the text before the first stop sequence in it.
    fn stop_at(&mut self, sequences: &Value) {
        let sequences = sequences.as_array().into_iter().flatten();
        let found = sequences
            .filter_map(Value::as_str)
            .filter_map(|sequence| Some((self.text.find(sequence)?, sequence)))
            .min();
        if let Some((at, sequence)) = found {
            self.text.truncate(at);
            self.calls.clear();
            self.stop_reason = Some("stop_sequence".to_owned());
            self.stop_sequence = Some(sequence.to_owned());
        }
    }

    /// Says no more than so many tokens.
    fn limit(&mut self, limit: u64) {
        let thought = self
            .thinking
            .as_ref()
            .map_or(0, |thinking| tokens(thinking.len()));
        let left = limit.saturating_sub(thought);
        if limit == 0 {
            self.thinking = None;
            self.calls.clear();
        } else if !self.calls.is_empty() || tokens(self.text.len()) <= left {
            return;
        }
        let mut end = usize::try_from(left.saturating_mul(4)).unwrap_or(usize::MAX);
        end = end.min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        self.text.truncate(end);
        self.stop_reason = Some("max_tokens".to_owned());
        self.stop_sequence = None;
    }
}

/// The events of a stream as they are written, one after another.
#[derive(Default)]
struct Events {
    bytes: Vec<u8>,
    /// Where each ends, and how many tokens it brings.
    ends: Vec<(usize, u64)>,
}

impl Events {
    fn push(&mut self, event: &Value) {
        self.bytes.extend_from_slice(&written(event));
        self.ends.push((self.bytes.len(), 0));
    }

    fn push_deltas(&mut self, index: usize, block: &Value) {
        if let Some(text) = block["text"].as_str() {
            for text in pieces(text) {
                self.push_delta(index, tokens(text.len()), Delta::TextDelta { text });
            }
        } else if let Some(thinking) = block["thinking"].as_str() {
            for thinking in pieces(thinking) {
                let spoken = tokens(thinking.len());
                self.push_delta(index, spoken, Delta::ThinkingDelta { thinking });
            }
            let signature = block["signature"].as_str().unwrap_or_default();
            self.push_delta(index, 0, Delta::SignatureDelta { signature });
        } else {
            for partial_json in &fragments(&block["input"]) {
                let spoken = tokens(partial_json.len());
                self.push_delta(index, spoken, Delta::InputJsonDelta { partial_json });
            }
        }
    }

    fn push_delta(&mut self, index: usize, tokens: u64, delta: Delta<'_>) {
        let event = DeltaEvent {
            kind: "content_block_delta",
            index,
            delta,
        };
        self.bytes
            .extend_from_slice(b"event: content_block_delta\ndata: ");
        if let Err(error) = serde_json::to_writer(&mut self.bytes, &event) {
            tracing::error!(%error, "a delta cannot be written");
        }
        self.bytes.extend_from_slice(b"\n\n");
        self.ends.push((self.bytes.len(), tokens));
    }
}

/// A delta as it is written; a stream has so many that each goes straight to its bytes.
#[derive(Serialize)]
struct DeltaEvent<'a> {
    #[serde(rename = "type")]
    kind: &'static str,
    index: usize,
    delta: Delta<'a>,
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
#[expect(clippy::enum_variant_names, reason = "the names of the API")]
enum Delta<'a> {
    TextDelta { text: &'a str },
    ThinkingDelta { thinking: &'a str },
    SignatureDelta { signature: &'a str },
    InputJsonDelta { partial_json: &'a str },
}

/// A block as it opens.
fn opening(block: &Value) -> Value {
    let mut opening = block.clone();
    for field in ["text", "thinking", "signature"] {
        if block[field].is_string() {
            opening[field] = json!("");
        }
    }
    if block["type"] == "tool_use" {
        opening["input"] = json!({});
    }
    opening
}

/// How long so many tokens take to say.
#[expect(clippy::cast_precision_loss, reason = "tokens of one answer")]
fn speaking(tokens: u64, delays: &Delays) -> Duration {
    delays.tokens_per_second.map_or(Duration::ZERO, |speed| {
        Duration::try_from_secs_f64(tokens as f64 / speed).unwrap_or_default()
    })
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
fn fragments(input: &Value) -> Vec<String> {
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn a_stream_says_what_the_message_says(
            thinking in proptest::option::of("\\PC{1,80}"),
            text in any::<String>(),
            input in proptest::collection::btree_map("\\PC{0,8}", any::<String>(), 0..4),
        ) {
            let reply = Reply {
                thinking,
                text: Some(text),
                calls: vec![("tool".to_owned(), json!(input))],
                ..Reply::default()
            };
            let body = json!({"max_tokens": 100_000});
            let plan = Plan::default();
            let frame = Frame { body: &body, model: "m", plan: &plan, seed: 1, identity: ["q", "1"], batch: false };
            let message = Message::new(reply, &frame);
            let answer = message.answer(true, &Delays::default());
            let mut blocks: Vec<Value> = Vec::new();
            let mut fragments = String::new();
            for chunk in &answer.chunks {
                let written = std::str::from_utf8(&chunk.bytes).unwrap();
                let (name, data) = written.strip_suffix("\n\n").unwrap().split_once("\ndata: ").unwrap();
                prop_assert!(!data.contains('\n'));
                let event: Value = serde_json::from_str(data).unwrap();
                prop_assert_eq!(name, format!("event: {}", event["type"].as_str().unwrap()));
                let delta = &event["delta"];
                match event["type"].as_str().unwrap() {
                    "content_block_start" => blocks.push(event["content_block"].clone()),
                    "content_block_delta" => {
                        let block = blocks.last_mut().unwrap();
                        for field in ["text", "thinking", "signature"] {
                            if let Some(more) = delta[field].as_str() {
                                block[field] = json!(block[field].as_str().unwrap().to_owned() + more);
                            }
                        }
                        fragments.push_str(delta["partial_json"].as_str().unwrap_or_default());
                    }
                    _ => {}
                }
            }
            if let Some(call) = blocks.last_mut() {
                call["input"] = serde_json::from_str(&fragments).unwrap_or(json!({}));
            }
            prop_assert_eq!(&json!(blocks), &message.json()["content"]);
        }
    }
}
