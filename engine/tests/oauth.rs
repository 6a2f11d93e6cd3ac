//! A person's consent over HTTP, with a provider that checks what it is told: begun, finished once, used, renewed,
//! withdrawn, kept encrypted over a restart.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fact_engine::config::Config;
use fact_engine::store::{Kind, Store};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use wiremock::matchers::{method, path};
use wiremock::{Mock, MockServer, Request, Respond, ResponseTemplate};

const TOOL: &str = "Mail.List";
const REDIRECT: &str = "https://app.example/back";

/// What the provider remembers.
#[derive(Default)]
struct Book {
    /// Codes that were not traded yet, with challenge and redirection.
    codes: HashMap<String, (String, String)>,
    issued: u32,
    refreshed: u32,
    /// Refresh tokens that are good.
    good: Vec<String>,
    expires_in: i64,
    down: bool,
    refusing: bool,
    /// What the API was shown.
    seen: Vec<String>,
    /// What the API does not take any more.
    revoked: Vec<String>,
}

#[derive(Clone, Default)]
struct Provider(Arc<Mutex<Book>>);

fn fields(bytes: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

fn refused(error: &str) -> ResponseTemplate {
    ResponseTemplate::new(400).set_body_json(json!({ "error": error }))
}

impl Provider {
    fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().unwrap()
    }

    /// The person follows the link and consents; what they come back with.
    fn consent(&self, link: &str) -> (String, String) {
        let link = url::Url::parse(link).unwrap();
        let asked: BTreeMap<String, String> = link.query_pairs().into_owned().collect();
        assert_eq!(asked["response_type"], "code");
        assert_eq!(asked["client_id"], "fact");
        assert_eq!(asked["scope"], "mail.read");
        assert_eq!(asked["code_challenge_method"], "S256");
        let mut book = self.book();
        let code = format!("code-{}", book.codes.len());
        let traded = (
            asked["code_challenge"].clone(),
            asked["redirect_uri"].clone(),
        );
        book.codes.insert(code.clone(), traded);
        (asked["state"].clone(), code)
    }
}

impl Respond for Provider {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let mut book = self.book();
        if book.down {
            return ResponseTemplate::new(503);
        }
        let client = format!("Basic {}", STANDARD.encode("fact:client-secret-x"));
        if request.headers["authorization"] != client.as_str() {
            return ResponseTemplate::new(401).set_body_json(json!({ "error": "invalid_client" }));
        }
        let asked = fields(&request.body);
        if book.refusing {
            return refused("invalid_grant");
        }
        if asked["grant_type"] == "authorization_code" {
            let Some((challenge, redirect)) = book.codes.remove(&asked["code"]) else {
                return refused("invalid_grant");
            };
            let digest = URL_SAFE_NO_PAD.encode(Sha256::digest(&asked["code_verifier"]));
            if digest != challenge || asked["redirect_uri"] != redirect {
                return refused("invalid_grant");
            }
            assert!((43..=128).contains(&asked["code_verifier"].len()));
        } else {
            assert_eq!(asked["grant_type"], "refresh_token");
            let at = book
                .good
                .iter()
                .position(|good| *good == asked["refresh_token"]);
            let Some(at) = at else {
                return refused("invalid_grant");
            };
            // Each is good once.
            book.good.remove(at);
            book.refreshed += 1;
        }
        book.issued += 1;
        let (access, refresh) = (
            format!("at-secret-{}", book.issued),
            format!("rt-secret-{}", book.issued),
        );
        book.good.push(refresh.clone());
        let body = json!({
            "access_token": access, "refresh_token": refresh, "token_type": "Bearer", "expires_in": book.expires_in,
        });
        let response = ResponseTemplate::new(200).set_body_json(body);
        response.set_delay(Duration::from_millis(20))
    }
}

/// What the tool asks.
struct Api(Provider);

