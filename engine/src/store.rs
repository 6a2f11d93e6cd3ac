//! What outlives a restart: grants, revocations, sessions, registered tools, consents, jobs. Postgres or a file of `SQLite`.

use serde::Serialize;
use serde::de::DeserializeOwned;
use sqlx::AnyPool;
use sqlx::any::{AnyConnectOptions, AnyPoolOptions};
use sqlx::{Executor as _, Row as _};
use std::path::Path;
use std::str::FromStr as _;
use std::time::Duration;

/// What is kept; names are told apart within each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Opaque tokens, by their digest.
    Token,
    /// Tokens that are good no more, by their digest.
    Revoked,
    /// Keys that sign tokens.
    SigningKey,
    /// Conversations with their turns.
    Session,
    /// Tools that an administrator registered.
    Tool,
    /// What a person is being asked to consent to, by `state`.
    Authorization,
    /// What a person consented to.
    Consent,
    /// Persons who consented to something at Arcade.
    ArcadePerson,
    /// Warming jobs.
    Job,
    /// Asynchronous tool executions.
    Execution,
}

impl Kind {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "token",
            Self::Revoked => "revoked",
            Self::SigningKey => "signing_key",
            Self::Session => "session",
            Self::Tool => "tool",
            Self::Authorization => "authorization",
            Self::Consent => "consent",
            Self::ArcadePerson => "arcade_person",
            Self::Job => "job",
            Self::Execution => "execution",
        }
    }
}

/// Why nothing could be kept or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database.
    #[error("the state in {place} cannot be used: {source}")]
    Database {
        /// `FACT_STATE_DIR` or `FACT_STATE_URL`.
        place: &'static str,
        /// Why.
        source: sqlx::Error,
    },
    /// Its tables.
    #[error("the tables of the state in {place} cannot be brought up to date: {source}")]
    Migration {
        /// `FACT_STATE_DIR` or `FACT_STATE_URL`.
        place: &'static str,
        /// Why.
        source: sqlx::migrate::MigrateError,
    },
    /// What lies there is not what this version writes.
    #[error("the state holds a {kind} that cannot be read: {source}")]
    Unreadable {
        /// Of which kind.
        kind: &'static str,
        /// Why.
        source: serde_json::Error,
    },
}

/// Keeps values by kind and name. Clones share one pool.
#[derive(Debug, Clone)]
pub struct Store {
    pool: AnyPool,
    place: &'static str,
}

const PUT: &str = "INSERT INTO state (kind, name, value, expires_at) VALUES ($1, $2, $3, $4) \
    ON CONFLICT (kind, name) DO UPDATE SET value = excluded.value, expires_at = excluded.expires_at";
const ADD: &str = "INSERT INTO state (kind, name, value, expires_at) VALUES ($1, $2, $3, $4) ON CONFLICT (kind, name) DO NOTHING";
const GET: &str = "SELECT value FROM state WHERE kind = $1 AND name = $2 AND (expires_at IS NULL OR expires_at > $3)";
const TAKE: &str = "DELETE FROM state WHERE kind = $1 AND name = $2 AND (expires_at IS NULL OR expires_at > $3) RETURNING value";
const ALL: &str = "SELECT name, value FROM state WHERE kind = $1 AND (expires_at IS NULL OR expires_at > $2) ORDER BY name";
const PURGE: &str = "DELETE FROM state WHERE expires_at <= $1";

impl Store {
    /// In a database file in `folder`, which is made where it is missing.
    pub async fn in_folder(folder: &Path) -> Result<Self, StoreError> {
        let place = "`FACT_STATE_DIR`";
        let database = |source| StoreError::Database { place, source };
        std::fs::create_dir_all(folder).map_err(|error| database(error.into()))?;
        let path = folder.join("state.sqlite");
        let path: String =
            url::form_urlencoded::byte_serialize(path.as_os_str().as_encoded_bytes())
                .collect::<String>()
                .replace('+', "%20");
        Self::open(&format!("sqlite://{path}?mode=rwc"), place).await
    }

    /// In the schema `fact` of a Postgres database, which is made where it is missing.
    pub async fn at_url(url: &str) -> Result<Self, StoreError> {
        Self::open(url, "`FACT_STATE_URL`").await
    }

    async fn open(url: &str, place: &'static str) -> Result<Self, StoreError> {
        sqlx::any::install_default_drivers();
        let database = |source| StoreError::Database { place, source };
        let options = AnyConnectOptions::from_str(url).map_err(database)?;
        let pool = AnyPoolOptions::new()
            .max_connections(8)
            .acquire_timeout(Duration::from_secs(5))
            .after_connect(|connection, _| {
                Box::pin(async move {
                    if connection.backend_name() == "PostgreSQL" {
                        connection
                            .execute("CREATE SCHEMA IF NOT EXISTS fact")
                            .await?;
                        connection.execute("SET search_path TO fact").await?;
                    } else {
                        connection.execute("PRAGMA journal_mode = WAL").await?;
                        connection.execute("PRAGMA busy_timeout = 5000").await?;
                    }
                    Ok(())
                })
            })
            .connect_with(options)
            .await
            .map_err(database)?;
        sqlx::migrate!()
            .run(&pool)
            .await
            .map_err(|source| StoreError::Migration { place, source })?;
        let store = Self { pool, place };
        store.purge().await?;
        Ok(store)
    }

