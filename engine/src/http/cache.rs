//! The answer cache over HTTP: what a tenant has there, and how it drops it.

use super::query::question_text;
use super::{Engine, Failure, Name, Trace, body, parse};
use crate::audit::Happening;
use crate::auth::Principal;
use crate::warm::WarmError;
use axum::Json;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use fact_wire::{
    CacheReport, Criteria, ErrorCode, InvalidateRequest, Invalidated, InvalidationType,
    MemoryUsage, WarmRequest, WarmingJob,
};
use serde::Deserialize;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

pub(super) async fn status(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<CacheReport>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("cache"), "cache/status", &trace)
        .await?;
    let (entries, bytes, max_bytes) = engine
        .answering
        .cache
        .status(&principal.client.tenant, Instant::now());
    let (hits, misses) = engine.answering.cache.counts(&principal.client.tenant);
    Ok(Json(CacheReport {
        total_entries: entries,
        hits,
        misses,
        hit_rate: rate(hits, hits + misses),
        memory_usage: MemoryUsage {
            current_bytes: bytes,
            max_bytes,
        },
    }))
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn rate(part: u64, whole: u64) -> f64 {
    if whole == 0 {
        0.0
    } else {
        part as f64 / whole as f64
    }
}

/// Of one job.
const MOST_QUERIES: usize = 1_000;

pub(super) async fn warm(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<(StatusCode, Json<WarmingJob>), Failure> {
    let principal = engine
        .authorize(request.headers(), Some("cache"), "cache/warm", &trace)
        .await?;
    let bytes = body(request, &trace).await?;
    let WarmRequest { queries } = parse(&bytes, &trace)?;
    if queries.is_empty() || queries.len() > MOST_QUERIES {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!("`queries` takes 1 to {MOST_QUERIES} questions"),
        )
        .with(&trace));
    }
    let mut texts = Vec::with_capacity(queries.len());
    for (index, query) in queries.iter().enumerate() {
        let text = question_text(query)
            .map_err(|failure| failure.detailed(json!({ "index": index })).with(&trace))?;
        texts.push(text);
    }
    let details = json!({ "queries": texts.len() });
    act(&engine, &principal, "cache/warm", details, &trace).await?;
    let begun = engine
        .warming
        .begin(&engine.answering, principal, texts, trace.0.clone())
        .await;
    let job = begun.map_err(|error| match error {
        WarmError::Busy => Failure::new(ErrorCode::RateLimited, error.to_string())
            .retry_after(Duration::from_secs(5))
            .with(&trace),
        WarmError::Store(error) => Failure::from(error).with(&trace),
    })?;
    Ok((StatusCode::ACCEPTED, Json(job)))
}

pub(super) async fn warming(
    State(engine): State<Engine>,
    trace: Trace,
    Name(id): Name,
    request: Request,
) -> Result<Json<WarmingJob>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("cache"), "cache/warm", &trace)
        .await?;
    let job = engine
        .warming
        .status(&id, &principal.client.id)
        .await
        .map_err(|error| Failure::from(error).with(&trace))?;
    job.map(Json).ok_or_else(|| {
        Failure::new(ErrorCode::NotFound, "there is no such warming job of yours").with(&trace)
    })
}

/// An administrative act leaves its event before it is answered.
async fn act(
    engine: &Engine,
    principal: &Principal,
    resource: &str,
    details: Value,
    trace: &Trace,
) -> Result<(), Failure> {
    let happening = Happening {
        kind: "admin",
        outcome: "success",
        client_id: principal.client.id.clone(),
        tenant: principal.client.tenant.clone(),
        resource: resource.to_owned(),
        rule: None,
        trace_id: trace.0.clone(),
        details,
    };
    engine
        .audit
        .record(happening)
        .await
        .map_err(|_| Failure::new(ErrorCode::Internal, "this could not be audited").with(trace))
}

/// What is to go, in a query string.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Flat {
    invalidation_type: InvalidationType,
    query: Option<String>,
    table: Option<String>,
    prefix: Option<String>,
    older_than_seconds: Option<u64>,
}

impl From<Flat> for InvalidateRequest {
    fn from(flat: Flat) -> Self {
        Self {
            invalidation_type: flat.invalidation_type,
            criteria: Criteria {
                query: flat.query,
                table: flat.table,
                prefix: flat.prefix,
                older_than_seconds: flat.older_than_seconds,
            },
        }
    }
}

pub(super) async fn invalidate(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Invalidated>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("cache"), "cache/entries", &trace)
        .await?;
    let wrong = |message: String| Failure::new(ErrorCode::InvalidRequest, message).with(&trace);
    let uri = request.uri().clone();
    let bytes = body(request, &trace).await?;
    let InvalidateRequest {
        invalidation_type,
        criteria,
    } = match (
        uri.query().filter(|query| !query.is_empty()),
        bytes.is_empty(),
    ) {
        (None, _) => parse(&bytes, &trace)?,
        (Some(_), true) => Query::<Flat>::try_from_uri(&uri)
            .map_err(|error| wrong(format!("the query string cannot be read: {error}")))?
            .0
            .into(),
        (Some(_), false) => {
            return Err(wrong(
                "say what is to go in the body or in the query string, not in both".into(),
            ));
        }
    };
    let Criteria {
        query,
        table,
        prefix,
        older_than_seconds,
    } = criteria;
    let chosen =
        query.is_some() || table.is_some() || prefix.is_some() || older_than_seconds.is_some();
    if invalidation_type == InvalidationType::All && chosen {
        return Err(wrong("`all` takes no criteria; `selective` does".into()));
    }
    if invalidation_type == InvalidationType::Selective && !chosen {
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
    let details = json!({ "entries_affected": affected });
    act(&engine, &principal, "cache/entries", details, &trace).await?;
    Ok(Json(Invalidated {
        invalidation_id: format!("inv_{:032x}", rand::random::<u128>()),
        entries_affected: affected,
        status: "completed".into(),
        timestamp: jiff::Timestamp::now().to_string(),
    }))
}
