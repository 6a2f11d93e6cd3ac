//! The audit log's files: `audit.ndjson`, which grows, and `audit/FIRST.ndjson`, what was moved off at the end of a day.
//! One engine at a time holds them. What is older than may be kept is removed, and `audit/anchor.json` says where it ended.

use super::chain::Anchor;
use super::{AuditError, read};
use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// What can be read: all of it is on disk.
#[derive(Debug, Clone)]
pub(super) struct Readable {
    /// Oldest first: the number of the first event, and the file.
    pub(super) older: Vec<(u64, PathBuf)>,
    pub(super) current: Arc<File>,
    /// Bytes of the current file; what is behind them is being written.
    pub(super) length: u64,
}

/// The file that grows, and those before it.
#[derive(Debug)]
pub(super) struct Log {
    folder: PathBuf,
    file: Arc<File>,
    length: u64,
    /// False: what a failed write left behind has to be cut off first.
    whole: bool,
    /// The day, in UTC, and the number of the current file's first event.
    begun: Option<(String, u64)>,
    keep: Option<Duration>,
    readable: Arc<Mutex<Readable>>,
    last: Anchor,
    /// Held as long as this engine runs.
    _lock: File,
}

/// In the state folder, so that the file tools need not know rotated files one by one.
pub(super) const OLDER: &str = "audit";
const CURRENT: &str = "audit.ndjson";
const ANCHOR: &str = "anchor.json";

impl Log {
    /// Opens what is there, or begins. A last line without its end was cut off in the writing, before anybody was told of
    /// its event.
    pub(super) fn open(folder: &Path, keep: Option<Duration>) -> Result<Self, AuditError> {
        std::fs::create_dir_all(folder.join(OLDER))?;
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(folder.join("audit.lock"))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(AuditError::Held),
            Err(std::fs::TryLockError::Error(error)) => return Err(error.into()),
        }
        let (file, length) = open_current(folder)?;
        let older = older(folder)?;
        let file = Arc::new(file);
        let first = read::first(&file, length)?;
        let mut last = read::last(&file, length)?;
        if let (None, Some((_, path))) = (&last, older.last()) {
            let file = File::open(path)?;
            last = read::last(&file, file.metadata()?.len())?;
        }
        let last = match last {
            Some(event) => Anchor {
                sequence: event.sequence,
                hash: event.hash,
            },
            None => anchor(folder)?.unwrap_or_else(Anchor::origin),
        };
        let readable = Readable {
            older,
            current: file.clone(),
            length,
        };
        let mut log = Self {
            folder: folder.to_owned(),
            file,
            length,
            whole: true,
            begun: first.map(|event| (day(&event.at).to_owned(), event.sequence)),
            keep,
            readable: Arc::new(Mutex::new(readable)),
            last,
            _lock: lock,
        };
        log.expire(jiff::Timestamp::now())?;
        Ok(log)
    }

    pub(super) fn readable(&self) -> Arc<Mutex<Readable>> {
        self.readable.clone()
    }

    /// Where the chain stands.
    pub(super) fn last(&self) -> &Anchor {
        &self.last
    }

    /// Writes whole lines and waits for the disk. `last` is the last event of them, `first` the number of the first.
    pub(super) fn append(
        &mut self,
        lines: &[u8],
        first: u64,
        last: Anchor,
        now: jiff::Timestamp,
    ) -> std::io::Result<()> {
        if !self.whole {
            self.file.set_len(self.length)?;
            self.whole = true;
        }
        self.rotate(now)?;
        self.whole = false;
        (&*self.file).write_all(lines)?;
        self.file.sync_data()?;
        self.whole = true;
        self.length += u64::try_from(lines.len()).unwrap_or(0);
        if self.begun.is_none() {
            self.begun = Some((day(&now.to_string()).to_owned(), first));
        }
        self.last = last;
        self.readable()
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .length = self.length;
        Ok(())
    }

    /// Moves the file of an earlier day off, where events are not kept for ever.
    fn rotate(&mut self, now: jiff::Timestamp) -> std::io::Result<()> {
        let today = now.to_string();
        let Some((_, first)) = self
            .begun
            .as_ref()
            .filter(|(begun, _)| self.keep.is_some() && begun != day(&today))
        else {
            return Ok(());
        };
        let (first, path) = (
            *first,
            self.folder.join(OLDER).join(format!("{first:020}.ndjson")),
        );
        std::fs::rename(self.folder.join(CURRENT), &path)?;
        let (file, length) = open_current(&self.folder)?;
        File::open(self.folder.join(OLDER))?.sync_all()?;
        self.file = Arc::new(file);
        self.length = length;
        self.begun = None;
        {
            let mut readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
            readable.older.push((first, path));
            readable.current = self.file.clone();
            readable.length = length;
        }
        self.expire(now)
    }

    /// Removes the files of which even the last event is older than may be kept.
    fn expire(&mut self, now: jiff::Timestamp) -> std::io::Result<()> {
        let Some(oldest) = self.keep.and_then(|keep| now.checked_sub(keep).ok()) else {
            return Ok(());
        };
        let older = self
            .readable
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .older
            .clone();
        for (_, path) in older {
            let file = File::open(&path)?;
            let Some(last) = read::last(&file, file.metadata()?.len())
                .map_err(std::io::Error::other)?
                .filter(|event| {
                    event
                        .at
                        .parse::<jiff::Timestamp>()
                        .is_ok_and(|at| at < oldest)
                })
            else {
                break;
            };
            let end = Anchor {
                sequence: last.sequence,
                hash: last.hash,
            };
            let new = self.folder.join(OLDER).join("anchor.new");
            let mut file = File::create(&new)?;
            file.write_all(&serde_json::to_vec(&end)?)?;
            file.sync_all()?;
            std::fs::rename(new, self.folder.join(OLDER).join(ANCHOR))?;
            std::fs::remove_file(&path)?;
            tracing::info!(
                until = end.sequence,
                "audit events are older than they are kept, and removed"
            );
            let mut readable = self.readable.lock().unwrap_or_else(PoisonError::into_inner);
            readable.older.retain(|(_, other)| *other != path);
        }
        Ok(())
    }
}

