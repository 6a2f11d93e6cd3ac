//! How many calls of one tool may be made a minute and at once, so that a slow or beloved one does not starve the others.

use super::outcome::ToolError;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

const MINUTE: Duration = Duration::from_mins(1);
/// When somebody who found no room may come again.
const SOON: Duration = Duration::from_secs(1);

/// The gate of one tool.
#[derive(Debug)]
pub(super) struct Gate {
    room: Arc<Semaphore>,
    rate: Option<Rate>,
}

/// A bucket that holds a minute's calls and fills evenly.
#[derive(Debug)]
struct Rate {
    per_minute: u32,
    bucket: Mutex<Bucket>,
}

#[derive(Debug)]
struct Bucket {
    calls: f64,
    filled: Instant,
}

impl Gate {
    pub(super) fn new(per_minute: Option<u32>, at_once: u32, now: Instant) -> Self {
        let rate = |per_minute| Rate {
            per_minute,
            bucket: Mutex::new(Bucket {
                calls: f64::from(per_minute),
                filled: now,
            }),
        };
        Self {
            room: Arc::new(Semaphore::new(at_once as usize)),
            rate: per_minute.map(rate),
        }
    }

    /// Room for a call as long as what is returned is kept.
    pub(super) fn enter(&self, now: Instant) -> Result<OwnedSemaphorePermit, ToolError> {
        let room = self.room.clone().try_acquire_owned();
        let room = room.map_err(|_| ToolError::Busy {
            rule: "tool.concurrency",
            retry_after: SOON,
        })?;
        if let Some(rate) = &self.rate {
            rate.take(now).map_err(|retry_after| ToolError::Busy {
                rule: "tool.rate",
                retry_after,
            })?;
        }
        Ok(room)
    }
}

impl Rate {
    fn take(&self, now: Instant) -> Result<(), Duration> {
        let mut bucket = self.bucket.lock().unwrap_or_else(PoisonError::into_inner);
        let most = f64::from(self.per_minute);
        let since = now.saturating_duration_since(bucket.filled);
        let grown = since.as_secs_f64() / MINUTE.as_secs_f64() * most;
        bucket.calls = (bucket.calls + grown).min(most);
        bucket.filled = now;
        if bucket.calls < 1.0 {
            return Err(MINUTE.mul_f64((1.0 - bucket.calls) / most));
        }
        bucket.calls -= 1.0;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_calls_at_once_than_there_is_room_for() {
        let now = Instant::now();
        let gate = Gate::new(None, 2, now);
        let first = gate.enter(now).unwrap();
        let _second = gate.enter(now).unwrap();
        let rule = "tool.concurrency";
        assert!(matches!(gate.enter(now), Err(ToolError::Busy { rule: r, .. }) if r == rule));
        drop(first);
        assert!(gate.enter(now).is_ok());
    }

    #[test]
    fn a_minutes_calls_at_once_and_then_evenly() {
        let now = Instant::now();
        let gate = Gate::new(Some(2), 9, now);
        let after = |seconds| gate.enter(now + Duration::from_secs(seconds)).map(drop);
        assert!(after(0).is_ok() && after(0).is_ok());
        let Err(ToolError::Busy { retry_after, .. }) = after(10) else {
            panic!("the third call within a minute is made")
        };
        assert_eq!(retry_after.as_millis(), 20_000);
        assert!(after(31).is_ok() && after(31).is_err());
    }
}
