//! What reached the upstreams during a step, what it cost, what Claude was told, and what the database shows.

use super::{Judge, Seen};
use crate::scenario::expect::{ClaudeSaw, Expect, Reduction};
use crate::scenario::values::Count;
use crate::world::World;
use fact_mocks::journal::{Entry, Upstream, totals};
use fact_reports::run::Outcome;
use serde_json::Value;

/// Calls of the Messages API.
pub(super) fn claude(entries: &[Entry]) -> u64 {
    count(entries, |entry| entry.upstream == Upstream::Claude)
}

/// Statements of the target that name a relation of the user's.
pub(super) fn statements(entries: &[Entry]) -> u64 {
    count(entries, is_statement)
}

/// Tools executed or authorised; that the target looks at the list of tools now and then is its own affair.
pub(super) fn arcade(entries: &[Entry]) -> u64 {
    count(entries, |entry| {
        entry.upstream == Upstream::Arcade && entry.what.starts_with("POST")
    })
}

/// Whether nothing upstream was reached.
pub(super) fn is_silent(entries: &[Entry]) -> bool {
    claude(entries) + statements(entries) + arcade(entries) == 0
}

/// What was reached, for a message.
pub(super) fn in_words(entries: &[Entry]) -> String {
    format!(
        "claude {}, sql {}, arcade {}",
        claude(entries),
        statements(entries),
        arcade(entries)
    )
}

fn is_statement(entry: &Entry) -> bool {
    let probe = entry
        .application
        .as_deref()
        .is_some_and(|name| name.starts_with("fact-probe"));
    entry.upstream == Upstream::Database && !probe && fact_mocks::relay::names_relation(&entry.what)
}

fn count(entries: &[Entry], chosen: impl Fn(&Entry) -> bool) -> u64 {
    u64::try_from(entries.iter().filter(|entry| chosen(entry)).count()).unwrap_or(u64::MAX)
}

/// What the database holds now.
pub(super) async fn fingerprint(world: &World) -> Result<String, String> {
    world
        .database
        .fingerprint()
        .await
        .map_err(|error| error.to_string())
}

/// The checks that rest on journal, ledger and database.
pub(super) async fn judge(judge: &mut Judge<'_>, expect: &Expect, seen: &Seen, world: &World) {
    if let Some(expected) = &expect.upstream {
        let mut admits = |what: &str, expected: Option<Count>, seen: u64| {
            if let Some(expected) = expected {
                judge.add(what, expected, seen, expected.admits(seen));
            }
        };
        admits("upstream.claude", expected.claude, claude(&seen.entries));
        admits("upstream.arcade", expected.arcade, arcade(&seen.entries));
        if let Some(expected) = expected.sql {
            if world.sees_statements() {
                judge.add(
                    "upstream.sql",
                    expected,
                    describe_statements(&seen.entries),
                    expected.admits(statements(&seen.entries)),
                );
            } else {
                judge.push(
                    "upstream.sql",
                    expected.to_string(),
                    "statements cannot be seen".into(),
                    Outcome::NotApplicable,
                );
            }
        }
    }
    if let Some(expected) = &expect.claude_saw {
        claude_saw(judge, expected, &seen.entries);
    }
    if let Some(reduction) = expect.bill.as_ref().and_then(|bill| bill.reduction) {
        bill(judge, reduction, &seen.entries);
    }
    if let Some(before) = &seen.before.fingerprint {
        match fingerprint(world).await {
            Ok(after) => judge.add("no trace in the database", before, &after, *before == after),
            Err(reason) => judge.add("no trace in the database", before, reason, false),
        }
        if world.sees_statements() {
            let seen_statements = describe_statements(&seen.entries);
            judge.add(
                "no trace at the relay",
                0,
                seen_statements,
                statements(&seen.entries) == 0,
            );
        } else {
            judge.push(
                "no trace at the relay",
                "0".into(),
                "statements cannot be seen".into(),
                Outcome::NotApplicable,
            );
        }
    }
}

