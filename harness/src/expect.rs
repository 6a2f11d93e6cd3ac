//! Holds what was seen of a step against what was expected. Believes the journal, the ledger and the database;
//! what the target says of itself must agree with them.

mod audit;
mod body;
mod envelope;
mod stream;
mod upstream;

use crate::client::Observation;
use crate::scenario::Scenario;
use crate::scenario::expect::{CacheStatus, Expect, Took};
use crate::scenario::step::{Ask, Step, Verb};
use crate::world::World;
use fact_mocks::journal::Entry;
use fact_reports::run::{Check, Outcome};
use serde_json::Value;

/// How things stood before a step.
#[derive(Debug)]
pub struct Before {
    /// The journal's length.
    pub journal: usize,
    /// The newest event of the audit log, where events are expected and the target claims one.
    pub audit: Option<u64>,
    /// What the database held, where no trace is expected.
    pub fingerprint: Option<String>,
    /// Connections to canaries.
    pub touched: u64,
}

impl Before {
    /// Looks at all that the expectations need.
    pub async fn take(expect: &Expect, world: &World) -> Result<Self, String> {
        let audit = if expect.audit.is_empty() || !world.claims("audit").await {
            None
        } else {
            Some(audit::newest(world).await?)
        };
        let fingerprint = if expect.no_trace {
            Some(upstream::fingerprint(world).await?)
        } else {
            None
        };
        world.settle().await;
        Ok(Self {
            journal: world.journal.len(),
            audit,
            fingerprint,
            touched: world.touched(),
        })
    }
}

/// What was seen of one step.
#[derive(Debug)]
pub struct Seen {
    /// Every answer, in the order of sending.
    pub observations: Vec<Observation>,
    /// What reached the upstreams meanwhile.
    pub entries: Vec<Entry>,
    /// How things stood before.
    pub before: Before,
}

/// Collects the checks of one step.
#[derive(Debug)]
struct Judge<'a> {
    step: &'a str,
    curl: Option<String>,
    checks: Vec<Check>,
}

impl Judge<'_> {
    #[expect(
        clippy::needless_pass_by_value,
        reason = "numbers, literals and texts are handed over alike"
    )]
    fn add(&mut self, what: &str, expected: impl ToString, seen: impl ToString, holds: bool) {
        self.push(
            what,
            expected.to_string(),
            seen.to_string(),
            if holds {
                Outcome::Passed
            } else {
                Outcome::Failed
            },
        );
    }

    fn push(&mut self, what: &str, expected: String, seen: String, outcome: Outcome) {
        self.checks.push(Check {
            step: self.step.to_owned(),
            what: what.to_owned(),
            expected,
            seen,
            outcome,
            curl: self.curl.clone(),
        });
    }

    /// One check over all answers: it shows the first that does not hold.
    fn each(
        &mut self,
        what: &str,
        expected: impl ToString,
        seen: &Seen,
        look: impl Fn(&Observation) -> (String, bool),
    ) {
        let looks: Vec<(String, bool)> = seen.observations.iter().map(look).collect();
        let failed = looks.iter().position(|(_, holds)| !holds);
        let shown = looks
            .get(failed.unwrap_or(0))
            .map_or_else(|| "no answer".to_owned(), |(text, _)| text.clone());
        let shown = match failed {
            Some(at) if looks.len() > 1 => {
                format!("{shown} (answer {} of {})", at + 1, looks.len())
            }
            _ => shown,
        };
        self.curl = seen
            .observations
            .get(failed.unwrap_or(0))
            .map(|observation| observation.curl.clone());
        self.add(what, expected, shown, failed.is_none() && !looks.is_empty());
        self.curl = seen
            .observations
            .first()
            .map(|observation| observation.curl.clone());
    }
}

