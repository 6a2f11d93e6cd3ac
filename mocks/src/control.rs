//! The control plane that both mocks have on their own port: reset, requests, ledger.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::http::request::Parts;
use axum::routing::{get, post};
use axum::{Json, Router};
use serde_json::{Value, json};

use crate::journal;
use crate::stage::Stage;

/// The routes below `/_mock`; `reset` forgets what the mock has besides its stage, `lines` are its ledger.
pub(crate) fn routes(
    stage: &Arc<Stage>,
    reset: impl Fn() + Clone + Send + Sync + 'static,
    lines: impl Fn() -> Value + Clone + Send + Sync + 'static,
) -> Router {
    let [for_reset, for_requests, for_ledger] = [(); 3].map(|()| Arc::clone(stage));
    Router::new()
        .route(
            "/_mock/reset",
            post(async move || {
                for_reset.reset();
                reset();
                Json(json!({}))
            }),
        )
        .route(
            "/_mock/requests",
            get(async move || Json(json!({"requests": for_requests.requests()}))),
        )
        .route(
            "/_mock/ledger",
            get(async move || {
                let base = for_ledger.base.load(Ordering::SeqCst);
                let entries: Vec<_> = for_ledger
                    .journal
                    .since(base)
                    .into_iter()
                    .filter(|entry| entry.upstream == for_ledger.upstream)
                    .collect();
                Json(json!({
                    "requests": entries.len(),
                    "totals": journal::totals(&entries),
                    "lines": lines(),
                }))
            }),
        )
}

/// A request as `/_mock/requests` shows it.
pub(crate) fn seen(parts: &Parts, body: &Value) -> Value {
    let headers: BTreeMap<&str, String> = parts
        .headers
        .iter()
        .map(|(name, value)| {
            (
                name.as_str(),
                String::from_utf8_lossy(value.as_bytes()).into_owned(),
            )
        })
        .collect();
    json!({
        "method": parts.method.as_str(),
        "path": parts.uri.path(),
        "query": parts.uri.query(),
        "headers": headers,
        "body": body,
    })
}
