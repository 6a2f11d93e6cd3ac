//! How often somebody may come: a bucket that is filled evenly, for each.

use std::collections::HashMap;
use std::hash::Hash;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// What is left to somebody after a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Allowance {
    /// Requests a minute.
    pub limit: u32,
    /// Requests that may follow at once.
    pub remaining: u32,
    /// Until all of them may follow at once.
    pub full_after: Duration,
    /// Where it was one too many: when the next may come.
    pub denied_for: Option<Duration>,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    tokens: f64,
    filled: Instant,
}

/// Buckets by whoever comes.
#[derive(Debug)]
pub struct Limits<K>(Mutex<HashMap<K, Bucket>>);

impl<K> Default for Limits<K> {
    fn default() -> Self {
        Self(Mutex::default())
    }
}

/// Full buckets are forgotten when there are so many.
const MOST_BUCKETS: usize = 10_000;

impl<K: Eq + Hash> Limits<K> {
    /// Takes one of `per_minute`.
    pub fn take(&self, who: K, per_minute: u32, now: Instant) -> Allowance {
        self.change(who, per_minute, now, 1.0)
    }

    /// Looks what is left, and takes nothing.
    pub fn look(&self, who: K, per_minute: u32, now: Instant) -> Allowance {
        self.change(who, per_minute, now, 0.0)
    }

    /// Somebody may start afresh.
    pub fn forget(&self, who: &K) {
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        buckets.remove(who);
    }

    fn change(&self, who: K, per_minute: u32, now: Instant, taken: f64) -> Allowance {
        let most = f64::from(per_minute.max(1));
        let per_second = most / 60.0;
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let filled = |bucket: &Bucket| {
            let waited = now.saturating_duration_since(bucket.filled).as_secs_f64();
            (bucket.tokens + waited * per_second).min(most)
        };
        if buckets.len() >= MOST_BUCKETS {
            buckets.retain(|_, bucket| filled(bucket) < most);
        }
        let bucket = buckets.entry(who).or_insert(Bucket {
            tokens: most,
            filled: now,
        });
        bucket.tokens = filled(bucket);
        bucket.filled = now;
        // Without a whole one there is nothing to take, and to look is to ask whether there is one.
        let denied = bucket.tokens < 1.0;
        if !denied {
            bucket.tokens -= taken;
        }
        let seconds = |tokens: f64| Duration::from_secs_f64((tokens / per_second).max(0.0));
        Allowance {
            limit: per_minute,
            remaining: whole(bucket.tokens),
            full_after: seconds(most - bucket.tokens),
            denied_for: denied.then(|| seconds(1.0 - bucket.tokens)),
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "never negative, and at most what fits"
)]
fn whole(tokens: f64) -> u32 {
    tokens as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn whoever_comes_too_often_is_told_when_to_come_again_and_then_may() {
        let limits = Limits::default();
        let start = Instant::now();
        for left in (0..5).rev() {
            let allowance = limits.take("alice", 5, start);
            assert_eq!((allowance.remaining, allowance.denied_for), (left, None));
        }
        let denied = limits.take("alice", 5, start);
        let wait = denied.denied_for.unwrap();
        assert_eq!(wait, Duration::from_secs(12));
        assert_eq!(denied.full_after, Duration::from_mins(1));
        assert_eq!(limits.take("bob", 5, start).denied_for, None);
        assert_eq!(limits.take("alice", 5, start + wait).denied_for, None);
    }

    proptest! {
        #[test]
        fn nobody_comes_more_often_than_the_limit_in_any_minute(waits in prop::collection::vec(0_u64..5_000, 1..300), limit in 1_u32..40) {
            let limits = Limits::default();
            let mut now = Instant::now();
            let mut passed: Vec<Instant> = Vec::new();
            for wait in waits {
                now += Duration::from_millis(wait);
                if limits.take((), limit, now).denied_for.is_none() {
                    passed.push(now);
                }
            }
            for (index, from) in passed.iter().enumerate() {
                let within = passed[index..].iter().filter(|at| at.duration_since(*from) < Duration::from_mins(1)).count();
                // A full bucket, and what flows in meanwhile.
                prop_assert!(within <= usize::try_from(limit).unwrap() * 2);
            }
        }
    }
}
