//! The Messages API: one request, retried where retrying helps, inside a deadline.

mod stream;

use crate::flight::{Feed, Said};
use crate::metrics::Metrics;
use crate::overhead::outside;
use fact_wire::Tokens;
use secrecy::{ExposeSecret as _, SecretString};
use serde::Deserialize;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::Duration;
use stream::{Assembly, Broken};
use tokio::time::Instant;

/// One request is sent at most this often.
const ATTEMPTS: u32 = 5;
const FIRST_BACKOFF: Duration = Duration::from_millis(200);
const LONGEST_BACKOFF: Duration = Duration::from_secs(8);
/// Of one answer.
const MAX_TOKENS: u32 = 4_096;

/// The client.
#[derive(Debug, Clone)]
pub struct Claude {
    http: reqwest::Client,
    url: String,
    key: SecretString,
    model: String,
    metrics: Arc<Metrics>,
}

/// One turn of Claude's.
#[derive(Debug, Clone, Deserialize)]
pub struct Turn {
    /// As it came, to be sent back word for word.
    pub content: Vec<Value>,
    /// Why it ended.
    pub stop_reason: Option<String>,
    usage: Usage,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[expect(clippy::struct_field_names, reason = "the names of the API")]
struct Usage {
    input_tokens: u64,
    output_tokens: u64,
    #[serde(default)]
    cache_creation_input_tokens: Option<u64>,
    #[serde(default)]
    cache_read_input_tokens: Option<u64>,
}

impl Turn {
    /// What it was billed.
    pub fn tokens(&self) -> Tokens {
        Tokens {
            input: self.usage.input_tokens,
            output: self.usage.output_tokens,
            cache_creation: self.usage.cache_creation_input_tokens.unwrap_or(0),
            cache_read: self.usage.cache_read_input_tokens.unwrap_or(0),
        }
    }

    /// Its text blocks, joined.
    pub fn text(&self) -> String {
        self.content
            .iter()
            .filter(|block| block["type"] == "text")
            .filter_map(|block| block["text"].as_str())
            .collect()
    }
}

/// Why there is no turn.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum ClaudeError {
    /// It would take longer than there is time.
    #[error("the deadline came before an answer of the model")]
    Deadline,
    /// Retrying does not help, or did not.
    #[error("the model's service cannot answer ({reason})")]
    Service {
        /// For the log: status and kind.
        reason: String,
        /// What it asked for.
        retry_after: Option<Duration>,
    },
}

/// What one attempt came to.
enum Attempt {
    Done(Turn),
    Again {
        reason: String,
        retry_after: Option<Duration>,
    },
    Never {
        reason: String,
    },
}

/// What is the same in every request of a question.
#[derive(Debug, Clone)]
pub struct Prompt {
    /// Tools as the API takes them, the last one with a breakpoint.
    pub tools: Vec<Value>,
    /// The system prompt.
    pub system: String,
}

