//! A run: choose a database, replay every scenario in a world of its own, judge, and keep what was seen.

mod schedule;

use crate::database::{self, Data, DatabaseError, Server};
use crate::gates::{self, Limit};
use crate::load::{Measured, attribution};
use crate::scenario::Scenario;
use crate::target::Target;
use crate::world::{World, WorldError};
use fact_mocks::clock::Clock;
use fact_reports::run::{self as record, Check, Outcome, Run, SCHEMA_VERSION};
use schedule::Schedule;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// What was meant by `fact run`.
#[derive(Debug)]
pub struct Config {
    /// What is asked.
    pub scenarios: Vec<Scenario>,
    /// Only ids that match; `*` stands for any characters.
    pub only: Vec<String>,
    /// Who is asked.
    pub target: Target,
    /// `auto`, `docker`, `binaries`, `sqlite` or a URL.
    pub database: String,
    /// The Postgres image, where it is not the official one.
    pub image: Option<String>,
    /// Of every plan, delay and fault.
    pub seed: u64,
    /// Snapshots are written instead of compared.
    pub update_snapshots: bool,
    /// Where the mocks listen; port 0 for any.
    pub claude_listen: SocketAddr,
    /// Where the mocks listen; port 0 for any.
    pub arcade_listen: SocketAddr,
    /// How long a load may go on until its gates are decided.
    pub budget: Option<Duration>,
    /// Further variables for the target.
    pub environment: Vec<(String, String)>,
    /// How many scenarios go on at once; those whose latencies are judged always go alone.
    pub jobs: Option<usize>,
    /// The report folder; it takes the target's log.
    pub out: PathBuf,
    /// The command that repeats this run, without `--seed` and `--only`.
    pub repeat: String,
}

/// What happens, for those who watch.
#[derive(Debug)]
pub enum Event {
    /// What was found and chosen.
    Chosen(String),
    /// What goes on.
    Progress(String),
    /// A scenario is done.
    Scenario {
        /// Its id.
        id: String,
        /// Its outcome, in a word.
        outcome: &'static str,
        /// How long it took.
        seconds: f64,
    },
}

/// A finished run.
#[derive(Debug)]
pub struct Finished {
    /// Everything that reports need.
    pub run: Run,
    /// The journals of all scenarios, one JSON object a line.
    pub journal: Vec<String>,
}

/// Why there is no run at all.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// Nothing to do.
    #[error("no scenario matches `--only {0}`; `fact list` shows their ids")]
    NothingMatches(String),
    /// No database.
    #[error("{0}")]
    Database(#[from] DatabaseError),
    /// The world or the target.
    #[error("scenario `{id}`: {source}")]
    World {
        /// Which scenario it was.
        id: String,
        /// Why.
        source: WorldError,
    },
    /// A gate that cannot be read.
    #[error("scenario `{id}`: {reason}")]
    Gate {
        /// Which scenario it was.
        id: String,
        /// Why.
        reason: String,
    },
    /// The run itself could not go on.
    #[error("scenario `{id}`: {reason}")]
    Load {
        /// Which scenario it was.
        id: String,
        /// Why.
        reason: String,
    },
}

impl RunError {
    /// True where the user can mend it by typing something else.
    pub fn is_usage(&self) -> bool {
        matches!(self, Self::NothingMatches(_) | Self::Gate { .. })
    }
}

/// Runs. When `stop` resolves, what was measured so far is kept and marked as interrupted.
pub async fn run(
    config: Config,
    stop: impl Future<Output = ()>,
    watch: &mut impl FnMut(Event),
) -> Result<Finished, RunError> {
    let chosen = select(&config)?;
    let limits = chosen
        .iter()
        .map(|at| read_gates(&config.scenarios[*at]))
        .collect::<Result<Vec<_>, _>>()?;
    let clock = Clock::start();
    let started_at = jiff::Timestamp::now().to_string();
    let mut stop = std::pin::pin!(stop);
    let data = Data::shipped();
    let request = database::Request {
        kind: config.database.clone(),
        image: config.image.clone(),
    };
    watch(Event::Progress("choosing a database …".into()));
    let server = tokio::select! {
        server = database::choose(&request, &data) => server?,
        () = &mut stop => return Ok(interrupted_before_the_start(&config, started_at)),
    };
    watch(Event::Chosen(describe(&config, &server, chosen.len())));
    let mut run = empty(&config, &server, started_at);
    let total = chosen.len();
    let jobs = chosen.into_iter().zip(limits).map(|(at, limits)| {
        let alone = schedule::is_alone(&limits);
        ((at, limits), alone)
    });
    let mut schedule = Schedule::new(jobs, schedule::at_once(&config));
    let (config, server) = (Arc::new(config), Arc::new(server));
    let start = |(at, limits): (usize, Vec<Limit>)| {
        let (config, server) = (config.clone(), server.clone());
        async move {
            let scenario = &config.scenarios[at];
            (at, replay(&config, scenario, &limits, &server, clock).await)
        }
    };
    let mut done = BTreeMap::new();
    let mut failure = None;
    loop {
        watch(Event::Progress(format!("[{}/{total}] …", done.len())));
        tokio::select! {
            ended = schedule.next(start) => match ended {
                None => break,
                Some((at, Ok(replayed))) => {
                    let outcome = &replayed.outcome;
                    watch(Event::Scenario { id: outcome.id.clone(), outcome: outcome.outcome.word(), seconds: outcome.duration_seconds });
                    done.insert(at, replayed);
                }
                Some((_, Err(error))) => { failure = Some(error); break }
            },
            () = &mut stop => { run.interrupted = true; break }
        }
    }
    schedule.stop().await;
    if let Some(server) = Arc::into_inner(server) {
        server.stop().await;
    }
    if let Some(failure) = failure {
        return Err(failure);
    }
    let mut journal = Vec::new();
    for replayed in done.into_values() {
        run.scenarios.push(replayed.outcome);
        journal.extend(replayed.journal);
    }
    run.invalid = run
        .scenarios
        .iter()
        .flat_map(|scenario| {
            scenario
                .invalid
                .iter()
                .map(|why| format!("{}: {why}", scenario.id))
        })
        .collect();
    run.duration_seconds = seconds(clock.now_ns());
    Ok(Finished { run, journal })
}

