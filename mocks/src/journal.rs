//! What really reached the upstreams: one entry for each request or statement, with its times and its price.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::clock::Clock;

/// Whose journal entry it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Upstream {
    /// The Messages API.
    Claude,
    /// The tools API.
    Arcade,
    /// The database behind the relay.
    Database,
}

/// Tokens as the Messages API reports them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Usage {
    /// Input tokens after the last breakpoint, at full price.
    pub input_tokens: u64,
    /// Input tokens written to the prompt cache.
    pub cache_creation_input_tokens: u64,
    /// Input tokens read from the prompt cache.
    pub cache_read_input_tokens: u64,
    /// Tokens of the answer.
    pub output_tokens: u64,
}

impl Usage {
    /// Adds another's tokens.
    pub fn add(&mut self, other: &Self) {
        self.input_tokens += other.input_tokens;
        self.cache_creation_input_tokens += other.cache_creation_input_tokens;
        self.cache_read_input_tokens += other.cache_read_input_tokens;
        self.output_tokens += other.output_tokens;
    }

    /// All input tokens, cached or not.
    pub fn total_input(&self) -> u64 {
        self.input_tokens + self.cache_creation_input_tokens + self.cache_read_input_tokens
    }
}

/// One request or statement that reached an upstream, recorded when its answer had ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the journal; set by [`Journal::record`].
    pub sequence: u64,
    /// Who was asked.
    pub upstream: Upstream,
    /// `POST /v1/messages`, or a statement's text.
    pub what: String,
    /// Last plain user text of the conversation.
    pub question: Option<String>,
    /// `nonce-` and 16 hex digits, when found in the request.
    pub nonce: Option<String>,
    /// `application_name` of a Postgres connection.
    pub application: Option<String>,
    /// HTTP status; for the database 200 (ok) or 500 (error).
    pub status: u16,
    /// The fault that was injected.
    pub fault: Option<String>,
    /// When the request was there.
    pub arrived_ns: u64,
    /// When the first byte of the answer was handed over.
    pub first_byte_ns: u64,
    /// When the answer had ended.
    pub ended_ns: u64,
    /// How long the first byte was meant to take; 0 = not scheduled.
    pub scheduled_ns: u64,
    /// How long the database was busy for this statement before it ran: opening the transaction, parsing, describing.
    #[serde(default)]
    pub preparing_ns: u64,
    /// Tokens served.
    pub usage: Option<Usage>,
    /// What the tokens cost.
    pub cost_usd: f64,
    /// What they would have cost without prompt caching.
    pub uncached_usd: f64,
    /// The request's body.
    pub request: Option<serde_json::Value>,
}

/// A journal that many write to; clones share it.
#[derive(Clone, Debug)]
pub struct Journal {
    clock: Clock,
    shared: Arc<Shared>,
}

#[derive(Debug, Default)]
struct Shared {
    entries: Mutex<Vec<Entry>>,
    in_flight: AtomicUsize,
}

impl Journal {
    /// An empty journal on this clock.
    pub fn new(clock: Clock) -> Self {
        Self {
            clock,
            shared: Arc::default(),
        }
    }

    /// The clock of all its times.
    pub fn clock(&self) -> Clock {
        self.clock
    }

    /// Appends an entry, sets its `sequence` and returns it.
    pub fn record(&self, mut entry: Entry) -> u64 {
        let mut entries = self.lock();
        let sequence = u64::try_from(entries.len()).unwrap_or(u64::MAX);
        entry.sequence = sequence;
        entries.push(entry);
        sequence
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    /// The entries from `index` on.
    pub fn since(&self, index: usize) -> Vec<Entry> {
        self.lock().get(index..).unwrap_or_default().to_vec()
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

    fn lock(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.shared
            .entries
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

/// The sums over a stretch of the journal.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Totals {
    /// Tokens served.
    pub usage: Usage,
    /// What they cost.
    pub cost_usd: f64,
    /// What they would have cost without prompt caching.
    pub uncached_usd: f64,
    /// How many different questions were answered by Claude.
    pub conversations: u64,
}

/// Adds up tokens and cost of these entries.
pub fn totals(entries: &[Entry]) -> Totals {
    let mut totals = Totals::default();
    let mut questions = BTreeSet::new();
    for entry in entries {
        if let Some(usage) = &entry.usage {
            totals.usage.add(usage);
            if entry.upstream == Upstream::Claude {
                questions.insert(entry.question.as_deref());
            }
        }
        totals.cost_usd += entry.cost_usd;
        totals.uncached_usd += entry.uncached_usd;
    }
    totals.conversations = u64::try_from(questions.len()).unwrap_or(u64::MAX);
    totals
}

/// The first `nonce-` with 16 hex digits in a text.
pub fn nonce_in(text: &str) -> Option<&str> {
    const MARK: &str = "nonce-";
    text.match_indices(MARK).find_map(|(start, _)| {
        let end = start + MARK.len() + 16;
        let token = text.get(start..end)?;
        token
            .bytes()
            .skip(MARK.len())
            .all(|byte| byte.is_ascii_hexdigit())
            .then_some(token)
    })
}
