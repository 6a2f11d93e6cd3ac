//! What operators look at: health, readiness, metrics, the audit log.

use super::{Engine, Failure, Trace};
use crate::audit::{Field, Wanted};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use fact_wire::{AuditPage, Component, ErrorCode, Health, HealthStatus, Ready};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::LazyLock;

pub(super) async fn health(State(engine): State<Engine>) -> (StatusCode, Json<Health>) {
    let tools = &engine.answering.tools;
    let database = tools.database.ping().await;
    let mut profiles = vec![
        "core",
        "streaming",
        "sessions",
        "cache-admin",
        "audit",
        "web",
        "registration",
        "oauth",
    ];
    if tools.files.is_some() {
        profiles.push("files");
    }
    if tools.arcade.is_some() {
        profiles.push("arcade");
    }
    let mut components = BTreeMap::from([
        (
            "database".to_owned(),
            component(database, Some(tools.database.kind())),
        ),
        (
            "claude".to_owned(),
            component(engine.answering.claude.is_well(), None),
        ),
    ]);
    if let Some(arcade) = &tools.arcade {
        components.insert("arcade".to_owned(), component(arcade.health(), None));
    }
    let well = components
        .values()
        .all(|component| component.status == HealthStatus::Healthy);
    let health = Health {
        status: if well {
            HealthStatus::Healthy
        } else {
            HealthStatus::Degraded
        },
        version: env!("CARGO_PKG_VERSION").to_owned(),
        uptime_seconds: engine.started.elapsed().as_secs_f64(),
        profiles: profiles.into_iter().map(str::to_owned).collect(),
        components,
        timestamp: jiff::Timestamp::now().to_string(),
    };
    (StatusCode::OK, Json(health))
}

fn component(well: bool, kind: Option<&str>) -> Component {
    Component {
        status: if well {
            HealthStatus::Healthy
        } else {
            HealthStatus::Unhealthy
        },
        kind: kind.map(str::to_owned),
    }
}

pub(super) async fn ready() -> Json<Ready> {
    Json(Ready { ready: true })
}

/// The contract in its precise form; made once.
pub(super) async fn openapi() -> Response {
    static DOCUMENT: LazyLock<String> =
        LazyLock::new(|| fact_wire::openapi::document().to_string());
    ([("content-type", "application/json")], DOCUMENT.as_str()).into_response()
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

/// Of one page.
const MOST_EVENTS: usize = 1_000;
const EVENTS: usize = 100;

/// The events of all tenants: the chain cannot be checked without any of them, and a failed login belongs to nobody.
pub(super) async fn audit(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<AuditPage>, Failure> {
    engine
        .authorize(request.headers(), Some("admin"), "audit", &trace)
        .await?;
    let wanted = wanted(request.uri().query().unwrap_or_default())
        .map_err(|why| Failure::new(ErrorCode::InvalidRequest, why).with(&trace))?;
    let page = engine.audit.page(wanted).await.map_err(|error| {
        tracing::error!(%error, "the audit log cannot be read");
        Failure::new(ErrorCode::Internal, "the audit log cannot be read").with(&trace)
    })?;
    let next = page.next.map(|sequence| sequence.to_string());
    Ok(Json(AuditPage {
        events: page.events,
        next_cursor: next,
    }))
}

/// Which events a query string asks for; what is wrong with it.
fn wanted(query: &str) -> Result<Wanted, String> {
    let mut wanted = Wanted {
        limit: EVENTS,
        ..Wanted::default()
    };
    let mut seen = BTreeSet::new();
    for (name, value) in url::form_urlencoded::parse(query.as_bytes()) {
        if !seen.insert(name.to_string()) {
            return Err(format!("`{name}` is given twice"));
        }
        let field = match &*name {
            "type" => Field::Type,
            "outcome" => Field::Outcome,
            "client_id" => Field::ClientId,
            "tenant" => Field::Tenant,
            "resource" => Field::Resource,
            "trace_id" => Field::TraceId,
            "limit" => {
                wanted.limit = whole(&value)
                    .and_then(|limit| usize::try_from(limit).ok())
                    .filter(|limit| (1..=MOST_EVENTS).contains(limit))
                    .ok_or_else(|| format!("`limit` takes a number from 1 to {MOST_EVENTS}"))?;
                continue;
            }
            "cursor" => {
                let before = whole(&value).filter(|before| *before > 0);
                wanted.before =
                    Some(before.ok_or("`cursor` takes a `next_cursor` of an earlier answer")?);
                continue;
            }
            "since" | "until" => {
                let time = value.parse().map_err(|_| {
                    format!("`{name}` takes a time of RFC 3339, such as `2026-01-31T12:00:00Z`")
                })?;
                let place = if name == "since" {
                    &mut wanted.since
                } else {
                    &mut wanted.until
                };
                *place = Some(time);
                continue;
            }
            _ => return Err(format!("there is no parameter `{name}`")),
        };
        let known: &[&str] = match field {
            Field::Type => &["tool_call", "refusal", "login", "admin"],
            Field::Outcome => &["success", "failure", "refused"],
            _ => &[],
        };
        if !known.is_empty() && !known.contains(&&*value) {
            return Err(format!("`{name}` takes one of: {}", known.join(", ")));
        }
        wanted.equal.push((field, value.into_owned()));
    }
    Ok(wanted)
}

/// A number as it is written by itself: without sign and blanks.
fn whole(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_parameters_are_named_and_right_ones_are_read() {
        let read =
            wanted("limit=1000&cursor=7&type=login&client_id=a%20b&since=2026-01-31T12:00:00Z")
                .unwrap();
        assert_eq!(
            (read.limit, read.before, read.equal.len()),
            (1000, Some(7), 2)
        );
        assert_eq!(read.equal[1], (Field::ClientId, "a b".to_owned()));
        assert!(read.since.is_some() && read.until.is_none());
        for (query, word) in [
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=+5", "limit"),
            ("limit=", "limit"),
            ("cursor=abc", "cursor"),
            ("cursor=0", "cursor"),
            ("cursor=", "cursor"),
            ("type=query", "type"),
            ("outcome=maybe", "outcome"),
            ("since=yesterday", "since"),
            ("size=5", "size"),
            ("limit=5&limit=6", "twice"),
        ] {
            let why = wanted(query).unwrap_err();
            assert!(why.contains(word), "{query}: {why}");
        }
    }
}
