//! The audit log: one event per tool call, refusal, login and administrative act, on disk before the answer is sent,
//! each holding the hash of the one before. A writer of its own joins what waits into one flush.

mod chain;
mod log;
mod read;

pub use chain::{Anchor, Finding, Kind, Link, NO_HASH, check, hash_of};
pub use log::files;

use crate::metrics::Metrics;
use fact_wire::AuditEvent;
use log::{Log, Readable};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, oneshot};

/// What happened, before it has its place in the chain.
#[derive(Debug, Clone)]
pub struct Happening {
    /// `tool_call`, `refusal`, `login` or `admin`.
    pub kind: &'static str,
    /// `success`, `failure` or `refused`.
    pub outcome: &'static str,
    /// Who acted.
    pub client_id: String,
    /// For whom.
    pub tenant: String,
    /// On what.
    pub resource: String,
    /// The rule that refused.
    pub rule: Option<String>,
    /// The request it belongs to.
    pub trace_id: String,
    /// More; holds no secret.
    pub details: Value,
}

/// Why the log cannot be kept.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// The file.
    #[error("the audit log in `FACT_STATE_DIR` cannot be used")]
    File(#[from] std::io::Error),
    /// One of its lines.
    #[error(
        "the audit log in `FACT_STATE_DIR` holds a line that is no event; move it away to begin another"
    )]
    Torn,
    /// Another engine writes it.
    #[error("another engine uses this `FACT_STATE_DIR`: its audit log can have one writer only")]
    Held,
    /// The writer is gone.
    #[error("the audit log is not written any more")]
    Gone,
}

struct Waiting {
    /// None only waits for what is before it.
    happening: Option<Happening>,
    written: oneshot::Sender<bool>,
}

/// The log. Clones write to the same one; the last of them waits for what is not on disk yet.
#[derive(Debug, Clone)]
pub struct Audit {
    writer: Arc<Writer>,
    readable: Arc<Mutex<Readable>>,
    folder: PathBuf,
}

#[derive(Debug)]
struct Writer {
    waiting: Option<mpsc::UnboundedSender<Waiting>>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Writer {
    fn drop(&mut self) {
        drop(self.waiting.take());
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}

/// Which events are wanted; all of them by default.
#[derive(Debug, Clone, Default)]
pub struct Wanted {
    /// At most so many.
    pub limit: usize,
    /// Only those with a lower number.
    pub before: Option<u64>,
    /// Fields, and what they must hold.
    pub equal: Vec<(Field, String)>,
    /// Not older.
    pub since: Option<jiff::Timestamp>,
    /// Not newer.
    pub until: Option<jiff::Timestamp>,
}

/// A field by which events can be chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Field {
    /// `type`
    Type,
    /// `outcome`
    Outcome,
    /// `client_id`
    ClientId,
    /// `tenant`
    Tenant,
    /// `resource`
    Resource,
    /// `trace_id`
    TraceId,
}

impl Wanted {
    fn takes(&self, event: &AuditEvent) -> bool {
        let is = |(field, value): &(Field, String)| {
            let held = match field {
                Field::Type => &event.r#type,
                Field::Outcome => &event.outcome,
                Field::ClientId => &event.client_id,
                Field::Tenant => &event.tenant,
                Field::Resource => &event.resource,
                Field::TraceId => &event.trace_id,
            };
            held == value
        };
        let newer =
            |until: jiff::Timestamp| event.at.parse().is_ok_and(|at: jiff::Timestamp| at > until);
        self.equal.iter().all(is) && !self.until.is_some_and(newer)
    }
}

/// Events, newest first.
#[derive(Debug, Clone, Default)]
pub struct Page {
    /// As wanted.
    pub events: Vec<AuditEvent>,
    /// What `before` must be for the next page, where there may be one.
    pub next: Option<u64>,
}

/// An event that is on its way to the disk.
#[derive(Debug)]
#[must_use = "no answer may be sent before its events are on disk"]
pub struct Receipt(oneshot::Receiver<bool>);

impl Receipt {
    /// Returns once the event is on disk.
    pub async fn written(self) -> Result<(), AuditError> {
        if self.0.await.unwrap_or(false) {
            Ok(())
        } else {
            Err(AuditError::Gone)
        }
    }
}

impl Audit {
    /// Opens the log in a folder and goes on where it ended. Files of days that ended longer ago than `keep` are removed.
    pub fn open(
        folder: &Path,
        keep: Option<Duration>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, AuditError> {
        let log = Log::open(folder, keep)?;
        let readable = log.readable();
        let (waiting, queue) = mpsc::unbounded_channel::<Waiting>();
        let thread = std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || write(log, queue, &metrics))?;
        Ok(Self {
            writer: Arc::new(Writer {
                waiting: Some(waiting),
                thread: Some(thread),
            }),
            readable,
            folder: folder.to_owned(),
        })
    }

