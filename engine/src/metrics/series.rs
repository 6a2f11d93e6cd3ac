//! What metrics are made of: counters by labels, and histograms. All of them can be added to by everybody at once.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

/// Upper bounds of the buckets of every histogram, in seconds.
pub(super) const BOUNDS: [f64; 20] = [
    0.000_01, 0.000_025, 0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025,
    0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0,
];
/// Of one family. What would come after is counted under the label `other`.
const MOST_SERIES: usize = 512;

/// How long something took, in buckets.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is longer.
    buckets: [AtomicU64; BOUNDS.len() + 1],
    sum_ns: AtomicU64,
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&self, took: Duration) {
        let seconds = took.as_secs_f64();
        let bucket = BOUNDS.partition_point(|bound| *bound < seconds);
        self.buckets[bucket].fetch_add(1, Relaxed);
        let ns = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        self.sum_ns.fetch_add(ns, Relaxed);
    }

    /// As it is now.
    pub(super) fn snapshot(&self) -> Snapshot {
        let mut running = 0;
        let below = std::array::from_fn(|bucket| {
            running += self.buckets[bucket].load(Relaxed);
            running
        });
        Snapshot {
            below,
            sum_seconds: Duration::from_nanos(self.sum_ns.load(Relaxed)).as_secs_f64(),
        }
    }
}

/// A histogram at one moment.
#[derive(Debug, Clone)]
pub(super) struct Snapshot {
    /// How many are at most as long as each bound, and how many there are.
    pub(super) below: [u64; BOUNDS.len() + 1],
    pub(super) sum_seconds: f64,
}

impl Snapshot {
    pub(super) fn count(&self) -> u64 {
        self.below[BOUNDS.len()]
    }

    /// The duration that a share of all stays below, interpolated within its bucket.
    #[expect(clippy::cast_precision_loss, reason = "an estimate")]
    pub(super) fn quantile(&self, share: f64) -> f64 {
        let rank = share * self.count() as f64;
        let bucket = self.below.partition_point(|below| (*below as f64) < rank);
        let (Some(high), true) = (BOUNDS.get(bucket), self.count() > 0) else {
            return if self.count() == 0 {
                0.0
            } else {
                BOUNDS[BOUNDS.len() - 1]
            };
        };
        let before = if bucket == 0 {
            0
        } else {
            self.below[bucket - 1]
        };
        let low = if bucket == 0 { 0.0 } else { BOUNDS[bucket - 1] };
        let within = (self.below[bucket] - before) as f64;
        low + (high - low) * ((rank - before as f64) / within.max(1.0)).clamp(0.0, 1.0)
    }
}

type Entry<T, const LABELS: usize> = ([String; LABELS], Arc<T>);

/// One metric for each combination of labels.
#[derive(Debug)]
pub struct Family<T, const LABELS: usize>(RwLock<Vec<Entry<T, LABELS>>>);

impl<T, const LABELS: usize> Default for Family<T, LABELS> {
    fn default() -> Self {
        Self(RwLock::default())
    }
}

impl<T: Default, const LABELS: usize> Family<T, LABELS> {
    /// The one with these labels.
    pub fn with(&self, labels: [&str; LABELS]) -> Arc<T> {
        if let Some(known) = find(
            &self.0.read().unwrap_or_else(PoisonError::into_inner),
            labels,
        ) {
            return known;
        }
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        let labels = if entries.len() < MOST_SERIES {
            labels
        } else {
            ["other"; LABELS]
        };
        if let Some(known) = find(&entries, labels) {
            return known;
        }
        let new = Arc::new(T::default());
        entries.push((labels.map(str::to_owned), new.clone()));
        new
    }

    /// All of them, by their labels.
    pub(super) fn all<R>(&self, read: impl Fn(&T) -> R) -> Vec<(Vec<String>, R)> {
        let entries = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let mut all: Vec<(Vec<String>, R)> = entries
            .iter()
            .map(|(labels, value)| (labels.to_vec(), read(value)))
            .collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        all
    }
}

fn find<T, const LABELS: usize>(
    entries: &[Entry<T, LABELS>],
    labels: [&str; LABELS],
) -> Option<Arc<T>> {
    let same = |known: &[String; LABELS]| known.iter().zip(labels).all(|(a, b)| a == b);
    entries
        .iter()
        .find(|(known, _)| same(known))
        .map(|(_, value)| value.clone())
}

impl<const LABELS: usize> Family<AtomicU64, LABELS> {
    /// Adds to a counter.
    pub fn add(&self, labels: [&str; LABELS], more: u64) {
        self.with(labels).fetch_add(more, Relaxed);
    }

    /// Sets a gauge.
    pub fn set(&self, labels: [&str; LABELS], value: u64) {
        self.with(labels).store(value, Relaxed);
    }
}
