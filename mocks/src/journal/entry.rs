//! One request or statement, its tokens, and sums over many.

use std::collections::BTreeSet;

use bytes::Bytes;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;
use serde_json::value::RawValue;

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

impl Upstream {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Claude => "claude",
            Self::Arcade => "arcade",
            Self::Database => "database",
        }
    }
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

/// A request's body as it came.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Body(Bytes);

impl Body {
    /// Of these bytes; copied, so that no more than them is kept.
    pub fn copied(bytes: &[u8]) -> Self {
        Self(Bytes::copy_from_slice(bytes))
    }

    /// As JSON; text that is none is a string.
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.0).unwrap_or_else(|_| Value::String(self.text()))
    }

    /// As text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0).into_owned()
    }

    /// How many bytes it has.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Serialize for Body {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serde_json::from_slice::<&RawValue>(&self.0) {
            // Lines of JSON are what the journal is written as.
            Ok(raw) if !raw.get().contains(['\n', '\r']) => raw.serialize(serializer),
            _ => self.json().serialize(serializer),
        }
    }
}

impl<'de> Deserialize<'de> for Body {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        Ok(Self(Bytes::from(value.to_string())))
    }
}

/// One request or statement that reached an upstream, recorded when its answer had ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Position in the journal; set by [`super::Journal::record`].
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
    /// How many requests with this question were under way when it came, itself included.
    #[serde(default)]
    pub concurrent: u32,
    /// Tokens served.
    pub usage: Option<Usage>,
    /// What the tokens cost.
    pub cost_usd: f64,
    /// What they would have cost without prompt caching.
    pub uncached_usd: f64,
    /// The request's body.
    pub request: Option<Body>,
    /// The request's headers, a line for each; keys and tokens included.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub headers: String,
}

impl Entry {
    /// An entry that says nothing yet but who was asked for what, and when.
    pub fn new(upstream: Upstream, what: String, arrived_ns: u64) -> Self {
        Self {
            sequence: 0,
            upstream,
            what,
            question: None,
            nonce: None,
            application: None,
            status: 0,
            fault: None,
            arrived_ns,
            first_byte_ns: 0,
            ended_ns: 0,
            scheduled_ns: 0,
            preparing_ns: 0,
            concurrent: 0,
            usage: None,
            cost_usd: 0.0,
            uncached_usd: 0.0,
            request: None,
            headers: String::new(),
        }
    }

    /// About how much memory it takes.
    pub(super) fn size(&self) -> usize {
        let texts = [&self.question, &self.nonce, &self.application, &self.fault];
        size_of::<Self>()
            + self.what.len()
            + self.headers.len()
            + self.request.as_ref().map_or(0, Body::len)
            + texts.into_iter().flatten().map(String::len).sum::<usize>()
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
