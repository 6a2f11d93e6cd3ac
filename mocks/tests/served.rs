//! What a client of the mocks sees, and what the journal says of it.

use std::time::Duration;

use fact_mocks::clock::Clock;
use fact_mocks::journal::{self, Entry, Journal, Upstream};
use fact_mocks::script::{ArcadeScript, ClaudeScript, Distribution, Fault, Latency, Millis};
use fact_mocks::{Config, Control, Mocks};
use serde_json::{Value, json};

fn constant(millis: u64) -> Latency {
    Latency::of(Distribution::Constant(Millis(Duration::from_millis(
        millis,
    ))))
}

fn quick(claude: Value) -> ClaudeScript {
    ClaudeScript {
        latency: constant(0),
        ..serde_json::from_value(claude).expect("a script")
    }
}

async fn start(claude: ClaudeScript) -> (Mocks, Journal) {
    let journal = Journal::new(Clock::start());
    let config = Config {
        claude_listen: "127.0.0.1:0".parse().expect("an address"),
        arcade_listen: "127.0.0.1:0".parse().expect("an address"),
        claude,
        arcade: ArcadeScript {
            latency: constant(0),
            ..ArcadeScript::default()
        },
        seed: 42,
        journal: journal.clone(),
        control: Control::Loopback,
        mutant: None,
    };
    (
        fact_mocks::start(config).await.expect("free ports"),
        journal,
    )
}

fn ask(question: &str) -> Value {
    json!({
        "model": "claude-sonnet-4-6",
        "max_tokens": 1000,
        "messages": [{"role": "user", "content": question}],
    })
}

fn request(mocks: &Mocks, body: &Value) -> reqwest::RequestBuilder {
    reqwest::Client::new()
        .post(format!("http://{}/v1/messages", mocks.claude))
        .header("authorization", "Bearer sk-ant-test")
        .header("anthropic-version", "2026-10-21")
        .header("content-type", "application/json")
        .body(body.to_string())
}

async fn json_of(response: reqwest::Response) -> (u16, Value) {
    let status = response.status().as_u16();
    (status, response.json().await.expect("JSON"))
}

async fn post(mocks: &Mocks, body: &Value) -> (u16, Value) {
    json_of(request(mocks, body).send().await.expect("an answer")).await
}

/// The journal once nothing is under way any more.
async fn settled(journal: &Journal) -> Vec<Entry> {
    while journal.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    journal.since(0)
}

#[tokio::test]
async fn a_scripted_conversation_calls_a_tool_and_speaks_of_its_result() {
    let (mocks, journal) = start(quick(json!({"script": [
        {"when": {"question": "Add *"}, "call": {"Math.Add": {"a": 1, "b": 2}}},
        {"when": {"after": "Math.Add", "failed": false}, "say": "It is {{ result.sum }} ({{ nonce }})."},
    ]})))
    .await;
    let question = "Add them, nonce-0123456789abcdef";
    let mut body = ask(question);
    let (status, first) = post(&mocks, &body).await;
    assert_eq!((status, &first["stop_reason"]), (200, &json!("tool_use")));
    let call = &first["content"][0];
    assert_eq!(call["name"], "Math_Add");
    let messages = body["messages"].as_array_mut().unwrap();
    messages.push(json!({"role": "assistant", "content": first["content"]}));
    messages.push(json!({"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": call["id"], "content": "{\"sum\": 3}"},
    ]}));
    let (_, second) = post(&mocks, &body).await;
    assert_eq!(
        second["content"][0]["text"],
        "It is 3 (nonce-0123456789abcdef)."
    );
    assert_eq!(second["stop_reason"], "end_turn");

    let (status, refused) = post(&mocks, &ask("Something else")).await;
    let message = refused["error"]["message"].as_str().unwrap();
    assert_eq!(status, 400);
    assert!(message.contains("nearest is rule 1"), "{message}");

    let entries = settled(&journal).await;
    assert_eq!(entries.len(), 3);
    for entry in &entries[..2] {
        assert_eq!(entry.question.as_deref(), Some(question));
        assert_eq!(entry.nonce.as_deref(), Some("nonce-0123456789abcdef"));
        assert!(entry.cost_usd > 0.0 && entry.ended_ns >= entry.first_byte_ns);
    }
    assert_eq!(journal::totals(&entries).conversations, 1);
    mocks.shutdown().await;
}

#[tokio::test]
async fn a_stream_has_every_event_in_its_order() {
    let (mocks, journal) = start(quick(json!({"script": [{
        "say": "Let me look at both of these.",
        "call": {"Math.Add": {}, "SQL.QueryReadonly": {"limit": 3, "query": "SELECT 1"}},
    }]})))
    .await;
    let mut body = ask("Stream");
    body["stream"] = json!(true);
    let response = request(&mocks, &body).send().await.unwrap();
    assert_eq!(
        response.headers()["content-type"],
        "text/event-stream; charset=utf-8"
    );
    let text = response.text().await.unwrap();
    let events: Vec<String> = text
        .split_terminator("\n\n")
        .map(|event| {
            let (name, data) = event.split_once("\ndata: ").unwrap();
            format!("{name}\n{}", sorted(&serde_json::from_str(data).unwrap()))
        })
        .collect();
    insta::assert_snapshot!(events.join("\n"));
    assert_eq!(settled(&journal).await[0].status, 200);
    mocks.shutdown().await;
}

