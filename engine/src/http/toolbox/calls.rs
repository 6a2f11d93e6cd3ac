//! Tools called over HTTP: one by one, many at once, or for later.

use super::super::{Engine, Failure, Trace, body, parse};
use super::{unaudited, unknown};
use crate::auth::Principal;
use crate::executions::{self, BeginError};
use crate::tools::Call;
use crate::tools::outcome::ToolOutput;
use crate::tools::web::Reach;
use axum::Json;
use axum::extract::{Path, Request, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use fact_wire::{BatchCall, BatchRequest, ErrorCode, ExecuteMode, ExecuteRequest, ExecutionState};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Of one batch.
const MOST_CALLS: usize = 100;

pub(in crate::http) async fn execute(
    State(engine): State<Engine>,
    trace: Trace,
    Path(name): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), &name, &trace)
        .await?;
    if !engine.answering.tools.exists(&principal, &name) {
        return Err(unknown(&trace));
    }
    let preferred = prefers_async(request.headers());
    let bytes = body(request, &trace).await?;
    let asked: ExecuteRequest = parse(&bytes, &trace)?;
    let arguments = Value::Object(asked.arguments);
    let later = preferred || asked.mode == ExecuteMode::Async;
    // What would not be called at all is said at once.
    let tools = &engine.answering.tools;
    if later && tools.is_callable(&principal, &name, &arguments) {
        let state = begin(&engine, principal, name, arguments, &trace).await?;
        return Ok(accepted(&state));
    }
    let began = Instant::now();
    let output = call(&engine, &principal, &name, &arguments, &trace).await?;
    let told = json!({
        "execution_id": executions::id(),
        "tool_name": name,
        "status": "success",
        "result": output.result,
        "metadata": { "latency_ms": began.elapsed().as_secs_f64() * 1e3, "tables": output.tables },
    });
    Ok(Json(told).into_response())
}

/// One call, and its audit event on disk.
async fn call(
    engine: &Engine,
    principal: &Principal,
    name: &str,
    arguments: &Value,
    trace: &Trace,
) -> Result<ToolOutput, Failure> {
    let call = Call {
        principal,
        person: &principal.client.id,
        trace_id: &trace.0,
        by: "caller",
        reach: &Reach::Anywhere,
    };
    let executed = engine.answering.tools.execute(call, name, arguments).await;
    let written = executed.audited.written().await;
    written.map_err(|_| unaudited(trace))?;
    executed
        .outcome
        .map_err(|error| Failure::from(error).with(trace))
}

/// Whether the caller would rather not wait (RFC 7240).
fn prefers_async(headers: &HeaderMap) -> bool {
    headers
        .get_all("prefer")
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|preference| {
            let name = preference.split([';', '=']).next().unwrap_or_default();
            name.trim().eq_ignore_ascii_case("respond-async")
        })
}

async fn begin(
    engine: &Engine,
    principal: Arc<Principal>,
    name: String,
    arguments: Value,
    trace: &Trace,
) -> Result<ExecutionState, Failure> {
    let begun = engine.executions.begin(&principal.client.id, &name).await;
    let begun = begun.map_err(|error| match error {
        BeginError::Busy => Failure::new(ErrorCode::RateLimited, error.to_string())
            .retry_after(Duration::from_secs(1))
            .with(trace),
        BeginError::Store(error) => Failure::from(error).with(trace),
    })?;
    let state = begun.state().clone();
    let (own, trace) = (engine.clone(), trace.clone());
    engine.executions.tasks.spawn(async move {
        let outcome = call(&own, &principal, &name, &arguments, &trace).await;
        let outcome = outcome.map(|output| output.result);
        begun.end(outcome.map_err(|failure| failure.detail())).await;
    });
    Ok(state)
}

fn accepted(state: &ExecutionState) -> Response {
    let url = format!("/api/v1/tools/executions/{}", state.execution_id);
    let mut told = json!(state);
    told["status_url"] = url.clone().into();
    let applied = ("preference-applied", "respond-async".to_owned());
    let headers = [(header::LOCATION.as_str(), url), applied];
    (StatusCode::ACCEPTED, headers, Json(told)).into_response()
}

pub(in crate::http) async fn execution(
    State(engine): State<Engine>,
    trace: Trace,
    Path(id): Path<String>,
    request: Request,
) -> Result<Json<ExecutionState>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), "tools/executions", &trace)
        .await?;
    let found = engine.executions.find(&principal.client.id, &id).await;
    found
        .map_err(|error| Failure::from(error).with(&trace))?
        .map(Json)
        .ok_or_else(|| Failure::new(ErrorCode::NotFound, "there is no such execution").with(&trace))
}

pub(in crate::http) async fn batch(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), "tools/batch", &trace)
        .await?;
    let bytes = body(request, &trace).await?;
    let BatchRequest { calls } = parse(&bytes, &trace)?;
    if calls.is_empty() || calls.len() > MOST_CALLS {
        let message = format!("`calls` has 1 to {MOST_CALLS} entries, not {}", calls.len());
        return Err(Failure::new(ErrorCode::InvalidRequest, message).with(&trace));
    }
    let one = |asked: BatchCall| {
        let (engine, principal, trace) = (&engine, &principal, &trace);
        async move {
            let BatchCall { tool, arguments } = asked;
            let called = if engine.answering.tools.exists(principal, &tool) {
                call(engine, principal, &tool, &arguments, trace).await
            } else {
                Err(unknown(trace))
            };
            match called {
                Ok(output) => json!({
                    "status": "success",
                    "tool_name": tool,
                    "execution_id": executions::id(),
                    "result": output.result,
                }),
                Err(failure) => {
                    json!({ "status": "error", "tool_name": tool, "error": failure.detail() })
                }
            }
        }
    };
    let results = join_all(calls.into_iter().map(one)).await;
    Ok(Json(json!({ "results": results })))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_preference_is_found_among_others() {
        let prefers = |value: &'static str| {
            let mut headers = HeaderMap::new();
            headers.insert("prefer", value.parse().unwrap());
            prefers_async(&headers)
        };
        assert!(prefers("respond-async"));
        assert!(prefers("wait=10, Respond-Async; x=1"));
        assert!(!prefers("return=minimal"));
    }
}
