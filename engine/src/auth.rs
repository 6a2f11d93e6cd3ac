//! Who asks: client credentials for a token, and a token for a principal.

use crate::config::Client;
use crate::tools::outcome::Caller;
use base64::Engine as _;
use secrecy::ExposeSecret as _;
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Denied {
    /// Unknown client or wrong secret; which of them is not told.
    Credentials,
    /// A scope that the client does not own.
    Scope,
}

struct Grant {
    principal: Arc<Principal>,
    expires: Instant,
}

/// The clients, and the tokens that were given out. Tokens are kept as digests only.
pub struct Auth {
    clients: HashMap<String, (Arc<Client>, [u8; 32])>,
    ttl: Duration,
    grants: Mutex<HashMap<[u8; 32], Grant>>,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter
            .debug_struct("Auth")
            .field("clients", &self.clients.len())
            .finish_non_exhaustive()
    }
}

impl Auth {
    /// Knows these clients.
    pub fn new(clients: &[Client], ttl: Duration) -> Self {
        let entry = |client: &Client| {
            (
                client.id.clone(),
                (
                    Arc::new(client.clone()),
                    digest(client.secret.expose_secret()),
                ),
            )
        };
        Self {
            clients: clients.iter().map(entry).collect(),
            ttl,
            grants: Mutex::default(),
        }
    }

    /// Trades credentials for a token.
    pub fn grant(
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
        let token =
            base64::engine::general_purpose::URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>());
        let expires_at = jiff::Timestamp::now()
            .checked_add(self.ttl)
            .map(|at| at.to_string())
            .unwrap_or_default();
        let principal = Arc::new(Principal {
            client: client.clone(),
            scopes,
            expires_at,
        });
        let now = Instant::now();
        let mut grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        if grants.len() >= 1024 && grants.len().is_power_of_two() {
            grants.retain(|_, grant| grant.expires > now);
        }
        grants.insert(
            digest(&token),
            Grant {
                principal: principal.clone(),
                expires: now + self.ttl,
            },
        );
        Ok((token, principal))
    }

    /// Who a token speaks for; nobody when it is unknown, expired or revoked.
    pub fn principal(&self, token: &str) -> Option<Arc<Principal>> {
        let grants = self.grants.lock().unwrap_or_else(PoisonError::into_inner);
        grants
            .get(&digest(token))
            .filter(|grant| grant.expires > Instant::now())
            .map(|grant| grant.principal.clone())
    }

    /// The token is good no more.
    pub fn revoke(&self, token: &str) {
        self.grants
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .remove(&digest(token));
    }

    /// How long a token is good.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }
}

fn digest(text: &str) -> [u8; 32] {
    Sha256::digest(text.as_bytes()).into()
}
