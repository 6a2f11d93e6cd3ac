//! Rate limits: buckets of requests and tokens for each key and model, and the headers that tell of them.

use std::collections::HashMap;
use std::sync::Mutex;

use axum::http::header::RETRY_AFTER;
use axum::http::{HeaderName, HeaderValue};
use jiff::Timestamp;

use super::problem::Problem;
use crate::journal::Usage;
use crate::script::RateLimits;
use crate::stage::lock;

const NS_PER_MINUTE: f64 = 60e9;

/// The buckets of one mock.
#[derive(Debug)]
pub(crate) struct Limits {
    limits: RateLimits,
    buckets: Mutex<HashMap<(String, &'static str), [Bucket; 3]>>,
}

/// Refills evenly, to its limit within a minute.
#[derive(Clone, Copy, Debug)]
struct Bucket {
    limit: f64,
    level: f64,
    at_ns: u64,
}

/// Headers, by name.
pub(crate) type Headers = Vec<(HeaderName, HeaderValue)>;

/// A request that is over a limit.
pub(crate) struct Exceeded {
    pub(crate) problem: Problem,
    pub(crate) headers: Headers,
}

#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "limits and levels are far below 2^53 and never negative"
)]
impl Bucket {
    fn full(limit: u64, now_ns: u64) -> Self {
        Self {
            limit: limit as f64,
            level: limit as f64,
            at_ns: now_ns,
        }
    }

    fn refill(&mut self, now_ns: u64) {
        let passed = now_ns.saturating_sub(self.at_ns) as f64;
        self.level = (self.level + passed * self.limit / NS_PER_MINUTE).min(self.limit);
        self.at_ns = self.at_ns.max(now_ns);
    }

    /// Seconds until there is so much in it.
    fn wait(&self, wanted: f64) -> f64 {
        (wanted.min(self.limit) - self.level).max(0.0) / self.limit * 60.0
    }

    fn limit(&self) -> u64 {
        self.limit as u64
    }

    fn left(&self) -> u64 {
        self.level.max(0.0) as u64
    }

    /// When it is full again, in whole seconds.
    fn full_at(&self, now: Timestamp) -> i64 {
        now.as_second() + self.wait(self.limit).ceil() as i64
    }
}

impl Limits {
    pub(crate) fn new(limits: RateLimits) -> Self {
        Self {
            limits,
            buckets: Mutex::default(),
        }
    }

    pub(crate) fn clear(&self) {
        lock(&self.buckets).clear();
    }

    /// Takes a request out of its buckets; the headers say what is left.
    #[expect(
        clippy::cast_precision_loss,
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "tokens of one request; seconds of at most a minute"
    )]
    pub(crate) fn take(
        &self,
        key: &str,
        model: &'static str,
        usage: &Usage,
        now_ns: u64,
    ) -> Result<Headers, Exceeded> {
        let mut buckets = lock(&self.buckets);
        let buckets = buckets.entry((key.to_owned(), model)).or_insert_with(|| {
            let limits = &self.limits;
            [
                limits.requests_per_minute,
                limits.input_tokens_per_minute,
                limits.output_tokens_per_minute,
            ]
            .map(|limit| Bucket::full(limit, now_ns))
        });
        for bucket in buckets.iter_mut() {
            bucket.refill(now_ns);
        }
        // What is read from the prompt cache does not count.
        let input = usage.input_tokens + usage.cache_creation_input_tokens;
        let wanted = [1.0, input as f64, usage.output_tokens as f64];
        let wait = buckets
            .iter()
            .zip(wanted)
            .map(|(bucket, wanted)| bucket.wait(wanted))
            .fold(0.0, f64::max);
        if wait > 0.0 {
            let over = buckets
                .iter()
                .zip(wanted)
                .position(|(bucket, wanted)| bucket.wait(wanted) > 0.0);
            let of = ["requests", "input tokens", "output tokens"][over.unwrap_or_default()];
            let limit = buckets[over.unwrap_or_default()].limit();
            let mut headers = headers(buckets);
            headers.push((RETRY_AFTER, HeaderValue::from((wait.ceil() as u64).max(1))));
            return Err(Exceeded {
                problem: Problem::of_status(
                    429,
                    format!(
                        "This request would exceed your organization's rate limit of {limit} {of} per minute (model: {model})."
                    ),
                ),
                headers,
            });
        }
        for (bucket, wanted) in buckets.iter_mut().zip(wanted) {
            bucket.level -= wanted;
        }
        Ok(headers(buckets))
    }
}

fn headers(buckets: &[Bucket; 3]) -> Headers {
    let now = Timestamp::now();
    let mut known: Option<(i64, HeaderValue)> = None;
    let mut reset = |second: i64| match &known {
        Some((same, value)) if *same == second => value.clone(),
        _ => {
            let text = Timestamp::from_second(second).unwrap_or(now).to_string();
            let value = HeaderValue::try_from(text).unwrap_or_else(|_| HeaderValue::from(second));
            known = Some((second, value.clone()));
            value
        }
    };
    let [requests, input, output] = buckets;
    let thousands = |tokens: u64| HeaderValue::from(tokens.saturating_add(500) / 1000 * 1000);
    let values = [
        requests.limit().into(),
        requests.left().into(),
        reset(requests.full_at(now)),
        input.limit().into(),
        thousands(input.left()),
        reset(input.full_at(now)),
        output.limit().into(),
        thousands(output.left()),
        reset(output.full_at(now)),
        (input.limit() + output.limit()).into(),
        thousands(input.left() + output.left()),
        reset(input.full_at(now).max(output.full_at(now))),
    ];
    NAMES.into_iter().zip(values).collect()
}

const NAMES: [HeaderName; 12] = [
    HeaderName::from_static("anthropic-ratelimit-requests-limit"),
    HeaderName::from_static("anthropic-ratelimit-requests-remaining"),
    HeaderName::from_static("anthropic-ratelimit-requests-reset"),
    HeaderName::from_static("anthropic-ratelimit-input-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-input-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-input-tokens-reset"),
    HeaderName::from_static("anthropic-ratelimit-output-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-output-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-output-tokens-reset"),
    HeaderName::from_static("anthropic-ratelimit-tokens-limit"),
    HeaderName::from_static("anthropic-ratelimit-tokens-remaining"),
    HeaderName::from_static("anthropic-ratelimit-tokens-reset"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_empties_refuses_and_refills() {
        let limits = Limits::new(RateLimits {
            requests_per_minute: 2,
            input_tokens_per_minute: 6_000,
            output_tokens_per_minute: 1_000,
        });
        let usage = Usage {
            input_tokens: 1_000,
            cache_read_input_tokens: 50_000,
            ..Usage::default()
        };
        let second = 1_000_000_000;
        let take = |now_ns| limits.take("key", "model", &usage, now_ns);
        let left = |headers: &Headers, name: &str| -> Option<String> {
            let found = headers.iter().find(|(known, _)| known == name);
            found.and_then(|(_, value)| value.to_str().ok().map(str::to_owned))
        };
        let first = take(0).ok().unwrap();
        let remaining = "anthropic-ratelimit-input-tokens-remaining";
        assert_eq!(left(&first, remaining).as_deref(), Some("5000"));
        assert!(take(0).is_ok());
        let exceeded = take(0).err().unwrap();
        assert_eq!(exceeded.problem.status, 429);
        assert_eq!(
            left(&exceeded.headers, "retry-after").as_deref(),
            Some("30")
        );
        assert!(limits.take("other", "model", &usage, 0).is_ok());
        assert!(take(29 * second).is_err());
        assert!(take(30 * second).is_ok());
    }
}
