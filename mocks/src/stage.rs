//! What happens to a call before it is answered: it is counted, its delays are drawn, its fault is chosen.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::draw;
use crate::journal::{Journal, Upstream};
use crate::mutant::Mutant;
use crate::script::{Fault, Latency, Outage, OutageKind, RawRule, Recorded, Route};
use crate::template;
use crate::timer::{Timer, Until};
use crate::timing::Timing;

/// The state that a mock has besides what it answers.
#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) upstream: Upstream,
    pub(crate) journal: Journal,
    pub(crate) seed: u64,
    pub(crate) timing: Timing,
    /// The mistake that it makes on purpose.
    pub(crate) mutant: Option<Mutant>,
    timer: Timer,
    /// Calls by the hash of what is asked.
    counts: Mutex<HashMap<u64, u32>>,
    under_way: Arc<Mutex<HashMap<u64, u32>>>,
    faults: Mutex<Faults>,
    outages: Vec<Outage>,
    raw: Mutex<Vec<RawRule>>,
    /// Those of the script, which a reset brings back.
    scripted: Vec<RawRule>,
    /// The journal's length at the last reset.
    base: AtomicUsize,
    /// When this mock began, for windows.
    began_ns: u64,
    ids: AtomicU64,
}

/// What a stage is made of.
#[derive(Debug)]
pub(crate) struct Setting {
    pub(crate) upstream: Upstream,
    pub(crate) journal: Journal,
    pub(crate) seed: u64,
    pub(crate) timer: Timer,
    pub(crate) faults: Vec<Fault>,
    pub(crate) outages: Vec<Outage>,
    pub(crate) raw: Vec<RawRule>,
    pub(crate) mutant: Option<Mutant>,
}

#[derive(Debug, Default)]
struct Faults {
    all: Vec<Fault>,
    counts: HashMap<u64, u32>,
    since_ns: u64,
}

/// Who asks for what.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// What is counted and drawn by.
    pub(crate) key: &'a str,
    /// What patterns are held against.
    pub(crate) subject: &'a str,
    pub(crate) client: &'a str,
    pub(crate) arrived_ns: u64,
}

/// When an answer is due, counted from the request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Delays {
    pub(crate) first_byte: Duration,
    pub(crate) total: Option<Duration>,
    pub(crate) tokens_per_second: Option<f64>,
}

/// A request with this question is under way, until it is dropped.
#[derive(Debug)]
pub(crate) struct UnderWay {
    shared: Arc<Mutex<HashMap<u64, u32>>>,
    key: u64,
}

impl Stage {
    pub(crate) fn new(setting: Setting) -> Self {
        let now = setting.journal.clock().now_ns();
        Self {
            upstream: setting.upstream,
            base: AtomicUsize::new(setting.journal.len()),
            journal: setting.journal,
            seed: setting.seed,
            timing: Timing::default(),
            mutant: setting.mutant,
            timer: setting.timer,
            counts: Mutex::default(),
            under_way: Arc::default(),
            faults: Mutex::new(Faults {
                all: setting.faults,
                counts: HashMap::new(),
                since_ns: now,
            }),
            outages: setting.outages,
            raw: Mutex::new(setting.raw.clone()),
            scripted: setting.raw,
            began_ns: now,
            ids: AtomicU64::new(0),
        }
    }

    /// Which call with this key it is, from 1.
    pub(crate) fn count(&self, key: &str) -> u32 {
        next(&mut lock(&self.counts), hash(key))
    }

    /// Marks a call with this key as under way; how many are, itself included.
    pub(crate) fn enter(&self, key: &str) -> (UnderWay, u32) {
        let key = hash(key);
        let count = next(&mut lock(&self.under_way), key);
        let shared = Arc::clone(&self.under_way);
        (UnderWay { shared, key }, count)
    }

    /// Draws the delays of a call: by seed, key and number.
    pub(crate) fn delays(
        &self,
        latency: &Latency,
        (key, number): (&str, u32),
        recorded: Option<&Recorded>,
    ) -> Delays {
        let call = number.to_string();
        let draw = |what: &str, distribution| {
            let parts = [what, self.upstream.name(), key, &call];
            draw::time(distribution, || draw::generator(self.seed, &parts))
        };
        let millis = |ms: f64| Duration::try_from_secs_f64(ms / 1e3).unwrap_or_default();
        let first_byte = draw("latency", &latency.first_byte)
            .unwrap_or_else(|| recorded.map_or(Duration::ZERO, |it| millis(it.first_byte_ms)));
        let total = latency.total.as_ref().and_then(|total| {
            draw("total", total).or_else(|| recorded.and_then(|it| it.total_ms).map(millis))
        });
        Delays {
            first_byte,
            total: total.map(|total| total.max(first_byte)),
            tokens_per_second: latency.tokens_per_second,
        }
    }

