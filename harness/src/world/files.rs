//! The folders of one scenario: the file root of the target, what lies beside it, its state and its clients.

use crate::scenario::{Scenario, Special};
use serde_json::Value;
use std::io::{Error, Result};
use std::path::{Component, Path, PathBuf};
use tempfile::TempDir;

/// The folders of one scenario; they go when this goes.
#[derive(Debug)]
pub(super) struct Files {
    folder: TempDir,
    canary: String,
}

impl Files {
    /// Makes them as the scenario wants them.
    pub(super) fn create(scenario: &Scenario) -> Result<Self> {
        let files = Self {
            folder: tempfile::Builder::new().prefix("fact-world-").tempdir()?,
            canary: format!("canary-{}", super::random_hex()),
        };
        for name in ["files", "outside", "state"] {
            std::fs::create_dir(files.path(name))?;
        }
        std::fs::write(files.path("outside").join("secret.txt"), &files.canary)?;
        let root = files.path("files");
        for (name, content) in &scenario.files {
            std::fs::write(below(&root, name)?, content)?;
        }
        for (name, special) in &scenario.specials {
            make_special(*special, &below(&root, name)?)?;
        }
        for (name, target) in &scenario.links {
            std::os::unix::fs::symlink(target, below(&root, name)?)?;
        }
        Ok(files)
    }

    /// Writes a file below the root.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<()> {
        std::fs::write(below(&self.path("files"), name)?, content)
    }

    /// Writes the clients file and says where.
    pub(super) fn write_clients(&self, clients: &Value) -> Result<String> {
        let path = self.path("clients.json");
        std::fs::write(&path, clients.to_string())?;
        Ok(path.display().to_string())
    }

    /// The folder of all of them.
    pub(super) fn folder(&self) -> String {
        self.folder.path().display().to_string()
    }

    /// What the target may read.
    pub(super) fn root(&self) -> String {
        self.path("files").display().to_string()
    }

    /// What it may not.
    pub(super) fn outside(&self) -> String {
        self.path("outside").display().to_string()
    }

    /// Where the target keeps what lasts.
    pub(super) fn state(&self) -> String {
        self.path("state").display().to_string()
    }

    /// What stands in the file outside.
    pub(super) fn canary(&self) -> String {
        self.canary.clone()
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

fn make_special(special: Special, path: &Path) -> Result<()> {
    const HUGE: u64 = 10 << 30;
    match special {
        Special::Fifo => Ok(nix::unistd::mkfifo(path, nix::sys::stat::Mode::S_IRWXU)?),
        Special::Sparse => std::fs::File::create(path)?.set_len(HUGE),
        Special::Socket => std::os::unix::net::UnixListener::bind(path).map(drop),
        Special::Twice => {
            let mut other = path.as_os_str().to_owned();
            other.push(".other");
            std::fs::write(path, "twice")?;
            std::fs::hard_link(path, other)
        }
    }
}

/// A path below the root, with its folders made. A scenario from a stranger must not write elsewhere.
fn below(root: &Path, name: &str) -> Result<PathBuf> {
    let plain = Path::new(name)
        .components()
        .all(|component| matches!(component, Component::Normal(_)));
    if !plain || name.is_empty() {
        return Err(Error::other(format!(
            "`{name}` is not a plain path below the file root"
        )));
    }
    let path = root.join(name);
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
        if !folder.canonicalize()?.starts_with(root.canonicalize()?) {
            return Err(Error::other(format!("`{name}` leads out of the file root")));
        }
    }
    Ok(path)
}