/// All checks of one step.
pub async fn judge(
    scenario: &Scenario,
    step: &Step,
    number: usize,
    name: &str,
    seen: &Seen,
    world: &World,
) -> Vec<Check> {
    let expect = &step.expect;
    let curl = seen
        .observations
        .first()
        .map(|observation| observation.curl.clone());
    let mut judge = Judge {
        step: name,
        curl,
        checks: Vec::new(),
    };
    if seen
        .observations
        .iter()
        .all(|observation| !observation.left)
    {
        status(&mut judge, step, seen);
    }
    if let Verb::Ask(Ask {
        stream: true,
        leave_after: None,
        ..
    }) = &step.verb
        && (expect.stream.is_some() || expect.error.is_none())
    {
        let expected = expect.stream.clone().unwrap_or_default();
        stream::judge(&mut judge, &expected, seen);
    }
    if let Some(error) = &expect.error {
        judge.each("error", error, seen, |observation| {
            says(observation, &["error", "code"], |code| {
                error.has(&code.to_owned())
            })
        });
        envelope::judge(&mut judge, seen, world);
    }
    if let Some(rule) = &expect.rule {
        let path = ["error", "details", "rule"];
        judge.each("rule", rule, seen, |observation| {
            says(observation, &path, |text| rule.has(&text.to_owned()))
        });
    }
    for (header, pattern) in &expect.headers {
        let expected = pattern.as_deref().unwrap_or("absent");
        judge.each(&format!("header {header}"), expected, seen, |observation| {
            let value = observation
                .headers
                .get(header)
                .and_then(|value| value.to_str().ok());
            let holds = match (pattern, value) {
                (None, value) => value.is_none(),
                (Some(pattern), value) => value.is_some_and(|value| matches(pattern, value)),
            };
            (value.unwrap_or("absent").to_owned(), holds)
        });
    }
    if let Some(bounds) = &expect.took {
        took(&mut judge, *bounds, seen);
    }
    if let Some(expected) = &expect.cache {
        cache(&mut judge, &expected.0, &expected.to_string(), seen);
    }
    upstream::judge(&mut judge, expect, seen, world).await;
    if let Some(expected) = &expect.body {
        body::judge(&mut judge, expected, scenario, number, seen, world);
    }
    if let Some(newest) = seen.before.audit {
        audit::judge(&mut judge, &expect.audit, newest, world).await;
    } else {
        for (kind, count) in &expect.audit {
            let seen = "the target claims no audit log".to_owned();
            judge.push(
                &format!("audit.{kind}"),
                count.to_string(),
                seen,
                Outcome::Unsupported,
            );
        }
    }
    if world.web().is_some() {
        let touched = world.touched() - seen.before.touched;
        judge.add("canaries", "no connection", touched, touched == 0);
    }
    // What lies outside or listens where it may not be reached must not come to Claude either.
    for request in seen
        .entries
        .iter()
        .filter_map(|entry| entry.request.as_ref())
    {
        if let Some(secret) = world.leak(request.text().as_bytes()) {
            judge.add(
                "secrets",
                "none is told to Claude",
                format!("{secret} is in its journal"),
                false,
            );
        }
    }
    for observation in &seen.observations {
        if let Some(secret) = world.leak(&observation.raw) {
            judge.add(
                "secrets",
                "none is in the answer",
                format!("{secret} is in the answer"),
                false,
            );
        }
    }
    judge.checks
}

fn status(judge: &mut Judge<'_>, step: &Step, seen: &Seen) {
    let expect = &step.expect;
    let shown = |observation: &Observation| match &observation.broken {
        Some(reason) => format!("no whole answer: {reason}"),
        None => match observation.body.as_ref().and_then(|body| body.get("error")) {
            Some(error) => format!("{} {error}", observation.status),
            None => observation.status.to_string(),
        },
    };
    if let Some(status) = &expect.status {
        judge.each("status", status, seen, |observation| {
            (
                shown(observation),
                observation.broken.is_none() && status.has(&observation.status),
            )
        });
    } else if expect.error.is_none()
        && expect.rule.is_none()
        && !matches!(step.verb, Verb::Request(_))
    {
        judge.each("status", 200, seen, |observation| {
            (
                shown(observation),
                observation.broken.is_none() && observation.status == 200,
            )
        });
    }
}

/// A text within the body, and whether it will do.
fn says(
    observation: &Observation,
    path: &[&str],
    will_do: impl Fn(&str) -> bool,
) -> (String, bool) {
    let mut value = observation.body.as_ref();
    for name in path {
        value = value.and_then(|value| value.get(name));
    }
    match value.and_then(Value::as_str) {
        Some(text) => (text.to_owned(), will_do(text)),
        None => (observation.in_short(), false),
    }
}

