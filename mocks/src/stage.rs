//! What happens to a call before it is answered: it is counted, its delay is drawn, its fault is chosen.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde_json::Value;

use crate::draw;
use crate::journal::{Journal, Upstream};
use crate::script::{Distribution, Fault};
use crate::template;

/// How many requests `/_mock/requests` remembers.
const REMEMBERED: usize = 10_000;

/// The state that a mock has besides what it answers.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) upstream: Upstream,
    pub(crate) journal: Journal,
    pub(crate) seed: u64,
    latency: Distribution,
    counts: Mutex<HashMap<String, u32>>,
    faults: Mutex<Faults>,
    requests: Mutex<Vec<Value>>,
    /// The journal's length at the last reset.
    pub(crate) base: AtomicUsize,
}

#[derive(Debug, Default)]
struct Faults {
    faults: Vec<Fault>,
    counts: HashMap<String, u32>,
}

/// What was decided over one call.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    /// Which call with this key it is, from 1.
    pub(crate) number: u32,
    /// Until the first byte.
    pub(crate) delay: Duration,
    pub(crate) fault: Option<Fault>,
}

impl Call {
    pub(crate) fn delay_ns(&self) -> u64 {
        u64::try_from(self.delay.as_nanos()).unwrap_or(u64::MAX)
    }
}

impl Stage {
    pub(crate) fn new(
        upstream: Upstream,
        latency: Distribution,
        faults: Vec<Fault>,
        seed: u64,
        journal: Journal,
    ) -> Self {
        Self {
            upstream,
            base: AtomicUsize::new(journal.len()),
            journal,
            seed,
            latency,
            counts: Mutex::default(),
            faults: Mutex::new(Faults {
                faults,
                counts: HashMap::new(),
            }),
            requests: Mutex::default(),
        }
    }

    /// Counts a call and decides its delay and fault. `key` is what is counted, `subject` what patterns are held against.
    pub(crate) fn call(&self, key: &str, subject: &str) -> Call {
        let number = next(&mut lock(&self.counts), key);
        let upstream = match self.upstream {
            Upstream::Claude => "claude",
            Upstream::Arcade => "arcade",
            Upstream::Database => "database",
        };
        let call = number.to_string();
        let mut generator = draw::generator(self.seed, &["latency", upstream, key, &call]);
        let mut delay = draw::time(self.latency, &mut generator);
        let fault = self.fault(key, subject);
        if let Some(slow) = fault.as_ref().and_then(|fault| fault.slow) {
            delay = delay.saturating_add(slow.0);
        }
        Call {
            number,
            delay,
            fault,
        }
    }

    fn fault(&self, key: &str, subject: &str) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        if faults.faults.is_empty() {
            return None;
        }
        let number = next(&mut faults.counts, key);
        let call = number.to_string();
        faults
            .faults
            .iter()
            .enumerate()
            .find(|(index, fault)| {
                let first = fault.on_call.unwrap_or(1);
                let within =
                    number >= first && fault.times.is_none_or(|times| number - first < times);
                let meant = fault
                    .question
                    .as_ref()
                    .is_none_or(|pattern| template::matches(pattern, subject));
                let drawn = fault.share.is_none_or(|share| {
                    let parts = ["fault", key, &call, &index.to_string()];
                    draw::unit(&mut draw::generator(self.seed, &parts)) < share
                });
                within && meant && drawn
            })
            .map(|(_, fault)| fault.clone())
    }

    pub(crate) fn set_faults(&self, faults: Vec<Fault>) {
        *lock(&self.faults) = Faults {
            faults,
            counts: HashMap::new(),
        };
    }

    pub(crate) fn remember(&self, request: Value) {
        let mut requests = lock(&self.requests);
        if requests.len() < REMEMBERED {
            requests.push(request);
        }
    }

    pub(crate) fn requests(&self) -> Vec<Value> {
        lock(&self.requests).clone()
    }

    /// Forgets all calls; the script's faults stay and count from 1 again.
    pub(crate) fn reset(&self) {
        lock(&self.counts).clear();
        lock(&self.requests).clear();
        lock(&self.faults).counts.clear();
        self.base.store(self.journal.len(), Ordering::SeqCst);
    }
}

fn next(counts: &mut HashMap<String, u32>, key: &str) -> u32 {
    if let Some(count) = counts.get_mut(key) {
        *count += 1;
        *count
    } else {
        counts.insert(key.to_owned(), 1);
        1
    }
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A fault as the journal names it.
pub(crate) fn describe(fault: &Fault) -> String {
    let mut words = Vec::new();
    if let Some(status) = fault.status {
        words.push(status.to_string());
    }
    if let Some(retry_after) = fault.retry_after {
        words.push(format!("retry-after {retry_after}"));
    }
    if let Some(slow) = fault.slow {
        words.push(format!("slow {slow}"));
    }
    if let Some(bytes) = fault.cut_after_bytes {
        words.push(format!("cut after {bytes} bytes"));
    }
    words.join(", ")
}

/// Waits until `due`, to a few microseconds: the timer wakes at most a millisecond early, the rest is yielded away.
pub(crate) async fn wait_until(due: std::time::Instant) {
    let early = due
        .checked_sub(Duration::from_millis(1))
        .filter(|early| *early > std::time::Instant::now());
    if let Some(early) = early {
        tokio::time::sleep_until(early.into()).await;
    }
    while std::time::Instant::now() < due {
        tokio::task::yield_now().await;
    }
}
