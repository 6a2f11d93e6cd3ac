//! What `SQL.QueryReadonly` costs beside the same statement sent by sqlx in a READ ONLY transaction of its own.

#![expect(
    clippy::unwrap_used,
    reason = "a benchmark that cannot begin should end"
)]
#![expect(clippy::print_stdout, reason = "it says why it measures nothing")]

use criterion::{Criterion, criterion_group, criterion_main};
use fact_engine::tools::outcome::Caller;
use fact_engine::tools::sql::{Database, DatabaseConfig, RoleCheck};
use fact_harness::database::{Data, Request, choose};
use serde_json::{Value, json};
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Executor as _, Row as _};
use std::time::Duration;

const STATEMENTS: [(&str, &str); 2] = [
    (
        "one table",
        "SELECT sum(revenue) AS revenue FROM financial_records WHERE quarter = 'Q1' AND year = 2025",
    ),
    (
        "a join",
        "SELECT c.name, f.revenue FROM companies c JOIN financial_records f ON f.company_id = c.id WHERE f.year = 2025 AND f.quarter = 'Q1' ORDER BY 2 DESC LIMIT 5",
    ),
];

fn query(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let request = Request {
        kind: "binaries".into(),
        image: None,
    };
    let server = match runtime.block_on(choose(&request, &Data::shipped())) {
        Ok(server) => server,
        Err(reason) => return println!("skipped: {reason}"),
    };
    let clone = runtime.block_on(server.create("bench")).unwrap();
    let url = clone.target_url(None);
    let config = DatabaseConfig {
        url: url.clone(),
        role_check: RoleCheck::Refuse,
        tool_timeout: Duration::from_secs(5),
        samples: Vec::new(),
    };
    let database = runtime.block_on(Database::connect(config)).unwrap();
    let pool = runtime
        .block_on(PgPoolOptions::new().max_connections(4).connect(&url))
        .unwrap();
    let caller = Caller {
        client_id: "alice".into(),
        tenant: "acme".into(),
        tables: None,
    };
    for (name, statement) in STATEMENTS {
        let mut group = criterion.benchmark_group(name);
        let arguments = json!({ "statement": statement });
        group.bench_function("SQL.QueryReadonly", |bencher| {
            bencher.iter(|| {
                runtime
                    .block_on(database.query_readonly(&caller, &arguments))
                    .unwrap()
            });
        });
        group.bench_function("sqlx, READ ONLY", |bencher| {
            bencher.iter(|| runtime.block_on(bare(&pool, statement)).unwrap());
        });
        group.finish();
    }
    runtime.block_on(clone.drop());
    runtime.block_on(server.stop());
}

/// Begin, one statement with its first column read, roll back.
async fn bare(pool: &sqlx::PgPool, statement: &str) -> sqlx::Result<Vec<Value>> {
    let mut connection = pool.acquire().await?;
    connection.execute("BEGIN READ ONLY").await?;
    let rows = sqlx::query(AssertSqlSafe(statement.to_owned()))
        .fetch_all(&mut *connection)
        .await?;
    connection.execute("ROLLBACK").await?;
    Ok(rows.iter().map(|row| json!(row.len())).collect())
}

criterion_group!(benches, query);
criterion_main!(benches);
