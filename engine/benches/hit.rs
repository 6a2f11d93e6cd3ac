//! A cache hit over HTTP beside a bare axum handler that reads the same body and returns the same bytes. Both are asked
//! by the same client over one connection each; the ratio is the engine's price.

use axum::routing::post;
use criterion::{Criterion, criterion_group, criterion_main};
use fact_engine::config::Config;
use serde_json::{Value, json};
use std::collections::HashMap;
use tokio::runtime::Runtime;
use wiremock::matchers::method;
use wiremock::{Mock, MockServer, ResponseTemplate};

const QUESTION: &str = r#"{"query":"What was Q1-2025 revenue?"}"#;

/// A free port of loopback; nobody else takes it between here and its use on a quiet machine.
fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .and_then(|listener| listener.local_addr())
        .expect("a port")
        .port()
}

fn engine(folder: &std::path::Path, claude: &str) -> String {
    let database = folder.join("world.db");
    rusqlite::Connection::open(&database)
        .expect("a database")
        .execute_batch("CREATE TABLE t (a int)")
        .expect("a table");
    let clients = folder.join("clients.json");
    let file =
        json!({ "clients": [{ "id": "a", "secret": "s", "tenant": "t", "scopes": ["query"] }] });
    std::fs::write(&clients, file.to_string()).expect("a file");
    let address = format!("127.0.0.1:{}", free_port());
    let variables: HashMap<&str, String> = HashMap::from([
        ("FACT_LISTEN", address.clone()),
        ("ANTHROPIC_BASE_URL", claude.to_owned()),
        ("ANTHROPIC_API_KEY", "sk-ant-bench".to_owned()),
        ("DATABASE_URL", format!("sqlite:{}", database.display())),
        ("FACT_CLIENTS", clients.display().to_string()),
        ("FACT_STATE_DIR", folder.join("state").display().to_string()),
    ]);
    let config =
        Config::from_environment(|name| variables.get(name).cloned()).expect("a configuration");
    tokio::spawn(async move {
        fact_engine::serve(config, std::future::pending())
            .await
            .expect("an engine");
    });
    format!("http://{address}")
}

async fn token(http: &reqwest::Client, base: &str) -> String {
    let body =
        json!({ "grant_type": "client_credentials", "client_id": "a", "client_secret": "s" });
    loop {
        if let Ok(answer) = http
            .post(format!("{base}/api/v1/auth/token"))
            .json(&body)
            .send()
            .await
        {
            let answer: Value = answer.json().await.expect("a token");
            return answer["access_token"].as_str().expect("a token").to_owned();
        }
        tokio::task::yield_now().await;
    }
}

async fn ask(http: &reqwest::Client, url: &str, token: &str) -> bytes::Bytes {
    let request = http
        .post(url)
        .bearer_auth(token)
        .header("content-type", "application/json")
        .body(QUESTION);
    request
        .send()
        .await
        .expect("an answer")
        .bytes()
        .await
        .expect("a body")
}

fn hit(criterion: &mut Criterion) {
    let runtime = Runtime::new().expect("a runtime");
    let folder = tempfile::tempdir().expect("a folder");
    let http = reqwest::Client::builder()
        .no_proxy()
        .build()
        .expect("a client");
    let (engine_url, bare_url, token, _claude) = runtime.block_on(async {
        let claude = MockServer::start().await;
        let message = json!({
            "content": [{ "type": "text", "text": "Q1-2025 revenue was 42." }], "stop_reason": "end_turn",
            "usage": { "input_tokens": 7, "output_tokens": 3 },
        });
        Mock::given(method("POST")).respond_with(ResponseTemplate::new(200).set_body_json(message)).mount(&claude).await;
        let base = engine(folder.path(), &claude.uri());
        let token = token(&http, &base).await;
        let url = format!("{base}/api/v1/query");
        ask(&http, &url, &token).await;
        let same = ask(&http, &url, &token).await;
        assert!(String::from_utf8_lossy(&same).contains(r#""cache_status":"hit""#), "{same:?}");
        let router = axum::Router::new().route(
            "/api/v1/query",
            post(move |body: axum::body::Bytes| {
                let same = same.clone();
                async move {
                    let question: Value = serde_json::from_slice(&body).unwrap_or_default();
                    assert!(question["query"].is_string());
                    ([("content-type", "application/json")], same)
                }
            }),
        );
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a listener");
        let bare_url = format!("http://{}/api/v1/query", listener.local_addr().expect("an address"));
        tokio::spawn(async move { axum::serve(listener, router).await });
        (url, bare_url, token, claude)
    });
    let mut group = criterion.benchmark_group("http");
    for (name, url) in [("bare axum", &bare_url), ("hit", &engine_url)] {
        group.bench_function(name, |bencher| {
            bencher.iter(|| runtime.block_on(ask(&http, url, &token)));
        });
    }
    group.finish();
}

criterion_group!(benches, hit);
criterion_main!(benches);
