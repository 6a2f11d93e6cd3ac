//! `POST /api/v1/query`: a question is read, answered as JSON or as a stream, and remembered by its id.

mod stream;

use super::{Engine, Failure, Name, Trace, body, parse};
use crate::answer::{AnswerError, Answered, Begun, Question};
use crate::auth::Principal;
use crate::queries::Asked;
use crate::session::{SessionKey, reminder};
use axum::Json;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use fact_wire::{
    AnswerMetadata, CacheStatus, ErrorCode, QueryAnswer, QueryRequest, QueryState, SessionTurn,
    Tokens,
};
use std::sync::Arc;
use std::time::Instant;

/// Code points, after trimming.
const LONGEST_QUESTION: usize = 8_000;
/// Code points of the names that callers choose: sessions, persons, prefixes.
const LONGEST_NAME: usize = 256;

pub(super) async fn query(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Response, Failure> {
    let arrived = Instant::now();
    let principal = engine
        .authorize(request.headers(), Some("query"), "query", &trace)
        .await?;
    let streamed = wants_stream(request.headers());
    let bytes = body(request, &trace).await?;
    let asked = engine.queries.ask(&principal.client.id);
    let (question, session) =
        understand(&engine, parse(&bytes, &trace)?, principal, streamed, &trace).await?;
    let text = session.is_some().then(|| question.text.clone());
    let asking = Asking {
        engine,
        asked,
        session,
        question: text.unwrap_or_default(),
        trace,
        arrived,
    };
    let begun = asking.engine.answering.begin(question);
    if streamed {
        return stream::answer(asking, begun).await;
    }
    let made = match begun {
        Ok(Begun::Ready(answered)) => Ok(answered),
        Ok(Begun::Flying(flying)) => {
            asking.asked.under_way(flying.flight());
            flying.landed().await
        }
        Err(error) => Err(error),
    };
    let cache = made.as_ref().map(|answered| cache_status(answered)).ok();
    let body = asking.finish(made).await?;
    let headers = [
        ("cache-status", cache.unwrap_or_default()),
        ("content-type", "application/json"),
    ];
    Ok((headers, body).into_response())
}

pub(super) async fn status(
    State(engine): State<Engine>,
    trace: Trace,
    Name(id): Name,
    request: Request,
) -> Result<Json<QueryState>, Failure> {
    let principal = engine
        .authorize(request.headers(), Some("query"), "query/status", &trace)
        .await?;
    let state = engine.queries.state(&id, &principal.client.id);
    state.map(Json).ok_or_else(|| {
        Failure::new(
            ErrorCode::QueryNotFound,
            "there is no such question of yours",
        )
        .with(&trace)
    })
}

/// A question that is being answered, and what is to be done with its answer.
struct Asking {
    engine: Engine,
    asked: Asked,
    /// The session that its answer is added to, and whether it was there.
    session: Option<(SessionKey, bool)>,
    /// For the session.
    question: String,
    trace: Trace,
    arrived: Instant,
}

impl Asking {
    /// The answer as it is sent, once its session and its id know it.
    async fn finish(self, made: Result<Answered, AnswerError>) -> Result<Bytes, Failure> {
        let told = match made {
            Ok(answered) => self.tell(&answered).await,
            Err(error) => Err(error.into()),
        };
        match told {
            Ok(body) => {
                self.asked.answered(body.clone());
                Ok(body)
            }
            Err(failure) => {
                let failure = failure.with(&self.trace).of_query(self.asked.id());
                self.asked.failed(failure.detail());
                Err(failure)
            }
        }
    }

    async fn tell(&self, answered: &Answered) -> Result<Bytes, Failure> {
        let answer = answer(
            self.asked.id(),
            self.engine.answering.claude.model(),
            answered,
            self.arrived,
        );
        if let Some((key, was_there)) = &self.session {
            let turn = SessionTurn {
                query_id: answer.query_id.clone(),
                query: self.question.clone(),
                response: answer.response.clone(),
                cache_status: answered.cache,
                timestamp: answer.timestamp.clone(),
            };
            self.engine.sessions.add(key, *was_there, turn).await?;
        }
        serde_json::to_vec(&answer)
            .map(Bytes::from)
            .map_err(|_| Failure::new(ErrorCode::Internal, "the answer cannot be written"))
    }
}

/// Reads a question; everything that is wrong with it is told before anybody is asked.
async fn understand(
    engine: &Engine,
    asked: QueryRequest,
    principal: Arc<Principal>,
    streamed: bool,
    trace: &Trace,
) -> Result<(Question, Option<(SessionKey, bool)>), Failure> {
    let failed = |code, message: &str| Failure::new(code, message).with(trace);
    let person = engine
        .person(&principal, asked.user_id, "query", trace)
        .await?;
    let session_id = asked.context.session_id;
    for (field, name) in [
        ("user_id", Some(person.as_str())),
        ("context.session_id", session_id.as_deref()),
        (
            "cache_options.cache_prefix",
            Some(asked.cache_options.cache_prefix.as_str()),
        ),
    ] {
        if let Some(wrong) = name.and_then(wrong_name) {
            return Err(failed(
                ErrorCode::InvalidRequest,
                &format!("`{field}` {wrong}"),
            ));
        }
    }
    let text = question_text(&asked.query).map_err(|failure| failure.with(trace))?;
    let session = session_id.map(|id| SessionKey {
        tenant: principal.client.tenant.clone(),
        person: person.clone(),
        id,
    });
    let known = match &session {
        Some(key) => engine
            .sessions
            .get(key)
            .await
            .map_err(|error| Failure::from(error).with(trace))?,
        None => None,
    };
    let question = Question {
        text,
        principal,
        person,
        history: known.as_ref().map(reminder).unwrap_or_default(),
        cache: asked.cache_options,
        streamed,
        trace_id: trace.0.clone(),
    };
    Ok((question, session.map(|key| (key, known.is_some()))))
}

/// What is wrong with a name that a caller chose.
pub(super) fn wrong_name(name: &str) -> Option<&'static str> {
    if name.is_empty() {
        Some("is empty")
    } else if name.chars().count() > LONGEST_NAME {
        Some("has more than 256 characters")
    } else if name.chars().any(char::is_control) {
        Some("holds a control character")
    } else {
        None
    }
}

