//! How well a mock keeps its own schedule: actual less scheduled time.

use std::sync::Mutex;

use hdrhistogram::Histogram;
use serde::Serialize;

use crate::stage::lock;

/// Lags of first bytes and of events of streams.
#[derive(Debug, Default)]
pub(crate) struct Timing {
    lags: Mutex<Option<Lags>>,
}

#[derive(Debug)]
struct Lags {
    first_bytes: Histogram<u64>,
    events: Histogram<u64>,
}

/// Quantiles of lags, in microseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct LagReport {
    /// How many there were.
    pub count: u64,
    /// The median.
    pub p50_us: f64,
    /// The 95th percentile.
    pub p95_us: f64,
    /// The 99th percentile.
    pub p99_us: f64,
    /// The largest.
    pub max_us: f64,
}

/// How well a mock keeps its schedule.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct TimingReport {
    /// Of the first bytes of answers that were meant to wait.
    pub first_bytes: LagReport,
    /// Of the events that were meant to come later than the first byte.
    pub events: LagReport,
}

impl Timing {
    /// Adds the lags of one answer, in nanoseconds.
    pub(crate) fn add(&self, first_byte: Option<u64>, events: &[u64]) {
        if first_byte.is_none() && events.is_empty() {
            return;
        }
        let mut lags = lock(&self.lags);
        if lags.is_none() {
            *lags = Lags::new();
        }
        if let Some(lags) = lags.as_mut() {
            if let Some(lag) = first_byte {
                lags.first_bytes.saturating_record(lag);
            }
            for lag in events {
                lags.events.saturating_record(*lag);
            }
        }
    }

    pub(crate) fn clear(&self) {
        *lock(&self.lags) = None;
    }

    pub(crate) fn report(&self) -> TimingReport {
        lock(&self.lags)
            .as_ref()
            .map_or_else(TimingReport::default, |lags| TimingReport {
                first_bytes: report(&lags.first_bytes),
                events: report(&lags.events),
            })
    }
}

impl Lags {
    /// From a nanosecond to an hour, to three digits.
    fn new() -> Option<Self> {
        let empty = || Histogram::new_with_max(3_600_000_000_000, 3).ok();
        Some(Self {
            first_bytes: empty()?,
            events: empty()?,
        })
    }
}

#[expect(clippy::cast_precision_loss, reason = "lags are far below 2^52 ns")]
fn report(lags: &Histogram<u64>) -> LagReport {
    let at = |quantile| lags.value_at_quantile(quantile) as f64 / 1e3;
    LagReport {
        count: lags.len(),
        p50_us: at(0.5),
        p95_us: at(0.95),
        p99_us: at(0.99),
        max_us: lags.max() as f64 / 1e3,
    }
}
