//! The guard against the attack and benign sets that lie beside a developer's checkout. Where they are not, there is
//! nothing to read; the guard's own tests stand beside its code.

use fact_guard::sql::Schema;
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
    let file =
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../../shared/corpora/sql/schema.sql");
    Schema::from_ddl(&std::fs::read_to_string(file).expect("the schema beside the statements"))
        .expect("a schema")
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

#[test]
fn every_legitimate_url_is_taken_and_every_hostile_one_refused() {
    let (Some(benign), Some(hostile)) = (corpus("urls/benign.jsonl"), corpus("urls/hostile.jsonl"))
    else {
        return;
    };
    let mut wrong = Vec::new();
    for case in &benign {
        if let Err(refusal) = whole_decision(case) {
            wrong.push(format!(
                "{} refused by {refusal}: {:.200}",
                case["id"], case["url"]
            ));
        }
    }
    // A name that answers differently each time is seen only by who connects.
    for case in hostile.iter().filter(|case| case["level"] != "connect") {
        match whole_decision(case) {
            Ok(()) => wrong.push(format!(
                "{} {} accepted: {:.200} {}",
                case["id"], case["rule"], case["url"], case["redirect_to"]
            )),
            Err(refusal) if case["rule"] != refusal.rule.id() => println!(
                "{} {} as {}: {:.80}",
                case["id"],
                case["rule"],
                refusal.rule.id(),
                case["url"]
            ),
            Err(_) => {}
        }
    }
    assert_none("wrong", &wrong);
}

/// The URL, its method and headers, its addresses, and every hop.
fn whole_decision(case: &Value) -> Result<(), fact_guard::Refusal> {
    let Some(url) = text(case, "url") else {
        return Ok(());
    };
    fact_guard::url::check_method(case["method"].as_str().unwrap_or("GET"))?;
    for (name, value) in case["headers"].as_object().into_iter().flatten() {
        fact_guard::url::check_header(name, value.as_str().unwrap_or_default())?;
    }
    let mut allowed = fact_guard::url::check(&url, &[])?;
    for address in case["resolves_to"].as_array().into_iter().flatten() {
        fact_guard::url::check_address(
            address
                .as_str()
                .unwrap_or_default()
                .parse()
                .expect("an address"),
        )?;
    }
    let hops = match &case["redirect_to"] {
        Value::Array(hops) => hops.clone(),
        Value::Null => Vec::new(),
        one => vec![one.clone()],
    };
    for (at, hop) in hops.iter().enumerate() {
        allowed = fact_guard::url::check_redirect(
            &allowed,
            hop.as_str().unwrap_or_default(),
            at + 1,
            &[],
        )?;
    }
    Ok(())
}
