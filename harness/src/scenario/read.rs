//! From YAML to a scenario, or to a message that points at the line and names what was meant.

use super::{Mocks, Origin, Scenario, ScenarioError, rows, validate};
use crate::nearest::nearest;
use fact_mocks::script::{ArcadeScript, ClaudeScript};
use serde_json::Value;

/// A place in a text, from 1.
#[derive(Debug, Clone, Copy)]
struct Place {
    line: usize,
    column: usize,
    length: usize,
}

/// Reads and checks one scenario.
pub(super) fn scenario(text: &str, origin: Origin) -> Result<Scenario, ScenarioError> {
    let mut scenario = parse(text, &origin)?;
    scenario.origin = origin;
    load_files(text, &mut scenario)?;
    if let Err((word, message)) = validate::scenario(&scenario) {
        return Err(bad(
            text,
            &scenario.origin,
            find_key(text, &word),
            &message,
            None,
        ));
    }
    Ok(scenario)
}

/// What the mocks do: the parts `claude` and `arcade` of a scenario, or of a file that has nothing else.
pub(super) fn mocks(text: &str, origin: Origin) -> Result<Mocks, ScenarioError> {
    let is_scenario = serde_saphyr::from_str::<Value>(text).is_ok_and(|it| it.get("id").is_some());
    if is_scenario {
        let mut scenario = parse(text, &origin)?;
        scenario.origin = origin;
        load_files(text, &mut scenario)?;
        return Ok(Mocks {
            claude: scenario.claude,
            arcade: scenario.arcade,
        });
    }
    let mut mocks: Mocks =
        serde_saphyr::from_str(text).map_err(|error| explain(text, &origin, &error))?;
    load(text, &origin, &mut mocks.claude, &mut mocks.arcade)?;
    Ok(mocks)
}

fn load_files(text: &str, scenario: &mut Scenario) -> Result<(), ScenarioError> {
    let origin = scenario.origin.clone();
    load(text, &origin, &mut scenario.claude, &mut scenario.arcade)
}

/// Reads the files that the mocks' scripts name.
fn load(
    text: &str,
    origin: &Origin,
    claude: &mut ClaudeScript,
    arcade: &mut ArcadeScript,
) -> Result<(), ScenarioError> {
    let read = |file: &str| origin.beside(file);
    let wrong =
        |word: &str, message: String| bad(text, origin, find_key(text, word), &message, None);
    claude
        .load(&read)
        .map_err(|message| wrong("claude", message))?;
    arcade
        .load(&read)
        .map_err(|message| wrong("arcade", message))
}

fn parse(text: &str, origin: &Origin) -> Result<Scenario, ScenarioError> {
    let from_yaml = |error: &serde_saphyr::Error| explain(text, origin, error);
    if !text.lines().any(|line| line.starts_with("for_each:")) {
        return serde_saphyr::from_str::<Scenario>(text).map_err(|error| from_yaml(&error));
    }
    let document = serde_saphyr::from_str::<Value>(text).map_err(|error| from_yaml(&error))?;
    let in_table = |message: String| bad(text, origin, find_key(text, "for_each"), &message, None);
    let Some((document, names)) = rows::expand(document, origin).map_err(in_table)? else {
        return serde_saphyr::from_str::<Scenario>(text).map_err(|error| from_yaml(&error));
    };
    let mut scenario: Scenario =
        serde_json::from_value(document).map_err(|error| explain_json(text, origin, &error))?;
    for (step, name) in scenario.steps.iter_mut().zip(names) {
        step.row = Some(name);
    }
    Ok(scenario)
}

