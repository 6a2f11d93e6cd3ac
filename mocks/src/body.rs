//! Answers that come at their times and keep the books: first byte and end go to the journal when they happen.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, StatusCode, Version, header};
use axum::response::Response;
use bytes::Bytes;
use futures_util::Stream;

use crate::journal::{self, Entry, InFlight};
use crate::server::{Orders, Paced};
use crate::stage::{Stage, UnderWay};
use crate::timer::Until;

/// An entry under way; it is recorded when this is dropped, which is when the answer has ended.
#[derive(Debug)]
pub(crate) struct Recording {
    stage: Arc<Stage>,
    pub(crate) entry: Entry,
    pub(crate) under_way: Option<UnderWay>,
    orders: Option<Arc<Orders>>,
    /// The answer's body comes in chunks unless it says otherwise.
    chunked: bool,
    /// Actual less scheduled times of events, in nanoseconds.
    lags: Vec<u64>,
    /// Events that the connection writes by itself.
    paced: Option<Paced>,
    // Dropped after `drop` has recorded: the journal never seems idle in between.
    _in_flight: InFlight,
}

impl Recording {
    pub(crate) fn start(stage: &Arc<Stage>, parts: &Parts) -> Self {
        let in_flight = stage.journal.enter();
        let arrived_ns = stage.journal.clock().now_ns();
        let path = parts.uri.path_and_query();
        let path = path.map_or_else(|| parts.uri.path(), |path| path.as_str());
        let what = format!("{} {path}", parts.method);
        let mut entry = Entry::new(stage.upstream, what, arrived_ns);
        entry.status = 499;
        entry.headers = lines(&parts.headers);
        Self {
            stage: Arc::clone(stage),
            entry,
            under_way: None,
            orders: parts.extensions.get().cloned(),
            chunked: parts.version == Version::HTTP_11 && parts.method != Method::HEAD,
            lags: Vec::new(),
            paced: None,
            _in_flight: in_flight,
        }
    }

    /// The request's body, as it came.
    pub(crate) fn body(&mut self, bytes: &[u8]) {
        self.entry.request = (!bytes.is_empty()).then(|| journal::Body::copied(bytes));
    }

    fn first_byte(&mut self) {
        if self.entry.first_byte_ns == 0 {
            self.entry.first_byte_ns = self.stage.journal.clock().now_ns();
        }
    }

    /// Takes the chunks that come after the first byte, if the connection can write them by itself.
    fn pace(&mut self, answer: &mut Answer) {
        let framed = [header::CONTENT_LENGTH, header::TRANSFER_ENCODING];
        let chunked = self.chunked
            && self.orders.is_some()
            && !matches!(answer.status, ..200 | 204 | 304)
            && framed
                .iter()
                .all(|header| !answer.headers.contains_key(header));
        let later = |chunk: &Chunk| !chunk.at.is_zero();
        let from = answer.chunks.iter().skip(1).position(later);
        if let Some(from) = from.filter(|_| chunked) {
            let pieces = answer.chunks.split_off(from + 1);
            let pieces = pieces.into_iter().map(|chunk| {
                let due = self.stage.instant(self.entry.arrived_ns, chunk.at);
                (due, chunk.bytes)
            });
            self.paced = Some(Paced::new(self.stage.timer(), pieces));
        }
    }

    /// Ready when the connection has written what it writes by itself.
    fn poll_paced(&mut self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let (Some(paced), Some(orders)) = (&mut self.paced, &self.orders) else {
            return Poll::Ready(Ok(()));
        };
        if let Some(prepared) = paced.prepared() {
            orders.hand_over(prepared);
        }
        paced.poll(context)
    }

    fn reset(&self) {
        if let Some(orders) = &self.orders {
            orders.reset();
        }
    }
}

fn lines(headers: &HeaderMap) -> String {
    let length = headers
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 3)
        .sum();
    let mut lines = String::with_capacity(length);
    for (name, value) in headers {
        lines.push_str(name.as_str());
        lines.push_str(": ");
        lines.push_str(&String::from_utf8_lossy(value.as_bytes()));
        lines.push('\n');
    }
    lines
}

impl Drop for Recording {
    fn drop(&mut self) {
        let entry = &mut self.entry;
        let now = self.stage.journal.clock().now_ns();
        entry.ended_ns = now;
        let answered = entry.first_byte_ns != 0;
        if !answered {
            entry.first_byte_ns = now;
        }
        let taken = entry.first_byte_ns.saturating_sub(entry.arrived_ns);
        let lag =
            (answered && entry.scheduled_ns > 0).then(|| taken.saturating_sub(entry.scheduled_ns));
        let mut lags = self.paced.take().map(|paced| paced.lags());
        let lags = lags.get_or_insert_default();
        lags.append(&mut self.lags);
        self.stage.timing.add(lag, lags);
        let empty = Entry::new(entry.upstream, String::new(), 0);
        self.stage.journal.record(std::mem::replace(entry, empty));
    }
}

/// A piece of a body.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    /// When it comes, counted from the request; at once when that is past.
    pub(crate) at: Duration,
    pub(crate) bytes: Bytes,
}

