//! What goes wrong goes wrong as it was told to, and the journal says so.

use std::time::{Duration, Instant};

use fact_mocks::clock::Clock;
use fact_mocks::journal::Journal;
use fact_mocks::script::{ArcadeScript, ClaudeScript, Distribution, Latency, Millis};
use fact_mocks::{Config, Control, Mocks};
use serde_json::{Value, json};

async fn start(claude: Value, control: Control) -> (Mocks, Journal) {
    let mut claude: ClaudeScript = serde_json::from_value(claude).expect("a script");
    if claude.latency == ClaudeScript::default().latency {
        claude.latency = Latency::of(Distribution::Constant(Millis::default()));
    }
    let recorded = json!({
        "request": {"messages": [{"role": "user", "content": "recorded"}]},
        "response": {"content": [{"type": "text", "text": "As it was."}], "stop_reason": "end_turn"},
    });
    claude
        .load(&|file| (file == "then.jsonl").then(|| recorded.to_string()))
        .expect("its files are read");
    let journal = Journal::new(Clock::start());
    let mocks = fact_mocks::start(Config {
        claude_listen: "127.0.0.1:0".parse().expect("an address"),
        arcade_listen: "127.0.0.1:0".parse().expect("an address"),
        claude,
        arcade: ArcadeScript::default(),
        seed: 42,
        journal: journal.clone(),
        control,
        mutant: None,
    });
    (mocks.await.expect("free ports"), journal)
}

fn post(mocks: &Mocks, question: &str, stream: bool) -> reqwest::RequestBuilder {
    let body = json!({
        "model": "claude-sonnet-4-6",
        "max_tokens": 1000,
        "stream": stream,
        "messages": [{"role": "user", "content": question}],
    });
    reqwest::Client::new()
        .post(format!("http://{}/v1/messages", mocks.claude))
        .timeout(Duration::from_millis(400))
        .header("x-api-key", "sk-ant-test")
        .header("anthropic-version", "2026-10-21")
        .body(body.to_string())
}

/// What came of a body before it ended, and whether it ended well.
async fn received(mocks: &Mocks, question: &str, stream: bool) -> (String, bool) {
    let Ok(mut response) = post(mocks, question, stream).send().await else {
        return (String::new(), false);
    };
    let mut text = String::new();
    loop {
        match response.chunk().await {
            Ok(Some(chunk)) => text.push_str(&String::from_utf8_lossy(&chunk)),
            Ok(None) => return (text, true),
            Err(_) => return (text, false),
        }
    }
}

fn events(text: &str) -> Vec<&str> {
    text.split("\n\n")
        .filter_map(|event| event.strip_prefix("event: ")?.split('\n').next())
        .collect()
}

#[tokio::test]
async fn a_stream_is_broken_where_the_fault_says() {
    let faults = json!([
        {"question": "error", "error_after_events": 3},
        {"question": "cut", "cut_after_events": 2},
        {"question": "reset", "cut_after_events": 2, "reset": true},
        {"question": "stall", "stall_after_events": 1},
        {"question": "malformed", "malformed_event": 1},
        {"question": "twice", "duplicate_event": 1},
        {"question": "missing", "missing_event": 1},
        {"question": "trickle", "trickle": {"bytes": 400, "every": "1ms"}},
    ]);
    let (mocks, journal) = start(json!({"faults": faults}), Control::Nobody).await;
    let get = async |question| received(&mocks, question, true).await;
    let (whole, ended) = get("whole").await;
    assert!(ended && events(&whole).ends_with(&["message_delta", "message_stop"]));
    let (text, ended) = get("error").await;
    assert!(
        ended && events(&text).len() == 4 && text.contains("overloaded_error"),
        "{text}"
    );
    for (question, count) in [("cut", 2), ("reset", 2), ("stall", 1)] {
        let (text, ended) = get(question).await;
        assert!(!ended && events(&text).len() == count, "{question}: {text}");
    }
    let (text, _) = get("malformed").await;
    let data = text
        .split("data: ")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    assert!(serde_json::from_str::<Value>(data).is_err());
    let (text, _) = get("twice").await;
    assert!(events(&text).starts_with(&["message_start", "message_start"]));
    let (text, _) = get("missing").await;
    assert_eq!(events(&text)[0], "content_block_start");
    let (text, ended) = get("trickle").await;
    assert!(ended && events(&text) == events(&whole));
    mocks.shutdown().await;
    let faults: Vec<String> = journal
        .since(0)
        .into_iter()
        .filter_map(|it| it.fault)
        .collect();
    assert_eq!(
        faults,
        [
            "error after 3 events",
            "cut after 2 events",
            "cut after 2 events, reset",
            "stall after 1 events",
            "event 1 malformed",
            "event 1 twice",
            "event 1 missing",
            "400 bytes every 1ms",
        ]
    );
}

