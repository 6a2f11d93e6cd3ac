//! An HTTP endpoint as a tool: arguments out, JSON in, through the guard of the web tool.

use super::attempts::{Again, Failed, attempts};
use super::outcome::{ToolError, ToolOutput};
use super::web::{Payload, Undone, Web, read};
use crate::breaker::Breaker;
use crate::claude::retry_after;
use crate::consent::Provider;
use fact_wire::{ArgumentsIn, HttpEndpoint};
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

/// What a connection sets itself, or what would make another request of it.
const OWN_HEADERS: &[&str] = &[
    "connection",
    "content-length",
    "content-type",
    "expect",
    "host",
    "keep-alive",
    "te",
    "trailer",
    "transfer-encoding",
    "upgrade",
];
const MOST_HEADERS: usize = 32;
const MASK: &str = "***";

/// An endpoint, checked.
#[derive(Debug, Clone)]
pub(super) struct Endpoint {
    url: String,
    method: Method,
    headers: HeaderMap,
    arguments_in: ArgumentsIn,
    idempotent: bool,
    provider: Option<Provider>,
    breaker: Arc<Breaker>,
}

impl PartialEq for Endpoint {
    fn eq(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.breaker, &other.breaker)
    }
}

/// A mistake in an endpoint: in which field, and which.
pub(super) type Mistake = (String, String);

impl Endpoint {
    /// Whether a request can be made of it; its URL is judged elsewhere.
    pub(super) fn read(asked: &HttpEndpoint) -> Result<Self, Mistake> {
        let method = asked.method.as_deref().unwrap_or("GET");
        let method = match method {
            "GET" => Method::GET,
            "POST" => Method::POST,
            "PUT" => Method::PUT,
            "PATCH" => Method::PATCH,
            "DELETE" => Method::DELETE,
            _ => {
                let message = "is none of GET, POST, PUT, PATCH and DELETE";
                return Err(("/method".into(), message.into()));
            }
        };
        if asked.url.contains(['{', '}']) {
            let message = "takes no templates: arguments go into the query string or the body";
            return Err(("/url".into(), message.into()));
        }
        let in_query = matches!(method, Method::GET | Method::DELETE);
        let arguments_in = asked.arguments_in.unwrap_or(if in_query {
            ArgumentsIn::Query
        } else {
            ArgumentsIn::Json
        });
        if method == Method::GET && arguments_in == ArgumentsIn::Json {
            return Err(("/arguments_in".into(), "is `query` for GET".into()));
        }
        Ok(Self {
            url: asked.url.clone(),
            headers: headers(&asked.headers)?,
            arguments_in,
            idempotent: asked
                .idempotent
                .unwrap_or(matches!(method, Method::GET | Method::PUT | Method::DELETE)),
            method,
            provider: provider(asked)?,
            breaker: Arc::default(),
        })
    }

    /// Where a person consents, where one has to.
    pub(super) fn provider(&self) -> Option<&Provider> {
        self.provider.as_ref()
    }

    /// For administrators; what may be secret is masked.
    pub(super) fn shown(&self) -> Value {
        let headers: BTreeMap<&str, &str> = self
            .headers
            .keys()
            .map(|name| (name.as_str(), MASK))
            .collect();
        let url = match self.url.split_once('?') {
            None => self.url.clone(),
            Some((place, _)) => format!("{place}?{MASK}"),
        };
        let mut shown = json!({
            "url": url,
            "method": self.method.as_str(),
            "headers": headers,
            "arguments_in": self.arguments_in,
            "idempotent": self.idempotent,
        });
        if let Some(provider) = &self.provider {
            shown["oauth"] = provider.shown();
        }
        shown
    }

