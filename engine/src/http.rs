//! The contract over HTTP: routes, who may use them, and how outcomes become answers. Nothing else knows axum.

mod cache;
mod consent;
mod failure;
mod measure;
mod query;
mod serve;
mod session;
mod system;
mod token;
mod toolbox;
mod unread;

use crate::answer::Answering;
use crate::audit::{Audit, Happening};
use crate::auth::{Auth, Principal};
use crate::executions::Executions;
use crate::limits::{Allowance, Limits};
use crate::queries::Queries;
use crate::session::Sessions;
use crate::warm::Warming;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{DefaultBodyLimit, FromRequestParts, Path, Request};
use axum::http::{header, request::Parts};
use axum::middleware;
use axum::routing::{delete, get, post};
use fact_wire::ErrorCode;
use failure::Failure;
pub(crate) use serve::serve;
use std::net::IpAddr;
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::{NotForContentType, Predicate as _, SizeAbove};

/// No body is longer.
const MAX_BODY_BYTES: usize = 1 << 20;

/// Of an answer, where its asker takes gzip.
const COMPRESSED_FROM: u16 = 512;
/// For a body, once its head is read.
const BODY_TIMEOUT: Duration = Duration::from_secs(20);

/// What every handler may use. It is handed on with every request, so that a copy has to cost nothing.
#[derive(Debug, Clone)]
pub(crate) struct Engine(Arc<Inner>);

impl From<Inner> for Engine {
    fn from(inner: Inner) -> Self {
        Self(Arc::new(inner))
    }
}

