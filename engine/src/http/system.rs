//! What operators look at: health, readiness, metrics, the audit log.

use super::{Engine, Failure, Trace};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

const SHOWN_EVENTS: usize = 1_000;

pub(super) async fn health(State(engine): State<Engine>) -> Response {
    let database = engine.answering.tools.database.ping().await;
    let mut profiles = vec![
        "core",
        "streaming",
        "sessions",
        "cache-admin",
        "audit",
        "web",
        "registration",
    ];
    if engine.answering.tools.files.is_some() {
        profiles.push("files");
    }
    let word = |well| if well { "healthy" } else { "unhealthy" };
    let mut components = json!({
        "database": { "status": word(database), "kind": engine.answering.tools.database.kind() },
    });
    let mut well = database;
    if let Some(arcade) = &engine.answering.tools.arcade {
        profiles.push("arcade");
        components["arcade"] = json!({ "status": word(arcade.health()) });
        well &= arcade.health();
    }
    let status = if well { "healthy" } else { "degraded" };
    Json(json!({
        "status": status,
        "version": env!("CARGO_PKG_VERSION"),
        "uptime_seconds": engine.started.elapsed().as_secs_f64(),
        "profiles": profiles,
        "components": components,
        "timestamp": jiff::Timestamp::now().to_string(),
    }))
    .into_response()
}

pub(super) async fn ready() -> (StatusCode, Json<Value>) {
    (StatusCode::OK, Json(json!({ "ready": true })))
}

pub(super) async fn metrics(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    engine
        .authorize(request.headers(), Some("metrics"), "metrics", &trace)
        .await?;
    Ok(Json(engine.answering.metrics.as_json()))
}

pub(super) async fn prometheus(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Response, Failure> {
    engine
        .authorize(request.headers(), Some("metrics"), "metrics", &trace)
        .await?;
    Ok((
        [("content-type", "text/plain; version=0.0.4")],
        engine.answering.metrics.as_prometheus(),
    )
        .into_response())
}

pub(super) async fn audit(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    engine
        .authorize(request.headers(), Some("admin"), "audit", &trace)
        .await?;
    Ok(Json(
        json!({ "events": engine.audit.newest(SHOWN_EVENTS), "next_cursor": null }),
    ))
}
