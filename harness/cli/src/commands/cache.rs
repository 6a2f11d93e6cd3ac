//! `fact cache replay`: what other sizes and other ways of evicting would have saved, over a trace of one's own engine.

use super::Failure;
use crate::args::{CacheCommand, Format};
use crate::console;
use fact_engine::cache::replay::{Asked, EVICTIONS, Eviction, Outcome, enough, replay};
use serde_json::json;
use std::fmt::Write as _;
use std::path::Path;

/// Parts of all distinct answers' bytes that are tried where no size is given.
const PARTS: [u64; 5] = [50, 20, 10, 4, 2];

pub(crate) fn cache(command: CacheCommand) -> Result<u8, Failure> {
    let CacheCommand::Replay {
        trace,
        max_bytes,
        ttl_seconds,
        format,
    } = command;
    let asked = read(&trace)?;
    let ttl_ms = i64::try_from(ttl_seconds)
        .unwrap_or(i64::MAX)
        .saturating_mul(1_000);
    let distinct = distinct_bytes(&asked);
    let sizes = if max_bytes.is_empty() {
        PARTS
            .iter()
            .map(|part| (distinct / part).max(1))
            .chain([distinct.max(1)])
            .collect()
    } else {
        max_bytes
    };
    let outcomes: Vec<Outcome> = sizes
        .iter()
        .flat_map(|size| {
            EVICTIONS
                .iter()
                .map(|eviction| replay(&asked, *eviction, *size, ttl_ms))
        })
        .collect();
    let enough = EVICTIONS.map(|eviction| (eviction, enough(&asked, eviction, ttl_ms)));
    match format {
        Format::Json => {
            let enough: Vec<_> = enough
                .iter()
                .map(|(eviction, bytes)| json!({ "strategy": eviction, "max_bytes": bytes }))
                .collect();
            let report = json!({ "schema_version": 1, "asked": asked.len(), "distinct_bytes": distinct, "ttl_seconds": ttl_seconds, "outcomes": outcomes, "enough_for_99_percent": enough });
            console::data(&report.to_string());
        }
        Format::Text => console::data(&table(&asked, distinct, &outcomes, &enough)),
    }
    Ok(0)
}

fn read(path: &Path) -> Result<Vec<Asked>, Failure> {
    let text = std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))?;
    let mut asked = Vec::new();
    let lines = text.lines().count();
    for (index, line) in text.lines().enumerate() {
        match serde_json::from_str(line) {
            Ok(one) => asked.push(one),
            // An engine that was killed leaves half a line at the end.
            Err(_) if index + 1 == lines && !text.ends_with('\n') => {}
            Err(error) => {
                return Err(Failure::usage(format!(
                    "{}:{}: {error}; a trace is what an engine writes to the file of `FACT_CACHE_TRACE`",
                    path.display(),
                    index + 1
                )));
            }
        }
    }
    if asked.is_empty() {
        return Err(Failure::usage(format!(
            "{} holds no question: run an engine with `FACT_CACHE_TRACE` set to it, and ask",
            path.display()
        )));
    }
    Ok(asked)
}

fn distinct_bytes(asked: &[Asked]) -> u64 {
    let mut largest = std::collections::HashMap::new();
    for one in asked {
        let bytes: &mut u64 = largest.entry(one.key.as_str()).or_default();
        *bytes = one.bytes.max(*bytes);
    }
    largest.values().sum()
}

fn table(
    asked: &[Asked],
    distinct: u64,
    outcomes: &[Outcome],
    enough: &[(Eviction, u64)],
) -> String {
    let mut text = format!(
        "{} questions, their distinct answers take {distinct} bytes\n\n{:>14}  {:<10}  {:>8}  {:>12}  {:>12}  {:>8}\n",
        asked.len(),
        "max bytes",
        "evicts",
        "hits",
        "saved USD",
        "saved s",
        "evicted"
    );
    for outcome in outcomes {
        let _ = writeln!(
            text,
            "{:>14}  {:<10}  {:>7.2}%  {:>12.4}  {:>12.1}  {:>8}",
            outcome.max_bytes,
            name(outcome.strategy),
            percent(outcome.hits, outcome.asked),
            outcome.saved_usd,
            outcome.saved_ms / 1e3,
            outcome.evicted
        );
    }
    text.push('\n');
    for (eviction, bytes) in enough {
        let _ = writeln!(
            text,
            "{} saves 99 % of what it could save with {bytes} bytes",
            name(*eviction)
        );
    }
    text.push_str("The engine evicts by lru; its size is `FACT_CACHE_MAX_BYTES`.");
    text
}

fn name(eviction: Eviction) -> &'static str {
    match eviction {
        Eviction::Lru => "lru",
        Eviction::TinyLfu => "tiny_lfu",
        Eviction::CostSaved => "cost_saved",
    }
}

#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
fn percent(part: u64, whole: u64) -> f64 {
    part as f64 / whole.max(1) as f64 * 100.0
}
