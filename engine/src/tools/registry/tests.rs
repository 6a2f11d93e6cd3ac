//! What may be registered, what comes of it, and what is left of it after a restart.

use super::super::web::WebConfig;
use super::*;
use crate::consent::EncryptionKey;
use fact_guard::url::Pair;
use serde_json::json;

const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

struct World {
    folder: tempfile::TempDir,
    registry: Registry,
    web: Web,
    others: Vec<Arc<Tool>>,
}

async fn registry(folder: &tempfile::TempDir) -> Registry {
    let store = Store::in_folder(folder.path()).await.unwrap();
    let timeout = Duration::from_secs(10);
    let vault = Vault::new(&EncryptionKey::read(KEY).unwrap()).unwrap();
    Registry::load(store, vault, timeout).await.unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let config = WebConfig {
            listed: vec![Pair::read("127.0.0.1:8080").unwrap()],
            resolver: None,
        };
        let arcade = ToolDefinition {
            name: "Math.Add".into(),
            description: "Adds".into(),
            input_schema: json!({ "type": "object", "properties": { "a": { "type": "number" } } }),
            output_schema: None,
            version: "1.0.0".into(),
            versions: Vec::new(),
            kind: ToolKind::Arcade,
            requirements_met: true,
            limits: super::super::arcade::limits(Duration::from_secs(10)),
            usage: None,
            http: None,
        };
        let call = ArcadeCall {
            name: "Math.Add".into(),
            repeatable: true,
            acts_for_a_person: false,
            consent_is_enough: false,
        };
        let arcade = Arc::new(Tool::new(arcade, Backing::Arcade(call)).unwrap());
        let own = super::super::built_in::all(Duration::from_secs(10), true);
        Self {
            registry: registry(&folder).await,
            folder,
            web: Web::new(&config).unwrap(),
            others: own.into_values().chain([arcade]).collect(),
        }
    }

    async fn register(&self, tenant: &str, asked: Value) -> Result<Arc<Tool>, RegisterError> {
        let beside = Beside {
            others: &self.others,
            web: &self.web,
        };
        let request = serde_json::from_value(asked).unwrap();
        let who = (tenant, "admin");
        self.registry.register(request, who, beside).await
    }
}

fn http(name: &str) -> Value {
    json!({
        "name": name, "description": "The weather", "kind": "http",
        "input_schema": { "type": "object", "properties": { "city": { "type": "string" } }, "required": ["city"] },
        "http": { "url": "http://127.0.0.1:8080/weather", "headers": { "x-api-key": "hunter2" } },
    })
}

fn with(mut asked: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    asked.pointer_mut(parent).unwrap()[field] = value;
    asked
}

fn violations(registered: Result<Arc<Tool>, RegisterError>) -> Vec<String> {
    match registered {
        Err(RegisterError::Invalid(violations)) => {
            violations.into_iter().map(|found| found.path).collect()
        }
        other => panic!("not invalid: {other:?}"),
    }
}

#[tokio::test]
async fn a_tool_is_its_tenants_and_outlives_a_restart_with_its_versions() {
    let world = World::new().await;
    let before = world.registry.edition();
    world.register("acme", http("Weather.Today")).await.unwrap();
    let newer = with(http("Weather.Today"), "/version", "2".into());
    let newer = with(newer, "/description", "Newer".into());
    world.register("acme", newer).await.unwrap();
    assert_eq!(world.registry.edition(), before + 2);
    assert!(world.registry.find("globex", "Weather.Today").is_none());
    world
        .register("globex", http("Weather.Today"))
        .await
        .unwrap();

    let later = registry(&world.folder).await;
    let tool = later.find("acme", "Weather.Today").unwrap();
    assert_eq!(tool.definition.description, "Newer");
    assert_eq!(tool.definition.versions, ["1", "2"]);
    assert!(later.remove("acme", "Weather.Today").await.unwrap());
    assert!(!later.remove("acme", "Weather.Today").await.unwrap());
    let last = registry(&world.folder).await;
    assert!(last.find("acme", "Weather.Today").is_none());
    assert!(last.find("globex", "Weather.Today").is_some());
}

#[tokio::test]
async fn a_version_stands_once() {
    let world = World::new().await;
    world.register("acme", http("Weather.Today")).await.unwrap();
    let newer = with(http("Weather.Today"), "/version", "2".into());
    world.register("acme", newer.clone()).await.unwrap();
    for again in [http("Weather.Today"), newer] {
        let refused = world.register("acme", again).await;
        assert!(matches!(refused, Err(RegisterError::Conflict(_))));
    }
}

