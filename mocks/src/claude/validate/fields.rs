//! Types of fields, refused in the API's words.

use serde_json::{Map, Value};

use crate::claude::problem::Problem;

/// A field that there is none of.
pub(super) fn extra(at: &str) -> Problem {
    Problem::invalid(format!("{at}: Extra inputs are not permitted"))
}

pub(super) fn required(at: &str) -> Problem {
    Problem::invalid(format!("{at}: Field required"))
}

fn wrong(at: &str, kind: &str) -> Problem {
    Problem::invalid(format!("{at}: Input should be a valid {kind}"))
}

/// A string that must be there. A field that is not there is `null`.
pub(super) fn text<'a>(at: &str, value: &'a Value) -> Result<&'a str, Problem> {
    match value {
        Value::Null => Err(required(at)),
        Value::String(text) => Ok(text),
        _ => Err(wrong(at, "string")),
    }
}

/// A list that must be there.
pub(super) fn list<'a>(at: &str, value: &'a Value) -> Result<&'a [Value], Problem> {
    match value {
        Value::Null => Err(required(at)),
        Value::Array(items) => Ok(items),
        _ => Err(wrong(at, "list")),
    }
}

/// An object that must be there.
pub(super) fn object<'a>(at: &str, value: &'a Value) -> Result<&'a Map<String, Value>, Problem> {
    match value {
        Value::Null => Err(required(at)),
        Value::Object(fields) => Ok(fields),
        _ => Err(wrong(at, "dictionary")),
    }
}

/// A field that may be left out, but not be `null`.
pub(super) fn given<'a>(body: &'a Map<String, Value>, name: &str) -> Option<&'a Value> {
    body.get(name)
}

/// A boolean, if it is there.
pub(super) fn boolean(at: &str, value: Option<&Value>) -> Result<(), Problem> {
    match value {
        None | Some(Value::Bool(_)) => Ok(()),
        Some(_) => Err(wrong(at, "boolean")),
    }
}

/// A string, or `null`, if it is there.
pub(super) fn nullable_text(at: &str, value: Option<&Value>) -> Result<(), Problem> {
    match value {
        None | Some(Value::Null | Value::String(_)) => Ok(()),
        Some(_) => Err(wrong(at, "string")),
    }
}

/// A whole number that must be there and not be smaller.
pub(super) fn integer(at: &str, value: &Value, least: u64) -> Result<u64, Problem> {
    match value {
        Value::Null => Err(required(at)),
        Value::Number(number) => match number.as_u64() {
            Some(number) if number >= least => Ok(number),
            _ if number.is_f64() => Err(wrong(at, "integer")),
            _ => Err(Problem::invalid(format!(
                "{at}: Input should be greater than or equal to {least}"
            ))),
        },
        _ => Err(wrong(at, "integer")),
    }
}

/// A number between these two, if it is there.
pub(super) fn number(at: &str, value: Option<&Value>, to: f64) -> Result<(), Problem> {
    let Some(value) = value else {
        return Ok(());
    };
    let number = value.as_f64().ok_or_else(|| wrong(at, "number"))?;
    let side = match number {
        number if number < 0.0 => "greater than or equal to 0".to_owned(),
        number if number > to => format!("less than or equal to {to}"),
        _ => return Ok(()),
    };
    Err(Problem::invalid(format!("{at}: Input should be {side}")))
}

/// One of a few strings.
pub(super) fn choice<'a>(at: &str, value: &'a Value, of: &[&str]) -> Result<&'a str, Problem> {
    let chosen = match value {
        Value::Null => return Err(required(at)),
        value => value.as_str().filter(|text| of.contains(text)),
    };
    chosen.ok_or_else(|| {
        let quoted: Vec<String> = of.iter().map(|text| format!("'{text}'")).collect();
        let listed = match quoted.split_last() {
            Some((last, others)) if !others.is_empty() => {
                format!("{} or {last}", others.join(", "))
            }
            _ => quoted.join(""),
        };
        Problem::invalid(format!("{at}: Input should be {listed}"))
    })
}

/// No field but these.
pub(super) fn only(at: &str, given: &Map<String, Value>, known: &[&str]) -> Result<(), Problem> {
    match given.keys().find(|name| !known.contains(&name.as_str())) {
        Some(name) => Err(extra(&format!("{at}.{name}"))),
        None => Ok(()),
    }
}
