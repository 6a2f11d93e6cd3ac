//! The tools over HTTP: listed, shown, registered, removed. What calls them is beside.

pub(super) mod calls;

use super::{Engine, Failure, Name, Trace, body, parse};
use crate::audit::Happening;
use crate::auth::Principal;
use crate::tools::outcome::ToolError;
use crate::tools::registry::{RegisterError, RemoveError};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use fact_wire::{ErrorCode, RegisterRequest, ToolDefinition, ToolList, ToolRemoved};
use serde_json::{Value, json};

pub(super) async fn list(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<ToolList>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), "tools", &trace)
        .await?;
    let tools = engine.answering.tools.show_all(&principal);
    let total = tools.len();
    Ok(Json(ToolList { tools, total }))
}

pub(super) async fn show(
    State(engine): State<Engine>,
    trace: Trace,
    Name(name): Name,
    request: Request,
) -> Result<Json<ToolDefinition>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("tools"), "tools", &trace)
        .await?;
    let found = engine.answering.tools.show(&principal, &name);
    found.map(Json).ok_or_else(|| unknown(&trace))
}

pub(super) async fn register(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<(StatusCode, Json<ToolDefinition>), Failure> {
    let principal = engine
        .authorize(request.headers(), Some("admin"), "tools", &trace)
        .await?;
    let bytes = body(request, &trace).await?;
    let asked: RegisterRequest = parse(&bytes, &trace)?;
    let name = asked.name.clone();
    let tools = &engine.answering.tools;
    match tools.register(asked, &principal).await {
        Ok(tool) => {
            let details = json!({ "action": "register", "version": tool.version });
            let act = act(&principal, &name, details, &trace);
            recorded(&engine, act, &trace).await?;
            Ok((StatusCode::CREATED, Json(tool)))
        }
        Err(RegisterError::Refused(refusal)) => {
            let refused = Happening {
                kind: "refusal",
                outcome: "refused",
                rule: Some(refusal.rule.id().to_owned()),
                ..act(&principal, &name, json!({ "action": "register" }), &trace)
            };
            recorded(&engine, refused, &trace).await?;
            Err(Failure::from(ToolError::from(refusal)).with(&trace))
        }
        Err(error) => Err(failure(error).with(&trace)),
    }
}

fn failure(error: RegisterError) -> Failure {
    let message = error.to_string();
    match error {
        RegisterError::Invalid(violations) => Failure::new(ErrorCode::InvalidRequest, message)
            .detailed(json!({ "violations": violations })),
        RegisterError::Conflict(_) => Failure::new(ErrorCode::Conflict, message),
        RegisterError::TooMany => Failure::new(ErrorCode::LimitExceeded, message),
        RegisterError::Refused(refusal) => ToolError::from(refusal).into(),
        RegisterError::Store(error) => error.into(),
        RegisterError::Sealed(_) => Failure::new(ErrorCode::Internal, "the tool cannot be kept"),
    }
}

pub(super) async fn remove(
    State(engine): State<Engine>,
    trace: Trace,
    Name(name): Name,
    request: Request,
) -> Result<Json<ToolRemoved>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("admin"), "tools", &trace)
        .await?;
    match engine.answering.tools.remove(&name, &principal).await {
        Ok(()) => {}
        Err(RemoveError::Unknown) => return Err(unknown(&trace)),
        Err(error @ RemoveError::NotRegistered) => {
            return Err(Failure::new(ErrorCode::Conflict, error.to_string()).with(&trace));
        }
        Err(RemoveError::Store(error)) => return Err(Failure::from(error).with(&trace)),
    }
    let act = act(&principal, &name, json!({ "action": "remove" }), &trace);
    recorded(&engine, act, &trace).await?;
    Ok(Json(ToolRemoved {
        tool_name: name,
        status: "deleted".into(),
        timestamp: jiff::Timestamp::now().to_string(),
    }))
}

/// An administrator's doing.
fn act(principal: &Principal, name: &str, details: Value, trace: &Trace) -> Happening {
    Happening {
        kind: "admin",
        outcome: "success",
        client_id: principal.client.id.clone(),
        tenant: principal.client.tenant.clone(),
        resource: format!("tools/{}", crate::mask::mask(name)),
        rule: None,
        trace_id: trace.0.clone(),
        details,
    }
}

pub(super) async fn recorded(
    engine: &Engine,
    happening: Happening,
    trace: &Trace,
) -> Result<(), Failure> {
    let recorded = engine.audit.record(happening).await;
    recorded.map_err(|_| unaudited(trace))
}

fn unaudited(trace: &Trace) -> Failure {
    Failure::new(ErrorCode::Internal, "the call could not be audited").with(trace)
}

pub(super) fn unknown(trace: &Trace) -> Failure {
    Failure::new(ErrorCode::ToolNotFound, "there is no such tool").with(trace)
}
