//! Whether a value can be a JSON Schema of draft 2020-12: its keywords have values of their types.

use serde_json::Value;

const TYPES: [&str; 7] = [
    "array", "boolean", "integer", "null", "number", "object", "string",
];

/// The error says which keyword is wrong.
pub(super) fn check(schema: &Value) -> Result<(), String> {
    at("", schema)
}

fn at(place: &str, schema: &Value) -> Result<(), String> {
    let fields = match schema {
        Value::Bool(_) => return Ok(()),
        Value::Object(fields) => fields,
        _ => return Err(wrong(place, "a schema must be an object or a boolean")),
    };
    for (keyword, value) in fields {
        let place = format!("{place}/{keyword}");
        match keyword.as_str() {
            "type" => {
                let known = |value: &Value| value.as_str().is_some_and(|it| TYPES.contains(&it));
                let fits = match value {
                    Value::Array(kinds) => !kinds.is_empty() && kinds.iter().all(known),
                    kind => known(kind),
                };
                expect(fits, &place, "no type of JSON Schema")?;
            }
            "properties" | "patternProperties" | "$defs" | "definitions" | "dependentSchemas" => {
                let schemas = value.as_object();
                let schemas = schemas.ok_or_else(|| wrong(&place, "must be an object"))?;
                for (name, schema) in schemas {
                    at(&format!("{place}/{name}"), schema)?;
                }
            }
            "allOf" | "anyOf" | "oneOf" | "prefixItems" => {
                let schemas = value.as_array().filter(|schemas| !schemas.is_empty());
                let schemas = schemas.ok_or_else(|| wrong(&place, "must be a list of schemas"))?;
                for (index, schema) in schemas.iter().enumerate() {
                    at(&format!("{place}/{index}"), schema)?;
                }
            }
            "items"
            | "additionalProperties"
            | "not"
            | "if"
            | "then"
            | "else"
            | "contains"
            | "propertyNames"
            | "unevaluatedItems"
            | "unevaluatedProperties" => at(&place, value)?,
            "required" => {
                let names = value.as_array();
                let fits = names.is_some_and(|names| names.iter().all(Value::is_string));
                expect(fits, &place, "must be a list of strings")?;
            }
            "enum" => expect(value.is_array(), &place, "must be a list")?,
            "minLength" | "maxLength" | "minItems" | "maxItems" | "minProperties"
            | "maxProperties" | "minContains" | "maxContains" => {
                expect(value.is_u64(), &place, "must be a whole number from 0")?;
            }
            "minimum" | "maximum" | "exclusiveMinimum" | "exclusiveMaximum" | "multipleOf" => {
                expect(value.is_number(), &place, "must be a number")?;
            }
            "pattern" | "format" | "$ref" | "$id" | "title" | "description" => {
                expect(value.is_string(), &place, "must be a string")?;
            }
            _ => {}
        }
    }
    Ok(())
}

fn expect(fits: bool, place: &str, why: &str) -> Result<(), String> {
    if fits { Ok(()) } else { Err(wrong(place, why)) }
}

fn wrong(place: &str, why: &str) -> String {
    format!(
        "JSON schema is invalid. It must match JSON Schema draft 2020-12 (https://json-schema.org/draft/2020-12): `{place}`: {why}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn keywords_have_values_of_their_types() {
        let good = json!({"type": "object", "properties": {"a": {"type": ["string", "null"]}, "b": true},
            "required": ["a"], "$defs": {"c": {"anyOf": [{"enum": [1]}, {"items": {"minimum": 1.5}}]}}});
        assert_eq!(check(&good), Ok(()));
        for bad in [
            json!({"type": "text"}),
            json!({"properties": []}),
            json!({"properties": {"a": "string"}}),
            json!({"required": "a"}),
            json!({"anyOf": []}),
            json!({"minLength": -1}),
            json!({"items": [1]}),
        ] {
            assert!(check(&bad).is_err(), "{bad}");
        }
    }
}