/// The places of the scenarios that are wanted.
fn select(config: &Config) -> Result<Vec<usize>, RunError> {
    let wanted = |scenario: &Scenario| {
        config.only.is_empty()
            || config
                .only
                .iter()
                .any(|pattern| matches(pattern, &scenario.id))
    };
    let chosen: Vec<usize> = (0..config.scenarios.len())
        .filter(|at| wanted(&config.scenarios[*at]))
        .collect();
    if chosen.is_empty() {
        return Err(RunError::NothingMatches(config.only.join("` or `")));
    }
    Ok(chosen)
}

/// `*` stands for any characters.
fn matches(pattern: &str, id: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == id,
        Some((head, tail)) => id.strip_prefix(head).is_some_and(|rest| {
            rest.char_indices()
                .map(|(at, _)| at)
                .chain([rest.len()])
                .any(|at| matches(tail, &rest[at..]))
        }),
    }
}

fn read_gates(scenario: &Scenario) -> Result<Vec<Limit>, RunError> {
    let mut limits = Vec::new();
    for (name, written) in &scenario.gates {
        let read = gates::read(name, written).map_err(|reason| RunError::Gate {
            id: scenario.id.clone(),
            reason,
        })?;
        limits.extend(read);
    }
    Ok(limits)
}

fn describe(config: &Config, server: &Server, scenarios: usize) -> String {
    let mut lines = vec![
        format!("target    {}", config.target.name()),
        format!("database  {}, {}", server.kind(), server.version()),
    ];
    lines.extend(
        server
            .passed_over()
            .iter()
            .map(|(name, why)| format!("          not {name}: {why}")),
    );
    lines.push(format!("seed      {}", config.seed));
    lines.push(format!("scenarios {scenarios}"));
    lines.join("\n")
}

fn empty(config: &Config, server: &Server, started_at: String) -> Run {
    Run {
        schema_version: SCHEMA_VERSION,
        started_at,
        duration_seconds: 0.0,
        seed: config.seed,
        target: config.target.name(),
        database: record::Database {
            kind: server.kind().to_owned(),
            version: server.version().to_owned(),
            passed_over: server.passed_over().to_vec(),
        },
        scenarios: Vec::new(),
        invalid: Vec::new(),
        interrupted: false,
        machine: machine(),
    }
}

fn interrupted_before_the_start(config: &Config, started_at: String) -> Finished {
    let run = Run {
        schema_version: SCHEMA_VERSION,
        started_at,
        duration_seconds: 0.0,
        seed: config.seed,
        target: config.target.name(),
        database: record::Database {
            kind: "none".into(),
            version: String::new(),
            passed_over: Vec::new(),
        },
        scenarios: Vec::new(),
        invalid: Vec::new(),
        interrupted: true,
        machine: machine(),
    };
    Finished {
        run,
        journal: Vec::new(),
    }
}

fn machine() -> BTreeMap<String, String> {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let model = read("/proc/cpuinfo").lines().find_map(|line| {
        Some(
            line.strip_prefix("model name")?
                .split_once(':')?
                .1
                .trim()
                .to_owned(),
        )
    });
    let mut machine = BTreeMap::new();
    machine.insert(
        "cores".to_owned(),
        std::thread::available_parallelism()
            .map_or(0, std::num::NonZero::get)
            .to_string(),
    );
    machine.insert(
        "system".to_owned(),
        format!("{} {}", std::env::consts::OS, std::env::consts::ARCH),
    );
    machine.insert(
        "kernel".to_owned(),
        read("/proc/sys/kernel/osrelease").trim().to_owned(),
    );
    machine.insert("processor".to_owned(), model.unwrap_or_default());
    machine.retain(|_, value| !value.is_empty());
    machine
}

