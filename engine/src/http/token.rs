//! Tokens: granted for credentials, validated, revoked.

use super::{Engine, Failure, Trace, bearer, body, parse};
use crate::audit::Happening;
use crate::auth::{Denied, Principal};
use axum::Json;
use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderValue, header};
use base64::Engine as _;
use fact_wire::{
    ErrorCode, GrantedToken, RevokeRequest, Revoked, TokenInfo, TokenRequest, TokenValidity,
};
use serde_json::{Map, Value, json};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Instant;

/// Failed logins a minute of one address for one client, and of one address for all.
const MOST_FAILED_LOGINS: [u32; 2] = [20, 120];

pub(super) async fn grant(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<GrantedToken>, Failure> {
    let failed = |code, message: &str| Failure::new(code, message).with(&trace);
    let Presented {
        form,
        basic,
        address,
    } = Presented::of(&request);
    let bytes = body(request, &trace).await?;
    let mut fields = if form {
        from_form(&bytes).ok_or_else(|| {
            failed(
                ErrorCode::InvalidRequest,
                "the form names a field more than once",
            )
        })?
    } else {
        parse(&bytes, &trace)?
    };
    if let Some((id, secret)) = basic {
        fields.entry("client_id").or_insert(id.into());
        fields.entry("client_secret").or_insert(secret.into());
    }
    let asked: TokenRequest = serde_json::from_value(Value::Object(fields)).map_err(|error| {
        // What is unknown or of another type may be a secret in the wrong place.
        let why = error.to_string();
        let why = if why.starts_with("missing field") {
            &why
        } else {
            "a field is unknown or is no text"
        };
        failed(
            ErrorCode::InvalidRequest,
            &format!("the request cannot be read: {why}"),
        )
    })?;
    if asked.grant_type != "client_credentials" {
        return Err(failed(
            ErrorCode::InvalidRequest,
            "`grant_type` must be `client_credentials`",
        ));
    }
    // Whoever guesses is slowed down where he comes from, so that he cannot lock others out.
    let guessers = [(address, Some(asked.client_id.clone())), (address, None)];
    for (guesser, most) in guessers.clone().into_iter().zip(MOST_FAILED_LOGINS) {
        let allowance = engine.logins.look(guesser, most, Instant::now());
        if let Some(wait) = allowance.denied_for {
            return Err(failed(ErrorCode::RateLimited, "too many failed logins").retry_after(wait));
        }
    }
    let granted = engine
        .auth
        .grant(
            &asked.client_id,
            &asked.client_secret,
            asked.scope.as_deref(),
        )
        .await;
    match &granted {
        Ok(_) => engine.logins.forget(&guessers[0]),
        Err(Denied::Credentials) => {
            for (guesser, most) in guessers.into_iter().zip(MOST_FAILED_LOGINS) {
                engine.logins.take(guesser, most, Instant::now());
            }
        }
        Err(_) => {}
    }
    let tenant = granted
        .as_ref()
        .map_or("unknown", |(_, principal)| principal.client.tenant.as_str());
    let happening = Happening {
        kind: "login",
        outcome: if granted.is_ok() {
            "success"
        } else {
            "failure"
        },
        client_id: if granted.is_err() {
            "unknown".into()
        } else {
            asked.client_id.clone()
        },
        tenant: tenant.to_owned(),
        resource: "auth/token".into(),
        rule: None,
        trace_id: trace.0.clone(),
        details: json!({}),
    };
    if engine.audit.record(happening).await.is_err() {
        return Err(failed(
            ErrorCode::Internal,
            "the login could not be audited",
        ));
    }
    let (token, principal) = granted.map_err(|denied| {
        let code = match &denied {
            Denied::Credentials => ErrorCode::Unauthorized,
            Denied::Scope => ErrorCode::Forbidden,
            Denied::Unavailable(cause) => {
                tracing::error!(?cause, "no token can be given");
                ErrorCode::Internal
            }
        };
        failed(code, &denied.to_string())
    })?;
    Ok(Json(GrantedToken {
        access_token: token,
        token_type: "Bearer".into(),
        expires_in: engine.auth.ttl().as_secs(),
        scope: principal.scopes.join(" "),
        issued_at: jiff::Timestamp::now().to_string(),
    }))
}

/// What a request for a token says before its body.
struct Presented {
    form: bool,
    basic: Option<(String, String)>,
    address: IpAddr,
}

impl Presented {
    fn of(request: &Request) -> Self {
        let header = |name| {
            let value: Option<&HeaderValue> = request.headers().get(name);
            value.and_then(|value| value.to_str().ok())
        };
        Self {
            form: header(header::CONTENT_TYPE)
                .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded")),
            basic: header(header::AUTHORIZATION).and_then(basic),
            address: request
                .extensions()
                .get::<ConnectInfo<SocketAddr>>()
                .map_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED), |info| info.0.ip()),
        }
    }
}

