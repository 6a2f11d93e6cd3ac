//! Whatever Claude is told to say, its stream read back is the message that it gives whole.
#![no_main]

use std::sync::LazyLock;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use fact_mocks::clock::Clock;
use fact_mocks::journal::Journal;
use fact_mocks::script::ArcadeScript;
use fact_mocks::{Config, Control, Unplugged};
use libfuzzer_sys::{arbitrary, fuzz_target};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

/// What is said, and how it is asked for.
#[derive(Debug, arbitrary::Arbitrary)]
struct Said {
    question: String,
    think: Option<String>,
    say: Option<String>,
    calls: Vec<(u8, Vec<(String, String)>)>,
    stop_reason: Option<String>,
    stop_sequence: Option<String>,
    max_tokens: u16,
}

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
});

fuzz_target!(|said: Said| {
    let (whole, streamed) =
        RUNTIME.block_on(async { (ask(&said, false).await, ask(&said, true).await) });
    assert_eq!(whole.0, streamed.0, "both are taken or both refused");
    let text = std::str::from_utf8(&whole.1).expect("UTF-8");
    let whole_message: Value = serde_json::from_str(text).expect("JSON");
    if whole.0 == 200 {
        let text = std::str::from_utf8(&streamed.1).expect("UTF-8");
        assert_eq!(read_back(text), whole_message, "{text}");
    }
});

/// The same question in a new world each time, so that it is the same call.
async fn ask(said: &Said, stream: bool) -> (u16, Vec<u8>) {
    let calls = said.calls.iter().map(|(tool, input)| {
        let input: serde_json::Map<String, Value> = input
            .iter()
            .map(|(name, value)| (name.clone(), json!(value)))
            .collect();
        (format!("tool_{tool}"), Value::Object(input))
    });
    let calls: serde_json::Map<String, Value> = calls.collect();
    let tools = calls
        .keys()
        .map(|name| json!({"name": name, "input_schema": {"type": "object"}}));
    let mut rule = json!({"think": said.think, "say": said.say, "stop_reason": said.stop_reason});
    if !calls.is_empty() {
        rule["call"] = json!(calls);
    }
    let script = json!({"latency": {"first_byte": {"constant": "0ms"}}, "script": [rule]});
    let nowhere = ([127, 0, 0, 1], 0).into();
    let mocks = Unplugged::start(Config {
        claude_listen: nowhere,
        arcade_listen: nowhere,
        claude: serde_json::from_value(script).expect("a script"),
        arcade: ArcadeScript::default(),
        seed: 1,
        journal: Journal::within(Clock::start(), 1 << 20),
        control: Control::Nobody,
        mutant: None,
    })
    .expect("a thread");
    let mut body = json!({
        "model": "claude-sonnet-4-6",
        // Nothing is said of no tokens, and never in a stream.
        "max_tokens": said.max_tokens.max(1),
        "stream": stream,
        "messages": [{"role": "user", "content": said.question}],
        "tools": tools.collect::<Vec<_>>(),
    });
    if let Some(sequence) = &said.stop_sequence {
        body["stop_sequences"] = json!([sequence]);
    }
    let request = Request::post("/v1/messages")
        .header("x-api-key", "sk-ant-fuzz")
        .header("anthropic-version", "2023-06-01")
        .body(Body::from(body.to_string()))
        .expect("a request");
    let answer = mocks
        .claude(request)
        .await
        .expect("nobody breaks the connection");
    let status = answer.status().as_u16();
    let body = to_bytes(answer.into_body(), usize::MAX)
        .await
        .expect("a whole body");
    (status, body.to_vec())
}

/// The message that a stream says, as a client puts it together.
fn read_back(stream: &str) -> Value {
    let mut message = Value::Null;
    let mut fragments: Vec<String> = Vec::new();
    let mut ended = false;
    for event in stream.strip_suffix("\n\n").expect("an end").split("\n\n") {
        assert!(!ended, "nothing comes after the end");
        let (name, data) = event.split_once("\ndata: ").expect("a name and data");
        assert!(!data.contains(['\n', '\r']), "{data:?} is one line");
        let event: Value = serde_json::from_str(data).expect("JSON");
        let kind = event["type"].as_str().expect("a type");
        assert_eq!(name, format!("event: {kind}"));
        let index = usize::try_from(event["index"].as_u64().unwrap_or_default()).expect("an index");
        match kind {
            "message_start" => message = event["message"].clone(),
            "content_block_start" => {
                let content = message["content"].as_array_mut().expect("content");
                assert_eq!(index, content.len());
                content.push(event["content_block"].clone());
                fragments.push(String::new());
            }
            "content_block_delta" => {
                let delta = &event["delta"];
                for field in ["text", "thinking", "signature"] {
                    if let Some(more) = delta[field].as_str() {
                        let before = message["content"][index][field]
                            .as_str()
                            .expect("it has begun");
                        message["content"][index][field] = json!(format!("{before}{more}"));
                    }
                }
                fragments[index].push_str(delta["partial_json"].as_str().unwrap_or_default());
            }
            "content_block_stop" if !fragments[index].is_empty() => {
                message["content"][index]["input"] =
                    serde_json::from_str(&fragments[index]).expect("JSON");
            }
            "message_delta" => {
                for parts in ["delta", "usage"] {
                    let target = if parts == "delta" {
                        &mut message
                    } else {
                        &mut message["usage"]
                    };
                    for (name, value) in event[parts].as_object().expect("fields") {
                        target[name] = value.clone();
                    }
                }
            }
            "message_stop" => ended = true,
            _ => {}
        }
    }
    assert!(ended, "the end comes");
    message
}