    /// What goes wrong with a call, if anything does.
    pub(crate) fn fault(&self, asked: &Asked<'_>) -> Option<Fault> {
        let mut faults = lock(&self.faults);
        if faults.all.is_empty() {
            return None;
        }
        let number = next(&mut faults.counts, hash(asked.key));
        let call = number.to_string();
        let since = asked.arrived_ns.saturating_sub(faults.since_ns);
        faults
            .all
            .iter()
            .enumerate()
            .find(|(index, fault)| {
                let first = fault.on_call.unwrap_or(1);
                let within =
                    number >= first && fault.times.is_none_or(|times| number - first < times);
                let fits = |pattern: &Option<String>, text| {
                    let pattern = pattern.as_ref();
                    pattern.is_none_or(|pattern| template::matches(pattern, text))
                };
                let drawn = || {
                    fault.share.is_none_or(|share| {
                        let parts = ["fault", asked.key, &call, &index.to_string()];
                        draw::unit(&mut draw::generator(self.seed, &parts)) < share
                    })
                };
                fault.name.is_none()
                    && within
                    && fits(&fault.question, asked.subject)
                    && fits(&fault.client, asked.client)
                    && fault.window.is_none_or(|window| window.is_open(since))
                    && drawn()
            })
            .map(|(_, fault)| fault.clone())
    }

    /// The fault of this name.
    pub(crate) fn named_fault(&self, name: &str) -> Option<Fault> {
        let faults = lock(&self.faults);
        let mut faults = faults.all.iter();
        faults
            .find(|fault| fault.name.as_deref() == Some(name))
            .cloned()
    }

    /// What becomes of connections now.
    pub(crate) fn outage(&self, now_ns: u64) -> Option<OutageKind> {
        let since = now_ns.saturating_sub(self.began_ns);
        let open = self
            .outages
            .iter()
            .find(|outage| outage.window.is_open(since));
        open.map(|outage| outage.kind)
    }

    pub(crate) fn set_faults(&self, faults: Vec<Fault>) {
        *lock(&self.faults) = Faults {
            all: faults,
            counts: HashMap::new(),
            since_ns: self.journal.clock().now_ns(),
        };
    }

    /// Rules that come before all else.
    pub(crate) fn queue(&self, rules: impl IntoIterator<Item = RawRule>) {
        lock(&self.raw).extend(rules);
    }

    /// The first rule for this request that is not used up.
    pub(crate) fn raw(&self, method: &str, path: &str) -> Option<RawRule> {
        let mut rules = lock(&self.raw);
        let index = rules
            .iter()
            .position(|rule| routed(&rule.route, method, path))?;
        let rule = &mut rules[index];
        let found = rule.clone();
        if let Some(times) = &mut rule.times {
            *times = times.saturating_sub(1);
            if *times == 0 {
                rules.remove(index);
            }
        }
        Some(found)
    }

    /// Forgets all calls; the script's faults stay and count from 1 again.
    pub(crate) fn reset(&self) {
        lock(&self.counts).clear();
        lock(&self.raw).clone_from(&self.scripted);
        lock(&self.faults).counts.clear();
        self.base.store(self.journal.len(), Ordering::SeqCst);
    }

    pub(crate) fn base(&self) -> usize {
        self.base.load(Ordering::SeqCst)
    }

    /// An id for a request that has no identity of its own.
    pub(crate) fn next_id(&self, prefix: &str) -> String {
        let number = self.ids.fetch_add(1, Ordering::SeqCst).to_string();
        draw::id(prefix, self.seed, &["next", &number])
    }

    /// The moment that lies so long after a request came.
    pub(crate) fn instant(&self, arrived_ns: u64, delay: Duration) -> Instant {
        self.journal.clock().instant(arrived_ns) + delay
    }

    /// How long it is since a request came.
    pub(crate) fn since(&self, arrived_ns: u64) -> Duration {
        Duration::from_nanos(self.journal.clock().now_ns().saturating_sub(arrived_ns))
    }

    pub(crate) fn until(&self, due: Instant) -> Until {
        self.timer().until(due)
    }

    /// The timer, with one of its threads.
    pub(crate) fn timer(&self) -> Timer {
        self.timer.next()
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut under_way = lock(&self.shared);
        if let Some(count) = under_way.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                under_way.remove(&self.key);
            }
        }
    }
}

/// Whether a rule is for this method and path.
pub(crate) fn routed(route: &Route, method: &str, path: &str) -> bool {
    let wanted = route.method.as_ref();
    wanted.is_none_or(|wanted| wanted.eq_ignore_ascii_case(method))
        && route
            .path
            .as_ref()
            .is_none_or(|pattern| template::matches(pattern, path))
}

/// A hash without a seed, so that it is the same in every run.
fn hash(key: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    key.hash(&mut hasher);
    hasher.finish()
}

fn next(counts: &mut HashMap<u64, u32>, key: u64) -> u32 {
    let count = counts.entry(key).or_default();
    *count += 1;
    *count
}

pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