#[tokio::test]
async fn a_name_that_is_taken_or_that_the_model_could_mistake_is_refused() {
    let world = World::new().await;
    world
        .register("acme", http("Weather.To_day"))
        .await
        .unwrap();
    for name in [
        "SQL.QueryReadonly",
        "SQL.Another",
        "sql.Another",
        "Math.Add",
        "Weather_To.day",
    ] {
        let refused = world.register("acme", http(name)).await;
        assert!(matches!(refused, Err(RegisterError::Conflict(_))), "{name}");
    }
    // Another tenant's names are nobody's business.
    assert!(
        world
            .register("globex", http("Weather_To.day"))
            .await
            .is_ok()
    );
}

#[tokio::test]
async fn every_mistake_of_a_definition_is_named() {
    let world = World::new().await;
    let cases = [
        ("/name", json!("Weather"), "/name"),
        ("/name", json!("Weather.To.Day"), "/name"),
        ("/name", json!("Wetter.Heute!"), "/name"),
        ("/description", json!(" "), "/description"),
        ("/version", json!(""), "/version"),
        ("/input_schema", Value::Null, "/input_schema"),
        ("/input_schema/type", json!("array"), "/input_schema/type"),
        ("/input_schema/anyOf", json!([true]), "/input_schema/anyOf"),
        (
            "/input_schema/required",
            json!("city"),
            "/input_schema/required",
        ),
        (
            "/output_schema",
            json!({ "type": 1 }),
            "/output_schema/type",
        ),
        ("/http/method", json!("TRACE"), "/http/method"),
        ("/http/headers/host", json!("x"), "/http/headers/host"),
        (
            "/limits",
            json!({ "timeout_seconds": 0 }),
            "/limits/timeout_seconds",
        ),
        (
            "/limits",
            json!({ "max_concurrent": 0 }),
            "/limits/max_concurrent",
        ),
        (
            "/limits",
            json!({ "max_bytes": 1 << 21 }),
            "/limits/max_bytes",
        ),
        ("/http", Value::Null, "/http"),
        ("/arcade", json!({}), "/arcade"),
        ("/url", json!("http://127.0.0.1:8080/"), "/url"),
    ];
    for (pointer, value, path) in cases {
        let asked = with(http("Weather.Today"), pointer, value.clone());
        let found = violations(world.register("acme", asked).await);
        assert!(
            found.iter().any(|found| found == path),
            "{pointer} {value}: {found:?}"
        );
    }
    assert!(world.registry.of("acme").is_empty());
}

#[tokio::test]
async fn short_forms_are_written_out() {
    let world = World::new().await;
    let short = json!({
        "name": "Weather.Today", "description": "d", "parameters": { "type": "object" },
        "endpoint": "http://127.0.0.1:8080/weather", "method": "POST",
    });
    let tool = world.register("acme", short).await.unwrap();
    let Backing::Http(endpoint) = &tool.backing else {
        panic!("no HTTP tool")
    };
    assert_eq!(endpoint.shown()["method"], "POST");
    assert_eq!(endpoint.shown()["arguments_in"], "json");
    // An Arcade tool brings its schema along.
    let arcade = json!({ "name": "Math.Add", "description": "With a limit", "limits": { "rate_per_minute": 5 } });
    let tool = world.register("acme", arcade).await.unwrap();
    assert!(tool.definition.input_schema["properties"]["a"].is_object());
    let alias =
        json!({ "name": "Sums.Plus", "description": "d", "arcade": { "tool_name": "Math.Add" } });
    assert!(world.register("acme", alias).await.is_ok());
}

#[tokio::test]
async fn a_private_address_is_refused() {
    let world = World::new().await;
    for url in [
        "http://127.0.0.1:8081/",
        "http://169.254.169.254/latest",
        "ftp://example.com/",
    ] {
        let asked = with(http("Weather.Today"), "/http/url", url.into());
        let refused = world.register("acme", asked).await;
        assert!(matches!(refused, Err(RegisterError::Refused(_))), "{url}");
    }
}

#[tokio::test]
async fn secrets_lie_encrypted_and_what_earlier_engines_kept_is_encrypted_then() {
    let world = World::new().await;
    world.register("acme", http("Weather.Today")).await.unwrap();
    let Registry { store, vault, .. } = &world.registry;
    let key = key("acme", "Weather.Today");
    let kept = async || store.get::<Value>(Kind::Tool, &key).await.unwrap().unwrap();
    let sealed = kept().await;
    assert!(!sealed.to_string().contains("hunter2"));
    let plain: Value = vault.open(&place(&key), sealed.as_str().unwrap()).unwrap();
    assert!(plain.to_string().contains("hunter2"));
    store.put(Kind::Tool, &key, &plain, None).await.unwrap();
    let later = registry(&world.folder).await;
    assert!(later.find("acme", "Weather.Today").is_some());
    assert!(kept().await.is_string());
}
