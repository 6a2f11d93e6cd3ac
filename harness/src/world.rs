//! All that surrounds a target during one scenario: mocks, relay, database, files, clients. Fresh each time.

mod files;
mod log;

use crate::client::{Client, ClientError, Plain};
use crate::database::{DatabaseError, ScenarioDatabase, Server};
use crate::run::Config;
use crate::scenario::Scenario;
use crate::scenario::step::Faults;
use crate::target::{self, Running, Target, TargetError};
use fact_mocks::Mocks;
use fact_mocks::clock::Clock;
use fact_mocks::dns::Dns;
use fact_mocks::journal::Journal;
use fact_mocks::relay::{self, Relay};
use fact_mocks::site::Site;
use files::Files;
use log::Log;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

/// A client that every scenario has.
#[derive(Debug, Clone, Copy)]
pub struct KnownClient {
    /// Its name.
    pub id: &'static str,
    /// Whose data it sees.
    pub tenant: &'static str,
    /// What it may do.
    pub scopes: &'static [&'static str],
    /// The tools that it may use; all without.
    pub tools: Option<&'static [&'static str]>,
    /// The tables that it may read; all without.
    pub tables: Option<&'static [&'static str]>,
    /// Whether it may speak for others.
    pub act_as: bool,
}

const USER: &[&str] = &["query", "tools", "cache", "metrics"];

/// A client of tenant acme that may do what most may.
const USUAL: KnownClient = KnownClient {
    id: "alice",
    tenant: "acme",
    scopes: USER,
    tools: None,
    tables: None,
    act_as: false,
};

/// The clients that every scenario has.
pub const CLIENTS: &[KnownClient] = &[
    USUAL,
    KnownClient { id: "bob", ..USUAL },
    KnownClient {
        id: "mallory",
        tenant: "globex",
        ..USUAL
    },
    KnownClient {
        id: "limited",
        scopes: &["metrics"],
        ..USUAL
    },
    KnownClient {
        id: "admin",
        scopes: &["query", "tools", "cache", "metrics", "admin"],
        ..USUAL
    },
    KnownClient {
        id: "clerk",
        tools: Some(&["FileSystem.*", "Web.*"]),
        ..USUAL
    },
    KnownClient {
        id: "analyst",
        tools: Some(&["SQL.*", "Web.*"]),
        ..USUAL
    },
    KnownClient {
        id: "narrow",
        tables: Some(&["companies"]),
        ..USUAL
    },
    KnownClient {
        id: "deputy",
        act_as: true,
        ..USUAL
    },
];

/// All that surrounds a target.
pub struct World {
    /// What really reached the upstreams.
    pub journal: Journal,
    /// Asks the target.
    pub client: Client,
    /// The target.
    pub running: Running,
    /// Claude and Arcade.
    pub mocks: Mocks,
    /// The scenario's own database.
    pub database: ScenarioDatabase,
    /// Snapshots are written instead of compared.
    pub update_snapshots: bool,
    relay: Option<Relay>,
    web: Option<Web>,
    sees_statements: bool,
    log: Log,
    files: Files,
    guarded: Vec<(&'static str, String)>,
}

impl fmt::Debug for World {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("World")
            .field("running", &self.running)
            .finish_non_exhaustive()
    }
}

/// What the target's web tool finds.
#[derive(Debug)]
struct Web {
    site: Site,
    dns: Dns,
}

impl Web {
    async fn start(scenario: &Scenario, canary: &str) -> std::io::Result<Option<Self>> {
        let Some(web) = &scenario.web else {
            return Ok(None);
        };
        Ok(Some(Self {
            site: Site::start(web.pages.clone(), canary).await?,
            dns: Dns::start(web.names.clone()).await?,
        }))
    }

    fn environment(&self) -> [(String, String); 2] {
        [
            ("FACT_WEB_ALLOW".to_owned(), self.site.address.to_string()),
            ("FACT_WEB_RESOLVER".to_owned(), self.dns.address.to_string()),
        ]
    }
}