impl Respond for Api {
    fn respond(&self, request: &Request) -> ResponseTemplate {
        let token = request.headers.get("authorization");
        let token = token.map_or("", |token| token.to_str().unwrap()).to_owned();
        let mut book = self.0.book();
        book.seen.push(token.clone());
        if book.revoked.contains(&token) {
            return ResponseTemplate::new(401);
        }
        ResponseTemplate::new(200).set_body_json(json!({ "mails": 3 }))
    }
}

struct World {
    folder: tempfile::TempDir,
    server: MockServer,
    claude: MockServer,
    provider: Provider,
    http: reqwest::Client,
    /// Beside the variables that every start has.
    more: Option<(&'static str, String)>,
    engine: Option<Running>,
}

struct Running {
    base: String,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<()>,
}

/// A free port of an address that other tests hardly share.
fn free_address() -> String {
    let [a, b, c] = rand::random::<[u8; 3]>().map(|part| part.clamp(1, 254));
    let address = format!("127.{a}.{b}.{c}:0");
    let listener = std::net::TcpListener::bind(address).unwrap();
    listener.local_addr().unwrap().to_string()
}

fn write_inputs(folder: &Path) {
    rusqlite::Connection::open(folder.join("world.db"))
        .unwrap()
        .execute_batch("CREATE TABLE t (a int)")
        .unwrap();
    let client = |id: &str, tenant: &str, scopes: &[&str]| json!({ "id": id, "secret": "s", "tenant": tenant, "scopes": scopes });
    let mut narrow = client("narrow", "acme", &["tools"]);
    narrow["tools"] = json!(["SQL.*"]);
    let mut agent = client("agent", "acme", &["tools", "query"]);
    agent["act_as"] = true.into();
    let clients = [
        client("admin", "acme", &["tools", "admin", "query"]),
        client("alice", "acme", &["tools", "query"]),
        client("bob", "acme", &["tools", "query"]),
        client("mallory", "globex", &["tools"]),
        client("asker", "acme", &["query"]),
        narrow,
        agent,
    ];
    let file = json!({ "clients": clients });
    std::fs::write(folder.join("clients.json"), file.to_string()).unwrap();
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        write_inputs(folder.path());
        let (server, claude) = (MockServer::start().await, MockServer::start().await);
        let provider = Provider::default();
        provider.book().expires_in = 3_600;
        let token = Mock::given(method("POST")).and(path("/token"));
        token.respond_with(provider.clone()).mount(&server).await;
        let api = Mock::given(method("GET")).and(path("/mail"));
        api.respond_with(Api(provider.clone())).mount(&server).await;
        let said = json!({
            "content": [{ "type": "text", "text": "Fine." }], "stop_reason": "end_turn",
            "usage": { "input_tokens": 7, "output_tokens": 3 },
        });
        let answer = ResponseTemplate::new(200).set_body_json(said);
        Mock::given(method("POST"))
            .respond_with(answer)
            .mount(&claude)
            .await;
        let mut world = Self {
            folder,
            server,
            claude,
            provider,
            http: reqwest::Client::builder().no_proxy().build().unwrap(),
            more: None,
            engine: None,
        };
        world.start().await;
        world.register(&world.definition("1")).await;
        world
    }