    /// Its files, and the folder of those that were moved off.
    pub fn paths(&self) -> [PathBuf; 3] {
        ["audit.ndjson", "audit.lock", log::OLDER].map(|name| self.folder.join(name))
    }

    /// Hands an event to the writer. It is on disk once the receipt says so.
    pub fn submit(&self, happening: Happening) -> Receipt {
        self.enqueue(Some(happening))
    }

    fn enqueue(&self, happening: Option<Happening>) -> Receipt {
        let (written, done) = oneshot::channel();
        // Where the writer is gone, `written` is dropped with the message, and the receipt says so.
        if let Some(waiting) = &self.writer.waiting {
            drop(waiting.send(Waiting { happening, written }));
        }
        Receipt(done)
    }

    /// Returns once the event is on disk.
    pub async fn record(&self, happening: Happening) -> Result<(), AuditError> {
        self.submit(happening).written().await
    }

    /// Returns once everything that was submitted so far is on disk.
    pub async fn settled(&self) -> Result<(), AuditError> {
        self.enqueue(None).written().await
    }

    /// Events, newest first, read from the disk.
    pub async fn page(&self, wanted: Wanted) -> Result<Page, AuditError> {
        let readable = self
            .readable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        let reading = tokio::task::spawn_blocking(move || read::page(&readable, &wanted));
        reading.await.unwrap_or(Err(AuditError::Gone))
    }
}

/// The writer: what waits is written and flushed together, and then everybody is told.
fn write(mut log: Log, mut queue: mpsc::UnboundedReceiver<Waiting>, metrics: &Metrics) {
    while let Some(first) = queue.blocking_recv() {
        let mut batch = vec![first];
        while let Ok(next) = queue.try_recv() {
            batch.push(next);
        }
        let now = jiff::Timestamp::now();
        let mut lines = Vec::new();
        let mut last = log.last().clone();
        let first = last.sequence + 1;
        for happening in batch
            .iter()
            .filter_map(|waiting| waiting.happening.as_ref())
        {
            let event = append(&mut last, happening, now);
            lines.extend(serde_json::to_vec(&event).unwrap_or_default());
            lines.push(b'\n');
        }
        let began = Instant::now();
        let written = lines.is_empty()
            || match log.append(&lines, first, last, now) {
                Ok(()) => {
                    metrics.audit_flush.record(began.elapsed());
                    true
                }
                Err(error) => {
                    metrics
                        .audit_failures
                        .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                    tracing::error!(%error, "audit events could not be written");
                    false
                }
            };
        for Waiting {
            happening,
            written: told,
        } in batch
        {
            if let Some(happening) = happening.filter(|_| written) {
                metrics
                    .audit_events
                    .add([happening.kind, happening.outcome], 1);
            }
            let _ = told.send(written);
        }
    }
}

/// Gives a happening its place behind `last`.
fn append(last: &mut Anchor, happening: &Happening, at: jiff::Timestamp) -> AuditEvent {
    let mut event = AuditEvent {
        event_id: format!("evt_{:032x}", rand::random::<u128>()),
        sequence: last.sequence + 1,
        at: at.to_string(),
        r#type: happening.kind.to_owned(),
        outcome: happening.outcome.to_owned(),
        client_id: happening.client_id.clone(),
        tenant: happening.tenant.clone(),
        resource: happening.resource.clone(),
        rule: happening.rule.clone(),
        trace_id: happening.trace_id.clone(),
        details: happening.details.clone(),
        previous_hash: last.hash.clone(),
        hash: String::new(),
    };
    event.hash = hash_of(&event);
    last.sequence = event.sequence;
    last.hash.clone_from(&event.hash);
    event
}

#[cfg(test)]
mod tests;
