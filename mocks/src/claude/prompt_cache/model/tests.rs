//! An example of the model for each sentence about prompt caching.

use super::worlds::image;
use super::*;
use proptest::strategy::{Strategy as _, ValueTree as _};
use proptest::test_runner::TestRunner;

/// A cache, asked for one workspace and one model, with answers that begin at once.
#[derive(Default)]
struct Cache(Model);

impl Cache {
    /// Where the tokens of a request went.
    fn ask(&mut self, second: u64, body: &Value) -> Counters {
        let now = second * SECOND;
        let answer = self.0.ask("one", "m", 0, body, now, now);
        answer.expect("nothing is wrong with it")
    }

    /// How many tokens of a request were read.
    fn read(&mut self, second: u64, body: &Value) -> u64 {
        self.ask(second, body).read
    }
}

/// Where the tokens of a first request went.
fn ask(body: &Value) -> Counters {
    Cache::default().ask(0, body)
}

/// What is wrong with a request.
fn refusal(body: &Value) -> String {
    let answer = Model::default().ask("one", "m", 0, body, 0, 0);
    answer.expect_err("something is wrong with it")
}

/// The tokens read, written for an hour, written for five minutes, and neither.
fn split(counters: Counters) -> [u64; 4] {
    let Counters {
        read,
        write_5m: short,
        write_1h: long,
        uncached,
    } = counters;
    [read, long, short, uncached]
}

/// A block as a breakpoint.
fn marked(mut block: Value, ttl: &str) -> Value {
    block["cache_control"] = json!({"type": "ephemeral", "ttl": ttl});
    block
}

/// Texts of ten tokens each, by their letters; those with a TTL are breakpoints: `a b:1h c:5m`.
fn tens(words: &str) -> Vec<Value> {
    let ten = |letter: &str| json!({"type": "text", "text": letter.repeat(15)});
    let block = |word: &str| match word.split_once(':') {
        Some((letter, ttl)) => marked(ten(letter), ttl),
        None => ten(word),
    };
    words.split_whitespace().map(block).collect()
}

/// A request of one message with these blocks.
fn body(blocks: Vec<Value>) -> Value {
    json!({"messages": [{"role": "user", "content": Value::Array(blocks)}]})
}

/// A request of one message with these texts.
fn user(words: &str) -> Value {
    body(tens(words))
}

/// A request with a system prompt of these texts, and one message with these blocks.
fn with_system(system: &str, blocks: Vec<Value>) -> Value {
    let mut body = body(blocks);
    body["system"] = Value::Array(tens(system));
    body
}

/// A request with an automatic breakpoint, and one message with these blocks.
fn automatic(ttl: &str, blocks: Vec<Value>) -> Value {
    marked(body(blocks), ttl)
}

/// A thought.
fn thought() -> Value {
    json!({"type": "thinking", "thinking": "Hm.", "signature": "s"})
}

/// A text without a letter.
fn empty() -> Value {
    json!({"type": "text", "text": ""})
}

/// So many different texts.
fn texts(count: usize) -> Vec<Value> {
    let text = |number: usize| json!({"type": "text", "text": number.to_string()});
    (0..count).map(text).collect()
}

/// So many different calls of tools.
fn calls(count: usize) -> Vec<Value> {
    let call = |number: usize| {
        let id = number.to_string();
        json!({"type": "tool_use", "id": id, "name": "look", "input": {}})
    };
    (0..count).map(call).collect()
}

/// So many different results of tools.
fn results(count: usize) -> Vec<Value> {
    let result = |number: usize| json!({"type": "tool_result", "tool_use_id": number.to_string()});
    (0..count).map(result).collect()
}

/// Whether a breakpoint after these blocks reads what one before them wrote.
fn reads_over(between: &[Vec<Value>]) -> bool {
    let mut cache = Cache::default();
    cache.ask(0, &user("a:5m"));
    let blocks = [tens("a"), between.concat(), tens("z:5m")].concat();
    cache.read(1, &body(blocks)) == 10
}

#[test]
fn a_block_has_a_token_for_every_four_bytes_of_its_json_begun() {
    let tokens = |text: &str| ask(&body(vec![json!({"type": "text", "text": text})])).uncached;
    assert_eq!(empty().to_string().len(), 25);
    assert_eq!((tokens("aaa"), tokens("aaaa")), (7, 8));
    assert_eq!((tokens("\u{20ac}"), tokens("\u{20ac}a")), (7, 8), "bytes");
    assert_eq!((tokens("\"a"), tokens("\"\"")), (7, 8), "bytes of JSON");
    assert_eq!(ask(&user("a:5m")).write_5m, 10, "without `cache_control`");
}

