//! The database behind a target: the best that this machine has, seeded once, cloned for each scenario.

mod docker;
mod postgres;
mod sqlite;
mod triggers;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
pub use triggers::triggers;

/// What was asked for.
#[derive(Debug, Clone)]
pub struct Request {
    /// `auto`, `docker`, `binaries`, `sqlite` or the URL of a Postgres superuser.
    pub kind: String,
    /// The image, where it is not the official one.
    pub image: Option<String>,
}

/// The scenarios' data.
#[derive(Debug, Clone)]
pub struct Data {
    /// For Postgres.
    pub postgres_sql: String,
    /// For `SQLite`.
    pub sqlite_sql: String,
}

impl Data {
    /// The data inside the executable.
    pub fn shipped() -> Self {
        let of = |name: &str| {
            let file = crate::scenario::shipped()
                .into_iter()
                .find(|(path, _)| path == name);
            file.map(|(_, text)| text.to_owned()).unwrap_or_default()
        };
        Self {
            postgres_sql: of("data/finance.sql"),
            sqlite_sql: of("data/finance.sqlite.sql"),
        }
    }
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum DatabaseError {
    /// It cannot be had here.
    #[error("the database `{kind}` cannot be used: {reason}")]
    Unavailable {
        /// What was asked for.
        kind: String,
        /// Why, and what to do.
        reason: String,
    },
    /// Not a kind that there is.
    #[error(
        "`--database {0}` is none that is known; use `auto`, `docker`, `binaries`, `sqlite` or a `postgres://` URL"
    )]
    Unknown(String),
    /// A statement of the harness's own failed.
    #[error("the database refuses a statement of the harness: {0}")]
    Statement(String),
}

/// A database server with the seeded template.
#[derive(Debug)]
pub struct Server {
    kind: &'static str,
    version: String,
    passed_over: Vec<(String, String)>,
    engine: Engine,
}

#[derive(Debug)]
enum Engine {
    Postgres(Box<postgres::Postgres>),
    Sqlite(sqlite::Template),
}

/// Takes the first that works.
pub async fn choose(request: &Request, data: &Data) -> Result<Server, DatabaseError> {
    let image = request
        .image
        .clone()
        .unwrap_or_else(|| "postgres:17".to_owned());
    let kinds: &[&str] = match request.kind.as_str() {
        "auto" => &["docker", "binaries", "sqlite"],
        "docker" => &["docker"],
        "binaries" => &["binaries"],
        "sqlite" => &["sqlite"],
        url if url.starts_with("postgres://") || url.starts_with("postgresql://") => &["url"],
        other => return Err(DatabaseError::Unknown(other.to_owned())),
    };
    let mut passed_over = Vec::new();
    for kind in kinds {
        match open(kind, &request.kind, &image, data).await {
            Ok((engine, version)) => {
                return Ok(Server {
                    kind,
                    version,
                    passed_over,
                    engine,
                });
            }
            Err(reason) => passed_over.push(((*kind).to_owned(), reason)),
        }
    }
    let (kind, reason) = passed_over.pop().unwrap_or_default();
    Err(DatabaseError::Unavailable { kind, reason })
}

async fn open(kind: &str, url: &str, image: &str, data: &Data) -> Result<(Engine, String), String> {
    if kind == "sqlite" {
        let template = sqlite::Template::new(&data.sqlite_sql)?;
        let version = sqlite::Template::version();
        return Ok((Engine::Sqlite(template), version));
    }
    let mut server = match kind {
        "docker" => docker::start(image).await?,
        "binaries" => postgres::start_binaries()?,
        _ => postgres::Postgres::at(url)?,
    };
    match server.seed(&data.postgres_sql).await {
        Ok(version) => Ok((Engine::Postgres(Box::new(server)), version)),
        Err(reason) => {
            server.stop().await;
            Err(reason)
        }
    }
}

impl Server {
    /// `docker`, `binaries`, `url` or `sqlite`.
    pub fn kind(&self) -> &str {
        self.kind
    }

    /// The server's own words.
    pub fn version(&self) -> &str {
        &self.version
    }

    /// Those that were tried earlier, and why they were not taken.
    pub fn passed_over(&self) -> &[(String, String)] {
        &self.passed_over
    }

    /// A fresh copy of the data.
    pub async fn create(&self, name: &str) -> Result<ScenarioDatabase, DatabaseError> {
        match &self.engine {
            Engine::Postgres(server) => server
                .create(name)
                .await
                .map(|clone| Inner::Postgres(Box::new(clone))),
            Engine::Sqlite(template) => template.copy(name).map(Inner::Sqlite),
        }
        .map(ScenarioDatabase)
        .map_err(DatabaseError::Statement)
    }

    /// Ends the server and leaves nothing behind.
    pub async fn stop(self) {
        if let Engine::Postgres(server) = self.engine {
            (*server).stop().await;
        }
    }
}

/// A scenario's own copy.
#[derive(Debug)]
pub struct ScenarioDatabase(Inner);

#[derive(Debug)]
enum Inner {
    Postgres(Box<postgres::Clone>),
    Sqlite(PathBuf),
}

impl ScenarioDatabase {
    /// Where the server is, for the relay; `SQLite` has no server.
    pub fn server_address(&self) -> Option<SocketAddr> {
        match &self.0 {
            Inner::Postgres(clone) => Some(clone.address()),
            Inner::Sqlite(_) => None,
        }
    }

    /// What the target is given: a role that may only read, through the relay.
    pub fn target_url(&self, relay: Option<SocketAddr>) -> String {
        match &self.0 {
            Inner::Postgres(clone) => clone.reader_url(relay.unwrap_or_else(|| clone.address())),
            Inner::Sqlite(path) => format!("sqlite:{}", path.display()),
        }
    }

    /// A statement by the owner, directly.
    pub async fn execute_as_owner(&self, statement: &str) -> Result<(), DatabaseError> {
        match &self.0 {
            Inner::Postgres(clone) => clone.execute(statement).await,
            Inner::Sqlite(path) => sqlite::execute(path, statement),
        }
        .map_err(DatabaseError::Statement)
    }

    /// A session of the owner's, directly.
    pub async fn connect_as_owner(&self) -> Result<sqlx::PgConnection, DatabaseError> {
        match &self.0 {
            Inner::Postgres(clone) => clone.connect().await,
            Inner::Sqlite(_) => Err("SQLite has no sessions".into()),
        }
        .map_err(DatabaseError::Statement)
    }

    /// Changes when any table or object does.
    pub async fn fingerprint(&self) -> Result<String, DatabaseError> {
        match &self.0 {
            Inner::Postgres(clone) => clone.fingerprint().await,
            Inner::Sqlite(path) => sqlite::fingerprint(path),
        }
        .map_err(DatabaseError::Statement)
    }

    /// Gives it up.
    pub async fn drop(self) {
        match self.0 {
            Inner::Postgres(clone) => clone.give_up().await,
            Inner::Sqlite(path) => std::mem::drop(std::fs::remove_file(path)),
        }
    }
}

/// How long a server may take to start.
const START: Duration = Duration::from_mins(1);