fn took(judge: &mut Judge<'_>, bounds: Took, seen: &Seen) {
    let at_least = bounds.at_least.map(|least| format!("at least {least}"));
    let at_most = bounds.at_most.map(|most| format!("at most {most}"));
    let expected: Vec<String> = at_least.into_iter().chain(at_most).collect();
    judge.each("took", expected.join(", "), seen, |observation| {
        let took = observation.took();
        let holds = bounds.at_least.is_none_or(|least| took >= least.0)
            && bounds.at_most.is_none_or(|most| took <= most.0);
        (format!("{:.1} ms", took.as_secs_f64() * 1e3), holds)
    });
}

/// The target's word and the journal's have to agree.
fn cache(judge: &mut Judge<'_>, expected: &[CacheStatus], words: &str, seen: &Seen) {
    let path = ["metadata", "cache_status"];
    judge.each("cache", words, seen, |observation| {
        says(observation, &path, |text| {
            expected.iter().any(|status| status.to_string() == text)
        })
    });
    judge.each(
        "cache, its header",
        "cache-status says the same",
        seen,
        |observation| {
            let header = observation.headers.get("cache-status");
            let header = header.and_then(|value| value.to_str().ok());
            let word = word_of(observation);
            let same = header.is_some_and(|header| says_the_same(header, word));
            (
                format!("`{}` and `{word}`", header.unwrap_or("absent")),
                same,
            )
        },
    );
    judge.each(
        "cache, the bill",
        "nothing is billed for what was not asked anew",
        seen,
        |observation| {
            let metadata = observation
                .body
                .as_ref()
                .and_then(|body| body.get("metadata"));
            let Some(metadata) = metadata else {
                return (observation.in_short(), false);
            };
            let bill = [
                "/cost_usd",
                "/tokens/input",
                "/tokens/output",
                "/tokens/cache_creation",
                "/tokens/cache_read",
            ]
            .map(|place| metadata.pointer(place).and_then(Value::as_f64));
            let free = matches!(word_of(observation), "hit" | "collapsed");
            let holds = bill
                .iter()
                .all(|part| part.is_some_and(|part| part == 0.0 || !free));
            (metadata.to_string(), holds)
        },
    );
    let reached = upstream::in_words(&seen.entries);
    if expected == [CacheStatus::Hit] {
        judge.add(
            "cache, by the journal",
            "nothing upstream was reached",
            &reached,
            upstream::is_silent(&seen.entries),
        );
    } else if expected == [CacheStatus::Miss] {
        judge.add(
            "cache, by the journal",
            "Claude was asked",
            &reached,
            upstream::claude(&seen.entries) > 0,
        );
    }
}

/// What the target says that its cache did.
fn word_of(observation: &Observation) -> &str {
    let body = observation.body.as_ref();
    let word = body.and_then(|body| body.pointer("/metadata/cache_status"));
    word.and_then(Value::as_str).unwrap_or_default()
}

/// Whether `Cache-Status` (RFC 9211) says the same as this word. At the head of a stream nobody knows yet what will be stored.
fn says_the_same(header: &str, word: &str) -> bool {
    let mut parts = header.split(';').map(str::trim);
    let named = parts.next() == Some("fact");
    let parts: Vec<&str> = parts.filter(|part| *part != "stored").collect();
    let expected: &[&str] = match word {
        "hit" => &["hit"],
        "miss" => &["fwd=uri-miss"],
        "bypass" => &["fwd=bypass"],
        "refresh" => &["fwd=request"],
        "collapsed" => &["fwd=uri-miss", "collapsed"],
        "stale" => &["hit", "detail=stale"],
        _ => return false,
    };
    named && parts == expected
}

/// `*` stands for any characters.
pub fn matches(pattern: &str, text: &str) -> bool {
    match pattern.split_once('*') {
        None => pattern == text,
        Some((head, tail)) => text.strip_prefix(head).is_some_and(|rest| {
            let starts = rest.char_indices().map(|(at, _)| at).chain([rest.len()]);
            starts.into_iter().any(|at| matches(tail, &rest[at..]))
        }),
    }
}

#[cfg(test)]
mod tests;