impl Claude {
    /// Speaks to this endpoint.
    pub fn new(
        url: &str,
        key: SecretString,
        model: &str,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .pool_max_idle_per_host(256)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self {
            http,
            url: format!("{url}/v1/messages"),
            key,
            model: model.to_owned(),
            metrics,
        })
    }

    /// The model that answers.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The next turn of a conversation. The static prefix, and the conversation so far, end in cache breakpoints.
    /// With a listener the turn is streamed, and its text is passed on as it comes.
    pub async fn next_turn(
        &self,
        prompt: &Prompt,
        messages: &[Value],
        deadline: Instant,
        listener: Option<&Listener<'_>>,
    ) -> Result<Turn, ClaudeError> {
        let mut messages = messages.to_vec();
        if messages.len() > 1
            && let Some(block) = messages
                .last_mut()
                .and_then(|message| message["content"].as_array_mut()?.last_mut())
        {
            block["cache_control"] = json!({ "type": "ephemeral" });
        }
        let mut body = json!({
            "model": self.model,
            "max_tokens": MAX_TOKENS,
            "system": [{ "type": "text", "text": prompt.system, "cache_control": { "type": "ephemeral" } }],
            "tools": prompt.tools,
            "messages": messages,
        });
        if listener.is_some() {
            body["stream"] = true.into();
        }
        let body = body.to_string();
        let mut attempt = 1;
        loop {
            let began = Instant::now();
            let asking = self.attempt(body.clone(), listener);
            let outcome = outside(tokio::time::timeout_at(deadline, asking)).await;
            let named = match &outcome {
                Ok(Attempt::Done(_)) => "success",
                Ok(Attempt::Again { .. }) => "again",
                Ok(Attempt::Never { .. }) => "refused",
                Err(_) => "deadline",
            };
            self.metrics
                .claude_attempts
                .with([named])
                .record(began.elapsed());
            let outcome = outcome.map_err(|_| ClaudeError::Deadline)?;
            let (reason, retry_after) = match outcome {
                Attempt::Done(turn) => return Ok(turn),
                Attempt::Never { reason } => {
                    return Err(ClaudeError::Service {
                        reason,
                        retry_after: None,
                    });
                }
                Attempt::Again {
                    reason,
                    retry_after,
                } => (reason, retry_after),
            };
            let wait = retry_after.unwrap_or_else(|| backoff(attempt));
            if attempt >= ATTEMPTS || Instant::now() + wait >= deadline {
                return Err(ClaudeError::Service {
                    reason,
                    retry_after,
                });
            }
            tracing::warn!(
                attempt,
                reason,
                wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX),
                "claude is asked again"
            );
            outside(tokio::time::sleep(wait)).await;
            attempt += 1;
        }
    }

    async fn attempt(&self, body: String, listener: Option<&Listener<'_>>) -> Attempt {
        self.metrics.claude_requests.fetch_add(1, Relaxed);
        let request = self
            .http
            .post(&self.url)
            .header("x-api-key", self.key.expose_secret())
            .header("anthropic-version", "2023-06-01")
            .header("content-type", "application/json")
            .body(body);
        let response = match request.send().await {
            Ok(response) => response,
            Err(error) => {
                return Attempt::Again {
                    reason: format!("no connection: {}", kind(&error)),
                    retry_after: None,
                };
            }
        };
        let status = response.status().as_u16();
        let retry_after = retry_after(response.headers());
        if let Some(listener) = listener.filter(|_| status == 200) {
            listener.next_turn();
            return listen(response, listener).await;
        }
        let bytes = match response.bytes().await {
            Ok(bytes) => bytes,
            Err(error) => {
                return Attempt::Again {
                    reason: format!("the answer broke off: {}", kind(&error)),
                    retry_after,
                };
            }
        };
        match status {
            200 => match serde_json::from_slice(&bytes) {
                Ok(turn) => Attempt::Done(turn),
                Err(_) => Attempt::Again {
                    reason: "the answer is no message".into(),
                    retry_after,
                },
            },
            408 | 409 | 429 | 500.. => Attempt::Again {
                reason: format!("status {status}"),
                retry_after,
            },
            _ => {
                let message = serde_json::from_slice::<Value>(&bytes).ok();
                let message = message
                    .as_ref()
                    .and_then(|body| body["error"]["message"].as_str())
                    .unwrap_or_default();
                tracing::error!(status, message, "claude refuses the request");
                Attempt::Never {
                    reason: format!("status {status}"),
                }
            }
        }
    }
}

/// Passes the text of a turn on to a feed. What was said before an attempt that failed belongs to an earlier turn.
#[derive(Debug)]
pub struct Listener<'a> {
    feed: &'a Feed,
    turn: AtomicU32,
}

impl<'a> Listener<'a> {
    /// Tells this feed.
    pub fn new(feed: &'a Feed) -> Self {
        Self {
            feed,
            turn: AtomicU32::new(0),
        }
    }

    fn next_turn(&self) {
        self.turn.fetch_add(1, Relaxed);
    }

    fn say(&self, text: String) {
        if !text.is_empty() {
            self.feed.say(Said::Text(self.turn.load(Relaxed), text));
        }
    }
}

async fn listen(mut response: reqwest::Response, listener: &Listener<'_>) -> Attempt {
    let again = |reason: String| Attempt::Again {
        reason,
        retry_after: None,
    };
    let mut assembly = Assembly::default();
    let turn = loop {
        match response.chunk().await {
            Ok(Some(bytes)) => match assembly.push(&bytes) {
                Ok(text) => {
                    listener.say(text);
                    if assembly.is_whole() {
                        break assembly.finish();
                    }
                }
                Err(broken) => break Err(broken),
            },
            Ok(None) => break assembly.finish(),
            Err(error) => return again(format!("the stream broke off: {}", kind(&error))),
        }
    };
    match turn {
        Ok(turn) => Attempt::Done(turn),
        Err(Broken::Malformed(what)) => again(format!("the stream is no message: {what}")),
        Err(Broken::Error(kind))
            if matches!(
                kind.as_str(),
                "overloaded_error" | "api_error" | "rate_limit_error" | "timeout_error"
            ) =>
        {
            again(format!("the stream ended with {kind}"))
        }
        Err(Broken::Error(kind)) => Attempt::Never {
            reason: format!("the stream ended with {kind}"),
        },
    }
}

