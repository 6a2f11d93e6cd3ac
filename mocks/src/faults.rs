//! Faults as they strike: what a fault makes of an answer, what it is called, and what its name stands for.

use std::collections::VecDeque;
use std::time::Duration;

use axum::response::Response;
use bytes::Bytes;
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimePrinter;

use crate::body::{Answer, Chunk, End, Recording};
use crate::script::{Fault, Millis, RetryAfterForm, Trickle};

/// Faults that `x-mock-scenario` can always name, besides any status.
const NAMED: [(&str, u16); 6] = [
    ("rate_limit", 429),
    ("api_error", 500),
    ("unavailable", 503),
    ("timeout", 504),
    ("overloaded", 529),
    ("conflict", 409),
];
const BROKEN: [&str; 4] = ["cut", "reset", "stall", "malformed"];

/// `NAME` or `NAME*TIMES`: the fault that it stands for, and how many attempts it strikes.
pub(crate) fn named(
    text: &str,
    known: impl Fn(&str) -> Option<Fault>,
) -> Result<(Fault, u32), String> {
    let (name, times) = match text.split_once('*') {
        Some((name, times)) => (name.trim(), times.trim().parse().ok()),
        None => (text.trim(), None),
    };
    let wrong = || {
        let names: Vec<&str> = NAMED.iter().map(|(name, _)| *name).chain(BROKEN).collect();
        format!(
            "x-mock-scenario: `{text}` is no fault: use a status from 400 to 599, {}, or the name of a fault of the script, and `*N` after it for the first N attempts",
            names.join(", ")
        )
    };
    if text.contains('*') && times.is_none() {
        return Err(wrong());
    }
    if let Some(fault) = known(name) {
        let times = times.or(fault.times).unwrap_or(1);
        return Ok((fault, times));
    }
    let status = name
        .parse()
        .ok()
        .filter(|status| (400..600).contains(status));
    let status = status.or_else(|| {
        NAMED
            .iter()
            .find(|(known, _)| *known == name)
            .map(|(_, status)| *status)
    });
    let fault = match (status, name) {
        (Some(status), _) => Fault {
            status: Some(status),
            // A rate limit always says when it ends.
            retry_after: (status == 429).then_some(Millis(Duration::from_secs(1))),
            ..Fault::default()
        },
        (None, "cut") => Fault {
            cut_after_bytes: Some(20),
            ..Fault::default()
        },
        (None, "reset") => Fault {
            reset: true,
            ..Fault::default()
        },
        (None, "stall") => Fault {
            half_open: true,
            ..Fault::default()
        },
        (None, "malformed") => Fault {
            malformed_event: Some(1),
            ..Fault::default()
        },
        _ => return Err(wrong()),
    };
    Ok((fault, times.unwrap_or(1)))
}

impl Fault {
    /// Whether the connection is broken off before there is an answer.
    fn resets_at_once(&self) -> bool {
        self.reset && self.cut_after_bytes.is_none() && self.cut_after_events.is_none()
    }

    /// Whether there is no answer but the failure itself.
    pub(crate) fn refuses(&self) -> bool {
        let status = self.status.is_some() && self.error_after_events.is_none();
        status || self.resets_at_once() || self.half_open
    }

    /// The failure; `error` is the answer of its status.
    pub(crate) async fn fail(
        &self,
        mut recording: Recording,
        error: impl FnOnce(u16) -> Answer,
    ) -> Option<Response> {
        recording.entry.fault = Some(self.describe());
        if self.half_open {
            std::future::pending::<()>().await;
        }
        let Some(status) = self.status else {
            return Answer::reset(&recording);
        };
        let mut answer = self.advise(error(status));
        self.strike(&mut answer, |_| Bytes::new());
        Some(answer.into_response(recording))
    }

    /// What goes with a status: when to come again, and whether.
    fn advise(&self, mut answer: Answer) -> Answer {
        if let Some(Millis(after)) = self.retry_after {
            let (name, value) = match self.retry_after_form {
                None | Some(RetryAfterForm::Seconds) => (
                    "retry-after",
                    after.as_nanos().div_ceil(1_000_000_000).to_string(),
                ),
                Some(RetryAfterForm::Milliseconds) => {
                    ("retry-after-ms", (after.as_secs_f64() * 1e3).to_string())
                }
                Some(RetryAfterForm::Date) => ("retry-after", date(Timestamp::now(), after)),
            };
            answer = answer.header(name, &value);
        }
        if let Some(should) = self.should_retry {
            answer = answer.header("x-should-retry", &should.to_string());
        }
        answer
    }

