//! From a question to its answer: the cache first, then a conversation in which Claude calls tools.

mod conversation;
mod standing;

use crate::auth::Principal;
use crate::cache::replay::Asked;
use crate::cache::trace::Trace;
use crate::cache::{Cache, Key, Label, Lookup, Packed, Since, Stored};
use crate::claude::{Claude, ClaudeError};
use crate::config::WebAfterData;
use crate::flight::{Feed, Flight, Made, Said, Seat};
use crate::metrics::Metrics;
use crate::overhead;
use crate::session::Exchange;
use crate::tools::web::Reach;
use crate::tools::{Call, Tools};
use fact_wire::{CacheMode, CacheOptions, CacheStatus};
use serde_json::{Value, json};
pub use standing::{Standing, Standings};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// Everything that answering takes.
#[derive(Debug, Clone)]
pub struct Answering {
    /// The model.
    pub claude: Claude,
    /// The tools.
    pub tools: Tools,
    /// The cache.
    pub cache: Arc<Cache<AnswerError>>,
    /// Where questions are written down for a replay.
    pub trace: Option<Trace>,
    /// What is counted.
    pub metrics: Arc<Metrics>,
    /// For a whole question.
    pub timeout: Duration,
    /// Requests to Claude for one question.
    pub max_turns: u32,
    /// Which hosts a question may reach once it has read data.
    pub web_after_data: WebAfterData,
    /// What conversations begin with, by client and person.
    pub standing: Arc<Mutex<Standings>>,
    /// Conversations under way; the drain waits for them.
    pub conversations: TaskTracker,
}

/// A question, with who asks and how.
#[derive(Debug, Clone)]
pub struct Question {
    /// Trimmed.
    pub text: String,
    /// Who asks.
    pub principal: Arc<Principal>,
    /// For whom: the client itself, or a person that it acts for.
    pub person: String,
    /// What was said in its session so far.
    pub history: Vec<Exchange>,
    /// How the cache may be used.
    pub cache: CacheOptions,
    /// Whether its asker hears the text as Claude says it.
    pub streamed: bool,
    /// The request it came with.
    pub trace_id: String,
}

impl Question {
    fn call<'a>(&'a self, reach: &'a Reach) -> Call<'a> {
        Call {
            principal: &self.principal,
            person: &self.person,
            trace_id: &self.trace_id,
            by: "model",
            reach,
        }
    }

    /// What Claude is told of the session, and the question.
    fn messages(&self) -> Vec<Value> {
        let said = |role, content: &str| json!({ "role": role, "content": content });
        let mut messages = Vec::with_capacity(self.history.len() * 2 + 1);
        for exchange in &self.history {
            messages.push(said("user", &exchange.query));
            messages.push(said("assistant", &exchange.response));
        }
        messages.push(said("user", &self.text));
        messages
    }
}

/// Conversations at the same time. Whoever asks for another is to come back later.
const MOST_UNDER_WAY: usize = 1_024;

/// Why there is no answer. Shared by all who asked the same.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum AnswerError {
    /// The time is over.
    #[error("the question took longer than it may")]
    Deadline,
    /// Claude cannot answer.
    #[error("the model's service cannot answer at the moment")]
    Claude {
        /// What it asked for.
        retry_after: Option<Duration>,
    },
    /// No tool could reach its source.
    #[error("no source could be reached")]
    SourcesDown,
    /// Turns, tokens, or a refusal of the model.
    #[error("{0}")]
    Limit(String),
    /// More conversations than there may be.
    #[error("too many questions are being answered at the moment")]
    Busy,
    /// `only_if_cached`, and it is not.
    #[error("no stored answer to this question")]
    NotCached,
    /// What its tools did is not on disk.
    #[error("what was done for the answer could not be audited")]
    Unaudited,
    /// The maker is gone.
    #[error("the answer was given up")]
    Lost,
}

impl From<ClaudeError> for AnswerError {
    fn from(error: ClaudeError) -> Self {
        match error {
            ClaudeError::Deadline => Self::Deadline,
            ClaudeError::Refused { .. } => Self::Claude { retry_after: None },
            ClaudeError::Service { retry_after, .. } => Self::Claude { retry_after },
        }
    }
}

/// An answer and how the cache took part in it.
#[derive(Debug, Clone)]
pub struct Answered {
    /// The answer.
    pub answer: Arc<Stored>,
    /// What the cache did.
    pub cache: CacheStatus,
    /// Whether it is kept for the next one.
    pub stored: bool,
}