impl std::ops::Deref for Engine {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// What an engine is made of.
#[derive(Debug)]
pub(crate) struct Inner {
    pub(crate) answering: Answering,
    pub(crate) auth: Arc<Auth>,
    pub(crate) audit: Audit,
    pub(crate) executions: Executions,
    pub(crate) queries: Queries,
    pub(crate) sessions: Sessions,
    pub(crate) warming: Warming,
    /// Requests, by client.
    pub(crate) limits: Limits<String>,
    /// Failed logins, by address and client.
    pub(crate) logins: Limits<(IpAddr, Option<String>)>,
    pub(crate) started: Instant,
}

/// All routes. Order of judgement: 404, 405, 401, 403, then the body.
pub(crate) fn routes(engine: Engine) -> Router {
    Router::new()
        .route("/api/v1/query", post(query::query))
        .route("/api/v1/query/{id}/status", get(query::status))
        .route(
            "/api/v1/sessions/{id}",
            get(session::show).delete(session::forget),
        )
        .route("/api/v1/health", get(system::health))
        .route("/api/v1/ready", get(system::ready))
        .route("/api/v1/metrics", get(system::metrics))
        .route("/metrics", get(system::prometheus))
        .route("/openapi.json", get(system::openapi))
        .route("/api/v1/audit", get(system::audit))
        .route("/api/v1/cache/status", get(cache::status))
        .route("/api/v1/cache/warm", post(cache::warm))
        .route("/api/v1/cache/warm/{id}/status", get(cache::warming))
        .route("/api/v1/cache/entries", delete(cache::invalidate))
        .route("/api/v1/tools", get(toolbox::list).post(toolbox::register))
        .route("/api/v1/tools/batch", post(toolbox::calls::batch))
        .route(
            "/api/v1/tools/executions/{id}",
            get(toolbox::calls::execution),
        )
        .route(
            "/api/v1/tools/{name}",
            get(toolbox::show).delete(toolbox::remove),
        )
        .route(
            "/api/v1/tools/{name}/execute",
            post(toolbox::calls::execute),
        )
        .route(
            "/api/v1/auth/tools/{name}/authorize",
            post(consent::authorize),
        )
        .route("/api/v1/auth/tools/callback", post(consent::callback))
        .route("/api/v1/auth/token", post(token::grant))
        .route("/api/v1/auth/validate", get(token::validate))
        .route("/api/v1/auth/revoke", post(token::revoke))
        .fallback(async |trace: Trace| nothing_here(&trace))
        .method_not_allowed_fallback(async |trace: Trace| {
            Failure::new(
                ErrorCode::MethodNotAllowed,
                "this path does not take this method",
            )
            .with(&trace)
        })
        .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
        .layer(
            CompressionLayer::new()
                .quality(CompressionLevel::Fastest)
                .compress_when(SizeAbove::new(COMPRESSED_FROM).and(NotForContentType::SSE)),
        )
        .layer(middleware::from_fn_with_state(
            engine.clone(),
            measure::name_and_count,
        ))
        .with_state(engine)
}

/// The id under which a request is found in logs, audit and answers; and what is left to its client, once that is known.
#[derive(Debug, Clone)]
pub(crate) struct Trace(pub(crate) String, Arc<OnceLock<Allowance>>);

impl Trace {
    fn new(id: String) -> Self {
        Self(id, Arc::default())
    }
}

impl<S: Sync> FromRequestParts<S> for Trace {
    type Rejection = std::convert::Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Self::Rejection> {
        Ok(parts
            .extensions
            .get::<Self>()
            .cloned()
            .unwrap_or_else(|| Self::new(fresh_trace())))
    }
}

/// A name in a path. What is no text names nothing.
#[derive(Debug)]
pub(crate) struct Name(pub(crate) String);

impl<S: Send + Sync> FromRequestParts<S> for Name {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Self::Rejection> {
        if let Ok(Path(name)) = Path::<String>::from_request_parts(parts, state).await {
            return Ok(Self(name));
        }
        let Ok(trace) = Trace::from_request_parts(parts, state).await;
        Err(nothing_here(&trace))
    }
}

fn nothing_here(trace: &Trace) -> Failure {
    Failure::new(ErrorCode::NotFound, "there is nothing at this path").with(trace)
}

fn fresh_trace() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// The trace id of a W3C `traceparent`; nothing where its rules call the header invalid.
fn trace_of(header: &str) -> Option<String> {
    let hex = |part: &str, length: usize| {
        let digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        part.len() == length && part.bytes().all(digit)
    };
    let named = |part: &str, length| hex(part, length) && part.bytes().any(|byte| byte != b'0');
    let mut parts = header.split('-');
    let (version, id, parent, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    // Later versions may say more behind the flags.
    let known = hex(version, 2) && version != "ff" && (version != "00" || parts.next().is_none());
    (known && named(id, 32) && named(parent, 16) && hex(flags, 2)).then(|| id.to_owned())
}

impl Engine {
    /// Who asks, if the token may do this. A refusal is audited.
    pub(crate) async fn authorize(
        &self,
        headers: &axum::http::HeaderMap,
        scope: Option<&str>,
        resource: &str,
        trace: &Trace,
    ) -> Result<Arc<Principal>, Failure> {
        let principal = match bearer(headers) {
            Some(token) => self
                .auth
                .principal(token)
                .await
                .map_err(|error| Failure::from(error).with(trace))?,
            None => None,
        };
        let Some(principal) = principal else {
            self.refused("unknown", "unknown", resource, "auth.token", trace)
                .await;
            return Err(
                Failure::new(ErrorCode::Unauthorized, "a valid bearer token is needed").with(trace),
            );
        };
        if let Some(scope) = scope
            && !principal.may(scope)
        {
            self.refused(
                &principal.client.id,
                &principal.client.tenant,
                resource,
                "auth.scope",
                trace,
            )
            .await;
            return Err(Failure::new(
                ErrorCode::Forbidden,
                format!("the token lacks the scope `{scope}`"),
            )
            .with(trace));
        }
        if let Some(rate) = principal.client.rate_per_minute {
            let client = principal.client.id.clone();
            let allowance = self.limits.take(client, rate, Instant::now());
            let _ = trace.1.set(allowance);
            if let Some(wait) = allowance.denied_for {
                return Err(Failure::new(
                    ErrorCode::RateLimited,
                    format!("more than {rate} requests in a minute"),
                )
                .retry_after(wait)
                .with(trace));
            }
        }
        Ok(principal)
    }

    /// For whom the token speaks: its own client, or whoever is named where it may. A refusal is audited.
    pub(crate) async fn person(
        &self,
        principal: &Principal,
        named: Option<String>,
        resource: &str,
        trace: &Trace,
    ) -> Result<String, Failure> {
        let client = &principal.client;
        match named {
            None => Ok(client.id.clone()),
            Some(person) if person == client.id || client.act_as => Ok(person),
            Some(_) => {
                self.refused(&client.id, &client.tenant, resource, "auth.act-as", trace)
                    .await;
                Err(Failure::new(
                    ErrorCode::Forbidden,
                    "the token does not speak for this `user_id`",
                )
                .with(trace))
            }
        }
    }

    async fn refused(
        &self,
        client_id: &str,
        tenant: &str,
        resource: &str,
        rule: &str,
        trace: &Trace,
    ) {
        let happening = Happening {
            kind: "refusal",
            outcome: "refused",
            client_id: client_id.to_owned(),
            tenant: tenant.to_owned(),
            resource: resource.to_owned(),
            rule: Some(rule.to_owned()),
            trace_id: trace.0.clone(),
            details: serde_json::json!({}),
        };
        if let Err(error) = self.audit.record(happening).await {
            tracing::error!(%error, "a refusal could not be audited");
        }
    }
}

/// The token of an `Authorization: Bearer` header.
fn bearer(headers: &axum::http::HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The body, read whole; too long a one has its own code.
async fn body(request: Request, trace: &Trace) -> Result<Bytes, Failure> {
    let reading = axum::body::to_bytes(request.into_body(), MAX_BODY_BYTES);
    let read = tokio::time::timeout(BODY_TIMEOUT, reading).await;
    let failure = match read {
        Ok(Ok(bytes)) => return Ok(bytes),
        Ok(Err(error)) if is_too_long(&error) => {
            Failure::new(ErrorCode::PayloadTooLarge, "the body is longer than 1 MiB")
        }
        Ok(Err(_)) => Failure::new(ErrorCode::InvalidRequest, "the body broke off").closing(),
        Err(_) => {
            Failure::new(ErrorCode::InvalidRequest, "the body did not come in time").closing()
        }
    };
    Err(failure.with(trace))
}

fn is_too_long(error: &axum::Error) -> bool {
    let mut cause: Option<&dyn std::error::Error> = Some(error);
    while let Some(error) = cause {
        if error.is::<http_body_util::LengthLimitError>() {
            return true;
        }
        cause = error.source();
    }
    false
}

/// The body as JSON of a known form.
fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8], trace: &Trace) -> Result<T, Failure> {
    let failed = |why: String| {
        Failure::new(
            ErrorCode::InvalidRequest,
            format!("the body cannot be read: {why}"),
        )
        .with(trace)
    };
    let read =
        serde_json::from_slice(bytes).map_err(|error| failed(without_texts(&error.to_string())))?;
    // What is read as an object may also be a list of its fields' values to the library, but not to the contract.
    if bytes.contains(&b'[')
        && let Some(place) = serde_json::from_slice(bytes)
            .ok()
            .and_then(|value| list_for_object(&value))
    {
        return Err(failed(format!("{place} is a list and no object")));
    }
    Ok(read)
}

/// What the library says of a body, without the text in it that is of the wrong type: it may be a secret.
fn without_texts(why: &str) -> String {
    const LONGEST: usize = 300;
    let told = match (why.find("string \""), why.rfind("\", expected")) {
        (Some(from), Some(to)) if from < to => format!("{}string{}", &why[..from], &why[to + 1..]),
        _ => why.to_owned(),
    };
    match told.char_indices().nth(LONGEST) {
        Some((end, _)) => format!("{} …", &told[..end]),
        None => told,
    }
}

/// Where a request of the contract has a list in place of an object.
fn list_for_object(request: &serde_json::Value) -> Option<String> {
    const OBJECTS: [&str; 8] = [
        "",
        "/context",
        "/cache_options",
        "/criteria",
        "/http",
        "/http/oauth",
        "/arcade",
        "/limits",
    ];
    let is_list = |place: &str| {
        request
            .pointer(place)
            .is_some_and(serde_json::Value::is_array)
    };
    let listed = OBJECTS.into_iter().find(|place| is_list(place));
    if let Some(place) = listed {
        return Some(format!("`{place}`"));
    }
    let calls = request.get("calls")?.as_array()?;
    let call = calls.iter().position(serde_json::Value::is_array)?;
    Some(format!("`/calls/{call}`"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_wrong_with_a_body_is_said_without_its_texts() {
        let read: Result<fact_wire::QueryRequest, _> =
            parse(br#""hun\"ter2""#, &Trace::new(String::new()));
        let body = serde_json::to_string(&read.unwrap_err().body()).unwrap();
        assert!(
            body.contains("invalid type: string, expected") && !body.contains("ter2"),
            "{body}"
        );
    }

    #[test]
    fn a_trace_is_continued_where_its_header_is_valid() {
        let id = "4bf92f3577b34da6a3ce929d0e0e4736";
        for good in [
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
        ] {
            assert_eq!(trace_of(good).as_deref(), Some(id), "{good}");
        }
        for bad in [
            "",
            "00-4bf92f3577b34da6a3ce929d0e0e4736",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        ] {
            assert_eq!(trace_of(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_list_is_no_object() {
        let read = |text: &str| {
            let parsed: Result<fact_wire::QueryRequest, _> =
                parse(text.as_bytes(), &Trace::new(String::new()));
            parsed.is_ok()
        };
        assert!(read(r#"{"query":"a [b]"}"#));
        for wrong in [
            r#"["a"]"#,
            r#"{"query":"a","context":["s"]}"#,
            r#"{"query":"a","cache_options":[true]}"#,
        ] {
            assert!(!read(wrong), "{wrong}");
        }
    }
}
