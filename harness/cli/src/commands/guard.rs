//! `fact guard`: the reference guard's verdict, on one text or on JSON lines.

use super::{Failure, code};
use crate::args::{Dialect, GuardArgs, GuardKind};
use fact_guard::sql::Schema;
use fact_guard::{Refusal, Rule, path, sql, url};
use serde_json::{Map, Value, json};
use std::io::{BufRead as _, Write as _};

pub(crate) fn guard(args: &GuardArgs) -> Result<u8, Failure> {
    let schema = schema(args)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(text) = &args.text {
        let case = Map::from_iter([(field(args.kind).to_owned(), Value::from(text.as_str()))]);
        let verdict = verdict(args, &schema, &case).map_err(Failure::usage)?;
        writeln!(out, "{verdict}").map_err(Failure::usage)?;
        return Ok(if verdict["verdict"] == "accept" {
            0
        } else {
            code::FAILED
        });
    }
    for (number, line) in std::io::stdin().lock().lines().enumerate() {
        let line = line.map_err(|error| {
            Failure::usage(format!("line {} cannot be read: {error}", number + 1))
        })?;
        if line.trim().is_empty() {
            continue;
        }
        let at_line = |reason: String| Failure::usage(format!("line {}: {reason}", number + 1));
        let case: Map<String, Value> = serde_json::from_str(&line)
            .map_err(|error| at_line(format!("no JSON object ({error})")))?;
        let verdict = verdict(args, &schema, &case).map_err(at_line)?;
        if writeln!(out, "{verdict}").is_err() {
            // Who reads has heard enough.
            return Ok(0);
        }
    }
    Ok(0)
}

fn schema(args: &GuardArgs) -> Result<Schema, Failure> {
    let text = match &args.schema {
        None => fact_harness::database::Data::shipped().postgres_sql,
        Some(file) => std::fs::read_to_string(file)
            .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?,
    };
    Schema::from_ddl(&text).map_err(Failure::usage)
}

fn field(kind: GuardKind) -> &'static str {
    match kind {
        GuardKind::Sql => "statement",
        GuardKind::Path => "path",
        GuardKind::Url => "url",
    }
}

fn verdict(args: &GuardArgs, schema: &Schema, case: &Map<String, Value>) -> Result<Value, String> {
    let name = field(args.kind);
    let text = case
        .get(name)
        .and_then(Value::as_str)
        .ok_or_else(|| format!("it has no `{name}` of type string"))?;
    let decision = match args.kind {
        GuardKind::Sql => statement(args, schema, text, case),
        GuardKind::Path => {
            let roots: Vec<&str> = args
                .root
                .iter()
                .map(|root| root.trim_end_matches('/'))
                .collect();
            path::check(text, &roots).map(|_| Vec::new())
        }
        GuardKind::Url => whole_url(text, case).map(|()| Vec::new()),
    };
    let mut verdict = match decision {
        Ok(tables) if args.kind == GuardKind::Sql => {
            json!({ "verdict": "accept", "tables": tables })
        }
        Ok(_) => json!({ "verdict": "accept" }),
        Err(refusal) => refused(&refusal),
    };
    if let Some(id) = case.get("id") {
        verdict["id"] = id.clone();
    }
    Ok(verdict)
}

fn statement(
    args: &GuardArgs,
    schema: &Schema,
    text: &str,
    case: &Map<String, Value>,
) -> Result<Vec<String>, Refusal> {
    let dialect = match case.get("dialect").and_then(Value::as_str) {
        Some("sqlite") => Dialect::Sqlite,
        Some("postgres") => Dialect::Postgres,
        _ => args.dialect,
    };
    if dialect == Dialect::Sqlite {
        // The text's own bounds first; SQLite's authorizer decides the rest when it runs.
        sql::check_sqlite_text(text)?;
    }
    sql::check(text, schema).map(|safe| safe.tables().to_vec())
}

/// The URL, its method and headers, the addresses of its name, and every hop.
fn whole_url(text: &str, case: &Map<String, Value>) -> Result<(), Refusal> {
    let texts = |name: &str| match case.get(name) {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    for method in texts("method") {
        url::check_method(&method)?;
    }
    for (name, value) in case
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        url::check_header(name, value.as_str().unwrap_or_default())?;
    }
    let mut allowed = url::check(text, &[])?;
    for address in texts("resolves_to") {
        match address.parse() {
            Ok(address) => url::check_address(address)?,
            Err(_) => return Err(Refusal::of(Rule::WebMalformed)),
        }
    }
    for (at, hop) in texts("redirect_to").iter().enumerate() {
        allowed = url::check_redirect(&allowed, hop, at + 1, &[])?;
    }
    Ok(())
}

fn refused(refusal: &Refusal) -> Value {
    let mut verdict = json!({ "verdict": "refuse", "rule": refusal.rule.id(), "why": refusal.why });
    if let (Some(line), Some(column)) = (refusal.line, refusal.column) {
        verdict["line"] = line.into();
        verdict["column"] = column.into();
    }
    verdict
}