    /// Asks the endpoint, again where that may help and does no harm. `token`: of the person's consent.
    pub(super) async fn execute(
        &self,
        web: &Web,
        arguments: &Value,
        token: Option<HeaderValue>,
        most_bytes: u64,
        deadline: Instant,
    ) -> Result<ToolOutput, ToolError> {
        let (url, body) = match self.arguments_in {
            ArgumentsIn::Query => (with_query(&self.url, arguments), None),
            ArgumentsIn::Json => (self.url.clone(), Some(arguments)),
        };
        let mut headers = self.headers.clone();
        if let Some(token) = token {
            headers.insert(reqwest::header::AUTHORIZATION, token);
        }
        let once = || self.once(web, &url, headers.clone(), body, most_bytes, deadline);
        attempts(deadline, once).await
    }

    async fn once(
        &self,
        web: &Web,
        url: &str,
        headers: HeaderMap,
        body: Option<&Value>,
        most_bytes: u64,
        deadline: Instant,
    ) -> Result<ToolOutput, Failed> {
        let down = |retry_after| ToolError::Outage {
            why: "the tool's endpoint cannot be reached".into(),
            retry_after,
        };
        let breaker = &self.breaker;
        let admitted = breaker.admit(std::time::Instant::now());
        admitted.map_err(|retry_after| Failed::never(down(retry_after)))?;
        let failed = || breaker.failed(std::time::Instant::now());
        let payload = body.map_or(Payload::Nothing, Payload::Json);
        let asked = web.call(self.method.clone(), url, headers, payload, deadline);
        let mut response = match asked.await {
            Ok(response) => response,
            Err(Undone { error, .. }) if matches!(error, ToolError::Refused { .. }) => {
                return Err(Failed::never(error));
            }
            Err(Undone { error, never_made }) => {
                failed();
                return Err(Failed {
                    error,
                    again: Again::when(never_made || self.idempotent, None),
                });
            }
        };
        let status = response.status();
        let wait = retry_after(response.headers());
        let busy = matches!(
            status,
            StatusCode::TOO_MANY_REQUESTS
                | StatusCode::BAD_GATEWAY
                | StatusCode::SERVICE_UNAVAILABLE
                | StatusCode::GATEWAY_TIMEOUT
        );
        if status.is_server_error() {
            failed();
        } else {
            breaker.succeeded();
        }
        // RFC 6750: the person's token has expired, or was revoked where it was given.
        if status == StatusCode::UNAUTHORIZED && self.provider.is_some() {
            return Err(Failed::never(ToolError::AuthorizationRequired {
                url: None,
            }));
        }
        if !status.is_success() {
            let again = busy || status.is_server_error();
            return Err(Failed {
                error: if busy {
                    down(wait.unwrap_or(Duration::from_secs(1)))
                } else {
                    ToolError::Failed(format!("the tool's endpoint answered {}", status.as_u16()))
                },
                again: Again::when(again && self.idempotent, wait),
            });
        }
        let bytes = read(&mut response, most_bytes, deadline).await;
        let bytes = bytes.map_err(|error| {
            let again = self.idempotent && matches!(error, ToolError::Unavailable(_));
            Failed {
                error,
                again: Again::when(again, None),
            }
        })?;
        let result = result(&bytes).map_err(Failed::never)?;
        Ok(ToolOutput {
            source: Some("web"),
            ..ToolOutput::plain(result)
        })
    }
}

fn provider(asked: &HttpEndpoint) -> Result<Option<Provider>, Mistake> {
    let read = |oauth| Provider::read(oauth, &asked.url);
    let provider = asked.oauth.as_ref().map(read).transpose();
    provider.map_err(|(field, message)| (format!("/oauth{field}"), message))
}