/// JSON whose keys are in order, whichever features `serde_json` was built with.
fn sorted(value: &Value) -> String {
    match value {
        Value::Object(fields) => {
            let mut fields: Vec<_> = fields.iter().collect();
            fields.sort_by_key(|(name, _)| *name);
            let fields: Vec<String> = fields
                .iter()
                .map(|(name, field)| format!("{}: {}", json!(name), sorted(field)))
                .collect();
            format!("{{{}}}", fields.join(", "))
        }
        other => other.to_string(),
    }
}

#[tokio::test]
async fn faults_strike_the_calls_they_are_meant_for() {
    let (mocks, journal) = start(quick(json!({"faults": [
        {"question": "limited", "times": 1, "status": 429, "retry_after": "1200ms"},
        {"question": "overloaded", "on_call": 2, "status": 529},
        {"question": "cut", "cut_after_bytes": 20},
    ]})))
    .await;
    let limited = request(&mocks, &ask("limited")).send().await.unwrap();
    assert_eq!(limited.status(), 429);
    assert_eq!(limited.headers()["retry-after"], "2");
    let id = limited.headers()["request-id"].to_str().unwrap().to_owned();
    let (_, body) = json_of(limited).await;
    assert_eq!(body["error"]["type"], "rate_limit_error");
    assert_eq!(body["request_id"], json!(id));
    assert_eq!(post(&mocks, &ask("limited")).await.0, 200);
    assert_eq!(post(&mocks, &ask("overloaded")).await.0, 200);
    assert_eq!(post(&mocks, &ask("overloaded")).await.0, 529);

    let mut response = request(&mocks, &ask("cut")).send().await.unwrap();
    assert_eq!(response.status(), 200);
    assert!(response.content_length().unwrap() > 100);
    assert_eq!(response.chunk().await.unwrap().unwrap().len(), 20);
    assert!(response.chunk().await.is_err());

    mocks.set_claude_faults(vec![Fault {
        status: Some(500),
        times: Some(1),
        ..Fault::default()
    }]);
    assert_eq!(post(&mocks, &ask("overloaded")).await.0, 500);
    let faults: Vec<_> = settled(&journal)
        .await
        .into_iter()
        .map(|entry| entry.fault.unwrap_or_default())
        .collect();
    assert_eq!(
        faults,
        [
            "429, retry-after 1200ms",
            "",
            "",
            "529",
            "cut after 20 bytes",
            "500"
        ]
    );
    mocks.shutdown().await;
}

#[tokio::test]
async fn a_second_question_reads_the_system_prompt_from_the_cache_and_costs_less() {
    let (mocks, journal) = start(quick(json!({}))).await;
    for question in ["first", "second"] {
        let mut body = ask(question);
        body["system"] = json!([{
            "type": "text",
            "text": "You answer. ".repeat(500),
            "cache_control": {"type": "ephemeral"},
        }]);
        assert_eq!(post(&mocks, &body).await.0, 200);
    }
    let entries = settled(&journal).await;
    let [first, second] = [0, 1].map(|index: usize| entries[index].usage.unwrap());
    assert!(first.cache_creation_input_tokens > 1024);
    assert_eq!(first.cache_read_input_tokens, 0);
    assert_eq!(
        second.cache_read_input_tokens,
        first.cache_creation_input_tokens
    );
    assert_eq!(second.cache_creation_input_tokens, 0);
    assert!(entries[0].cost_usd > entries[0].uncached_usd);
    assert!(entries[1].cost_usd < entries[1].uncached_usd / 5.0);

    let ledger: Value = reqwest::get(format!("http://{}/_mock/ledger", mocks.claude))
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(ledger["lines"][0]["requests"], 2);
    mocks.shutdown().await;
}

