//! What a target says of itself during one scenario: a file of its own, that joins `target.log` when the scenario ends.

use std::fs::File;
use std::io::{Result, Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};

/// The log of one scenario. Dropped, however the scenario ends, it is appended to the log of all.
#[derive(Debug)]
pub(super) struct Log {
    own: PathBuf,
    all: PathBuf,
    scenario: String,
}

impl Log {
    /// In the report folder. Nothing is made yet.
    pub(super) fn new(out: &Path, scenario: &str) -> Self {
        Self {
            own: out.join(format!("target-{}.log", scenario.replace(['/', '\\'], "-"))),
            all: out.join("target.log"),
            scenario: scenario.to_owned(),
        }
    }

    /// Where the target writes.
    pub(super) fn path(&self) -> &Path {
        &self.own
    }

    fn join(&self) -> Result<()> {
        let mut own = File::open(&self.own)?;
        let mut all = File::options().create(true).append(true).open(&self.all)?;
        // Scenarios end side by side, and a text of one must not stand within that of another.
        all.lock()?;
        all.seek(SeekFrom::End(0))?;
        writeln!(all, "==> {} <==", self.scenario)?;
        std::io::copy(&mut own, &mut all)?;
        all.unlock()?;
        std::fs::remove_file(&self.own)
    }
}

impl Drop for Log {
    fn drop(&mut self) {
        // Where it cannot be joined, it stays as a file of its own.
        drop(self.join());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn logs_follow_one_another_under_the_names_of_their_scenarios() {
        let folder = tempfile::tempdir().unwrap();
        for (scenario, text) in [("a.b", "one\n"), ("c", "two\n")] {
            let log = Log::new(folder.path(), scenario);
            std::fs::write(log.path(), text).unwrap();
        }
        let all = std::fs::read_to_string(folder.path().join("target.log")).unwrap();
        assert_eq!(all, "==> a.b <==\none\n==> c <==\ntwo\n");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_target_that_said_nothing_here_leaves_no_log() {
        let folder = tempfile::tempdir().unwrap();
        drop(Log::new(folder.path(), "a"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
