//! A running implementation, asked over HTTP as one of its clients.

use crate::commands::{Failure, code};
use reqwest::{Method, RequestBuilder, Response};
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::path::Path;
use std::time::Duration;

/// How long nothing may come.
const SILENCE: Duration = Duration::from_mins(2);

pub(crate) struct Remote {
    http: reqwest::Client,
    base: String,
    token: SecretString,
}

/// Where the secret of a client is.
pub(crate) struct Credentials<'a> {
    pub(crate) client: &'a str,
    pub(crate) secret: Option<&'a str>,
    pub(crate) clients: Option<&'a Path>,
    /// The variable that people are told of.
    pub(crate) variable: &'static str,
}

impl Remote {
    /// With a token that is there already.
    pub(crate) fn with_token(url: &str, token: &str) -> Result<Self, Failure> {
        let whole = reqwest::Url::parse(url)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host());
        if whole.is_none() {
            return Err(Failure::usage(format!(
                "`{url}` is no address; write `http://HOST:PORT`"
            )));
        }
        let http = reqwest::Client::builder()
            .redirect(reqwest::redirect::Policy::none())
            .read_timeout(SILENCE)
            .build()
            .map_err(|error| Failure::new(code::NOT_STARTED, error))?;
        Ok(Self {
            http,
            base: url.trim_end_matches('/').to_owned(),
            token: token.into(),
        })
    }

    /// Logs in.
    pub(crate) async fn log_in(url: &str, credentials: &Credentials<'_>) -> Result<Self, Failure> {
        let mut remote = Self::with_token(url, "")?;
        let secret = credentials.secret()?;
        let body = json!({
            "grant_type": "client_credentials", "client_id": credentials.client, "client_secret": secret.expose_secret(),
        });
        let request = remote
            .http
            .post(format!("{}/api/v1/auth/token", remote.base));
        let answer = remote.json(request.json(&body)).await?;
        let token = answer["access_token"].as_str();
        remote.token = token
            .ok_or_else(|| Failure::new(code::FAILED, format!("{url} gave no token")))?
            .into();
        Ok(remote)
    }

    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.http
            .request(method, format!("{}{path}", self.base))
            .bearer_auth(self.token.expose_secret())
    }

    pub(crate) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.json(self.request(Method::GET, path)).await
    }

    /// The answer, if it is a success.
    pub(crate) async fn send(&self, request: RequestBuilder) -> Result<Response, Failure> {
        let response = request.send().await.map_err(|error| self.lost(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let body: Value = response.json().await.unwrap_or_default();
        Err(Failure::new(
            code::FAILED,
            told(&body).unwrap_or_else(|| format!("status {status}")),
        ))
    }

    /// The answer's body, if it is a success.
    pub(crate) async fn json(&self, request: RequestBuilder) -> Result<Value, Failure> {
        let response = self.send(request).await?;
        response.json().await.map_err(|error| self.lost(&error))
    }

    pub(crate) fn lost(&self, error: &reqwest::Error) -> Failure {
        let mut cause: &dyn std::error::Error = error;
        while let Some(inner) = cause.source() {
            cause = inner;
        }
        Failure::new(
            code::NOT_STARTED,
            format!("no answer from {}: {cause}", self.base),
        )
    }
}

/// An error's body in a line.
pub(crate) fn told(body: &Value) -> Option<String> {
    let error = body.get("error")?;
    let text = |name: &str| error.get(name).and_then(Value::as_str).unwrap_or_default();
    let trace = error["trace_id"].as_str();
    let trace = trace.map(|trace| format!(" (trace {trace})"));
    Some(format!(
        "{}: {}{}",
        text("code"),
        text("message"),
        trace.unwrap_or_default()
    ))
}

impl Credentials<'_> {
    fn secret(&self) -> Result<SecretString, Failure> {
        if let Some(secret) = self.secret {
            return Ok(secret.into());
        }
        let path = self.clients.ok_or_else(|| {
            Failure::usage(format!(
                "the secret of `{}` is not known: set `{}`, or name the file with `--clients`",
                self.client, self.variable
            ))
        })?;
        let unusable = |why: String| Failure::usage(format!("{}: {why}", path.display()));
        let text = std::fs::read_to_string(path).map_err(|error| unusable(error.to_string()))?;
        let file: Value =
            serde_json::from_str(&text).map_err(|error| unusable(error.to_string()))?;
        let clients = file["clients"].as_array();
        let own =
            clients.and_then(|clients| clients.iter().find(|client| client["id"] == self.client));
        own.and_then(|client| client["secret"].as_str())
            .map(SecretString::from)
            .ok_or_else(|| {
                unusable(format!(
                    "there is no client `{}` with a secret",
                    self.client
                ))
            })
    }
}