/// What becomes of a question at once.
#[derive(Debug)]
pub enum Begun {
    /// It was answered.
    Ready(Answered),
    /// Its answer is being made.
    Flying(Flying),
}

/// An answer that is being made. Dropped, its asker waits no more.
#[derive(Debug)]
pub struct Flying {
    seat: Seat<AnswerError>,
    cache: CacheStatus,
    deadline: Instant,
}

impl Flying {
    /// What the cache did.
    pub fn cache(&self) -> CacheStatus {
        self.cache
    }

    /// Where it says what it does.
    pub fn flight(&self) -> Arc<Flight<AnswerError>> {
        self.seat.flight().clone()
    }

    /// What was said since the last time; nothing any more once the answer is there or the time is over.
    pub async fn hear(&mut self) -> Vec<Said> {
        let hearing = tokio::time::timeout_at(self.deadline, self.seat.hear());
        hearing.await.unwrap_or_default()
    }

    /// The answer.
    pub async fn landed(&self) -> Result<Answered, AnswerError> {
        // Who makes the answer knows its deadline itself, and says why there is none.
        let grace = Duration::from_millis(100);
        let landing = tokio::time::timeout_at(self.deadline + grace, self.seat.landed());
        let made = landing.await.map_err(|_| AnswerError::Deadline)?;
        let (answer, stored) = made.unwrap_or(Err(AnswerError::Lost))?;
        Ok(Answered {
            answer,
            cache: self.cache,
            stored: stored && self.cache != CacheStatus::Collapsed,
        })
    }
}

impl Answering {
    /// Answers a question.
    pub async fn answer(&self, question: Question) -> Result<Answered, AnswerError> {
        match self.begin(question)? {
            Begun::Ready(answered) => Ok(answered),
            Begun::Flying(flying) => flying.landed().await,
        }
    }

    /// Answers a question from the cache, or begins to make its answer.
    pub fn begin(&self, question: Question) -> Result<Begun, AnswerError> {
        self.metrics.queries.fetch_add(1, Relaxed);
        let standing = self.standing(&question.principal, &question.person);
        let key = Self::key(&question, &standing);
        let max_age = question.cache.max_age_seconds.map(Duration::from_secs);
        let now = std::time::Instant::now();
        let cached = question.cache.use_cache && self.cache.is_on();
        match question.cache.mode {
            CacheMode::OnlyIfCached => {
                let found = cached.then(|| self.cache.get(key, now, max_age)).flatten();
                let (packed, stale) = found.ok_or(AnswerError::NotCached)?;
                self.ready(&packed, stale)
            }
            _ if !cached => {
                let (flight, seat) = Flight::new();
                let begun = (flight, self.cache.since());
                self.fly(question, standing, None, begun)?;
                Ok(self.flying(seat, CacheStatus::Bypass))
            }
            CacheMode::Refresh => {
                let (flight, seat) = Flight::new();
                let begun = (flight, self.cache.since());
                self.fly(question, standing, Some(key), begun)?;
                Ok(self.flying(seat, CacheStatus::Refresh))
            }
            CacheMode::Default => match self.cache.get_or_begin(key, now, max_age) {
                Lookup::Hit(packed) => {
                    let ready = self.ready(&packed, false);
                    if let Ok(Begun::Ready(answered)) = &ready {
                        self.write_down(key, &answered.answer);
                    }
                    ready
                }
                Lookup::Stale(packed, renewal) => {
                    if let Some((seat, since)) = renewal {
                        self.renew(question, standing, key, seat, since);
                    }
                    self.ready(&packed, true)
                }
                Lookup::UnderWay(seat) => {
                    self.metrics.cache_collapsed.fetch_add(1, Relaxed);
                    overhead::joined();
                    Ok(self.flying(seat, CacheStatus::Collapsed))
                }
                Lookup::Absent(seat, since) => {
                    self.metrics.cache_misses.fetch_add(1, Relaxed);
                    self.cache.missed(&question.principal.client.tenant);
                    let begun = (seat.flight().clone(), since);
                    self.fly(question, standing, Some(key), begun)?;
                    Ok(self.flying(seat, CacheStatus::Miss))
                }
            },
        }
    }

    fn ready(&self, packed: &Packed, stale: bool) -> Result<Begun, AnswerError> {
        let (counter, cache) = if stale {
            (&self.metrics.cache_stale, CacheStatus::Stale)
        } else {
            (&self.metrics.cache_hits, CacheStatus::Hit)
        };
        counter.fetch_add(1, Relaxed);
        Ok(Begun::Ready(Answered {
            answer: packed.unpack().ok_or(AnswerError::Lost)?,
            cache,
            stored: true,
        }))
    }

