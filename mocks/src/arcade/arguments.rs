//! Whether a tool's input has the types that its parameters ask for.

use serde_json::Value;

/// Checks an input against parameters; the error names all that is wrong.
pub(super) fn check(parameters: &[Value], input: &Value) -> Result<(), String> {
    let mut wrong = Vec::new();
    for parameter in parameters {
        let name = parameter["name"].as_str().unwrap_or_default();
        match input.get(name) {
            None | Some(Value::Null) if parameter["required"] == true => {
                wrong.push(format!("missing required argument `{name}`"));
            }
            None | Some(Value::Null) => {}
            Some(value) => {
                if let Err(why) = fits(value, &parameter["value_schema"]) {
                    wrong.push(format!("argument `{name}` {why}"));
                }
            }
        }
    }
    let known = |name: &str| parameters.iter().any(|parameter| parameter["name"] == name);
    let given = input.as_object().into_iter().flatten();
    let unknown = given.filter(|(name, _)| !known(name));
    wrong.extend(unknown.map(|(name, _)| format!("unknown argument `{name}`")));
    if wrong.is_empty() {
        Ok(())
    } else {
        Err(wrong.join("; "))
    }
}

fn fits(value: &Value, schema: &Value) -> Result<(), String> {
    let kind = schema["val_type"].as_str().unwrap_or("json");
    if !is(value, kind) {
        return Err(format!("must be of type {kind}, not {}", named(value)));
    }
    let among = |value: &Value| {
        let listed = schema["enum"]
            .as_array()
            .filter(|listed| !listed.is_empty());
        listed.is_none_or(|listed| listed.contains(value))
    };
    let inner = schema["inner_val_type"].as_str();
    if let Value::Array(items) = value {
        for (index, item) in items.iter().enumerate() {
            if let Some(inner) = inner.filter(|inner| !is(item, inner)) {
                return Err(format!(
                    "has an item {index} that is no {inner} but {}",
                    named(item)
                ));
            }
            if !among(item) {
                return Err(format!(
                    "has an item {index} that is none of {}",
                    schema["enum"]
                ));
            }
        }
        return Ok(());
    }
    if among(value) {
        Ok(())
    } else {
        Err(format!("must be one of {}", schema["enum"]))
    }
}

fn is(value: &Value, kind: &str) -> bool {
    match kind {
        "string" => value.is_string(),
        "integer" => {
            value.is_i64() || value.is_u64() || value.as_f64().is_some_and(|it| it.fract() == 0.0)
        }
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        // Any JSON: an object mostly, but Arcade takes what can be written.
        _ => true,
    }
}

fn named(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "boolean",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn every_mistake_is_named() {
        let parameter = |name: &str, required: bool, schema: Value| json!({"name": name, "required": required, "value_schema": schema});
        let parameters = [
            parameter("a", true, json!({"val_type": "integer"})),
            parameter(
                "b",
                false,
                json!({"val_type": "string", "enum": ["x", "y"]}),
            ),
            parameter(
                "c",
                false,
                json!({"val_type": "array", "inner_val_type": "number"}),
            ),
        ];
        let check = |input: Value| check(&parameters, &input);
        assert_eq!(check(json!({"a": 1, "b": "x", "c": [1, 2.5]})), Ok(()));
        assert_eq!(check(json!({"a": 2.0, "b": null})), Ok(()));
        let error = check(json!({"a": 1.5, "b": "z", "c": ["1"], "d": 0})).unwrap_err();
        assert_eq!(
            error,
            "argument `a` must be of type integer, not number; argument `b` must be one of [\"x\",\"y\"]; \
             argument `c` has an item 0 that is no number but string; unknown argument `d`"
        );
        assert!(check(json!({})).is_err());
    }
}
