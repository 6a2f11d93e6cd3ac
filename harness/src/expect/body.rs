//! The body of an answer: values, texts, and the whole of it against a stored one.

use super::{Judge, Seen};
use crate::json_path;
use crate::scenario::Scenario;
use crate::scenario::expect::{Body, Kind};
use crate::world::World;
use serde_json::Value;

/// The checks of a body.
pub(super) fn judge(
    judge: &mut Judge<'_>,
    expected: &Body,
    scenario: &Scenario,
    number: usize,
    seen: &Seen,
    world: &World,
) {
    for (path, value) in &expected.equals {
        let Ok(segments) = json_path::parse(path) else {
            continue;
        };
        judge.each(&format!("body {path}"), value, seen, |observation| {
            let found = observation
                .body
                .as_ref()
                .map(|body| json_path::find(body, &segments))
                .unwrap_or_default();
            let holds =
                !found.is_empty() && found.iter().all(|found| json_path::same(found, value));
            let shown: Vec<String> = found.iter().map(ToString::to_string).collect();
            (
                if shown.is_empty() {
                    format!("absent in {}", observation.in_short())
                } else {
                    shown.join(", ")
                },
                holds,
            )
        });
    }
    for (path, kind) in &expected.is {
        let Ok(segments) = json_path::parse(path) else {
            continue;
        };
        judge.each(&format!("body {path}"), kind, seen, |observation| {
            let found = observation
                .body
                .as_ref()
                .map(|body| json_path::find(body, &segments))
                .unwrap_or_default();
            let holds = if *kind == Kind::Absent {
                found.is_empty() && observation.body.is_some()
            } else {
                !found.is_empty() && found.iter().all(|found| kind.fits(found))
            };
            let other = found.iter().find(|found| !kind.fits(found));
            (
                match other.or(found.first()) {
                    None => format!("absent in {}", observation.in_short()),
                    Some(shown) => shown.to_string(),
                },
                holds,
            )
        });
    }
    for text in &expected.contains {
        judge.each("body contains", text, seen, |observation| {
            let holds = raw_and_unescaped(&observation.raw).contains(text.as_str());
            (observation.in_short(), holds)
        });
    }
    for text in &expected.lacks {
        judge.each("body lacks", text, seen, |observation| {
            let holds = !raw_and_unescaped(&observation.raw).contains(text.as_str());
            (
                if holds {
                    "it is not there".to_owned()
                } else {
                    observation.in_short()
                },
                holds && observation.broken.is_none(),
            )
        });
    }
    if expected.snapshot {
        snapshot(judge, &expected.redact, scenario, number, seen, world);
    }
}

/// The text as it came, and behind it the texts within the JSON without their escapes.
fn raw_and_unescaped(raw: &[u8]) -> String {
    fn texts(value: &Value, all: &mut String) {
        match value {
            Value::String(text) => {
                all.push('\n');
                all.push_str(text);
            }
            Value::Array(items) => items.iter().for_each(|item| texts(item, all)),
            Value::Object(fields) => fields.values().for_each(|field| texts(field, all)),
            _ => {}
        }
    }
    let mut all = String::from_utf8_lossy(raw).into_owned();
    if let Ok(value) = serde_json::from_slice::<Value>(raw) {
        texts(&value, &mut all);
    }
    all
}

fn snapshot(
    judge: &mut Judge<'_>,
    redact: &[String],
    scenario: &Scenario,
    number: usize,
    seen: &Seen,
    world: &World,
) {
    let relative = format!("snapshots/{}.{number}.json", scenario.id);
    let Some(body) = seen
        .observations
        .last()
        .and_then(|observation| observation.body.clone())
    else {
        judge.add("body snapshot", &relative, "the answer is not JSON", false);
        return;
    };
    let now = redacted(body, redact);
    if world.update_snapshots {
        match write(scenario, &relative, &now) {
            Ok(()) => judge.add("body snapshot", &relative, "written", true),
            Err(reason) => judge.add("body snapshot", &relative, reason, false),
        }
        return;
    }
    match scenario.origin.beside(&relative) {
        None => {
            let hint = "there is no such snapshot; hint: run the scenario's file with `--update-snapshots`";
            judge.add("body snapshot", &relative, hint, false);
        }
        Some(stored) if stored.trim_end() == now.trim_end() => {
            judge.add("body snapshot", &relative, "the same", true);
        }
        Some(stored) => judge.add("body snapshot", &relative, difference(&stored, &now), false),
    }
}

fn redacted(mut body: Value, redact: &[String]) -> String {
    for path in redact.iter().filter_map(|path| json_path::parse(path).ok()) {
        json_path::redact(&mut body, &path);
    }
    body.sort_all_objects();
    format!("{body:#}\n")
}

fn write(scenario: &Scenario, relative: &str, text: &str) -> Result<(), String> {
    if scenario.origin.shipped {
        return Err("a snapshot inside the executable cannot be renewed; name the scenario's file or folder".into());
    }
    let path = scenario.origin.path_of(relative);
    let written = path
        .parent()
        .map_or(Ok(()), std::fs::create_dir_all)
        .and_then(|()| std::fs::write(&path, text));
    written.map_err(|error| format!("{}: {error}", path.display()))
}

/// The first lines that differ.
pub(super) fn difference(stored: &str, now: &str) -> String {
    const LINES: usize = 6;
    let mut shown = Vec::new();
    let (stored, now): (Vec<&str>, Vec<&str>) = (stored.lines().collect(), now.lines().collect());
    for at in 0..stored.len().max(now.len()) {
        let (old, new) = (stored.get(at), now.get(at));
        if old != new {
            shown.push(format!(
                "line {}: -{} +{}",
                at + 1,
                old.unwrap_or(&"").trim(),
                new.unwrap_or(&"").trim()
            ));
        }
    }
    let more = shown.len().saturating_sub(LINES);
    shown.truncate(LINES);
    let end = if more > 0 {
        format!("; and {more} more lines")
    } else {
        String::new()
    };
    format!("{}{end}", shown.join("; "))
}
