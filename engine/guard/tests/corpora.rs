//! The guard against the attack and benign sets that lie beside a developer's checkout. Where they are not, there is
//! nothing to read; the guard's own tests stand beside its code.

use fact_guard::sql::{Relation, Schema};
use fact_guard::{path, sql};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;

fn corpus(name: &str) -> Option<Vec<Value>> {
    let file = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/corpora")
        .join(name);
    let text = std::fs::read_to_string(file).ok()?;
    Some(
        text.lines()
            .filter(|line| !line.trim().is_empty())
            .map(|line| serde_json::from_str(line).expect("a line of JSON"))
            .collect(),
    )
}

/// A case's text; long ones are built from parts.
fn text(case: &Value, field: &str) -> Option<String> {
    if let Some(text) = case[field].as_str() {
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

fn world() -> Schema {
    let relation = |name: &str, columns: &str| Relation {
        schema: "public".into(),
        name: name.into(),
        columns: columns
            .split(',')
            .map(|column| column.trim().to_owned())
            .collect(),
    };
    Schema::new(vec![
        relation(
            "companies",
            "id, name, symbol, sector, country, founded_year, employees, market_cap, created_at, updated_at, update_count, deleted_at, attributes, tags",
        ),
        relation(
            "financial_records",
            "id, company_id, year, quarter, revenue, profit, expenses, currency, recorded_at, note",
        ),
        relation(
            "segments",
            "company_id, year, quarter, segment, region, revenue",
        ),
        relation(
            "quarterly_targets",
            "company_id, year, quarter, target_revenue, target_profit",
        ),
        relation("fx_rates", "day, currency, rate"),
        relation(
            "stock_prices",
            "company_id, day, open, high, low, close, volume",
        ),
        relation("departments", "id, parent_id, company_id, name, headcount"),
        relation(
            "news",
            "id, company_id, published_at, lang, title, body, payload",
        ),
        relation(
            "Order Lines",
            "id, select, from, group, Unit Price, drop, it\"s",
        ),
        relation(
            "annual_results",
            "company_id, name, year, revenue, profit, expenses",
        ),
        relation(
            "latest_quarter",
            "company_id, year, quarter, revenue, profit",
        ),
        relation("sector_totals", "sector, year, revenue"),
        relation("invoices", "id, tenant, customer, amount, issued_on, memo"),
    ])
}

fn postgres(case: &Value) -> bool {
    case["dialect"] != "sqlite"
}

fn assert_none(what: &str, wrong: &[String]) {
    assert!(
        wrong.is_empty(),
        "{} {what}:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}

#[test]
fn every_legitimate_statement_is_taken() {
    let (Some(benign), Some(isolation)) =
        (corpus("sql/benign.jsonl"), corpus("sql/isolation.jsonl"))
    else {
        return;
    };
    let schema = world();
    let mut wrong = Vec::new();
    for case in benign
        .iter()
        .chain(&isolation)
        .filter(|case| postgres(case))
    {
        let Some(statement) = text(case, "statement") else {
            continue;
        };
        if let Err(refusal) = sql::check(&statement, &schema) {
            wrong.push(format!("{} {refusal}: {statement}", case["id"]));
        }
    }
    assert_none("refused", &wrong);
}

#[test]
fn every_hostile_statement_is_refused() {
    let Some(hostile) = corpus("sql/hostile.jsonl") else {
        return;
    };
    let schema = world();
    let mut wrong = Vec::new();
    let mut other_rule: BTreeMap<String, u32> = BTreeMap::new();
    for case in hostile.iter().filter(|case| postgres(case)) {
        let Some(statement) = text(case, "statement") else {
            continue;
        };
        match sql::check(&statement, &schema) {
            Err(refusal) if case["rule"] != refusal.rule.id() => {
                *other_rule
                    .entry(format!("{} as {}", case["rule"], refusal.rule.id()))
                    .or_default() += 1;
            }
            Err(_) => {}
            // What may be cut off by a limit later is not the text's matter alone.
            Ok(_) if case["also_ok"].is_string() || case["also_ok"].is_array() => {}
            Ok(_) => wrong.push(format!("{} {}: {statement:.200}", case["id"], case["rule"])),
        }
    }
    for (rule, number) in other_rule {
        println!("{number} refused by another rule: {rule}");
    }
    assert_none("accepted", &wrong);
}

#[test]
fn every_legitimate_path_is_taken_and_every_hostile_text_refused() {
    let (Some(benign), Some(hostile)) =
        (corpus("paths/benign.jsonl"), corpus("paths/hostile.jsonl"))
    else {
        return;
    };
    let fill = |path: String| {
        let places = [
            ("{root}", "/srv/base/root"),
            ("{outside}", "/srv/base/outside"),
            ("{base}", "/srv/base"),
            ("{canary}", "/srv/base/outside/canary.txt"),
        ];
        places
            .iter()
            .fold(path, |path, (name, place)| path.replace(name, place))
    };
    let roots = ["/srv/base/root"];
    let mut wrong = Vec::new();
    for case in &benign {
        if let Some(path) = text(case, "path").map(fill)
            && let Err(refusal) = path::check(&path, &roots)
        {
            wrong.push(format!("{} refused by {refusal}: {path:?}", case["id"]));
        }
    }
    for case in hostile.iter().filter(|case| case["level"] == "text") {
        if let Some(path) = text(case, "path").map(fill)
            && path::check(&path, &roots).is_ok()
        {
            wrong.push(format!(
                "{} {} accepted: {path:?}",
                case["id"], case["rule"]
            ));
        }
    }
    assert_none("wrong", &wrong);
}