/// Id and secret of an `Authorization: Basic` header, percent-encoded as RFC 6749 has them.
fn basic(header: &str) -> Option<(String, String)> {
    let (scheme, encoded) = header.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD
        .decode(encoded.trim())
        .ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (id, secret) = text.split_once(':')?;
    let plain = |part: &str| {
        let pair = format!("x={part}");
        url::form_urlencoded::parse(pair.as_bytes())
            .next()
            .map(|(_, value)| value.into_owned())
    };
    Some((plain(id)?, plain(secret)?))
}

/// The fields of a form, none of them twice.
fn from_form(bytes: &[u8]) -> Option<Map<String, Value>> {
    let mut fields = Map::new();
    for (name, value) in url::form_urlencoded::parse(bytes) {
        let earlier = fields.insert(name.into_owned(), value.into_owned().into());
        if earlier.is_some() {
            return None;
        }
    }
    Some(fields)
}

pub(super) async fn validate(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<TokenValidity>, Failure> {
    let principal = engine
        .authorize(request.headers(), None, "auth/validate", &trace)
        .await?;
    Ok(Json(TokenValidity {
        valid: true,
        token_info: TokenInfo {
            client_id: principal.client.id.clone(),
            tenant: principal.client.tenant.clone(),
            scopes: principal.scopes.clone(),
            expires_at: principal.expires_at.clone(),
        },
    }))
}

pub(super) async fn revoke(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Revoked>, Failure> {
    let principal = engine
        .authorize(request.headers(), None, "auth/revoke", &trace)
        .await?;
    let own = bearer(request.headers()).unwrap_or_default().to_owned();
    let bytes = body(request, &trace).await?;
    let asked = if bytes.is_empty() {
        RevokeRequest::default()
    } else {
        parse(&bytes, &trace)?
    };
    let token = asked.token.as_deref().unwrap_or(&own);
    // A token of somebody else's counts as unknown, but to an administrator of the tenant.
    let unusable = |error| Failure::from(error).with(&trace);
    let theirs = engine.auth.principal(token).await.map_err(unusable)?;
    let may = |other: &Principal| {
        other.client.id == principal.client.id
            || (principal.may("admin") && other.client.tenant == principal.client.tenant)
    };
    if theirs.is_some_and(|other| may(&other)) {
        engine.auth.revoke(token).await.map_err(unusable)?;
    }
    let happening = Happening {
        kind: "admin",
        outcome: "success",
        client_id: principal.client.id.clone(),
        tenant: principal.client.tenant.clone(),
        resource: "auth/revoke".into(),
        rule: None,
        trace_id: trace.0.clone(),
        details: json!({}),
    };
    match engine.audit.record(happening).await {
        Ok(()) => Ok(Json(Revoked { revoked: true })),
        Err(_) => Err(
            Failure::new(ErrorCode::Internal, "the revocation could not be audited").with(&trace),
        ),
    }
}