    fn failed(&self, source: sqlx::Error) -> StoreError {
        StoreError::Database {
            place: self.place,
            source,
        }
    }

    /// Keeps a value until `expires_at` (seconds since 1970), in place of an earlier one of that name.
    pub async fn put(
        &self,
        kind: Kind,
        name: &str,
        value: &impl Serialize,
        expires_at: Option<i64>,
    ) -> Result<(), StoreError> {
        self.write(PUT, kind, name, value, expires_at)
            .await
            .map(drop)
    }

    /// Keeps a value unless there is one of that name already; false where there is.
    pub async fn add(
        &self,
        kind: Kind,
        name: &str,
        value: &impl Serialize,
        expires_at: Option<i64>,
    ) -> Result<bool, StoreError> {
        self.write(ADD, kind, name, value, expires_at)
            .await
            .map(|rows| rows > 0)
    }

    async fn write(
        &self,
        statement: &'static str,
        kind: Kind,
        name: &str,
        value: &impl Serialize,
        expires_at: Option<i64>,
    ) -> Result<u64, StoreError> {
        let text = serde_json::to_string(value).map_err(|source| StoreError::Unreadable {
            kind: kind.name(),
            source,
        })?;
        sqlx::query(statement)
            .bind(kind.name())
            .bind(name)
            .bind(text)
            .bind(expires_at)
            .execute(&self.pool)
            .await
            .map(|done| done.rows_affected())
            .map_err(|error| self.failed(error))
    }

    /// The value, unless it has expired.
    pub async fn get<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        self.read(GET, kind, name).await
    }

    /// The value, which nobody else gets after that.
    pub async fn take<T: DeserializeOwned>(
        &self,
        kind: Kind,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        self.read(TAKE, kind, name).await
    }

    async fn read<T: DeserializeOwned>(
        &self,
        statement: &'static str,
        kind: Kind,
        name: &str,
    ) -> Result<Option<T>, StoreError> {
        let row = sqlx::query(statement)
            .bind(kind.name())
            .bind(name)
            .bind(now())
            .fetch_optional(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        row.map(|row| {
            let text: String = row.try_get(0).map_err(|error| self.failed(error))?;
            parse(kind, &text)
        })
        .transpose()
    }

    /// Whether there was one to remove.
    pub async fn remove(&self, kind: Kind, name: &str) -> Result<bool, StoreError> {
        let taken: Option<serde::de::IgnoredAny> = self.take(kind, name).await?;
        Ok(taken.is_some())
    }

    /// All of a kind, by name.
    pub async fn all<T: DeserializeOwned>(
        &self,
        kind: Kind,
    ) -> Result<Vec<(String, T)>, StoreError> {
        let rows = sqlx::query(ALL)
            .bind(kind.name())
            .bind(now())
            .fetch_all(&self.pool)
            .await
            .map_err(|error| self.failed(error))?;
        rows.into_iter()
            .map(|row| {
                let name: String = row.try_get(0).map_err(|error| self.failed(error))?;
                let text: String = row.try_get(1).map_err(|error| self.failed(error))?;
                Ok((name, parse(kind, &text)?))
            })
            .collect()
    }

    /// Forgets what has expired.
    pub async fn purge(&self) -> Result<(), StoreError> {
        sqlx::query(PURGE)
            .bind(now())
            .execute(&self.pool)
            .await
            .map(drop)
            .map_err(|error| self.failed(error))
    }
}

fn parse<T: DeserializeOwned>(kind: Kind, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|source| StoreError::Unreadable {
        kind: kind.name(),
        source,
    })
}

/// Milliseconds since 1970.
pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    jiff::Timestamp::now().as_second()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_is_kept_outlives_the_store_and_what_expired_is_gone() {
        let folder = tempfile::tempdir().unwrap();
        let odd = folder.path().join("a folder & 100%");
        let store = Store::in_folder(&odd).await.unwrap();
        store.put(Kind::Session, "a", &"one", None).await.unwrap();
        store.put(Kind::Session, "a", &"two", None).await.unwrap();
        let past = Some(now() - 1);
        store.put(Kind::Session, "b", &"old", past).await.unwrap();
        assert!(!store.add(Kind::Session, "a", &"three", None).await.unwrap());
        drop(store);
        assert!(odd.join("state.sqlite").exists());
        let store = Store::in_folder(&odd).await.unwrap();
        let all: Vec<(String, String)> = store.all(Kind::Session).await.unwrap();
        assert_eq!(all, [("a".to_owned(), "two".to_owned())]);
        let other: Option<String> = store.get(Kind::Job, "a").await.unwrap();
        assert_eq!(other, None);
    }

    #[tokio::test]
    async fn what_is_taken_is_taken_once() {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::in_folder(folder.path()).await.unwrap();
        store.put(Kind::Token, "a", &1, None).await.unwrap();
        let takes =
            futures_util::future::join_all((0..8).map(|_| store.take::<u32>(Kind::Token, "a")))
                .await;
        let once = takes
            .into_iter()
            .filter(|took| matches!(took, Ok(Some(1))))
            .count();
        assert_eq!(once, 1);
    }
}
