//! `SQLite` in the process: a template file, copied for each scenario.

use rusqlite::Connection;
use std::path::{Path, PathBuf};

/// The seeded file. Its folder goes with it.
#[derive(Debug)]
pub(super) struct Template {
    folder: tempfile::TempDir,
    file: PathBuf,
}

impl Template {
    pub(super) fn new(sql: &str) -> Result<Self, String> {
        let folder = tempfile::tempdir().map_err(|error| error.to_string())?;
        let file = folder.path().join("template.db");
        let connection = Connection::open(&file).map_err(|error| error.to_string())?;
        connection
            .execute_batch(sql)
            .map_err(|error| format!("the data cannot be seeded: {error}"))?;
        Ok(Self { folder, file })
    }

    pub(super) fn version() -> String {
        format!("SQLite {}", rusqlite::version())
    }

    pub(super) fn copy(&self, name: &str) -> Result<PathBuf, String> {
        let safe: String = name
            .chars()
            .map(|c| if c.is_ascii_alphanumeric() { c } else { '_' })
            .collect();
        let copy = self.folder.path().join(format!("{safe}.db"));
        std::fs::copy(&self.file, &copy).map_err(|error| error.to_string())?;
        Ok(copy)
    }
}

pub(super) fn execute(path: &Path, statement: &str) -> Result<(), String> {
    let connection = Connection::open(path).map_err(|error| error.to_string())?;
    connection
        .execute_batch(statement)
        .map_err(|error| error.to_string())
}

/// The bytes of the file: any write shows.
pub(super) fn fingerprint(path: &Path) -> Result<String, String> {
    let bytes = std::fs::read(path).map_err(|error| error.to_string())?;
    Ok(blake3::hash(&bytes).to_hex().to_string())
}