#[tokio::test]
async fn an_answer_may_never_come_or_come_in_another_dress() {
    let faults = json!([
        {"question": "half open", "half_open": true},
        {"question": "reset", "reset": true},
        {"question": "html", "content_type": "text/html"},
        {"question": "slow", "slow_headers": "1ms"},
        {"question": "limited", "status": 429, "retry_after": "1500ms", "retry_after_form": "milliseconds", "should_retry": false},
    ]);
    let (mocks, _) = start(json!({"faults": faults}), Control::Nobody).await;
    let send = async |question| post(&mocks, question, false).send().await;
    assert!(send("half open").await.unwrap_err().is_timeout());
    assert!(!send("reset").await.unwrap_err().is_timeout());
    assert_eq!(
        send("html").await.unwrap().headers()["content-type"],
        "text/html"
    );
    let began = Instant::now();
    let slow = post(&mocks, "slow", false)
        .timeout(Duration::from_secs(20))
        .send();
    assert_eq!(slow.await.unwrap().status(), 200);
    assert!(
        began.elapsed() > Duration::from_millis(500),
        "its head has more than 500 bytes"
    );
    let limited = send("limited").await.unwrap();
    assert_eq!(limited.headers()["retry-after-ms"], "1500");
    assert_eq!(limited.headers()["x-should-retry"], "false");
    mocks.shutdown().await;
}

#[tokio::test]
async fn nobody_listens_during_an_outage_and_somebody_does_after_it() {
    let window = json!({"from": "300ms", "for": "300ms"});
    let outages = json!({"outages": [{"kind": "refuse", "window": window}]});
    let (mocks, _) = start(outages, Control::Nobody).await;
    let began = Instant::now();
    let (mut refused, mut answered_after) = (0, 0);
    assert!(post(&mocks, "before", false).send().await.is_ok());
    while answered_after == 0 && began.elapsed() < Duration::from_secs(10) {
        match post(&mocks, "now", false).send().await {
            Err(error) if error.is_connect() => refused += 1,
            Ok(_) if refused > 0 => answered_after += 1,
            _ => {}
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    assert!(
        refused > 0 && answered_after == 1,
        "{refused} {answered_after}"
    );
    mocks.shutdown().await;
}

#[tokio::test]
async fn the_same_requests_meet_the_same_faults_in_any_order() {
    let faults = json!({"faults": [{"share": 0.5, "status": 503}]});
    let mut outcomes = Vec::new();
    for order in [[0, 1, 2, 3, 4, 5, 6, 7], [7, 3, 5, 1, 0, 2, 6, 4]] {
        let (mocks, _) = start(faults.clone(), Control::Nobody).await;
        let mut statuses = vec![Vec::new(); 8];
        for question in [order, order].concat() {
            let sent = post(&mocks, &format!("question {question}"), false).send();
            statuses[question].push(sent.await.unwrap().status().as_u16());
        }
        outcomes.push(statuses);
        mocks.shutdown().await;
    }
    assert_eq!(outcomes[0], outcomes[1]);
    let failed = outcomes[0]
        .concat()
        .iter()
        .filter(|status| **status == 503)
        .count();
    assert!((1..16).contains(&failed), "{failed}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn events_come_at_the_speed_of_speech_and_their_lags_are_reported() {
    let latency = json!({"first_byte": {"constant": "20ms"}, "tokens_per_second": 200.0});
    let script = json!([{"say": "x".repeat(96)}]);
    let (mocks, journal) = start(
        json!({"latency": latency, "script": script}),
        Control::Nobody,
    )
    .await;
    let began = Instant::now();
    let answers = (0..5).map(|_| received(&mocks, "speak", true));
    for (text, ended) in futures_util::future::join_all(answers).await {
        assert!(ended && text.matches("text_delta").count() == 4);
    }
    // 24 tokens after the first byte.
    assert!(
        began.elapsed() >= Duration::from_millis(140),
        "{:?}",
        began.elapsed()
    );
    mocks.shutdown().await;
    let concurrent = journal.since(0).iter().map(|entry| entry.concurrent).max();
    assert!(
        concurrent.is_some_and(|most| (2..=5).contains(&most)),
        "{concurrent:?}"
    );
}

#[tokio::test]
async fn lags_are_measured_against_the_schedule() {
    let latency = json!({"first_byte": {"constant": "5ms"}, "total": {"constant": "30ms"}});
    let (mocks, _) = start(json!({"latency": latency}), Control::Nobody).await;
    assert!(received(&mocks, "one", true).await.1);
    assert!(received(&mocks, "two", false).await.1);
    tokio::time::sleep(Duration::from_millis(20)).await;
    let [claude, arcade] = mocks.timing();
    assert_eq!(claude.first_bytes.count, 2);
    assert!(claude.events.count >= 5 && claude.events.max_us > 0.0);
    assert_eq!(arcade.first_bytes.count, 0);
    mocks.shutdown().await;
}

#[tokio::test]
async fn a_recording_is_replayed_and_what_it_lacks_is_shown() {
    let (mocks, _) = start(json!({"recording": "then.jsonl"}), Control::Nobody).await;
    let (text, _) = received(&mocks, "recorded", false).await;
    let message: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(message["content"][0]["text"], "As it was.");
    let (text, _) = received(&mocks, "another", false).await;
    assert!(
        text.contains("nearest is exchange 1, whose message 0"),
        "{text}"
    );
    mocks.shutdown().await;
}

#[tokio::test]
async fn the_control_plane_is_there_for_who_may_use_it() {
    for (control, expected) in [(Control::Nobody, false), (Control::Loopback, true)] {
        let (mocks, _) = start(json!({}), control).await;
        for (address, path) in [(mocks.claude, "timing"), (mocks.arcade, "requests")] {
            let got = reqwest::get(format!("http://{address}/_mock/{path}"))
                .await
                .unwrap();
            assert_eq!(got.status() == 200, expected);
        }
        mocks.shutdown().await;
    }
}
