//! A person's own sessions: seen and forgotten.

use super::query::wrong_name;
use super::{Engine, Failure, Name, Trace};
use crate::session::SessionKey;
use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use fact_wire::{ErrorCode, Session, SessionForgotten};
use serde::Deserialize;

/// Whose session it is, where a client acts for others.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Whose {
    user_id: Option<String>,
}

pub(super) async fn show(
    State(engine): State<Engine>,
    trace: Trace,
    Name(id): Name,
    request: Request,
) -> Result<Json<Session>, Failure> {
    let key = own(&engine, &trace, id, request.into_parts().0).await?;
    let found = engine
        .sessions
        .get(&key)
        .await
        .map_err(|error| Failure::from(error).with(&trace))?;
    found.map(Json).ok_or_else(|| unknown(&trace))
}

pub(super) async fn forget(
    State(engine): State<Engine>,
    trace: Trace,
    Name(id): Name,
    request: Request,
) -> Result<Json<SessionForgotten>, Failure> {
    let key = own(&engine, &trace, id, request.into_parts().0).await?;
    let forgotten = engine
        .sessions
        .forget(&key)
        .await
        .map_err(|error| Failure::from(error).with(&trace))?;
    if forgotten {
        Ok(Json(SessionForgotten {
            session_id: key.id,
            status: "deleted".into(),
            timestamp: jiff::Timestamp::now().to_string(),
        }))
    } else {
        Err(unknown(&trace))
    }
}

async fn own(
    engine: &Engine,
    trace: &Trace,
    id: String,
    request: Parts,
) -> Result<SessionKey, Failure> {
    let principal = engine
        .authorize(&request.headers, Some("query"), "sessions", trace)
        .await?;
    let wrong = |message: String| Failure::new(ErrorCode::InvalidRequest, message).with(trace);
    let Query(whose) = Query::<Whose>::try_from_uri(&request.uri)
        .map_err(|error| wrong(format!("the query string cannot be read: {error}")))?;
    let person = engine
        .person(&principal, whose.user_id, "sessions", trace)
        .await?;
    if wrong_name(&id).is_some() {
        return Err(unknown(trace));
    }
    Ok(SessionKey {
        tenant: principal.client.tenant.clone(),
        person,
        id,
    })
}

fn unknown(trace: &Trace) -> Failure {
    Failure::new(ErrorCode::NotFound, "there is no such session of yours").with(trace)
}
