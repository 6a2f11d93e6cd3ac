//! The tools over HTTP: listed, shown, executed.

use super::{Engine, Failure, Trace, body, parse};
use crate::tools::Call;
use crate::tools::web::Reach;
use axum::Json;
use axum::extract::{Path, Request, State};
use fact_wire::{ErrorCode, ExecuteRequest};
use serde_json::{Value, json};
use std::time::Instant;

pub(super) async fn list(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), "tools", &trace)
        .await?;
    let tools = engine.answering.tools.definitions(&principal, false);
    Ok(Json(json!({ "tools": tools, "total": tools.len() })))
}

pub(super) async fn show(
    State(engine): State<Engine>,
    trace: Trace,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), "tools", &trace)
        .await?;
    let found = engine
        .answering
        .tools
        .definitions(&principal, false)
        .into_iter()
        .find(|tool| tool.name == name);
    found
        .map(|tool| Json(json!(tool)))
        .ok_or_else(|| unknown(&trace))
}

pub(super) async fn execute(
    State(engine): State<Engine>,
    trace: Trace,
    Path(name): Path<String>,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), &name, &trace)
        .await?;
    if !engine.answering.tools.exists(&name) {
        return Err(unknown(&trace));
    }
    let bytes = body(request, &trace).await?;
    let asked: ExecuteRequest = parse(&bytes, &trace)?;
    let began = Instant::now();
    let call = Call {
        principal: &principal,
        trace_id: &trace.0,
        by: "caller",
        reach: &Reach::Anywhere,
    };
    let executed = engine
        .answering
        .tools
        .execute(call, &name, &Value::Object(asked.arguments))
        .await;
    if executed.audited.written().await.is_err() {
        return Err(
            Failure::new(ErrorCode::Internal, "the call could not be audited").with(&trace),
        );
    }
    let output = executed
        .outcome
        .map_err(|error| Failure::from(error).with(&trace))?;
    Ok(Json(json!({
        "execution_id": format!("exe_{:032x}", rand::random::<u128>()),
        "tool_name": name,
        "status": "success",
        "result": output.result,
        "metadata": { "latency_ms": began.elapsed().as_secs_f64() * 1e3, "tables": output.tables },
    })))
}

fn unknown(trace: &Trace) -> Failure {
    Failure::new(ErrorCode::ToolNotFound, "there is no such tool").with(trace)
}
