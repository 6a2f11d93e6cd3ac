//! Reading scenarios, well and badly written ones.

use super::step::Verb;
use super::*;

const EXAMPLE: &str = r#"
id: cache.hit-is-silent
title: A repeated question is answered without Claude, tools or SQL
requirement: { level: MUST, profile: core }
seed: 42
database: finance
needs: [postgres]
target: { FACT_CACHE_TTL_SECONDS: "1" }
files: { "notes/hello.txt": "hello" }
links: { "notes/escape": "../../outside/secret.txt" }
claude:
  latency: { first_byte: { lognormal: { p50: 40ms, p99: 90ms } } }
  script:
    - when: { question: "What was Q1-2025 revenue?" }
      call: { SQL_QueryReadonly: { statement: "SELECT 1" } }
    - when: { after: SQL_QueryReadonly }
      say: "It was {{ result.rows.0.revenue }}."
  faults: [ { status: 529, times: 1 } ]
steps:
  - ask: { as: alice, question: "What was Q1-2025 revenue?" }
    expect:
      status: 200
      cache: miss
      upstream: { claude: 2, sql: ">= 1", arcade: 0 }
      body: { snapshot: true, redact: ["$.query_id"], equals: { "$.response": "x" }, contains: ["x"], lacks: ["y"] }
      took: { at_least: 1s, at_most: 5s }
      headers: { cache-status: "fact; *" }
      claude_saw: { tool_error: true, parallel_results: 2, contains: ["…"] }
      audit: { refusal: 1, tool_call: 0 }
      bill: { reduction: ">= 65%" }
  - ask: { question: "What was Q1-2025 revenue?", times: 20, at_once: 10, cache_options: { use_cache: false } }
  - execute: { as: alice, tool: SQL.QueryReadonly, arguments: { statement: "DROP TABLE companies" } }
    expect: { status: [403, 422], error: SECURITY_VIOLATION, rule: sql.not-a-read, no_trace: true }
  - request: { method: GET, path: /api/v1/health, token: "literal", headers: { accept: "*/*" } }
  - sql: "UPDATE companies SET name = name"
  - wait: 1500ms
  - fault: { claude: [ { status: 529, times: 1 } ] }
load:
  open: { rate: 100/s, arrivals: poisson, for: 10s }
  warm_up: 2s
  mix: { hit: 80%, miss: 15%, tool: 5% }
  hit: { as: alice, question: "Same?" }
  miss: { question: "New {{ nonce }}?" }
  tool: { tool: SQL.QueryReadonly, arguments: { statement: "SELECT '{{ nonce }}'" } }
gates:
  hit.p95: "<= 50ms"
  success: ">= 99.5%"
"#;

fn read(text: &str) -> Result<Scenario, String> {
    super::read::scenario(
        text,
        Origin {
            name: "cache.yaml".into(),
            shipped: false,
        },
    )
    .map_err(|error| error.to_string())
}

#[test]
fn the_whole_format_is_read() {
    let scenario = read(EXAMPLE).unwrap();
    assert_eq!(scenario.steps.len(), 7);
    assert!(scenario.fits("binaries") && !scenario.fits("sqlite"));
    let load = scenario.load.unwrap();
    assert_eq!(
        load.in_words(),
        "open loop, 100/s, Poisson arrivals, for 10s after 2s of warm-up: 80% hit, 15% miss, 5% tool"
    );
    let limit = crate::gates::Written::Plain("<= 50ms".to_owned());
    assert_eq!(scenario.gates["hit.p95"], limit);
}

