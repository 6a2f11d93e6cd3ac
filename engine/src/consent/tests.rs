//! Consents by themselves: their limits, and what other keys and engines make of them. The whole flow is tested over
//! HTTP.

use super::*;
use crate::tools::web::WebConfig;
use serde_json::json;

struct World {
    folder: tempfile::TempDir,
    consents: Consents,
    provider: Provider,
    whose: Whose,
}

async fn consents(folder: &tempfile::TempDir, byte: u8) -> Consents {
    let store = Store::in_folder(folder.path()).await.unwrap();
    let key = base64::engine::general_purpose::STANDARD.encode([byte; 32]);
    let vault = Vault::new(&EncryptionKey::read(&key).unwrap()).unwrap();
    let web = Web::new(&WebConfig::default()).unwrap();
    let redirect_uri = "https://app.example/back".to_owned();
    Consents::open(store, vault, web, redirect_uri)
        .await
        .unwrap()
}

impl World {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let asked = json!({ "authorization_url": "https://id.example/a", "token_url": "https://id.example/t", "client_id": "c" });
        let asked = serde_json::from_value(asked).unwrap();
        let world = Self {
            consents: consents(&folder, 1).await,
            folder,
            provider: Provider::read(&asked, "https://api.example/").unwrap(),
            whose: Whose::new("acme", "alice", "Mail.List"),
        };
        world.keep(Some(now() + 3_600)).await;
        world
    }

    async fn keep(&self, expires_at: Option<i64>) {
        let tokens = Tokens {
            access_token: "at-secret".into(),
            refresh_token: None,
            expires_at,
        };
        let consent = Consent {
            provider: self.provider.digest().to_owned(),
            tokens,
        };
        self.consents.0.keep(&self.whose, &consent).await.unwrap();
    }

    async fn token(&self, consents: &Consents) -> Result<HeaderValue, ToolError> {
        consents.token("alice", &self.whose, &self.provider).await
    }
}

#[tokio::test]
async fn authorizations_are_begun_only_so_often() {
    let world = World::new().await;
    let begin = || world.consents.begin("alice", &world.whose, &world.provider);
    for _ in 0..MOST_BEGUN_PER_MINUTE {
        begin().await.unwrap();
    }
    assert!(matches!(begin().await, Err(BeginError::Busy(_))));
    let bob = world.consents.begin("bob", &world.whose, &world.provider);
    assert!(bob.await.is_ok());
}

#[tokio::test]
async fn of_many_who_come_back_at_once_one_is_let_in() {
    let world = World::new().await;
    let begun = world.consents.begin("alice", &world.whose, &world.provider);
    let state = begun.await.unwrap().state;
    // As many engines would, none of which knows of the others.
    let mut engines = Vec::new();
    for _ in 0..8 {
        engines.push(consents(&world.folder, 1).await);
    }
    let returns = engines
        .iter()
        .map(|engine| engine.take(("acme", "alice"), &state));
    let taken = futures_util::future::join_all(returns).await;
    assert_eq!(taken.iter().filter(|taken| taken.is_ok()).count(), 1);
}

#[tokio::test]
async fn what_another_engine_keeps_is_found_and_what_another_key_sealed_is_not() {
    let world = World::new().await;
    let other = consents(&world.folder, 1).await;
    assert!(other.has(&world.whose, &world.provider));
    assert!(world.token(&other).await.is_ok());
    let stranger = consents(&world.folder, 2).await;
    assert!(!stranger.has(&world.whose, &world.provider));
    let missing = world.token(&stranger).await;
    assert!(matches!(
        missing,
        Err(ToolError::AuthorizationRequired { url: Some(_) })
    ));
}

#[tokio::test]
async fn a_consent_moved_to_another_person_is_none() {
    let world = World::new().await;
    let store = &world.consents.0.store;
    let sealed: Option<String> = store.get(Kind::Consent, &world.whose.name()).await.unwrap();
    let bob = Whose::new("acme", "bob", "Mail.List");
    store
        .put(Kind::Consent, &bob.name(), &sealed, None)
        .await
        .unwrap();
    let token = world.consents.token("bob", &bob, &world.provider).await;
    assert!(token.is_err());
}

#[tokio::test]
async fn a_token_that_cannot_be_renewed_is_used_to_its_end() {
    let world = World::new().await;
    world.keep(Some(now() + 30)).await;
    assert!(world.token(&world.consents).await.is_ok());
    world.keep(None).await;
    assert!(world.token(&world.consents).await.is_ok());
    world.keep(Some(now())).await;
    assert!(
        !world
            .consents
            .is_given(&world.whose, &world.provider)
            .await
            .unwrap()
    );
    assert!(world.token(&world.consents).await.is_err());
    assert!(!world.consents.has(&world.whose, &world.provider));
}
