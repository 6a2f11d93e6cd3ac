//! The implementation under judgement: started as a process of its own, waited for, stopped, and never left behind.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::process::{Child, Command};
use url::Url;

/// How long a target may take until it is ready.
pub const READY_WITHIN: Duration = Duration::from_secs(15);
/// How long it may take to end after `SIGTERM`.
pub const GONE_WITHIN: Duration = Duration::from_secs(10);
/// How many lines of its log an error shows.
const TAIL: usize = 20;
/// Between finding a free port and the target's binding it, another process may take it.
const ATTEMPTS: u32 = 3;

/// Who is judged.
#[derive(Debug, Clone)]
pub enum Target {
    /// The engine in this executable, as a child process: `fact serve`.
    Reference {
        /// The executable.
        executable: PathBuf,
    },
    /// A command that is given the contract's environment.
    Command(Vec<String>),
    /// One that runs already.
    Http(Url),
}

impl Target {
    /// As the user named it.
    pub fn name(&self) -> String {
        match self {
            Self::Reference { .. } => "reference".to_owned(),
            Self::Command(words) => words.join(" "),
            Self::Http(url) => url.to_string(),
        }
    }
}

/// Why a target is not there.
#[derive(Debug, thiserror::Error)]
pub enum TargetError {
    /// Nothing to start.
    #[error("the target's command is empty")]
    NoCommand,
    /// Its log cannot be written.
    #[error("the target's log {path} cannot be written: {source}")]
    Log {
        /// Which file.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// It cannot be started.
    #[error("the target `{command}` cannot be started: {source}")]
    Start {
        /// The command.
        command: String,
        /// Why.
        source: std::io::Error,
    },
    /// It ended before it was ready.
    #[error("the target ended ({status}) before it was ready; the end of its log:\n{log}")]
    Ended {
        /// Its exit status.
        status: String,
        /// The last lines of its log.
        log: String,
    },
    /// It was not ready in time.
    #[error("the target was not ready ({url}) within {} s: {last}; the end of its log:\n{log}", READY_WITHIN.as_secs())]
    NotReady {
        /// What was asked.
        url: String,
        /// What was answered last.
        last: String,
        /// The last lines of its log.
        log: String,
    },
    /// No client could be made to ask it.
    #[error("no HTTP client: {0}")]
    Client(#[from] reqwest::Error),
    /// An address that is none.
    #[error("no address: {0}")]
    Address(#[from] url::ParseError),
    /// No port is free.
    #[error("no port is free on the loopback address: {0}")]
    NoPort(std::io::Error),
}

/// A target that answers.
#[derive(Debug)]
pub struct Running {
    /// Its root.
    pub base: Url,
    /// Its process, where it is a child of this one.
    pub pid: Option<u32>,
    child: Option<Child>,
}

/// Starts the target with this environment and nothing else, and waits until it is ready.
pub async fn start(
    target: &Target,
    environment: BTreeMap<String, String>,
    log: &Path,
) -> Result<Running, TargetError> {
    let (program, arguments) = match target {
        Target::Http(url) => return already_running(url).await,
        Target::Reference { executable } => (executable.clone(), vec!["serve".to_owned()]),
        Target::Command(words) => {
            let (program, arguments) = words.split_first().ok_or(TargetError::NoCommand)?;
            (PathBuf::from(program), arguments.to_vec())
        }
    };
    let in_log = |source| TargetError::Log {
        path: log.display().to_string(),
        source,
    };
    let mut attempt = 1;
    loop {
        let output = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(in_log)?;
        let written_before = output.metadata().map_err(in_log)?.len();
        let errors = output.try_clone().map_err(in_log)?;
        let port = free_port().map_err(TargetError::NoPort)?;
        let mut command = Command::new(&program);
        command
            .args(&arguments)
            .env_clear()
            .envs(inherited())
            .envs(&environment)
            .env("FACT_LISTEN", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|source| TargetError::Start {
            command: program.display().to_string(),
            source,
        })?;
        let base = Url::parse(&format!("http://127.0.0.1:{port}/"))?;
        let mut running = Running {
            base,
            pid: child.id(),
            child: Some(child),
        };
        match wait_until_ready(&mut running, log, written_before).await {
            Err(TargetError::Ended { log, .. })
                if attempt < ATTEMPTS && log.to_lowercase().contains("in use") =>
            {
                attempt += 1;
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(running),
        }
    }
}

async fn already_running(url: &Url) -> Result<Running, TargetError> {
    let mut running = Running {
        base: url.clone(),
        pid: None,
        child: None,
    };
    wait_until_ready(&mut running, Path::new(""), 0).await?;
    Ok(running)
}

/// What a command needs to be found and to run at all.
fn inherited() -> impl Iterator<Item = (&'static str, std::ffi::OsString)> {
    ["PATH", "HOME", "TMPDIR", "LANG"]
        .into_iter()
        .filter_map(|name| Some((name, std::env::var_os(name)?)))
}

fn free_port() -> std::io::Result<u16> {
    std::net::TcpListener::bind(("127.0.0.1", 0))?
        .local_addr()
        .map(|address| address.port())
}

async fn wait_until_ready(
    running: &mut Running,
    log: &Path,
    written_before: u64,
) -> Result<(), TargetError> {
    let http = reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(5))
        .build()?;
    let url = running.base.join("/api/v1/ready")?;
    let deadline = Instant::now() + READY_WITHIN;
    let mut pause = Duration::from_millis(5);
    loop {
        if let Some(child) = &mut running.child
            && let Ok(Some(status)) = child.try_wait()
        {
            return Err(TargetError::Ended {
                status: status.to_string(),
                log: tail(log, written_before),
            });
        }
        let last = match http.get(url.clone()).send().await {
            Ok(response) if response.status().as_u16() == 200 => return Ok(()),
            Ok(response) => format!("status {}", response.status().as_u16()),
            Err(_) => "no connection".to_owned(),
        };
        if Instant::now() >= deadline {
            return Err(TargetError::NotReady {
                url: url.to_string(),
                last,
                log: tail(log, written_before),
            });
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 5 / 4).min(Duration::from_millis(100));
    }
}

/// The last lines that were written since.
fn tail(log: &Path, written_before: u64) -> String {
    let mut text = Vec::new();
    if let Ok(mut file) = File::open(log)
        && file.seek(SeekFrom::Start(written_before)).is_ok()
    {
        drop(file.read_to_end(&mut text));
    }
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().collect();
    if lines.is_empty() {
        return "  (it is empty)".to_owned();
    }
    lines[lines.len().saturating_sub(TAIL)..]
        .iter()
        .map(|line| format!("  {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

impl Running {
    /// Asks it to end, and ends it when it does not.
    pub async fn stop(mut self) {
        let Some(mut child) = self.child.take() else {
            return;
        };
        self.signal(Signal::SIGTERM);
        if tokio::time::timeout(GONE_WITHIN, child.wait())
            .await
            .is_err()
        {
            self.signal(Signal::SIGKILL);
            drop(child.wait().await);
        }
        // What it started and left is in its group.
        self.signal(Signal::SIGKILL);
        self.pid = None;
    }

    /// Seconds of processor time that it has used.
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
    pub fn cpu_seconds(&self) -> Option<f64> {
        // `USER_HZ` is 100 on every architecture that Linux has today.
        const TICKS_PER_SECOND: f64 = 100.0;
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid?)).ok()?;
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some((user + system) as f64 / TICKS_PER_SECOND)
    }

    /// Its peak resident memory.
    pub fn peak_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kilobytes| kilobytes * 1024)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid.and_then(|pid| i32::try_from(pid).ok()) {
            // A group that is gone already is what was wanted.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if self.child.is_some() {
            self.signal(Signal::SIGKILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_target_that_ends_at_once_shows_the_end_of_its_log() {
        let folder = tempfile::tempdir().unwrap();
        let words = ["sh", "-c", "for n in 1 2 3; do echo line $n; done; exit 7"]
            .map(str::to_owned)
            .to_vec();
        let error = start(
            &Target::Command(words),
            BTreeMap::new(),
            &folder.path().join("target.log"),
        )
        .await
        .unwrap_err();
        assert_eq!(
            error.to_string(),
            "the target ended (exit status: 7) before it was ready; the end of its log:\n  line 1\n  line 2\n  line 3"
        );
    }

    #[tokio::test]
    async fn a_command_that_does_not_exist_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let words = vec!["no-such-command-of-fact".to_owned()];
        let error = start(
            &Target::Command(words),
            BTreeMap::new(),
            &folder.path().join("target.log"),
        )
        .await
        .unwrap_err();
        assert!(
            error
                .to_string()
                .starts_with("the target `no-such-command-of-fact` cannot be started"),
            "{error}"
        );
    }
}