#[test]
fn a_misspelt_field_is_pointed_at_and_the_right_one_named() {
    insta::assert_snapshot!(read(&EXAMPLE.replace("cache: miss", "cahce: miss")).unwrap_err(), @r#"
    cache.yaml:23:7: unknown field `cahce`
       |
    23 |       cahce: miss
       |       ^^^^^
    hint: did you mean `cache`?
    "#);
}

#[test]
fn a_step_does_exactly_one_thing() {
    insta::assert_snapshot!(read(&EXAMPLE.replace("  - wait: 1500ms", "  - wait: 1500ms\n    sql: SELECT 1")).unwrap_err(), @r#"
    cache.yaml:36:5: a step does one thing, this one does sql and wait: make it several steps
       |
    36 |   - wait: 1500ms
       |     ^
    "#);
}

#[test]
fn a_value_that_is_not_known_names_those_that_are() {
    insta::assert_snapshot!(read(&EXAMPLE.replace("level: MUST", "level: SHALL")).unwrap_err(), @r#"
    cache.yaml:4:23: unknown value `SHALL`
      |
    4 | requirement: { level: SHALL, profile: core }
      |                       ^^^^^
    hint: did you mean `SHOULD`?
    "#);
}

#[test]
fn what_types_cannot_say_is_checked_too() {
    let errors: Vec<String> = [
        ("as: alice, tool", "as: alise, tool"),
        ("hit: 80%", "hit: 70%"),
        ("hit.p95:", "hit.q95:"),
        ("rate: 100/s", "rate: fast"),
        ("New {{ nonce }}?", "New?"),
    ]
    .iter()
    .map(|(right, wrong)| read(&EXAMPLE.replace(right, wrong)).unwrap_err())
    .collect();
    insta::assert_snapshot!(errors.join("\n\n"), @r#"
    cache.yaml:32:20: there is no client `alise`; there are alice, bob, mallory, limited, admin, clerk, analyst, narrow, deputy
       |
    32 |   - execute: { as: alise, tool: SQL.QueryReadonly, arguments: { statement: "DROP TABLE companies" } }
       |                    ^^^^^

    cache.yaml:41:3: the shares of `mix` sum to 90%, not to 100%
       |
    41 |   mix: { hit: 70%, miss: 15%, tool: 5% }
       |   ^^^

    cache.yaml:46:3: unknown gate `hit.q95`; did you mean `hit.p95`? gates are `hit`, `miss` or `tool` with `.p50 .p75 .p90 .p95 .p99 .p99.9`, also `.own.p95` and `.first_byte.p95`, and `success`, `answered`, `wrong`, `throughput`, `goodput`, `cost.reduction.hit`, `cost.per_answer`, `claude.calls.miss`, `target.processor`, `target.memory`
       |
    46 |   hit.q95: "<= 50ms"
       |   ^^^^^^^

    cache.yaml:39:17: `fast` is not a rate; write `100/s` or `600/m`
       |
    39 |   open: { rate: fast, arrivals: poisson, for: 10s }
       |                 ^

    cache.yaml:43:22: the question of `miss` needs `{{ nonce }}`, or it would be answered from the cache
       |
    43 |   miss: { question: "New?" }
       |                      ^^^^
    "#);
}

const TABLE: &str = r#"
id: sql.writes
title: Writes are refused
requirement: { level: MUST, profile: core }
for_each:
  rows:
    - { id: drop, statement: "DROP TABLE companies", status: 403 }
    - { id: insert, statement: "INSERT INTO companies VALUES (1)", status: 422 }
steps:
  - execute: { tool: SQL.QueryReadonly, arguments: { statement: "{{ row.statement }}" } }
    expect: { status: "{{ row.status }}", no_trace: true }
"#;

#[test]
fn a_table_repeats_its_steps_and_keeps_the_types_of_its_values() {
    let scenario = read(TABLE).unwrap();
    assert_eq!(scenario.steps.len(), 2);
    assert_eq!(scenario.steps[1].row.as_deref(), Some("insert"));
    assert!(scenario.steps[1].expect.status.as_ref().unwrap().has(&422));
    let Verb::Execute(execute) = &scenario.steps[0].verb else {
        panic!("{:?}", scenario.steps[0])
    };
    assert_eq!(execute.arguments["statement"], "DROP TABLE companies");
}

#[test]
fn a_misspelt_field_below_a_table_is_pointed_at_as_well() {
    insta::assert_snapshot!(read(&TABLE.replace("no_trace", "no_trase")).unwrap_err(), @r#"
    cache.yaml:11:43: unknown field `no_trase`
       |
    11 |     expect: { status: "{{ row.status }}", no_trase: true }
       |                                           ^^^^^^^^
    hint: did you mean `no_trace`?
    "#);
    insta::assert_snapshot!(read(&TABLE.replace("row.status", "row.state")).unwrap_err(), @r#"
    cache.yaml:5:1: `{{ row.state }}`: this row has no `state`; it has id, statement, status
      |
    5 | for_each:
      | ^^^^^^^^
    "#);
}

#[test]
fn an_empty_folder_is_an_error_that_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = load_all(&[folder.path().to_owned()])
        .unwrap_err()
        .to_string();
    assert!(
        error.ends_with("there is no scenario in it (no file ends in `.yaml`)"),
        "{error}"
    );
}

#[test]
fn the_schema_knows_every_field_and_no_other() {
    let schema = schema();
    assert_eq!(schema["additionalProperties"], false);
    let step = &schema["$defs"]["Step"];
    assert_eq!(step["additionalProperties"], false);
    assert!(step["properties"]["ask"].is_object() && schema["properties"]["claude"].is_object());
}

#[test]
fn all_shipped_scenarios_are_well_formed() {
    if let Err(error) = load_all(&[]) {
        panic!("{error}");
    }
}

#[test]
fn a_text_that_stands_in_random_ids_by_chance_is_refused() {
    let error = read(&EXAMPLE.replace(r#"lacks: ["y"]"#, r#"lacks: ["1120"]"#)).unwrap_err();
    insta::assert_snapshot!(error, @r#"
    cache.yaml:25:112: `1120` stands in ids and times by chance; write some of the text around it, or `equals` with its place
       |
    25 |       body: { snapshot: true, redact: ["$.query_id"], equals: { "$.response": "x" }, contains: ["x"], lacks: ["1120"] }
       |                                                                                                                ^^^^
    "#);
}
