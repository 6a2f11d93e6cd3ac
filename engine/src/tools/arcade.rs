//! Tools of Arcade, called as a person. An outage of Arcade's fails fast and leaves the other tools alone.

mod catalogue;
mod consent;

#[cfg(test)]
pub(super) use catalogue::limits;

use super::attempts::{Again, Failed, attempts};
use super::outcome::{ToolError, ToolOutput};
use super::tool::{ArcadeCall, Tool, too_long};
use crate::breaker::Breaker;
use crate::claude::retry_after;
use crate::mask::mask;
use crate::store::Store;
use consent::Consents;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;

/// What stands around a result in Arcade's answer, at most.
const ENVELOPE_BYTES: u64 = 64 * 1024;

/// The client. Clones share what they know.
#[derive(Debug, Clone)]
pub struct Arcade(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    upstream: Upstream,
    tools: RwLock<Arc<BTreeMap<String, Arc<Tool>>>>,
    edition: AtomicU64,
    breaker: Breaker,
    /// Whether the last discovery came to its end.
    discovered: AtomicBool,
    timeout: Duration,
    consents: Consents,
    /// Keeps who consented, once there is a start.
    store: OnceLock<Store>,
}

/// Where Arcade is, and what opens it.
#[derive(Debug, Clone)]
struct Upstream {
    http: reqwest::Client,
    url: String,
    key: SecretString,
}

impl Upstream {
    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        self.with_key(self.http.get(format!("{}{path}", self.url)))
    }

    fn post(&self, path: &str, body: &Value) -> reqwest::RequestBuilder {
        self.with_key(self.http.post(format!("{}{path}", self.url)))
            .json(body)
    }

    fn with_key(&self, request: reqwest::RequestBuilder) -> reqwest::RequestBuilder {
        request.header("authorization", self.key.expose_secret())
    }
}

/// What Arcade answered.
struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    /// What it says about another attempt.
    should_retry: Option<bool>,
    body: Value,
}

impl Arcade {
    /// Speaks to this endpoint; a call of a tool may take so long.
    pub fn new(url: &str, key: SecretString, timeout: Duration) -> Result<Self, reqwest::Error> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .tcp_nodelay(true)
            .connect_timeout(Duration::from_secs(5))
            .redirect(reqwest::redirect::Policy::none())
            .build()?;
        Ok(Self(Arc::new(Inner {
            upstream: Upstream {
                http,
                url: url.to_owned(),
                key,
            },
            tools: RwLock::default(),
            edition: AtomicU64::new(0),
            breaker: Breaker::default(),
            discovered: AtomicBool::new(false),
            timeout,
            consents: Consents::default(),
            store: OnceLock::new(),
        })))
    }

    /// What was found last, by name.
    pub(super) fn tools(&self) -> Arc<BTreeMap<String, Arc<Tool>>> {
        let tools = self.0.tools.read().unwrap_or_else(PoisonError::into_inner);
        tools.clone()
    }

    /// Grows whenever the tools or what persons consented to have changed.
    pub fn edition(&self) -> u64 {
        self.0.edition.load(Relaxed)
    }

    /// Whether nothing is missing for this person to use the tool.
    pub(super) fn is_usable(&self, tool: &Tool, call: &ArcadeCall, person: &str) -> bool {
        tool.definition.requirements_met
            || (call.consent_is_enough && self.0.consents.has(person, &call.name))
    }

    /// Whether nothing is sent for now.
    pub fn is_shut_off(&self) -> bool {
        self.0.breaker.is_open()
    }

    /// Whether Arcade can be relied on: false while its breaker is open, or after a discovery that failed.
    pub fn health(&self) -> bool {
        self.0.discovered.load(Relaxed) && !self.0.breaker.is_open()
    }

    /// Executes a tool as the caller, again where that may help and does no harm.
    pub(super) async fn execute(
        &self,
        tool: &ArcadeCall,
        person: &str,
        arguments: &Value,
        most_bytes: u64,
        deadline: Instant,
    ) -> Result<ToolOutput, ToolError> {
        let body = json!({ "tool_name": tool.name, "input": arguments, "user_id": person });
        let once = || {
            self.once(
                "/v1/tools/execute",
                &body,
                tool.repeatable,
                most_bytes,
                deadline,
            )
        };
        let mut consented = false;
        loop {
            let answer = attempts(deadline, || async { judge(once().await?) }).await;
            let said = match answer? {
                Said::Result(result) => {
                    if tool.consent_is_enough {
                        self.consent_given(person, &tool.name).await;
                    }
                    return Ok(ToolOutput::plain(result));
                }
                Said::NeedsConsent(said) => said,
            };
            self.consent_missing(person, &tool.name);
            if consented {
                // It says that everything is granted, and refuses all the same.
                return Err(ToolError::AuthorizationRequired { url: None });
            }
            match self
                .ask_consent(&tool.name, person, &said, deadline)
                .await?
            {
                None => consented = true,
                Some(url) => return Err(ToolError::AuthorizationRequired { url: Some(url) }),
            }
        }
    }

    /// One request, booked with the breaker.
    async fn once(
        &self,
        path: &str,
        body: &Value,
        repeatable: bool,
        most_bytes: u64,
        deadline: Instant,
    ) -> Result<Answer, Failed> {
        let breaker = &self.0.breaker;
        breaker
            .admit(std::time::Instant::now())
            .map_err(|retry_after| Failed::never(unreachable(retry_after)))?;
        let failed = || breaker.failed(std::time::Instant::now());
        let request = self.0.upstream.post(path, body);
        let answered = tokio::time::timeout_at(deadline, send(request, most_bytes)).await;
        let answer = match answered {
            Err(_) => {
                failed();
                return Err(Failed::never(ToolError::Timeout));
            }
            Ok(Err(Broken::TooLong)) => {
                breaker.succeeded();
                return Err(Failed::never(too_long(most_bytes)));
            }
            Ok(Err(Broken::Off { never_made })) => {
                failed();
                return Err(Failed {
                    error: unreachable(Duration::from_secs(1)),
                    again: Again::when(never_made || repeatable, None),
                });
            }
            Ok(Ok(answer)) => answer,
        };
        match answer.status {
            // It is busy, not down.
            429 => {}
            500.. => failed(),
            _ => breaker.succeeded(),
        }
        if answer.status == 429 || answer.status >= 500 {
            let wait = answer.retry_after;
            let allowed = answer.should_retry.unwrap_or(repeatable);
            return Err(Failed {
                error: unreachable(wait.unwrap_or(Duration::from_secs(1))),
                again: Again::when(allowed, wait),
            });
        }
        Ok(answer)
    }
}

