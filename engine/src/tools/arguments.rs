//! Whether arguments fit a tool's schema, as far as tools use JSON Schema: types, required, enum, bounds, no extras.

use super::outcome::Violation;
use serde_json::Value;

/// One entry per mistake.
pub(super) fn check(schema: &Value, arguments: &Value) -> Vec<Violation> {
    let mut violations = Vec::new();
    let Some(fields) = arguments.as_object() else {
        return vec![violation("", "is not an object")];
    };
    for name in schema["required"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
    {
        if !fields.contains_key(name) {
            violations.push(violation(name, "is missing"));
        }
    }
    for (name, value) in fields {
        match schema["properties"].get(name) {
            None if schema["additionalProperties"] == false => {
                violations.push(violation(name, "is not known"));
            }
            None => {}
            Some(property) => {
                violations
                    .extend(mistake(property, value).map(|message| violation(name, &message)));
            }
        }
    }
    violations
}

fn violation(name: &str, message: &str) -> Violation {
    Violation {
        path: format!("/{name}"),
        message: message.to_owned(),
    }
}

fn mistake(schema: &Value, value: &Value) -> Option<String> {
    let fits = match schema["type"].as_str() {
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("number") => value.is_number(),
        Some("boolean") => value.is_boolean(),
        Some("array") => value.is_array(),
        Some("object") => value.is_object(),
        _ => true,
    };
    if !fits {
        return Some(format!(
            "is not of type {}",
            schema["type"].as_str().unwrap_or_default()
        ));
    }
    if let Some(allowed) = schema["enum"].as_array()
        && !allowed.contains(value)
    {
        return Some(format!("is none of {}", Value::from(allowed.clone())));
    }
    let number = value.as_f64();
    if let (Some(number), Some(least)) = (number, schema["minimum"].as_f64())
        && number < least
    {
        return Some(format!("is below {least}"));
    }
    if let (Some(number), Some(most)) = (number, schema["maximum"].as_f64())
        && number > most
    {
        return Some(format!("is above {most}"));
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_has_an_entry_of_its_own() {
        let schema = json!({
            "type": "object", "required": ["a"], "additionalProperties": false,
            "properties": { "a": { "type": "string" }, "n": { "type": "integer", "minimum": 1 }, "e": { "enum": ["x"] } },
        });
        let paths = |value: Value| {
            check(&schema, &value)
                .into_iter()
                .map(|found| found.path)
                .collect::<Vec<_>>()
        };
        assert_eq!(
            paths(json!({ "n": 0, "e": "y", "z": 1 })),
            ["/a", "/e", "/n", "/z"]
        );
        assert!(check(&schema, &json!({ "a": "", "n": 1, "e": "x" })).is_empty());
    }
}
