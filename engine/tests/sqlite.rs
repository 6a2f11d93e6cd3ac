//! `SQLite` behind the SQL tool: what a statement costs at most, what it tells, and a schema that changes meanwhile.

#![expect(clippy::unwrap_used, reason = "helpers of tests fail by panicking")]

use fact_engine::tools::outcome::{Caller, ToolError, ToolOutput};
use fact_engine::tools::sql::{Database, DatabaseConfig, RoleCheck};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

/// A text of 512 KiB.
const LONG: &str = "WITH RECURSIVE b(x) AS (SELECT 'aaaaaaaa' UNION ALL SELECT x || x FROM b WHERE length(x) < 500000), \
    long AS (SELECT max(x) AS x FROM b)";

struct World {
    file: tempfile::NamedTempFile,
    database: Database,
}

impl World {
    async fn of(ddl: &str, timeout: Duration) -> Self {
        let file = tempfile::NamedTempFile::new().unwrap();
        let owner = rusqlite::Connection::open(file.path()).unwrap();
        owner.execute_batch(ddl).unwrap();
        let config = DatabaseConfig {
            url: format!("sqlite:{}", file.path().display()),
            role_check: RoleCheck::Refuse,
            tool_timeout: timeout,
            samples: Vec::new(),
        };
        let database = Database::connect(config).await.unwrap();
        Self { file, database }
    }

    async fn ask(&self, statement: &str, parameters: Value) -> Result<ToolOutput, ToolError> {
        let caller = Caller {
            client_id: "a".into(),
            tenant: "acme".into(),
            tables: None,
        };
        let arguments = json!({ "statement": statement, "parameters": parameters });
        self.database.query_readonly(&caller, &arguments).await
    }
}

#[tokio::test]
async fn a_table_made_after_the_start_is_not_counted() {
    let world = World::of("CREATE TABLE a (id)", Duration::from_secs(10)).await;
    let owner = rusqlite::Connection::open(world.file.path()).unwrap();
    owner
        .execute_batch("CREATE TABLE later (id); INSERT INTO later VALUES (1)")
        .unwrap();
    for statement in ["SELECT count(*) FROM later", "SELECT id FROM later"] {
        let refused = world.ask(statement, json!([])).await.unwrap_err();
        assert!(
            matches!(refused, ToolError::Refused { rule, .. } if rule == "sql.relation-not-allowed")
        );
    }
    assert!(world.ask("SELECT count(*) FROM a", json!([])).await.is_ok());
}

#[tokio::test]
async fn values_keep_their_meaning() {
    let world = World::of("CREATE TABLE a (id)", Duration::from_secs(10)).await;
    let statement = "SELECT 9007199254740993 AS a, 9007199254740992 AS b, 1e999 AS c, -1e999 AS d, x'00ff' AS e, NULL AS f, \
        trim('xxaxx', 'x') AS g, ltrim(121, 1) AS h, rtrim('x', NULL) AS i, ?2 || ?1 AS j";
    let told = world.ask(statement, json!(["b", 1])).await.unwrap();
    let expected = json!({
        "a": "9007199254740993", "b": 9_007_199_254_740_992_u64, "c": "Infinity", "d": "-Infinity", "e": "AP8=", "f": null,
        "g": "a", "h": "21", "i": null, "j": "1b",
    });
    assert_eq!(told.result["rows"][0], expected);
}

#[tokio::test]
async fn one_call_on_long_texts_does_not_outlast_the_clock() {
    let timeout = Duration::from_secs(2);
    let world = World::of("CREATE TABLE a (id)", timeout).await;
    let trim = format!(
        "{LONG} SELECT length(trim(x, replace(substr(x, 9), 'a', 'b') || 'a')) AS n FROM long"
    );
    let told = world.ask(&trim, json!([])).await.unwrap();
    assert_eq!(told.result["rows"][0]["n"], 0);
    let began = Instant::now();
    let many = format!(
        "{LONG}, n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT sum(length(lower(x || i))) FROM long, n"
    );
    assert_eq!(world.ask(&many, json!([])).await, Err(ToolError::Timeout));
    assert!(began.elapsed() < timeout * 4);
}

#[tokio::test]
async fn a_row_that_is_too_long_is_left_out() {
    let world = World::of("CREATE TABLE a (id)", Duration::from_secs(10)).await;
    let columns = ["x"; 300].join(", ");
    let told = world
        .ask(&format!("{LONG} SELECT {columns} FROM long"), json!([]))
        .await
        .unwrap();
    assert_eq!(
        (&told.result["truncated"], told.row_count),
        (&json!(true), Some(0))
    );
}
