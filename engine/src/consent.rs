//! What persons consented to at the providers of registered tools: asked for, finished, kept encrypted, renewed in time.
//! A consent is one person's, for one tool, with one provider.

mod provider;
mod vault;

pub(crate) use provider::Provider;
pub(crate) use vault::files as key_files;
pub use vault::{EncryptionKey, KeyError, Unopened, Vault, key_in};

use crate::limits::Limits;
use crate::store::{Kind, Store, StoreError, now};
use crate::tools::outcome::ToolError;
use crate::tools::web::Web;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{BoxFuture, FutureExt as _, Shared};
use provider::{ProviderError, Tokens};
use reqwest::header::HeaderValue;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;

/// How long a person may think.
const STATE_LIVES_SECONDS: i64 = 600;
/// A token that expires within that is renewed first.
const RENEWED_BEFORE_SECONDS: i64 = 60;
/// For one request to a provider.
const PROVIDER_ANSWERS_WITHIN: Duration = Duration::from_secs(8);
/// Authorizations that a client may begin in a minute; each lies in the state for a while.
const MOST_BEGUN_PER_MINUTE: u32 = 120;

/// Whose consent: a person's of a tenant, for a tool.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub(crate) struct Whose {
    pub(crate) tenant: String,
    pub(crate) person: String,
    pub(crate) tool: String,
}

impl Whose {
    pub(crate) fn new(tenant: &str, person: &str, tool: &str) -> Self {
        Self {
            tenant: tenant.to_owned(),
            person: person.to_owned(),
            tool: tool.to_owned(),
        }
    }

    fn place(&self) -> [&str; 4] {
        ["consent", &self.tenant, &self.person, &self.tool]
    }

    /// Under which a consent is kept.
    fn name(&self) -> String {
        serde_json::json!([self.tenant, self.person, self.tool]).to_string()
    }

    fn of_name(name: &str) -> Option<Self> {
        let (tenant, person, tool) = serde_json::from_str(name).ok()?;
        Some(Self {
            tenant,
            person,
            tool,
        })
    }
}

/// A consent, as it is kept.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Consent {
    /// With which provider; that of a later version of the tool may be another.
    provider: String,
    tokens: Tokens,
}

impl Consent {
    fn expires_within(&self, seconds: i64) -> bool {
        let limit = now().saturating_add(seconds);
        self.tokens.expires_at.is_some_and(|at| at <= limit)
    }

    /// Whether it gives a good token, now or after a renewal.
    fn is_of_use(&self, provider: &Provider) -> bool {
        self.provider == provider.digest()
            && (self.tokens.refresh_token.is_some() || !self.expires_within(0))
    }
}

/// What waits for a person, as it is kept under the digest of its `state`.
#[derive(Serialize, Deserialize)]
struct Pending {
    /// Who began it, and is the only one to finish it.
    client_id: String,
    whose: Whose,
    provider: String,
    verifier: String,
    redirect_uri: String,
}

/// Where a person is to be sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Begun {
    pub(crate) url: String,
    pub(crate) state: String,
    /// RFC 3339.
    pub(crate) expires_at: String,
}

/// Why something is not kept.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KeepError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Sealed(#[from] Unopened),
}

/// Why an authorization is not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    #[error("more than {MOST_BEGUN_PER_MINUTE} authorizations in a minute")]
    Busy(Duration),
    #[error(transparent)]
    Keep(#[from] KeepError),
}

/// Why an authorization is not finished.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FinishError {
    /// Unknown, used, expired, another's, or of a tool that is another one by now; which of them is not told.
    #[error("`state` is unknown, used or expired")]
    State,
    #[error("the provider does not take the code")]
    Refused,
    #[error("the provider does not take the engine for its client")]
    Client,
    #[error("the provider cannot be reached; the authorization is to be begun again")]
    Down { retry_after: Duration },
    #[error(transparent)]
    Keep(#[from] KeepError),
}

impl From<ProviderError> for FinishError {
    fn from(error: ProviderError) -> Self {
        match error {
            ProviderError::Refused => Self::Refused,
            ProviderError::Client => Self::Client,
            ProviderError::Down { retry_after } => Self::Down { retry_after },
        }
    }
}

/// Why there is no token. Shared by all who wait for the same renewal.
#[derive(Debug, Clone, Copy)]
enum Tokenless {
    /// The person has to be asked.
    NoConsent,
    Down {
        retry_after: Duration,
    },
    Misconfigured,
    Unusable,
}

impl From<StoreError> for Tokenless {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "consents cannot be read or kept");
        Self::Unusable
    }
}

impl From<KeepError> for Tokenless {
    fn from(error: KeepError) -> Self {
        tracing::error!(%error, "a consent cannot be kept");
        Self::Unusable
    }
}