fn explain(text: &str, origin: &Origin, error: &serde_saphyr::Error) -> ScenarioError {
    use serde_saphyr::Error;
    let error = error.without_snippet();
    let place = error.location().map(|location| Place {
        line: usize::try_from(location.line()).unwrap_or(1),
        column: usize::try_from(location.column()).unwrap_or(1),
        length: 1,
    });
    match error {
        Error::SerdeUnknownField {
            field, expected, ..
        } => unknown(
            text,
            origin,
            place.map(|place| over(place, field)),
            &format!("unknown field `{field}`"),
            field,
            expected,
        ),
        Error::SerdeUnknownVariant {
            variant, expected, ..
        } => unknown(
            text,
            origin,
            place.map(|place| over(place, variant)),
            &format!("unknown value `{variant}`"),
            variant,
            expected,
        ),
        Error::SerdeMissingField { field, .. } => bad(
            text,
            origin,
            place,
            &format!("missing field `{field}`"),
            None,
        ),
        Error::SerdeInvalidType {
            unexpected,
            expected,
            ..
        }
        | Error::SerdeInvalidValue {
            unexpected,
            expected,
            ..
        } => bad(
            text,
            origin,
            place,
            &format!("{unexpected} where {expected} belongs"),
            None,
        ),
        Error::Message { msg, .. } => bad(text, origin, place, msg, None),
        other => {
            let message = other.to_string();
            let message = message.lines().next().unwrap_or_default();
            bad(text, origin, place, message, None)
        }
    }
}

/// Tables are read without places; the key that the message names is looked up in the text.
fn explain_json(text: &str, origin: &Origin, error: &serde_json::Error) -> ScenarioError {
    let message = error.to_string();
    let mut quoted = message.split('`').skip(1).step_by(2);
    let first = quoted.next().unwrap_or_default().to_owned();
    let expected: Vec<&str> = quoted.collect();
    let place = find_key(text, &first);
    if message.starts_with("unknown field") {
        unknown(
            text,
            origin,
            place,
            &format!("unknown field `{first}`"),
            &first,
            &expected,
        )
    } else if message.starts_with("unknown variant") {
        unknown(
            text,
            origin,
            place,
            &format!("unknown value `{first}`"),
            &first,
            &expected,
        )
    } else {
        bad(text, origin, place, &message, None)
    }
}

fn over(place: Place, word: &str) -> Place {
    Place {
        length: word.chars().count().max(1),
        ..place
    }
}

fn unknown(
    text: &str,
    origin: &Origin,
    place: Option<Place>,
    message: &str,
    word: &str,
    expected: &[&str],
) -> ScenarioError {
    let hint = match nearest(word, expected.iter().copied()) {
        Some(nearest) => format!("did you mean `{nearest}`?"),
        None if expected.is_empty() => return bad(text, origin, place, message, None),
        None => format!("known here are `{}`", expected.join("`, `")),
    };
    bad(text, origin, place, message, Some(&hint))
}

fn find_key(text: &str, word: &str) -> Option<Place> {
    if word.is_empty() {
        return None;
    }
    let after_a_key = |rest: &str| {
        rest.trim_start_matches(['"', '\''])
            .trim_start()
            .starts_with(':')
    };
    let found = |wanted: &dyn Fn(&str) -> bool| {
        text.lines().enumerate().find_map(|(line, content)| {
            let at = content
                .match_indices(word)
                .map(|(at, _)| at)
                .find(|at| wanted(&content[at + word.len()..]))?;
            let column = content[..at].chars().count() + 1;
            Some(over(
                Place {
                    line: line + 1,
                    column,
                    length: 1,
                },
                word,
            ))
        })
    };
    found(&after_a_key).or_else(|| found(&|_| true))
}

fn bad(
    text: &str,
    origin: &Origin,
    place: Option<Place>,
    message: &str,
    hint: Option<&str>,
) -> ScenarioError {
    let mut lines = Vec::new();
    match place.and_then(|place| Some((place, text.lines().nth(place.line.checked_sub(1)?)?))) {
        None => lines.push(format!("{}: {message}", origin.name)),
        Some((place, source)) => {
            let margin = " ".repeat(place.line.to_string().len());
            lines.push(format!(
                "{}:{}:{}: {message}",
                origin.name, place.line, place.column
            ));
            lines.push(format!("{margin} |"));
            lines.push(format!("{} | {source}", place.line));
            lines.push(format!(
                "{margin} | {}{}",
                " ".repeat(place.column.saturating_sub(1)),
                "^".repeat(place.length)
            ));
        }
    }
    lines.extend(hint.map(|hint| format!("hint: {hint}")));
    ScenarioError::Bad(lines.join("\n"))
}
