//! The hash chain: how an event is linked to the one before, and what is wrong with a chain that somebody touched.

use fact_wire::AuditEvent;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

/// What the first event names as the hash before it.
pub const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The hex SHA-256 of the RFC 8785 JSON of the event without `hash`.
pub fn hash_of(event: &AuditEvent) -> String {
    let bare = AuditEvent {
        hash: String::new(),
        ..event.clone()
    };
    hex(&serde_json_canonicalizer::to_vec(&bare).unwrap_or_default())
}

/// The same of an event of any implementation, whatever else it holds.
fn hash_of_any(event: &Value) -> String {
    let mut bare = event.clone();
    if let Some(fields) = bare.as_object_mut() {
        fields.remove("hash");
    }
    hex(&serde_json_canonicalizer::to_vec(&bare).unwrap_or_default())
}

fn hex(canonical: &[u8]) -> String {
    let digest: [u8; 32] = Sha256::digest(canonical).into();
    digest
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            let _ = std::fmt::Write::write_fmt(&mut hex, format_args!("{byte:02x}"));
            hex
        })
}

/// What a chain needs of an event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Where it was found, for people.
    pub place: String,
    /// Its name.
    pub event_id: String,
    /// Its number.
    pub sequence: u64,
    /// Of the event before, as it says.
    pub previous_hash: String,
    /// Its own, as it says.
    pub hash: String,
    /// Its own, computed from what it holds.
    pub computed: String,
}

impl Link {
    /// Reads an event of any implementation; why it is none.
    pub fn read(place: String, event: &Value) -> Result<Self, Finding> {
        let text = |name: &str| event.get(name).and_then(Value::as_str).map(str::to_owned);
        let sequence = event.get("sequence").and_then(Value::as_u64);
        match (sequence, text("previous_hash"), text("hash")) {
            (Some(sequence), Some(previous_hash), Some(hash)) => Ok(Self {
                event_id: text("event_id").unwrap_or_default(),
                computed: hash_of_any(event),
                place,
                sequence,
                previous_hash,
                hash,
            }),
            _ => Err(Finding {
                kind: Kind::Unreadable,
                sequence,
                text: format!("{place} holds no event with `sequence`, `previous_hash` and `hash`"),
            }),
        }
    }

    fn named(&self) -> String {
        format!(
            "event {} ({}) at {}",
            self.sequence, self.event_id, self.place
        )
    }
}

/// What happened to an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Its content, or its hash, is not what was written.
    Altered,
    /// It is not there.
    Removed,
    /// It stands where another belongs.
    Reordered,
    /// It is no event.
    Unreadable,
}

/// One thing that is wrong with a chain.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// What happened.
    pub kind: Kind,
    /// To which event, where it has a number.
    pub sequence: Option<u64>,
    /// For people.
    pub text: String,
}

/// The end of what came before a chain: sequence number and hash.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Anchor {
    /// Of the last event before.
    pub sequence: u64,
    /// Its hash.
    pub hash: String,
}

impl Anchor {
    /// Before the first event of all.
    pub fn origin() -> Self {
        Self {
            sequence: 0,
            hash: NO_HASH.to_owned(),
        }
    }
}

/// Everything that is wrong with these events, oldest first, when they follow `anchor`.
pub fn check(anchor: &Anchor, links: &[Link]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut before = anchor.clone();
    // Whether the event before is what was written, so that a wrong link is the next one's fault.
    let mut before_is_whole = true;
    for (index, link) in links.iter().enumerate() {
        let mut find = |kind, sequence, text| {
            findings.push(Finding {
                kind,
                sequence: Some(sequence),
                text,
            });
        };
        let whole = link.computed == link.hash;
        if !whole {
            find(
                Kind::Altered,
                link.sequence,
                format!(
                    "{} was altered: what it holds does not give its hash",
                    link.named()
                ),
            );
        }
        let expected = before.sequence + 1;
        if link.sequence > expected {
            // Where the missing ones stand further down, they were moved and not removed.
            let elsewhere = |sequence: u64| links[index..].iter().any(|l| l.sequence == sequence);
            let missing: Vec<u64> = (expected..link.sequence)
                .take(MOST_NAMED)
                .filter(|sequence| !elsewhere(*sequence))
                .collect();
            match (missing.first(), missing.last()) {
                (Some(first), Some(_)) if !elsewhere(link.sequence - 1) => {
                    let last = link.sequence - 1;
                    let which = if *first == last {
                        format!("event {first} was")
                    } else {
                        format!("events {first} to {last} were")
                    };
                    find(
                        Kind::Removed,
                        *first,
                        format!("{which} removed before {}", link.named()),
                    );
                }
                _ => find(
                    Kind::Reordered,
                    link.sequence,
                    format!("{} stands where event {expected} belongs", link.named()),
                ),
            }
        } else if link.sequence < expected {
            find(
                Kind::Reordered,
                link.sequence,
                format!("{} stands after event {}", link.named(), before.sequence),
            );
        } else if link.previous_hash != before.hash && whole && before_is_whole {
            find(
                Kind::Altered,
                before.sequence,
                format!(
                    "event {} was replaced: {} names another hash for it",
                    before.sequence,
                    link.named()
                ),
            );
        }
        before_is_whole = whole;
        before = Anchor {
            sequence: link.sequence,
            hash: link.hash.clone(),
        };
    }
    findings
}

