//! The answer cache: exact questions only, bounded in time and memory, one conversation for equal questions at once.
//! What an answer was read from is remembered: when it changes, the answer is gone, also one that is being made.

mod packed;
pub mod replay;
pub mod trace;

use crate::flight::{Flight, Seat};
use fact_wire::{Source, Tokens};
pub use packed::Packed;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Names a question in its whole circumstances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Key([u8; 32]);

impl Key {
    /// The 256-bit digest of all parts, in order, each with its length, so that no two lists of parts agree.
    pub fn of<'a>(parts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut hasher = blake3::Hasher::new_derive_key("fact answer cache 1");
        for part in parts {
            hasher.update(&u64::try_from(part.len()).unwrap_or(u64::MAX).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(*hasher.finalize().as_bytes())
    }

    /// In 64 hex digits.
    pub fn to_hex(self) -> String {
        blake3::Hash::from_bytes(self.0).to_hex().to_string()
    }
}

/// An answer as it is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stored {
    /// What the model said.
    pub response: String,
    /// Where it was read.
    pub sources: Vec<Source>,
    /// First use first.
    pub tools_used: Vec<String>,
    /// What it was billed when it was made.
    pub tokens: Tokens,
    /// Dollars of it.
    pub cost_usd: f64,
    /// Dollars without caching of any kind.
    pub baseline_cost_usd: f64,
    /// The base tables it was read from.
    pub tables: BTreeSet<String>,
    /// False where a tool failed on the way.
    pub storable: bool,
    /// Whether a source was down when it was made.
    pub degraded: bool,
    /// How long it took to make.
    pub made_in_ms: f64,
}

impl Stored {
    /// What it takes in memory, uncompressed.
    pub fn bytes(&self) -> u64 {
        let sources = self.sources.iter().map(|source| {
            200 + source.statement.as_ref().map_or(0, String::len)
                + source
                    .tables
                    .iter()
                    .map(|table| table.len() + 24)
                    .sum::<usize>()
        });
        let bytes = size_of::<Self>() + self.response.len() + sources.sum::<usize>();
        u64::try_from(bytes).unwrap_or(u64::MAX)
    }
}

/// What an entry belongs to, for status and invalidation.
#[derive(Debug, Clone)]
pub struct Label {
    /// Whose it is.
    pub tenant: String,
    /// The trimmed question.
    pub question: String,
    /// Its prefix.
    pub prefix: String,
}

struct Entry {
    answer: Packed,
    /// The base tables that it was read from.
    tables: BTreeSet<String>,
    label: Label,
    made: Instant,
    expires: Instant,
    /// A renewal that failed is not tried again before.
    renew_from: Instant,
    bytes: u64,
    used: u64,
}

struct Inner<E> {
    entries: HashMap<Key, Entry>,
    /// Use order: the oldest use first.
    order: BTreeMap<u64, Key>,
    uses: u64,
    bytes: u64,
    flights: HashMap<Key, (Since, Arc<Flight<E>>)>,
    /// Counts changes, so that an answer being made meanwhile can be told.
    changes: u64,
    changed_at: HashMap<String, u64>,
    all_changed_at: u64,
    /// The last change of any table.
    tables_changed_at: u64,
    /// The last invalidation by a tenant.
    invalidated_at: HashMap<String, u64>,
    /// Hits and misses by tenant.
    counts: HashMap<String, (u64, u64)>,
    /// Entries that had to make room.
    evicted: u64,
}

/// The cache. `E` is the failure that those who wait share.
pub struct Cache<E> {
    inner: Mutex<Inner<E>>,
    ttl: Duration,
    /// How long an expired answer may still be given, marked as stale.
    stale: Duration,
    max_bytes: u64,
}

/// After a renewal that failed.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

impl<E> std::fmt::Debug for Cache<E> {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Cache")
            .field("ttl", &self.ttl)
            .field("max_bytes", &self.max_bytes)
            .finish_non_exhaustive()
    }
}

/// What the cache has for a question.
#[derive(Debug)]
pub enum Lookup<E> {
    /// The answer.
    Hit(Packed),
    /// The answer, although its time is over. Whoever gets a seat with it renews it.
    Stale(Packed, Option<(Seat<E>, Since)>),
    /// Somebody makes it right now.
    UnderWay(Seat<E>),
    /// Nothing; whoever gets this makes it.
    Absent(Seat<E>, Since),
}

/// The state of the world when an answer was begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Since(u64);

