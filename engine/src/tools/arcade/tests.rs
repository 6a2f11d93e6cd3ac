//! Arcade at the other end of a wire: what is asked again and what is not, outages, and consent.

use super::*;
use wiremock::matchers::{body_partial_json, method, path, query_param};
use wiremock::{Mock, MockServer, ResponseTemplate};

const EXECUTE: &str = "/v1/tools/execute";

fn arcade(server: &MockServer) -> Arcade {
    let timeout = Duration::from_secs(5);
    Arcade::new(&server.uri(), "arc_test".into(), timeout).unwrap()
}

fn call(repeatable: bool) -> ArcadeCall {
    ArcadeCall {
        name: "Gmail.ListEmails".into(),
        repeatable,
        acts_for_a_person: true,
        consent_is_enough: true,
    }
}

async fn execute(arcade: &Arcade, repeatable: bool) -> Result<Value, ToolError> {
    let deadline = Instant::now() + Duration::from_secs(5);
    let (call, arguments) = (call(repeatable), json!({}));
    let executed = arcade.execute(&call, "alice", &arguments, 1_000, deadline);
    executed.await.map(|output| output.result)
}

fn success(value: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(json!({ "success": true, "output": { "value": value } }))
}

fn failure(error: &Value) -> ResponseTemplate {
    ResponseTemplate::new(200)
        .set_body_json(json!({ "success": false, "output": { "error": error } }))
}

async fn reply(server: &MockServer, at: &str, response: ResponseTemplate, times: u64) {
    Mock::given(path(at))
        .respond_with(response)
        .up_to_n_times(times)
        .mount(server)
        .await;
}

async fn executions(server: &MockServer) -> usize {
    let requests = server.received_requests().await.unwrap();
    let executions = requests
        .iter()
        .filter(|request| request.url.path() == EXECUTE);
    executions.count()
}

#[tokio::test]
async fn only_what_may_be_repeated_is_asked_again_after_a_failure_of_arcades() {
    for (repeatable, asked) in [(true, 3), (false, 1)] {
        let server = MockServer::start().await;
        reply(&server, EXECUTE, ResponseTemplate::new(502), 2).await;
        reply(&server, EXECUTE, success(&json!(1)), 1).await;
        let outcome = execute(&arcade(&server), repeatable).await;
        assert_eq!(outcome.is_ok(), repeatable, "{outcome:?}");
        assert_eq!(executions(&server).await, asked);
    }
}

#[tokio::test]
async fn a_refusal_of_arcades_is_not_asked_again() {
    for status in [400, 404, 422] {
        let server = MockServer::start().await;
        let body = json!({ "name": "n", "message": "no such city\n  at /srv/app.py" });
        let response = ResponseTemplate::new(status).set_body_json(body);
        reply(&server, EXECUTE, response, 9).await;
        let error = execute(&arcade(&server), true).await.unwrap_err();
        assert!(
            matches!(&error, ToolError::Failed(why) if !why.contains("app.py")),
            "{error:?}"
        );
        assert_eq!(executions(&server).await, 1);
    }
}

#[tokio::test]
async fn a_tool_that_says_so_is_asked_again_after_what_it_says() {
    let server = MockServer::start().await;
    let busy = json!({ "kind": "UPSTREAM_RUNTIME_RATE_LIMIT", "message": "busy", "can_retry": true, "retry_after_ms": 300 });
    reply(&server, EXECUTE, failure(&busy), 1).await;
    reply(&server, EXECUTE, success(&json!("done")), 1).await;
    let began = Instant::now();
    assert_eq!(execute(&arcade(&server), false).await, Ok(json!("done")));
    assert!(began.elapsed() >= Duration::from_millis(300));

    let server = MockServer::start().await;
    let other = json!({ "kind": "TOOL_RUNTIME_RETRY", "message": "bad city", "can_retry": true, "additional_prompt_content": "try Kyoto" });
    reply(&server, EXECUTE, failure(&other), 9).await;
    let error = execute(&arcade(&server), true).await.unwrap_err();
    assert_eq!(error.to_string(), "the tool failed: bad city (try Kyoto)");
    assert_eq!(executions(&server).await, 1);
}

#[tokio::test]
async fn a_retry_after_beyond_the_time_is_told_and_not_waited_for() {
    let server = MockServer::start().await;
    let busy = ResponseTemplate::new(429).insert_header("retry-after", "60");
    reply(&server, EXECUTE, busy, 9).await;
    let error = execute(&arcade(&server), true).await.unwrap_err();
    assert!(
        matches!(&error, ToolError::Outage { retry_after, .. } if *retry_after == Duration::from_mins(1)),
        "{error:?}"
    );
    assert_eq!(executions(&server).await, 1);
}

