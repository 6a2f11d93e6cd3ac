//! The audit log: one event per tool call, refusal, login and administrative act, on disk before the answer is sent,
//! each holding the hash of the one before. A writer of its own joins what waits into one flush.

use fact_wire::AuditEvent;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::collections::VecDeque;
use std::fs::File;
use std::io::{BufRead as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
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
    /// The writer is gone.
    #[error("the audit log is not written any more")]
    Gone,
}

struct Waiting {
    /// None only waits for what is before it.
    happening: Option<Happening>,
    written: oneshot::Sender<bool>,
}

/// The log. Clones write to the same one.
#[derive(Debug, Clone)]
pub struct Audit {
    waiting: mpsc::UnboundedSender<Waiting>,
    recent: Arc<Mutex<VecDeque<AuditEvent>>>,
    path: PathBuf,
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

/// How many events `GET /api/v1/audit` can show.
const RECENT: usize = 10_000;

const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

impl Audit {
    /// Opens the log in a folder and goes on where it ended.
    pub fn open(folder: &Path) -> Result<Self, AuditError> {
        std::fs::create_dir_all(folder)?;
        let path = folder.join("audit.ndjson");
        let Log {
            mut file,
            mut length,
            events,
        } = Log::open(&path)?;
        let mut chain = events.back().map_or(Chain::new(), |last| Chain {
            sequence: last.sequence,
            hash: last.hash.clone(),
        });
        let (waiting, mut queue) = mpsc::unbounded_channel::<Waiting>();
        let recent = Arc::new(Mutex::new(events));
        let shown = recent.clone();
        std::thread::Builder::new()
            .name("audit".into())
            .spawn(move || {
                let mut whole = true;
                while let Some(first) = queue.blocking_recv() {
                    let mut batch = vec![first];
                    while let Ok(next) = queue.try_recv() {
                        batch.push(next);
                    }
                    let mut lines = Vec::new();
                    let mut events = Vec::with_capacity(batch.len());
                    let before = chain.clone();
                    for happening in batch
                        .iter()
                        .filter_map(|waiting| waiting.happening.as_ref())
                    {
                        let event = chain.append(happening);
                        lines.extend(serde_json::to_vec(&event).unwrap_or_default());
                        lines.push(b'\n');
                        events.push(event);
                    }
                    let written = lines.is_empty() || {
                        // What an earlier failure left behind belongs to nobody.
                        let clean = whole || file.set_len(length).is_ok();
                        whole = clean
                            && file
                                .write_all(&lines)
                                .and_then(|()| file.sync_data())
                                .is_ok();
                        whole
                    };
                    if written {
                        length += u64::try_from(lines.len()).unwrap_or(0);
                        let mut shown = shown.lock().unwrap_or_else(PoisonError::into_inner);
                        shown.extend(events);
                        let over = shown.len().saturating_sub(RECENT);
                        shown.drain(..over);
                    } else {
                        tracing::error!("audit events could not be written");
                        chain = before;
                    }
                    for waiting in batch {
                        let _ = waiting.written.send(written);
                    }
                }
            })?;
        Ok(Self {
            waiting,
            recent,
            path,
        })
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Hands an event to the writer. It is on disk once the receipt says so.
    pub fn submit(&self, happening: Happening) -> Receipt {
        self.enqueue(Some(happening))
    }

    fn enqueue(&self, happening: Option<Happening>) -> Receipt {
        let (written, done) = oneshot::channel();
        // Where the writer is gone, `written` is dropped with the message, and the receipt says so.
        drop(self.waiting.send(Waiting { happening, written }));
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

    /// The newest events, newest first.
    pub fn newest(&self, limit: usize) -> Vec<AuditEvent> {
        self.recent
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .rev()
            .take(limit)
            .cloned()
            .collect()
    }
}

#[derive(Clone)]
struct Chain {
    sequence: u64,
    hash: String,
}

impl Chain {
    fn new() -> Self {
        Self {
            sequence: 0,
            hash: NO_HASH.to_owned(),
        }
    }

    fn append(&mut self, happening: &Happening) -> AuditEvent {
        self.sequence += 1;
        let mut event = AuditEvent {
            event_id: format!("evt_{:032x}", rand::random::<u128>()),
            sequence: self.sequence,
            at: jiff::Timestamp::now().to_string(),
            r#type: happening.kind.to_owned(),
            outcome: happening.outcome.to_owned(),
            client_id: happening.client_id.clone(),
            tenant: happening.tenant.clone(),
            resource: happening.resource.clone(),
            rule: happening.rule.clone(),
            trace_id: happening.trace_id.clone(),
            details: happening.details.clone(),
            previous_hash: self.hash.clone(),
            hash: String::new(),
        };
        event.hash = hash_of(&event);
        self.hash.clone_from(&event.hash);
        event
    }
}

/// The hex SHA-256 of the RFC 8785 JSON of the event without `hash`.
pub fn hash_of(event: &AuditEvent) -> String {
    let bare = AuditEvent {
        hash: String::new(),
        ..event.clone()
    };
    let canonical = serde_json_canonicalizer::to_vec(&bare).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(canonical).into();
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
            hex
        })
}

/// The file as an earlier engine left it.
struct Log {
    file: File,
    length: u64,
    /// The newest, at most [`RECENT`].
    events: VecDeque<AuditEvent>,
}

impl Log {
    /// Reads what is there. A last line without its end was cut off in the writing, before anybody was told of its event.
    fn open(path: &Path) -> Result<Self, AuditError> {
        let file = std::fs::OpenOptions::new()
            .create(true)
            .read(true)
            .append(true)
            .open(path)?;
        let mut reader = std::io::BufReader::new(&file);
        let mut lines = VecDeque::new();
        let mut length = 0;
        loop {
            let mut line = Vec::new();
            let read = reader.read_until(b'\n', &mut line)?;
            if line.pop() != Some(b'\n') {
                if read > 0 {
                    tracing::warn!("the audit log ended within a line, which is cut off");
                    file.set_len(length)?;
                }
                break;
            }
            length += u64::try_from(read).unwrap_or(0);
            if lines.len() == RECENT {
                lines.pop_front();
            }
            lines.push_back(line);
        }
        let events = lines
            .iter()
            .map(|line| serde_json::from_slice(line))
            .collect::<Result<_, _>>()
            .map_err(|_| AuditError::Torn)?;
        Ok(Self {
            file,
            length,
            events,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn happening(resource: &str) -> Happening {
        Happening {
            kind: "tool_call",
            outcome: "success",
            client_id: "alice".into(),
            tenant: "acme".into(),
            resource: resource.into(),
            rule: None,
            trace_id: "t".into(),
            details: serde_json::json!({}),
        }
    }

    #[tokio::test]
    async fn every_event_holds_the_hash_of_the_one_before_also_after_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        for round in 0..2 {
            let audit = Audit::open(folder.path()).unwrap();
            for number in 0..3 {
                audit
                    .record(happening(&format!("{round}.{number}")))
                    .await
                    .unwrap();
            }
        }
        let text = std::fs::read_to_string(folder.path().join("audit.ndjson")).unwrap();
        let events: Vec<AuditEvent> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(
            events
                .iter()
                .map(|event| event.sequence)
                .collect::<Vec<_>>(),
            [1, 2, 3, 4, 5, 6]
        );
        assert_eq!(events[0].previous_hash, NO_HASH);
        assert!(
            events
                .windows(2)
                .all(|pair| pair[1].previous_hash == pair[0].hash)
        );
        assert!(events.iter().all(|event| hash_of(event) == event.hash));
        let mut altered = events[2].clone();
        altered.outcome = "failure".into();
        assert_ne!(hash_of(&altered), altered.hash);
    }

    #[tokio::test]
    async fn a_line_cut_off_in_the_writing_does_not_end_the_log_and_earlier_events_are_still_shown()
    {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("audit.ndjson");
        let audit = Audit::open(folder.path()).unwrap();
        audit.record(happening("first")).await.unwrap();
        drop(audit);
        let mut file = File::options().append(true).open(&path).unwrap();
        file.write_all(br#"{"event_id":"evt_"#).unwrap();
        let audit = Audit::open(folder.path()).unwrap();
        audit.record(happening("second")).await.unwrap();
        let shown: Vec<String> = audit
            .newest(9)
            .into_iter()
            .map(|event| event.resource)
            .collect();
        assert_eq!(shown, ["second", "first"]);
        let text = std::fs::read_to_string(path).unwrap();
        let events: Vec<AuditEvent> = text
            .lines()
            .map(|line| serde_json::from_str(line).unwrap())
            .collect();
        assert_eq!(events[1].previous_hash, events[0].hash);
    }
}