#[test]
fn the_order_of_a_prefix_is_tools_then_system_then_messages() {
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
    let prompt = |tool: Value, system: &str, message: &str| {
        let mut body = with_system(system, tens(message));
        body["tools"] = json!([tool]);
        body
    };
    let mut cache = Cache::default();
    let all = cache
        .ask(0, &prompt(marked(tool("look"), "5m"), "s:5m", "m:5m"))
        .write_5m;
    assert_eq!(cache.read(1, &prompt(tool("look"), "s", "m:5m")), all);
    assert_eq!(cache.read(1, &prompt(tool("look"), "s", "n:5m")), all - 10);
    assert_eq!(cache.read(1, &prompt(tool("look"), "t", "m:5m")), all - 20);
    assert_eq!(cache.read(1, &prompt(tool("find"), "s", "m:5m")), 0);
}

#[test]
fn a_prefix_is_byte_exact_per_block() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a b:5m"));
    assert_eq!(cache.read(1, &user("a b:5m")), 20);
    assert_eq!(cache.read(1, &user("A b:5m")), 0);
    assert_eq!(cache.read(1, &user("b a:5m")), 0);
    assert_eq!(cache.read(1, &user("ab:5m")), 0);
    let assistant = json!({"messages": [{"role": "assistant", "content": tens("a b:5m")}]});
    assert_eq!(cache.read(1, &assistant), 0, "another role, another block");
}

#[test]
fn a_string_is_one_block_of_text_and_turns_of_one_role_are_merged() {
    let mut cache = Cache::default();
    cache.ask(0, &with_system("s", tens("a b:5m")));
    let strings = json!({"system": "s".repeat(15), "messages": [
        {"role": "user", "content": "a".repeat(15)},
        {"role": "user", "content": tens("b:5m")},
    ]});
    assert_eq!(cache.read(1, &strings), 30);
}

#[test]
fn entries_are_keyed_per_workspace_and_model() {
    let mut cache = Model::default();
    let mut read = |workspace: &str, model: &str| {
        let answer = cache.ask(workspace, model, 0, &user("a:5m"), 0, 0);
        answer.map(|counters| counters.read)
    };
    assert_eq!(read("one", "m"), Ok(0));
    assert_eq!(read("two", "m"), Ok(0));
    assert_eq!(read("one", "n"), Ok(0));
    assert_eq!(read("one", "m"), Ok(10));
}

#[test]
fn a_fifth_breakpoint_is_a_400() {
    ask(&user("a:5m b:5m c:5m d:5m e"));
    let text = "A maximum of 4 blocks with cache_control may be provided. Found 5.";
    assert_eq!(refusal(&user("a:5m b:5m c:5m d:5m e:5m")), text);
}

#[test]
fn a_refused_request_leaves_the_cache_as_it_was() {
    let mut cache = Cache::default();
    let refused = cache.0.ask("one", "m", 0, &user("a:5m b:1h"), 0, 0);
    assert!(refused.is_err());
    assert_eq!(cache.read(1, &user("a:5m")), 0);
}

#[test]
fn a_breakpoint_is_not_allowed_on_thinking_blocks_or_empty_text() {
    let redacted = json!({"type": "redacted_thinking", "data": "d"});
    for block in [thought(), redacted, empty()] {
        refusal(&body(vec![marked(block, "5m")]));
    }
}

#[test]
fn a_top_level_cache_control_is_one_breakpoint_on_the_last_cacheable_block() {
    let mut cache = Cache::default();
    assert_eq!(
        split(cache.ask(0, &automatic("5m", tens("a b")))),
        [0, 0, 20, 0]
    );
    assert_eq!(
        split(cache.ask(1, &automatic("1h", tens("a b c")))),
        [20, 10, 0, 0]
    );

    let cannot = vec![thought(), empty()];
    let after = [tens("a"), cannot.clone()].concat();
    assert_eq!(ask(&automatic("5m", after)).write_5m, 10);
    assert_eq!(
        ask(&automatic("5m", cannot.clone())).write_5m,
        0,
        "there is none"
    );
    let in_system = marked(with_system("s", cannot), "5m");
    assert_eq!(
        ask(&in_system).write_5m,
        10,
        "there is none in the messages"
    );
}

