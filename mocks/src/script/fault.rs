//! What goes wrong, for which calls, and when nobody answers at all.

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Millis;

/// Something that goes wrong with a call. Which calls it strikes depends on the seed and on what is asked, never on the
/// order of arrival; what is left out strikes any.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fault {
    /// Its name for the header `x-mock-scenario`; a named fault strikes only who asks for it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// From which call of the same question on (from 1).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub on_call: Option<u32>,
    /// For how many calls of each question; without it, for ever.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub times: Option<u32>,
    /// Only questions of this pattern; for Arcade, tools.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub question: Option<String>,
    /// Only clients whose key has this pattern.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
    /// Only this share of the calls, 0 to 1, drawn by seed, question and call.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub share: Option<f64>,
    /// Only calls that arrive within this window.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Window>,
    /// Answers with this status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<u16>,
    /// Sent with the status.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after: Option<Millis>,
    /// How `retry_after` is written; whole seconds without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub retry_after_form: Option<RetryAfterForm>,
    /// Sent as `x-should-retry`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub should_retry: Option<bool>,
    /// Added delay.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow: Option<Millis>,
    /// The time between two bytes of the answer's head.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub slow_headers: Option<Millis>,
    /// The body comes in small pieces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub trickle: Option<Trickle>,
    /// Another `content-type`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub content_type: Option<String>,
    /// After so many bytes of the body the connection is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_bytes: Option<usize>,
    /// After so many events of a stream the connection is dropped.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cut_after_events: Option<usize>,
    /// After so many bytes of the body nothing more comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_after_bytes: Option<usize>,
    /// After so many events of a stream nothing more comes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stall_after_events: Option<usize>,
    /// After so many events of a stream comes an `error` event, of `status` or else 529, and the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error_after_events: Option<usize>,
    /// This event of a stream, from 1, is no JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub malformed_event: Option<usize>,
    /// This event of a stream, from 1, comes twice.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub duplicate_event: Option<usize>,
    /// This event of a stream, from 1, does not come.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub missing_event: Option<usize>,
    /// The connection is reset: at once, or where it would be cut.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub reset: bool,
    /// The request is taken and never answered.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub half_open: bool,
}

/// How `retry-after` is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RetryAfterForm {
    /// `retry-after: 2`, rounded up.
    Seconds,
    /// `retry-after-ms: 1500`.
    Milliseconds,
    /// `retry-after: Mon, 23 Nov 2026 12:00:00 GMT`.
    Date,
}

/// A body in small pieces.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Trickle {
    /// How many bytes at a time.
    pub bytes: usize,
    /// The time between two pieces.
    pub every: Millis,
}

/// A stretch of time since the mock started, or since its faults were set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// When it begins.
    pub from: Millis,
    /// How long it is.
    #[serde(rename = "for")]
    pub length: Millis,
    /// It comes again after so much time, counted from its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub every: Option<Millis>,
}

impl Window {
    /// Whether it is open so many nanoseconds after the start.
    pub fn is_open(&self, ns: u64) -> bool {
        let Some(since) = u128::from(ns).checked_sub(self.from.0.as_nanos()) else {
            return false;
        };
        let period = self.every.map_or(0, |every| every.0.as_nanos());
        let since = if period == 0 { since } else { since % period };
        since < self.length.0.as_nanos()
    }

    /// How long until it opens or closes next, or until it is worth asking again.
    pub(crate) fn next_change(&self, ns: u64) -> Option<Duration> {
        let (now, from) = (Duration::from_nanos(ns), self.from.0);
        let period = self
            .every
            .map(|every| every.0)
            .filter(|every| !every.is_zero());
        let mut begins = from;
        if let (Some(period), Some(since)) = (period, now.checked_sub(from)) {
            let past = since.as_nanos() / period.as_nanos();
            begins += period.saturating_mul(u32::try_from(past).unwrap_or(u32::MAX));
        }
        let changes = [
            Some(begins),
            Some(begins + self.length.0),
            period.map(|period| begins + period),
        ];
        let later = changes.into_iter().flatten().filter(|change| *change > now);
        later.min().map(|change| change.saturating_sub(now))
    }
}

/// A window in which nobody answers; with `every` it flaps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Outage {
    /// What becomes of connections.
    pub kind: OutageKind,
    /// When.
    pub window: Window,
}

/// What becomes of connections during an outage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OutageKind {
    /// Nobody listens; open connections are reset.
    Refuse,
    /// They are reset when a request comes.
    Reset,
    /// Requests are taken and never answered.
    HalfOpen,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_window_opens_closes_and_comes_again() {
        let window = |text: &str| -> Window { serde_json::from_str(text).unwrap() };
        let once = window(r#"{"from": "2s", "for": "1s"}"#);
        let flapping = window(r#"{"from": "2s", "for": "1s", "every": "3s"}"#);
        let open = |window: &Window| -> Vec<bool> {
            [0, 1_999, 2_000, 2_999, 3_000, 5_000, 6_000]
                .map(|ms: u64| window.is_open(ms * 1_000_000))
                .to_vec()
        };
        assert_eq!(open(&once), [false, false, true, true, false, false, false]);
        assert_eq!(
            open(&flapping),
            [false, false, true, true, false, true, false]
        );
    }
}
