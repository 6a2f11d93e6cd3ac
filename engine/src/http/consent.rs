//! A person's consent over HTTP: begun for a tool that needs it, finished with what the provider sent the person back
//! with.

use super::query::wrong_name;
use super::toolbox::{recorded, unknown};
use super::{Engine, Failure, Name, Trace, body, parse};
use crate::audit::Happening;
use crate::auth::Principal;
use crate::consent::{BeginError, FinishError};
use crate::mask::mask;
use crate::tools::authorization::{Authorization, AuthorizeError, Finished};
use crate::tools::outcome::ToolError;
use axum::Json;
use axum::extract::{Request, State};
use fact_guard::Rule;
use fact_wire::{
    AuthorizeToolRequest, CallbackRequest, ErrorCode, ToolAuthorization, ToolAuthorized,
};
use serde_json::{Value, json};

const LONGEST_CODE: usize = 4_096;

pub(super) async fn authorize(
    State(engine): State<Engine>,
    trace: Trace,
    Name(name): Name,
    request: Request,
) -> Result<Json<ToolAuthorization>, Failure> {
    let resource = format!("auth/tools/{}", mask(&name));
    let principal = engine
        .authorize(request.headers(), Some("tools"), &resource, &trace)
        .await?;
    let tools = &engine.answering.tools;
    if !tools.exists(&principal, &name) {
        return Err(unknown(&trace));
    }
    if !principal.may_use(&name) {
        let (client, rule) = (&principal.client, Rule::ToolScope);
        engine
            .refused(&client.id, &client.tenant, &resource, rule.id(), &trace)
            .await;
        return Err(Failure::from(ToolError::refused(rule)).with(&trace));
    }
    let bytes = body(request, &trace).await?;
    let asked = if bytes.is_empty() {
        AuthorizeToolRequest::default()
    } else {
        parse(&bytes, &trace)?
    };
    let person = person(asked, &principal).map_err(|failure| failure.with(&trace))?;
    let authorized = tools.authorize(&principal, &person, &name).await;
    let (outcome, status) = match &authorized {
        Ok(Authorization::Given) => ("success", "authorized"),
        Ok(_) => ("success", "pending"),
        Err(_) => ("failure", "failed"),
    };
    let details = json!({ "action": "authorize", "status": status, "person": mask(&person) });
    let act = act(&principal, outcome, resource, details, &trace);
    recorded(&engine, act, &trace).await?;
    let mut told = ToolAuthorization {
        tool_name: name,
        status: status.into(),
        authorization_url: None,
        state: None,
        expires_at: None,
    };
    match authorized.map_err(|error| not_begun(error).with(&trace))? {
        Authorization::Given => {}
        Authorization::AtArcade { url } => told.authorization_url = Some(url),
        Authorization::Begun(begun) => {
            told.authorization_url = Some(begun.url);
            told.state = Some(begun.state);
            told.expires_at = Some(begun.expires_at);
        }
    }
    Ok(Json(told))
}

/// Who consents.
fn person(asked: AuthorizeToolRequest, principal: &Principal) -> Result<String, Failure> {
    let client = &principal.client;
    let person = asked.user_id.unwrap_or_else(|| client.id.clone());
    if person != client.id && !client.act_as {
        let message = "the token does not speak for this `user_id`";
        return Err(Failure::new(ErrorCode::Forbidden, message));
    }
    match wrong_name(&person) {
        None => Ok(person),
        Some(wrong) => {
            let message = format!("`user_id` {wrong}");
            Err(Failure::new(ErrorCode::InvalidRequest, message))
        }
    }
}

pub(super) async fn callback(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<ToolAuthorized>, Failure> {
    const RESOURCE: &str = "auth/tools/callback";
    let principal = engine
        .authorize(request.headers(), Some("tools"), RESOURCE, &trace)
        .await?;
    let bytes = body(request, &trace).await?;
    let CallbackRequest { state, code } = parse(&bytes, &trace)?;
    if code.is_empty() || code.len() > LONGEST_CODE {
        let message = format!("`code` is empty, or longer than {LONGEST_CODE} bytes");
        return Err(Failure::new(ErrorCode::InvalidRequest, message).with(&trace));
    }
    let tools = &engine.answering.tools;
    let Finished { tool, outcome } = tools.finish_authorization(&principal, &state, &code).await;
    let resource = match &tool {
        Some(tool) => format!("auth/tools/{}", mask(tool)),
        None => RESOURCE.to_owned(),
    };
    let word = if outcome.is_ok() {
        "success"
    } else {
        "failure"
    };
    let details = json!({ "action": "callback" });
    let act = act(&principal, word, resource, details, &trace);
    recorded(&engine, act, &trace).await?;
    outcome.map_err(|error| not_finished(&error).with(&trace))?;
    Ok(Json(ToolAuthorized {
        status: "authorized".into(),
        tool_name: tool,
    }))
}

fn act(
    principal: &Principal,
    outcome: &'static str,
    resource: String,
    details: Value,
    trace: &Trace,
) -> Happening {
    Happening {
        kind: "admin",
        outcome,
        client_id: principal.client.id.clone(),
        tenant: principal.client.tenant.clone(),
        resource,
        rule: None,
        trace_id: trace.0.clone(),
        details,
    }
}

fn not_begun(error: AuthorizeError) -> Failure {
    let message = error.to_string();
    match error {
        AuthorizeError::NotNeeded => Failure::new(ErrorCode::InvalidRequest, message),
        AuthorizeError::Begin(BeginError::Busy(wait)) => {
            Failure::new(ErrorCode::RateLimited, message).retry_after(wait)
        }
        AuthorizeError::Begin(BeginError::Keep(error)) => unkept(&error),
        AuthorizeError::Tool(error) => error.into(),
    }
}

fn not_finished(error: &FinishError) -> Failure {
    let message = error.to_string();
    match error {
        FinishError::State | FinishError::Refused | FinishError::Client => {
            Failure::new(ErrorCode::InvalidRequest, message)
        }
        FinishError::Down { retry_after } => {
            Failure::new(ErrorCode::ExternalServiceError, message).retry_after(*retry_after)
        }
        FinishError::Keep(error) => unkept(error),
    }
}

fn unkept(error: &impl std::error::Error) -> Failure {
    tracing::error!(%error, "the state cannot be used");
    let message = "the engine's state cannot be used at the moment";
    Failure::new(ErrorCode::Internal, message)
}
