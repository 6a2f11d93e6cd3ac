//! The engine as a process among processes: what it told somebody outlives it, and what was touched is found.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use serde_json::{Value, json};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

struct Engine {
    child: Child,
    base: String,
}

impl Drop for Engine {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

fn fact(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_fact"))
        .args(arguments)
        .output()
        .unwrap()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port()
}

fn prepare(folder: &Path) {
    rusqlite::Connection::open(folder.join("world.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (a int)")
        .unwrap();
    let clients = json!({ "clients": [
        { "id": "admin", "secret": "s3cret-of-admin", "tenant": "t", "scopes": ["admin", "tools", "metrics"] },
    ] });
    std::fs::write(folder.join("clients.json"), clients.to_string()).unwrap();
}

/// Whoever asks for the same port meanwhile is told apart by the process that ended.
fn command(folder: &Path, port: u16) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fact"));
    command
        .arg("serve")
        .env_clear()
        .env("FACT_LISTEN", format!("127.0.0.1:{port}"))
        .env("ANTHROPIC_BASE_URL", "http://127.0.0.1:9")
        .env("ANTHROPIC_API_KEY", "sk-ant-test")
        .env(
            "DATABASE_URL",
            format!("sqlite:{}", folder.join("world.db").display()),
        )
        .env("FACT_CLIENTS", folder.join("clients.json"))
        .env("FACT_STATE_DIR", folder.join("state"))
        .env("FACT_FILE_ROOTS", folder)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped());
    command
}

async fn start(folder: &Path, http: &reqwest::Client) -> Engine {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let port = free_port();
        let child = command(folder, port).stderr(Stdio::null()).spawn().unwrap();
        let mut engine = Engine {
            child,
            base: format!("http://127.0.0.1:{port}"),
        };
        while engine.child.try_wait().unwrap().is_none() {
            let ready = http
                .get(format!("{}/api/v1/ready", engine.base))
                .send()
                .await;
            if ready.is_ok_and(|ready| ready.status().is_success()) {
                return engine;
            }
            assert!(Instant::now() < deadline, "the engine is not ready");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        assert!(Instant::now() < deadline, "the engine ended");
    }
}

fn client() -> reqwest::Client {
    reqwest::Client::builder()
        .no_proxy()
        .timeout(Duration::from_secs(30))
        .build()
        .unwrap()
}

async fn log_in(
    http: &reqwest::Client,
    base: &str,
    secret: &str,
) -> reqwest::Result<reqwest::Response> {
    let body = json!({ "grant_type": "client_credentials", "client_id": "admin", "client_secret": secret });
    http.post(format!("{base}/api/v1/auth/token"))
        .json(&body)
        .send()
        .await
}

fn events(folder: &Path) -> Vec<Value> {
    let text = std::fs::read_to_string(folder.join("state/audit.ndjson")).unwrap();
    text.lines()
        .filter_map(|line| serde_json::from_str(line).ok())
        .collect()
}

#[tokio::test]
async fn what_somebody_was_told_is_in_the_log_however_the_engine_ends() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, http) = (folder.path(), client());
    prepare(folder);
    let mut told = Vec::new();
    for _ in 0..3 {
        let mut engine = start(folder, &http).await;
        let mut asking = tokio::task::JoinSet::new();
        for _ in 0..4 {
            let (http, base) = (http.clone(), engine.base.clone());
            asking.spawn(async move {
                let mut told = Vec::new();
                // Ends with the connection, when the engine is killed.
                while let Ok(answer) = log_in(&http, &base, "s3cret-of-admin").await {
                    told.push(
                        answer.headers()["x-request-id"]
                            .to_str()
                            .unwrap()
                            .to_owned(),
                    );
                    if answer.status() != 200 {
                        break;
                    }
                }
                told
            });
        }
        tokio::time::sleep(Duration::from_millis(300)).await;
        engine.child.kill().unwrap();
        engine.child.wait().unwrap();
        told.extend(asking.join_all().await.into_iter().flatten());
    }
    drop(start(folder, &http).await);
    let events = events(folder);
    assert!(told.len() > 3, "{}", told.len());
    for trace in &told {
        let times = events
            .iter()
            .filter(|event| event["trace_id"] == **trace)
            .count();
        assert_eq!(times, 1, "{trace}");
    }
    let state = folder.join("state");
    let checked = fact(&["audit", "verify", state.to_str().unwrap()]);
    assert!(
        checked.status.success(),
        "{}{}",
        text(&checked.stdout),
        text(&checked.stderr)
    );
}

