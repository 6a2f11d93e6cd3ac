//! A load: every planned request is sent at its due time, whatever became of the earlier ones (open loop).
//! `generator` sends, `attribution` says what became of each request by the journal alone.

pub mod attribution;
pub mod generator;

use crate::scenario::Scenario;
use crate::scenario::load::Load as Spec;
use crate::world::World;
use fact_reports::run::Load;
use generator::Prepared;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};

/// What came of a load, for the gates and for the report.
#[derive(Debug, Default)]
pub struct Measured {
    /// Response times by class, warm-up left out; a failure stands with a time above any limit.
    pub response_ns: BTreeMap<String, Vec<u64>>,
    /// Requests after the warm-up.
    pub measured: u64,
    /// Those of them that were answered as they should.
    pub succeeded: u64,
    /// Requests after the warm-up that failed as they may while an upstream is broken; not among the measured.
    pub excused: u64,
    /// Answers that are not what they have to be, the warm-up's too; none where nothing was said of answers.
    pub wrong: Option<u64>,
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

/// Plans, sends, waits for the last answer, and says what became of each request.
pub async fn run(
    scenario: &Scenario,
    load: &Spec,
    world: &World,
    seed: u64,
) -> Result<Measured, String> {
    let plan = crate::plan::plan(load, &scenario.id, seed);
    let planned = u64::try_from(plan.len()).unwrap_or(u64::MAX);
    let prepared = prepare(load, plan, world).await?;
    let http = reqwest::Client::builder()
        .no_proxy()
        .tcp_nodelay(true)
        .pool_max_idle_per_host(usize::MAX)
        .build()
        .map_err(|error| error.to_string())?;
    let clock = world.journal.clock();
    let first = world.journal.len();
    let cpu_before = world.running.cpu_seconds();
    let sent = generator::send_all(&http, clock, clock.now_ns() + HEAD_START_NS, prepared)
        .await
        .map_err(|error| error.to_string())?;
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
    };
    let mut measured = attribution::measure(&sent, &world.journal.since(first), &context)
        .map_err(|error| error.to_string())?;
    // A mock is asked by one scenario alone, so all its events are of this load or of what warmed it up.
    let streamed = world.mocks.timing().map(|timing| timing.events);
    let streamed = streamed.iter().filter(|lags| lags.count > 0);
    measured.mock_event_lag_ms = streamed.map(|lags| lags.p99_us / 1e3).reduce(f64::max);
    Ok(measured)
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
