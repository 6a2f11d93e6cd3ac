//! What every error looks like, and what its text may not name.

use super::{Judge, Seen};
use crate::client::Observation;
use crate::scenario::expect::Kind;
use crate::world::World;
use serde_json::Value;

/// Every error has the contract's envelope, and its text names nothing of the machine that it was made on.
pub(super) fn judge(judge: &mut Judge<'_>, seen: &Seen, world: &World) {
    judge.each(
        "error, its envelope",
        "status, timestamp, code, message and trace_id",
        seen,
        |observation| match observation.body.as_ref().map(wrong) {
            None => (observation.in_short(), false),
            Some(Some(wrong)) => (format!("{wrong}: {}", observation.in_short()), false),
            Some(None) => ("all of them".to_owned(), true),
        },
    );
    let places = world.places();
    judge.each(
        "error, its text",
        "names no path and no address",
        seen,
        |observation| match named(observation, &places) {
            Some(place) => (format!("{place}: {}", observation.in_short()), false),
            None => ("it names none".to_owned(), true),
        },
    );
}

/// The first part of the envelope that is missing or of another kind.
fn wrong(body: &Value) -> Option<String> {
    if body.get("status").and_then(Value::as_str) != Some("error") {
        return Some("its `status` is not `error`".into());
    }
    let parts = [
        ("/timestamp", Kind::Timestamp),
        ("/error/code", Kind::Text),
        ("/error/message", Kind::Text),
        ("/error/trace_id", Kind::Text),
    ];
    parts
        .into_iter()
        .find(|(place, kind)| !body.pointer(place).is_some_and(|value| kind.fits(value)))
        .map(|(place, kind)| format!("its `{place}` is not {kind}"))
}

fn named<'a>(observation: &Observation, places: &'a [(&'static str, String)]) -> Option<&'a str> {
    let message = observation.body.as_ref()?.pointer("/error/message")?;
    let message = message.as_str()?;
    let found = places.iter().find(|(_, place)| message.contains(place));
    found.map(|(name, _)| *name)
}

#[cfg(test)]
mod tests {
    use super::wrong;
    use serde_json::json;

    #[test]
    fn an_error_without_one_of_its_parts_is_no_error_of_the_contract() {
        let whole = json!({ "status": "error", "timestamp": "2026-11-23T14:12:06Z", "error": { "code": "NOT_FOUND", "message": "nothing", "trace_id": "1" } });
        assert_eq!(wrong(&whole), None);
        for (place, value) in [
            ("/status", json!("failed")),
            ("/timestamp", json!("yesterday")),
            ("/error/code", json!(404)),
            ("/error/message", json!("")),
            ("/error/trace_id", json!(null)),
        ] {
            let mut broken = whole.clone();
            *broken.pointer_mut(place).unwrap() = value;
            assert!(wrong(&broken).is_some(), "{place}");
        }
    }
}