type Renewal = Shared<BoxFuture<'static, Result<HeaderValue, Tokenless>>>;

/// The consents. Clones share them.
#[derive(Debug, Clone)]
pub struct Consents(Arc<Inner>);

struct Inner {
    store: Store,
    vault: Vault,
    web: Web,
    /// Where providers send people back to, unless a tool says otherwise.
    redirect_uri: String,
    /// With which provider each is.
    given: RwLock<HashMap<Whose, String>>,
    edition: AtomicU64,
    /// One at a time for each.
    renewals: Mutex<HashMap<Whose, Renewal>>,
    begun: Limits<String>,
    /// What a provider gives once must be kept, whether or not its asker waits for it.
    tasks: TaskTracker,
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("Consents").finish_non_exhaustive()
    }
}

impl Consents {
    /// Those that were given earlier. `redirect_uri`: of tools that name none.
    pub async fn open(
        store: Store,
        vault: Vault,
        web: Web,
        redirect_uri: String,
    ) -> Result<Self, StoreError> {
        let mut given = HashMap::new();
        for (name, sealed) in store.all::<String>(Kind::Consent).await? {
            let Some(whose) = Whose::of_name(&name) else {
                continue;
            };
            match vault.open::<Consent>(&whose.place(), &sealed) {
                Ok(consent) => drop(given.insert(whose, consent.provider)),
                Err(error) => {
                    tracing::error!(tool = whose.tool, %error, "a consent is left out");
                }
            }
        }
        Ok(Self(Arc::new(Inner {
            store,
            vault,
            web,
            redirect_uri,
            given: RwLock::new(given),
            edition: AtomicU64::new(0),
            renewals: Mutex::default(),
            begun: Limits::default(),
            tasks: TaskTracker::new(),
        })))
    }

    /// Grows with every consent that is given or withdrawn.
    pub(crate) fn edition(&self) -> u64 {
        self.0.edition.load(Relaxed)
    }

    /// What is kept even where nobody waits for it; the drain does.
    pub(crate) fn tasks(&self) -> &TaskTracker {
        &self.0.tasks
    }

    /// Whether the person consented to this provider, as far as this engine knows.
    pub(crate) fn has(&self, whose: &Whose, provider: &Provider) -> bool {
        let given = self.0.given.read().unwrap_or_else(PoisonError::into_inner);
        given
            .get(whose)
            .is_some_and(|digest| digest == provider.digest())
    }

    /// Whether there is nothing to ask the person for.
    pub(crate) async fn is_given(
        &self,
        whose: &Whose,
        provider: &Provider,
    ) -> Result<bool, StoreError> {
        let kept = self.0.kept(whose).await?;
        Ok(kept.is_some_and(|consent| consent.is_of_use(provider)))
    }

    /// Begins an authorization, which nobody but this client can finish.
    pub(crate) async fn begin(
        &self,
        client_id: &str,
        whose: &Whose,
        provider: &Provider,
    ) -> Result<Begun, BeginError> {
        let inner = &self.0;
        let counted = format!("{}/{client_id}", whose.tenant);
        let moment = std::time::Instant::now();
        let allowance = inner.begun.take(counted, MOST_BEGUN_PER_MINUTE, moment);
        if let Some(wait) = allowance.denied_for {
            return Err(BeginError::Busy(wait));
        }
        let (state, verifier) = (unguessable(), unguessable());
        let redirect_uri = provider.redirect_uri().unwrap_or(&inner.redirect_uri);
        let url = provider.authorization_url(redirect_uri, &state, &verifier);
        let pending = Pending {
            client_id: client_id.to_owned(),
            whose: whose.clone(),
            provider: provider.digest().to_owned(),
            verifier,
            redirect_uri: redirect_uri.to_owned(),
        };
        let name = digest(&state);
        let expires_at = now().saturating_add(STATE_LIVES_SECONDS);
        inner.await_return(&name, &pending, expires_at).await?;
        Ok(Begun {
            url,
            state,
            expires_at: jiff::Timestamp::from_second(expires_at)
                .map(|at| at.to_string())
                .unwrap_or_default(),
        })
    }

    /// Takes the `state` of an authorization that this client of this tenant began, so that it is good no more.
    pub(crate) async fn take(
        &self,
        (tenant, client_id): (&str, &str),
        state: &str,
    ) -> Result<Returned, FinishError> {
        let inner = &self.0;
        let name = digest(state);
        let place = ["authorization", name.as_str()];
        let kind = Kind::Authorization;
        let found: Option<String> = inner
            .store
            .get(kind, &name)
            .await
            .map_err(KeepError::from)?;
        let pending: Pending = found
            .and_then(|sealed| inner.vault.open(&place, &sealed).ok())
            .ok_or(FinishError::State)?;
        // Whoever learns of another's `state` cannot use it up either.
        if pending.whose.tenant != tenant || pending.client_id != client_id {
            return Err(FinishError::State);
        }
        // Of several who return at once, one has it.
        let removed = inner.store.remove(kind, &name).await;
        if !removed.map_err(KeepError::from)? {
            return Err(FinishError::State);
        }
        Ok(Returned { pending })
    }

