//! The file tools: through a handle on each root, and then what was opened is looked at, never its name again.

use super::outcome::{ToolError, ToolOutput};
use base64::Engine as _;
use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use fact_guard::{Rule, path};
use serde_json::{Value, json};
use std::collections::HashSet;
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::Arc;

const MOST_BYTES: u64 = 1 << 20;
const MOST_ENTRIES: usize = 10_000;
const DEEPEST: usize = 16;

/// Why a root cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum FilesError {
    /// It is the system's.
    #[error("`FACT_FILE_ROOTS` names `{0}`, which holds more than files that may be read")]
    System(PathBuf),
    /// It cannot be opened.
    #[error("`FACT_FILE_ROOTS` names `{root}`, which cannot be opened: {source}", root = .0.display(), source = .1)]
    Root(PathBuf, std::io::Error),
}

/// The roots.
#[derive(Debug, Clone)]
pub struct Files(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    roots: Vec<(PathBuf, Dir)>,
    /// Device and inode of what is the engine's own.
    own: HashSet<(u64, u64)>,
}

impl Files {
    /// Opens every root.
    pub fn open(roots: &[PathBuf], engine_files: &[PathBuf]) -> Result<Self, FilesError> {
        let mut opened = Vec::new();
        for root in roots {
            let real = root
                .canonicalize()
                .map_err(|error| FilesError::Root(root.clone(), error))?;
            if [
                Path::new("/"),
                Path::new("/proc"),
                Path::new("/sys"),
                Path::new("/dev"),
            ]
            .contains(&real.as_path())
            {
                return Err(FilesError::System(root.clone()));
            }
            let dir = Dir::open_ambient_dir(&real, cap_std::ambient_authority())
                .map_err(|error| FilesError::Root(root.clone(), error))?;
            opened.push((real, dir));
        }
        let identity = |file: &PathBuf| {
            std::fs::metadata(file).ok().map(|found| {
                (
                    std::os::unix::fs::MetadataExt::dev(&found),
                    std::os::unix::fs::MetadataExt::ino(&found),
                )
            })
        };
        Ok(Self(Arc::new(Inner {
            roots: opened,
            own: engine_files.iter().filter_map(identity).collect(),
        })))
    }

    /// `FileSystem.ReadFile`.
    pub async fn read_file(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let (files, arguments) = (self.clone(), arguments.clone());
        blocking(move || files.0.read(&arguments)).await
    }

    /// `FileSystem.ListDirectory`.
    pub async fn list_directory(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let (files, arguments) = (self.clone(), arguments.clone());
        blocking(move || files.0.list(&arguments)).await
    }
}

async fn blocking(
    work: impl FnOnce() -> Result<ToolOutput, ToolError> + Send + 'static,
) -> Result<ToolOutput, ToolError> {
    tokio::task::spawn_blocking(work)
        .await
        .unwrap_or_else(|_| Err(ToolError::Failed("the file could not be read".into())))
}

fn refused(rule: Rule) -> ToolError {
    ToolError::Refused {
        rule: rule.id(),
        why: rule.sentence().to_owned(),
        place: None,
    }
}

impl Inner {
    /// The root that the path names, or the first that has it; and the path below it.
    fn place(&self, text: &str) -> Result<(&Dir, PathBuf), ToolError> {
        let names: Vec<&str> = self
            .roots
            .iter()
            .filter_map(|(root, _)| root.to_str())
            .collect();
        let safe = path::check(text, &names).map_err(|refusal| refused(refusal.rule))?;
        let below = PathBuf::from(safe.below());
        let meant = safe.root().and_then(|at| self.roots.get(at));
        let place = meant.or_else(|| {
            self.roots
                .iter()
                .find(|(_, dir)| dir.symlink_metadata(&below).is_ok())
        });
        let place = place.or_else(|| self.roots.first());
        place
            .map(|(_, dir)| (dir, below))
            .ok_or_else(|| ToolError::NotFound("there is no such file".into()))
    }

    fn allow(&self, found: &Metadata) -> Result<(), ToolError> {
        if self.own.contains(&(found.dev(), found.ino())) {
            return Err(refused(Rule::PathEngineFile));
        }
        if found.is_file() && found.nlink() > 1 {
            return Err(refused(Rule::PathHardLink));
        }
        if !found.is_file() && !found.is_dir() {
            return Err(refused(Rule::PathNotAFile));
        }
        Ok(())
    }

    fn read(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let (dir, below) = self.place(arguments["path"].as_str().unwrap_or_default())?;
        let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
        let mut file = dir
            .open_with(
                &below,
                OpenOptions::new().read(true).custom_flags(flags.bits()),
            )
            .map_err(|error| opening(&error))?;
        let found = file.metadata().map_err(|error| opening(&error))?;
        self.allow(&found)?;
        // A link may lead, within the root, to what may not be named.
        names_of_opened(&file)?;
        if found.is_dir() {
            return Err(ToolError::argument("/path", "is a directory"));
        }
        let offset = arguments["offset"].as_u64().unwrap_or(0);
        let length = arguments["length"]
            .as_u64()
            .unwrap_or(MOST_BYTES)
            .min(MOST_BYTES);
        let mut bytes = Vec::new();
        file.seek(SeekFrom::Start(offset))
            .map_err(|error| opening(&error))?;
        file.take(length)
            .read_to_end(&mut bytes)
            .map_err(|error| opening(&error))?;
        let end = offset + u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let content = if arguments["encoding"] == "base64" {
            base64::engine::general_purpose::STANDARD.encode(&bytes)
        } else {
            String::from_utf8(bytes).map_err(|_| {
                ToolError::argument("/encoding", "is not that of the file; ask for `base64`")
            })?
        };
        Ok(ToolOutput::plain(json!({
            "content": content,
            "size_bytes": found.len(),
            "last_modified": modified(&found),
            "truncated": end < found.len(),
        })))
    }

