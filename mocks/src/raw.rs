//! Answers given byte for byte.

use std::collections::VecDeque;
use std::time::Duration;

use axum::http::header;
use bytes::Bytes;
use serde_json::Value;

use crate::body::{Answer, Chunk};
use crate::script::{RawEvent, RawResponse};

/// The answer, `taken` after its request, and when it begins.
pub(crate) fn answer(response: &RawResponse, taken: Duration) -> (Answer, Duration) {
    let due = response
        .delay_ms
        .map_or(Duration::ZERO, |ms| taken + millis(ms));
    let mut answer = if let Some(events) = &response.sse {
        let mut at = due;
        let chunks = events.iter().map(|event| {
            if let Some(delay) = event.0.get("delay_ms").and_then(Value::as_f64) {
                at = at.max(taken) + millis(delay);
            }
            let bytes = written(event);
            Chunk { at, bytes }
        });
        Answer::events(chunks.collect::<VecDeque<_>>())
    } else {
        match &response.body {
            Some(Value::String(text)) => Answer::new(200, "text/plain", text.clone()),
            Some(body) => Answer::json(200, body),
            None => Answer::new(200, "application/json", Bytes::new()),
        }
    };
    answer.status = response.status.unwrap_or(200);
    for (name, value) in &response.headers {
        answer = match value {
            Value::String(value) => answer.header(name, value),
            other => answer.header(name, &other.to_string()),
        };
    }
    // A text that looks like JSON is taken for it, as a client would write it.
    let names = response.headers.keys();
    if let Some(Value::String(text)) = &response.body
        && !names
            .into_iter()
            .any(|name| name.eq_ignore_ascii_case("content-type"))
        && serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok()
    {
        let json = header::HeaderValue::from_static("application/json");
        answer.headers.insert(header::CONTENT_TYPE, json);
    }
    (answer, due)
}

fn millis(ms: f64) -> Duration {
    Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default()
}

fn written(event: &RawEvent) -> Bytes {
    let fields = match &event.0 {
        Value::String(text) => return Bytes::from(text.clone()),
        Value::Object(fields) => fields,
        other => return Bytes::from(format!("data: {other}\n\n")),
    };
    let mut fields = fields.clone();
    fields.remove("delay_ms");
    // Either the data themselves, or `event` and `data` apart.
    if let Some(data) = fields.get("data") {
        let data = match data {
            Value::String(text) => text.clone(),
            other => other.to_string(),
        };
        let name = fields.get("event").and_then(Value::as_str);
        let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
        return Bytes::from(format!("{name}data: {data}\n\n"));
    }
    let name = fields.get("type").and_then(Value::as_str);
    let name = name.map_or_else(String::new, |name| format!("event: {name}\n"));
    Bytes::from(format!("{name}data: {}\n\n", Value::Object(fields)))
}
