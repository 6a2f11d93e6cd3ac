//! Prompt caching against a slow and obvious model of it.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::prefix::{self, Ttl};
use super::PromptCache;

const MINIMUM: u64 = 40;
const SECOND: u64 = 1_000_000_000;

/// A message's block: which of a few texts or tool results it is, and whether it is a breakpoint.
type Piece = (u8, bool);

fn block((kind, breakpoint): Piece) -> Value {
    let mut block = if kind < 2 {
        json!({"type": "tool_result", "tool_use_id": format!("toolu_{kind}"), "content": "same"})
    } else {
        json!({"type": "text", "text": "x".repeat(usize::from(kind))})
    };
    if breakpoint {
        block["cache_control"] = json!({"type": "ephemeral"});
    }
    block
}

/// Five-minute entries as whole prefixes with the time they end.
#[derive(Default)]
struct Model(Vec<(Vec<u8>, u64)>);

impl Model {
    /// Tokens read, written and neither.
    fn ask(&mut self, pieces: &[Piece], now: u64) -> (u64, u64, u64) {
        let kinds: Vec<u8> = pieces.iter().map(|piece| piece.0).collect();
        let tokens = |length: usize| -> u64 {
            kinds[..length]
                .iter()
                .map(|kind| block((*kind, false)).to_string().len().div_ceil(4) as u64)
                .sum()
        };
        let positions = |from: usize, to: usize| {
            (from..to)
                .filter(|&i| !(kinds[i] < 2 && kinds[i - 1] < 2))
                .count()
        };
        let breakpoints: Vec<usize> = (1..=pieces.len())
            .filter(|&length| pieces[length - 1].1 && tokens(length) >= MINIMUM)
            .collect();
        let hit = breakpoints
            .iter()
            .rev()
            .flat_map(|&breakpoint| {
                (1..=breakpoint)
                    .rev()
                    .map(move |length| (breakpoint, length))
            })
            .filter(|&(breakpoint, length)| positions(length, breakpoint) < 20)
            .map(|(_, length)| length)
            .find(|&length| {
                self.0
                    .iter()
                    .any(|(prefix, end)| *prefix == kinds[..length] && *end > now)
            });
        let end = now + 300 * SECOND;
        let alive =
            |entry: &(Vec<u8>, u64), length: usize| entry.0 == kinds[..length] && entry.1 > now;
        for &length in &breakpoints {
            if Some(length) != hit && !self.0.iter().any(|entry| alive(entry, length)) {
                self.0.push((kinds[..length].to_vec(), end));
            }
        }
        if let Some(length) = hit {
            for entry in &mut self.0 {
                if entry.0 == kinds[..length] && entry.1 > now {
                    entry.1 = end;
                }
            }
        }
        let read = hit.map_or(0, tokens);
        let last = breakpoints.last().map_or(0, |&length| tokens(length));
        (read, last - read, tokens(pieces.len()) - last)
    }
}

/// A conversation that grows: cut somewhere, then more pieces; with at most four breakpoints.
fn requests() -> impl Strategy<Value = Vec<(usize, Vec<u8>, Vec<usize>, u64)>> {
    let request = (
        0_usize..60,
        prop::collection::vec(0_u8..6, 1..30),
        prop::collection::vec(0_usize..40, 0..=4),
        0_u64..200,
    );
    prop::collection::vec(request, 1..12)
}

proptest! {
    #[test]
    fn reads_and_writes_what_the_obvious_model_does(requests in requests()) {
        let (mut cache, mut model) = (PromptCache::default(), Model::default());
        let (mut kinds, mut now) = (Vec::new(), 0);
        for (keep, more, marks, seconds) in requests {
            now += seconds * SECOND;
            kinds.truncate(keep);
            kinds.extend(more);
            let length = kinds.len();
            let pieces: Vec<Piece> = kinds
                .iter()
                .enumerate()
                .map(|(index, kind)| (*kind, marks.iter().any(|mark| length - 1 - mark % length == index)))
                .collect();
            let content: Vec<Value> = pieces.iter().map(|piece| block(*piece)).collect();
            let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
            let blocks = prefix::blocks(body.as_bytes(), "key", "model").unwrap();
            let plan = cache.plan(&blocks, MINIMUM, now);
            cache.commit(&plan);
            let served = (plan.read, plan.write_5m + plan.write_1h, plan.uncached);
            prop_assert_eq!(served, model.ask(&pieces, now));
        }
    }
}

#[test]
fn mixed_times_to_live_are_written_apart_and_the_long_one_outlives_the_short() {
    let body = json!({
        "system": [{"type": "text", "text": "s".repeat(400), "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": "m".repeat(200)}],
        "cache_control": {"type": "ephemeral"},
    })
    .to_string();
    let blocks = prefix::blocks(body.as_bytes(), "key", "model").unwrap();
    let mut cache = PromptCache::default();
    let first = cache.plan(&blocks, MINIMUM, 0);
    assert_eq!(
        cache.plan(&blocks, MINIMUM, 0).read,
        0,
        "not readable before the answer begins"
    );
    cache.commit(&first);
    let (system, all) = (blocks[0].tokens, blocks[1].tokens);
    assert_eq!(
        (first.read, first.write_1h, first.write_5m),
        (0, system, all - system)
    );
    assert_eq!(cache.plan(&blocks, MINIMUM, SECOND).read, all);
    assert_eq!(cache.plan(&blocks, MINIMUM, 302 * SECOND).read, system);
    assert_eq!(blocks[0].breakpoint, Some(Ttl::OneHour));
}

#[test]
fn a_fifth_breakpoint_is_refused() {
    let content: Vec<Value> = (2..7).map(|kind| block((kind, true))).collect();
    let body = json!({"messages": [{"role": "user", "content": content}]}).to_string();
    assert_eq!(
        prefix::blocks(body.as_bytes(), "key", "model").unwrap_err(),
        "A maximum of 4 blocks with cache_control may be provided. Found 5."
    );
}
