//! A load: every planned request is sent at its due time, whatever became of the earlier ones (open loop).
//! `generator` sends, `attribution` says what became of each request by the journal alone.

pub mod attribution;
pub mod generator;
mod noise;
mod null_target;

use crate::gates::{self, Limit, Time};
use crate::scenario::Scenario;
use crate::scenario::load::Load as Spec;
use crate::statistics::alpha_spent;
use crate::world::World;
use fact_reports::run::{Gate, Load, Outcome};
use generator::Prepared;
use noise::Meter;
use null_target::NullTarget;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// What came of a load, for the gates and for the report.
#[derive(Debug, Default)]
pub struct Measured {
    /// Response times by class, warm-up left out; a failure stands with a time above any limit.
    pub response_ns: BTreeMap<String, Vec<u64>>,
    /// Requests after the warm-up.
    pub measured: u64,
    /// All requests, the warm-up's too.
    pub sent: u64,
    /// How long was measured, in seconds.
    pub seconds: f64,
    /// First bytes by class, as the response times.
    pub first_byte_ns: BTreeMap<String, Vec<u64>>,
    /// What neither upstreams nor the database took, by class, as the response times.
    pub own_ns: BTreeMap<String, Vec<u64>>,
    /// What a request that costs nothing took meanwhile.
    pub noise_ns: Vec<u64>,
    /// Whether each measured request failed, in the order in which they were due.
    pub failed: Vec<bool>,
    /// Measured requests that were answered, in whatever way.
    pub answered: u64,
    /// Measured requests that were answered as they should be.
    pub succeeded: u64,
    /// Requests after the warm-up that failed as they may while an upstream is broken; not among the measured.
    pub excused: u64,
    /// Answers that are not what they have to be, the warm-up's too; none where nothing was said of answers.
    pub wrong: Option<u64>,
    /// What Claude billed since the warm-up.
    pub billed_usd: f64,
    /// Claude's calls for misses.
    pub miss_calls: Calls,
    /// Processor time of the target, where it can be read.
    pub target_cpu_seconds: Option<f64>,
    /// Peak memory of the target, where it can be read.
    pub target_peak_bytes: Option<u64>,
    /// What the repeated question cost, by the ledger; absent where it was never billed.
    pub hit_cost: Option<HitCost>,
    /// Sent less due, by class.
    pub lag_ns: BTreeMap<String, Vec<u64>>,
    /// The mocks' actual time less their schedule.
    pub mock_lag_ns: Vec<u64>,
    /// The 99th percentile of how late the mocks' events in streams were, in milliseconds; absent where none was streamed.
    pub mock_event_lag_ms: Option<f64>,
    /// What went wrong, each kind once, with its number.
    pub failures: BTreeMap<String, u64>,
    /// For the report.
    pub report: Option<Load>,
}

/// What answers to the repeated question cost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct HitCost {
    /// Answers to the repeated question, the first one left out.
    pub answers: u64,
    /// What the ledger billed for them.
    pub billed_usd: f64,
    /// What as many uncached conversations would have cost.
    pub uncached_usd: f64,
}

/// Claude's calls for some answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Calls {
    /// How often it was called.
    pub calls: u64,
    /// For how many answers.
    pub answers: u64,
}

impl Measured {
    /// One of the times of each class.
    pub fn times(&self, time: Time) -> &BTreeMap<String, Vec<u64>> {
        match time {
            Time::Response => &self.response_ns,
            Time::FirstByte => &self.first_byte_ns,
            Time::Own => &self.own_ns,
        }
    }
}

/// A load that was held against its limits.
#[derive(Debug)]
pub struct Judgement {
    /// What came of it.
    pub measured: Measured,
    /// One gate a limit.
    pub gates: Vec<Gate>,
}

/// How wrong a gate may be, over all looks together.
const ALPHA: f64 = 0.05;
/// How often a load is sent at most where nobody says how long.
const LOOKS: u32 = 4;

