//! What a type cannot say about a scenario: names that must exist, sums, and what needs what.

use super::step::Verb;
use super::{Scenario, ScenarioError};
use crate::json_path;
use crate::world::CLIENTS;
use std::collections::HashMap;

/// What is wrong: the word of the file that it is about, and why.
type Wrong = (String, String);

/// Checks one scenario.
pub(super) fn scenario(scenario: &Scenario) -> Result<(), Wrong> {
    identity(scenario)?;
    for step in scenario.steps.iter().chain(&scenario.then) {
        let client = match &step.verb {
            Verb::Ask(ask) => Some(&ask.client),
            Verb::Execute(execute) => Some(&execute.client),
            Verb::Request(request) => request.client.as_ref(),
            Verb::Write(_) | Verb::Sql(_) | Verb::Wait(_) | Verb::Fault(_) | Verb::Restart(_) => {
                None
            }
        };
        client.map_or(Ok(()), |client| known_client(client))?;
        if let Verb::Request(request) = &step.verb
            && !request.path.starts_with('/')
        {
            return Err((
                request.path.clone(),
                format!("the path `{}` does not begin with `/`", request.path),
            ));
        }
        let body = step.expect.body.iter();
        for path in body.flat_map(|body| {
            body.redact
                .iter()
                .chain(body.equals.keys())
                .chain(body.is.keys())
        }) {
            json_path::parse(path).map_err(|why| (path.clone(), why))?;
        }
        let body = step.expect.body.iter();
        for text in body.flat_map(|body| body.contains.iter().chain(&body.lacks)) {
            by_chance(text)?;
        }
        for event in step.expect.audit.keys() {
            if !["tool_call", "refusal", "login", "admin"].contains(&event.as_str()) {
                let why = format!(
                    "the audit log has no type `{event}`; it has `tool_call`, `refusal`, `login`, `admin`"
                );
                return Err((event.clone(), why));
            }
        }
    }
    load(scenario)?;
    for (name, limit) in &scenario.gates {
        crate::gates::read(name, limit).map_err(|why| (name.clone(), why))?;
    }
    Ok(())
}

/// A few digits are in one random id of a thousand.
fn by_chance(text: &str) -> Result<(), Wrong> {
    const SHORTEST: usize = 12;
    if text.len() >= SHORTEST || !text.chars().all(|c| c.is_ascii_hexdigit()) {
        return Ok(());
    }
    let why = format!(
        "`{text}` stands in ids and times by chance; write some of the text around it, or `equals` with its place"
    );
    Err((text.to_owned(), why))
}

fn identity(scenario: &Scenario) -> Result<(), Wrong> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-' || c == '.';
    if scenario.id.is_empty() || !scenario.id.chars().all(plain) {
        return Err((
            "id".into(),
            format!(
                "the id `{}` may have small letters, digits, `-` and `.` only",
                scenario.id
            ),
        ));
    }
    if scenario.steps.is_empty() && scenario.load.is_none() {
        return Err((
            "id".into(),
            "there are neither `steps` nor a `load`, so nothing would be asked".into(),
        ));
    }
    Ok(())
}

fn known_client(client: &str) -> Result<(), Wrong> {
    if CLIENTS.iter().any(|known| known.id == client) {
        return Ok(());
    }
    let known: Vec<&str> = CLIENTS.iter().map(|known| known.id).collect();
    Err((
        client.to_owned(),
        format!(
            "there is no client `{client}`; there are {}",
            known.join(", ")
        ),
    ))
}

fn load(scenario: &Scenario) -> Result<(), Wrong> {
    let Some(load) = &scenario.load else {
        return if scenario.gates.is_empty() {
            Ok(())
        } else {
            Err(("gates".into(), "`gates` need a `load` to measure".into()))
        };
    };
    let sum: f64 = load.mix.values().map(|share| share.0).sum();
    if (sum - 100.0).abs() > 1e-6 {
        return Err((
            "mix".into(),
            format!("the shares of `mix` sum to {sum}%, not to 100%"),
        ));
    }
    for (class, share) in &load.mix {
        let given = match class.as_str() {
            "hit" => load.hit.is_some(),
            "miss" => load.miss.is_some(),
            "tool" => load.tool.is_some(),
            _ => {
                return Err((
                    class.clone(),
                    format!("there is no class `{class}`; there are `hit`, `miss`, `tool`"),
                ));
            }
        };
        if !given && share.0 > 0.0 {
            return Err((
                "mix".into(),
                format!("`mix` has `{class}`, and the load does not say what `{class}` sends"),
            ));
        }
    }
    if let Some(miss) = load
        .miss
        .as_ref()
        .filter(|miss| !miss.question.contains("{{ nonce }}"))
    {
        return Err((
            miss.question.clone(),
            "the question of `miss` needs `{{ nonce }}`, or it would be answered from the cache"
                .into(),
        ));
    }
    let clients = [
        load.hit.as_ref().map(|ask| &ask.client),
        load.miss.as_ref().map(|ask| &ask.client),
    ];
    let tool = load.tool.as_ref().map(|tool| &tool.client);
    clients
        .into_iter()
        .chain([tool])
        .flatten()
        .try_for_each(|client| known_client(client))
}

/// No two scenarios have the same id.
pub(super) fn unique_ids(scenarios: &[Scenario]) -> Result<(), ScenarioError> {
    let mut seen: HashMap<&str, &str> = HashMap::new();
    for scenario in scenarios {
        if let Some(earlier) = seen.insert(&scenario.id, &scenario.origin.name) {
            let message = format!(
                "{}: the id `{}` is also that of {earlier}",
                scenario.origin.name, scenario.id
            );
            return Err(ScenarioError::Bad(message));
        }
    }
    Ok(())
}
