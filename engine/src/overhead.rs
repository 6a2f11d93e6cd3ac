//! The engine's own share of a request: everything but the time in which only somebody else was waited for.

use crate::metrics::Metrics;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tracing::Instrument as _;

tokio::task_local! {
    static REQUEST: Arc<Request>;
}

/// A request under way. Counted once nobody holds it any more: when the last byte of its answer is handed over.
#[derive(Debug)]
pub(crate) struct Request {
    metrics: Arc<Metrics>,
    began: Instant,
    waits: Mutex<Waits>,
}

/// The union of all intervals in which somebody else was waited for.
#[derive(Debug, Default)]
struct Waits {
    open: u32,
    since: Option<Instant>,
    total: Duration,
}

impl Waits {
    fn begin(&mut self) {
        self.open += 1;
        if self.open == 1 {
            self.since = Some(Instant::now());
        }
    }
}

impl Request {
    /// Began when its head was read.
    pub(crate) fn new(metrics: Arc<Metrics>, began: Instant) -> Arc<Self> {
        metrics.requests_under_way.fetch_add(1, Relaxed);
        Arc::new(Self {
            metrics,
            began,
            waits: Mutex::default(),
        })
    }

    fn waits(&self) -> std::sync::MutexGuard<'_, Waits> {
        self.waits.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer is handed over.
    pub(crate) fn finish(&self) {
        let now = Instant::now();
        let waits = self.waits();
        let open = waits.since.map_or(Duration::ZERO, |since| now - since);
        let whole = now - self.began;
        self.metrics.requests_under_way.fetch_sub(1, Relaxed);
        self.metrics.request_seconds.record(whole);
        self.metrics
            .overhead
            .record(whole.saturating_sub(waits.total + open));
    }
}

/// Runs what answers a request.
pub(crate) async fn within<T>(request: Arc<Request>, future: impl Future<Output = T>) -> T {
    REQUEST.scope(request, future).await
}

/// What is spawned for the request that runs here goes on counting for it, and logs with its trace id.
pub(crate) fn inherit<T>(future: impl Future<Output = T>) -> impl Future<Output = T> {
    let request = REQUEST.try_with(Arc::clone).ok();
    let future = future.in_current_span();
    async move {
        match request {
            Some(request) => REQUEST.scope(request, future).await,
            None => future.await,
        }
    }
}

/// From here on the request only waits for what was begun for another.
pub(crate) fn joined() {
    if let Ok(request) = REQUEST.try_with(Arc::clone) {
        request.waits().begin();
    }
}

/// Waits for somebody else, which is not the engine's own time.
pub(crate) async fn outside<T>(future: impl Future<Output = T>) -> T {
    let _waiting = Waiting::begin();
    future.await
}

/// Ends the wait also where it is given up.
struct Waiting(Option<Arc<Request>>);

impl Waiting {
    fn begin() -> Self {
        let request = REQUEST.try_with(Arc::clone).ok();
        if let Some(request) = &request {
            request.waits().begin();
        }
        Self(request)
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        if let Some(request) = &self.0 {
            let mut waits = request.waits();
            waits.open -= 1;
            if waits.open == 0
                && let Some(since) = waits.since.take()
            {
                waits.total += since.elapsed();
            }
        }
    }
}

/// How often it is looked at how late the runtime is.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Measures for ever how late the runtime does what is due.
pub(crate) async fn measure_scheduling(metrics: Arc<Metrics>) {
    loop {
        let due = tokio::time::Instant::now() + LOOK_EVERY;
        tokio::time::sleep_until(due).await;
        metrics.scheduling_delay.record(due.elapsed());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn waits_side_by_side_count_once_and_what_is_spawned_counts_too() {
        let metrics = Arc::new(Metrics::default());
        let request = Request::new(metrics.clone(), Instant::now());
        within(request.clone(), async {
            let wait = || outside(tokio::time::sleep(Duration::from_millis(50)));
            tokio::join!(wait(), wait(), wait());
            tokio::spawn(inherit(wait())).await.unwrap();
        })
        .await;
        request.finish();
        let (waited, whole) = (request.waits().total, request.began.elapsed());
        assert!(waited >= Duration::from_millis(100), "{waited:?}");
        assert!(waited <= whole, "{waited:?} of {whole:?}");
        let seen = metrics.as_json();
        assert_eq!(seen["overhead_seconds"]["count"], 1);
        assert_eq!(seen["requests_under_way"], 0);
    }
}
