//! What runs came to over time: one line a run in a file that is only ever added to, by several at once if need be.

mod change_points;

pub use change_points::{ChangePoint, change_points};

use fact_reports::run::{Run, Verdict};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read as _, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The version of a line. A reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// Version of this line, [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// RFC 3339 time of the start.
    pub started_at: String,
    /// What was judged.
    pub target: String,
    /// Which database stood behind it.
    pub database: String,
    /// `passed`, `failed` and so on.
    pub verdict: String,
    /// The commit that was checked out where the run was made.
    pub commit: Option<String>,
    /// The machine that measured.
    pub machine: BTreeMap<String, String>,
    /// Milliseconds by name, such as `load.standard/hit.p95`.
    pub metrics: BTreeMap<String, f64>,
}

/// Why a history cannot be read or added to.
#[derive(Debug, thiserror::Error)]
pub enum HistoryError {
    /// The file cannot be read.
    #[error("cannot read the history {path}: {source}; `fact run --history {path}` begins one")]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The file cannot be added to.
    #[error("cannot add to the history {path}: {source}; choose another with `--history`")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// From the future.
    #[error(
        "line {line} of the history {path} has schema version {version}, newer than this fact reads ({SCHEMA_VERSION})"
    )]
    Newer {
        /// Which file.
        path: PathBuf,
        /// Which line.
        line: usize,
        /// Its version.
        version: u64,
    },
    /// Nothing in it.
    #[error(
        "{path} holds no run; `fact run --history {path}` adds one{}",
        if *.rubbish > 0 { format!("; {rubbish} lines of it are none of a history") } else { String::new() }
    )]
    Empty {
        /// Which file.
        path: PathBuf,
        /// How many lines could not be read.
        rubbish: usize,
    },
}

/// A history as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// In the order of the file.
    pub entries: Vec<Entry>,
    /// The numbers of lines that are torn or none of a history.
    pub rubbish: Vec<usize>,
}

impl Entry {
    /// What a run came to.
    pub fn of(run: &Run, verdict: &Verdict, commit: Option<String>) -> Self {
        let mut metrics = BTreeMap::new();
        for scenario in &run.scenarios {
            for (class, times) in scenario.load.iter().flat_map(|load| &load.classes) {
                let name = |what: &str| format!("{}/{class}.{what}", scenario.id);
                metrics.insert(name("p50"), times.response.p50_ms);
                metrics.insert(name("p95"), times.response.p95_ms);
                metrics.insert(name("own.p95"), times.own.p95_ms);
            }
        }
        Self {
            schema_version: SCHEMA_VERSION,
            started_at: run.started_at.clone(),
            target: run.target.clone(),
            database: run.database.kind.clone(),
            verdict: verdict.verdict.clone(),
            commit,
            machine: run.machine.clone(),
            metrics,
        }
    }
}

/// Opens a history for adding to it, so that what is wrong with the file is known before anything is measured.
pub fn open(path: &Path) -> Result<File, HistoryError> {
    let opened = File::options()
        .read(true)
        .append(true)
        .create(true)
        .open(path);
    opened.map_err(|source| failed(path, source))
}

/// Adds a line: whole or, after a crash, torn; another writer waits meanwhile.
pub fn append(path: &Path, entry: &Entry) -> Result<(), HistoryError> {
    let add = |file: &mut File| {
        file.lock()?;
        let mut line = Vec::new();
        if ends_torn(file)? {
            line.push(b'\n');
        }
        serde_json::to_writer(&mut line, entry)?;
        line.push(b'\n');
        file.write_all(&line)?;
        file.sync_data()
    };
    add(&mut open(path)?).map_err(|source| failed(path, source))
}

