//! Asks the target, and keeps what it answered, when, and how to ask the same by hand.

use crate::events::Events;
use crate::scenario::step::Ask;
use bytes::Bytes;
use fact_mocks::clock::Clock;
use reqwest::Method;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;
use tokio::sync::Mutex;
use url::Url;

/// No answer of a step takes longer.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// Asks one target as any of its clients.
#[derive(Debug)]
pub struct Client {
    http: reqwest::Client,
    base: Url,
    clock: Clock,
    secrets: BTreeMap<String, String>,
    tokens: Mutex<HashMap<String, String>>,
}

/// What was seen of one request.
#[derive(Debug, Clone)]
pub struct Observation {
    /// The status; 0 when no answer came.
    pub status: u16,
    /// The answer's headers.
    pub headers: HeaderMap,
    /// The body, where it is JSON.
    pub body: Option<Value>,
    /// The body as it came.
    pub raw: Bytes,
    /// The events, where it came as a stream; `body` is then what the last of them says.
    pub events: Option<Events>,
    /// Why the answer is missing or broken off.
    pub broken: Option<String>,
    /// Nobody waited for the whole of it, on purpose.
    pub left: bool,
    /// When the request was sent.
    pub sent_ns: u64,
    /// When the head of the answer was there.
    pub first_byte_ns: u64,
    /// When its last byte was.
    pub done_ns: u64,
    /// The request as a command; `$TOKEN` and `$SECRET` stand for what is random.
    pub curl: String,
}

/// A request before it is sent.
#[derive(Debug, Clone, Default)]
pub struct Plain {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// From the root, with its query string.
    pub path: String,
    /// Sent as a bearer token.
    pub token: Option<String>,
    /// Further headers.
    pub headers: Vec<(String, String)>,
    /// The body; JSON unless a header says otherwise.
    pub body: Option<String>,
    /// The connection is closed then, whatever has come.
    pub leave_after: Option<Duration>,
}

/// Why a request was not even sent.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No HTTP client could be made.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// A client that the world does not have.
    #[error("there is no client `{0}`")]
    UnknownClient(String),
    /// The target gave no token.
    #[error("no token for `{client}`: POST /api/v1/auth/token answered {seen}")]
    NoToken {
        /// For whom.
        client: String,
        /// What was answered instead.
        seen: String,
    },
}

