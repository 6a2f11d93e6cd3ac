//! A person's consent over HTTP, with a provider that checks what it is told: begun, finished once, used, renewed,
//! withdrawn, kept encrypted over a restart.

mod world;

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fact_engine::store::Kind;
use serde_json::{Value, json};
use world::{TOOL, World};

#[tokio::test]
async fn a_person_consents_once_and_the_tool_acts_for_them_alone() {
    let world = World::new().await;
    let missing = World::failed(world.execute("alice").await, 403, "AUTHORIZATION_REQUIRED");
    let link = missing["error"]["details"]["authorization_url"]
        .as_str()
        .unwrap();
    assert!(link.starts_with("https://id.example/authorize?"), "{link}");
    assert!(
        link.contains("redirect_uri=https%3A%2F%2Fapp.example%2Fback"),
        "{link}"
    );
    // The link of a refused call is as good as one that was asked for.
    let (state, code) = world.provider.consent(link);
    assert_eq!(world.callback("alice", &state, &code).await.0, 200);
    let (status, body) = world.execute("alice").await;
    assert_eq!(
        (status, &body["result"]["mails"]),
        (200, &json!(3)),
        "{body}"
    );
    assert!(!body.to_string().contains("-secret-"));
    assert_eq!(world.shown(), ["Bearer at-secret-1"]);
    assert_eq!(
        world.authorize("alice").await,
        json!({ "tool_name": TOOL, "status": "authorized" })
    );
    World::failed(world.execute("bob").await, 403, "AUTHORIZATION_REQUIRED");
    assert!(world.shown().is_empty());
}

#[tokio::test]
async fn a_state_is_random_one_use_its_principals_own_and_expires() {
    let world = World::new().await;
    let (first, second) = (
        world.authorize("alice").await,
        world.authorize("alice").await,
    );
    for begun in [&first, &second] {
        let state = URL_SAFE_NO_PAD
            .decode(begun["state"].as_str().unwrap())
            .unwrap();
        assert_eq!(state.len(), 32);
        let expires: jiff::Timestamp = begun["expires_at"].as_str().unwrap().parse().unwrap();
        let left = expires.as_second() - jiff::Timestamp::now().as_second();
        assert!((590..=600).contains(&left), "{left}");
    }
    assert_ne!(first["state"], second["state"]);
    let link = first["authorization_url"].as_str().unwrap();
    let (state, code) = world.provider.consent(link);
    let unknown = URL_SAFE_NO_PAD.encode([7; 32]);
    World::failed(
        world.callback("alice", &unknown, &code).await,
        400,
        "INVALID_REQUEST",
    );
    World::failed(
        world.callback("alice", "", &code).await,
        400,
        "INVALID_REQUEST",
    );
    // Others cannot finish it, and cannot spoil it.
    for other in ["bob", "mallory"] {
        World::failed(
            world.callback(other, &state, &code).await,
            400,
            "INVALID_REQUEST",
        );
    }
    // Of several who come at once one is let in.
    let calls = (0..6).map(|_| world.callback("alice", &state, &code));
    let statuses = futures_util::future::join_all(calls).await;
    let mut statuses: Vec<u16> = statuses.into_iter().map(|(status, _)| status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [200, 400, 400, 400, 400, 400]);
    World::failed(
        world.callback("alice", &state, &code).await,
        400,
        "INVALID_REQUEST",
    );
    // Ten minutes later.
    let link = second["authorization_url"].as_str().unwrap();
    let (state, code) = world.provider.consent(link);
    let store = world.store().await;
    for (name, kept) in store.all::<Value>(Kind::Authorization).await.unwrap() {
        let past = fact_engine::store::now() - 1;
        store
            .put(Kind::Authorization, &name, &kept, Some(past))
            .await
            .unwrap();
    }
    World::failed(
        world.callback("alice", &state, &code).await,
        400,
        "INVALID_REQUEST",
    );
}

