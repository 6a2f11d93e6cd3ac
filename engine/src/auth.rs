//! Who asks: client credentials for a token, and a token for a principal.

mod keys;

use crate::config::{Client, TokenFormat};
use crate::store::{Kind, Store, StoreError, now, now_ms};
use crate::tools::outcome::Caller;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use keys::{Claims, Keys};
use secrecy::ExposeSecret as _;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use subtle::ConstantTimeEq as _;

/// Who a token speaks for.
#[derive(Debug, Clone)]
pub struct Principal {
    /// The client as configured.
    pub client: Arc<Client>,
    /// What the token may do: at most what the client may.
    pub scopes: Vec<String>,
    /// RFC 3339.
    pub expires_at: String,
}

impl Principal {
    /// Whether the token may do this.
    pub fn may(&self, scope: &str) -> bool {
        self.scopes.iter().any(|owned| owned == scope)
    }

    /// As the tools know it.
    pub fn caller(&self) -> Caller {
        Caller {
            client_id: self.client.id.clone(),
            tenant: self.client.tenant.clone(),
            tables: self.client.tables.clone(),
        }
    }

    /// Whether the client was granted this tool.
    pub fn may_use(&self, tool: &str) -> bool {
        let granted = |pattern: &String| {
            pattern == tool
                || pattern
                    .strip_suffix('*')
                    .is_some_and(|prefix| tool.starts_with(prefix))
        };
        self.client
            .tools
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(granted))
    }
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
pub enum Denied {
    /// Unknown client or wrong secret; which of them is not told.
    #[error("unknown client or wrong secret")]
    Credentials,
    /// A scope that the client does not own.
    #[error("the client does not own this scope")]
    Scope,
    /// It cannot be signed or kept.
    #[error("no token can be given at the moment")]
    Unavailable(#[source] Option<StoreError>),
}

/// What is kept of an opaque token, under its digest.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Opaque {
    client_id: String,
    tenant: String,
    scopes: Vec<String>,
    expires_ms: i64,
}

/// A token that was found good.
struct Known {
    principal: Arc<Principal>,
    /// It is good no longer.
    expires_ms: i64,
    /// It is looked up again after that.
    until: Instant,
}

/// How tokens are made.
#[derive(Debug, Clone, Copy)]
pub struct TokenConfig {
    /// JWT or opaque.
    pub format: TokenFormat,
    /// How long one is good.
    pub ttl: Duration,
    /// A key that signs is replaced after so long.
    pub key_lives: Duration,
    /// Whether other engines share the state, and may revoke what this one gave.
    pub shared: bool,
}

/// The clients, and the tokens that were given out. No token is kept, only digests are.
pub struct Auth {
    clients: HashMap<String, (Arc<Client>, [u8; 32])>,
    config: TokenConfig,
    keys: Keys,
    store: Store,
    known: Mutex<HashMap<[u8; 32], Known>>,
    revoked: Mutex<HashSet<String>>,
}

/// Tokens that are remembered as good.
const MOST_KNOWN: usize = 65_536;
/// How long a token is believed before another engine's revocation is looked for.
const BELIEVED_SHARED: Duration = Duration::from_secs(1);
const BELIEVED: Duration = Duration::from_hours(1);

