//! A stream of events: that it is one, that its text is the answer's, and how soon it came.

use super::{Judge, Seen};
use crate::client::Observation;
use crate::events::{Event, Events};
use crate::scenario::expect::Stream;
use std::time::Duration;

/// The checks of answers that came as streams.
pub(super) fn judge(judge: &mut Judge<'_>, expected: &Stream, seen: &Seen) {
    judge.each(
        "stream",
        "events of the contract, one `done` or `error` at the end",
        seen,
        |observation| {
            with(observation, |events| match &events.wrong {
                None => (format!("{} events", events.all.len()), true),
                Some(why) => (why.clone(), false),
            })
        },
    );
    judge.each(
        "stream, its text",
        "the deltas of the last turn, joined, are the answer",
        seen,
        |observation| {
            with(observation, |events| {
                let answer = events.end().and_then(|end| end["response"].as_str());
                let text = events.text();
                (
                    format!("`{text}` and {answer:?}"),
                    answer.is_none_or(|answer| answer == text),
                )
            })
        },
    );
    for (name, count) in [("delta", expected.deltas), ("progress", expected.progress)] {
        let Some(count) = count else { continue };
        judge.each(&format!("stream, {name}"), count, seen, |observation| {
            with(observation, |events| {
                let number = u64::try_from(events.named(name).count()).unwrap_or(u64::MAX);
                (number.to_string(), count.admits(number))
            })
        });
    }
    if let Some(most) = expected.first_delta_within {
        let words = format!("at most {most}");
        judge.each("stream, first delta", words, seen, |observation| {
            with(observation, |events| {
                let first = events.named("delta").next();
                let took = first.map(|event: &Event| {
                    Duration::from_nanos(event.at_ns.saturating_sub(observation.sent_ns))
                });
                match took {
                    None => ("no delta".to_owned(), false),
                    Some(took) => (
                        format!("{:.1} ms", took.as_secs_f64() * 1e3),
                        took <= most.0,
                    ),
                }
            })
        });
    }
}

fn with(observation: &Observation, look: impl FnOnce(&Events) -> (String, bool)) -> (String, bool) {
    match &observation.events {
        Some(events) => look(events),
        None => (format!("no stream: {}", observation.in_short()), false),
    }
}