fn describe_statements(entries: &[Entry]) -> String {
    const CHARACTERS: usize = 200;
    let texts: Vec<String> = entries
        .iter()
        .filter(|entry| is_statement(entry))
        .map(|entry| entry.what.chars().take(CHARACTERS).collect())
        .collect();
    if texts.is_empty() {
        "0".into()
    } else {
        format!("{}: {}", texts.len(), texts.join("; "))
    }
}

fn claude_saw(judge: &mut Judge<'_>, expected: &ClaudeSaw, entries: &[Entry]) {
    let requests: Vec<Value> = entries
        .iter()
        .filter(|entry| entry.upstream == Upstream::Claude)
        .filter_map(|entry| Some(entry.request.as_ref()?.json()))
        .collect();
    let messages: Vec<Vec<&Value>> = requests.iter().flat_map(tool_results).collect();
    if let Some(expected) = expected.tool_error {
        let seen = messages
            .iter()
            .flatten()
            .any(|result| result.get("is_error") == Some(&Value::Bool(true)));
        judge.add("claude_saw.tool_error", expected, seen, seen == expected);
    }
    if let Some(expected) = expected.parallel_results {
        let most = messages.iter().map(Vec::len).max().unwrap_or(0);
        let most = u64::try_from(most).unwrap_or(u64::MAX);
        judge.add(
            "claude_saw.parallel_results",
            expected,
            most,
            expected.admits(most),
        );
    }
    let texts: Vec<String> = requests.iter().map(texts_of).collect();
    let number = format!("{} requests", texts.len());
    for text in &expected.contains {
        let holds = texts.iter().any(|request| request.contains(text.as_str()));
        judge.add("claude_saw.contains", text, &number, holds);
    }
    for text in &expected.only_as_data {
        let holds = !requests.is_empty()
            && !requests
                .iter()
                .any(|request| standing(request).contains(text.as_str()));
        judge.add("claude_saw.only_as_data", text, &number, holds);
    }
    for text in &expected.lacks {
        let holds =
            !texts.is_empty() && !texts.iter().any(|request| request.contains(text.as_str()));
        judge.add("claude_saw.lacks", text, &number, holds);
    }
}

/// The texts of what stands before every conversation: tools and system prompt.
fn standing(request: &Value) -> String {
    ["tools", "system"]
        .iter()
        .filter_map(|name| request.get(*name))
        .map(texts_of)
        .collect()
}

/// The tool results of each user message.
fn tool_results(request: &Value) -> Vec<Vec<&Value>> {
    let messages = request
        .get("messages")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let results = |message: &'_ Value| -> Vec<usize> {
        let blocks = message
            .get("content")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        let is_result =
            |block: &Value| block.get("type").and_then(Value::as_str) == Some("tool_result");
        blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| is_result(block))
            .map(|(at, _)| at)
            .collect()
    };
    messages
        .iter()
        .map(|message| {
            results(message)
                .into_iter()
                .map(|at| &message["content"][at])
                .collect()
        })
        .collect()
}

/// All texts of a value, unescaped, so that quotes within them are found.
fn texts_of(value: &Value) -> String {
    match value {
        Value::String(text) => format!("{text}\n"),
        Value::Array(items) => items.iter().map(texts_of).collect(),
        Value::Object(fields) => fields.values().map(texts_of).collect(),
        _ => String::new(),
    }
}

fn bill(judge: &mut Judge<'_>, expected: Reduction, entries: &[Entry]) {
    let claude: Vec<Entry> = entries
        .iter()
        .filter(|entry| entry.upstream == Upstream::Claude)
        .cloned()
        .collect();
    let totals = totals(&claude);
    let words = format!(">= {:.1}%", expected.0 * 100.0);
    if totals.uncached_usd <= 0.0 {
        judge.add(
            "bill.reduction",
            words,
            "nothing was billed, so nothing was saved",
            false,
        );
        return;
    }
    let reduction = 1.0 - totals.cost_usd / totals.uncached_usd;
    let seen = format!(
        "{:.1}% (${:.6} instead of ${:.6})",
        reduction * 100.0,
        totals.cost_usd,
        totals.uncached_usd
    );
    judge.add("bill.reduction", words, seen, reduction >= expected.0);
}
