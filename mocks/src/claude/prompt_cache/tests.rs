//! Prompt caching against a slow and obvious model of it, and in examples.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::super::prefix::{self, Block, Toggles, Ttl};
use super::model::{Counters, Model, Request, bodies};
use super::{Plan, PromptCache, Rules};

const MINIMUM: u64 = 40;
const SECOND: u64 = 1_000_000_000;

fn blocks(body: &Value) -> Result<Vec<Block>, String> {
    blocks_of(body, "key", "model")
}

fn blocks_of(body: &Value, key: &str, model: &str) -> Result<Vec<Block>, String> {
    prefix::blocks(body.to_string().as_bytes(), Toggles::of(body), key, model)
}

fn plan(cache: &mut PromptCache, blocks: &[Block], minimum: u64, now: u64) -> Plan {
    cache.plan(blocks, minimum, now, Rules::with(None))
}

/// Strings as the blocks that they are short for: those are written `type` first, and these tests write keys in order.
fn spelt_out(body: &Value) -> Value {
    let mut body = body.clone();
    let expand = |content: &mut Value| {
        if let Value::String(text) = content {
            *content = json!([{"type": "text", "text": text}]);
        }
    };
    body.get_mut("system").into_iter().for_each(expand);
    let messages = body["messages"].as_array_mut().into_iter().flatten();
    messages.for_each(|message| expand(&mut message["content"]));
    body
}

/// Asks both, with answers that begin while later requests are already there.
fn compare(requests: &[Request], minimum: impl Fn(&str) -> u64) -> Result<(), TestCaseError> {
    let (mut cache, mut model) = (PromptCache::default(), Model::default());
    let mut pending: Vec<(u64, Plan)> = Vec::new();
    let mut now = 0;
    for (index, request) in requests.iter().enumerate() {
        now += request.wait_ns;
        let ready = now + request.answer_ns;
        pending.sort_by_key(|(ready, _)| *ready);
        let began = pending
            .iter()
            .take_while(|(ready, _)| *ready <= now)
            .count();
        for (_, plan) in pending.drain(..began) {
            cache.commit(&plan);
        }
        let minimum = minimum(&request.model);
        let (workspace, name) = (request.workspace.as_str(), request.model.as_str());
        let expected = model.ask(workspace, name, minimum, &request.body, now, ready);
        let served = blocks_of(&spelt_out(&request.body), workspace, name).map(|blocks| {
            let plan = plan(&mut cache, &blocks, minimum, now);
            let counters = Counters {
                read: plan.read,
                write_5m: plan.write_5m,
                write_1h: plan.write_1h,
                uncached: plan.uncached,
            };
            pending.push((ready, plan));
            counters
        });
        prop_assert_eq!(
            served.is_err(),
            expected.is_err(),
            "request {}: {:?}, {:?}",
            index,
            served,
            expected
        );
        if let (Ok(served), Ok(expected)) = (served, expected) {
            prop_assert_eq!(served, expected, "request {}", index);
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn reads_and_writes_what_the_obvious_model_does(requests in bodies()) {
        compare(&requests, |_| MINIMUM)?;
        compare(&requests, |model| if model.contains("opus") { 512 } else { 1024 })?;
    }
}

fn text(length: usize) -> Value {
    json!({"type": "text", "text": "x".repeat(length), "cache_control": {"type": "ephemeral"}})
}

#[test]
fn mixed_times_to_live_are_written_apart_and_the_long_one_outlives_the_short() {
    let body = json!({
        "system": [{"type": "text", "text": "s".repeat(400), "cache_control": {"type": "ephemeral", "ttl": "1h"}}],
        "messages": [{"role": "user", "content": "m".repeat(200)}],
        "cache_control": {"type": "ephemeral"},
    });
    let blocks = blocks(&body).unwrap();
    let mut cache = PromptCache::default();
    let first = plan(&mut cache, &blocks, MINIMUM, 0);
    assert_eq!(
        plan(&mut cache, &blocks, MINIMUM, 0).read,
        0,
        "not readable before the answer begins"
    );
    cache.commit(&first);
    let (system, all) = (blocks[0].tokens, blocks[1].tokens);
    assert_eq!(
        (first.read, first.write_1h, first.write_5m),
        (0, system, all - system)
    );
    assert_eq!(plan(&mut cache, &blocks, MINIMUM, SECOND).read, all);
    assert_eq!(
        plan(&mut cache, &blocks, MINIMUM, 302 * SECOND).read,
        system
    );
    assert_eq!(blocks[0].breakpoint, Some(Ttl::OneHour));
}

#[test]
fn a_fifth_breakpoint_is_refused() {
    let content: Vec<Value> = (2..7).map(text).collect();
    let body = json!({"messages": [{"role": "user", "content": content}]});
    assert_eq!(
        blocks(&body).unwrap_err(),
        "A maximum of 4 blocks with cache_control may be provided. Found 5."
    );
}

#[test]
fn a_string_is_short_for_a_block_of_text_and_the_order_of_keys_matters() {
    let hash = |content: &str| {
        let body = format!(r#"{{"messages": [{{"role": "user", "content": {content}}}]}}"#);
        prefix::blocks(body.as_bytes(), Toggles::default(), "key", "model").unwrap()[0].hash
    };
    let short = hash(r#""hello""#);
    assert_eq!(short, hash(r#"[{"type":"text","text":"hello"}]"#));
    assert_ne!(short, hash(r#"[{"text":"hello","type":"text"}]"#));
}

#[test]
fn white_space_between_the_parts_of_a_block_is_no_token() {
    let tokens = |tool: &str| {
        let body = format!(r#"{{"tools": [{tool}], "messages": []}}"#);
        prefix::blocks(body.as_bytes(), Toggles::default(), "key", "model").unwrap()[0].tokens
    };
    let compact = r#"{"name":"a \\\" b","input_schema":{"type":"object","required":["a b"]}}"#;
    let spread = r#"{ "name" : "a \\\" b", "input_schema" : { "type": "object",   "required": [ "a b" ] } }"#;
    assert_eq!(
        tokens(compact),
        u64::try_from(compact.len().div_ceil(4)).unwrap()
    );
    assert_eq!(tokens(spread), tokens(compact));
}