/// How an answer ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum End {
    #[default]
    Complete,
    /// The connection is closed.
    Cut,
    /// The connection is reset.
    Reset,
    /// Nothing more comes.
    Stall,
}

/// What is sent.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) chunks: VecDeque<Chunk>,
    /// Sent with a `content-length`, otherwise chunked.
    pub(crate) sized: bool,
    pub(crate) end: End,
    /// The time between two bytes of the head.
    pub(crate) slow_headers: Option<Duration>,
}

impl Answer {
    pub(crate) fn new(status: u16, content_type: &'static str, body: impl Into<Bytes>) -> Self {
        let headers = [(header::CONTENT_TYPE, HeaderValue::from_static(content_type))];
        Self {
            status,
            headers: HeaderMap::from_iter(headers),
            chunks: VecDeque::from([Chunk {
                at: Duration::ZERO,
                bytes: body.into(),
            }]),
            sized: true,
            end: End::Complete,
            slow_headers: None,
        }
    }

    pub(crate) fn json(status: u16, body: &serde_json::Value) -> Self {
        Self::new(status, "application/json", body.to_string())
    }

    /// A stream of events.
    pub(crate) fn events(chunks: VecDeque<Chunk>) -> Self {
        Self {
            chunks,
            sized: false,
            ..Self::new(200, "text/event-stream; charset=utf-8", Bytes::new())
        }
    }

    /// Sets a header; one whose name or value no header can have is left out.
    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        let name = HeaderName::from_bytes(name.as_bytes());
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.as_bytes())) {
            self.headers.insert(name, value);
        }
        self
    }

    pub(crate) fn length(&self) -> usize {
        self.chunks.iter().map(|chunk| chunk.bytes.len()).sum()
    }

    /// The response that journals itself.
    pub(crate) fn into_response(mut self, mut recording: Recording) -> Response {
        if let Some(mutant) = recording.stage.mutant {
            mutant.spoil(&mut self, &recording.entry);
        }
        recording.entry.status = self.status;
        if self.sized && self.end == End::Complete {
            self.headers
                .insert(header::CONTENT_LENGTH, HeaderValue::from(self.length()));
        }
        if let (Some(between), Some(orders)) = (self.slow_headers, &recording.orders) {
            orders.slow_head(between);
        }
        // What is due with the first byte comes with it, and is not timed again.
        let first = Duration::from_nanos(recording.entry.scheduled_ns);
        for chunk in self.chunks.iter_mut().take_while(|it| it.at <= first) {
            chunk.at = Duration::ZERO;
        }
        recording.pace(&mut self);
        let mut response = Response::new(Body::from_stream(Tape {
            chunks: self.chunks,
            waiting: None,
            end: self.end,
            flushed: false,
            recording,
        }));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }

    /// The response, of which nobody keeps books.
    pub(crate) fn unrecorded(self) -> Response {
        let bytes: Vec<u8> = self
            .chunks
            .iter()
            .flat_map(|it| it.bytes.to_vec())
            .collect();
        let mut response = Response::new(Body::from(bytes));
        *response.status_mut() =
            StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        *response.headers_mut() = self.headers;
        response
    }

    /// A connection that is broken off instead of an answer.
    pub(crate) fn reset(recording: &Recording) -> Option<Response> {
        recording.reset();
        None
    }
}

/// The body's chunks at their times, then its end.
struct Tape {
    chunks: VecDeque<Chunk>,
    waiting: Option<(Instant, Until)>,
    end: End,
    /// What came before the end has been flushed.
    flushed: bool,
    recording: Recording,
}

impl Stream for Tape {
    type Item = Result<Bytes, io::Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        if this.waiting.is_none()
            && let Some(next) = this.chunks.front()
            && !next.at.is_zero()
        {
            let stage = &this.recording.stage;
            let due = stage.instant(this.recording.entry.arrived_ns, next.at);
            this.waiting = Some((due, stage.until(due)));
        }
        if let Some((due, until)) = &mut this.waiting {
            if Pin::new(until).poll(context).is_pending() {
                return Poll::Pending;
            }
            // What is due with the first byte is not timed again.
            if this.recording.entry.first_byte_ns != 0 {
                let lag = Instant::now().saturating_duration_since(*due);
                let lag = u64::try_from(lag.as_nanos()).unwrap_or(u64::MAX);
                this.recording.lags.push(lag);
            }
            this.waiting = None;
        }
        if let Some(chunk) = this.chunks.pop_front() {
            this.recording.first_byte();
            return Poll::Ready(Some(Ok(chunk.bytes)));
        }
        if let Err(error) = ready!(this.recording.poll_paced(context)) {
            return Poll::Ready(Some(Err(error)));
        }
        match this.end {
            End::Complete => {
                this.recording.first_byte();
                Poll::Ready(None)
            }
            End::Stall => {
                this.recording.first_byte();
                Poll::Pending
            }
            End::Cut | End::Reset if this.flushed => {
                if this.end == End::Reset {
                    this.recording.reset();
                }
                Poll::Ready(Some(Err(io::ErrorKind::ConnectionAborted.into())))
            }
            End::Cut | End::Reset => {
                // A pending body makes the server flush what it has before the connection breaks.
                this.flushed = true;
                context.waker().wake_by_ref();
                Poll::Pending
            }
        }
    }
}
