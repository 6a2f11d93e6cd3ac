//! An answer as a stream of events: what is done meanwhile, the text as Claude says it, and at last the answer or the error.

use super::{Asking, begun_status, cache_status};
use crate::answer::{AnswerError, Answered, Begun, Flying};
use crate::flight::Said;
use crate::http::Failure;
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde_json::json;
use std::convert::Infallible;

/// Answers with events. What fails before the first byte is an ordinary error.
pub(super) async fn answer(
    asking: Asking,
    begun: Result<Begun, AnswerError>,
) -> Result<Response, Failure> {
    let (cache, body) = match begun {
        Err(error) => return Err(ended(asking.finish(Err(error)).await)),
        Ok(Begun::Ready(answered)) => {
            let cache = cache_status(&answered);
            let text = answered.answer.response.clone();
            let mut body = delta(1, &text);
            body.extend(done(&asking.finish(Ok(answered)).await?));
            (cache, Body::from(body))
        }
        Ok(Begun::Flying(flying)) => {
            asking.asked.under_way(flying.flight());
            let cache = begun_status(flying.cache());
            let telling = Telling {
                asking,
                flying,
                turn: 0,
                text: String::new(),
            };
            let events = stream::unfold(Some(telling), |telling| async move {
                let (bytes, rest) = telling?.next().await;
                Some((Ok::<_, Infallible>(bytes), rest))
            });
            (cache, Body::from_stream(events))
        }
    };
    let headers = [
        ("content-type", "text/event-stream; charset=utf-8"),
        ("cache-control", "no-cache, no-store"),
        ("x-accel-buffering", "no"),
        ("cache-status", cache),
    ];
    Ok((headers, body).into_response())
}

fn ended(finished: Result<Bytes, Failure>) -> Failure {
    finished.err().unwrap_or_else(|| AnswerError::Lost.into())
}

/// An answer that is told while it is made. Dropped by a caller who left, it waits no more.
struct Telling {
    asking: Asking,
    flying: Flying,
    /// The turn that the last text belonged to.
    turn: u32,
    /// All text of that turn.
    text: String,
}

impl Telling {
    async fn next(mut self) -> (Bytes, Option<Self>) {
        let said = self.flying.hear().await;
        if said.is_empty() {
            let made = self.flying.landed().await;
            return (self.end(made).await, None);
        }
        let mut events = Vec::new();
        for said in said {
            events.extend(match said {
                Said::Step(step, tool) => self.progress(step, tool.as_deref()),
                Said::Text(turn, text) => {
                    if turn != self.turn {
                        self.text.clear();
                    }
                    self.turn = turn;
                    self.text.push_str(&text);
                    delta(turn, &text)
                }
            });
        }
        (events.into(), Some(self))
    }

    fn progress(&self, step: &str, tool: Option<&str>) -> Vec<u8> {
        let mut data = json!({ "step": step, "query_id": self.asking.asked.id() });
        if let Some(tool) = tool {
            data["tool"] = tool.into();
        }
        event("progress", data.to_string().as_bytes())
    }

    async fn end(self, made: Result<Answered, AnswerError>) -> Bytes {
        let mut events = Vec::new();
        if let Ok(answered) = &made
            && answered.answer.response != self.text
        {
            // Whoever joined a conversation that is not streamed hears its text at the end.
            events = delta(self.turn + 1, &answered.answer.response);
        }
        let metrics = self.asking.engine.answering.metrics.clone();
        match self.asking.finish(made).await {
            Ok(body) => events.extend(done(&body)),
            Err(failure) => {
                metrics.count_error(failure.code());
                let body = serde_json::to_vec(&failure.body()).unwrap_or_default();
                return event("error", &body).into();
            }
        }
        events.into()
    }
}

fn delta(turn: u32, text: &str) -> Vec<u8> {
    let data = json!({ "text": text, "turn": turn });
    event("delta", data.to_string().as_bytes())
}

fn done(answer: &[u8]) -> Vec<u8> {
    event("done", answer)
}

/// JSON holds no line break, so that one line of data is enough.
fn event(name: &str, data: &[u8]) -> Vec<u8> {
    let mut event = Vec::with_capacity(name.len() + data.len() + 16);
    event.extend_from_slice(b"event: ");
    event.extend_from_slice(name.as_bytes());
    event.extend_from_slice(b"\ndata: ");
    event.extend_from_slice(data);
    event.extend_from_slice(b"\n\n");
    event
}
