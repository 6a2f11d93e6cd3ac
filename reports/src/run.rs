//! What a finished run was, as plain data: all that any report is made from.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The version of `run.json` and `verdict.json`. A reader refuses a newer one.
pub const SCHEMA_VERSION: u32 = 1;

/// A whole run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Version of this record, [`SCHEMA_VERSION`].
    pub schema_version: u32,
    /// RFC 3339 time of the start.
    pub started_at: String,
    /// How long the run took, in seconds.
    pub duration_seconds: f64,
    /// The seed that every plan was drawn from.
    pub seed: u64,
    /// What was judged, as the user named it.
    pub target: String,
    /// The database that was taken, and why not another.
    pub database: Database,
    /// One entry a scenario, in the order of the files.
    pub scenarios: Vec<Scenario>,
    /// Why the whole run cannot be believed; empty when it can.
    pub invalid: Vec<String>,
    /// True when the run was ended by Ctrl-C; what was measured until then is kept.
    pub interrupted: bool,
    /// The machine that measured: cores, kernel and the like.
    pub machine: BTreeMap<String, String>,
}

/// Which database stood behind the target.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Database {
    /// `docker`, `binaries`, `sqlite` or `url`.
    pub kind: String,
    /// The server's own words for its version.
    pub version: String,
    /// Those that were tried earlier: name and reason.
    pub passed_over: Vec<(String, String)>,
}

/// What came of one scenario.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Scenario {
    /// Its id, such as `cache.hit-is-silent`.
    pub id: String,
    /// Its title.
    pub title: String,
    /// `MUST`, `SHOULD` or `MAY`.
    pub level: String,
    /// The profile of the contract that it belongs to.
    pub profile: String,
    /// The worst outcome of its checks and gates.
    pub outcome: Outcome,
    /// Why it was unsupported or not applicable.
    pub reason: Option<String>,
    /// How long it took, in seconds.
    pub duration_seconds: f64,
    /// What was looked at in its steps.
    pub checks: Vec<Check>,
    /// What was measured under load.
    pub load: Option<Load>,
    /// What the load was held against.
    pub gates: Vec<Gate>,
    /// Why its measurements cannot be believed.
    pub invalid: Vec<String>,
    /// The command that repeats it.
    pub repeat: String,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Check {
    /// Which step, such as `step 2: ask`.
    pub step: String,
    /// What was looked at, such as `upstream.claude`.
    pub what: String,
    /// What should have been seen.
    pub expected: String,
    /// What was seen.
    pub seen: String,
    /// What that means.
    pub outcome: Outcome,
    /// The request as a `curl` command.
    pub curl: Option<String>,
}

/// What a check, a gate or a scenario came to. Ordered from best to worst.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Seen as it should be.
    Passed,
    /// Not surely within a limit that is only told.
    Warned,
    /// Nothing on this database or machine can show it.
    NotApplicable,
    /// The target does not claim the profile.
    Unsupported,
    /// A known failure, named by the user.
    ExpectedFailure,
    /// Not enough evidence for or against.
    Inconclusive,
    /// Not as it should be.
    Failed,
}

/// A load, measured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Load {
    /// What was sent, in words: rate, arrivals, duration.
    pub description: String,
    /// Requests of the plan.
    pub planned: u64,
    /// Requests sent.
    pub sent: u64,
    /// Answers with a status below 400 and complete.
    pub succeeded: u64,
    /// By class: `hit`, `miss`, `tool`; also `failed` for what had no success.
    pub classes: BTreeMap<String, Class>,
    /// Sent less due: how late the generator was.
    pub lag: Histogram,
    /// The mocks' actual time less their schedule.
    pub mock_lag: Histogram,
    /// What the ledger says.
    pub cost: Cost,
    /// Seconds of processor time that the target used, where it is a child process.
    pub target_cpu_seconds: Option<f64>,
    /// The target's peak resident memory in bytes, where it is a child process.
    pub target_peak_bytes: Option<u64>,
    /// What the machine did to the measurement.
    #[serde(default)]
    pub noise: Option<Noise>,
    /// How often the load was sent until its gates were decided.
    #[serde(default)]
    pub looks: u32,
    /// The slowest requests of each class, the slowest first.
    #[serde(default)]
    pub slowest: BTreeMap<String, Vec<Slow>>,
}