    /// Trades the code that a person came back with, and keeps what it gives.
    pub(crate) async fn finish(
        &self,
        returned: Returned,
        provider: Provider,
        code: String,
    ) -> Result<(), FinishError> {
        let Returned { pending } = returned;
        if pending.provider != provider.digest() {
            return Err(FinishError::State);
        }
        let inner = self.0.clone();
        // The code is good once: what it gives is kept, also where the caller has left.
        let trading = self.0.tasks.spawn(async move {
            let deadline = Instant::now() + PROVIDER_ANSWERS_WITHIN;
            let Pending {
                whose,
                verifier,
                redirect_uri,
                ..
            } = pending;
            let with = (code.as_str(), verifier.as_str(), redirect_uri.as_str());
            let tokens = provider.exchange(&inner.web, with, deadline).await?;
            let consent = Consent {
                provider: provider.digest().to_owned(),
                tokens,
            };
            inner.keep(&whose, &consent).await?;
            inner.changed(|given| given.insert(whose, consent.provider));
            Ok(())
        });
        let lost = || FinishError::Down {
            retry_after: Duration::from_secs(1),
        };
        trading.await.unwrap_or_else(|_| Err(lost()))
    }

    /// The `Authorization` header by which a tool acts for the person; where there is none, a person can be asked at once.
    pub(crate) async fn token(
        &self,
        client_id: &str,
        whose: &Whose,
        provider: &Provider,
    ) -> Result<HeaderValue, ToolError> {
        match self.good_token(whose, provider).await {
            Ok(header) => Ok(header),
            Err(Tokenless::NoConsent) => Err(self.required(client_id, whose, provider).await),
            Err(Tokenless::Down { retry_after }) => Err(ToolError::Outage {
                why: "the provider of the tool's authorization cannot be reached".into(),
                retry_after,
            }),
            Err(Tokenless::Misconfigured) => Err(ToolError::Unavailable(
                "the provider of the tool's authorization does not let this engine in".into(),
            )),
            Err(Tokenless::Unusable) => Err(ToolError::Failed(
                "the engine's state cannot be used at the moment".into(),
            )),
        }
    }

    async fn good_token(
        &self,
        whose: &Whose,
        provider: &Provider,
    ) -> Result<HeaderValue, Tokenless> {
        let kept = self.0.kept(whose).await?;
        let consent = kept.filter(|consent| consent.provider == provider.digest());
        match consent {
            None => Err(Tokenless::NoConsent),
            Some(consent) if !consent.expires_within(RENEWED_BEFORE_SECONDS) => {
                consent.tokens.header().ok_or(Tokenless::NoConsent)
            }
            Some(_) => self.renewal(whose, provider).await,
        }
    }

    /// The renewal that is under way, or else one that begins.
    fn renewal(&self, whose: &Whose, provider: &Provider) -> Renewal {
        let mut renewals = self.0.renewals();
        if let Some(renewal) = renewals.get(whose) {
            return renewal.clone();
        }
        let ending = Ending {
            inner: self.0.clone(),
            whose: whose.clone(),
        };
        let provider = provider.clone();
        let renewing = self.0.tasks.spawn(async move {
            let Ending { inner, whose } = &ending;
            inner.renew(whose, &provider).await
        });
        let renewal = async move { renewing.await.unwrap_or(Err(Tokenless::Unusable)) };
        let renewal = renewal.boxed().shared();
        renewals.insert(whose.clone(), renewal.clone());
        renewal
    }

    /// What a call says that lacks its person's consent.
    async fn required(&self, client_id: &str, whose: &Whose, provider: &Provider) -> ToolError {
        let begun = self.begin(client_id, whose, provider).await;
        if let Err(error) = &begun {
            tracing::warn!(%error, "no authorization is begun");
        }
        ToolError::AuthorizationRequired {
            url: begun.ok().map(|begun| begun.url),
        }
    }

    /// An endpoint takes this token no more: the person has to be asked again.
    pub(crate) async fn withdrawn(
        &self,
        client_id: &str,
        whose: &Whose,
        provider: &Provider,
        used: &HeaderValue,
    ) -> ToolError {
        match self.0.kept(whose).await {
            Ok(Some(consent)) if consent.tokens.header().as_ref() == Some(used) => {
                if let Err(error) = self.0.forget(whose).await {
                    tracing::error!(%error, "a consent cannot be removed");
                }
            }
            _ => {}
        }
        self.required(client_id, whose, provider).await
    }