impl<E: Clone> Cache<E> {
    /// Keeps answers for `ttl`, at most `max_bytes` of them; for another `stale` they may be given while they are renewed.
    pub fn new(ttl: Duration, stale: Duration, max_bytes: u64) -> Self {
        let inner = Inner {
            entries: HashMap::new(),
            order: BTreeMap::new(),
            uses: 0,
            bytes: 0,
            flights: HashMap::new(),
            changes: 0,
            changed_at: HashMap::new(),
            all_changed_at: 0,
            tables_changed_at: 0,
            invalidated_at: HashMap::new(),
            counts: HashMap::new(),
            evicted: 0,
        };
        Self {
            inner: Mutex::new(inner),
            ttl,
            stale,
            max_bytes,
        }
    }

    /// False where it was switched off.
    pub fn is_on(&self) -> bool {
        !self.ttl.is_zero() && self.max_bytes > 0
    }

    fn inner(&self) -> MutexGuard<'_, Inner<E>> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The answer, if it is there and young enough, and whether it is stale.
    pub fn get(&self, key: Key, now: Instant, max_age: Option<Duration>) -> Option<(Packed, bool)> {
        self.inner().get(key, now, max_age, self.stale)
    }

    /// The answer, or a seat in the flight that will bring it, or the duty to make it.
    pub fn get_or_begin(&self, key: Key, now: Instant, max_age: Option<Duration>) -> Lookup<E> {
        let mut inner = self.inner();
        match inner.get(key, now, max_age, self.stale) {
            Some((answer, false)) => return Lookup::Hit(answer),
            Some((answer, true)) => {
                let due = inner.entries.get(&key).is_some_and(|e| e.renew_from <= now);
                let renewal = (due && !inner.flights.contains_key(&key)).then(|| inner.begin(key));
                return Lookup::Stale(answer, renewal);
            }
            None => {}
        }
        // Whoever asks after a change must not be told what was read before it.
        if let Some((since, flight)) = inner.flights.get(&key)
            && since.0 >= inner.tables_changed_at
            && let Some(seat) = flight.join()
        {
            return Lookup::UnderWay(seat);
        }
        let (seat, since) = inner.begin(key);
        Lookup::Absent(seat, since)
    }

    /// The entry could not be renewed: it is not tried again at once.
    pub fn not_renewed(&self, key: Key, now: Instant) {
        if let Some(entry) = self.inner().entries.get_mut(&key) {
            entry.renew_from = now + RENEWAL_PAUSE;
        }
    }

    /// The state of the world now, for an answer that is made without single-flight.
    pub fn since(&self) -> Since {
        Since(self.inner().changes)
    }

    /// Ends a flight: whoever asks from now on looks for a stored answer.
    pub fn land(&self, key: Key, flight: &Arc<Flight<E>>) {
        let mut inner = self.inner();
        if inner
            .flights
            .get(&key)
            .is_some_and(|(_, begun)| Arc::ptr_eq(begun, flight))
        {
            inner.flights.remove(&key);
        }
    }

    /// Counts a question that was not there.
    pub fn missed(&self, tenant: &str) {
        self.inner().counts.entry(tenant.to_owned()).or_default().1 += 1;
    }

    /// Hits and misses of a tenant.
    pub fn counts(&self, tenant: &str) -> (u64, u64) {
        self.inner().counts.get(tenant).copied().unwrap_or_default()
    }

    /// Keeps an answer, unless what it was read from changed meanwhile. True where it was kept.
    pub fn store(
        &self,
        key: Key,
        label: Label,
        answer: Arc<Stored>,
        since: Since,
        now: Instant,
    ) -> bool {
        let (tables, storable) = (answer.tables.clone(), answer.storable);
        let answer = Packed::new(answer);
        let bytes = answer.bytes() + bookkeeping(&label, &tables);
        let mut inner = self.inner();
        let changed = |table: &String| inner.changed_at.get(table).is_some_and(|at| *at > since.0);
        let outdated =
            !tables.is_empty() && (inner.all_changed_at > since.0 || tables.iter().any(changed));
        let invalidated = inner
            .invalidated_at
            .get(&label.tenant)
            .is_some_and(|at| *at > since.0);
        if !self.is_on() || !storable || outdated || invalidated || bytes > self.max_bytes {
            return false;
        }
        inner.remove(key);
        inner.uses += 1;
        let used = inner.uses;
        inner.order.insert(used, key);
        inner.bytes += bytes;
        inner.entries.insert(
            key,
            Entry {
                answer,
                tables,
                label,
                made: now,
                expires: now + self.ttl,
                renew_from: now,
                bytes,
                used,
            },
        );
        while inner.bytes > self.max_bytes {
            let Some(oldest) = inner.order.first_key_value().map(|(_, key)| *key) else {
                break;
            };
            inner.remove(oldest);
            inner.evicted += 1;
        }
        true
    }

