//! Tokens: granted for credentials, validated, revoked.

use super::{Engine, Failure, Trace, bearer, body, parse};
use crate::audit::Happening;
use crate::auth::Denied;
use axum::Json;
use axum::extract::{Request, State};
use axum::http::header;
use fact_wire::{ErrorCode, RevokeRequest, TokenRequest};
use serde_json::{Value, json};

pub(super) async fn grant(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let form = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .is_some_and(|kind| kind.starts_with("application/x-www-form-urlencoded"));
    let bytes = body(request, &trace).await?;
    let asked: TokenRequest = if form {
        from_form(&bytes, &trace)?
    } else {
        parse(&bytes, &trace)?
    };
    if asked.grant_type != "client_credentials" {
        return Err(Failure::new(
            ErrorCode::InvalidRequest,
            "`grant_type` must be `client_credentials`",
        )
        .with(&trace));
    }
    let granted = engine.auth.grant(
        &asked.client_id,
        &asked.client_secret,
        asked.scope.as_deref(),
    );
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
        return Err(
            Failure::new(ErrorCode::Internal, "the login could not be audited").with(&trace),
        );
    }
    let (token, principal) = granted.map_err(|denied| match denied {
        Denied::Credentials => {
            Failure::new(ErrorCode::Unauthorized, "unknown client or wrong secret").with(&trace)
        }
        Denied::Scope => {
            Failure::new(ErrorCode::Forbidden, "the client does not own this scope").with(&trace)
        }
    })?;
    Ok(Json(json!({
        "access_token": token,
        "token_type": "Bearer",
        "expires_in": engine.auth.ttl().as_secs(),
        "scope": principal.scopes.join(" "),
        "issued_at": jiff::Timestamp::now().to_string(),
    })))
}

fn from_form(bytes: &[u8], trace: &Trace) -> Result<TokenRequest, Failure> {
    let fields: serde_json::Map<String, Value> = url::form_urlencoded::parse(bytes)
        .map(|(name, value)| (name.into_owned(), value.into_owned().into()))
        .collect();
    serde_json::from_value(Value::Object(fields)).map_err(|error| {
        Failure::new(
            ErrorCode::InvalidRequest,
            format!("the form cannot be read: {error}"),
        )
        .with(trace)
    })
}

pub(super) async fn validate(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
    let principal = engine
        .authorize(request.headers(), None, "auth/validate", &trace)
        .await?;
    Ok(Json(json!({
        "valid": true,
        "token_info": {
            "client_id": principal.client.id,
            "tenant": principal.client.tenant,
            "scopes": principal.scopes,
            "expires_at": principal.expires_at,
        },
    })))
}

pub(super) async fn revoke(
    State(engine): State<Engine>,
    trace: Trace,
    request: Request,
) -> Result<Json<Value>, Failure> {
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
    // A token of somebody else's counts as unknown.
    if engine
        .auth
        .principal(token)
        .is_some_and(|other| other.client.id == principal.client.id)
    {
        engine.auth.revoke(token);
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
        Ok(()) => Ok(Json(json!({ "revoked": true }))),
        Err(_) => Err(
            Failure::new(ErrorCode::Internal, "the revocation could not be audited").with(&trace),
        ),
    }
}
