//! The authorizer of `SQLite` authorizer against the attack and benign sets that lie beside a developer's checkout. Where they are not,
//! there is nothing to read; tests of our own stand beside the code and in the scenarios.

use fact_engine::tools::outcome::{Caller, ToolError};
use fact_engine::tools::sql::{Database, DatabaseConfig, RoleCheck};
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::Duration;

fn corpus(name: &str) -> Option<String> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../shared/corpora/sql")
        .join(name);
    std::fs::read_to_string(file).ok()
}

fn statement(case: &Value) -> Option<String> {
    if let Some(text) = case["statement"].as_str() {
        return Some(text.to_owned());
    }
    let build = &case["build"];
    let times = usize::try_from(build["times"].as_u64()?).ok()?;
    let part = |name: &str| build[name].as_str().unwrap_or_default();
    Some(format!(
        "{}{}{}{}{}",
        part("head"),
        part("open").repeat(times),
        part("mid"),
        part("close").repeat(times),
        part("tail")
    ))
}

#[tokio::test]
async fn sqlite_takes_what_is_legitimate_and_refuses_what_is_hostile() {
    let (Some(schema), Some(benign), Some(hostile)) = (
        corpus("schema.sqlite.sql"),
        corpus("benign.jsonl"),
        corpus("hostile.jsonl"),
    ) else {
        return;
    };
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("world.db");
    rusqlite::Connection::open(&file)
        .and_then(|world| world.execute_batch(&schema))
        .expect("the world");
    let config = DatabaseConfig {
        url: format!("sqlite:{}", file.display()),
        role_check: RoleCheck::Refuse,
        tool_timeout: Duration::from_secs(2),
        samples: Vec::new(),
    };
    let database = Database::connect(config).await.expect("a database");
    // Like the reader of Postgres: `secrets` and what belongs to others are granted to nobody.
    let granted = "companies financial_records segments quarterly_targets fx_rates stock_prices departments news annual_results latest_quarter sector_totals invoices";
    let mut tables: Vec<String> = granted.split(' ').map(ToOwned::to_owned).collect();
    tables.push("Order Lines".to_owned());
    let caller = Caller {
        client_id: "a".into(),
        tenant: "acme".into(),
        tables: Some(tables),
    };
    let mut wrong = Vec::new();
    for line in benign.lines().filter(|line| !line.is_empty()) {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let (Some(text), true) = (statement(&case), case["dialect"] != "postgres") else {
            continue;
        };
        let arguments = json!({ "statement": text, "parameters": case["params"].as_array().cloned().unwrap_or_default() });
        if let Err(error) = database.query_readonly(&caller, &arguments).await {
            wrong.push(format!("{} {error}: {text}", case["id"]));
        }
    }
    for line in hostile.lines().filter(|line| !line.is_empty()) {
        let case: Value = serde_json::from_str(line).expect("a line of JSON");
        let (Some(text), true) = (statement(&case), case["dialect"] == "sqlite") else {
            continue;
        };
        match database
            .query_readonly(&caller, &json!({ "statement": text }))
            .await
        {
            Err(ToolError::Refused { .. } | ToolError::InvalidArguments { .. }) => {}
            Err(_) if !case["also_ok"].is_null() => {}
            Err(error) => wrong.push(format!("{} not refused but {error}: {text}", case["id"])),
            Ok(_) => wrong.push(format!("{} accepted: {text}", case["id"])),
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
