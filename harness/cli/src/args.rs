//! What was typed.

use clap::{Parser, Subcommand, ValueEnum};
use std::net::SocketAddr;
use std::path::PathBuf;

/// Replays scenarios against a FACT engine with mocked Claude and Arcade and a real database, and judges it.
#[derive(Debug, Parser)]
#[command(
    version,
    propagate_version = true,
    after_help = "\
First steps:
  fact run                                     judge the reference engine
  fact run --target http://127.0.0.1:8080 …    judge one that runs already
  fact run -- ./my-engine --port 8080          start one, judge it, stop it
  fact list                                    what is asked
  fact mocks                                   Claude and Arcade by themselves"
)]
pub(crate) struct Args {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Replays scenarios against a target, judges, writes the report folder, prints the verdict
    Run(RunArgs),
    /// The reference engine, configured by the environment
    Serve,
    /// The Claude and Arcade mocks by themselves
    Mocks(MocksArgs),
    /// The scenarios: id, level, profile and title
    List {
        /// Scenario files or folders; those inside the executable by default
        paths: Vec<PathBuf>,
    },
    /// Scenario files: check, schema
    #[command(subcommand)]
    Scenario(ScenarioCommand),
    /// Renders a saved run again
    Report {
        /// A `run.json`
        run: PathBuf,
        /// The folder that is written
        #[arg(long, default_value = "fact-report/again")]
        out: PathBuf,
    },
    /// The reference guard's verdict on a statement, a path or a URL
    Guard(GuardArgs),
    /// Repeats a run's verdict and exit code
    Verdict {
        /// A `verdict.json`
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum ScenarioCommand {
    /// Reads the files and points at what is wrong
    Check {
        /// Files or folders
        #[arg(required = true)]
        paths: Vec<PathBuf>,
    },
    /// Prints the JSON Schema that editors complete from
    Schema,
}

#[derive(Debug, clap::Args)]
pub(crate) struct RunArgs {
    /// Scenario files or folders; those inside the executable by default
    pub(crate) paths: Vec<PathBuf>,
    /// What is judged: `reference` or `http://HOST:PORT`; or a command after `--`
    #[arg(long, env = "FACT_RUN_TARGET", default_value = "reference")]
    pub(crate) target: String,
    /// For a target that runs already: where the mocks listen, `claude=ADDR,arcade=ADDR`
    #[arg(long, env = "FACT_RUN_MOCKS")]
    pub(crate) mocks: Option<String>,
    /// `auto`, `docker`, `binaries`, `sqlite` or a `postgres://` URL of a superuser
    #[arg(long, env = "FACT_RUN_DATABASE", default_value = "auto")]
    pub(crate) database: String,
    /// Only scenarios whose id matches; `*` stands for any characters
    #[arg(long, env = "FACT_RUN_ONLY")]
    pub(crate) only: Option<String>,
    /// The seed of every plan, delay and fault
    #[arg(long, env = "FACT_RUN_SEED", default_value_t = 42)]
    pub(crate) seed: u64,
    /// The report folder; by default `fact-report/<time>-<seed>`
    #[arg(long, env = "FACT_RUN_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// Inconclusive gates end with code 4
    #[arg(long, env = "FACT_RUN_STRICT")]
    pub(crate) strict: bool,
    /// Writes the snapshots that the target's answers are compared with
    #[arg(long)]
    pub(crate) update_snapshots: bool,
    /// Further variables of the target's environment, `NAME=VALUE`
    #[arg(long = "env", value_name = "NAME=VALUE")]
    pub(crate) environment: Vec<String>,
    /// A command that starts the target, given the contract's environment
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum GuardKind {
    /// A statement for `SQL.QueryReadonly`
    Sql,
    /// A path for the file tools
    Path,
    /// A URL for the web tool
    Url,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Dialect {
    Postgres,
    Sqlite,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fact guard sql \"SELECT name FROM companies\"
  fact guard sql --schema my.sql < statements.jsonl
  fact guard url http://169.254.169.254/")]
pub(crate) struct GuardArgs {
    /// What is guarded
    pub(crate) kind: GuardKind,
    /// One text; without it JSON lines from stdin, `{\"id\",\"statement\"|\"path\"|\"url\", …}`
    pub(crate) text: Option<String>,
    /// The tables that may be read, as the SQL that made them; the scenarios' finance data by default
    #[arg(long, env = "FACT_GUARD_SCHEMA")]
    pub(crate) schema: Option<PathBuf>,
    /// A folder that may be read; several by several flags
    #[arg(long, env = "FACT_GUARD_ROOT")]
    pub(crate) root: Vec<String>,
    /// The dialect of statements that name none
    #[arg(long, env = "FACT_GUARD_DIALECT", default_value = "postgres")]
    pub(crate) dialect: Dialect,
}

#[derive(Debug, clap::Args)]
pub(crate) struct MocksArgs {
    /// Where Claude listens
    #[arg(long, env = "FACT_MOCKS_CLAUDE", default_value = "127.0.0.1:0")]
    pub(crate) claude: SocketAddr,
    /// Where Arcade listens
    #[arg(long, env = "FACT_MOCKS_ARCADE", default_value = "127.0.0.1:0")]
    pub(crate) arcade: SocketAddr,
    /// A scenario file whose `claude` and `arcade` parts are followed
    #[arg(long, env = "FACT_MOCKS_SCRIPT")]
    pub(crate) script: Option<PathBuf>,
    /// The seed of every delay and fault
    #[arg(long, env = "FACT_MOCKS_SEED", default_value_t = 42)]
    pub(crate) seed: u64,
}