    /// Forgets what persons consented to for a tool that is no more.
    pub(crate) async fn forget_tool(&self, tenant: &str, tool: &str) -> Result<(), StoreError> {
        let all = self.0.store.all::<IgnoredAny>(Kind::Consent).await?;
        let names = all
            .into_iter()
            .filter_map(|(name, _)| Whose::of_name(&name));
        for whose in names.filter(|whose| whose.tenant == tenant && whose.tool == tool) {
            self.0.forget(&whose).await?;
        }
        Ok(())
    }
}

/// A person who came back.
pub(crate) struct Returned {
    pending: Pending,
}

impl Returned {
    /// To which tool.
    pub(crate) fn tool(&self) -> &str {
        &self.pending.whose.tool
    }
}

/// Takes a renewal off the list, however it ends.
struct Ending {
    inner: Arc<Inner>,
    whose: Whose,
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.inner.renewals().remove(&self.whose);
    }
}

impl Inner {
    fn renewals(&self) -> std::sync::MutexGuard<'_, HashMap<Whose, Renewal>> {
        self.renewals.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn changed<T>(&self, change: impl FnOnce(&mut HashMap<Whose, String>) -> T) {
        let mut given = self.given.write().unwrap_or_else(PoisonError::into_inner);
        change(&mut given);
        self.edition.fetch_add(1, Relaxed);
    }

    /// What lies there; what cannot be opened counts as not there, so that the person is asked again.
    async fn kept(&self, whose: &Whose) -> Result<Option<Consent>, StoreError> {
        let sealed: Option<String> = self.store.get(Kind::Consent, &whose.name()).await?;
        Ok(sealed.and_then(|sealed| self.vault.open(&whose.place(), &sealed).ok()))
    }

    async fn keep(&self, whose: &Whose, consent: &Consent) -> Result<(), KeepError> {
        let sealed = self.vault.seal(&whose.place(), consent)?;
        let name = whose.name();
        self.store.put(Kind::Consent, &name, &sealed, None).await?;
        Ok(())
    }

    async fn await_return(
        &self,
        name: &str,
        pending: &Pending,
        expires_at: i64,
    ) -> Result<(), KeepError> {
        let sealed = self.vault.seal(&["authorization", name], pending)?;
        // Who never came back is forgotten.
        self.store.purge().await?;
        let kind = Kind::Authorization;
        self.store
            .put(kind, name, &sealed, Some(expires_at))
            .await?;
        Ok(())
    }

    async fn forget(&self, whose: &Whose) -> Result<(), StoreError> {
        self.store.remove(Kind::Consent, &whose.name()).await?;
        self.changed(|given| given.remove(whose));
        Ok(())
    }

    async fn renew(&self, whose: &Whose, provider: &Provider) -> Result<HeaderValue, Tokenless> {
        let usable = |consent: Option<Consent>| {
            consent.filter(|consent| consent.provider == provider.digest())
        };
        let header = |consent: &Consent| consent.tokens.header().ok_or(Tokenless::NoConsent);
        let before = usable(self.kept(whose).await?).ok_or(Tokenless::NoConsent)?;
        if !before.expires_within(RENEWED_BEFORE_SECONDS) {
            return header(&before);
        }
        let good_still = !before.expires_within(0);
        let Some(refresh_token) = &before.tokens.refresh_token else {
            if good_still {
                return header(&before);
            }
            self.forget(whose).await?;
            return Err(Tokenless::NoConsent);
        };
        let deadline = Instant::now() + PROVIDER_ANSWERS_WITHIN;
        let renewed = provider.refresh(&self.web, refresh_token, deadline).await;
        // Another engine may have renewed it, or the person consented anew: that stands above.
        let after = self.kept(whose).await?;
        if after.as_ref() != Some(&before) {
            return header(&usable(after).ok_or(Tokenless::NoConsent)?);
        }
        match renewed {
            Ok(tokens) => {
                let consent = Consent { tokens, ..before };
                self.keep(whose, &consent).await?;
                header(&consent)
            }
            Err(ProviderError::Refused) => {
                self.forget(whose).await?;
                Err(Tokenless::NoConsent)
            }
            Err(_) if good_still => header(&before),
            Err(ProviderError::Client) => {
                tracing::error!(
                    tool = whose.tool,
                    "the provider does not take the engine for its client"
                );
                Err(Tokenless::Misconfigured)
            }
            Err(ProviderError::Down { retry_after }) => Err(Tokenless::Down { retry_after }),
        }
    }
}

/// 256 random bits.
fn unguessable() -> String {
    URL_SAFE_NO_PAD.encode(rand::random::<[u8; 32]>())
}

/// Under which a `state` is kept: who reads the state of the engine cannot use it.
fn digest(state: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(state))
}

#[cfg(test)]
mod tests;