impl std::fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Auth")
            .field("clients", &self.clients.len())
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl Auth {
    /// Knows these clients, and the tokens of this state.
    pub async fn open(
        clients: &[Client],
        config: TokenConfig,
        store: Store,
    ) -> Result<Self, StoreError> {
        let entry = |client: &Client| {
            (
                client.id.clone(),
                (
                    Arc::new(client.clone()),
                    digest(client.secret.expose_secret()),
                ),
            )
        };
        let keys = Keys::open(
            store.clone(),
            seconds(config.key_lives),
            seconds(config.ttl),
        )
        .await?;
        let revoked = store.all::<bool>(Kind::Revoked).await?;
        Ok(Self {
            clients: clients.iter().map(entry).collect(),
            config,
            keys,
            store,
            known: Mutex::default(),
            revoked: Mutex::new(revoked.into_iter().map(|(name, _)| name).collect()),
        })
    }

    /// Replaces the key that signs once it is old, and learns of those of other engines.
    pub async fn refresh_keys(&self) -> Result<(), StoreError> {
        self.keys.refresh().await
    }

    /// Trades credentials for a token.
    pub async fn grant(
        &self,
        client_id: &str,
        secret: &str,
        scope: Option<&str>,
    ) -> Result<(String, Arc<Principal>), Denied> {
        let offered = digest(secret);
        let known = self.clients.get(client_id);
        // An unknown client is compared too, so that it takes as long.
        let expected = known.map_or([0; 32], |(_, digest)| *digest);
        let equal = bool::from(offered.ct_eq(&expected));
        let Some((client, _)) = known.filter(|_| equal) else {
            return Err(Denied::Credentials);
        };
        let scopes: Vec<String> = match scope.map(str::trim).filter(|scope| !scope.is_empty()) {
            None => client.scopes.clone(),
            Some(wanted) => wanted.split_whitespace().map(ToOwned::to_owned).collect(),
        };
        if scopes.iter().any(|scope| !client.scopes.contains(scope)) {
            return Err(Denied::Scope);
        }
        let expires_ms = self.expiry();
        let token = match self.config.format {
            TokenFormat::Jwt => {
                let claims = Claims::new(client_id, &client.tenant, &scopes, now(), expires_ms);
                self.keys.sign(&claims).ok_or(Denied::Unavailable(None))?
            }
            TokenFormat::Opaque => {
                let token = URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
                let kept = Opaque {
                    client_id: client_id.to_owned(),
                    tenant: client.tenant.clone(),
                    scopes: scopes.clone(),
                    expires_ms,
                };
                let forgotten = Some(expires_ms / 1_000 + 1);
                self.store
                    .put(Kind::Token, &name_of(&token), &kept, forgotten)
                    .await
                    .map_err(|error| Denied::Unavailable(Some(error)))?;
                token
            }
        };
        let principal = Arc::new(Principal {
            client: client.clone(),
            scopes,
            expires_at: in_words(expires_ms),
        });
        self.remember(digest(&token), principal.clone(), expires_ms);
        Ok((token, principal))
    }

    /// Who a client's token would speak for today, where there is still such a client.
    pub fn principal_of(&self, client_id: &str, scopes: &[String]) -> Option<Arc<Principal>> {
        self.speaks_for(client_id, None, scopes, self.expiry())
    }

    fn expiry(&self) -> i64 {
        let ttl = i64::try_from(self.config.ttl.as_millis()).unwrap_or(i64::MAX / 4);
        now_ms().saturating_add(ttl)
    }

    /// The client may have been removed, or lost a scope, since the token was given.
    fn speaks_for(
        &self,
        client_id: &str,
        tenant: Option<&str>,
        scopes: &[String],
        expires_ms: i64,
    ) -> Option<Arc<Principal>> {
        let (client, _) = self.clients.get(client_id)?;
        if tenant.is_some_and(|tenant| tenant != client.tenant) {
            return None;
        }
        let scopes = scopes.iter().filter(|scope| client.scopes.contains(scope));
        Some(Arc::new(Principal {
            client: client.clone(),
            scopes: scopes.cloned().collect(),
            expires_at: in_words(expires_ms),
        }))
    }

    /// Who a token speaks for; nobody when it is unknown, expired or revoked.
    pub async fn principal(&self, token: &str) -> Result<Option<Arc<Principal>>, StoreError> {
        let digest = digest(token);
        if let Some(known) = self.known().get(&digest)
            && known.until > Instant::now()
        {
            let good = known.expires_ms > now_ms();
            return Ok(good.then(|| known.principal.clone()));
        }
        let found = match self.keys.verify(token) {
            Some(claims) => {
                let scopes: Vec<String> =
                    claims.scope.split_whitespace().map(str::to_owned).collect();
                self.speaks_for(&claims.sub, Some(&claims.tenant), &scopes, claims.exp_ms)
                    .map(|principal| (principal, claims.exp_ms))
            }
            None if self.config.format == TokenFormat::Opaque => {
                let kept: Option<Opaque> = self.store.get(Kind::Token, &name_of(token)).await?;
                let kept = kept.filter(|kept| kept.expires_ms > now_ms());
                kept.and_then(|kept| {
                    self.speaks_for(
                        &kept.client_id,
                        Some(&kept.tenant),
                        &kept.scopes,
                        kept.expires_ms,
                    )
                    .map(|principal| (principal, kept.expires_ms))
                })
            }
            None => None,
        };
        let Some((principal, expires_ms)) = found else {
            return Ok(None);
        };
        if self.is_revoked(token).await? {
            return Ok(None);
        }
        self.remember(digest, principal.clone(), expires_ms);
        Ok(Some(principal))
    }

    fn known(&self) -> std::sync::MutexGuard<'_, HashMap<[u8; 32], Known>> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn remember(&self, digest: [u8; 32], principal: Arc<Principal>, expires_ms: i64) {
        let believed = if self.config.shared {
            BELIEVED_SHARED
        } else {
            BELIEVED
        };
        let instant = Instant::now();
        let mut known = self.known();
        if known.len() >= MOST_KNOWN {
            let moment = now_ms();
            known.retain(|_, known| known.expires_ms > moment && known.until > instant);
            if known.len() >= MOST_KNOWN {
                known.clear();
            }
        }
        known.insert(
            digest,
            Known {
                principal,
                expires_ms,
                until: instant + believed,
            },
        );
    }

    async fn is_revoked(&self, token: &str) -> Result<bool, StoreError> {
        let name = name_of(token);
        let here = {
            let revoked = self.revoked.lock().unwrap_or_else(PoisonError::into_inner);
            revoked.contains(&name)
        };
        if here || !self.config.shared {
            return Ok(here);
        }
        let elsewhere: Option<bool> = self.store.get(Kind::Revoked, &name).await?;
        Ok(elsewhere.is_some())
    }

    /// The token is good no more, also after a restart.
    pub async fn revoke(&self, token: &str) -> Result<(), StoreError> {
        let name = name_of(token);
        let forgotten = Some(self.expiry() / 1_000 + 1);
        self.store
            .put(Kind::Revoked, &name, &true, forgotten)
            .await?;
        self.store.remove(Kind::Token, &name).await?;
        self.revoked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name);
        self.known().remove(&digest(token));
        Ok(())
    }

    /// How long a token is good.
    pub fn ttl(&self) -> Duration {
        self.config.ttl
    }
}

