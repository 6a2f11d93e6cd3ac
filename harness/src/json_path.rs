//! The small part of JSON paths that scenarios need: `$.rows[0].name`, `$.rows.0.name`, `$.sources[*].at`.

use serde_json::Value;

/// One step of a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Segment {
    /// A field, or an element by its number.
    Name(String),
    /// All fields or elements.
    Any,
}

/// Reads a path; the error says what is wrong with it.
pub fn parse(path: &str) -> Result<Vec<Segment>, String> {
    let bad = || format!("`{path}` is not a path; write `$.rows[0].name` or `$.sources[*].at`");
    let rest = path.strip_prefix('$').ok_or_else(bad)?;
    let dotted = rest.replace('[', ".").replace(']', "");
    if dotted.is_empty() {
        return Ok(Vec::new());
    }
    let names = dotted.strip_prefix('.').ok_or_else(bad)?.split('.');
    names
        .map(|name| match name {
            "" => Err(bad()),
            "*" => Ok(Segment::Any),
            name => Ok(Segment::Name(name.to_owned())),
        })
        .collect()
}

/// All values at this path.
pub fn find<'a>(value: &'a Value, path: &[Segment]) -> Vec<&'a Value> {
    let Some((first, rest)) = path.split_first() else {
        return vec![value];
    };
    let inner: Vec<&Value> = match (first, value) {
        (Segment::Name(name), Value::Object(fields)) => fields.get(name).into_iter().collect(),
        (Segment::Name(name), Value::Array(items)) => name
            .parse::<usize>()
            .ok()
            .and_then(|at| items.get(at))
            .into_iter()
            .collect(),
        (Segment::Any, Value::Object(fields)) => fields.values().collect(),
        (Segment::Any, Value::Array(items)) => items.iter().collect(),
        _ => Vec::new(),
    };
    inner
        .into_iter()
        .flat_map(|inner| find(inner, rest))
        .collect()
}

/// Puts `[redacted]` wherever the path leads.
pub fn redact(value: &mut Value, path: &[Segment]) {
    let Some((first, rest)) = path.split_first() else {
        *value = Value::String("[redacted]".into());
        return;
    };
    match (first, value) {
        (Segment::Name(name), Value::Object(fields)) => fields
            .get_mut(name)
            .into_iter()
            .for_each(|inner| redact(inner, rest)),
        (Segment::Name(name), Value::Array(items)) => {
            name.parse::<usize>()
                .ok()
                .and_then(|at| items.get_mut(at))
                .into_iter()
                .for_each(|inner| redact(inner, rest));
        }
        (Segment::Any, Value::Object(fields)) => {
            for inner in fields.values_mut() {
                redact(inner, rest);
            }
        }
        (Segment::Any, Value::Array(items)) => {
            for inner in items {
                redact(inner, rest);
            }
        }
        _ => {}
    }
}

/// Equal as JSON means it: `1` and `1.0` are the same number.
pub fn same(left: &Value, right: &Value) -> bool {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => a == b || a.as_f64() == b.as_f64(),
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        (Value::Object(a), Value::Object(b)) => {
            a.len() == b.len()
                && a.iter()
                    .all(|(name, a)| b.get(name).is_some_and(|b| same(a, b)))
        }
        _ => left == right,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn at(value: &Value, path: &str) -> Vec<Value> {
        find(value, &parse(path).unwrap())
            .into_iter()
            .cloned()
            .collect()
    }

    #[test]
    fn dots_and_brackets_lead_to_the_same_place_and_a_star_to_all() {
        let value = json!({ "rows": [{ "n": 1 }, { "n": 2 }], "a.b": 0 });
        assert_eq!(at(&value, "$.rows[1].n"), at(&value, "$.rows.1.n"));
        assert_eq!(at(&value, "$.rows[*].n"), [json!(1), json!(2)]);
        assert_eq!(at(&value, "$.rows[9].n"), Vec::<Value>::new());
        assert!(parse("rows").is_err() && parse("$rows").is_err() && parse("$.a..b").is_err());
    }

    #[test]
    fn redaction_touches_only_what_is_there() {
        let mut value = json!({ "id": "x", "sources": [{ "at": 1 }, { "tool": "t" }] });
        redact(&mut value, &parse("$.sources[*].at").unwrap());
        redact(&mut value, &parse("$.none").unwrap());
        assert_eq!(
            value,
            json!({ "id": "x", "sources": [{ "at": "[redacted]" }, { "tool": "t" }] })
        );
        assert!(
            same(&json!({ "a": [1] }), &json!({ "a": [1.0] })) && !same(&json!(1), &json!("1"))
        );
    }
}
