//! An engine with a tool that acts for persons, the provider that they consent at, and the service behind the tool.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fact_engine::config::Config;
use fact_engine::store::Store;
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

pub(crate) const TOOL: &str = "Mail.List";
const REDIRECT: &str = "https://app.example/back";

/// What the provider remembers.
#[derive(Default)]
pub(crate) struct Book {
    /// Codes that were not traded yet, with challenge and redirection.
    codes: HashMap<String, (String, String)>,
    issued: u32,
    pub(crate) refreshed: u32,
    /// Refresh tokens that are good.
    good: Vec<String>,
    pub(crate) expires_in: i64,
    pub(crate) down: bool,
    pub(crate) refusing: bool,
    /// What the API was shown.
    seen: Vec<String>,
    /// What the API does not take any more.
    pub(crate) revoked: Vec<String>,
}

#[derive(Clone, Default)]
pub(crate) struct Provider(Arc<Mutex<Book>>);

fn fields(bytes: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(bytes).into_owned().collect()
}

fn refused(error: &str) -> ResponseTemplate {
    ResponseTemplate::new(400).set_body_json(json!({ "error": error }))
}

impl Provider {
    pub(crate) fn book(&self) -> std::sync::MutexGuard<'_, Book> {
        self.0.lock().expect("a book")
    }

    /// The person follows the link and consents; what they come back with.
    pub(crate) fn consent(&self, link: &str) -> (String, String) {
        let link = url::Url::parse(link).expect("a link");
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
        let token = token
            .map_or("", |token| token.to_str().expect("a text"))
            .to_owned();
        let mut book = self.0.book();
        book.seen.push(token.clone());
        if book.revoked.contains(&token) {
            return ResponseTemplate::new(401);
        }
        ResponseTemplate::new(200).set_body_json(json!({ "mails": 3 }))
    }
}

pub(crate) struct World {
    pub(crate) folder: tempfile::TempDir,
    server: MockServer,
    pub(crate) claude: MockServer,
    pub(crate) provider: Provider,
    http: reqwest::Client,
    /// Beside the variables that every start has.
    pub(crate) more: Option<(&'static str, String)>,
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
    let listener = std::net::TcpListener::bind(address).expect("an address");
    listener.local_addr().expect("an address").to_string()
}

fn write_inputs(folder: &Path) {
    rusqlite::Connection::open(folder.join("world.db"))
        .expect("a database")
        .execute_batch("CREATE TABLE t (a int)")
        .expect("a table");
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
    std::fs::write(folder.join("clients.json"), file.to_string()).expect("a text");
}

impl World {
    pub(crate) async fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
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
            http: reqwest::Client::builder()
                .no_proxy()
                .build()
                .expect("a client"),
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
        let config =
            Config::from_environment(|name| variables.get(name).cloned()).expect("a configuration");
        let (stop, stopped) = oneshot::channel::<()>();
        let serving = tokio::spawn(async move {
            let stopped = async move { drop(stopped.await) };
            fact_engine::serve(config, stopped)
                .await
                .expect("an engine");
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

    pub(crate) async fn restart(&mut self) {
        let Running { stop, serving, .. } = self.engine.take().expect("an engine");
        drop(stop);
        serving.await.expect("an engine");
        self.start().await;
    }

    pub(crate) fn definition(&self, version: &str) -> Value {
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

    pub(crate) async fn register(&self, definition: &Value) {
        let (status, body) = self.post("admin", "tools", definition).await;
        assert_eq!(status, 201, "{body}");
    }

    async fn token(&self, client: &str) -> String {
        let base = &self.engine.as_ref().expect("an engine").base;
        let asked = json!({ "grant_type": "client_credentials", "client_id": client, "client_secret": "s" });
        let request = self.http.post(format!("{base}/api/v1/auth/token"));
        let answer = request.json(&asked).send().await.expect("an answer");
        let answer: Value = answer.json().await.expect("an answer");
        answer["access_token"].as_str().expect("a token").to_owned()
    }

    pub(crate) async fn post(&self, client: &str, at: &str, body: &Value) -> (u16, Value) {
        self.send(reqwest::Method::POST, client, at, body).await
    }

    pub(crate) async fn send(
        &self,
        method: reqwest::Method,
        client: &str,
        at: &str,
        body: &Value,
    ) -> (u16, Value) {
        let base = &self.engine.as_ref().expect("an engine").base;
        let request = self.http.request(method, format!("{base}/api/v1/{at}"));
        let request = request.bearer_auth(self.token(client).await);
        let answer = request.json(body).send().await.expect("an answer");
        (
            answer.status().as_u16(),
            answer.json().await.expect("an answer"),
        )
    }

    pub(crate) async fn authorize(&self, client: &str) -> Value {
        let at = format!("auth/tools/{TOOL}/authorize");
        let (status, body) = self.post(client, &at, &json!({})).await;
        assert_eq!(status, 200, "{body}");
        body
    }

    pub(crate) async fn callback(&self, client: &str, state: &str, code: &str) -> (u16, Value) {
        let body = json!({ "state": state, "code": code });
        self.post(client, "auth/tools/callback", &body).await
    }

    /// All of it.
    pub(crate) async fn consent(&self, client: &str) {
        let begun = self.authorize(client).await;
        assert_eq!(begun["status"], "pending", "{begun}");
        let link = begun["authorization_url"].as_str().expect("a link");
        let (state, code) = self.provider.consent(link);
        let (status, body) = self.callback(client, &state, &code).await;
        assert_eq!(status, 200, "{body}");
        assert_eq!(body, json!({ "status": "authorized", "tool_name": TOOL }));
    }

    pub(crate) async fn execute(&self, client: &str) -> (u16, Value) {
        let at = format!("tools/{TOOL}/execute");
        self.post(client, &at, &json!({ "arguments": {} })).await
    }

    /// What the API was shown, since the last time.
    pub(crate) fn shown(&self) -> Vec<String> {
        std::mem::take(&mut self.provider.book().seen)
    }

    pub(crate) async fn store(&self) -> Store {
        Store::in_folder(&self.folder.path().join("state"))
            .await
            .expect("a value")
    }

    pub(crate) async fn audited(&self, resource: &str) -> Vec<Value> {
        let at = format!("audit?resource={resource}&type=admin");
        let (_, page) = self
            .send(reqwest::Method::GET, "admin", &at, &json!({}))
            .await;
        page["events"].as_array().expect("events").clone()
    }

    /// What claims to have been refused: with this code, and saying nothing of secrets.
    pub(crate) fn failed((status, body): (u16, Value), expected: u16, code: &str) -> Value {
        assert_eq!(
            (status, &body["error"]["code"]),
            (expected, &json!(code)),
            "{body}"
        );
        assert!(!body.to_string().contains("-secret-"), "{body}");
        body
    }
}
