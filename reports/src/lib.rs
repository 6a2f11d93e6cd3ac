//! A finished run, rendered. Knows nothing of how a run is made.

mod escape;
pub mod hdr_log;
mod histogram;
pub mod html;
pub mod hunt;
pub mod junit;
pub mod markdown;
pub mod prometheus;
pub mod run;
#[cfg(test)]
mod sample;
pub mod sarif;
pub mod terminal;
mod verdict;

use run::{Run, SCHEMA_VERSION};
use std::path::{Path, PathBuf};
pub use verdict::verdict;

/// Why a saved run cannot be shown.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// It is none.
    #[error("this is no run of `fact`: {0}")]
    Form(#[from] serde_json::Error),
    /// It is from the future.
    #[error("this run has schema version {0}, newer than this fact reads ({SCHEMA_VERSION})")]
    Newer(u64),
}

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write {path}: {source}", path = path.display())]
pub struct WriteError {
    path: PathBuf,
    source: std::io::Error,
}

/// Reads a `run.json`. One of a newer schema is refused, since what it says might not be understood.
pub fn read_run(text: &str) -> Result<Run, ReadError> {
    let value: serde_json::Value = serde_json::from_str(text)?;
    match value["schema_version"].as_u64() {
        Some(version) if version > u64::from(SCHEMA_VERSION) => Err(ReadError::Newer(version)),
        _ => Ok(serde_json::from_value(value)?),
    }
}

/// Writes the folder of a run, the verdict first.
pub fn write(run: &Run, journal: &[String], folder: &Path, strict: bool) -> Result<(), WriteError> {
    let verdict = verdict(run, strict);
    let as_json = |value: serde_json::Result<String>| value.unwrap_or_default() + "\n";
    let files = [
        (
            "verdict.json",
            as_json(serde_json::to_string_pretty(&verdict)),
        ),
        ("run.json", as_json(serde_json::to_string_pretty(run))),
        (
            "journal.ndjson",
            journal
                .iter()
                .flat_map(|line| [line.as_str(), "\n"])
                .collect(),
        ),
        ("junit.xml", junit::render(run)),
        ("results.sarif", sarif::render(run)),
        ("metrics.prom", prometheus::render(run, &verdict)),
        ("latency.hlog", hdr_log::render(run)),
        ("summary.md", markdown::render(run, &verdict)),
        ("report.html", html::render(run, &verdict)),
    ];
    std::fs::create_dir_all(folder).map_err(|source| WriteError {
        path: folder.to_owned(),
        source,
    })?;
    for (name, text) in files {
        let path = folder.join(name);
        std::fs::write(&path, text).map_err(|source| WriteError { path, source })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_read_again_as_it_was_written() {
        let folder = std::env::temp_dir().join(format!("fact-reports-{}", std::process::id()));
        let run = sample::failed();
        write(&run, &["{}".to_owned()], &folder, false).unwrap();
        let text = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
        assert_eq!(read_run(&text("run.json")).unwrap(), run);
        assert_eq!(text("journal.ndjson"), "{}\n");
        let saved: run::Verdict = serde_json::from_str(&text("verdict.json")).unwrap();
        assert_eq!(saved, verdict(&run, false));
        std::fs::remove_dir_all(&folder).unwrap();
    }

    #[test]
    fn a_run_from_the_future_is_refused() {
        let mut value = serde_json::to_value(sample::passed()).unwrap();
        value["schema_version"] = 2.into();
        let error = read_run(&value.to_string()).unwrap_err();
        assert_eq!(
            error.to_string(),
            "this run has schema version 2, newer than this fact reads (1)"
        );
        assert!(matches!(read_run("[1"), Err(ReadError::Form(_))));
    }
}