#[test]
fn a_top_level_cache_control_uses_one_of_the_four_slots() {
    ask(&automatic("5m", tens("a:5m b:5m c:5m d")));
    refusal(&automatic("5m", tens("a:5m b:5m c:5m d:5m e")));
    ask(&automatic("5m", tens("a:5m b:5m c:5m d:5m")));
}

#[test]
fn a_top_level_cache_control_is_a_no_op_if_the_last_block_has_the_same_ttl() {
    assert_eq!(split(ask(&automatic("5m", tens("a:5m")))), [0, 0, 10, 0]);
    assert_eq!(split(ask(&automatic("1h", tens("a:1h")))), [0, 10, 0, 0]);
    let mut by_default = automatic("5m", tens("a:5m"));
    by_default["cache_control"] = json!({"type": "ephemeral"});
    assert_eq!(split(ask(&by_default)), [0, 0, 10, 0]);
}

#[test]
fn a_top_level_cache_control_is_a_400_if_the_last_block_has_a_different_ttl() {
    refusal(&automatic("1h", tens("a:5m")));
    refusal(&automatic("5m", tens("a:1h")));
}

#[test]
fn exactly_one_entry_is_written_per_breakpoint_and_none_elsewhere() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a b:5m c d:5m"));
    assert_eq!(cache.read(1, &user("a z:5m")), 0);
    assert_eq!(cache.read(1, &user("a b z:5m")), 20);
    assert_eq!(cache.read(1, &user("a b c z:5m")), 20);
    assert_eq!(cache.read(1, &user("a b c d z:5m")), 40);
}

#[test]
fn a_breakpoint_before_the_hit_writes_its_entry_too() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a b:5m"));
    assert_eq!(split(cache.ask(1, &user("a:1h b:5m"))), [20, 0, 0, 0]);
    assert_eq!(cache.read(2000, &user("a z:5m")), 10);
}

#[test]
fn a_living_entry_stays_as_it_is_when_another_is_hit() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a:5m b:5m"));
    assert_eq!(split(cache.ask(200, &user("a:1h b:5m"))), [20, 0, 0, 0]);
    assert_eq!(
        cache.read(300, &user("a z:5m")),
        0,
        "neither read nor written"
    );
    assert_eq!(cache.read(300, &user("a b:5m")), 20);
}

#[test]
fn a_read_walks_back_at_most_20_positions_including_the_breakpoint_itself() {
    assert!(reads_over(&[texts(18)]));
    assert!(!reads_over(&[texts(19)]));
}

#[test]
fn a_run_of_consecutive_tool_use_blocks_counts_as_1_position_likewise_tool_result() {
    for run in [calls(30), results(30)] {
        assert!(reads_over(&[texts(17), run.clone()]));
        assert!(!reads_over(&[texts(18), run]));
    }
    assert!(reads_over(&[texts(16), calls(9), results(9)]));
    assert!(!reads_over(&[texts(17), calls(9), results(9)]), "two runs");
    assert!(
        !reads_over(&[texts(16), calls(9), tens("x"), calls(9)]),
        "two runs"
    );
}

#[test]
fn an_entry_within_a_run_is_found_even_at_the_twentieth_position() {
    let mut cache = Cache::default();
    let mut first = calls(3);
    first[2] = marked(first[2].clone(), "5m");
    let tokens = cache.ask(0, &body(first)).write_5m;
    let blocks = [calls(9), texts(18), tens("z:5m")].concat();
    assert_eq!(cache.read(1, &body(blocks)), tokens);
}

#[test]
fn a_run_goes_on_over_the_border_of_a_message() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a:5m"));
    let before = [tens("a"), texts(17)].concat();
    let mut messages = vec![json!({"role": "user", "content": before})];
    for call in calls(9) {
        messages.push(json!({"role": "assistant", "content": [call]}));
    }
    messages.push(json!({"role": "user", "content": tens("z:5m")}));
    assert_eq!(cache.read(1, &json!({"messages": messages})), 10);
}

#[test]
fn if_nothing_is_found_the_walk_continues_at_the_next_breakpoint() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a:5m"));
    let without = [tens("a x"), texts(30), tens("y:5m")].concat();
    assert_eq!(cache.read(1, &body(without)), 0);
    let with = [tens("a x:5m"), texts(30), tens("z:5m")].concat();
    assert_eq!(cache.read(1, &body(with)), 10);
}