/// One scenario, replayed.
#[derive(Debug)]
struct Replayed {
    outcome: record::Scenario,
    /// One JSON object a line.
    journal: Vec<String>,
}

/// One scenario in a world of its own.
async fn replay(
    config: &Config,
    scenario: &Scenario,
    limits: &[Limit],
    server: &Server,
    clock: Clock,
) -> Result<Replayed, RunError> {
    let began_ns = clock.now_ns();
    let seed = scenario.seed.unwrap_or(config.seed);
    let mut outcome = record::Scenario {
        id: scenario.id.clone(),
        title: scenario.title.clone(),
        level: scenario.requirement.level.to_string(),
        profile: scenario.requirement.profile.clone(),
        outcome: Outcome::Passed,
        reason: None,
        duration_seconds: 0.0,
        checks: Vec::new(),
        load: None,
        gates: Vec::new(),
        invalid: Vec::new(),
        repeat: format!(
            "{} --seed {} --only {}",
            config.repeat, config.seed, scenario.id
        ),
    };
    if !scenario.fits(server.kind()) {
        outcome.outcome = Outcome::NotApplicable;
        let other = if server.kind() == "sqlite" {
            "Postgres"
        } else {
            "SQLite"
        };
        outcome.reason = Some(format!("only {other} can show it"));
        return Ok(Replayed {
            outcome,
            journal: Vec::new(),
        });
    }
    let in_world = |source| RunError::World {
        id: scenario.id.clone(),
        source,
    };
    let world = World::start(scenario, config, server, clock, seed)
        .await
        .map_err(in_world)?;
    if world.claims(&scenario.requirement.profile).await {
        outcome.checks = crate::steps::run_steps(scenario, &scenario.steps, 1, &world).await;
        outcome.checks.extend(leak_in_log(&world));
        if let Some(load) = &scenario.load {
            let judged = crate::load::run(scenario, load, limits, config.budget, &world, seed);
            let judged = judged.await.map_err(|reason| RunError::Load {
                id: scenario.id.clone(),
                reason,
            })?;
            let measured = judged.measured;
            outcome.gates = judged.gates;
            outcome.invalid = crate::validity::doubts(limits, &measured);
            outcome.checks.extend(failures(&measured));
            outcome.load = measured.report;
        }
        let first = scenario.steps.len() + 1;
        let then = crate::steps::run_steps(scenario, &scenario.then, first, &world).await;
        outcome.checks.extend(then);
        outcome.outcome = worst(&outcome);
    } else {
        outcome.outcome = Outcome::Unsupported;
        outcome.reason = Some(format!(
            "the target does not claim the profile `{}`",
            scenario.requirement.profile
        ));
    }
    let mut journal = Vec::new();
    for entry in world.journal.since(0) {
        if let Ok(serde_json::Value::Object(mut line)) = serde_json::to_value(&entry) {
            // Keys and tokens are among them.
            line.remove("headers");
            line.insert("scenario".into(), scenario.id.clone().into());
            journal.push(serde_json::Value::Object(line).to_string());
        }
    }
    world.stop().await;
    outcome.duration_seconds = seconds(clock.now_ns() - began_ns);
    Ok(Replayed { outcome, journal })
}

/// What must not stand in the target's own words either.
fn leak_in_log(world: &World) -> Option<record::Check> {
    let secret = world.leak(&world.log()?)?;
    Some(record::Check {
        step: "all steps".into(),
        what: "secrets".into(),
        expected: "none is in the target's log".into(),
        seen: format!("{secret} is in target.log"),
        outcome: Outcome::Failed,
        curl: None,
    })
}

fn worst(scenario: &record::Scenario) -> Outcome {
    let checks = scenario
        .checks
        .iter()
        .map(|check| check.outcome)
        .filter(|outcome| *outcome != Outcome::NotApplicable);
    let gates = scenario.gates.iter().map(|gate| match gate.outcome {
        Outcome::Warned => Outcome::Passed,
        outcome => outcome,
    });
    checks
        .chain(gates)
        .max()
        .unwrap_or(if scenario.checks.is_empty() {
            Outcome::Passed
        } else {
            Outcome::NotApplicable
        })
}

/// Failures of a load count in the gates; here each kind is named.
fn failures(measured: &Measured) -> Vec<Check> {
    let check = |(what, number): (&String, &u64)| Check {
        step: "load".into(),
        what: "answer".into(),
        expected: "every request is answered".into(),
        seen: format!("{number} times: {what}"),
        outcome: if what.starts_with("a question never asked") || what == attribution::WRONG {
            Outcome::Failed
        } else {
            Outcome::Inconclusive
        },
        curl: None,
    };
    measured.failures.iter().map(check).collect()
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a run lasts hours, not centuries"
)]
fn seconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e9
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_any_characters_and_nothing_else_is_special() {
        assert!(
            matches("cache.*", "cache.hit-is-silent") && matches("*silent", "cache.hit-is-silent")
        );
        assert!(matches("*", "x") && !matches("cache", "cache.hit") && !matches("c?che", "cache"));
    }
}
