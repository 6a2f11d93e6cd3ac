//! What was typed.

use clap::{Parser, Subcommand, ValueEnum};
use fact_engine::audit::Anchor;
use fact_mocks::script::Millis;
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
  fact fuzz sql -- ./my-validator              hunt a validator of SQL
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
    /// The reference engine, configured by flags, the environment and a file
    Serve(ConfigArgs),
    /// The engine's configuration: show, schema
    #[command(subcommand)]
    Config(ConfigCommand),
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
    /// Asks a running implementation; without a question an interactive prompt
    Ask(AskArgs),
    /// What a scenario asks and why; or where the time of a gate's slowest requests went
    #[command(after_help = "\
Examples:
  fact explain load.standard
  fact explain fact-report/latest miss.p95")]
    Explain {
        /// The id of a scenario; before a gate, a report folder or its `run.json`
        what: String,
        /// The gate, such as `miss.p95`
        gate: Option<String>,
    },
    /// What the runs of a history came to, and where that changed
    Trend(TrendArgs),
    /// Whether `fact` itself is right: statistics
    #[command(subcommand)]
    Selftest(SelftestCommand),
    /// The audit log: verify
    #[command(subcommand)]
    Audit(AuditCommand),
    /// The operator's database: triggers
    #[command(subcommand)]
    Database(DatabaseCommand),
    /// Hunts a validator of statements, paths or URLs for bypasses, refusals of legitimate use, crashes and stalls
    Fuzz(FuzzArgs),
    /// What another size or another eviction of the answer cache would have saved
    #[command(subcommand)]
    Cache(CacheCommand),
    /// Repeats a run's verdict and exit code
    Verdict {
        /// A `verdict.json`
        file: PathBuf,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum CacheCommand {
    /// Replays what an engine wrote to the file of `FACT_CACHE_TRACE`
    Replay {
        /// The trace
        trace: PathBuf,
        /// Sizes to try; by default parts of what all distinct answers take
        #[arg(long, env = "FACT_CACHE_REPLAY_MAX_BYTES", value_delimiter = ',')]
        max_bytes: Vec<u64>,
        /// How long an answer is kept
        #[arg(long, env = "FACT_CACHE_REPLAY_TTL_SECONDS", default_value_t = 3600)]
        ttl_seconds: u64,
        /// For people or for programs
        #[arg(long, env = "FACT_CACHE_REPLAY_FORMAT", default_value = "text")]
        format: Format,
    },
}

#[derive(Debug, clap::Args)]
pub(crate) struct TrendArgs {
    /// What `fact run --history` wrote
    pub(crate) history: PathBuf,
    /// Only metrics with this in their name, such as `hit.p95`
    #[arg(long, env = "FACT_TREND_METRIC")]
    pub(crate) metric: Option<String>,
    /// Runs of other machines too, though they cannot be compared
    #[arg(long, env = "FACT_TREND_ANY_MACHINE")]
    pub(crate) any_machine: bool,
    /// For people or for programs
    #[arg(long, env = "FACT_TREND_FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum SelftestCommand {
    /// Simulates runs whose truth is known, and counts how often gates and intervals are wrong
    Statistics {
        /// Runs of each kind
        #[arg(long, env = "FACT_SELFTEST_STATISTICS_RUNS", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..))]
        runs: u32,
        /// What everything is drawn from
        #[arg(long, env = "FACT_SELFTEST_STATISTICS_SEED", default_value_t = 42)]
        seed: u64,
        /// For people or for programs
        #[arg(long, env = "FACT_SELFTEST_STATISTICS_FORMAT", default_value = "text")]
        format: Format,
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
    /// Only scenarios whose id matches; `*` stands for any characters; several with commas between them
    #[arg(long, env = "FACT_RUN_ONLY", value_delimiter = ',')]
    pub(crate) only: Vec<String>,
    /// The seed of every plan, delay and fault
    #[arg(long, env = "FACT_RUN_SEED", default_value_t = 42)]
    pub(crate) seed: u64,
    /// The report folder; by default `fact-report/<time>-<seed>`
    #[arg(long, env = "FACT_RUN_OUT")]
    pub(crate) out: Option<PathBuf>,
    /// How long each load is measured, such as `5m`; by default as its scenario says
    #[arg(long, env = "FACT_RUN_DURATION")]
    pub(crate) duration: Option<Millis>,
    /// A file to which a line is added for this run; `fact trend` reads it
    #[arg(long, env = "FACT_RUN_HISTORY")]
    pub(crate) history: Option<PathBuf>,
    /// How long a load may go on until its gates are decided, such as `2m`; by default four times as long as it is
    #[arg(long, env = "FACT_RUN_BUDGET")]
    pub(crate) budget: Option<Millis>,
    /// How many scenarios go on at once, by default twice the cores; those whose latencies are judged go alone
    #[arg(long, short, env = "FACT_RUN_JOBS", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) jobs: Option<u16>,
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
    /// On `SQLite`: a table or view of the schema that may be read, several by several flags; all of them by default
    #[arg(long, env = "FACT_GUARD_TABLE")]
    pub(crate) table: Option<Vec<String>>,
    /// A folder that may be read; several by several flags
    #[arg(long, env = "FACT_GUARD_ROOT")]
    pub(crate) root: Vec<String>,
    /// The dialect of statements that name none
    #[arg(long, env = "FACT_GUARD_DIALECT", default_value = "postgres")]
    pub(crate) dialect: Dialect,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fact fuzz sql                                          hunt the reference guard for a minute
  fact fuzz sql --time 10m --seed 7 --out hunt
  fact fuzz sql -- python3 my_validator.py               a command that answers lines: {\"statement\"} with {\"verdict\"}
  fact fuzz sql --target http://127.0.0.1:18080 --as alice:SECRET
  fact fuzz url -- ./my-validator --json-lines

A command is given one JSON object a line, `{\"id\",\"statement\"|\"path\"|\"url\"}`, and answers each with one line,
`{\"verdict\":\"accept\"|\"refuse\",\"rule\"?}`. Statements may read the tables of `fact fuzz sql --print-schema`.")]
pub(crate) struct FuzzArgs {
    /// What is hunted
    pub(crate) kind: GuardKind,
    /// `reference`, or the address of an implementation; a command after `--` instead
    #[arg(long, env = "FACT_FUZZ_TARGET", default_value = "reference")]
    pub(crate) target: String,
    /// The client as which an implementation is asked, `ID:SECRET`
    #[arg(
        long = "as",
        value_name = "ID:SECRET",
        env = "FACT_FUZZ_AS",
        hide_env_values = true
    )]
    pub(crate) client: Option<String>,
    /// How long, such as `30s` or `10m`
    #[arg(long, env = "FACT_FUZZ_TIME", default_value = "1m", value_parser = duration)]
    pub(crate) time: std::time::Duration,
    /// At most so many texts; a seed and a number repeat a hunt exactly
    #[arg(long, env = "FACT_FUZZ_MOST")]
    pub(crate) most: Option<u64>,
    /// What everything is drawn from
    #[arg(long, env = "FACT_FUZZ_SEED", default_value_t = 42)]
    pub(crate) seed: u64,
    /// Where accepted statements run: `auto`, `docker`, `binaries` or a URL
    #[arg(long, env = "FACT_FUZZ_DATABASE", default_value = "auto")]
    pub(crate) database: String,
    /// Files of statements, one a line, that are changed and mixed in
    #[arg(long, env = "FACT_FUZZ_CORPUS")]
    pub(crate) corpus: Option<PathBuf>,
    /// The folder for findings
    #[arg(long, env = "FACT_FUZZ_OUT", default_value = "fact-report/hunt")]
    pub(crate) out: PathBuf,
    /// Prints the SQL that makes the tables, and ends
    #[arg(long)]
    pub(crate) print_schema: bool,
    /// A validator that answers lines of JSON
    #[arg(last = true)]
    pub(crate) command: Vec<String>,
}

/// `90`, `90s`, `10m`, `1h`.
fn duration(text: &str) -> Result<std::time::Duration, String> {
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let number: u64 = digits
        .parse()
        .map_err(|_| "write a number with `s`, `m` or `h`, such as `90s`".to_owned())?;
    let unit = match &text[digits.len()..] {
        "" | "s" => 1,
        "m" => 60,
        "h" => 3600,
        other => return Err(format!("`{other}` is no unit; use `s`, `m` or `h`")),
    };
    Ok(std::time::Duration::from_secs(number * unit))
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Format {
    /// For people
    Text,
    /// For programs; carries `schema_version`
    Json,
}

#[derive(Debug, clap::Args)]
pub(crate) struct ConfigArgs {
    /// A TOML file; variables come before it. `fact config schema` says what it may hold
    #[arg(long, value_name = "FILE", env = "FACT_CONFIG")]
    pub(crate) config: Option<PathBuf>,
    /// Where the engine listens; comes before `FACT_LISTEN` and the file
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub(crate) listen: Option<String>,
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Prints every setting with its origin; secrets are masked
    Show {
        #[command(flatten)]
        config: ConfigArgs,
        /// How it is printed
        #[arg(long, env = "FACT_CONFIG_FORMAT", default_value = "text")]
        format: Format,
    },
    /// Prints the JSON Schema of the configuration file
    Schema,
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fact ask --as alice --clients clients.json \"What was Q1-2025 revenue?\"
  FACT_ASK_SECRET=… fact ask --as alice --stream \"How many companies are there?\"
  fact ask --as alice --clients clients.json              an interactive prompt; `:help` lists its commands
  fact ask --as alice < questions.txt                     one question a line")]
pub(crate) struct AskArgs {
    /// The question; without it an interactive prompt, or one question a line from stdin
    pub(crate) question: Option<String>,
    /// The implementation
    #[arg(long, env = "FACT_ASK_URL", default_value = "http://127.0.0.1:18080")]
    pub(crate) url: String,
    /// Who asks
    #[arg(long = "as", value_name = "CLIENT", env = "FACT_ASK_AS")]
    pub(crate) client: String,
    /// The client's secret; better given by the variable
    #[arg(long, env = "FACT_ASK_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// The file that holds it, as `FACT_CLIENTS` does
    #[arg(long, env = "FACT_ASK_CLIENTS")]
    pub(crate) clients: Option<PathBuf>,
    /// Shows the text as it comes
    #[arg(long, env = "FACT_ASK_STREAM")]
    pub(crate) stream: bool,
    /// Questions belong to this session
    #[arg(long, env = "FACT_ASK_SESSION")]
    pub(crate) session: Option<String>,
    /// How answers are printed
    #[arg(long, env = "FACT_ASK_FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    /// Checks the hash chain; names a removed, altered or reordered event
    Verify(VerifyArgs),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  fact audit verify fact-state                            a state folder, with what was moved off
  fact audit verify audit.ndjson --format json
  FACT_AUDIT_SECRET=… fact audit verify http://127.0.0.1:18080 --as admin

What was cut off at the end no chain can show: note the newest event that is printed, and give it as `--holds` later.
Ends with 0 when the chain is whole, with 1 when it is not.")]
pub(crate) struct VerifyArgs {
    /// A file of events, a state folder, or the address of an implementation
    #[arg(value_name = "FILE|URL")]
    pub(crate) log: String,
    /// At a URL: the client that reads, with the scope `admin`
    #[arg(
        long = "as",
        value_name = "CLIENT",
        env = "FACT_AUDIT_AS",
        default_value = "admin"
    )]
    pub(crate) client: String,
    /// Its secret; better given by the variable
    #[arg(long, env = "FACT_AUDIT_SECRET", hide_env_values = true)]
    pub(crate) secret: Option<String>,
    /// The file that holds it, as `FACT_CLIENTS` does
    #[arg(long, env = "FACT_AUDIT_CLIENTS")]
    pub(crate) clients: Option<PathBuf>,
    /// A token instead; better given by the variable
    #[arg(long, env = "FACT_AUDIT_TOKEN", hide_env_values = true)]
    pub(crate) token: Option<String>,
    /// The last event before the first one here, where earlier ones were removed in time
    #[arg(long, value_name = "SEQUENCE:HASH", env = "FACT_AUDIT_AFTER", value_parser = place_in_chain)]
    pub(crate) after: Option<Anchor>,
    /// An event that must be here: what an earlier check called the newest
    #[arg(long, value_name = "SEQUENCE:HASH", env = "FACT_AUDIT_HOLDS", value_parser = place_in_chain)]
    pub(crate) holds: Option<Anchor>,
    /// How the outcome is printed
    #[arg(long, env = "FACT_AUDIT_FORMAT", default_value = "text")]
    pub(crate) format: Format,
}

/// `17:0a1b…`
fn place_in_chain(text: &str) -> Result<Anchor, String> {
    let read = || {
        let (sequence, hash) = text.split_once(':')?;
        let hex = hash.len() == 64 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
        Some(Anchor {
            sequence: sequence.parse().ok()?,
            hash: hex.then(|| hash.to_ascii_lowercase())?,
        })
    };
    read().ok_or_else(|| "write `SEQUENCE:HASH`, as `fact audit verify` prints it".to_owned())
}

#[derive(Debug, Subcommand)]
pub(crate) enum DatabaseCommand {
    /// Prints the change feed's triggers for one's own tables on Postgres
    #[command(after_help = "\
Examples:
  fact database triggers | psql \"$OWNER_URL\"              every table outside of the system's schemas
  fact database triggers --table sales.orders --table customers | psql \"$OWNER_URL\"")]
    Triggers {
        /// A table, `schema.table` or `table`; several by several flags; all of them by default
        #[arg(long, env = "FACT_DATABASE_TABLE", value_delimiter = ',')]
        table: Vec<String>,
    },
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
    /// The control plane `/_mock/` also where a mock listens on more than loopback
    #[arg(long, env = "FACT_MOCKS_CONTROL")]
    pub(crate) control: bool,
    /// One protocol mistake that is made on purpose, to see whether a suite finds it
    #[arg(long, value_name = "NAME")]
    pub(crate) mutant: Option<fact_mocks::mutant::Mutant>,
    /// Lists the mistakes that can be made on purpose
    #[arg(long)]
    pub(crate) mutants: bool,
}