#[tokio::test]
async fn an_outage_is_no_longer_asked_and_is_over_soon_after_its_end() {
    let server = MockServer::start().await;
    reply(&server, EXECUTE, ResponseTemplate::new(500), 5).await;
    reply(&server, EXECUTE, success(&json!(1)), 9).await;
    let arcade = arcade(&server);
    for _ in 0..5 {
        assert!(execute(&arcade, false).await.unwrap_err().is_outage());
    }
    assert!(!arcade.health());
    assert!(execute(&arcade, false).await.unwrap_err().is_outage());
    assert_eq!(executions(&server).await, 5);
    let began = Instant::now();
    while execute(&arcade, false).await.is_err() {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(!arcade.0.breaker.is_open());
}

#[tokio::test]
async fn a_long_answer_is_cut_off() {
    let server = MockServer::start().await;
    reply(&server, EXECUTE, success(&json!("x".repeat(100_000))), 9).await;
    let error = execute(&arcade(&server), true).await.unwrap_err();
    assert_eq!(error, too_long(1_000));
}

fn forbidden() -> ResponseTemplate {
    let body =
        json!({ "name": "tool_authorization_required", "message": "authorization required" });
    ResponseTemplate::new(403).set_body_json(body)
}

#[tokio::test]
async fn consent_is_asked_for_and_known_once_it_is_given() {
    let server = MockServer::start().await;
    reply(&server, EXECUTE, forbidden(), 1).await;
    let pending = json!({ "id": "ac_1", "status": "pending", "url": "https://consent.example/1" });
    Mock::given(method("POST"))
        .and(path("/v1/tools/authorize"))
        .and(body_partial_json(
            json!({ "user_id": "alice", "tool_name": "Gmail.ListEmails" }),
        ))
        .respond_with(ResponseTemplate::new(200).set_body_json(pending))
        .expect(1)
        .mount(&server)
        .await;
    Mock::given(path("/v1/auth/status"))
        .and(query_param("id", "ac_1"))
        .respond_with(
            ResponseTemplate::new(200)
                .set_body_json(json!({ "status": "completed" }))
                .set_delay(Duration::from_millis(200)),
        )
        .expect(1)
        .mount(&server)
        .await;
    let arcade = arcade(&server);
    let before = arcade.edition();
    let refused = execute(&arcade, false).await.unwrap_err();
    let url = Some("https://consent.example/1".to_owned());
    assert_eq!(refused, ToolError::AuthorizationRequired { url });
    let began = Instant::now();
    while !arcade.0.consents.has("alice", "Gmail.ListEmails") {
        assert!(began.elapsed() < Duration::from_secs(5));
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert!(arcade.edition() > before);
    assert!(!arcade.0.consents.has("bob", "Gmail.ListEmails"));
    reply(&server, EXECUTE, success(&json!([])), 1).await;
    assert_eq!(execute(&arcade, false).await, Ok(json!([])));
    // What is taken back is missing again.
    reply(&server, EXECUTE, forbidden(), 1).await;
    server.reset().await;
    let completed = json!({ "id": "ac_1", "status": "completed" });
    let completed = ResponseTemplate::new(200).set_body_json(completed);
    reply(&server, "/v1/tools/authorize", completed, 9).await;
    reply(&server, EXECUTE, forbidden(), 9).await;
    let refused = execute(&arcade, false).await.unwrap_err();
    assert_eq!(refused, ToolError::AuthorizationRequired { url: None });
    assert_eq!(executions(&server).await, 2);
}

#[tokio::test]
async fn tools_are_found_page_by_page_and_keep_their_limits_state() {
    let server = MockServer::start().await;
    let item = |number: usize| {
        json!({
            "qualified_name": format!("Kit.Tool{number}"), "description": "d",
            "toolkit": { "name": "Kit", "version": "1.2.0" },
            "input": { "parameters": [
                { "name": "list", "required": true, "value_schema": { "val_type": "array", "inner_val_type": "integer" } },
                { "name": "mode", "required": false, "value_schema": { "val_type": "string", "enum": ["a", "b"] } },
            ] },
            "output": { "value_schema": { "val_type": "string" } },
            "requirements": { "met": number == 0 },
            "metadata": { "behavior": { "read_only": true } },
        })
    };
    let own = json!({ "qualified_name": "SQL.QueryReadonly", "input": { "parameters": [] } });
    for (offset, items) in [("0", vec![item(0), item(1)]), ("2", vec![item(2), own])] {
        let page = json!({ "items": items, "total_count": 4 });
        Mock::given(path("/v1/tools"))
            .and(query_param("offset", offset))
            .respond_with(ResponseTemplate::new(200).set_body_json(page))
            .mount(&server)
            .await;
    }
    let arcade = arcade(&server);
    assert_eq!(arcade.discover().await.unwrap(), 3);
    let found = arcade.tools();
    let tool = &found["Kit.Tool0"];
    assert_eq!(tool.definition.version, "1.2.0");
    assert!(tool.definition.requirements_met && !found["Kit.Tool1"].definition.requirements_met);
    let paths = |arguments: Value| match tool.read(&arguments) {
        Err(ToolError::InvalidArguments { violations }) => {
            violations.into_iter().map(|found| found.path).collect()
        }
        _ => Vec::new(),
    };
    assert_eq!(
        paths(json!({ "list": [1, "x"], "mode": "c" })),
        ["/list/1", "/mode"]
    );
    assert!(tool.judge(ToolOutput::plain(json!("a text"))).is_ok());
    assert!(tool.judge(ToolOutput::plain(json!(1))).is_err());
    let edition = arcade.edition();
    arcade.discover().await.unwrap();
    assert_eq!(arcade.edition(), edition);
    assert!(Arc::ptr_eq(tool, &arcade.tools()["Kit.Tool0"]));
    assert!(arcade.health());
    server.reset().await;
    assert!(arcade.discover().await.is_err());
    assert!(!arcade.health());
    assert_eq!(arcade.tools().len(), 3);
}
