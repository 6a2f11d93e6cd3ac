//! A circuit breaker: after several failures in a row nobody is sent to the upstream for a while, then one at a time.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// So many failures in a row open it.
const MOST_FAILURES: u32 = 5;
/// How long it stays open before somebody tries again. An outage is over for us at most so long after it is over.
const OPEN: Duration = Duration::from_secs(2);

#[derive(Debug, Default)]
struct State {
    failures: u32,
    opened: Option<Instant>,
    /// When somebody was last sent to try. Whoever does not come back does not keep the next one waiting.
    tried: Option<Instant>,
}

/// The breaker of one upstream.
#[derive(Debug, Default)]
pub(super) struct Breaker(Mutex<State>);

impl Breaker {
    /// Whether a call may be made; if not, how long nobody need ask.
    pub(super) fn admit(&self, now: Instant) -> Result<(), Duration> {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(opened) = state.opened else {
            return Ok(());
        };
        let last = state.tried.map_or(opened, |tried| tried.max(opened));
        let left = OPEN.saturating_sub(now.saturating_duration_since(last));
        if !left.is_zero() {
            return Err(left);
        }
        state.tried = Some(now);
        Ok(())
    }

    /// The upstream answered as it should.
    pub(super) fn succeeded(&self) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = State::default();
    }

    /// It did not.
    pub(super) fn failed(&self, now: Instant) {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.failures += 1;
        let trying = state.tried.is_some();
        if state.failures >= MOST_FAILURES && (state.opened.is_none() || trying) {
            state.opened = Some(now);
            state.tried = None;
        }
    }

    /// Whether the upstream is taken for down.
    pub(super) fn is_open(&self) -> bool {
        let state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        state.opened.is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_lets_one_try_and_closes_on_success() {
        let breaker = Breaker::default();
        let start = Instant::now();
        let at = |ms: u64| start + Duration::from_millis(ms);
        for _ in 0..4 {
            breaker.failed(at(0));
        }
        assert_eq!(breaker.admit(at(0)), Ok(()));
        breaker.failed(at(0));
        assert!(breaker.is_open());
        assert_eq!(breaker.admit(at(500)), Err(Duration::from_millis(1_500)));
        // One is let through, and nobody beside it.
        assert_eq!(breaker.admit(at(2_000)), Ok(()));
        assert!(breaker.admit(at(2_001)).is_err());
        breaker.failed(at(2_100));
        assert!(breaker.admit(at(4_000)).is_err());
        // Whoever hangs holds nobody up for longer.
        assert_eq!(breaker.admit(at(4_100)), Ok(()));
        assert_eq!(breaker.admit(at(6_100)), Ok(()));
        breaker.succeeded();
        assert!(!breaker.is_open());
        assert_eq!(breaker.admit(at(6_101)), Ok(()));
    }

    #[test]
    fn a_success_between_failures_keeps_it_closed() {
        let breaker = Breaker::default();
        let now = Instant::now();
        for _ in 0..20 {
            breaker.failed(now);
            breaker.failed(now);
            breaker.succeeded();
        }
        assert!(!breaker.is_open());
    }
}
