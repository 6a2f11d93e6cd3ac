//! Answers whose body keeps the books: first byte and end go to the journal, and a cut drops the connection.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;

use crate::journal::{Entry, InFlight, Journal, Upstream};

/// An entry under way; it is recorded when this is dropped, which is when the answer has ended.
#[derive(Debug)]
pub(crate) struct Recording {
    journal: Journal,
    pub(crate) entry: Entry,
    // Dropped after `drop` has recorded: the journal never seems idle in between.
    _in_flight: InFlight,
}

impl Recording {
    pub(crate) fn start(journal: &Journal, upstream: Upstream, what: String) -> Self {
        let in_flight = journal.enter();
        let arrived_ns = journal.clock().now_ns();
        Self {
            journal: journal.clone(),
            entry: Entry {
                sequence: 0,
                upstream,
                what,
                question: None,
                nonce: None,
                application: None,
                status: 499,
                fault: None,
                arrived_ns,
                first_byte_ns: 0,
                ended_ns: 0,
                scheduled_ns: 0,
                preparing_ns: 0,
                usage: None,
                cost_usd: 0.0,
                uncached_usd: 0.0,
                request: None,
            },
            _in_flight: in_flight,
        }
    }

    fn first_byte(&mut self) {
        if self.entry.first_byte_ns == 0 {
            self.entry.first_byte_ns = self.journal.clock().now_ns();
        }
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        let now = self.journal.clock().now_ns();
        let mut entry = self.entry.clone();
        entry.ended_ns = now;
        if entry.first_byte_ns == 0 {
            entry.first_byte_ns = now;
        }
        self.journal.record(entry);
    }
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) chunks: VecDeque<Bytes>,
    /// Sent with a `content-length`, otherwise chunked.
    pub(crate) sized: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        let mut headers = HeaderMap::new();
        headers.insert(
            header::CONTENT_TYPE,
            HeaderValue::from_static("application/json"),
        );
        Self {
            status,
            headers,
            chunks: VecDeque::from([Bytes::from(body.to_string())]),
            sized: true,
        }
    }

    pub(crate) fn header(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = HeaderValue::from_str(value) {
            self.headers.insert(name, value);
        }
        self
    }

    /// The response that journals itself; `cut` drops the connection after so many bytes of the body.
    pub(crate) fn into_response(
        mut self,
        mut recording: Recording,
        cut: Option<usize>,
    ) -> Response {
        recording.entry.status = self.status;
        let length: usize = self.chunks.iter().map(Bytes::len).sum();
        if self.sized {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        if let Some(cut) = cut {
            shorten(&mut self.chunks, cut.min(length.saturating_sub(1)));
        }
        let mut response = Response::new(Body::from_stream(Tape {
            chunks: self.chunks,
            cut: cut.map(|_| false),
            recording,
        }));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }
}

fn shorten(chunks: &mut VecDeque<Bytes>, mut left: usize) {
    for chunk in chunks.iter_mut() {
        chunk.truncate(left);
        left -= chunk.len();
    }
    chunks.retain(|chunk| !chunk.is_empty());
}

/// The body's chunks, then its end or its breaking off.
struct Tape {
    chunks: VecDeque<Bytes>,
    /// Breaks off after the chunks; true once what came before has been flushed.
    cut: Option<bool>,
    recording: Recording,
}

impl Stream for Tape {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.recording.first_byte();
        if let Some(chunk) = self.chunks.pop_front() {
            return Poll::Ready(Some(Ok(chunk)));
        }
        match self.cut {
            None => Poll::Ready(None),
            Some(true) => Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into()))),
            Some(false) => {
                // A pending body makes the server flush what it has before the connection breaks.
                self.cut = Some(true);
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
