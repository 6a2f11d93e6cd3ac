//! The answer cache over HTTP: what a tenant has there, and how it drops it.

use super::{Engine, Failure, Trace, body, parse};
use crate::audit::Happening;
use axum::Json;
use axum::extract::{Request, State};
use fact_wire::ErrorCode;
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(super) async fn status(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("cache"), "cache/status", &trace)
        .await?;
    let (entries, bytes, max_bytes) = engine
        .answering
        .cache
        .status(&principal.client.tenant, Instant::now());
    let (hits, misses) = engine.answering.cache.counts(&principal.client.tenant);
    Ok(Json(json!({
        "total_entries": entries,
        "hits": hits,
        "misses": misses,
        "hit_rate": rate(hits, hits + misses),
        "memory_usage": { "current_bytes": bytes, "max_bytes": max_bytes },
    })))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalidation {
    invalidation_type: Kind,
    #[serde(default)]
    criteria: Criteria,
}

#[derive(Deserialize, PartialEq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Selective,
    All,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Criteria {
    query: Option<String>,
    table: Option<String>,
    prefix: Option<String>,
    older_than_seconds: Option<u64>,
}

pub(super) async fn invalidate(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("cache"), "cache/entries", &trace)
        .await?;
    let bytes = body(request, &trace).await?;
    let Invalidation {
        invalidation_type,
        criteria,
    } = parse(&bytes, &trace)?;
    let Criteria {
        query,
        table,
        prefix,
        older_than_seconds,
    } = criteria;
    if invalidation_type == Kind::Selective
        && query.is_none()
        && table.is_none()
        && prefix.is_none()
        && older_than_seconds.is_none()
    {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "a selective invalidation needs at least one of the criteria",
        )
        .with(&trace));
    }
    let bases = table.map(|table| engine.answering.tools.database.base_tables(&[table]));
    let affected = engine.answering.cache.invalidate(
        &principal.client.tenant,
        |label, tables, age| {
            query
                .as_ref()
                .is_none_or(|query| label.question == query.trim())
                && prefix.as_ref().is_none_or(|prefix| label.prefix == *prefix)
                && bases
                    .as_ref()
                    .is_none_or(|bases| !tables.is_disjoint(bases))
                && older_than_seconds.is_none_or(|seconds| age > Duration::from_secs(seconds))
        },
        Instant::now(),
    );
    let happening = Happening {
        kind: "admin",
        outcome: "success",
        client_id: principal.client.id.clone(),
        tenant: principal.client.tenant.clone(),
        resource: "cache/entries".into(),
        rule: None,
        trace_id: trace.0.clone(),
        details: json!({ "entries_affected": affected }),
    };
    if engine.audit.record(happening).await.is_err() {
        return Err(
            Failure::new(ErrorCode::Internal, "the invalidation could not be audited").with(&trace),
        );
    }
    Ok(Json(json!({
        "invalidation_id": format!("inv_{:032x}", rand::random::<u128>()),
        "entries_affected": affected,
        "status": "completed",
        "timestamp": jiff::Timestamp::now().to_string(),
    })))
}