/// Why a world could not be made.
#[derive(Debug, thiserror::Error)]
pub enum WorldError {
    /// The database.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// The mocks.
    #[error("{error}{}", cause(.error))]
    Mocks {
        /// Why.
        error: fact_mocks::StartError,
    },
    /// The relay.
    #[error("the database relay cannot listen: {0}")]
    Relay(std::io::Error),
    /// The pages, names and canaries of the web tool.
    #[error("the scenario's web cannot be served: {0}")]
    Web(std::io::Error),
    /// Files and folders.
    #[error("the scenario's files cannot be written: {0}")]
    Files(std::io::Error),
    /// The target.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// The client.
    #[error(transparent)]
    Client(#[from] ClientError),
}

fn cause(error: &dyn std::error::Error) -> String {
    error
        .source()
        .map(|source| format!(": {source}"))
        .unwrap_or_default()
}

impl World {
    /// Makes everything, and the target in the midst of it.
    pub async fn start(
        scenario: &Scenario,
        config: &Config,
        server: &Server,
        clock: Clock,
        seed: u64,
    ) -> Result<Self, WorldError> {
        let files = Files::create(scenario).map_err(WorldError::Files)?;
        let secrets = secrets(&config.target);
        let clients = files
            .write_clients(&clients_file(&secrets))
            .map_err(WorldError::Files)?;
        let database = server.create(&database_name(&scenario.id)).await?;
        let journal = Journal::new(clock);
        let mocks = fact_mocks::start(fact_mocks::Config {
            claude_listen: config.claude_listen,
            arcade_listen: config.arcade_listen,
            claude: scenario.claude.clone(),
            arcade: scenario.arcade.clone(),
            seed,
            journal: journal.clone(),
            // Nobody but the harness tells the mocks what to do.
            control: fact_mocks::Control::Nobody,
            mutant: None,
        });
        let mocks = match mocks.await {
            Ok(mocks) => mocks,
            Err(error) => {
                database.drop().await;
                return Err(WorldError::Mocks { error });
            }
        };
        let relay = match database.server_address() {
            None => None,
            Some(address) => {
                match relay::start(loopback(), relay::Upstream::Tcp(address), journal.clone()).await
                {
                    Ok(relay) => Some(relay),
                    Err(error) => {
                        mocks.shutdown().await;
                        database.drop().await;
                        return Err(WorldError::Relay(error));
                    }
                }
            }
        };
        let keys = Keys::draw();
        let canary = format!("canary-{}", random_hex());
        let web = match Web::start(scenario, &canary).await {
            Ok(web) => web,
            Err(error) => {
                shut_down(relay, None, mocks, database).await;
                return Err(WorldError::Web(error));
            }
        };
        let mut environment = BTreeMap::from([
            (
                "ANTHROPIC_BASE_URL".to_owned(),
                format!("http://{}", mocks.claude),
            ),
            ("ANTHROPIC_API_KEY".to_owned(), keys.anthropic.clone()),
            (
                "ARCADE_BASE_URL".to_owned(),
                format!("http://{}", mocks.arcade),
            ),
            ("ARCADE_API_KEY".to_owned(), keys.arcade.clone()),
            (
                "DATABASE_URL".to_owned(),
                database.target_url(relay.as_ref().map(|relay| relay.address)),
            ),
            ("FACT_CLIENTS".to_owned(), clients),
            ("FACT_STATE_DIR".to_owned(), files.state()),
            ("FACT_FILE_ROOTS".to_owned(), files.root()),
        ]);
        environment.extend(web.iter().flat_map(Web::environment));
        environment.extend(scenario.target.clone());
        environment.extend(config.environment.iter().cloned());
        environment.retain(|_, value| !value.is_empty());
        let log = Log::new(&config.out, &scenario.id);
        let started = async {
            let running = target::start(&config.target, environment, log.path()).await?;
            let client = Client::new(running.base.clone(), clock, secrets.clone())?;
            Ok((running, client))
        };
        let (running, client) = match started.await {
            Ok(started) => started,
            Err(error) => {
                shut_down(relay, web, mocks, database).await;
                return Err(error);
            }
        };
        let mut guarded = vec![
            ("the canary outside the file root", files.canary()),
            ("a canary that listens on loopback", canary),
            ("Claude's key", keys.anthropic),
            ("Arcade's key", keys.arcade),
        ];
        guarded.extend(
            secrets
                .into_values()
                .map(|secret| ("a client's secret", secret)),
        );
        let sees_statements = relay.is_some() && !matches!(config.target, Target::Http(_));
        Ok(Self {
            journal,
            client,
            running,
            mocks,
            database,
            update_snapshots: config.update_snapshots,
            relay,
            web,
            sees_statements,
            log,
            files,
            guarded,
        })
    }

    /// Whether the target claims this profile. One that says nothing of profiles is taken to claim them all.
    pub async fn claims(&self, profile: &str) -> bool {
        if profile == "core" {
            return true;
        }
        let request = Plain {
            method: "GET".into(),
            path: "/api/v1/health".into(),
            ..Plain::default()
        };
        let health = self.client.send(&request).await.body.unwrap_or_default();
        let profiles = health.get("profiles").and_then(Value::as_array);
        profiles.is_none_or(|profiles| profiles.iter().any(|claimed| claimed == profile))
    }

    /// The upstreams fail so from now on.
    pub fn fail(&self, faults: &Faults) -> Result<(), String> {
        if let Some(faults) = &faults.claude {
            self.mocks.set_claude_faults(faults.clone());
        }
        if let Some(faults) = &faults.arcade {
            self.mocks.set_arcade_faults(faults.clone());
        }
        if let Some(faults) = &faults.database {
            let relay = self.relay.as_ref().ok_or(
                "faults of the database need a relay before it; write `needs: [postgres]`",
            )?;
            relay.set_faults(faults.clone());
        }
        Ok(())
    }