fn seconds(duration: Duration) -> i64 {
    i64::try_from(duration.as_secs()).unwrap_or(i64::MAX / 4)
}

fn in_words(ms: i64) -> String {
    jiff::Timestamp::from_millisecond(ms)
        .map(|at| at.to_string())
        .unwrap_or_default()
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}

/// Under which a token is kept.
fn name_of(token: &str) -> String {
    URL_SAFE_NO_PAD.encode(digest(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn client(scopes: &[&str]) -> Client {
        Client {
            id: "alice".into(),
            secret: "s3cret".into(),
            tenant: "acme".into(),
            scopes: scopes.iter().map(ToString::to_string).collect(),
            act_as: false,
            rate_per_minute: None,
            tables: None,
            tools: None,
        }
    }

    async fn auth(folder: &std::path::Path, format: TokenFormat, clients: &[Client]) -> Auth {
        let config = TokenConfig {
            format,
            ttl: Duration::from_mins(1),
            key_lives: Duration::from_hours(24),
            shared: false,
        };
        let store = Store::in_folder(folder).await.unwrap();
        Auth::open(clients, config, store).await.unwrap()
    }

    #[tokio::test]
    async fn tokens_and_their_revocation_outlive_a_restart_in_either_form() {
        for format in [TokenFormat::Jwt, TokenFormat::Opaque] {
            let folder = tempfile::tempdir().unwrap();
            let clients = [client(&["query", "tools"])];
            let first = auth(folder.path(), format, &clients).await;
            let (kept, _) = first.grant("alice", "s3cret", None).await.unwrap();
            let (revoked, _) = first.grant("alice", "s3cret", None).await.unwrap();
            first.revoke(&revoked).await.unwrap();
            assert!(first.principal(&revoked).await.unwrap().is_none());
            let second = auth(folder.path(), format, &clients).await;
            assert!(second.principal(&revoked).await.unwrap().is_none());
            let principal = second.principal(&kept).await.unwrap().unwrap();
            assert_eq!(principal.scopes, ["query", "tools"]);
            // What the client has lost, its older tokens have lost too.
            let third = auth(folder.path(), format, &[client(&["query"])]).await;
            let principal = third.principal(&kept).await.unwrap().unwrap();
            assert!(principal.may("query") && !principal.may("tools"));
            let nobody = auth(folder.path(), format, &[]).await;
            assert!(nobody.principal(&kept).await.unwrap().is_none());
        }
    }

    #[tokio::test]
    async fn neither_a_wrong_secret_nor_a_scope_of_others_gives_a_token() {
        let folder = tempfile::tempdir().unwrap();
        let auth = auth(folder.path(), TokenFormat::Jwt, &[client(&["query"])]).await;
        for (id, secret) in [("alice", "wrong"), ("alice", ""), ("nobody", "s3cret")] {
            let denied = auth.grant(id, secret, None).await.unwrap_err();
            assert!(matches!(denied, Denied::Credentials));
        }
        let denied = auth.grant("alice", "s3cret", Some("query admin")).await;
        assert!(matches!(denied, Err(Denied::Scope)));
        let (_, principal) = auth.grant("alice", "s3cret", Some(" ")).await.unwrap();
        assert_eq!(principal.scopes, ["query"]);
    }
}