/// A slow request, and where its time went. Times are in milliseconds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Slow {
    /// What names it in the journal.
    pub nonce: String,
    /// When it was due, from the start of the load.
    pub due_ms: f64,
    /// From when it was due to its last byte.
    pub response_ms: f64,
    /// How late it was sent.
    pub late_ms: f64,
    /// What Claude and Arcade took by their mocks' schedule.
    pub scheduled_ms: f64,
    /// What they took.
    pub upstream_ms: f64,
    /// What the database took.
    pub database_ms: f64,
    /// The rest until its first byte.
    pub own_ms: f64,
    /// From its first byte to its last.
    pub body_ms: f64,
    /// The faults that were injected.
    pub faults: Vec<String>,
    /// Why it is no success.
    pub failure: Option<String>,
}

/// What the machine did to a measurement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Noise {
    /// What a request that costs nothing took, from the same client at the same time.
    pub floor: Histogram,
    /// How much a thread that sleeps for a millisecond overslept.
    pub hiccups: Histogram,
    /// The share of processor time that a hypervisor took, in percent.
    pub stolen_percent: Option<f64>,
    /// How long a container's limit held processes up, in milliseconds.
    pub throttled_ms: Option<f64>,
}

/// One class of requests.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Class {
    /// From the due time to the last byte.
    pub response: Histogram,
    /// From the send to the last byte.
    pub service: Histogram,
    /// What Claude and Arcade took, as their mocks saw it.
    pub upstream: Histogram,
    /// What the database took, as the relay saw it.
    pub database: Histogram,
    /// The rest: the implementation's own time.
    pub own: Histogram,
}

/// A latency distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Histogram {
    /// The HDR histogram (V2, deflate-free), base64; values in nanoseconds, three significant digits.
    pub hdr: String,
    /// How many samples it has.
    pub count: u64,
    /// Milliseconds.
    pub mean_ms: f64,
    /// Milliseconds.
    pub p50_ms: f64,
    /// Milliseconds.
    pub p90_ms: f64,
    /// Milliseconds.
    pub p95_ms: f64,
    /// Milliseconds.
    pub p99_ms: f64,
    /// Milliseconds.
    pub max_ms: f64,
}

/// Money and tokens, from the mock's ledger.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, Default)]
pub struct Cost {
    /// What was billed, in dollars.
    pub billed_usd: f64,
    /// What the same conversations would have cost uncached, hits included.
    pub uncached_usd: f64,
    /// Conversations that were billed.
    pub conversations: u64,
    /// Uncached input tokens.
    pub input_tokens: u64,
    /// Tokens written to the provider's cache.
    pub cache_write_tokens: u64,
    /// Tokens read from the provider's cache.
    pub cache_read_tokens: u64,
    /// Tokens generated.
    pub output_tokens: u64,
}

/// A limit, and what was measured against it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    /// Such as `hit.p95`.
    pub name: String,
    /// Such as `<= 50ms`.
    pub limit: String,
    /// What was measured, with its unit.
    pub measured: String,
    /// The interval of the estimate in words, such as `0.6 to 0.9 ms`.
    pub interval: String,
    /// How many samples it rests on.
    pub samples: u64,
    /// Passed, failed or inconclusive.
    pub outcome: Outcome,
    /// How the outcome was reached, in a sentence.
    pub why: String,
}

/// The verdict, as `verdict.json` has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Verdict {
    /// Version of this record.
    pub schema_version: u32,
    /// `passed`, `failed`, `inconclusive`, `invalid` or `interrupted`.
    pub verdict: String,
    /// The exit code that goes with it.
    pub exit_code: i32,
    /// Number of scenarios by outcome.
    pub scenarios: BTreeMap<String, u64>,
    /// Number of checks and gates by outcome.
    pub checks: BTreeMap<String, u64>,
    /// One sentence for people.
    pub summary: String,
    /// Why the run cannot be believed.
    pub invalid: Vec<String>,
}

impl Outcome {
    /// The word that people read.
    pub fn word(self) -> &'static str {
        match self {
            Self::Passed => "passed",
            Self::Warned => "warned",
            Self::NotApplicable => "not applicable",
            Self::Unsupported => "unsupported",
            Self::ExpectedFailure => "expected failure",
            Self::Inconclusive => "inconclusive",
            Self::Failed => "failed",
        }
    }
}