fn kind(error: &reqwest::Error) -> &'static str {
    if error.is_timeout() {
        "timeout"
    } else if error.is_connect() {
        "refused"
    } else {
        "broken"
    }
}

/// Doubles each time; between half and all of it, so that those who failed together do not return together.
fn backoff(attempt: u32) -> Duration {
    let whole = FIRST_BACKOFF
        .saturating_mul(1 << (attempt - 1).min(10))
        .min(LONGEST_BACKOFF);
    whole.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}

pub(crate) fn retry_after(headers: &reqwest::header::HeaderMap) -> Option<Duration> {
    let number = |name: &str| {
        headers
            .get(name)?
            .to_str()
            .ok()?
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|n| n.is_finite() && *n > 0.0)
    };
    let milliseconds = number("retry-after-ms").map(|n| n / 1e3);
    milliseconds
        .or_else(|| number("retry-after"))
        .and_then(|seconds| Duration::try_from_secs_f64(seconds).ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wiremock::matchers::{method, path};
    use wiremock::{Mock, MockServer, ResponseTemplate};

    fn message() -> Value {
        json!({
            "content": [{ "type": "text", "text": "Hi" }], "stop_reason": "end_turn",
            "usage": { "input_tokens": 7, "output_tokens": 3, "cache_read_input_tokens": 600 },
        })
    }

    async fn ask(server: &MockServer, within: Duration) -> Result<Turn, ClaudeError> {
        let claude = Claude::new(
            &server.uri(),
            "sk-ant-test".into(),
            "claude-sonnet-5-5",
            Arc::default(),
        )
        .unwrap();
        let prompt = Prompt {
            tools: Vec::new(),
            system: "s".into(),
        };
        claude
            .next_turn(
                &prompt,
                &[json!({ "role": "user", "content": "q" })],
                Instant::now() + within,
                None,
            )
            .await
    }

    async fn reply(server: &MockServer, response: ResponseTemplate, times: u64) {
        Mock::given(method("POST"))
            .and(path("/v1/messages"))
            .respond_with(response)
            .up_to_n_times(times)
            .mount(server)
            .await;
    }

    #[tokio::test]
    async fn overload_is_retried_and_tokens_are_told_apart() {
        let server = MockServer::start().await;
        reply(&server, ResponseTemplate::new(529), 2).await;
        reply(
            &server,
            ResponseTemplate::new(200).set_body_json(message()),
            1,
        )
        .await;
        let turn = ask(&server, Duration::from_secs(20)).await.unwrap();
        assert_eq!(
            (turn.text(), turn.tokens().cache_read, turn.tokens().input),
            ("Hi".to_owned(), 600, 7)
        );
        assert_eq!(server.received_requests().await.unwrap().len(), 3);
    }

    #[tokio::test]
    async fn retry_after_is_waited_for() {
        let server = MockServer::start().await;
        reply(
            &server,
            ResponseTemplate::new(429).insert_header("retry-after", "1"),
            1,
        )
        .await;
        reply(
            &server,
            ResponseTemplate::new(200).set_body_json(message()),
            1,
        )
        .await;
        let began = Instant::now();
        ask(&server, Duration::from_secs(20)).await.unwrap();
        assert!(began.elapsed() >= Duration::from_secs(1));
    }

    #[tokio::test]
    async fn a_retry_after_beyond_the_deadline_ends_the_question_at_once() {
        let server = MockServer::start().await;
        reply(
            &server,
            ResponseTemplate::new(429).insert_header("retry-after", "60"),
            9,
        )
        .await;
        let error = ask(&server, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(
            error,
            ClaudeError::Service {
                reason: "status 429".into(),
                retry_after: Some(Duration::from_mins(1))
            }
        );
    }

    #[tokio::test]
    async fn a_refused_request_is_not_sent_again() {
        let server = MockServer::start().await;
        reply(&server, ResponseTemplate::new(400), 9).await;
        ask(&server, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(server.received_requests().await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn retries_come_to_an_end() {
        let server = MockServer::start().await;
        reply(
            &server,
            ResponseTemplate::new(500).insert_header("retry-after-ms", "1"),
            99,
        )
        .await;
        ask(&server, Duration::from_secs(5)).await.unwrap_err();
        assert_eq!(server.received_requests().await.unwrap().len(), 5);
    }
}
