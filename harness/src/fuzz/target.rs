//! What is hunted: the reference guard in this process, an implementation over HTTP, or a command that answers lines.

use crate::client::Client;
use fact_guard::sql::Schema;
use serde_json::{Value, json};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// How long a verdict may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// From here on a verdict is a finding.
pub(super) const STALL: Duration = Duration::from_secs(2);

/// In place of a rule, where a limit ended it.
pub(super) const STOPPED: &str = "stopped by a limit";

/// What is asked about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subject {
    /// A statement for `SQL.QueryReadonly`.
    Sql,
    /// A path for the file tools.
    Path,
    /// A URL for the web tool.
    Url,
}

impl Subject {
    /// The field of a line of JSON.
    pub fn field(self) -> &'static str {
        match self {
            Self::Sql => "statement",
            Self::Path => "path",
            Self::Url => "url",
        }
    }

    fn tool(self) -> &'static str {
        match self {
            Self::Sql => "SQL.QueryReadonly",
            Self::Path => "FileSystem.ReadFile",
            Self::Url => "Web.HttpRequest",
        }
    }
}

/// A decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// It would be run.
    Accept,
    /// It would not, by this rule where one is named.
    Refuse(Option<String>),
    /// There was none, and why.
    None(Trouble),
}

/// Why there was no decision.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// The validator ended or panicked.
    Crash(String),
    /// It did not answer in time.
    Stall,
}

/// A validator.
pub enum Target {
    /// The reference guard, in this process.
    Reference {
        /// What it may read.
        schema: Box<Schema>,
        /// The root that paths lie below.
        root: String,
    },
    /// A function of the caller's, in this process.
    Function(Box<dyn FnMut(&str) -> bool + Send>),
    /// An implementation of the contract.
    Http {
        /// Speaks to it.
        client: Box<Client>,
        /// As whom.
        as_client: String,
    },
    /// A command that answers a line of JSON with another.
    Command(Box<Lined>),
}

impl std::fmt::Debug for Target {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(self.name())
    }
}

impl Target {
    /// In a word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Reference { .. } => "the reference guard",
            Self::Function(_) => "a function",
            Self::Http { .. } => "an implementation over HTTP",
            Self::Command(_) => "a command",
        }
    }

    /// Whether what it accepts is judged by its cost before it runs.
    pub(super) fn judges_cost(&self) -> bool {
        matches!(self, Self::Reference { .. })
    }

    /// Asks, and says how long it took.
    pub async fn ask(&mut self, subject: Subject, text: &str) -> (Verdict, Duration) {
        let began = Instant::now();
        let asked = self.verdict(subject, text);
        let verdict = tokio::time::timeout(PATIENCE, asked)
            .await
            .unwrap_or(Verdict::None(Trouble::Stall));
        if let (Self::Command(lined), Verdict::None(_)) = (&mut *self, &verdict) {
            lined.restart();
        }
        (verdict, began.elapsed())
    }

    async fn verdict(&mut self, subject: Subject, text: &str) -> Verdict {
        match self {
            Self::Reference { schema, root } => {
                let decided = std::panic::catch_unwind(|| match subject {
                    Subject::Sql => fact_guard::sql::check(text, schema).err(),
                    Subject::Path => fact_guard::path::check(text, &[root]).err(),
                    Subject::Url => fact_guard::url::check(text, &[]).err(),
                });
                match decided {
                    Ok(None) => Verdict::Accept,
                    Ok(Some(refusal)) => Verdict::Refuse(Some(refusal.rule.id().to_owned())),
                    Err(_) => Verdict::None(Trouble::Crash("it panicked".into())),
                }
            }
            Self::Function(decide) => {
                if decide(text) {
                    Verdict::Accept
                } else {
                    Verdict::Refuse(None)
                }
            }
            Self::Http { client, as_client } => {
                let arguments = json!({ subject.field(): text });
                match client.execute(as_client, subject.tool(), &arguments).await {
                    Err(error) => Verdict::None(Trouble::Crash(error.to_string())),
                    Ok(seen) if seen.broken.is_some() => {
                        Verdict::None(Trouble::Crash(seen.in_short()))
                    }
                    Ok(seen) if matches!(seen.status, 400 | 403 | 413 | 422) => {
                        let body = seen.body.unwrap_or_default();
                        let rule = body["error"]["details"]["rule"].as_str();
                        Verdict::Refuse(rule.map(ToOwned::to_owned))
                    }
                    // Cut off by a limit, without an answer: as good as refused.
                    Ok(seen) if seen.status == 504 => Verdict::Refuse(Some(STOPPED.to_owned())),
                    Ok(_) => Verdict::Accept,
                }
            }
            Self::Command(lined) => match lined.ask(subject, text).await {
                Ok(answer) if answer["verdict"] == "accept" => Verdict::Accept,
                Ok(answer) if answer["verdict"] == "refuse" => {
                    Verdict::Refuse(answer["rule"].as_str().map(ToOwned::to_owned))
                }
                Ok(answer) => Verdict::None(Trouble::Crash(format!(
                    "it answered {answer}, which has no `verdict` of `accept` or `refuse`"
                ))),
                Err(reason) => Verdict::None(Trouble::Crash(reason)),
            },
        }
    }
}

/// A command that is given lines and answers each with one.
#[derive(Debug)]
pub struct Lined {
    command: Vec<String>,
    running: Option<(Child, ChildStdin, Lines<BufReader<ChildStdout>>)>,
}

impl Lined {
    /// Of these words; started with the first question.
    pub fn new(command: Vec<String>) -> Self {
        Self {
            command,
            running: None,
        }
    }

    fn restart(&mut self) {
        // The child is killed when it is dropped.
        self.running = None;
    }

    async fn ask(&mut self, subject: Subject, text: &str) -> Result<Value, String> {
        if self.running.is_none() {
            self.running = Some(self.start()?);
        }
        let Some((child, input, output)) = &mut self.running else {
            return Err("it is not running".into());
        };
        let line = format!("{}\n", json!({ "id": 1, subject.field(): text }));
        let written = async {
            input.write_all(line.as_bytes()).await?;
            input.flush().await
        };
        let answer = match written.await {
            Ok(()) => output.next_line().await,
            Err(error) => Err(error),
        };
        if let Ok(Some(answer)) = answer {
            serde_json::from_str(&answer).map_err(|_| format!("it answered no JSON: {answer}"))
        } else {
            let status = child.wait().await.map_err(|error| error.to_string())?;
            Err(format!("it ended ({status})"))
        }
    }

    fn start(&self) -> Result<(Child, ChildStdin, Lines<BufReader<ChildStdout>>), String> {
        let (program, arguments) = self.command.split_first().ok_or("there is no command")?;
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .map_err(|error| format!("`{program}` cannot be started: {error}"))?;
        match (child.stdin.take(), child.stdout.take()) {
            (Some(input), Some(output)) => Ok((child, input, BufReader::new(output).lines())),
            _ => Err(format!("`{program}` has no pipes")),
        }
    }
}