#[test]
fn a_prefix_below_the_minimum_is_silently_uncached() {
    let mut cache = Model::default();
    let mut ask = |words: &str| cache.ask("one", "m", 20, &user(words), 0, 0).map(split);
    assert_eq!(ask("a:5m"), Ok([0, 0, 0, 10]));
    assert_eq!(ask("a:5m"), Ok([0, 0, 0, 10]));
    assert_eq!(ask("a:1h b:5m"), Ok([0, 0, 20, 0]), "the first is as none");
    assert_eq!(ask("a:1h b:5m"), Ok([20, 0, 0, 0]));
    assert_eq!(ask("a:5m"), Ok([0, 0, 0, 10]));
}

#[test]
fn a_lifetime_is_counted_from_the_start_of_the_request_that_writes() {
    for (words, lifetime) in [("a:5m", 300 * SECOND), ("a:1h", 3600 * SECOND)] {
        for (start, expected) in [(lifetime - 1, 10), (lifetime, 0)] {
            let mut cache = Model::default();
            let mut read = |start, ready| {
                let answer = cache.ask("one", "m", 0, &user(words), start, ready);
                answer.map(|counters| counters.read)
            };
            assert_eq!(read(0, 200 * SECOND), Ok(0));
            assert_eq!(read(start, start), Ok(expected));
        }
    }
}

#[test]
fn a_read_refreshes_with_the_entrys_own_ttl() {
    let mut cache = Cache::default();
    cache.ask(0, &user("a:5m"));
    assert_eq!(cache.read(200, &user("a:1h")), 10);
    assert_eq!(cache.read(499, &user("a b z:5m")), 10);
    assert_eq!(cache.read(798, &user("a:1h")), 10);
    assert_eq!(cache.read(798 + 300, &user("a:1h")), 0);

    let mut cache = Cache::default();
    cache.ask(0, &user("a:1h"));
    assert_eq!(cache.read(3000, &user("a:5m")), 10);
    assert_eq!(cache.read(6000, &user("a:5m")), 10);
}

#[test]
fn all_1h_breakpoints_must_precede_5m_ones() {
    assert_eq!(split(ask(&user("a:1h b:5m"))), [0, 10, 10, 0]);
    refusal(&user("a:5m b:1h"));
    refusal(&with_system("s:5m", tens("a:1h")));
    assert_eq!(split(ask(&automatic("5m", tens("a:1h b")))), [0, 10, 10, 0]);
    refusal(&automatic("1h", tens("a:5m b")));
}

#[test]
fn an_entry_is_readable_once_the_first_response_has_begun() {
    let mut cache = Model::default();
    let mut read = |start, ready| {
        let answer = cache.ask("one", "m", 0, &user("a:5m"), start, ready);
        answer.map(|counters| counters.read)
    };
    assert_eq!(read(0, 10), Ok(0));
    assert_eq!(read(9, 100), Ok(0));
    assert_eq!(read(10, 100), Ok(10));
}

#[test]
fn who_cannot_read_an_entry_yet_writes_one_of_its_own() {
    let mut cache = Model::default();
    let mut read = |start, ready| {
        let answer = cache.ask("one", "m", 0, &user("a:5m"), start * SECOND, ready * SECOND);
        answer.map(|counters| counters.read)
    };
    assert_eq!(read(0, 290), Ok(0));
    assert_eq!(read(100, 101), Ok(0));
    assert_eq!(
        read(101, 101),
        Ok(10),
        "since the second response has begun"
    );
    assert_eq!(read(400, 400), Ok(10), "300 seconds have not passed since");
}

#[test]
fn mixed_ttls_are_billed_by_a_b_and_c() {
    let mut cache = Cache::default();
    let mut ask = |words: &str| split(cache.ask(0, &user(words)));
    assert_eq!(
        ask("a:1h b:1h c:5m d:5m e"),
        [0, 20, 20, 10],
        "A 0, B 20, C 40"
    );
    assert_eq!(
        ask("a:1h b:1h c:5m d:5m e"),
        [40, 0, 0, 10],
        "A 40, B 40, C 40"
    );
    assert_eq!(
        ask("a:1h b:1h c:5m x:5m e"),
        [30, 0, 10, 10],
        "A 30, B 30, C 40"
    );
    assert_eq!(
        ask("a:1h x:1h c:5m d:5m e"),
        [10, 10, 20, 10],
        "A 10, B 20, C 40"
    );
}