#[tokio::test]
async fn who_may_not_or_need_not_is_told_so() {
    let world = World::new().await;
    let authorize = |client: &'static str, tool: &str, body: Value| {
        let at = format!("auth/tools/{tool}/authorize");
        let world = &world;
        async move { world.post(client, &at, &body).await }
    };
    let empty = json!({});
    World::failed(
        authorize("alice", "No.Such", empty.clone()).await,
        404,
        "TOOL_NOT_FOUND",
    );
    World::failed(
        authorize("mallory", TOOL, empty.clone()).await,
        404,
        "TOOL_NOT_FOUND",
    );
    World::failed(
        authorize("narrow", TOOL, empty.clone()).await,
        403,
        "SECURITY_VIOLATION",
    );
    World::failed(
        authorize("asker", TOOL, empty.clone()).await,
        403,
        "FORBIDDEN",
    );
    World::failed(
        authorize("alice", "SQL.GetSchema", empty).await,
        400,
        "INVALID_REQUEST",
    );
    World::failed(
        authorize("alice", TOOL, json!({ "user": "bob" })).await,
        400,
        "INVALID_REQUEST",
    );
    World::failed(
        authorize("alice", TOOL, json!({ "user_id": "bob" })).await,
        403,
        "FORBIDDEN",
    );
    World::failed(world.callback("asker", "x", "y").await, 403, "FORBIDDEN");
    for body in [
        json!({ "state": "x" }),
        json!({ "code": "x" }),
        json!({ "state": "x", "code": 5 }),
        json!({ "state": "x", "code": "y", "iss": "z" }),
        json!({ "state": "x", "code": "" }),
        json!([]),
    ] {
        let answer = world.post("alice", "auth/tools/callback", &body).await;
        World::failed(answer, 400, "INVALID_REQUEST");
    }
}

#[tokio::test]
async fn a_provider_that_refuses_or_is_down_gives_no_consent() {
    let world = World::new().await;
    let begin = || async {
        let begun = world.authorize("alice").await;
        let link = begun["authorization_url"].as_str().unwrap().to_owned();
        world.provider.consent(&link)
    };
    let (state, _) = begin().await;
    World::failed(
        world.callback("alice", &state, "wrong").await,
        400,
        "INVALID_REQUEST",
    );
    // A code of one authorization does not go with the verifier of another.
    let ((_, code), (state, _)) = (begin().await, begin().await);
    World::failed(
        world.callback("alice", &state, &code).await,
        400,
        "INVALID_REQUEST",
    );
    let (state, code) = begin().await;
    world.provider.book().down = true;
    World::failed(
        world.callback("alice", &state, &code).await,
        503,
        "EXTERNAL_SERVICE_ERROR",
    );
    world.provider.book().down = false;
    World::failed(world.execute("alice").await, 403, "AUTHORIZATION_REQUIRED");
    assert!(world.shown().is_empty());
    world.consent("alice").await;
    let events = world.audited(&format!("auth/tools/{TOOL}")).await;
    let outcomes: Vec<&str> = events
        .iter()
        .map(|event| event["outcome"].as_str().unwrap())
        .collect();
    assert_eq!(
        outcomes,
        [
            "success", "success", "failure", "success", "failure", "success", "success", "failure",
            "success"
        ]
    );
    let text = json!(events).to_string();
    for secret in [state.as_str(), code.as_str(), "-secret-", "code_challenge"] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires_and_once_for_all_who_wait() {
    let world = World::new().await;
    world.provider.book().expires_in = 30;
    world.consent("alice").await;
    world.provider.book().expires_in = 3_600;
    let calls = futures_util::future::join_all((0..8).map(|_| world.execute("alice"))).await;
    assert!(calls.iter().all(|(status, _)| *status == 200), "{calls:?}");
    assert!(
        world
            .shown()
            .iter()
            .all(|token| token == "Bearer at-secret-2")
    );
    assert_eq!(world.provider.book().refreshed, 1);
    assert_eq!(world.execute("alice").await.0, 200);
    assert_eq!(world.provider.book().refreshed, 1);
}

#[tokio::test]
async fn a_provider_that_is_down_is_waited_for_and_one_that_refuses_ends_the_consent() {
    let world = World::new().await;
    world.provider.book().expires_in = 30;
    world.consent("alice").await;
    world.provider.book().down = true;
    // It is good for half a minute.
    assert_eq!(world.execute("alice").await.0, 200);
    assert_eq!(world.shown(), ["Bearer at-secret-1"]);
    world.provider.book().down = false;
    world.provider.book().expires_in = 0;
    assert_eq!(world.execute("alice").await.0, 200);
    assert_eq!(world.shown(), ["Bearer at-secret-2"]);
    world.provider.book().down = true;
    World::failed(world.execute("alice").await, 503, "EXTERNAL_SERVICE_ERROR");
    assert!(world.shown().is_empty());
    world.provider.book().down = false;
    assert_eq!(world.execute("alice").await.0, 200);
    world.provider.book().refusing = true;
    world.shown();
    let missing = World::failed(world.execute("alice").await, 403, "AUTHORIZATION_REQUIRED");
    assert!(missing["error"]["details"]["authorization_url"].is_string());
    assert!(world.shown().is_empty());
    let kept = world
        .store()
        .await
        .all::<Value>(Kind::Consent)
        .await
        .unwrap();
    assert!(kept.is_empty());
    world.provider.book().refusing = false;
    world.provider.book().expires_in = 3_600;
    world.consent("alice").await;
    assert_eq!(world.execute("alice").await.0, 200);
}

#[tokio::test]
async fn what_the_service_takes_no_more_is_consented_to_anew() {
    let world = World::new().await;
    world.consent("alice").await;
    world
        .provider
        .book()
        .revoked
        .push("Bearer at-secret-1".into());
    World::failed(world.execute("alice").await, 403, "AUTHORIZATION_REQUIRED");
    world.consent("alice").await;
    assert_eq!(world.execute("alice").await.0, 200);
    assert_eq!(world.shown(), ["Bearer at-secret-1", "Bearer at-secret-2"]);
}

#[tokio::test]
async fn consents_and_what_was_begun_outlive_a_restart_and_lie_encrypted() {
    let mut world = World::new().await;
    world.consent("alice").await;
    let begun = world.authorize("bob").await;
    let link = begun["authorization_url"].as_str().unwrap();
    let (state, code) = world.provider.consent(link);
    world.restart().await;
    assert_eq!(world.callback("bob", &state, &code).await.0, 200);
    for client in ["alice", "bob"] {
        assert_eq!(world.execute(client).await.0, 200);
    }
    assert_eq!(world.shown(), ["Bearer at-secret-1", "Bearer at-secret-2"]);
    let mut files = 0;
    for entry in std::fs::read_dir(world.folder.path().join("state")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            let bytes = std::fs::read(&path).unwrap();
            let text = String::from_utf8_lossy(&bytes);
            for secret in ["-secret-", state.as_str(), "code-0"] {
                assert!(!text.contains(secret), "{secret} in {}", path.display());
            }
            files += 1;
        }
    }
    assert!(files >= 3, "{files}");
}