/// Plans, sends, waits for the last answer, and judges; goes on while a gate is undecided and time is left.
pub async fn run(
    scenario: &Scenario,
    load: &Spec,
    limits: &[Limit],
    budget: Option<Duration>,
    world: &World,
    seed: u64,
) -> Result<Judgement, String> {
    let looks = looks(load, budget);
    let null = NullTarget::start()
        .await
        .map_err(|error| error.to_string())?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(usize::MAX)
        .build()
        .map_err(|error| error.to_string())?;
    let clock = world.journal.clock();
    let first = world.journal.len();
    let cpu_before = world.running.cpu_seconds();
    let meter = Meter::start().map_err(|error| error.to_string())?;
    let (mut sent, mut noise_ns) = (Vec::new(), Vec::new());
    let mut planned = 0;
    let mut decided: Vec<Option<Gate>> = vec![None; limits.len()];
    for look in 1..=looks {
        let plan = crate::plan::plan(load, &scenario.id, seed, look - 1);
        planned += u64::try_from(plan.len()).unwrap_or(u64::MAX);
        let probes = null.probes(&plan);
        let mut prepared = prepare(load, plan, world).await?;
        prepared.extend(probes);
        prepared.sort_by_key(|request| request.planned.due_ns);
        let landed = generator::send_all(&http, clock, clock.now_ns() + HEAD_START_NS, prepared)
            .await
            .map_err(|error| error.to_string())?;
        let (probes, asked): (Vec<_>, Vec<_>) = landed
            .into_iter()
            .partition(|sent| sent.planned.class == null_target::CLASS);
        noise_ns.extend(
            probes
                .iter()
                .map(|probe| probe.done_ns.saturating_sub(probe.due_ns)),
        );
        sent.extend(asked);
        world.settle().await;
        let context = attribution::Context {
            description: load.in_words(),
            planned,
            answers: load.answers.clone(),
            excused: load.excused.clone(),
            repeated_question: load.hit.as_ref().map(|ask| ask.question.clone()),
            target_cpu_seconds: world
                .running
                .cpu_seconds()
                .zip(cpu_before)
                .map(|(after, before)| after - before),
            target_peak_bytes: world.running.peak_bytes(),
            seconds: load.open.for_seconds() * f64::from(look),
            noise: meter.so_far(),
            noise_ns: noise_ns.clone(),
            looks: look,
        };
        let mut measured = attribution::measure(&sent, &world.journal.since(first), &context)
            .map_err(|error| error.to_string())?;
        // A mock is asked by one scenario alone, so all its events are of this load or of what warmed it up.
        let streamed = world.mocks.timing().map(|timing| timing.events);
        let streamed = streamed.iter().filter(|lags| lags.count > 0);
        measured.mock_event_lag_ms = streamed.map(|lags| lags.p99_us / 1e3).reduce(f64::max);
        let alpha = alpha_of(look, looks);
        for (limit, decided) in limits.iter().zip(&mut decided) {
            // What is decided stays so: looking again would be one more chance to be wrong.
            if decided
                .as_ref()
                .is_none_or(|gate| gate.outcome == Outcome::Inconclusive)
            {
                *decided = Some(gates::judge(limit, &measured, alpha));
            }
        }
        let undecided = decided.iter().flatten();
        let undecided = undecided.filter(|gate| gate.outcome == Outcome::Inconclusive);
        if undecided.count() == 0 || look == looks {
            let gates = decided.into_iter().flatten().collect();
            return Ok(Judgement { measured, gates });
        }
    }
    Err("a load is looked at once at least".to_owned())
}

/// How often it may be looked at: each time after as long as the load is.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a budget is a few loads"
)]
fn looks(load: &Spec, budget: Option<Duration>) -> u32 {
    let times = |budget: Duration| (budget.as_secs_f64() / load.open.for_seconds()) as u32;
    budget.map_or(LOOKS, times).max(1)
}

/// What this look may spend of the error that is allowed.
pub fn alpha_of(look: u32, looks: u32) -> f64 {
    let spent = |look: u32| alpha_spent(ALPHA, f64::from(look) / f64::from(looks));
    spent(look) - spent(look - 1)
}

/// Between the end of the preparation and the plan's zero.
const HEAD_START_NS: u64 = 20_000_000;

async fn prepare(
    load: &Spec,
    plan: Vec<crate::plan::Planned>,
    world: &World,
) -> Result<Vec<Prepared>, String> {
    let mut tokens: HashMap<String, String> = HashMap::new();
    let mut prepared = Vec::with_capacity(plan.len());
    for planned in plan {
        let (client, path, body) = match planned.class.as_str() {
            "tool" => {
                let execute = load
                    .tool
                    .as_ref()
                    .ok_or("the mix has `tool`, the load has not")?;
                let arguments = with_nonce(&execute.arguments, &planned.nonce);
                (
                    &execute.client,
                    format!("/api/v1/tools/{}/execute", execute.tool),
                    json!({ "arguments": arguments }),
                )
            }
            class => {
                let ask = if class == "hit" {
                    load.hit.as_ref()
                } else {
                    load.miss.as_ref()
                };
                let ask = ask.ok_or_else(|| format!("the mix has `{class}`, the load has not"))?;
                (
                    &ask.client,
                    "/api/v1/query".to_owned(),
                    json!({ "query": ask.question.replace("{{ nonce }}", &planned.nonce) }),
                )
            }
        };
        if !tokens.contains_key(client) {
            let token = world
                .client
                .token(client)
                .await
                .map_err(|error| error.to_string())?;
            tokens.insert(client.clone(), token);
        }
        let url = world
            .running
            .base
            .join(&path)
            .map_err(|error| error.to_string())?
            .to_string();
        prepared.push(Prepared {
            planned,
            url,
            body: body.to_string().into(),
            token: tokens[client].clone(),
        });
    }
    Ok(prepared)
}

fn with_nonce(value: &Value, nonce: &str) -> Value {
    match value {
        Value::String(text) => Value::String(text.replace("{{ nonce }}", nonce)),
        Value::Array(items) => items.iter().map(|item| with_nonce(item, nonce)).collect(),
        Value::Object(fields) => fields
            .iter()
            .map(|(name, field)| (name.clone(), with_nonce(field, nonce)))
            .collect(),
        other => other.clone(),
    }
}
