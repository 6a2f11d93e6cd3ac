//! Databases as scenarios get them: from Postgres binaries behind the relay, and `SQLite`.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say where they skip"
)]

use fact_harness::database::{Data, DatabaseError, Request, ScenarioDatabase, Server, choose};
use fact_mocks::clock::Clock;
use fact_mocks::journal::Journal;
use fact_mocks::relay::{self, Relay, names_relation};
use sqlx::postgres::PgListener;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection};
use std::time::Duration;

async fn open(kind: &str) -> Result<Server, DatabaseError> {
    let request = Request {
        kind: kind.to_owned(),
        image: None,
    };
    choose(&request, &Data::shipped()).await
}

/// A server from binaries. Without them the test fails under CI and is skipped elsewhere, and says so.
async fn binaries() -> Option<Server> {
    match open("binaries").await {
        Ok(server) => Some(server),
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

struct Reader {
    relay: Relay,
    journal: Journal,
    connection: PgConnection,
}

impl Reader {
    async fn of(database: &ScenarioDatabase) -> Self {
        let journal = Journal::new(Clock::start());
        let server = relay::Upstream::Tcp(database.server_address().unwrap());
        let relay = relay::start("127.0.0.1:0".parse().unwrap(), server, journal.clone())
            .await
            .unwrap();
        let url = database.target_url(Some(relay.address));
        let connection = PgConnection::connect(&url).await.unwrap();
        Self {
            relay,
            journal,
            connection,
        }
    }

    async fn number(&mut self, statement: &str) -> Result<i64, String> {
        sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
            .fetch_one(&mut self.connection)
            .await
            .map_err(|error| error.to_string())
    }

    /// The texts of the statements on relations that the relay saw, with their status.
    async fn statements(&self) -> Vec<(String, u16)> {
        while self.journal.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        let entries = self.journal.since(0).into_iter();
        entries
            .filter(|entry| names_relation(&entry.what))
            .map(|entry| (entry.what, entry.status))
            .collect()
    }

    async fn close(self) {
        drop(self.connection.close().await);
        self.relay.shutdown().await;
    }
}

#[tokio::test]
async fn the_relay_journals_each_statement_of_a_real_driver_once_with_its_outcome() {
    let Some(server) = binaries().await else {
        return;
    };
    let database = server.create("relay").await.unwrap();
    let mut reader = Reader::of(&database).await;
    let count = "SELECT count(*) FROM financial_records";
    assert_eq!(reader.number(count).await, Ok(1120));
    assert_eq!(reader.number(count).await, Ok(1120));
    let fails = "SELECT 1::bigint / (id - id) FROM companies";
    assert!(reader.number(fails).await.is_err());
    let seen = [(count, 200), (count, 200), (fails, 500)];
    assert_eq!(
        reader.statements().await,
        seen.map(|(text, status)| (text.to_owned(), status))
    );
    for entry in reader.journal.since(0) {
        assert!(
            entry.arrived_ns <= entry.first_byte_ns && entry.first_byte_ns <= entry.ended_ns,
            "{entry:?}"
        );
    }
    reader.close().await;
    database.drop().await;
    server.stop().await;
}

#[tokio::test]
async fn the_reader_reads_what_is_granted_for_its_tenant_and_changes_nothing() {
    let Some(server) = binaries().await else {
        return;
    };
    let database = server.create("reader").await.unwrap();
    let before = database.fingerprint().await.unwrap();
    let mut reader = Reader::of(&database).await;
    let invoices = "SELECT count(*) FROM invoices";
    assert_eq!(reader.number(invoices).await, Ok(0), "without a tenant");
    sqlx::query("SET fact.tenant = 'acme'")
        .execute(&mut reader.connection)
        .await
        .unwrap();
    assert_eq!(reader.number(invoices).await, Ok(200));
    sqlx::query("SET default_transaction_read_only = off")
        .execute(&mut reader.connection)
        .await
        .unwrap();
    for refused in [
        "SELECT count(*) FROM secrets",
        "DELETE FROM companies RETURNING 1::bigint",
        "CREATE TABLE mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
    ] {
        let error = reader.number(refused).await.unwrap_err();
        assert!(error.contains("permission denied"), "{refused}: {error}");
    }
    assert_eq!(database.fingerprint().await.unwrap(), before);
    reader.close().await;
    database.drop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_change_is_notified_and_seen_in_the_fingerprint_of_its_own_clone_only() {
    let Some(server) = binaries().await else {
        return;
    };
    let (one, other) = (
        server.create("one").await.unwrap(),
        server.create("other").await.unwrap(),
    );
    let untouched = other.fingerprint().await.unwrap();
    let before = one.fingerprint().await.unwrap();
    assert_eq!(one.fingerprint().await.unwrap(), before);
    let mut listener = PgListener::connect(&one.target_url(None)).await.unwrap();
    listener.listen("fact_table_changed").await.unwrap();
    one.execute_as_owner("UPDATE companies SET employees = employees + 1 WHERE id = 7")
        .await
        .unwrap();
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
    assert_eq!(heard.unwrap().unwrap().payload(), "public.companies");
    // What operators are given does the same, and once only where it was there already.
    let tables: [&[String]; 2] = [&[], &["public.companies".into(), "stock_prices".into()]];
    for tables in tables {
        let sql = fact_harness::database::triggers(tables).unwrap();
        one.execute_as_owner(&sql).await.unwrap();
    }
    for statement in ["DELETE FROM stock_prices", "TRUNCATE companies CASCADE"] {
        one.execute_as_owner(statement).await.unwrap();
    }
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
    assert_eq!(heard.unwrap().unwrap().payload(), "public.stock_prices");
    let heard = tokio::time::timeout(Duration::from_secs(10), listener.recv()).await;
    assert!(heard.unwrap().unwrap().payload().starts_with("public."));
    assert_ne!(one.fingerprint().await.unwrap(), before);
    assert_eq!(other.fingerprint().await.unwrap(), untouched);
    drop(listener);
    one.drop().await;
    other.drop().await;
    server.stop().await;
}

#[tokio::test]
async fn a_stopped_server_listens_no_more() {
    let Some(server) = binaries().await else {
        return;
    };
    let database = server.create("stop").await.unwrap();
    let address = database.server_address().unwrap();
    drop(database);
    server.stop().await;
    assert!(tokio::net::TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn copies_of_the_sqlite_file_are_apart_and_gone_when_dropped() {
    let server = open("sqlite").await.unwrap();
    let (one, other) = (
        server.create("one").await.unwrap(),
        server.create("other").await.unwrap(),
    );
    let before = other.fingerprint().await.unwrap();
    assert_eq!(one.fingerprint().await.unwrap(), before);
    one.execute_as_owner("UPDATE companies SET employees = 1 WHERE id = 7")
        .await
        .unwrap();
    assert_ne!(one.fingerprint().await.unwrap(), before);
    assert_eq!(other.fingerprint().await.unwrap(), before);
    let file = one.target_url(None).replace("sqlite:", "");
    one.drop().await;
    assert!(!std::path::Path::new(&file).exists());
    server.stop().await;
}

#[tokio::test]
async fn a_database_that_cannot_be_had_says_why_and_what_to_do() {
    let unknown = open("oracle").await.unwrap_err().to_string();
    assert!(unknown.contains("use `auto`, `docker`, `binaries`, `sqlite`"));
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = closed.local_addr().unwrap();
    drop(closed);
    let refused = open(&format!("postgres://me:hidden@{address}/db"))
        .await
        .unwrap_err()
        .to_string();
    assert!(refused.contains("the database `url` cannot be used") && !refused.contains("hidden"));
}