fn unreachable(retry_after: Duration) -> ToolError {
    ToolError::Outage {
        why: "Arcade cannot be reached".into(),
        retry_after,
    }
}

/// Why there is no answer.
enum Broken {
    TooLong,
    /// The connection, or what came over it.
    Off {
        never_made: bool,
    },
}

async fn send(request: reqwest::RequestBuilder, most_bytes: u64) -> Result<Answer, Broken> {
    let off = |error: reqwest::Error| Broken::Off {
        never_made: error.is_connect(),
    };
    let mut response = request.send().await.map_err(off)?;
    let status = response.status().as_u16();
    let retry_after = retry_after(response.headers());
    let header = response.headers().get("x-should-retry");
    let should_retry = header.map(|value| value == "true");
    let most = usize::try_from(most_bytes.saturating_add(ENVELOPE_BYTES)).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(off)? {
        if bytes.len() + chunk.len() > most {
            return Err(Broken::TooLong);
        }
        bytes.extend_from_slice(&chunk);
    }
    // What an answer with an error status says is a help, and no more.
    let body = match serde_json::from_slice(&bytes) {
        Err(_) if (200..300).contains(&status) => return Err(Broken::Off { never_made: false }),
        body => body.unwrap_or_default(),
    };
    Ok(Answer {
        status,
        retry_after,
        should_retry,
        body,
    })
}

/// What Arcade said to a call.
enum Said {
    Result(Value),
    /// With the body that said so.
    NeedsConsent(Value),
}

fn judge(answer: Answer) -> Result<Said, Failed> {
    let Answer {
        status, mut body, ..
    } = answer;
    match status {
        200..300 if body["success"] == true => Ok(Said::Result(body["output"]["value"].take())),
        200..300 if body["output"]["authorization"].is_object() => {
            Ok(Said::NeedsConsent(body["output"]["authorization"].take()))
        }
        200..300 => Err(failure(&body["output"]["error"])),
        401 => {
            tracing::error!("Arcade does not take the key in `ARCADE_API_KEY`");
            let why = "Arcade does not let this engine in".into();
            Err(Failed::never(ToolError::Unavailable(why)))
        }
        403 if body["name"] == "tool_authorization_required" || consent::url(&body).is_some() => {
            Ok(Said::NeedsConsent(body))
        }
        404 => {
            let why = "Arcade does not have this tool any more".into();
            Err(Failed::never(ToolError::Failed(why)))
        }
        _ => {
            let said = body["message"].as_str().unwrap_or_default();
            let why = told("Arcade refused the call", said);
            Err(Failed::never(ToolError::Failed(why)))
        }
    }
}

/// `output.error` of a tool that failed.
fn failure(error: &Value) -> Failed {
    let mut why = told(
        "the tool failed",
        error["message"].as_str().unwrap_or_default(),
    );
    if let Some(hint) = error["additional_prompt_content"].as_str() {
        why = format!("{why} ({})", one_line(hint));
    }
    // This kind wants other arguments, which only the model can give.
    let wants_another_prompt = error["kind"] == "TOOL_RUNTIME_RETRY";
    let wait = error["retry_after_ms"].as_u64().map(Duration::from_millis);
    Failed {
        error: ToolError::Failed(why),
        again: Again::when(error["can_retry"] == true && !wants_another_prompt, wait),
    }
}

fn told(what: &str, said: &str) -> String {
    match one_line(said) {
        line if line.is_empty() => what.to_owned(),
        line => format!("{what}: {line}"),
    }
}

/// What others wrote, without stacks and secrets.
fn one_line(text: &str) -> String {
    mask(text.lines().next().unwrap_or_default().trim())
}

#[cfg(test)]
mod tests;