#[tokio::test]
async fn the_key_is_the_operators_or_the_states_and_no_file_for_tools() {
    let mut world = World::new().await;
    world.consent("alice").await;
    let read = async |world: &World, name: &str| {
        let asked = json!({ "arguments": { "path": name } });
        let at = "tools/FileSystem.ReadFile/execute";
        let (status, body) = world.post("alice", at, &asked).await;
        assert_eq!(status, 403, "{body}");
        body["error"]["details"]["rule"]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(read(&world, "state/encryption.key").await, "path.secret");
    let own = world.folder.path().join("state/encryption.key");
    let file = world.folder.path().join("sealing.txt");
    std::fs::rename(&own, &file).unwrap();
    world.more = Some(("FACT_ENCRYPTION_KEY_FILE", file.display().to_string()));
    world.restart().await;
    assert_eq!(world.execute("alice").await.0, 200);
    assert!(!own.exists());
    assert_eq!(read(&world, "sealing.txt").await, "path.engine-file");
    let key = std::fs::read_to_string(&file).unwrap();
    world.more = Some(("FACT_ENCRYPTION_KEY", key));
    world.restart().await;
    assert_eq!(world.execute("alice").await.0, 200);
    // With another key nothing is there.
    world.more = Some(("FACT_ENCRYPTION_KEY", STANDARD.encode([9; 32])));
    world.restart().await;
    World::failed(world.execute("alice").await, 404, "TOOL_NOT_FOUND");
}

#[tokio::test]
async fn a_tool_that_is_another_one_does_not_get_the_token() {
    let world = World::new().await;
    world.consent("alice").await;
    // The same provider and receiver: the consent holds.
    let mut newer = world.definition("2");
    newer["description"] = "Lists all mails".into();
    world.register(&newer).await;
    assert_eq!(world.execute("alice").await.0, 200);
    world.shown();
    let begun = world.authorize("bob").await;
    let (state, code) = world
        .provider
        .consent(begun["authorization_url"].as_str().unwrap());
    let mut other = world.definition("3");
    other["http"]["oauth"]["scopes"] = json!(["mail.read", "mail.send"]);
    world.register(&other).await;
    World::failed(world.execute("alice").await, 403, "AUTHORIZATION_REQUIRED");
    World::failed(
        world.callback("bob", &state, &code).await,
        400,
        "INVALID_REQUEST",
    );
    // One that was removed has no consents when it comes again.
    world.register(&world.definition("4")).await;
    assert_eq!(world.execute("alice").await.0, 200);
    let at = format!("tools/{TOOL}");
    let (status, _) = world
        .send(reqwest::Method::DELETE, "admin", &at, &json!({}))
        .await;
    assert_eq!(status, 200);
    world.shown();
    world.register(&world.definition("1")).await;
    World::failed(world.execute("alice").await, 403, "AUTHORIZATION_REQUIRED");
    assert!(world.shown().is_empty());
}

#[tokio::test]
async fn only_safe_providers_are_registered() {
    let world = World::new().await;
    for (field, url) in [
        ("token_url", "http://id.example/token"),
        ("token_url", "https://169.254.169.254/token"),
        ("token_url", "https://10.0.0.1/token"),
        ("token_url", "http://127.0.0.1:1/token"),
        ("token_url", "file:///etc/passwd"),
        ("authorization_url", "http://id.example/authorize"),
        ("authorization_url", "javascript:alert(1)"),
    ] {
        let mut definition = world.definition("1");
        definition["name"] = "Mail.Other".into();
        definition["http"]["oauth"][field] = url.into();
        let (status, body) = world.post("admin", "tools", &definition).await;
        assert_eq!(status, 403, "{url}: {body}");
    }
    let mut definition = world.definition("1");
    definition["name"] = "Mail.Other".into();
    definition["http"]["oauth"]["scopes"] = json!(["a b"]);
    let (status, body) = world.post("admin", "tools", &definition).await;
    assert_eq!(
        (status, &body["error"]["details"]["violations"][0]["path"]),
        (400, &json!("/http/oauth/scopes"))
    );
}

#[tokio::test]
async fn claude_is_offered_the_tool_for_whoever_consented_and_answers_are_theirs() {
    let world = World::new().await;
    let ask = |client: &'static str, body: Value| {
        let world = &world;
        async move {
            let (status, body) = world.post(client, "query", &body).await;
            assert_eq!(status, 200, "{body}");
            body["metadata"]["cache_status"]
                .as_str()
                .unwrap()
                .to_owned()
        }
    };
    let offered = || async {
        let asked = world.claude.received_requests().await.unwrap();
        let last = String::from_utf8(asked.last().unwrap().body.clone()).unwrap();
        assert!(!last.contains("-secret-"));
        last.contains("Mail_List")
    };
    let question = json!({ "query": "What is new?" });
    // Nobody's tool is personal yet: what one asked, the other is given.
    assert_eq!(ask("alice", question.clone()).await, "miss");
    assert!(!offered().await);
    assert_eq!(ask("bob", question.clone()).await, "hit");
    world.consent("alice").await;
    assert_eq!(ask("alice", question.clone()).await, "miss");
    assert!(offered().await);
    assert_eq!(ask("bob", question.clone()).await, "hit");
    world.consent("bob").await;
    assert_eq!(ask("bob", question.clone()).await, "miss");
    assert_eq!(ask("alice", question.clone()).await, "hit");
    // A client that acts for others asks for each of them.
    let at = format!("auth/tools/{TOOL}/authorize");
    let (_, begun) = world
        .post("agent", &at, &json!({ "user_id": "carol" }))
        .await;
    let (state, code) = world
        .provider
        .consent(begun["authorization_url"].as_str().unwrap());
    assert_eq!(world.callback("agent", &state, &code).await.0, 200);
    let for_whom = |person: &str| json!({ "query": "And now?", "user_id": person });
    assert_eq!(ask("agent", for_whom("carol")).await, "miss");
    assert!(offered().await);
    assert_eq!(ask("agent", for_whom("dave")).await, "miss");
    assert!(!offered().await);
}