    /// A table changed: what was read from it is gone.
    pub fn table_changed(&self, table: &str) {
        let mut inner = self.inner();
        inner.changes += 1;
        let change = inner.changes;
        inner.changed_at.insert(table.to_owned(), change);
        inner.tables_changed_at = change;
        inner.remove_where(|entry| entry.tables.contains(table));
    }

    /// Anything may have changed: what was read from tables is gone.
    pub fn everything_changed(&self) {
        let mut inner = self.inner();
        inner.changes += 1;
        inner.all_changed_at = inner.changes;
        inner.tables_changed_at = inner.changes;
        inner.remove_where(|entry| !entry.tables.is_empty());
    }

    /// Drops the chosen entries of a tenant; how many they were. What the tenant is having made meanwhile is not stored.
    pub fn invalidate(
        &self,
        tenant: &str,
        chosen: impl Fn(&Label, &BTreeSet<String>, Duration) -> bool,
        now: Instant,
    ) -> usize {
        let mut inner = self.inner();
        inner.changes += 1;
        let change = inner.changes;
        inner.invalidated_at.insert(tenant.to_owned(), change);
        inner.remove_where(|entry| {
            entry.label.tenant == tenant
                && chosen(
                    &entry.label,
                    &entry.tables,
                    now.saturating_duration_since(entry.made),
                )
        })
    }

    /// Entries that had to make room so far.
    pub fn evicted(&self) -> u64 {
        self.inner().evicted
    }

    /// Entries and bytes of all.
    pub fn totals(&self) -> (usize, u64) {
        let inner = self.inner();
        (inner.entries.len(), inner.bytes)
    }

    /// Entries and bytes of a tenant, and the limit for all.
    pub fn status(&self, tenant: &str, now: Instant) -> (usize, u64, u64) {
        let inner = self.inner();
        let own = inner
            .entries
            .values()
            .filter(|entry| entry.label.tenant == tenant && entry.expires > now);
        let (count, bytes) = own.fold((0, 0), |(count, bytes), entry| {
            (count + 1, bytes + entry.bytes)
        });
        (count, bytes, self.max_bytes)
    }
}

impl<E: Clone> Inner<E> {
    /// The answer, and whether its time is over but not its grace.
    fn get(
        &mut self,
        key: Key,
        now: Instant,
        max_age: Option<Duration>,
        grace: Duration,
    ) -> Option<(Packed, bool)> {
        let entry = self.entries.get_mut(&key)?;
        if entry.expires + grace <= now {
            self.remove(key);
            return None;
        }
        if max_age.is_some_and(|age| now.saturating_duration_since(entry.made) > age) {
            return None;
        }
        let stale = entry.expires <= now;
        self.uses += 1;
        self.order.remove(&entry.used);
        entry.used = self.uses;
        self.order.insert(self.uses, key);
        let answer = entry.answer.clone();
        match self.counts.get_mut(&entry.label.tenant) {
            _ if stale => {}
            Some(counts) => counts.0 += 1,
            None => drop(self.counts.insert(entry.label.tenant.clone(), (1, 0))),
        }
        Some((answer, stale))
    }

    fn begin(&mut self, key: Key) -> (Seat<E>, Since) {
        let (flight, seat) = Flight::new();
        let since = Since(self.changes);
        self.flights.insert(key, (since, flight));
        (seat, since)
    }

    fn remove(&mut self, key: Key) {
        if let Some(entry) = self.entries.remove(&key) {
            self.order.remove(&entry.used);
            self.bytes -= entry.bytes;
        }
    }

    fn remove_where(&mut self, chosen: impl Fn(&Entry) -> bool) -> usize {
        let keys: Vec<Key> = self
            .entries
            .iter()
            .filter(|(_, entry)| chosen(entry))
            .map(|(key, _)| *key)
            .collect();
        for key in &keys {
            self.remove(*key);
        }
        keys.len()
    }
}

