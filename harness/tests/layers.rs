//! Each fence of the database by itself, with those before it switched off: no guard, then no transaction either.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say where they skip"
)]

use fact_harness::database::{Data, Request, ScenarioDatabase, Server, choose};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

/// `None` where this machine has no Postgres, which only CI has to have.
async fn server() -> Option<Server> {
    let request = Request {
        kind: "binaries".into(),
        image: None,
    };
    match choose(&request, &Data::shipped()).await {
        Ok(server) => Some(server),
        Err(error) if std::env::var_os("CI").is_some() => panic!("{error}"),
        Err(error) => {
            println!("skipped: {error}");
            None
        }
    }
}

/// What the role that targets are given is told.
async fn told(reader: &mut PgConnection, statement: &str) -> Result<String, String> {
    let answer = sqlx::query_scalar(AssertSqlSafe(statement.to_owned()))
        .persistent(false)
        .fetch_optional(reader)
        .await;
    match answer {
        Ok(value) => Ok(value.unwrap_or_default()),
        Err(sqlx::Error::Database(error)) => Err(error.code().unwrap_or_default().into_owned()),
        Err(error) => Err(error.to_string()),
    }
}

const WRITES: &[&str] = &[
    "DELETE FROM stock_prices",
    "UPDATE companies SET name = 'x'",
    "INSERT INTO companies SELECT * FROM companies",
    "WITH d AS (DELETE FROM companies RETURNING id) SELECT id::text FROM d",
    "CREATE TABLE planted (a int)",
    "CREATE TEMP TABLE planted (a int)",
    "SELECT name INTO planted FROM companies",
    "SELECT name FROM companies FOR UPDATE",
    "TRUNCATE companies",
    "COPY companies TO '/tmp/fact_planted'",
    "SELECT pg_read_file('PG_VERSION')",
    "SELECT lo_import('/etc/passwd')::text",
    "SELECT secret FROM secrets",
    "SELECT rolpassword FROM pg_authid LIMIT 1",
    "ALTER TABLE companies DISABLE ROW LEVEL SECURITY",
    "CREATE ROLE planted SUPERUSER",
];

async fn reader(database: &ScenarioDatabase) -> PgConnection {
    PgConnection::connect(&database.target_url(None))
        .await
        .unwrap()
}

#[tokio::test]
async fn without_the_guard_the_transaction_and_the_role_stop_every_write() {
    let Some(server) = server().await else { return };
    let database = server.create("layers").await.unwrap();
    let before = database.fingerprint().await.unwrap();
    for begin in ["BEGIN READ ONLY", "BEGIN READ WRITE"] {
        for statement in WRITES {
            let mut reader = reader(&database).await;
            reader.execute(begin).await.unwrap();
            let told = told(&mut reader, statement).await;
            let code = told.expect_err(statement);
            // Not allowed, or not in a transaction that reads.
            assert!(
                ["42501", "25006", "2BP01", "0LP01"].contains(&code.as_str()),
                "{begin}; {statement}: {code}"
            );
        }
    }
    // By the extended protocol, one text is one statement.
    let mut reader = reader(&database).await;
    let stacked = told(&mut reader, "SELECT '1'; DELETE FROM companies").await;
    assert_eq!(stacked, Err("42601".to_owned()));
    drop(reader.close().await);
    assert_eq!(database.fingerprint().await.unwrap(), before);
    database.drop().await;
    server.stop().await;
}

#[tokio::test]
async fn without_the_guard_a_tenant_still_sees_its_own_rows_only_and_no_statement_runs_for_ever() {
    let Some(server) = server().await else { return };
    let database = server.create("layers").await.unwrap();
    let mut reader = reader(&database).await;
    let nobody = told(&mut reader, "SELECT count(*)::text FROM invoices").await;
    assert_eq!(nobody.as_deref(), Ok("0"));
    reader.execute("BEGIN READ ONLY").await.unwrap();
    reader
        .execute("SELECT set_config('fact.tenant', 'acme', true)")
        .await
        .unwrap();
    for statement in [
        "SELECT string_agg(DISTINCT tenant, ',') FROM invoices",
        "SELECT string_agg(DISTINCT tenant, ',') FROM invoices WHERE tenant = 'globex' OR true",
        "SELECT string_agg(DISTINCT i.tenant, ',') FROM invoices i RIGHT JOIN companies c ON true",
        "SELECT string_agg(DISTINCT tenant, ',') FROM (SELECT * FROM invoices UNION ALL TABLE invoices) x",
    ] {
        assert_eq!(
            told(&mut reader, statement).await.as_deref(),
            Ok("acme"),
            "{statement}"
        );
    }
    reader
        .execute("SET LOCAL statement_timeout = 100")
        .await
        .unwrap();
    let endless = "WITH RECURSIVE r(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM r) SELECT count(*)::text FROM r";
    assert_eq!(told(&mut reader, endless).await, Err("57014".to_owned()));
    drop(reader.close().await);
    database.drop().await;
    server.stop().await;
}