#[tokio::test]
async fn two_engines_do_not_share_a_state_folder() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let _engine = start(folder.path(), &client()).await;
    let second = command(folder.path(), free_port())
        .spawn()
        .unwrap()
        .wait_with_output()
        .unwrap();
    assert_eq!(second.status.code(), Some(3));
    let said = text(&second.stderr);
    assert!(
        said.contains("another engine uses this `FACT_STATE_DIR`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_log_is_checked_over_http_and_what_was_touched_is_named() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, http) = (folder.path(), client());
    prepare(folder);
    let engine = start(folder, &http).await;
    for secret in ["wrong", "also wrong", "s3cret-of-admin"]
        .into_iter()
        .cycle()
        .take(150)
    {
        log_in(&http, &engine.base, secret).await.unwrap();
    }
    let clients = folder.join("clients.json");
    let clients = clients.to_str().unwrap();
    let over_http = fact(&[
        "audit",
        "verify",
        &engine.base,
        "--clients",
        clients,
        "--format",
        "json",
    ]);
    let seen: Value = serde_json::from_slice(&over_http.stdout).unwrap();
    assert_eq!(
        (over_http.status.code(), &seen["whole"], &seen["findings"]),
        (Some(0), &json!(true), &json!([]))
    );
    assert!(seen["events"].as_u64().unwrap() > 100, "{seen}");
    let metrics = http.get(format!("{}/api/v1/metrics", engine.base));
    let token: Value = log_in(&http, &engine.base, "s3cret-of-admin")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let token = token["access_token"].as_str().unwrap();
    let metrics: Value = metrics
        .bearer_auth(token)
        .send()
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    assert_eq!(metrics["logins_total"]["failure"], 100);
    assert!(
        metrics["overhead_seconds"]["count"].as_u64().unwrap() >= 150,
        "{metrics}"
    );
    assert!(metrics["process_resident_memory_bytes"].as_f64().unwrap() > 0.0);
    let file = folder.join("state/audit.ndjson");
    let body = json!({ "arguments": { "path": "state/audit.ndjson" } });
    let reading = http.post(format!(
        "{}/api/v1/tools/FileSystem.ReadFile/execute",
        engine.base
    ));
    assert_eq!(
        reading
            .bearer_auth(token)
            .json(&body)
            .send()
            .await
            .unwrap()
            .status(),
        403
    );
    let wrong = http
        .get(format!("{}/api/v1/audit?limit=0", engine.base))
        .bearer_auth(token);
    assert_eq!(wrong.send().await.unwrap().status(), 400);
    drop(engine);

    let lines: Vec<String> = std::fs::read_to_string(&file)
        .unwrap()
        .lines()
        .map(str::to_owned)
        .collect();
    let verify = |lines: &[String], more: &[&str]| {
        let path = folder.join("copy.ndjson");
        std::fs::write(&path, lines.join("\n") + "\n").unwrap();
        let checked = fact(&[&["audit", "verify", path.to_str().unwrap()], more].concat());
        (checked.status.code(), text(&checked.stdout))
    };
    let (code, said) = verify(&lines, &[]);
    assert_eq!(code, Some(0), "{said}");
    let newest = said.trim().rsplit(' ').next().unwrap().to_owned();
    let mut touched = lines.clone();
    touched[6] = touched[6].replacen("failure", "success", 1);
    let (code, said) = verify(&touched, &[]);
    assert!(
        code == Some(1) && said.contains("event 7 (evt_") && said.contains("was altered"),
        "{said}"
    );
    let mut touched = lines.clone();
    touched.remove(8);
    let (code, said) = verify(&touched, &[]);
    assert!(
        code == Some(1) && said.contains("event 9 was removed"),
        "{said}"
    );
    let mut touched = lines.clone();
    touched.swap(20, 21);
    let (code, said) = verify(&touched, &[]);
    assert!(
        code == Some(1)
            && said.contains("event 22 (evt_")
            && said.contains("stands where event 21"),
        "{said}"
    );
    // What was cut off at the end shows against an earlier note only.
    assert_eq!(verify(&lines[..lines.len() - 1], &[]).0, Some(0));
    let (code, said) = verify(&lines[..lines.len() - 1], &["--holds", &newest]);
    assert!(code == Some(1) && said.contains("is not here"), "{said}");
    assert_eq!(
        fact(&["audit", "verify", "no-such-file"]).status.code(),
        Some(2)
    );
}

#[tokio::test]
async fn lines_of_a_request_carry_its_trace_id() {
    let folder = tempfile::tempdir().unwrap();
    let (folder, http) = (folder.path(), client());
    prepare(folder);
    std::fs::write(folder.join("fact.toml"), "[log]\nformat = 'json'\n").unwrap();
    let log = std::fs::File::create(folder.join("log")).unwrap();
    let port = free_port();
    let mut command = command(folder, port);
    command.arg("--config").arg(folder.join("fact.toml"));
    let child = command.stderr(log).spawn().unwrap();
    let engine = Engine {
        child,
        base: format!("http://127.0.0.1:{port}"),
    };
    let deadline = Instant::now() + Duration::from_secs(30);
    while http
        .get(format!("{}/api/v1/ready", engine.base))
        .send()
        .await
        .is_err()
    {
        assert!(Instant::now() < deadline, "the engine is not ready");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let token: Value = log_in(&http, &engine.base, "s3cret-of-admin")
        .await
        .unwrap()
        .json()
        .await
        .unwrap();
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    let body = json!({ "arguments": { "path": "../up" } });
    let reading = http
        .post(format!(
            "{}/api/v1/tools/FileSystem.ReadFile/execute",
            engine.base
        ))
        .bearer_auth(token["access_token"].as_str().unwrap())
        .header("traceparent", format!("00-{trace}-00f067aa0ba902b7-01"))
        .json(&body);
    assert_eq!(reading.send().await.unwrap().status(), 403);
    drop(engine);
    let lines = std::fs::read_to_string(folder.join("log")).unwrap();
    let lines: Vec<Value> = lines
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let refused = lines
        .iter()
        .find(|line| line["message"] == "a tool call is refused");
    assert_eq!(refused.unwrap()["span"]["trace_id"], trace, "{lines:?}");
}

#[test]
fn the_configuration_is_shown_with_origins_and_without_secrets() {
    let folder = tempfile::tempdir().unwrap();
    prepare(folder.path());
    let path = folder.path().join("fact.toml");
    std::fs::write(
        &path,
        "[claude]\napi_key = 'sk-ant-secret'\n[limits]\nmax_turns = 3\n",
    )
    .unwrap();
    let show = |more: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_fact"))
            .args(["config", "show", "--config", path.to_str().unwrap()])
            .args(more)
            .env_clear()
            .env("DATABASE_URL", "sqlite:world.db")
            .env("FACT_CLIENTS", folder.path().join("clients.json"))
            .output()
            .unwrap()
    };
    let seen = show(&["--format", "json"]);
    assert!(seen.status.success(), "{}", text(&seen.stderr));
    assert!(!text(&seen.stdout).contains("sk-ant"));
    let seen: Value = serde_json::from_slice(&seen.stdout).unwrap();
    assert_eq!(seen["schema_version"], 1);
    let turns = seen["settings"]
        .as_array()
        .unwrap()
        .iter()
        .find(|setting| setting["key"] == "limits.max_turns")
        .unwrap();
    assert_eq!(
        (&turns["value"], &turns["origin"]["kind"]),
        (&json!("3"), &json!("file"))
    );
    let wrong = show(&["--listen", "nowhere"]);
    assert_eq!(wrong.status.code(), Some(2));
    assert!(
        text(&wrong.stderr).contains("`FACT_LISTEN` is `nowhere`"),
        "{}",
        text(&wrong.stderr)
    );
    let schema: Value = serde_json::from_slice(&fact(&["config", "schema"]).stdout).unwrap();
    assert_eq!(
        schema["properties"]["limits"]["properties"]["max_turns"]["type"],
        "integer"
    );
}