    /// Waits until nothing is under way at the mocks and the relay.
    pub async fn settle(&self) {
        const PATIENCE: Duration = Duration::from_secs(5);
        let quiet = async {
            while self.journal.in_flight() > 0 {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        drop(tokio::time::timeout(PATIENCE, quiet).await);
    }

    /// Whether the target's statements pass through the relay.
    pub fn sees_statements(&self) -> bool {
        self.sees_statements
    }

    /// What must never be in an answer and is in this one.
    pub fn leak(&self, answer: &[u8]) -> Option<&'static str> {
        let text = String::from_utf8_lossy(answer);
        self.guarded
            .iter()
            .find(|(_, secret)| text.contains(secret.as_str()))
            .map(|(name, _)| *name)
    }

    /// All that the target has said of itself, where it was started here.
    pub fn log(&self) -> Option<Vec<u8>> {
        std::fs::read(self.log.path()).ok()
    }

    /// What lies about the target on this machine, and no error may name.
    pub fn places(&self) -> Vec<(&'static str, String)> {
        vec![
            ("where the files are", self.files.folder()),
            ("where Claude is", self.mocks.claude.to_string()),
            ("where Arcade is", self.mocks.arcade.to_string()),
        ]
    }

    /// The directory that the target's file tools may read.
    pub fn file_root(&self) -> String {
        self.files.root()
    }

    /// A directory beside it, with a canary in `secret.txt`.
    pub fn outside(&self) -> String {
        self.files.outside()
    }

    /// Where the pages for the web tool are, and the port of the canaries.
    pub fn web(&self) -> Option<(SocketAddr, u16)> {
        let site = &self.web.as_ref()?.site;
        Some((site.address, site.canary_port))
    }

    /// Writes a file below the file root.
    pub fn write_file(&self, name: &str, content: &str) -> std::io::Result<()> {
        self.files.write(name, content)
    }

    /// Writes a page of the site.
    pub fn write_page(&self, path: &str, content: &str) -> Result<(), String> {
        let web = self
            .web
            .as_ref()
            .ok_or("a page needs a `web` in the scenario")?;
        web.site.write(path, content);
        Ok(())
    }

    /// How often a canary was connected to so far.
    pub fn touched(&self) -> u64 {
        self.web.as_ref().map_or(0, |web| web.site.touched())
    }

    /// Ends the target first, then what it leant on.
    pub async fn stop(self) {
        self.running.stop().await;
        shut_down(self.relay, self.web, self.mocks, self.database).await;
    }
}

async fn shut_down(
    relay: Option<Relay>,
    web: Option<Web>,
    mocks: Mocks,
    database: ScenarioDatabase,
) {
    if let Some(relay) = relay {
        relay.shutdown().await;
    }
    if let Some(web) = web {
        web.site.shutdown().await;
    }
    mocks.shutdown().await;
    database.drop().await;
}

fn loopback() -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 0))
}

struct Keys {
    anthropic: String,
    arcade: String,
}

impl Keys {
    fn draw() -> Self {
        Self {
            anthropic: format!("sk-ant-api03-{}", random_hex()),
            arcade: format!("arc_{}", random_hex()),
        }
    }
}

fn random_hex() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A target that runs already was given its clients by the user, so theirs are fixed: `fact-NAME-secret`.
fn secrets(target: &Target) -> BTreeMap<String, String> {
    let secret = |id: &str| match target {
        Target::Http(_) => format!("fact-{id}-secret"),
        Target::Reference { .. } | Target::Command(_) => random_hex(),
    };
    CLIENTS
        .iter()
        .map(|client| (client.id.to_owned(), secret(client.id)))
        .collect()
}

fn clients_file(secrets: &BTreeMap<String, String>) -> Value {
    let client = |client: &KnownClient| {
        let mut known = json!({ "id": client.id, "secret": secrets.get(client.id), "tenant": client.tenant, "scopes": client.scopes });
        if let Some(tools) = client.tools {
            known["tools"] = json!(tools);
        }
        if let Some(tables) = client.tables {
            known["tables"] = json!(tables);
        }
        if client.act_as {
            known["act_as"] = json!(true);
        }
        known
    };
    json!({ "clients": CLIENTS.iter().map(client).collect::<Vec<_>>() })
}

/// Unique, and short enough for Postgres.
fn database_name(id: &str) -> String {
    let plain: String = id
        .chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() {
                c.to_ascii_lowercase()
            } else {
                '_'
            }
        })
        .take(40)
        .collect();
    format!("fact_{plain}_{:06x}", rand::random::<u32>() & 0x00ff_ffff)
}
