//! `POST /api/v1/query`.

use super::{Engine, Failure, Trace, body, parse};
use crate::answer::{Answered, Question};
use axum::Json;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use fact_wire::{AnswerMetadata, CacheStatus, ErrorCode, QueryAnswer, QueryRequest, Tokens};
use std::time::Instant;

/// Code points, after trimming.
const LONGEST_QUESTION: usize = 8_000;

pub(super) async fn query(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Response, Failure> {
    let began = Instant::now();
    let principal = engine
        .authorize(request.headers(), Some("query"), "query", &trace)
        .await?;
    let bytes = body(request, &trace).await?;
    let asked: QueryRequest = parse(&bytes, &trace)?;
    let failed = |code, message: &str| Failure::new(code, message).with(&trace);
    if asked
        .user_id
        .as_ref()
        .is_some_and(|user| *user != principal.client.id && !principal.client.act_as)
    {
        return Err(failed(
            ErrorCode::Forbidden,
            "the token does not speak for this `user_id`",
        ));
    }
    let session = asked.context.session_id.as_deref();
    if asked.query.contains('\0') || session.is_some_and(|id| id.chars().any(char::is_control)) {
        return Err(failed(
            ErrorCode::InvalidRequest,
            "neither a question holds NUL nor a session's name a control character",
        ));
    }
    if session.is_some() {
        return Err(failed(
            ErrorCode::NotFound,
            "sessions are not offered; leave `context.session_id` out",
        ));
    }
    let text = asked.query.trim().to_owned();
    match text.chars().count() {
        0 => return Err(failed(ErrorCode::InvalidQuery, "the question is blank")),
        length if length > LONGEST_QUESTION => {
            return Err(failed(
                ErrorCode::QueryTooLong,
                "the question has more than 8,000 characters",
            ));
        }
        _ => {}
    }
    let question = Question {
        text,
        principal,
        cache: asked.cache_options,
        trace_id: trace.0.clone(),
    };
    let answered = engine
        .answering
        .answer(question)
        .await
        .map_err(|error| Failure::from(error).with(&trace))?;
    Ok(response(engine.answering.claude.model(), &answered, began))
}

fn response(model: &str, answered: &Answered, began: Instant) -> Response {
    let answer = &answered.answer;
    let free = matches!(
        answered.cache,
        CacheStatus::Hit | CacheStatus::Collapsed | CacheStatus::Stale
    );
    let (tokens, cost_usd) = if free {
        (Tokens::default(), 0.0)
    } else {
        (answer.tokens, answer.cost_usd)
    };
    let baseline = answer.baseline_cost_usd;
    let body = QueryAnswer {
        query_id: format!("qry_{:032x}", rand::random::<u128>()),
        response: answer.response.clone(),
        status: "success".into(),
        sources: answer.sources.clone(),
        timestamp: jiff::Timestamp::now().to_string(),
        metadata: AnswerMetadata {
            latency_ms: began.elapsed().as_secs_f64() * 1e3,
            cache_status: answered.cache,
            model: model.to_owned(),
            tools_used: answer.tools_used.clone(),
            tokens,
            cost_usd,
            baseline_cost_usd: baseline,
            cost_savings_percent: if baseline > 0.0 {
                (1.0 - cost_usd / baseline) * 100.0
            } else {
                0.0
            },
        },
    };
    let status = match (answered.cache, answered.stored) {
        (CacheStatus::Hit, _) => "fact; hit",
        (CacheStatus::Stale, _) => "fact; hit; detail=stale",
        (CacheStatus::Miss, true) => "fact; fwd=uri-miss; stored",
        (CacheStatus::Miss, false) => "fact; fwd=uri-miss",
        (CacheStatus::Bypass, _) => "fact; fwd=bypass",
        (CacheStatus::Refresh, _) => "fact; fwd=request",
        (CacheStatus::Collapsed, _) => "fact; fwd=uri-miss; collapsed",
    };
    ([("cache-status", status)], Json(body)).into_response()
}