/// The question, trimmed.
pub(super) fn question_text(query: &str) -> Result<String, Failure> {
    if query.contains('\0') {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "a question holds no NUL",
        ));
    }
    let text = query.trim();
    match text.chars().count() {
        0 => Err(Failure::new(
            ErrorCode::InvalidQuery,
            "the question is blank",
        )),
        length if length > LONGEST_QUESTION => Err(Failure::new(
            ErrorCode::QueryTooLong,
            "the question has more than 8,000 characters",
        )),
        _ => Ok(text.to_owned()),
    }
}

/// Whether the caller would rather have a stream than JSON.
fn wants_stream(headers: &HeaderMap) -> bool {
    let accepted = headers.get_all(header::ACCEPT);
    let listed = accepted
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','));
    let mut stream: f32 = 0.0;
    let mut json: f32 = 0.0;
    for item in listed {
        let mut parts = item.split(';').map(str::trim);
        let kind = parts.next().unwrap_or_default();
        let weight = parts
            .find_map(|part| part.strip_prefix("q="))
            .map_or(1.0, |weight| weight.parse().unwrap_or(0.0));
        if kind.eq_ignore_ascii_case("text/event-stream") {
            stream = stream.max(weight);
        } else if kind.eq_ignore_ascii_case("application/json") {
            json = json.max(weight);
        }
    }
    stream > 0.0 && stream >= json
}

fn cache_status(answered: &Answered) -> &'static str {
    match (answered.cache, answered.stored) {
        (CacheStatus::Miss, true) => "fact; fwd=uri-miss; stored",
        (cache, _) => begun_status(cache),
    }
}

/// As far as it is known before the answer is.
fn begun_status(cache: CacheStatus) -> &'static str {
    match cache {
        CacheStatus::Hit => "fact; hit",
        CacheStatus::Stale => "fact; hit; detail=stale",
        CacheStatus::Miss => "fact; fwd=uri-miss",
        CacheStatus::Bypass => "fact; fwd=bypass",
        CacheStatus::Refresh => "fact; fwd=request",
        CacheStatus::Collapsed => "fact; fwd=uri-miss; collapsed",
    }
}

fn answer(query_id: &str, model: &str, answered: &Answered, arrived: Instant) -> QueryAnswer {
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
    QueryAnswer {
        query_id: query_id.to_owned(),
        response: answer.response.clone(),
        status: "success".into(),
        sources: answer.sources.clone(),
        timestamp: jiff::Timestamp::now().to_string(),
        metadata: AnswerMetadata {
            latency_ms: arrived.elapsed().as_secs_f64() * 1e3,
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
            degraded: answer.degraded,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_sent_to_those_who_would_rather_have_it() {
        let wants = |accept: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(header::ACCEPT, accept.parse().unwrap());
            wants_stream(&headers)
        };
        for stream in [
            "text/event-stream",
            "text/event-stream, */*",
            "application/json;q=0.5, text/event-stream",
        ] {
            assert!(wants(stream), "{stream}");
        }
        for json in [
            "*/*",
            "application/json",
            "application/json, text/event-stream;q=0.1",
            "text/event-stream;q=0",
        ] {
            assert!(!wants(json), "{json}");
        }
    }
}
