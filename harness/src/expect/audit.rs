//! New events of the target's audit log, counted by type.

use super::Judge;
use crate::client::Plain;
use crate::scenario::values::Count;
use crate::world::World;
use indexmap::IndexMap;
use serde_json::Value;

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
            .filter(|event| text(event, "type") == kind && !is_the_reading_itself(event))
            .count();
        let seen = u64::try_from(seen).unwrap_or(u64::MAX);
        judge.add(&format!("audit.{kind}"), count, seen, count.admits(seen));
    }
}

async fn since(world: &World, newest: u64) -> Result<Vec<Value>, String> {
    const PAGES: usize = 1000;
    let mut events = Vec::new();
    let mut cursor = None;
    for _ in 0..PAGES {
        let (page, next) = page(world, cursor.as_deref()).await?;
        let whole = page.iter().all(|event| sequence(event) > newest);
        events.extend(page.into_iter().filter(|event| sequence(event) > newest));
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