impl Client {
    /// A client for the target at `base`, with the secrets of its clients.
    pub fn new(
        base: Url,
        clock: Clock,
        secrets: BTreeMap<String, String>,
    ) -> Result<Self, ClientError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            // What comes is looked at as it comes.
            .no_gzip()
            .no_brotli()
            .no_zstd()
            .no_deflate()
            .pool_max_idle_per_host(usize::MAX)
            .redirect(reqwest::redirect::Policy::none())
            .timeout(TIMEOUT)
            .build()?;
        Ok(Self {
            http,
            base,
            clock,
            secrets,
            tokens: Mutex::default(),
        })
    }

    /// The secret of a client.
    pub fn secret(&self, client: &str) -> Result<&str, ClientError> {
        self.secrets
            .get(client)
            .map(String::as_str)
            .ok_or_else(|| ClientError::UnknownClient(client.to_owned()))
    }

    /// The token of a client: fetched once, never renewed.
    pub async fn token(&self, client: &str) -> Result<String, ClientError> {
        let secret = self.secret(client)?;
        let mut tokens = self.tokens.lock().await;
        if let Some(token) = tokens.get(client) {
            return Ok(token.clone());
        }
        let body = json!({ "grant_type": "client_credentials", "client_id": client, "client_secret": secret });
        let request = Plain {
            method: "POST".into(),
            path: "/api/v1/auth/token".into(),
            body: Some(body.to_string()),
            ..Plain::default()
        };
        let seen = self.send(&request).await;
        let token = seen
            .body
            .as_ref()
            .and_then(|body| body.get("access_token"))
            .and_then(Value::as_str);
        match token {
            Some(token) if seen.status == 200 => {
                tokens.insert(client.to_owned(), token.to_owned());
                Ok(token.to_owned())
            }
            _ => Err(ClientError::NoToken {
                client: client.to_owned(),
                seen: seen.in_short(),
            }),
        }
    }

    /// Asks a question.
    pub async fn ask(&self, ask: &Ask) -> Result<Observation, ClientError> {
        let mut body = json!({ "query": ask.question });
        if let Some(options) = &ask.cache_options {
            body["cache_options"] = options.clone();
        }
        if let Some(session) = &ask.session {
            body["context"] = json!({ "session_id": session });
        }
        if let Some(user) = &ask.user_id {
            body["user_id"] = user.as_str().into();
        }
        let headers = if ask.stream {
            vec![("accept".to_owned(), "text/event-stream".to_owned())]
        } else {
            Vec::new()
        };
        let token = Some(self.token(&ask.client).await?);
        let request = Plain {
            method: "POST".into(),
            path: "/api/v1/query".into(),
            token,
            headers,
            body: Some(body.to_string()),
            leave_after: ask.leave_after.map(|after| after.0),
        };
        Ok(self.send(&request).await)
    }

    /// Executes a tool.
    pub async fn execute(
        &self,
        client: &str,
        tool: &str,
        arguments: &Value,
    ) -> Result<Observation, ClientError> {
        self.post(
            client,
            format!("/api/v1/tools/{tool}/execute"),
            &json!({ "arguments": arguments }),
        )
        .await
    }

    async fn post(
        &self,
        client: &str,
        path: String,
        body: &Value,
    ) -> Result<Observation, ClientError> {
        let token = Some(self.token(client).await?);
        Ok(self
            .send(&Plain {
                method: "POST".into(),
                path,
                token,
                body: Some(body.to_string()),
                ..Plain::default()
            })
            .await)
    }

    /// Sends any request. What goes wrong is an observation too.
    pub async fn send(&self, request: &Plain) -> Observation {
        let mut seen = Observation {
            status: 0,
            headers: HeaderMap::new(),
            body: None,
            raw: Bytes::new(),
            events: None,
            broken: None,
            left: false,
            sent_ns: self.clock.now_ns(),
            first_byte_ns: 0,
            done_ns: 0,
            curl: self.curl(request),
        };
        let mut times = Vec::new();
        let exchange = self.exchange(request, &mut seen, &mut times);
        let ended = match request.leave_after {
            None => Some(exchange.await),
            Some(after) => tokio::time::timeout(after, exchange).await.ok(),
        };
        seen.left = ended.is_none();
        seen.broken = ended.and_then(Result::err);
        seen.done_ns = self.clock.now_ns();
        let kind = seen.headers.get("content-type");
        let kind = kind.and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.starts_with("text/event-stream") && !seen.left {
            let events = Events::read(&seen.raw, &times);
            seen.body = events.end().cloned();
            seen.events = Some(events);
        } else {
            seen.body = serde_json::from_slice(&seen.raw).ok();
        }
        seen
    }

    async fn exchange(
        &self,
        request: &Plain,
        seen: &mut Observation,
        times: &mut Vec<(usize, u64)>,
    ) -> Result<(), String> {
        let method =
            Method::from_bytes(request.method.as_bytes()).map_err(|error| error.to_string())?;
        let mut headers = HeaderMap::new();
        if request.body.is_some() {
            headers.insert("content-type", HeaderValue::from_static("application/json"));
        }
        for (name, value) in &request.headers {
            let name =
                HeaderName::from_bytes(name.as_bytes()).map_err(|error| error.to_string())?;
            headers.insert(
                name,
                HeaderValue::from_str(value).map_err(|error| error.to_string())?,
            );
        }
        if let Some(token) = &request.token {
            let value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|error| error.to_string())?;
            headers.insert("authorization", value);
        }
        let mut sending = self
            .http
            .request(method, self.url(&request.path))
            .headers(headers);
        if let Some(body) = &request.body {
            sending = sending.body(body.clone());
        }
        seen.sent_ns = self.clock.now_ns();
        let mut response = sending.send().await.map_err(|error| innermost(&error))?;
        seen.first_byte_ns = self.clock.now_ns();
        seen.status = response.status().as_u16();
        seen.headers = response.headers().clone();
        let mut raw = Vec::new();
        let end = loop {
            match response.chunk().await {
                Ok(Some(chunk)) => {
                    raw.extend_from_slice(&chunk);
                    times.push((raw.len(), self.clock.now_ns()));
                }
                Ok(None) => break Ok(()),
                Err(error) => break Err(innermost(&error)),
            }
        };
        seen.raw = raw.into();
        end
    }

    /// The library takes `..` out of a path before it is sent; attacks on paths belong into bodies.
    fn url(&self, path: &str) -> String {
        format!("{}{path}", self.base.as_str().trim_end_matches('/'))
    }

    fn curl(&self, request: &Plain) -> String {
        let mut words = vec![
            "curl".to_owned(),
            "-sS".into(),
            "-X".into(),
            request.method.clone(),
        ];
        if request.token.is_some() {
            words.push("-H \"authorization: Bearer $TOKEN\"".into());
        }
        let typed = request
            .headers
            .iter()
            .any(|(name, _)| name.eq_ignore_ascii_case("content-type"));
        if request.body.is_some() && !typed {
            words.push("-H 'content-type: application/json'".into());
        }
        words.extend(
            request
                .headers
                .iter()
                .map(|(name, value)| format!("-H {}", quote(&format!("{name}: {value}")))),
        );
        words.extend(
            request
                .body
                .iter()
                .map(|body| format!("--data-raw {}", quote(body))),
        );
        words.push(quote(&self.url(&request.path)));
        let mut text = words.join(" ");
        for secret in self.secrets.values() {
            text = text.replace(secret.as_str(), "$SECRET");
        }
        match &request.token {
            Some(token) if !token.is_empty() => text.replace(token.as_str(), "$TOKEN"),
            _ => text,
        }
    }
}

impl Observation {
    /// How long the answer took from the send to its last byte.
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.done_ns.saturating_sub(self.sent_ns))
    }

    /// Status and the beginning of the body, for a message.
    pub fn in_short(&self) -> String {
        const CHARACTERS: usize = 300;
        if let Some(broken) = &self.broken {
            return format!("no whole answer ({broken})");
        }
        let text = String::from_utf8_lossy(&self.raw);
        format!(
            "{} {}",
            self.status,
            text.chars().take(CHARACTERS).collect::<String>()
        )
    }
}

fn quote(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_command_that_repeats_a_request_holds_no_secret() {
        let secrets = BTreeMap::from([("alice".to_owned(), "s3cret".to_owned())]);
        let client = Client::new(
            "http://127.0.0.1:9/".parse().unwrap(),
            Clock::start(),
            secrets,
        )
        .unwrap();
        let body = Some(r#"{"client_secret":"s3cret","query":"What's new?"}"#.to_owned());
        let request = Plain {
            method: "POST".into(),
            path: "/x".into(),
            token: Some("tok".into()),
            body,
            ..Plain::default()
        };
        assert_eq!(
            client.curl(&request),
            "curl -sS -X POST -H \"authorization: Bearer $TOKEN\" -H 'content-type: application/json' \
             --data-raw '{\"client_secret\":\"$SECRET\",\"query\":\"What'\\''s new?\"}' 'http://127.0.0.1:9/x'"
        );
    }
}