    /// What it makes of an answer; `error` is the event of an error in mid-stream.
    pub(crate) fn strike(&self, answer: &mut Answer, error: impl FnOnce(u16) -> Bytes) {
        let last = answer
            .chunks
            .back()
            .map_or(Duration::ZERO, |chunk| chunk.at);
        let is_stream = !answer.sized;
        if is_stream {
            self.strike_events(&mut answer.chunks);
            if let Some(events) = self.error_after_events {
                answer.chunks.truncate(events);
                let at = answer.chunks.back().map_or(last, |chunk| chunk.at);
                let bytes = error(self.status.unwrap_or(529));
                answer.chunks.push_back(Chunk { at, bytes });
            }
        } else if self.malformed_event.is_some() {
            answer.chunks.iter_mut().for_each(break_json);
        }
        if let Some(content_type) = &self.content_type
            && let Ok(value) = content_type.parse()
        {
            answer
                .headers
                .insert(axum::http::header::CONTENT_TYPE, value);
        }
        if let Some(trickle) = self.trickle {
            answer.chunks = trickled(&answer.chunks, trickle);
        }
        answer.slow_headers = self.slow_headers.map(|between| between.0);
        let length = answer.length();
        let bytes = self.cut_after_bytes.or(self.stall_after_bytes);
        let events = self.cut_after_events.or(self.stall_after_events);
        if let Some(bytes) = bytes {
            shorten(&mut answer.chunks, bytes.min(length.saturating_sub(1)));
        } else if let Some(events) = events.filter(|_| is_stream) {
            answer.chunks.truncate(events);
        } else {
            return;
        }
        let stalls = self.stall_after_bytes.is_some() || self.stall_after_events.is_some();
        answer.end = match (stalls, self.reset) {
            (true, _) => End::Stall,
            (false, true) => End::Reset,
            (false, false) => End::Cut,
        };
        if answer.sized {
            // What was promised is more than what comes.
            answer
                .headers
                .insert(axum::http::header::CONTENT_LENGTH, length.into());
        }
    }

    fn strike_events(&self, chunks: &mut VecDeque<Chunk>) {
        let place = |number: Option<usize>| number.and_then(|number| number.checked_sub(1));
        if let Some(chunk) = place(self.malformed_event).and_then(|index| chunks.get_mut(index)) {
            break_json(chunk);
        }
        if let Some(index) = place(self.duplicate_event)
            && let Some(chunk) = chunks.get(index).cloned()
        {
            chunks.insert(index, chunk);
        }
        if let Some(index) = place(self.missing_event) {
            chunks.remove(index);
        }
    }

    /// As the journal names it.
    pub(crate) fn describe(&self) -> String {
        let mut words = Vec::new();
        let mut word = |value: Option<String>| words.extend(value);
        word(self.status.map(|status| status.to_string()));
        word(self.retry_after.map(|after| format!("retry-after {after}")));
        word(
            self.should_retry
                .map(|should| format!("should-retry {should}")),
        );
        word(self.slow.map(|slow| format!("slow {slow}")));
        word(
            self.slow_headers
                .map(|slow| format!("slow headers, {slow} a byte")),
        );
        word(
            self.trickle
                .map(|it| format!("{} bytes every {}", it.bytes, it.every)),
        );
        word(self.content_type.clone());
        word(self.cut_after_bytes.map(|n| format!("cut after {n} bytes")));
        word(
            self.cut_after_events
                .map(|n| format!("cut after {n} events")),
        );
        word(
            self.stall_after_bytes
                .map(|n| format!("stall after {n} bytes")),
        );
        word(
            self.stall_after_events
                .map(|n| format!("stall after {n} events")),
        );
        word(
            self.error_after_events
                .map(|n| format!("error after {n} events")),
        );
        word(self.malformed_event.map(|n| format!("event {n} malformed")));
        word(self.duplicate_event.map(|n| format!("event {n} twice")));
        word(self.missing_event.map(|n| format!("event {n} missing")));
        word(self.reset.then(|| "reset".to_owned()));
        word(self.half_open.then(|| "half open".to_owned()));
        words.join(", ")
    }
}

fn date(now: Timestamp, after: Duration) -> String {
    let then = now
        .saturating_add(jiff::SignedDuration::try_from(after).unwrap_or_default())
        .unwrap_or(now);
    // Whole seconds only, so never earlier than asked for.
    let then = jiff::Timestamp::from_second(then.as_second() + 1).unwrap_or(then);
    DateTimePrinter::new()
        .timestamp_to_rfc9110_string(&then)
        .unwrap_or_default()
}

/// Cuts the last closing brace away, so that what is left is no JSON.
fn break_json(chunk: &mut Chunk) {
    let mut bytes = chunk.bytes.to_vec();
    if let Some(brace) = bytes.iter().rposition(|byte| *byte == b'}') {
        bytes.remove(brace);
    }
    chunk.bytes = bytes.into();
}

fn trickled(chunks: &VecDeque<Chunk>, trickle: Trickle) -> VecDeque<Chunk> {
    let mut pieces = VecDeque::new();
    let mut earliest = Duration::ZERO;
    for chunk in chunks {
        for bytes in chunk.bytes.chunks(trickle.bytes.max(1)) {
            let at = chunk.at.max(earliest);
            earliest = at + trickle.every.0;
            let bytes = chunk.bytes.slice_ref(bytes);
            pieces.push_back(Chunk { at, bytes });
        }
    }
    pieces
}

fn shorten(chunks: &mut VecDeque<Chunk>, mut left: usize) {
    for chunk in chunks.iter_mut() {
        chunk.bytes.truncate(left);
        left -= chunk.bytes.len();
    }
    chunks.retain(|chunk| !chunk.bytes.is_empty());
}