/// Of a long gap, so many are looked for.
const MOST_NAMED: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn event(sequence: u64, previous_hash: &str, note: &str) -> Value {
        let mut event = json!({
            "event_id": format!("evt_{sequence}"), "sequence": sequence, "previous_hash": previous_hash,
            "details": { "note": note, "figure": 1.5e21, "more": [null, true] },
        });
        event["hash"] = hash_of_any(&event).into();
        event
    }

    fn chain(length: u64) -> Vec<Value> {
        let mut previous = NO_HASH.to_owned();
        (1..=length)
            .map(|sequence| {
                let event = event(sequence, &previous, "ü");
                event["hash"].as_str().unwrap().clone_into(&mut previous);
                event
            })
            .collect()
    }

    fn found(events: &[Value]) -> Vec<(Kind, u64)> {
        let links: Vec<Link> = events
            .iter()
            .enumerate()
            .map(|(line, event)| Link::read(format!("line {}", line + 1), event).unwrap())
            .collect();
        check(&Anchor::origin(), &links)
            .into_iter()
            .map(|finding| (finding.kind, finding.sequence.unwrap()))
            .collect()
    }

    #[test]
    fn an_untouched_chain_has_no_finding() {
        assert_eq!(found(&chain(9)), []);
        assert_eq!(found(&[]), []);
    }

    #[test]
    fn an_altered_event_is_named_also_where_its_hash_was_made_anew() {
        let mut events = chain(5);
        events[2]["details"]["note"] = "other".into();
        assert_eq!(found(&events), [(Kind::Altered, 3)]);
        events[2] = event(3, events[1]["hash"].as_str().unwrap(), "other");
        assert_eq!(found(&events), [(Kind::Altered, 3)]);
        let mut events = chain(5);
        events[4]["hash"] = NO_HASH.into();
        assert_eq!(found(&events), [(Kind::Altered, 5)]);
    }

    #[test]
    fn removed_events_are_named_also_at_the_beginning_and_where_the_rest_was_numbered_anew() {
        let mut events = chain(6);
        events.remove(3);
        assert_eq!(found(&events), [(Kind::Removed, 4)]);
        events.remove(3);
        assert_eq!(found(&events), [(Kind::Removed, 4)]);
        assert_eq!(found(&chain(3)[1..]), [(Kind::Removed, 1)]);
        let mut renumbered = chain(3);
        renumbered.remove(1);
        renumbered[1]["sequence"] = 2.into();
        renumbered[1]["hash"] = hash_of_any(&renumbered[1]).into();
        assert_eq!(found(&renumbered), [(Kind::Altered, 1)]);
    }

    #[test]
    fn reordered_and_doubled_events_are_named() {
        let mut events = chain(5);
        events.swap(1, 2);
        let kinds: Vec<(Kind, u64)> = found(&events);
        assert!(kinds.contains(&(Kind::Reordered, 3)), "{kinds:?}");
        assert!(
            kinds.iter().all(|(kind, _)| *kind != Kind::Altered),
            "{kinds:?}"
        );
        let mut events = chain(3);
        let twice = events[1].clone();
        events.insert(2, twice);
        assert_eq!(found(&events), [(Kind::Reordered, 2)]);
    }
}