    async fn start(&mut self) {
        let folder = self.folder.path();
        let listen = free_address();
        let shown = |name: &str| folder.join(name).display().to_string();
        let mut variables: HashMap<&str, String> = HashMap::from([
            ("FACT_LISTEN", listen.clone()),
            ("ANTHROPIC_BASE_URL", self.claude.uri()),
            ("ANTHROPIC_API_KEY", "sk-ant-test".to_owned()),
            ("DATABASE_URL", format!("sqlite:{}", shown("world.db"))),
            ("FACT_CLIENTS", shown("clients.json")),
            ("FACT_STATE_DIR", shown("state")),
            ("FACT_FILE_ROOTS", shown("")),
            ("FACT_WEB_ALLOW", self.server.address().to_string()),
            ("FACT_OAUTH_REDIRECT_URL", REDIRECT.to_owned()),
        ]);
        variables.extend(self.more.clone());
        let config = Config::from_environment(|name| variables.get(name).cloned()).unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            fact_engine::serve(config, stopped).await.unwrap();
        });
        let base = format!("http://{listen}");
        while self
            .http
            .get(format!("{base}/api/v1/ready"))
            .send()
            .await
            .is_err()
        {
            tokio::task::yield_now().await;
        }
        self.engine = Some(Running {
            base,
            stop,
            serving,
        });
    }

    async fn restart(&mut self) {
        let Running { stop, serving, .. } = self.engine.take().unwrap();
        drop(stop);
        serving.await.unwrap();
        self.start().await;
    }

    fn definition(&self, version: &str) -> Value {
        let uri = self.server.uri();
        json!({
            "name": TOOL, "description": "Lists mails", "kind": "http", "version": version,
            "input_schema": { "type": "object", "properties": {} },
            "http": {
                "url": format!("{uri}/mail"), "headers": { "x-api-key": "header-secret-x" },
                "oauth": {
                    "authorization_url": "https://id.example/authorize", "token_url": format!("{uri}/token"),
                    "client_id": "fact", "client_secret": "client-secret-x", "scopes": ["mail.read"],
                },
            },
        })
    }

    async fn register(&self, definition: &Value) {
        let (status, body) = self.post("admin", "tools", definition).await;
        assert_eq!(status, 201, "{body}");
    }

    async fn token(&self, client: &str) -> String {
        let base = &self.engine.as_ref().unwrap().base;
        let asked = json!({ "grant_type": "client_credentials", "client_id": client, "client_secret": "s" });
        let request = self.http.post(format!("{base}/api/v1/auth/token"));
        let answer = request.json(&asked).send().await.unwrap();
        let answer: Value = answer.json().await.unwrap();
        answer["access_token"].as_str().unwrap().to_owned()
    }

    async fn post(&self, client: &str, at: &str, body: &Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, client, at, body).await
    }

    async fn send(
        &self,
        method: reqwest::Method,
        client: &str,
        at: &str,
        body: &Value,
    ) -> (u16, Value) {
        let base = &self.engine.as_ref().unwrap().base;
        let request = self.http.request(method, format!("{base}/api/v1/{at}"));
        let request = request.bearer_auth(self.token(client).await);
        let answer = request.json(body).send().await.unwrap();
        (answer.status().as_u16(), answer.json().await.unwrap())
    }

    async fn authorize(&self, client: &str) -> Value {
        let at = format!("auth/tools/{TOOL}/authorize");
        let (status, body) = self.post(client, &at, &json!({})).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    async fn callback(&self, client: &str, state: &str, code: &str) -> (u16, Value) {
        let body = json!({ "state": state, "code": code });
        self.post(client, "auth/tools/callback", &body).await
    }

    /// All of it.
    async fn consent(&self, client: &str) {
        let begun = self.authorize(client).await;
        assert_eq!(begun["status"], "pending", "{begun}");
        let link = begun["authorization_url"].as_str().unwrap();
        let (state, code) = self.provider.consent(link);
        let (status, body) = self.callback(client, &state, &code).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body, json!({ "status": "authorized", "tool_name": TOOL }));
    }

    async fn execute(&self, client: &str) -> (u16, Value) {
        let at = format!("tools/{TOOL}/execute");
        self.post(client, &at, &json!({ "arguments": {} })).await
    }

    /// What the API was shown, since the last time.
    fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.provider.book().seen)
    }

    async fn store(&self) -> Store {
        Store::in_folder(&self.folder.path().join("state"))
            .await
            .unwrap()
    }

    async fn audited(&self, resource: &str) -> Vec<Value> {
        let at = format!("audit?resource={resource}&type=admin");
        let (_, page) = self
            .send(reqwest::Method::GET, "admin", &at, &json!({}))
            .await;
        page["events"].as_array().unwrap().clone()
    }

    /// What claims to have been refused: with this code, and saying nothing of secrets.
    fn failed((status, body): (u16, Value), expected: u16, code: &str) -> Value {
        assert_eq!(
            (status, &body["error"]["code"]),
            (expected, &json!(code)),
            "{body}"
        );
        assert!(!body.to_string().contains("-secret-"), "{body}");
        body
    }
}

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