#[tokio::test]
async fn what_the_api_would_refuse_is_refused() {
    let (mocks, _) = start(quick(json!({}))).await;
    let with = |change: Value| {
        let mut body = ask("q");
        for (name, value) in change.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
    let call = json!({"type": "tool_use", "id": "toolu_1", "name": "a", "input": {}});
    for (change, status, message) in [
        (json!({"model": "claude-none"}), 404, "model: claude-none"),
        (
            json!({"max_tokens": null}),
            400,
            "max_tokens: Field required",
        ),
        (
            json!({"temperature": 1.0}),
            400,
            "temperature: Extra inputs are not permitted",
        ),
        (
            json!({"tools": [tool("SQL.Query")]}),
            400,
            "tools.0.custom.name: String should match",
        ),
        (
            json!({"tools": [tool("a"), tool("a")]}),
            400,
            "Tool names must be unique",
        ),
        (json!({"messages": []}), 400, "at least one message"),
        (
            json!({"messages": [{"role": "user", "content": ""}]}),
            400,
            "non-empty content",
        ),
        (
            json!({"messages": [
                {"role": "user", "content": "q"},
                {"role": "assistant", "content": [call]},
                {"role": "user", "content": "and?"},
            ]}),
            400,
            "messages.1: `tool_use` ids were found without `tool_result` blocks immediately after: toolu_1",
        ),
    ] {
        let (got, body) = post(&mocks, &with(change)).await;
        let text = body["error"]["message"].as_str().unwrap();
        assert!(got == status && text.contains(message), "{got} {text}");
    }
    let refused = request(&mocks, &ask("q"))
        .header("authorization", "")
        .build()
        .unwrap();
    let mut refused = refused;
    refused.headers_mut().remove("authorization");
    refused
        .headers_mut()
        .insert("x-api-key", "sk-ant-invalid".parse().unwrap());
    let response = reqwest::Client::new().execute(refused).await.unwrap();
    assert_eq!(response.status(), 401);
    mocks.shutdown().await;
}

#[tokio::test]
async fn a_forced_tool_is_called_with_input_that_its_schema_allows() {
    let (mocks, _) = start(quick(json!({}))).await;
    let mut body = ask("q");
    body["tools"] = json!([{"name": "a", "input_schema": {
        "type": "object",
        "properties": {
            "kind": {"enum": ["x", "y"]},
            "count": {"type": "integer", "minimum": 3},
            "other": {"type": "string"},
        },
        "required": ["kind", "count"],
    }}]);
    body["tool_choice"] = json!({"type": "tool", "name": "a"});
    let (_, reply) = post(&mocks, &body).await;
    assert_eq!(
        reply["content"][0]["input"],
        json!({"kind": "x", "count": 3})
    );
    mocks.shutdown().await;
}

#[tokio::test]
async fn arcade_adds_fails_and_pages() {
    let (mocks, journal) = start(quick(json!({}))).await;
    let client = reqwest::Client::new();
    let run = async |tool: &str, input: Value| {
        let response = client
            .post(format!("http://{}/v1/tools/execute", mocks.arcade))
            .header("authorization", "arc_test")
            .body(json!({"tool_name": tool, "input": input}).to_string())
            .send()
            .await
            .unwrap();
        json_of(response).await
    };
    let (_, sum) = run("Math.Add", json!({"a": 1, "b": 2})).await;
    assert_eq!(
        (&sum["success"], &sum["output"]["value"]),
        (&json!(true), &json!(3))
    );
    let (status, failed) = run("Math_Divide", json!({"a": 1, "b": 0})).await;
    assert_eq!((status, &failed["success"]), (200, &json!(false)));
    assert_eq!(failed["output"]["error"]["can_retry"], false);
    assert_eq!(run("Gmail.ListEmails", json!({})).await.0, 403);
    assert_eq!(run("No.Such", json!({})).await.0, 404);
    let page: Value = client
        .get(format!("http://{}/v1/tools?limit=3&offset=3", mocks.arcade))
        .header("authorization", "Bearer arc_test")
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(
        (&page["total_count"], &page["page_count"]),
        (&json!(4), &json!(1))
    );
    assert!(
        settled(&journal)
            .await
            .iter()
            .all(|entry| entry.upstream == Upstream::Arcade)
    );
    mocks.shutdown().await;
}

#[tokio::test]
async fn two_pairs_in_one_process_know_nothing_of_each_other() {
    let ((one, journal), (other, untouched)) =
        tokio::join!(start(quick(json!({}))), start(quick(json!({}))));
    assert_eq!(post(&one, &ask("q")).await.0, 200);
    assert_eq!(settled(&journal).await.len(), 1);
    assert!(untouched.is_empty());
    one.shutdown().await;
    other.shutdown().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn scheduled_times_depend_on_seed_and_question_and_are_never_undercut() {
    let script = || ClaudeScript {
        latency: Latency::of(Distribution::Lognormal {
            p50: Millis(Duration::from_millis(8)),
            p99: Millis(Duration::from_millis(20)),
        }),
        ..ClaudeScript::default()
    };
    let mut schedules = Vec::new();
    for order in [[0, 1, 2, 3], [3, 1, 0, 2]] {
        let (mocks, journal) = start(script()).await;
        for question in order {
            assert_eq!(
                post(&mocks, &ask(&format!("question {question}"))).await.0,
                200
            );
        }
        let mut entries = settled(&journal).await;
        entries.sort_by(|a, b| a.question.cmp(&b.question));
        for entry in &entries {
            assert!(entry.first_byte_ns - entry.arrived_ns >= entry.scheduled_ns);
        }
        schedules.push(
            entries
                .iter()
                .map(|entry| entry.scheduled_ns)
                .collect::<Vec<_>>(),
        );
        mocks.shutdown().await;
    }
    assert_eq!(schedules[0], schedules[1]);
    assert!(schedules[0][0] != schedules[0][1]);
}
