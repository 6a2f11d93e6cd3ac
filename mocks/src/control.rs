//! The control plane that both mocks have on their own port: reset, script, requests, ledger, timing.

use std::sync::Arc;

use axum::http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::body::Answer;
use crate::journal::Entry;
use crate::script::RawRule;
use crate::stage::Stage;

/// How many requests are shown at once unless asked.
const PAGE: usize = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rules {
    rules: Vec<RawRule>,
}

/// What the control plane answers; nothing when it has no such place. `ledger` shows the books, `reset` closes them.
pub(crate) fn answer(
    stage: &Arc<Stage>,
    (method, path, query): (&Method, &str, Option<&str>),
    body: &[u8],
    ledger: impl FnOnce() -> Value,
    reset: impl FnOnce(),
) -> Option<Answer> {
    let answer = match (method.as_str(), path) {
        ("POST", "/_mock/reset") => {
            stage.reset();
            stage.timing.clear();
            reset();
            Answer::json(200, &json!({}))
        }
        ("POST", "/_mock/script") => script(stage, body),
        ("GET", "/_mock/requests") => {
            Answer::json(200, &requests(stage, query.unwrap_or_default()))
        }
        ("GET", "/_mock/ledger") => Answer::json(200, &ledger()),
        ("GET", "/_mock/timing") => Answer::json(200, &json!(stage.timing.report())),
        _ => return None,
    };
    Some(answer)
}

fn script(stage: &Stage, body: &[u8]) -> Answer {
    match serde_json::from_slice::<Rules>(body) {
        Ok(Rules { mut rules }) => {
            for rule in &mut rules {
                // A rule of the control plane is for once, unless it says more.
                rule.times.get_or_insert(1);
            }
            rules.retain(|rule| rule.times != Some(0));
            let count = rules.len();
            stage.queue(rules);
            Answer::json(200, &json!({"queued": count}))
        }
        Err(error) => Answer::json(
            400,
            &json!({"error": format!(
                "this is no script: {error}; expected {{\"rules\": [{{\"match\": {{\"method\", \"path\"}}, \"times\": 1, \"response\": {{\"status\", \"headers\", \"body\"}} or {{\"sse\": […]}}}}]}}"
            )}),
        ),
    }
}

/// The journal since the last reset: `?since=` and `?limit=` page through it.
fn requests(stage: &Stage, query: &str) -> Value {
    let number = |name: &str| {
        query
            .split('&')
            .filter_map(|pair| pair.split_once('='))
            .find(|(key, _)| *key == name)
            .and_then(|(_, value)| value.parse::<usize>().ok())
    };
    let since = number("since").unwrap_or_default();
    let limit = number("limit").unwrap_or(PAGE);
    let all = stage
        .journal
        .page(stage.base().saturating_add(since), limit);
    let read = all.len();
    let mine = all.iter().filter(|entry| entry.upstream == stage.upstream);
    let left = stage
        .journal
        .len()
        .saturating_sub(stage.base() + since + read);
    json!({
        "requests": mine.map(seen).collect::<Vec<_>>(),
        "next": (left > 0).then_some(since + read),
    })
}

/// A request as `/_mock/requests` shows it.
fn seen(entry: &Entry) -> Value {
    let headers: Map<String, Value> = entry
        .headers
        .lines()
        .filter_map(|line| line.split_once(": "))
        .map(|(name, value)| (name.to_owned(), json!(value)))
        .collect();
    let (method, target) = entry.what.split_once(' ').unwrap_or((&entry.what, ""));
    let (path, query) = match target.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (target, None),
    };
    json!({
        "method": method,
        "path": path,
        "query": query,
        "headers": headers,
        "body": entry.request.as_ref().map(crate::journal::Body::json),
        "status": entry.status,
        "fault": entry.fault,
        "question": entry.question,
        "concurrent": entry.concurrent,
        "arrived_ns": entry.arrived_ns,
        "first_byte_ns": entry.first_byte_ns,
        "ended_ns": entry.ended_ns,
        "scheduled_ns": entry.scheduled_ns,
        "usage": entry.usage,
        "cost_usd": entry.cost_usd,
        "uncached_usd": entry.uncached_usd,
    })
}
