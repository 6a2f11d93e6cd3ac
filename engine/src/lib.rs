//! The reference FACT engine: answers questions with a language model that reads exact data through tools, and caches.

pub mod answer;
pub mod audit;
pub mod auth;
mod breaker;
pub mod cache;
pub mod claude;
pub mod config;
pub mod consent;
mod executions;
pub mod flight;
mod http;
pub mod limits;
mod mask;
pub mod metrics;
mod overhead;
pub mod prices;
mod queries;
pub mod session;
pub mod store;
pub mod tools;
pub mod warm;

use answer::Answering;
use audit::{Audit, AuditError};
use auth::{Auth, TokenConfig};
use cache::Cache;
use cache::trace::Trace;
use claude::Claude;
use config::Config;
use consent::{Consents, Vault};
use executions::Executions;
use queries::Queries;
use secrecy::ExposeSecret as _;
use session::Sessions;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use store::{Store, StoreError};
use tokio::sync::broadcast;
use tokio_util::task::TaskTracker;
use tools::arcade::Arcade;
use tools::files::{Files, FilesError};
use tools::sql::{Change, ConnectError, Database, DatabaseConfig};
use tools::web::Web;
use tools::{Sources, Tools};
use warm::Warming;

/// How long running requests may take once the engine is told to stop.
const DRAIN: Duration = Duration::from_secs(9);