fn headers(asked: &BTreeMap<String, String>) -> Result<HeaderMap, Mistake> {
    if asked.len() > MOST_HEADERS {
        let message = format!("has more than {MOST_HEADERS} fields");
        return Err(("/headers".into(), message));
    }
    let mut headers = HeaderMap::new();
    for (name, value) in asked {
        let at = || format!("/headers/{name}");
        let lower = name.to_ascii_lowercase();
        if OWN_HEADERS.contains(&lower.as_str()) || lower.starts_with("proxy-") {
            return Err((at(), "is set by the engine".into()));
        }
        let (Ok(name), Ok(mut value)) = (
            HeaderName::from_bytes(lower.as_bytes()),
            HeaderValue::from_str(value),
        ) else {
            return Err((at(), "cannot be sent".into()));
        };
        value.set_sensitive(true);
        headers.insert(name, value);
    }
    Ok(headers)
}

/// The arguments behind what the URL has already: lists item by item, objects as JSON, nothing for null.
fn with_query(url: &str, arguments: &Value) -> String {
    let Ok(mut url) = url::Url::parse(url) else {
        return url.to_owned();
    };
    let text = |value: &Value| match value {
        Value::String(text) => text.clone(),
        other => other.to_string(),
    };
    let fields = arguments.as_object().into_iter().flatten();
    let mut pairs: Vec<(&str, String)> = Vec::new();
    for (name, value) in fields {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                pairs.extend(items.iter().map(|item| (name.as_str(), text(item))));
            }
            value => pairs.push((name, text(value))),
        }
    }
    if !pairs.is_empty() {
        url.query_pairs_mut().extend_pairs(pairs);
    }
    url.into()
}

/// JSON as it is, any other text as a text, nothing as null.
fn result(bytes: &[u8]) -> Result<Value, ToolError> {
    if bytes.is_empty() {
        return Ok(Value::Null);
    }
    if let Ok(value) = serde_json::from_slice(bytes) {
        return Ok(value);
    }
    let text = std::str::from_utf8(bytes);
    text.map(Value::from)
        .map_err(|_| ToolError::Failed("the endpoint's answer is no text".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(value: Value) -> Result<Endpoint, Mistake> {
        Endpoint::read(&serde_json::from_value(value).unwrap())
    }

    #[test]
    fn arguments_go_into_the_query_string_as_they_are() {
        let url = with_query(
            "https://api.example/x?key=k",
            &json!({ "a": "b & c", "list": [1, "x"], "n": 1.5, "none": null, "o": { "p": true } }),
        );
        assert_eq!(
            url,
            "https://api.example/x?key=k&a=b+%26+c&list=1&list=x&n=1.5&o=%7B%22p%22%3Atrue%7D"
        );
        let untouched = "https://api.example/x";
        assert_eq!(with_query(untouched, &json!({})), untouched);
    }

    #[test]
    fn what_may_be_secret_is_not_shown() {
        let endpoint = endpoint(json!({
            "url": "https://api.example/x?key=hunter2", "headers": { "X-Api-Key": "hunter2" },
            "oauth": { "authorization_url": "https://a.example", "token_url": "https://t.example", "client_id": "c", "client_secret": "hunter2" },
        }))
        .unwrap();
        let shown = endpoint.shown();
        assert_eq!(shown["headers"]["x-api-key"], "***");
        assert!(!shown.to_string().contains("hunter2"));
        assert!(!format!("{:?}", endpoint.headers).contains("hunter2"));
    }

    #[test]
    fn headers_that_would_make_another_request_are_refused() {
        for name in [
            "Host",
            "Content-Length",
            "transfer-encoding",
            "Proxy-Authorization",
            "a b",
        ] {
            let (path, _) =
                endpoint(json!({ "url": "https://api.example", "headers": { (name): "x" } }))
                    .unwrap_err();
            assert_eq!(path, format!("/headers/{name}"));
        }
        let broken = json!({ "url": "https://api.example", "headers": { "x-a": "b\r\nHost: c" } });
        assert!(endpoint(broken).is_err());
        assert!(endpoint(json!({ "url": "https://api.example/{city}" })).is_err());
        assert!(endpoint(json!({ "url": "https://api.example", "method": "TRACE" })).is_err());
    }
}
