//! The file tools: through a handle on each root, and then what was opened is looked at, never its name again.

use super::outcome::{ToolError, ToolOutput};
use base64::Engine as _;
use cap_std::fs::{Dir, Metadata, MetadataExt as _, OpenOptions, OpenOptionsExt as _};
use fact_guard::{Rule, path};
use serde_json::{Value, json};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::fd::{AsFd, AsRawFd as _};
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
    roots: Vec<Root>,
    /// What is the engine's own, wherever it lies.
    own: Vec<PathBuf>,
}

#[derive(Debug)]
struct Root {
    /// As the operator wrote it.
    written: PathBuf,
    /// As the system knows it.
    real: PathBuf,
    dir: Dir,
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
            opened.push(Root {
                written: root.clone(),
                real,
                dir,
            });
        }
        Ok(Self(Arc::new(Inner {
            roots: opened,
            own: engine_files.to_vec(),
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

impl Inner {
    /// The root that the path names, or the first that has it; and the path below it.
    fn place(&self, text: &str) -> Result<(&Root, PathBuf), ToolError> {
        // Both spellings of a root name it.
        let spellings = self
            .roots
            .iter()
            .flat_map(|root| [(root, &root.real), (root, &root.written)]);
        let (owners, names): (Vec<&Root>, Vec<&str>) = spellings
            .filter_map(|(root, spelling)| Some((root, spelling.to_str()?.trim_end_matches('/'))))
            .filter(|(_, name)| name.starts_with('/'))
            .unzip();
        let safe = path::check(text, &names)?;
        let below = PathBuf::from(safe.below());
        let meant = safe.root().and_then(|at| owners.get(at).copied());
        let place = meant.or_else(|| {
            self.roots
                .iter()
                .find(|root| root.dir.symlink_metadata(&below).is_ok())
        });
        let place = place.or_else(|| self.roots.first());
        place
            .map(|root| (root, below))
            .ok_or_else(|| ToolError::NotFound("there is no such file".into()))
    }

    /// Judges what was opened: whose it is, what it is, and by which names the system knows it.
    fn allow(
        &self,
        root: &Root,
        below: &Path,
        opened: impl AsFd,
        found: &Metadata,
    ) -> Result<(), ToolError> {
        use std::os::unix::fs::MetadataExt as _;
        let is_found = |own: &PathBuf| {
            std::fs::metadata(own)
                .is_ok_and(|own| (own.dev(), own.ino()) == (found.dev(), found.ino()))
        };
        // Of a folder, what is in it.
        let holds_found = |own: &PathBuf| {
            std::fs::read_dir(own).is_ok_and(|mut entries| {
                entries.any(|entry| entry.is_ok_and(|entry| is_found(&entry.path())))
            })
        };
        if self.own.iter().any(|own| is_found(own) || holds_found(own)) {
            return Err(ToolError::refused(Rule::PathEngineFile));
        }
        if found.is_file() && found.nlink() > 1 {
            return Err(ToolError::refused(Rule::PathHardLink));
        }
        if !found.is_file() && !found.is_dir() || is_of_the_system(&opened) {
            return Err(ToolError::refused(Rule::PathNotAFile));
        }
        names_of_opened(root, below, &opened)
    }

    fn read(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let (root, below) = self.place(arguments["path"].as_str().unwrap_or_default())?;
        let flags = nix::fcntl::OFlag::O_NONBLOCK | nix::fcntl::OFlag::O_NOCTTY;
        let mut file = root
            .dir
            .open_with(
                &below,
                OpenOptions::new().read(true).custom_flags(flags.bits()),
            )
            .map_err(|error| opening(&error))?;
        let found = file.metadata().map_err(|error| opening(&error))?;
        self.allow(root, &below, &file, &found)?;
        if found.is_dir() {
            return Err(ToolError::argument("/path", "is a directory"));
        }
        let offset = arguments["offset"].as_u64().unwrap_or(0);
        let length = arguments["length"]
            .as_u64()
            .unwrap_or(MOST_BYTES)
            .min(MOST_BYTES);
        let mut bytes = Vec::new();
        // Behind the end there is nothing, however far.
        if offset < found.len() {
            file.seek(SeekFrom::Start(offset))
                .map_err(|error| opening(&error))?;
            file.take(length)
                .read_to_end(&mut bytes)
                .map_err(|error| opening(&error))?;
        }
        let mut end = offset.saturating_add(u64::try_from(bytes.len()).unwrap_or(u64::MAX));
        let content = if arguments["encoding"] == "base64" {
            base64::engine::general_purpose::STANDARD.encode(&bytes)
        } else {
            let whole = whole_characters(&bytes, offset > 0, end < found.len())?;
            end -= u64::try_from(bytes.len() - whole.len()).unwrap_or(0);
            whole.to_owned()
        };
        Ok(ToolOutput::plain(json!({
            "content": content,
            "size_bytes": found.len(),
            "last_modified": modified(&found),
            "truncated": end < found.len(),
        })))
    }

    fn list(&self, arguments: &Value) -> Result<ToolOutput, ToolError> {
        let (root, below) = self.place(arguments["path"].as_str().unwrap_or_default())?;
        let below = if below.as_os_str().is_empty() {
            PathBuf::from(".")
        } else {
            below
        };
        let top = root.dir.open_dir(&below).map_err(|error| opening(&error))?;
        let found = top.dir_metadata().map_err(|error| opening(&error))?;
        self.allow(root, &below, &top, &found)?;
        let (deep, hidden) = (
            arguments["recursive"] == true,
            arguments["include_hidden"] == true,
        );
        let mut listing = Listing::default();
        listing.add(&top, Path::new(""), deep, hidden)?;
        while let Some(inner) = listing.waiting.pop() {
            // Opened one by one, and judged again: it may be another one by now, or another file system.
            let Ok(dir) = top.open_dir(&inner) else {
                continue;
            };
            let found = dir.dir_metadata().map_err(|error| opening(&error))?;
            if self.allow(root, &below.join(&inner), &dir, &found).is_ok() {
                listing.add(&dir, &inner, deep, hidden)?;
            }
        }
        let Listing {
            mut entries,
            truncated,
            ..
        } = listing;
        entries.sort_by(|a, b| a.0.cmp(&b.0));
        let entries: Vec<Value> = entries.into_iter().map(|(_, entry)| entry).collect();
        Ok(ToolOutput::plain(
            json!({ "entries": entries, "truncated": truncated }),
        ))
    }
}

/// What was found so far, and the directories that are still to be looked into.
#[derive(Default)]
struct Listing {
    entries: Vec<(String, Value)>,
    waiting: Vec<PathBuf>,
    truncated: bool,
}

impl Listing {
    fn add(&mut self, dir: &Dir, place: &Path, deep: bool, hidden: bool) -> Result<(), ToolError> {
        for entry in dir.entries().map_err(|error| opening(&error))?.flatten() {
            let name = entry.file_name();
            let shown = name.to_string_lossy();
            if shown.starts_with('.') && !hidden {
                continue;
            }
            if self.entries.len() >= MOST_ENTRIES {
                self.truncated = true;
                break;
            }
            let Ok(found) = dir.symlink_metadata(&name) else {
                continue;
            };
            let full = place.join(&name);
            if deep && found.is_dir() && path::refuse_name(&shown).is_ok() {
                if full.components().count() > DEEPEST {
                    self.truncated = true;
                } else {
                    self.waiting.push(full.clone());
                }
            }
            let full = full.to_string_lossy().into_owned();
            let told = json!({
                "name": full,
                "type": kind(&found),
                "size_bytes": found.len(),
                "last_modified": modified(&found),
            });
            self.entries.push((full, told));
        }
        Ok(())
    }
}

fn kind(found: &Metadata) -> &'static str {
    if found.is_dir() {
        "directory"
    } else if found.is_symlink() {
        "symlink"
    } else if found.is_file() {
        "file"
    } else {
        "other"
    }
}

/// The text of a part of a file; its end may go through a character where more follows.
fn whole_characters(
    bytes: &[u8],
    begins_within: bool,
    ends_within: bool,
) -> Result<&str, ToolError> {
    let continues = |byte: &u8| byte & 0xc0 == 0x80;
    if begins_within && bytes.first().is_some_and(continues) {
        return Err(ToolError::argument("/offset", "is within a character"));
    }
    match std::str::from_utf8(bytes) {
        Ok(text) => Ok(text),
        Err(error) if ends_within && error.error_len().is_none() => {
            match std::str::from_utf8(&bytes[..error.valid_up_to()]) {
                Ok(text) if !text.is_empty() => Ok(text),
                // Who goes on where this part ends would stay where they are.
                _ => Err(ToolError::argument(
                    "/length",
                    "is less than the character there",
                )),
            }
        }
        Err(_) => Err(ToolError::argument(
            "/encoding",
            "is not that of the file; ask for `base64`",
        )),
    }
}

/// Judges every name by which the system knows what was opened: a link may lead, within the root, to what may not be
/// named. Where the system does not tell, no link is followed.
fn names_of_opened(root: &Root, below: &Path, opened: &impl AsFd) -> Result<(), ToolError> {
    let fd = opened.as_fd().as_raw_fd();
    let Ok(known) = std::fs::read_link(format!("/proc/self/fd/{fd}")) else {
        let linked = |part: &Path| {
            let found = root.dir.symlink_metadata(part);
            found.is_ok_and(|found| found.is_symlink())
        };
        return if below.ancestors().any(linked) {
            Err(ToolError::refused(Rule::PathOutsideRoot))
        } else {
            Ok(())
        };
    };
    let within = known
        .strip_prefix(&root.real)
        .map_err(|_| ToolError::refused(Rule::PathOutsideRoot))?;
    for name in within {
        let name = name.to_string_lossy();
        path::refuse_name(&name)?;
        // What the system adds once a file has lost its name.
        path::refuse_name(name.trim_end_matches(" (deleted)"))?;
    }
    Ok(())
}

/// Whether it lies on a file system that the kernel makes up: its files are regular by their looks only.
#[cfg(target_os = "linux")]
fn is_of_the_system(opened: &impl AsFd) -> bool {
    const MADE_UP: &[i64] = &[
        0x9fa0,      // proc
        0x6265_6572, // sysfs
        0x1cd1,      // devpts
        0x6462_6720, // debugfs
        0x7472_6163, // tracefs
        0x0027_e0eb, // cgroup
        0x6367_7270, // cgroup2
        0x7363_6673, // securityfs
        0x6265_6570, // configfs
    ];
    nix::sys::statfs::fstatfs(opened)
        .is_ok_and(|found| MADE_UP.contains(&found.filesystem_type().0))
}

#[cfg(not(target_os = "linux"))]
fn is_of_the_system(_: &impl AsFd) -> bool {
    false
}

fn modified(found: &Metadata) -> Option<String> {
    jiff::Timestamp::from_second(found.mtime())
        .ok()
        .map(|at| at.to_string())
}

/// An escape through a link is told by cap-std itself, without an error of the system's; sockets answer ENXIO.
fn opening(error: &std::io::Error) -> ToolError {
    match (error.kind(), error.raw_os_error()) {
        (std::io::ErrorKind::PermissionDenied, None) => ToolError::refused(Rule::PathOutsideRoot),
        (_, Some(code)) if code == nix::errno::Errno::ENXIO as i32 => {
            ToolError::refused(Rule::PathNotAFile)
        }
        // A link to itself leads to nothing.
        (_, Some(code)) if code == nix::errno::Errno::ELOOP as i32 => {
            ToolError::NotFound("there is no such file".into())
        }
        (std::io::ErrorKind::NotFound, _) => ToolError::NotFound("there is no such file".into()),
        (std::io::ErrorKind::NotADirectory | std::io::ErrorKind::IsADirectory, _) => {
            ToolError::argument("/path", "is of another type")
        }
        _ => ToolError::Failed("the file could not be read".into()),
    }
}

#[cfg(test)]
mod tests;