    fn flying(&self, seat: Seat<AnswerError>, cache: CacheStatus) -> Begun {
        Begun::Flying(Flying {
            seat,
            cache,
            deadline: Instant::now() + self.timeout,
        })
    }

    /// Makes an answer for all who ask the same meanwhile, in a task of its own: the first asker may leave.
    fn fly(
        &self,
        question: Question,
        standing: Arc<Standing>,
        key: Option<Key>,
        (flight, since): (Arc<Flight<AnswerError>>, Since),
    ) -> Result<(), AnswerError> {
        let landing = Landing {
            cache: self.cache.clone(),
            key,
            flight: flight.clone(),
        };
        if self.conversations.len() >= MOST_UNDER_WAY {
            flight.land(Err(AnswerError::Busy));
            return Err(AnswerError::Busy);
        }
        let answering = self.clone();
        self.conversations.spawn(overhead::inherit(async move {
            let ended = Ended(&flight);
            let made = tokio::select! {
                made = answering.made(question, standing, key, since, flight.feed()) => Some(made),
                () = flight.given_up() => None,
            };
            drop(landing);
            if let Some(made) = made {
                ended.0.land(made);
            }
        }));
        Ok(())
    }

    /// Makes an answer that nobody waits for: an older one was given meanwhile.
    fn renew(
        &self,
        question: Question,
        standing: Arc<Standing>,
        key: Key,
        seat: Seat<AnswerError>,
        since: Since,
    ) {
        let begun = (seat.flight().clone(), since);
        let flown = self.fly(question, standing, Some(key), begun);
        let cache = self.cache.clone();
        self.conversations.spawn(async move {
            let renewed = flown.is_ok() && matches!(seat.landed().await, Some(Ok((_, true))));
            if !renewed {
                cache.not_renewed(key, std::time::Instant::now());
            }
        });
    }

    /// Makes an answer, and stores it under `key` when it may be stored.
    async fn made(
        &self,
        question: Question,
        standing: Arc<Standing>,
        key: Option<Key>,
        since: Since,
        feed: &Feed,
    ) -> Made<AnswerError> {
        let deadline = Instant::now() + self.timeout;
        let talking = self.converse(&question, &standing, deadline, feed);
        let answer = Arc::new(talking.await?);
        if let Some(key) = key.filter(|_| answer.storable) {
            self.write_down(key, &answer);
        }
        let stored = key.is_some_and(|key| {
            let label = Label {
                tenant: question.principal.client.tenant.clone(),
                question: question.text.clone(),
                prefix: question.cache.cache_prefix.clone(),
            };
            self.cache
                .store(key, label, answer.clone(), since, std::time::Instant::now())
        });
        Ok((answer, stored))
    }

    fn write_down(&self, key: Key, answer: &Stored) {
        if let Some(trace) = &self.trace {
            trace.add(Asked {
                at_ms: jiff::Timestamp::now().as_millisecond(),
                key: key.to_hex(),
                bytes: answer.bytes(),
                cost_usd: answer.cost_usd,
                made_in_ms: answer.made_in_ms,
            });
        }
    }

    /// Everything that an answer depends on.
    fn key(question: &Question, standing: &Standing) -> Key {
        let who = if standing.personal {
            question.person.as_str()
        } else {
            ""
        };
        let said = question
            .history
            .iter()
            .flat_map(|exchange| [exchange.query.as_str(), exchange.response.as_str()]);
        let last = [
            standing.circumstances.as_str(),
            who,
            question.cache.cache_prefix.as_str(),
            question.text.as_str(),
        ];
        Key::of(said.chain(last))
    }
}

/// Tells those who wait, also where the conversation ends in a panic.
struct Ended<'a>(&'a Flight<AnswerError>);

impl Drop for Ended<'_> {
    fn drop(&mut self) {
        if !self.0.has_landed() {
            self.0.land(Err(AnswerError::Lost));
        }
    }
}

/// Ends the flight however the conversation ends.
struct Landing {
    cache: Arc<Cache<AnswerError>>,
    key: Option<Key>,
    flight: Arc<Flight<AnswerError>>,
}

impl Drop for Landing {
    fn drop(&mut self) {
        if let Some(key) = self.key {
            self.cache.land(key, &self.flight);
        }
    }
}