/// What an entry takes besides its answer.
fn bookkeeping(label: &Label, tables: &BTreeSet<String>) -> u64 {
    const MAPS: usize = 400;
    let texts = label.question.len() + label.tenant.len() + label.prefix.len();
    let tables: usize = tables.iter().map(|table| table.len() + 24).sum();
    u64::try_from(MAPS + texts + tables).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(tables: &[&str], length: usize) -> Arc<Stored> {
        Arc::new(Stored {
            response: "x".repeat(length),
            sources: Vec::new(),
            tools_used: Vec::new(),
            tokens: Tokens::default(),
            cost_usd: 0.0,
            baseline_cost_usd: 0.0,
            tables: tables.iter().map(ToString::to_string).collect(),
            storable: true,
            degraded: false,
            made_in_ms: 1.0,
        })
    }

    fn label() -> Label {
        Label {
            tenant: "acme".into(),
            question: "q".into(),
            prefix: "p".into(),
        }
    }

    #[test]
    fn an_expired_answer_is_never_a_hit() {
        let cache = Cache::<()>::new(Duration::from_secs(10), Duration::ZERO, 1 << 20);
        let now = Instant::now();
        let key = Key::of(["a"]);
        assert!(cache.store(key, label(), answer(&[], 5), cache.since(), now));
        assert!(
            cache
                .get(key, now + Duration::from_millis(9_999), None)
                .is_some()
        );
        assert!(
            cache
                .get(key, now + Duration::from_secs(10), None)
                .is_none()
        );
    }

    #[test]
    fn an_answer_being_made_while_its_table_changes_is_not_stored() {
        let cache = Cache::<()>::new(Duration::from_secs(10), Duration::ZERO, 1 << 20);
        let since = cache.since();
        cache.table_changed("public.companies");
        assert!(!cache.store(
            Key::of(["a"]),
            label(),
            answer(&["public.companies"], 5),
            since,
            Instant::now()
        ));
        assert!(cache.store(
            Key::of(["b"]),
            label(),
            answer(&["public.others"], 5),
            since,
            Instant::now()
        ));
        cache.everything_changed();
        assert!(cache.get(Key::of(["b"]), Instant::now(), None).is_none());
    }

    #[test]
    fn whoever_asks_after_a_change_does_not_join_what_was_begun_before_it() {
        let cache = Cache::<()>::new(Duration::from_secs(10), Duration::ZERO, 1 << 20);
        let (key, now) = (Key::of(["a"]), Instant::now());
        let Lookup::Absent(early, _) = cache.get_or_begin(key, now, None) else {
            panic!("the first begins a flight")
        };
        assert!(matches!(
            cache.get_or_begin(key, now, None),
            Lookup::UnderWay(_)
        ));
        cache.table_changed("public.companies");
        let Lookup::Absent(late, _) = cache.get_or_begin(key, now, None) else {
            panic!("a flight of its own after the change")
        };
        cache.land(key, early.flight());
        assert!(matches!(
            cache.get_or_begin(key, now, None),
            Lookup::UnderWay(_)
        ));
        cache.land(key, late.flight());
        assert!(matches!(
            cache.get_or_begin(key, now, None),
            Lookup::Absent(..)
        ));
    }

    #[test]
    fn an_answer_being_made_while_its_tenant_invalidates_is_not_stored() {
        let cache = Cache::<()>::new(Duration::from_secs(10), Duration::ZERO, 1 << 20);
        let (since, now) = (cache.since(), Instant::now());
        cache.invalidate("globex", |_, _, _| true, now);
        assert!(cache.store(Key::of(["a"]), label(), answer(&[], 5), since, now));
        cache.invalidate("acme", |_, _, _| true, now);
        assert!(!cache.store(Key::of(["a"]), label(), answer(&[], 5), since, now));
    }

    #[test]
    fn hits_and_misses_are_told_to_their_own_tenant_only() {
        let cache = Cache::<()>::new(Duration::from_secs(10), Duration::ZERO, 1 << 20);
        let (key, now) = (Key::of(["a"]), Instant::now());
        cache.missed("acme");
        cache.store(key, label(), answer(&[], 5), cache.since(), now);
        cache.get(key, now, None);
        assert_eq!(
            (cache.counts("acme"), cache.counts("globex")),
            ((1, 1), (0, 0))
        );
    }

    #[test]
    fn memory_stays_below_its_bound_and_the_least_recently_used_goes_first() {
        let cache = Cache::<()>::new(Duration::from_secs(10), Duration::ZERO, 4_500);
        let now = Instant::now();
        for name in ["a", "b", "c", "d"] {
            assert!(cache.store(
                Key::of([name]),
                label(),
                answer(&[], 1_000),
                cache.since(),
                now
            ));
            assert!(cache.get(Key::of(["a"]), now, None).is_some());
        }
        assert!(cache.get(Key::of(["b"]), now, None).is_none());
        assert!(cache.get(Key::of(["d"]), now, None).is_some());
        assert!(cache.status("acme", now).1 <= 4_500);
    }

    proptest::proptest! {
        #[test]
        fn different_parts_have_different_keys(a in "[a-c]{0,4}", b in "[a-c]{0,4}", c in "[a-c]{0,4}", d in "[a-c]{0,4}") {
            let equal = (&a, &b) == (&c, &d);
            proptest::prop_assert_eq!(Key::of([a.as_str(), b.as_str()]) == Key::of([c.as_str(), d.as_str()]), equal);
        }
    }
}