#[test]
fn settings_invalidate_their_section_and_what_follows_it() {
    let tool = json!({"name": "look", "input_schema": {"type": "object"}});
    let tools = ask(&body(vec![tool.clone()])).uncached;
    let mut prompt = with_system("s:5m", tens("m:5m"));
    prompt["tools"] = json!([marked(tool, "5m")]);
    let format = json!({"type": "json_schema", "schema": {}});
    for (name, value, read) in [
        ("speed", json!("standard"), tools),
        ("system", json!(tens("t s:5m")), tools),
        ("system", json!(tens("s:5m t")), tools + 10),
        ("tool_choice", json!({"type": "auto"}), tools + 10),
        ("thinking", json!({"type": "disabled"}), tools + 10),
        ("output_config", json!({"effort": "high"}), tools + 10),
        ("output_config", json!({"format": format}), tools + 20),
        ("stream", json!(true), tools + 20),
    ] {
        let mut cache = Cache::default();
        cache.ask(0, &prompt);
        let mut changed = prompt.clone();
        changed[name] = value;
        assert_eq!(cache.read(1, &changed), read, "{name}");
        assert_eq!(cache.ask(2, &changed).write_5m, 0, "{name}");
    }
}

#[test]
fn disable_parallel_tool_use_is_part_of_the_tool_choice() {
    let mut cache = Cache::default();
    let mut prompt = user("a:5m");
    prompt["tool_choice"] = json!({"type": "auto"});
    cache.ask(0, &prompt);
    prompt["tool_choice"] = json!({"type": "auto", "disable_parallel_tool_use": true});
    assert_eq!(cache.read(1, &prompt), 0);
}

#[test]
fn images_invalidate_messages_only() {
    let result = json!({"type": "tool_result", "tool_use_id": "1", "content": [image()]});
    for block in [image(), result] {
        let mut cache = Cache::default();
        cache.ask(0, &with_system("s:5m", tens("a:5m")));
        let with_image = [tens("a"), vec![block, marked(image(), "5m")]].concat();
        assert_eq!(cache.read(1, &with_system("s", with_image.clone())), 10);
        let with_another = [with_image, vec![marked(image(), "5m")]].concat();
        assert!(cache.read(2, &with_system("s", with_another)) > 20);
    }
}

/// The requests of many worlds, each with what the model says to it.
fn answers(minimum: u64) -> Vec<(Request, Result<Counters, String>)> {
    let mut runner = TestRunner::deterministic();
    let mut answers = Vec::new();
    for _ in 0..100 {
        let world = bodies().new_tree(&mut runner).expect("nothing is rejected");
        let mut cache = Model::default();
        let mut start = 0;
        for request in world.current() {
            let Request {
                workspace,
                model,
                body,
                wait_ns,
                answer_ns,
            } = &request;
            start += wait_ns;
            let answer = cache.ask(workspace, model, minimum, body, start, start + answer_ns);
            answers.push((request, answer));
        }
    }
    answers
}

#[test]
fn every_token_of_every_world_is_counted_once() {
    for (request, answer) in answers(512) {
        let total = blocks(&request.body).last().map_or(0, |block| block.tokens);
        if let Ok(counters) = answer {
            assert_eq!(split(counters).iter().sum::<u64>(), total);
        }
    }
}

#[test]
fn the_worlds_have_every_kind_of_answer() {
    for minimum in [0, 512] {
        let answers = answers(minimum);
        let least = answers.len() / 50;
        let (fine, refused): (Vec<_>, Vec<_>) =
            answers.into_iter().partition(|(_, answer)| answer.is_ok());
        assert!(refused.len() > least);
        let fine: Vec<_> = fine.into_iter().flat_map(|(_, answer)| answer).collect();
        let count = |is: fn(&&Counters) -> bool| fine.iter().filter(is).count();
        assert!(count(|it| it.read == 0 && it.write_5m + it.write_1h == 0) > least);
        assert!(count(|it| it.read == 0 && it.write_5m + it.write_1h > 0) > least);
        assert!(count(|it| it.read > 0 && it.write_5m + it.write_1h == 0) > least);
        assert!(count(|it| it.read > 0 && it.write_5m + it.write_1h > 0) > least);
        assert!(count(|it| it.write_5m > 0 && it.write_1h > 0) > least);
    }
}