/// The files of a log, oldest first, and what came before them.
pub fn files(folder: &Path) -> Result<(Anchor, Vec<PathBuf>), AuditError> {
    let mut files: Vec<PathBuf> = older(folder)?.into_iter().map(|(_, path)| path).collect();
    let current = folder.join(CURRENT);
    if current.exists() || files.is_empty() {
        files.push(current);
    }
    Ok((anchor(folder)?.unwrap_or_else(Anchor::origin), files))
}

fn open_current(folder: &Path) -> std::io::Result<(File, u64)> {
    let file = File::options()
        .create(true)
        .read(true)
        .append(true)
        .open(folder.join(CURRENT))?;
    File::open(folder)?.sync_all()?;
    let length = file.metadata()?.len();
    let whole = read::end_of_last_line(&file, length)?;
    if whole < length {
        tracing::warn!("the audit log ended within a line, which is cut off");
        file.set_len(whole)?;
    }
    Ok((file, whole))
}

fn older(folder: &Path) -> std::io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(folder.join(OLDER)) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut older = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let first = path
            .file_name()
            .and_then(|name| name.to_str()?.strip_suffix(".ndjson")?.parse().ok());
        older.extend(first.map(|first| (first, path)));
    }
    older.sort();
    Ok(older)
}

fn anchor(folder: &Path) -> Result<Option<Anchor>, AuditError> {
    match std::fs::read(folder.join(OLDER).join(ANCHOR)) {
        Ok(text) => serde_json::from_slice(&text)
            .map(Some)
            .map_err(|_| AuditError::Torn),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// The day of an RFC 3339 time in UTC.
fn day(at: &str) -> &str {
    at.get(..10).unwrap_or(at)
}
