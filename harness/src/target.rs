//! The implementation under judgement: started as a process of its own, waited for, stopped, and never left behind.

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
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
    /// It was asked to end, and did not end by itself and well.
    #[error("after SIGTERM the target did not end with 0 within {} s: {status}", GONE_WITHIN.as_secs())]
    NotGone {
        /// How it ended.
        status: String,
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
    /// It was started by somebody else.
    #[error("only a target that `fact run` has started can be started again")]
    NotOurs,
    /// No port is free.
    #[error("no port is free on the loopback address: {0}")]
    NoPort(std::io::Error),
}

/// A target that answers.
#[derive(Debug)]
pub struct Running {
    /// Its root.
    pub base: Url,
    /// Where it was started here: its process, and how to start it again.
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    recipe: Recipe,
    process: Mutex<Process>,
}

#[derive(Debug)]
struct Process {
    child: Child,
    pid: Option<u32>,
}

/// How to start a target.
#[derive(Debug)]
struct Recipe {
    program: PathBuf,
    arguments: Vec<String>,
    environment: BTreeMap<String, String>,
    log: PathBuf,
}

impl Own {
    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Recipe {
    /// Starts it; how long its log was before.
    fn spawn(&self, port: u16) -> Result<(Process, u64), TargetError> {
        let in_log = |source| TargetError::Log {
            path: self.log.display().to_string(),
            source,
        };
        let output = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .map_err(in_log)?;
        let written_before = output.metadata().map_err(in_log)?.len();
        let errors = output.try_clone().map_err(in_log)?;
        let mut command = Command::new(&self.program);
        command
            .args(&self.arguments)
            .env_clear()
            .envs(inherited())
            .envs(&self.environment)
            .env("FACT_LISTEN", format!("127.0.0.1:{port}"))
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0)
            .kill_on_drop(true);
        let child = command.spawn().map_err(|source| TargetError::Start {
            command: self.program.display().to_string(),
            source,
        })?;
        let pid = child.id();
        Ok((Process { child, pid }, written_before))
    }
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
    let recipe = Recipe {
        program,
        arguments,
        environment,
        log: log.to_owned(),
    };
    let mut running = Running {
        base: Url::parse("http://127.0.0.1/")?,
        own: None,
    };
    let mut attempt = 1;
    let mut port = free_port().map_err(TargetError::NoPort)?;
    let (process, mut written_before) = recipe.spawn(port)?;
    running.own = Some(Own {
        recipe,
        process: Mutex::new(process),
    });
    loop {
        running.base = Url::parse(&format!("http://127.0.0.1:{port}/"))?;
        match running.wait_until_ready(written_before).await {
            Err(TargetError::Ended { log, .. })
                if attempt < ATTEMPTS && log.to_lowercase().contains("in use") =>
            {
                attempt += 1;
                port = free_port().map_err(TargetError::NoPort)?;
                written_before = running.spawn_again(port)?;
            }
            Err(error) => return Err(error),
            Ok(()) => return Ok(running),
        }
    }
}

async fn already_running(url: &Url) -> Result<Running, TargetError> {
    let running = Running {
        base: url.clone(),
        own: None,
    };
    running.wait_until_ready(0).await?;
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
    async fn wait_until_ready(&self, written_before: u64) -> Result<(), TargetError> {
        let http = reqwest::Client::builder()
            .no_proxy()
            .timeout(Duration::from_secs(5))
            .build()?;
        let url = self.base.join("/api/v1/ready")?;
        let deadline = Instant::now() + READY_WITHIN;
        let mut pause = Duration::from_millis(5);
        let log = |own: Option<&Own>| {
            own.map_or_else(String::new, |own| tail(&own.recipe.log, written_before))
        };
        loop {
            if let Some(own) = &self.own
                && let Ok(Some(status)) = own.process().child.try_wait()
            {
                return Err(TargetError::Ended {
                    status: status.to_string(),
                    log: log(Some(own)),
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
                    log: log(self.own.as_ref()),
                });
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 5 / 4).min(Duration::from_millis(100));
        }
    }

    /// Starts the process anew; how long its log was before.
    fn spawn_again(&self, port: u16) -> Result<u64, TargetError> {
        let Some(own) = &self.own else { return Ok(0) };
        let (process, written_before) = own.recipe.spawn(port)?;
        *own.process() = process;
        Ok(written_before)
    }

    /// Ends it, by `SIGTERM` or at once, and starts it again at the same address. Its state stays where it is.
    /// After `SIGTERM` it has to end by itself, and well.
    pub async fn restart(&self, kill: bool) -> Result<(), TargetError> {
        let port = self.base.port().filter(|_| self.own.is_some());
        let port = port.ok_or(TargetError::NotOurs)?;
        if kill {
            self.signal(Signal::SIGKILL);
        }
        let ended = self.end().await;
        if let (false, Some(status)) = (kill, ended)
            && !status.success()
        {
            return Err(TargetError::NotGone {
                status: status.to_string(),
            });
        }
        let written_before = self.spawn_again(port)?;
        self.wait_until_ready(written_before).await
    }

    /// Asks it to end, and ends it when it does not.
    pub async fn stop(self) {
        self.end().await;
    }

    /// How it ended, where that can be known.
    async fn end(&self) -> Option<ExitStatus> {
        let own = self.own.as_ref()?;
        self.signal(Signal::SIGTERM);
        let deadline = Instant::now() + GONE_WITHIN;
        let ended = loop {
            match own.process().child.try_wait() {
                Ok(None) => {}
                Ok(status) => break status,
                Err(_) => break None,
            }
            if Instant::now() >= deadline {
                self.signal(Signal::SIGKILL);
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        };
        // What it started and left is in its group.
        self.signal(Signal::SIGKILL);
        own.process().pid = None;
        ended
    }

    /// Its process, where it is a child of this one.
    pub fn pid(&self) -> Option<u32> {
        self.own.as_ref().and_then(|own| own.process().pid)
    }

    /// Seconds of processor time that it has used.
    #[expect(clippy::cast_precision_loss, reason = "ticks are far below 2^52")]
    pub fn cpu_seconds(&self) -> Option<f64> {
        // `USER_HZ` is 100 on every architecture that Linux has today.
        const TICKS_PER_SECOND: f64 = 100.0;
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid()?)).ok()?;
        let (_, fields) = text.rsplit_once(')')?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let user: u64 = fields.get(11)?.parse().ok()?;
        let system: u64 = fields.get(12)?.parse().ok()?;
        Some((user + system) as f64 / TICKS_PER_SECOND)
    }

    /// Its peak resident memory.
    pub fn peak_bytes(&self) -> Option<u64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.pid()?)).ok()?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
        line.trim()
            .strip_suffix("kB")?
            .trim()
            .parse::<u64>()
            .ok()
            .map(|kilobytes| kilobytes * 1024)
    }

    fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(|pid| i32::try_from(pid).ok()) {
            // A group that is gone already is what was wanted.
            let _ = killpg(Pid::from_raw(pid), signal);
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.signal(Signal::SIGKILL);
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
