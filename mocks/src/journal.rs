//! What really reached the upstreams: one entry for each request or statement, with its times and its price.

mod entry;
mod kept;

pub use entry::{Body, Entry, Totals, Upstream, Usage, nonce_in, totals};

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::clock::Clock;
use kept::Kept;

/// How many bytes of entries stay in memory; older ones lie on disk.
const IN_MEMORY: usize = 64 * 1024 * 1024;

/// A journal that many write to; clones share it. It forgets nothing, and its memory does not grow with it.
#[derive(Clone, Debug)]
pub struct Journal {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    kept: Mutex<Kept>,
    in_flight: AtomicUsize,
}

impl Journal {
    /// An empty journal on this clock.
    pub fn new(clock: Clock) -> Self {
        Self::within(clock, IN_MEMORY)
    }

    /// An empty journal that keeps about so many bytes in memory.
    pub fn within(clock: Clock, bytes: usize) -> Self {
        Self {
            clock,
            shared: Arc::new(Shared {
                kept: Mutex::new(Kept::within(bytes)),
                in_flight: AtomicUsize::new(0),
            }),
        }
    }

    /// The clock of all its times.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Appends an entry, sets its `sequence` and returns it.
    pub fn record(&self, entry: Entry) -> u64 {
        self.lock().push(entry)
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The entries from `index` on.
    pub fn since(&self, index: usize) -> Vec<Entry> {
        self.page(index, usize::MAX)
    }

    /// At most `limit` entries from `index` on.
    pub fn page(&self, index: usize, limit: usize) -> Vec<Entry> {
        self.lock().page(index, limit)
    }

    /// How many requests have arrived and are not yet recorded.
    pub fn in_flight(&self) -> usize {
        self.shared.in_flight.load(Ordering::SeqCst)
    }

    /// Marks a request as arrived, until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.shared.in_flight.fetch_add(1, Ordering::SeqCst);
        InFlight {
            shared: Arc::clone(&self.shared),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.shared
            .kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// A request that has arrived and is not yet recorded.
#[derive(Debug)]
pub struct InFlight {
    shared: Arc<Shared>,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.shared.in_flight.fetch_sub(1, Ordering::SeqCst);
    }
}