    fn list(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let (dir, below) = self.place(arguments["path"].as_str().unwrap_or_default())?;
        let below = if below.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            below
        };
        let top = dir.open_dir(&below).map_err(|error| opening(&error))?;
        let (deep, hidden) = (
            arguments["recursive"] == true,
            arguments["include_hidden"] == true,
        );
        let mut entries = Vec::new();
        let mut truncated = false;
        let mut waiting = vec![(top, String::new(), 0)];
        while let Some((dir, prefix, depth)) = waiting.pop() {
            for entry in dir.entries().map_err(|error| opening(&error))?.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if name.starts_with('.') && !hidden {
                    continue;
                }
                if entries.len() >= MOST_ENTRIES {
                    truncated = true;
                    break;
                }
                let Ok(found) = dir.symlink_metadata(&name) else {
                    continue;
                };
                let full = format!("{prefix}{name}");
                let kind = if found.is_dir() {
                    "directory"
                } else if found.is_symlink() {
                    "symlink"
                } else if found.is_file() {
                    "file"
                } else {
                    "other"
                };
                if deep
                    && found.is_dir()
                    && depth < DEEPEST
                    && !name.starts_with('.')
                    && let Ok(inner) = dir.open_dir(&name)
                {
                    waiting.push((inner, format!("{full}/"), depth + 1));
                }
                entries.push((full.clone(), json!({ "name": full, "type": kind, "size_bytes": found.len(), "last_modified": modified(&found) })));
            }
        }
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
        Ok(ToolOutput::plain(
            json!({ "entries": entries, "truncated": truncated }),
        ))
    }
}

/// Judges the names by which the system knows an opened file, below any root.
fn names_of_opened(file: &cap_std::fs::File) -> Result<(), ToolError> {
    use std::os::fd::AsRawFd as _;
    let Ok(opened) = std::fs::read_link(format!("/proc/self/fd/{}", file.as_raw_fd())) else {
        return Ok(());
    };
    let Some(name) = opened.file_name() else {
        return Ok(());
    };
    path::refuse_name(&name.to_string_lossy()).map_err(|refusal| refused(refusal.rule))
}

fn modified(found: &Metadata) -> Option<String> {
    jiff::Timestamp::from_second(found.mtime())
        .ok()
        .map(|at| at.to_string())
}

/// An escape through a link is told by cap-std itself, without an error of the system's; sockets answer ENXIO.
fn opening(error: &std::io::Error) -> ToolError {
    match (error.kind(), error.raw_os_error()) {
        (std::io::ErrorKind::PermissionDenied, None) => refused(Rule::PathOutsideRoot),
        (_, Some(code)) if code == nix::errno::Errno::ENXIO as i32 => refused(Rule::PathNotAFile),
        (std::io::ErrorKind::NotFound, _) => ToolError::NotFound("there is no such file".into()),
        (std::io::ErrorKind::NotADirectory | std::io::ErrorKind::IsADirectory, _) => {
            ToolError::argument("/path", "is of another type")
        }
        _ => ToolError::Failed("the file could not be read".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    async fn rule(files: &Files, path: &str) -> Option<&'static str> {
        match files.read_file(&json!({ "path": path })).await {
            Err(ToolError::Refused { rule, .. }) => Some(rule),
            _ => None,
        }
    }

    #[tokio::test]
    async fn what_is_opened_is_judged_and_not_its_name_alone() {
        let world = tempfile::tempdir().unwrap();
        let root = world.path().join("root");
        std::fs::create_dir_all(root.join("notes")).unwrap();
        std::fs::write(world.path().join("outside.txt"), "canary").unwrap();
        std::fs::write(root.join("notes/a.txt"), "inside").unwrap();
        std::fs::write(root.join(".hidden"), "hidden").unwrap();
        std::fs::write(root.join("audit.ndjson"), "{}").unwrap();
        symlink("../outside.txt", root.join("leaves")).unwrap();
        symlink("notes/a.txt", root.join("stays")).unwrap();
        symlink(".hidden", root.join("shows")).unwrap();
        std::fs::write(root.join("one"), "").unwrap();
        std::fs::hard_link(root.join("one"), root.join("two")).unwrap();
        nix::unistd::mkfifo(&root.join("pipe"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        let files = Files::open(std::slice::from_ref(&root), &[root.join("audit.ndjson")]).unwrap();
        for (path, refused) in [
            ("leaves", Some("path.outside-root")),
            ("shows", Some("path.hidden")),
            ("two", Some("path.hard-link")),
            ("pipe", Some("path.not-a-file")),
            ("audit.ndjson", Some("path.engine-file")),
            ("stays", None),
            ("notes/a.txt", None),
        ] {
            assert_eq!(rule(&files, path).await, refused, "{path}");
        }
        let read = files
            .read_file(&json!({ "path": "notes/a.txt", "offset": 2, "length": 2 }))
            .await
            .unwrap()
            .result;
        assert_eq!(
            (read["content"].as_str(), read["truncated"].as_bool()),
            (Some("si"), Some(true))
        );
        let listed = files
            .list_directory(&json!({ "path": ".", "recursive": true }))
            .await
            .unwrap()
            .result;
        let names: Vec<_> = listed["entries"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|entry| entry["name"].as_str())
            .collect();
        assert_eq!(
            names,
            [
                "audit.ndjson",
                "leaves",
                "notes",
                "notes/a.txt",
                "one",
                "pipe",
                "shows",
                "stays",
                "two"
            ]
        );
        assert!(Files::open(&[PathBuf::from("/")], &[]).is_err());
    }
}