/// Why the engine does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The address.
    #[error("cannot listen on {address}: {source}; choose another with `FACT_LISTEN`")]
    Listen {
        /// Where.
        address: std::net::SocketAddr,
        /// Why not.
        source: std::io::Error,
    },
    /// The database.
    #[error("{0}")]
    Database(#[from] ConnectError),
    /// The files.
    #[error("{0}")]
    Files(#[from] FilesError),
    /// The audit log.
    #[error("{0}")]
    Audit(#[from] AuditError),
    /// What outlives a restart.
    #[error("{0}")]
    Store(#[from] StoreError),
    /// What encrypts.
    #[error("{0}")]
    Key(#[from] consent::KeyError),
    /// What does not encrypt.
    #[error("nothing can be encrypted with the key of this engine")]
    Vault(#[from] consent::Unopened),
    /// The trace of the cache.
    #[error("the file of `FACT_CACHE_TRACE` cannot be written: {0}")]
    Trace(#[source] std::io::Error),
    /// The HTTP client.
    #[error("the HTTP client cannot be built")]
    Client(#[from] reqwest::Error),
}

/// Serves until `shutdown` resolves; then finishes what runs, within ten seconds.
pub async fn serve(
    config: Config,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServeError> {
    let address = config.listen;
    let listener = tokio::net::TcpListener::bind(address)
        .await
        .map_err(|source| ServeError::Listen { address, source })?;
    // Another one where the port was left to the system.
    let address = listener.local_addr().unwrap_or(address);
    let metrics = Arc::new(metrics::Metrics::default());
    let audit = Audit::open(&config.state_dir, config.audit_keep, metrics.clone())?;
    let store = match &config.state_url {
        Some(url) => Store::at_url(url.expose_secret()).await?,
        None => Store::in_folder(&config.state_dir).await?,
    };
    let vault = vault(&config)?;
    let web = Web::new(&config.web)?;
    let consents = Consents::open(
        store.clone(),
        vault.clone(),
        web.clone(),
        config.oauth_redirect_url.clone(),
    )
    .await?;
    let database = Database::connect(DatabaseConfig {
        url: config.database_url.clone(),
        role_check: config.role_check,
        tool_timeout: config.tool_timeout,
        samples: config.samples.clone(),
    })
    .await?;
    let files = if config.file_roots.is_empty() {
        None
    } else {
        Some(Arc::new(Files::open(
            &config.file_roots,
            &own_files(&config, &audit),
        )?))
    };
    let arcade = config
        .arcade
        .as_ref()
        .map(|(url, key)| Arcade::new(url, key.clone(), config.tool_timeout))
        .transpose()?;
    let answering = Answering {
        claude: Claude::new(
            &config.anthropic_url,
            config.anthropic_key.clone(),
            &config.model,
            metrics.clone(),
        )?,
        tools: Tools::new(
            Sources {
                database: database.clone(),
                files,
                web,
                arcade: arcade.clone(),
                store: store.clone(),
                vault,
                consents: consents.clone(),
                timeout: config.tool_timeout,
            },
            metrics.clone(),
            audit.clone(),
        )
        .await?,
        cache: Arc::new(Cache::new(
            config.cache_ttl,
            config.stale,
            config.cache_max_bytes,
        )),
        trace: config
            .cache_trace
            .as_deref()
            .map(Trace::open)
            .transpose()
            .map_err(ServeError::Trace)?,
        metrics: metrics.clone(),
        timeout: config.request_timeout,
        max_turns: config.max_turns,
        web_after_data: config.web_after_data,
        standing: Arc::default(),
        conversations: TaskTracker::new(),
    };
    let following = tokio::spawn(follow_changes(database.changes(), answering.cache.clone()));
    let discovering = match arcade {
        Some(arcade) => {
            arcade.start(store.clone()).await;
            Some(tokio::spawn(arcade.tend()))
        }
        None => None,
    };
    let conversations = answering.conversations.clone();
    let tokens = TokenConfig {
        format: config.token_format,
        ttl: config.token_ttl,
        key_lives: config.signing_key_lives,
        shared: config.state_url.is_some(),
    };
    let auth = Arc::new(Auth::open(&config.clients, tokens, store.clone()).await?);
    let replacing = tokio::spawn(replace_keys(auth.clone()));
    let warming = Warming::new(store.clone());
    warming
        .resume(&answering, |client, scopes| {
            auth.principal_of(client, scopes)
        })
        .await?;
    let executions = Executions::new(store.clone());
    let (cache, under_way) = (answering.cache.clone(), conversations.clone());
    let upstream = answering.tools.arcade.clone();
    let claude = answering.claude.clone();
    metrics.sample(move |metrics| {
        gauges(metrics, &cache, under_way.len());
        metrics.breakers.set(["claude"], (!claude.is_well()).into());
        if let Some(arcade) = &upstream {
            metrics
                .breakers
                .set(["arcade"], arcade.is_shut_off().into());
        }
    });
    let scheduling = tokio::spawn(overhead::measure_scheduling(metrics));
    let engine = http::Engine::from(http::Inner {
        answering,
        auth,
        audit,
        executions: executions.clone(),
        queries: Queries::default(),
        sessions: Sessions::new(store),
        warming,
        limits: limits::Limits::default(),
        logins: limits::Limits::default(),
        started: Instant::now(),
    });
    tracing::info!(%address, "serving");
    let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
    let server = http::serve(listener, http::routes(engine), async move {
        shutdown.await;
        drop(stop);
    });
    let deadline = async {
        drop(stopped.await);
        tokio::time::sleep(DRAIN).await;
    };
    tokio::select! {
        () = server => {}
        () = deadline => tracing::warn!("requests were still running when the time to stop came"),
    }
    conversations.close();
    executions.tasks.close();
    consents.tasks().close();
    let (executing, consenting) = (executions.tasks.wait(), consents.tasks().wait());
    let rest = async { tokio::join!(conversations.wait(), executing, consenting) };
    drop(tokio::time::timeout(Duration::from_secs(1), rest).await);
    following.abort();
    replacing.abort();
    scheduling.abort();
    if let Some(discovering) = discovering {
        discovering.abort();
    }
    Ok(())
}

/// With the operator's key, or else the state's own.
fn vault(config: &Config) -> Result<Vault, ServeError> {
    let key = match &config.encryption_key {
        Some(key) => key.clone(),
        None => consent::key_in(&config.state_dir)?,
    };
    if config.encryption_key.is_none() && config.state_url.is_some() {
        tracing::warn!(
            "`FACT_ENCRYPTION_KEY` is not set: no other engine can read what this one keeps encrypted at `FACT_STATE_URL`"
        );
    }
    Ok(Vault::new(&key)?)
}

/// What is counted elsewhere.
fn gauges(metrics: &metrics::Metrics, cache: &Cache<answer::AnswerError>, under_way: usize) {
    use std::sync::atomic::Ordering::Relaxed;
    let whole = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
    let (entries, bytes) = cache.totals();
    metrics.cache_entries.store(whole(entries), Relaxed);
    metrics.cache_bytes.store(bytes, Relaxed);
    metrics.cache_evictions.store(cache.evicted(), Relaxed);
    metrics
        .conversations_under_way
        .store(whole(under_way), Relaxed);
}

/// What no tool may read, wherever it lies.
fn own_files(config: &Config, audit: &Audit) -> Vec<PathBuf> {
    let mut own = vec![config.clients_file.clone()];
    own.extend(audit.paths());
    own.extend(config.secret_files.iter().cloned());
    own.extend(consent::key_files(&config.state_dir));
    own.extend(with_journals(&config.state_dir.join("state.sqlite")));
    if let Some(path) = config.database_url.strip_prefix("sqlite:") {
        own.extend(with_journals(Path::new(path.trim_start_matches("//"))));
    }
    own
}

/// A file of `SQLite`'s, and those that it keeps beside it.
fn with_journals(path: &Path) -> [PathBuf; 4] {
    ["", "-wal", "-shm", "-journal"].map(|end| {
        let mut name = path.as_os_str().to_owned();
        name.push(end);
        name.into()
    })
}

/// Looks every minute whether the key that signs tokens is to be replaced, or another engine has replaced it.
async fn replace_keys(auth: Arc<Auth>) {
    loop {
        tokio::time::sleep(Duration::from_mins(1)).await;
        if let Err(error) = auth.refresh_keys().await {
            tracing::error!(%error, "the keys that sign tokens cannot be read");
        }
    }
}

/// Drops answers when what they were read from changes.
async fn follow_changes(
    mut changes: broadcast::Receiver<Change>,
    cache: Arc<Cache<answer::AnswerError>>,
) {
    use tokio::sync::broadcast::error::RecvError;
    loop {
        match changes.recv().await {
            Ok(Change::Table(table)) => cache.table_changed(&table),
            Ok(Change::Everything) | Err(RecvError::Lagged(_)) => cache.everything_changed(),
            Err(RecvError::Closed) => return,
        }
    }
}
