//! The keys that sign tokens: made by the engine, kept in its state, replaced in time. A replaced key still verifies
//! until its last token has expired.

use crate::store::{Kind, Store, StoreError, now, now_ms};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use serde::{Deserialize, Serialize};
use std::sync::{Arc, PoisonError, RwLock};

/// Who says so, in every token.
const ISSUER: &str = "fact";
/// Replicas that share a state learn of each other's keys no later.
const TOLERANCE_SECONDS: u64 = 0;

/// What a token says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Claims {
    pub(super) iss: String,
    /// The client.
    pub(super) sub: String,
    pub(super) tenant: String,
    /// Separated by blanks.
    pub(super) scope: String,
    pub(super) iat: i64,
    pub(super) exp: i64,
    /// To the millisecond; `exp` is the first whole second from there on.
    pub(super) exp_ms: i64,
    /// No two tokens are the same.
    pub(super) jti: String,
}

impl Claims {
    pub(super) fn new(sub: &str, tenant: &str, scopes: &[String], iat: i64, exp_ms: i64) -> Self {
        Self {
            iss: ISSUER.to_owned(),
            sub: sub.to_owned(),
            tenant: tenant.to_owned(),
            scope: scopes.join(" "),
            iat,
            exp: exp_ms.div_euclid(1_000) + i64::from(exp_ms.rem_euclid(1_000) > 0),
            exp_ms,
            jti: format!("{:032x}", rand::random::<u128>()),
        }
    }
}

#[derive(Serialize, Deserialize)]
struct Kept {
    secret: String,
    created_ms: i64,
}

#[derive(Clone)]
struct Key {
    id: String,
    encoding: EncodingKey,
    decoding: DecodingKey,
    created_ms: i64,
}

/// All keys that are good.
pub(super) struct Keys {
    store: Store,
    /// The newest last.
    all: RwLock<Arc<Vec<Key>>>,
    replaced_after_seconds: i64,
    /// For how long a key verifies after it was replaced.
    token_seconds: i64,
}

impl std::fmt::Debug for Keys {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Keys").finish_non_exhaustive()
    }
}

impl Keys {
    /// The keys of this state; the first is made where there is none.
    pub(super) async fn open(
        store: Store,
        replaced_after_seconds: i64,
        token_seconds: i64,
    ) -> Result<Self, StoreError> {
        let keys = Self {
            store,
            all: RwLock::default(),
            replaced_after_seconds,
            token_seconds,
        };
        keys.refresh().await?;
        Ok(keys)
    }

    /// Reads what is kept, and makes a new key where the newest is too old.
    pub(super) async fn refresh(&self) -> Result<(), StoreError> {
        let mut keys = self.read().await?;
        let fresh_from = now_ms() - self.replaced_after_seconds.saturating_mul(1_000);
        if keys.last().is_none_or(|key| key.created_ms < fresh_from) {
            let kept = Kept {
                secret: URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>()),
                created_ms: now_ms(),
            };
            let id = format!("{:016x}", rand::random::<u64>());
            let lives = self.replaced_after_seconds.saturating_mul(2);
            let expires = now()
                .saturating_add(lives)
                .saturating_add(self.token_seconds);
            self.store
                .put(Kind::SigningKey, &id, &kept, Some(expires))
                .await?;
            keys = self.read().await?;
        }
        *self.all.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(keys);
        Ok(())
    }

    async fn read(&self) -> Result<Vec<Key>, StoreError> {
        let all = self.store.all::<Kept>(Kind::SigningKey).await?;
        let mut keys: Vec<Key> = all
            .into_iter()
            .filter_map(|(id, kept)| {
                let secret = URL_SAFE_NO_PAD.decode(&kept.secret).ok()?;
                Some(Key {
                    id,
                    encoding: EncodingKey::from_secret(&secret),
                    decoding: DecodingKey::from_secret(&secret),
                    created_ms: kept.created_ms,
                })
            })
            .collect();
        keys.sort_by(|a, b| (a.created_ms, &a.id).cmp(&(b.created_ms, &b.id)));
        Ok(keys)
    }

    fn current(&self) -> Arc<Vec<Key>> {
        self.all
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    /// A token that says so; nothing where it cannot be signed.
    pub(super) fn sign(&self, claims: &Claims) -> Option<String> {
        let keys = self.current();
        let key = keys.last()?;
        let header = Header {
            kid: Some(key.id.clone()),
            ..Header::new(Algorithm::HS256)
        };
        jsonwebtoken::encode(&header, claims, &key.encoding).ok()
    }

    /// What a token says, where one of the keys has signed it and it is still good.
    pub(super) fn verify(&self, token: &str) -> Option<Claims> {
        let header = jsonwebtoken::decode_header(token).ok()?;
        let keys = self.current();
        let key = keys
            .iter()
            .find(|key| Some(&key.id) == header.kid.as_ref())?;
        let mut validation = Validation::new(Algorithm::HS256);
        validation.set_issuer(&[ISSUER]);
        validation.set_required_spec_claims(&["exp", "iss", "sub"]);
        validation.leeway = TOLERANCE_SECONDS;
        let data = jsonwebtoken::decode::<Claims>(token, &key.decoding, &validation).ok()?;
        Some(data.claims).filter(|claims| claims.exp_ms > now_ms())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn keys(folder: &std::path::Path, replaced_after: i64) -> Keys {
        let store = Store::in_folder(folder).await.unwrap();
        Keys::open(store, replaced_after, 3_600).await.unwrap()
    }

    fn claims() -> Claims {
        Claims::new(
            "alice",
            "acme",
            &["query".into()],
            now(),
            (now() + 60) * 1_000,
        )
    }

    #[tokio::test]
    async fn a_replaced_key_still_verifies_and_signs_no_more() {
        let folder = tempfile::tempdir().unwrap();
        let old = keys(folder.path(), 3_600).await;
        let token = old.sign(&claims()).unwrap();
        // Every key is too old for this one.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        let new = keys(folder.path(), -1).await;
        assert_eq!(new.current().len(), 2);
        assert_eq!(new.verify(&token).unwrap().sub, "alice");
        let signed = new.sign(&claims()).unwrap();
        assert!(old.verify(&signed).is_none());
        old.refresh().await.unwrap();
        assert!(old.verify(&signed).is_some());
    }

    #[tokio::test]
    async fn what_is_altered_expired_or_signed_by_others_is_no_token() {
        let (one, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let keys_of_one = keys(one.path(), 3_600).await;
        let token = keys_of_one.sign(&claims()).unwrap();
        assert!(keys(other.path(), 3_600).await.verify(&token).is_none());
        assert!(keys_of_one.verify(&format!("{token}x")).is_none());
        let expired = Claims {
            exp: now() - 1,
            ..claims()
        };
        let expired = keys_of_one.sign(&expired).unwrap();
        assert!(keys_of_one.verify(&expired).is_none());
        // `none` is no algorithm.
        let parts: Vec<&str> = token.split('.').collect();
        let header = URL_SAFE_NO_PAD.encode(r#"{"alg":"none","typ":"JWT"}"#);
        assert!(
            keys_of_one
                .verify(&format!("{header}.{}.", parts[1]))
                .is_none()
        );
    }
}
