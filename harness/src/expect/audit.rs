//! New events of the target's audit log: counted by type, whole, chained, and without secrets.

use super::Judge;
use crate::client::Plain;
use crate::scenario::expect::Kind;
use crate::scenario::values::Count;
use crate::world::World;
use indexmap::IndexMap;
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::fmt::Write as _;

/// The sequence number of the newest event; 0 when there is none.
pub(super) async fn newest(world: &World) -> Result<u64, String> {
    let (events, _) = page(world, None).await?;
    Ok(events.first().map_or(0, sequence))
}

/// Counts the events since, and compares.
pub(super) async fn judge(
    judge: &mut Judge<'_>,
    expected: &IndexMap<String, Count>,
    newest: u64,
    world: &World,
) {
    let events = match since(world, newest).await {
        Ok(events) => events,
        Err(reason) => {
            judge.add("audit", "the log can be read", reason, false);
            return;
        }
    };
    for (kind, count) in expected {
        let seen = events
            .iter()
            .filter(|event| sequence(event) > newest)
            .filter(|event| text(event, "type") == kind && !is_the_reading_itself(event))
            .count();
        let seen = u64::try_from(seen).unwrap_or(u64::MAX);
        judge.add(&format!("audit.{kind}"), count, seen, count.admits(seen));
    }
    let wrong = wrong(&events).or_else(|| {
        let leak = |event: &Value| world.leak(event.to_string().as_bytes());
        let leaked = events.iter().find_map(leak)?;
        Some(format!("{leaked} is in an event"))
    });
    judge.add(
        "audit, its events",
        "whole, each with its own hash and that of the event before, and without secrets",
        wrong.as_deref().unwrap_or("they are"),
        wrong.is_none(),
    );
}

/// What is wrong with these events, the newest first.
fn wrong(events: &[Value]) -> Option<String> {
    events.iter().zip(1..).find_map(|(event, later)| {
        let why = lacks(event).or_else(|| match events.get(later) {
            // Where a log shows one tenant's events only, there are gaps.
            Some(before) if sequence(before) + 1 != sequence(event) => None,
            Some(before) if text(before, "hash") != text(event, "previous_hash") => {
                Some("its `previous_hash` is not the `hash` of the event before".to_owned())
            }
            _ => None,
        })?;
        Some(format!("{why}: {event}"))
    })
}

/// What an event by itself lacks.
fn lacks(event: &Value) -> Option<String> {
    let parts = [
        ("event_id", Kind::Text),
        ("sequence", Kind::Count),
        ("at", Kind::Timestamp),
        ("type", Kind::Text),
        ("outcome", Kind::Text),
        ("resource", Kind::Text),
        ("trace_id", Kind::Text),
        ("details", Kind::Object),
        ("previous_hash", Kind::Text),
        ("hash", Kind::Text),
    ];
    let of_its_kind = |name: &str, kind: Kind| event.get(name).is_some_and(|part| kind.fits(part));
    if let Some((name, kind)) = parts.iter().find(|(name, kind)| !of_its_kind(name, *kind)) {
        return Some(format!("its `{name}` is not {kind}"));
    }
    (text(event, "hash") != hash(event)).then(|| "its `hash` is another one's".to_owned())
}

/// The hex SHA-256 of the RFC 8785 JSON of the event without `hash`.
fn hash(event: &Value) -> String {
    let mut bare = event.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("hash");
    }
    let canonical = serde_json_canonicalizer::to_vec(&bare).unwrap_or_default();
    let digest: [u8; 32] = Sha256::digest(canonical).into();
    digest.iter().fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    })
}

/// The newest first; the last is the one before them, where there is one.
async fn since(world: &World, newest: u64) -> Result<Vec<Value>, String> {
    const PAGES: usize = 1000;
    let mut events = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES {
        let (page, next) = page(world, cursor.as_deref()).await?;
        let whole = page.iter().all(|event| sequence(event) > newest);
        events.extend(page.into_iter().filter(|event| sequence(event) >= newest));
        match next {
            Some(next) if whole => cursor = Some(next),
            _ => break,
        }
    }
    Ok(events)
}

async fn page(world: &World, cursor: Option<&str>) -> Result<(Vec<Value>, Option<String>), String> {
    let token = world
        .client
        .token("admin")
        .await
        .map_err(|error| error.to_string())?;
    let path = match cursor {
        None => "/api/v1/audit".to_owned(),
        Some(cursor) => {
            let query: String = url::form_urlencoded::byte_serialize(cursor.as_bytes()).collect();
            format!("/api/v1/audit?cursor={query}")
        }
    };
    let seen = world
        .client
        .send(&Plain {
            method: "GET".into(),
            path,
            token: Some(token),
            ..Plain::default()
        })
        .await;
    let events = seen
        .body
        .as_ref()
        .and_then(|body| body.get("events"))
        .and_then(Value::as_array);
    let events = events
        .cloned()
        .ok_or_else(|| format!("GET /api/v1/audit answered {}", seen.in_short()))?;
    let next = seen.body.as_ref().and_then(|body| body.get("next_cursor"));
    let next = next.filter(|next| !next.is_null()).map(|next| {
        next.as_str()
            .map_or_else(|| next.to_string(), str::to_owned)
    });
    Ok((events, next))
}

/// That the harness reads the log may be logged as well.
fn is_the_reading_itself(event: &Value) -> bool {
    text(event, "type") == "admin" && text(event, "resource").contains("audit")
}

fn text<'a>(event: &'a Value, field: &str) -> &'a str {
    event.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn sequence(event: &Value) -> u64 {
    event.get("sequence").and_then(Value::as_u64).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::{hash, wrong};
    use serde_json::{Value, json};

    fn event(sequence: u64, previous_hash: &str) -> Value {
        let mut event = json!({ "event_id": "e", "sequence": sequence, "at": "2026-11-23T14:12:06Z", "type": "login", "outcome": "success", "client_id": "alice", "tenant": "acme", "resource": "auth/token", "trace_id": "t", "details": { "é": 1.0 }, "previous_hash": previous_hash });
        event["hash"] = hash(&event).into();
        event
    }

    #[test]
    fn an_event_that_was_touched_taken_out_or_put_in_breaks_the_chain() {
        let first = event(1, &"0".repeat(64));
        let second = event(2, first["hash"].as_str().unwrap());
        let third = event(3, second["hash"].as_str().unwrap());
        assert_eq!(wrong(&[third.clone(), second.clone(), first.clone()]), None);
        // Another tenant's event between them is not shown.
        assert_eq!(wrong(&[third.clone(), first.clone()]), None);
        let mut touched = second.clone();
        touched["client_id"] = "bob".into();
        assert!(wrong(&[third, touched, first.clone()]).is_some());
        assert!(wrong(&[event(2, &"1".repeat(64)), first.clone()]).is_some());
        let mut half = first;
        half["details"] = Value::Null;
        half["hash"] = hash(&half).into();
        assert!(wrong(&[half]).is_some());
    }
}
