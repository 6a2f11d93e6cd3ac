//! Postgres behind the SQL tool: every type's values and parameters mean what Postgres says that they mean.

#![expect(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stdout,
    reason = "helpers of tests fail by panicking, and say where they skip"
)]

use fact_engine::tools::outcome::{Caller, ToolError, ToolOutput};
use fact_engine::tools::sql::{Database, DatabaseConfig, RoleCheck};
use fact_harness::database::{Data, Request, ScenarioDatabase, Server, choose};
use serde_json::{Value, json};
use sqlx::{AssertSqlSafe, PgConnection};
use std::time::Duration;

/// Type, a value as it is written, and how it is told; where that is `None`, as Postgres writes it.
const VALUES: &[(&str, &str, Option<&str>)] = &[
    ("real", "1.1", Some("1.1")),
    ("real", "-Infinity", Some(r#""-Infinity""#)),
    ("double precision", "1e300", Some("1e300")),
    ("double precision", "NaN", Some(r#""NaN""#)),
    ("bigint", "9007199254740992", Some("9007199254740992")),
    ("bigint", "-9007199254740993", None),
    ("numeric", "-0.00100", None),
    ("numeric", "1e100", None),
    ("numeric", "Infinity", None),
    ("numeric", "12345678901234567890.12345678901234567890", None),
    ("\"char\"", "", None),
    ("\"char\"", "x", None),
    ("character(4)", "ab", Some(r#""ab  ""#)),
    ("name", "a name", None),
    ("date", "0044-03-15 BC", None),
    ("date", "5874897-12-31", None),
    ("date", "-infinity", None),
    ("time without time zone", "24:00:00", None),
    ("time with time zone", "12:00:00.5-12:30", None),
    (
        "timestamp without time zone",
        "294276-12-31 23:59:59.999999",
        Some(r#""294276-12-31T23:59:59.999999""#),
    ),
    (
        "timestamp with time zone",
        "2024-02-29 01:02:03.5+02",
        Some(r#""2024-02-28T23:02:03.5Z""#),
    ),
    (
        "timestamp with time zone",
        "0044-03-15 12:00:00+00 BC",
        Some(r#""0044-03-15T12:00:00Z BC""#),
    ),
    ("timestamp with time zone", "infinity", None),
    (
        "interval",
        "-1 year -2 mons +3 days -04:05:06.7",
        Some(r#""P-1Y-2M3DT-4H-5M-6.7S""#),
    ),
    ("interval", "-00:00:00.000001", Some(r#""PT-0.000001S""#)),
    ("interval", "178000000 years", Some(r#""P178000000Y""#)),
    ("json", r#"{"a": [1, null]}"#, Some(r#"{"a":[1,null]}"#)),
    ("json", "1e400", Some(r#""1e400""#)),
    (
        "jsonb",
        "12345678901234567890",
        Some(r#""12345678901234567890""#),
    ),
    ("jsonpath", r#"$."a"[*]"#, None),
    ("uuid", "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11", None),
    ("bytea", r"\x00ff", Some(r#""AP8=""#)),
    ("bit(3)", "101", None),
    ("bit varying", "10101", None),
    ("inet", "10.1.2.3/24", None),
    ("inet", "::ffff:1.2.3.4", None),
    ("cidr", "2001:db8::/32", None),
    ("macaddr", "08:00:2b:01:02:03", None),
    ("macaddr8", "08:00:2b:01:02:03:04:05", None),
    ("money", "-$1,234.56", None),
    ("int4range", "[1,5)", None),
    ("numrange", "(,2.5]", None),
    ("daterange", "empty", None),
    ("tstzrange", r#"["2024-01-01 00:00:00+00",infinity)"#, None),
    ("tsvector", "'a' 'cat'", None),
    ("tsquery", "'fat' & 'cat'", None),
    ("point", "(1,2.5)", None),
    ("circle", "<(0,0),1>", None),
    ("oid", "4294967295", Some("4294967295")),
    ("xid", "7", None),
    ("mood", "Happy day", None),
    ("\"Odd Name\"", "x", None),
    ("pair", "(1,\"a,b\")", None),
    ("integer[]", "[2:3]={7,NULL}", Some("[7,null]")),
    (
        "text[]",
        r#"{{a,"b c"},{NULL,"NULL"}}"#,
        Some(r#"[["a","b c"],[null,"NULL"]]"#),
    ),
    ("numeric[]", "{1.10,NaN}", Some(r#"["1.10","NaN"]"#)),
    (
        "int4range[]",
        r#"{"[1,2)",NULL}"#,
        Some(r#"["[1,2)",null]"#),
    ),
    ("mood[]", "{}", Some("[]")),
];

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

async fn owner(world: &ScenarioDatabase) -> PgConnection {
    let mut owner = world.connect_as_owner().await.unwrap();
    let ddl = "CREATE TYPE mood AS ENUM ('sad', 'Happy day'); CREATE TYPE \"Odd Name\" AS ENUM ('x'); CREATE TYPE pair AS (a int, b text); \
        SET timezone = 'UTC'";
    sqlx::raw_sql(ddl).execute(&mut owner).await.unwrap();
    for (at, (kind, value, _)) in VALUES.iter().enumerate() {
        let made = format!(
            "CREATE TABLE v{at} (v {kind}); INSERT INTO v{at} VALUES ('{}'); GRANT SELECT ON v{at} TO PUBLIC",
            value.replace('\'', "''")
        );
        sqlx::raw_sql(AssertSqlSafe(made))
            .execute(&mut owner)
            .await
            .unwrap();
    }
    owner
}

async fn database(world: &ScenarioDatabase) -> Database {
    let config = DatabaseConfig {
        url: world.target_url(None),
        role_check: RoleCheck::Warn,
        tool_timeout: Duration::from_secs(10),
        samples: Vec::new(),
    };
    Database::connect(config).await.unwrap()
}

async fn ask(
    database: &Database,
    statement: &str,
    parameters: Value,
) -> Result<ToolOutput, ToolError> {
    let caller = Caller {
        client_id: "a".into(),
        tenant: "acme".into(),
        tables: None,
    };
    let arguments = json!({ "statement": statement, "parameters": parameters });
    database.query_readonly(&caller, &arguments).await
}

#[tokio::test]
async fn values_and_parameters_of_every_type_mean_what_postgres_says() {
    let Some(server) = server().await else {
        return;
    };
    let world = server.create("types").await.unwrap();
    let mut owner = owner(&world).await;
    let database = database(&world).await;
    for (at, (kind, value, told)) in VALUES.iter().enumerate() {
        // `inet` is written otherwise by a cast.
        let text = format!("SELECT format('%s', v), pg_typeof(v)::text FROM v{at}");
        let (text, name): (String, String) = sqlx::query_as(AssertSqlSafe(text))
            .fetch_one(&mut owner)
            .await
            .unwrap();
        let expected = told.map_or_else(
            || Value::from(text),
            |told| serde_json::from_str(told).unwrap(),
        );
        let answer = ask(&database, &format!("SELECT v FROM v{at}"), json!([])).await;
        let answer = answer.unwrap_or_else(|error| panic!("{kind} {value}: {error}"));
        assert_eq!(answer.result["rows"][0]["v"], expected, "{kind} {value}");
        assert_eq!(answer.result["columns"][0]["type"], name, "{kind}");
        // What was told, and what was written, reads as the type. Some types cannot be compared, and lists in JSON have no
        // bounds.
        if value.starts_with("[2:3]")
            || ["json", "jsonpath", "point", "circle", "xid", "pair"].contains(kind)
        {
            continue;
        }
        for given in [expected, Value::from(*value)] {
            let equal = format!("SELECT v FROM v{at} WHERE v = $1");
            let found = ask(&database, &equal, json!([given])).await;
            let found = found.unwrap_or_else(|error| panic!("{kind} {given}: {error}"));
            assert_eq!(found.row_count, Some(1), "{kind} {given}");
        }
    }
    drop(owner);
    world.drop().await;
    server.stop().await;
}

#[tokio::test]
async fn what_does_not_read_as_its_type_is_named_one_by_one() {
    let Some(server) = server().await else {
        return;
    };
    let world = server.create("parameters").await.unwrap();
    let database = database(&world).await;
    let statement = "SELECT $1::date, $2::cidr, $3::float8, $4::int, $5::text, $6::uuid, $7::int[], $8::bytea, $9::interval";
    let bad = json!([
        "2023-02-29",
        "10.0.0.1/8",
        "1e400",
        1.5,
        "a\u{0}b",
        "+0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        [[1], [2, 3]],
        "no base64!",
        "1 day"
    ]);
    let Err(ToolError::InvalidArguments { violations }) = ask(&database, statement, bad).await
    else {
        panic!("it was taken");
    };
    let paths: Vec<&str> = violations.iter().map(|found| found.path.as_str()).collect();
    let expected: Vec<String> = (0..8).map(|at| format!("/parameters/{at}")).collect();
    assert_eq!(paths, expected);
    let lists = "SELECT id FROM companies WHERE id = ANY($1) ORDER BY id";
    for (list, rows) in [
        (json!([1, 2]), 2),
        (json!(["1", null]), 1),
        (json!([]), 0),
        (json!("{1, 2, 3}"), 3),
    ] {
        let found = ask(&database, lists, json!([list])).await.unwrap();
        assert_eq!(found.row_count, Some(rows), "{list}");
    }
    world.drop().await;
    server.stop().await;
}