fn ends_torn(file: &mut File) -> std::io::Result<bool> {
    if file.metadata()?.len() == 0 {
        return Ok(false);
    }
    let mut last = [0];
    file.seek(SeekFrom::End(-1))?;
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Reads what can be read, and says which lines cannot.
pub fn read(path: &Path) -> Result<History, HistoryError> {
    let bytes = std::fs::read(path).map_err(|source| HistoryError::Read {
        path: path.to_owned(),
        source,
    })?;
    let text = String::from_utf8_lossy(&bytes);
    let (mut entries, mut rubbish) = (Vec::new(), Vec::new());
    let lines = text.lines().enumerate();
    for (at, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let value: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
        match value["schema_version"].as_u64() {
            Some(version) if version > u64::from(SCHEMA_VERSION) => {
                return Err(HistoryError::Newer {
                    path: path.to_owned(),
                    line: at + 1,
                    version,
                });
            }
            _ => match serde_json::from_value(value) {
                Ok(entry) => entries.push(entry),
                Err(_) => rubbish.push(at + 1),
            },
        }
    }
    if entries.is_empty() {
        return Err(HistoryError::Empty {
            path: path.to_owned(),
            rubbish: rubbish.len(),
        });
    }
    Ok(History { entries, rubbish })
}

fn failed(path: &Path, source: std::io::Error) -> HistoryError {
    HistoryError::Write {
        path: path.to_owned(),
        source,
    }
}

/// The commit that is checked out at or above a folder, read from its repository's own files.
pub fn commit(folder: &Path) -> Option<String> {
    let read = |path: PathBuf| std::fs::read_to_string(path).ok();
    let git = folder
        .ancestors()
        .map(|folder| folder.join(".git"))
        .find(|git| git.is_dir())?;
    let head = read(git.join("HEAD"))?;
    let Some(branch) = head.trim().strip_prefix("ref: ") else {
        return Some(head.trim().to_owned());
    };
    let packed = || {
        let refs = read(git.join("packed-refs"))?;
        let mut lines = refs.lines().filter_map(|line| line.split_once(' '));
        lines.find_map(|(id, name)| (name == branch).then(|| id.to_owned()))
    };
    read(git.join(branch))
        .map(|id| id.trim().to_owned())
        .or_else(packed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(p95: f64) -> Entry {
        Entry {
            schema_version: SCHEMA_VERSION,
            started_at: "2026-01-02T03:04:05Z".into(),
            target: "reference".into(),
            database: "sqlite".into(),
            verdict: "passed".into(),
            commit: None,
            machine: BTreeMap::new(),
            metrics: BTreeMap::from([("load.standard/hit.p95".to_owned(), p95)]),
        }
    }

    #[test]
    fn a_torn_line_costs_no_other() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        append(&path, &entry(1.0)).unwrap();
        append(&path, &entry(2.0)).unwrap();
        let whole = std::fs::read(&path).unwrap();
        std::fs::write(&path, &whole[..whole.len() - 9]).unwrap();
        append(&path, &entry(3.0)).unwrap();
        let history = read(&path).unwrap();
        assert_eq!(history.entries, [entry(1.0), entry(3.0)]);
        assert_eq!(history.rubbish, [2]);
    }

    #[test]
    fn what_two_write_at_once_is_all_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        std::thread::scope(|scope| {
            for writer in [1.0, 2.0] {
                let path = &path;
                scope.spawn(move || (0..100).for_each(|_| append(path, &entry(writer)).unwrap()));
            }
        });
        let history = read(&path).unwrap();
        assert_eq!((history.entries.len(), history.rubbish.len()), (200, 0));
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let why = |text: &str| {
            std::fs::write(&path, text).unwrap();
            read(&path).unwrap_err().to_string()
        };
        assert!(why("").contains("holds no run"));
        assert!(why("x\n[1]\n").contains("2 lines of it are none"));
        assert!(why("{\"schema_version\":9}\n").contains("line 1 of"));
        let missing = read(&folder.path().join("none")).unwrap_err().to_string();
        assert!(
            missing.starts_with("cannot read") && missing.contains("begins one"),
            "{missing}"
        );
    }

    #[test]
    fn the_commit_is_read_from_a_branch_a_pack_or_the_head_itself() {
        let folder = tempfile::tempdir().unwrap();
        let git = folder.path().join(".git");
        std::fs::create_dir_all(git.join("refs/heads")).unwrap();
        let inside = folder.path().join("a/b");
        std::fs::create_dir_all(&inside).unwrap();
        std::fs::write(git.join("HEAD"), "ref: refs/heads/main\n").unwrap();
        std::fs::write(git.join("packed-refs"), "# pack\nabc refs/heads/main\n").unwrap();
        assert_eq!(commit(&inside).as_deref(), Some("abc"));
        std::fs::write(git.join("refs/heads/main"), "def\n").unwrap();
        assert_eq!(commit(&inside).as_deref(), Some("def"));
        std::fs::write(git.join("HEAD"), "123\n").unwrap();
        assert_eq!(commit(&inside).as_deref(), Some("123"));
    }
}
