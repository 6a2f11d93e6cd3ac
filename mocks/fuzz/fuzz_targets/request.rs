//! Any request gets an answer: a body that is what its `content-type` says, or an error as the provider words it.
//!
//! An input is a byte that chooses a route, lines of headers, an empty line, and a body. The 0th route is a first line of
//! the input's own.
#![no_main]

use std::sync::LazyLock;
use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::extract::Request;
use fact_mocks::clock::Clock;
use fact_mocks::journal::Journal;
use fact_mocks::script::{ArcadeScript, ClaudeScript};
use fact_mocks::{Config, Control, Unplugged};
use libfuzzer_sys::fuzz_target;
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const ROUTES: [(&str, &str); 20] = [
    ("", ""),
    ("POST", "/v1/messages"),
    ("POST", "/v1/messages?beta=true"),
    ("POST", "/v1/messages/count_tokens"),
    ("POST", "/v1/messages/batches"),
    ("GET", "/v1/messages/batches?limit=3"),
    ("GET", "/v1/models?limit=2"),
    ("GET", "/v1/models/claude-sonnet-4-6"),
    ("POST", "/v1/tools/execute"),
    ("POST", "/v1/tools/authorize"),
    ("GET", "/v1/tools?limit=3"),
    ("GET", "/v1/formatted_tools?format=anthropic"),
    ("GET", "/v1/scheduled_tools"),
    ("POST", "/v1/auth/authorize"),
    ("GET", "/v1/auth/status?id=auth_1&wait=0"),
    ("POST", "/v1/auth/confirm_user"),
    ("POST", "/v1/workers"),
    ("PATCH", "/v1/workers/a"),
    ("GET", "/v1/workers"),
    ("POST", "/v1/chat/completions"),
];
/// What an answer may take that is not meant to wait.
const PATIENCE: Duration = Duration::from_millis(500);

static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_all().build().expect("a runtime")
});

static MOCKS: LazyLock<Unplugged> = LazyLock::new(|| {
    let at_once = json!({"latency": {"first_byte": {"constant": "0ms"}}});
    let claude: ClaudeScript = serde_json::from_value(at_once).expect("a script");
    let arcade = ArcadeScript {
        latency: claude.latency.clone(),
        ..ArcadeScript::default()
    };
    let nowhere = ([127, 0, 0, 1], 0).into();
    Unplugged::start(Config {
        claude_listen: nowhere,
        arcade_listen: nowhere,
        claude,
        arcade,
        seed: 1,
        journal: Journal::within(Clock::start(), 1 << 20),
        control: Control::Nobody,
        mutant: None,
    })
    .expect("a thread")
});

fuzz_target!(|input: &[u8]| {
    let Some(request) = [(); 2]
        .map(|()| read(input))
        .into_iter()
        .collect::<Option<Vec<_>>>()
    else {
        return;
    };
    let [claude, arcade] = <[Request; 2]>::try_from(request).expect("two");
    RUNTIME.block_on(async {
        if let Some((status, answer)) = answered(MOCKS.claude(claude)).await {
            let error = &answer["error"];
            let worded = answer["type"] == "error"
                && error["type"].is_string()
                && error["message"].is_string();
            assert!(status < 400 || worded, "Claude says {status} and {answer}");
        }
        if let Some((status, answer)) = answered(MOCKS.arcade(arcade)).await {
            let worded = answer["name"].is_string() && answer["message"].is_string();
            assert!(status < 400 || worded, "Arcade says {status} and {answer}");
        }
    });
});

/// The request that an input stands for, unless it is one that no server would be given.
fn read(input: &[u8]) -> Option<Request> {
    let (route, input) = input.split_first()?;
    let end = input.windows(2).position(|two| two == b"\n\n");
    let (head, body) = end.map_or((&[][..], input), |end| (&input[..end], &input[end + 2..]));
    let mut lines = std::str::from_utf8(head).ok()?.lines();
    let (method, path) = match ROUTES[usize::from(*route) % ROUTES.len()] {
        ("", _) => lines.next()?.split_once(' ')?,
        route => route,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header("anthropic-version", "2023-06-01")
        .header("x-api-key", "sk-ant-fuzz")
        .header("authorization", "Bearer arc_fuzz");
    for line in lines {
        let (name, value) = line.split_once(": ")?;
        // Asks for faults, and so for no answer.
        if name.eq_ignore_ascii_case("x-mock-scenario") {
            return None;
        }
        let headers = request.headers_mut()?;
        headers.insert(
            name.parse::<axum::http::HeaderName>().ok()?,
            value.parse().ok()?,
        );
    }
    request.body(Body::from(body.to_vec())).ok()
}

/// The status and what was answered, null if it is no JSON; none, if it waits for something as it was asked to.
async fn answered(
    answer: impl Future<Output = Option<axum::response::Response>>,
) -> Option<(u16, Value)> {
    let whole = async {
        let answer = answer.await.expect("nobody breaks the connection");
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type").cloned();
        let body = to_bytes(answer.into_body(), usize::MAX)
            .await
            .expect("a whole body");
        let json = serde_json::from_slice(&body);
        if kind.is_some_and(|kind| kind == "application/json") && !body.is_empty() {
            assert!(json.is_ok(), "no JSON: {}", String::from_utf8_lossy(&body));
        }
        (status, json.unwrap_or_default())
    };
    tokio::time::timeout(PATIENCE, whole).await.ok()
}
