//! Whether a value fits a JSON Schema of draft 2020-12, compiled once; one entry per mistake, which repeats no long value.

use super::outcome::Violation;
use jsonschema::error::{TypeKind, ValidationErrorKind};
use jsonschema::{Draft, PatternOptions, ValidationError, Validator};
use serde_json::Value;
use std::borrow::Cow;
use std::sync::Arc;

/// No more mistakes are told of one value.
const MOST_VIOLATIONS: usize = 100;
/// Of a path or message, in characters.
const LONGEST: usize = 256;
const DRAFT: &str = "https://json-schema.org/draft/2020-12/schema";

/// A compiled schema. Clones share it.
#[derive(Debug, Clone)]
pub(super) struct Schema(Arc<Validator>);

impl Schema {
    /// Compiles a schema; what is wrong with one that is none. Nothing is fetched for it.
    pub(super) fn compile(schema: &Value) -> Result<Self, Vec<Violation>> {
        let dialect = schema.get("$schema").unwrap_or(&Value::Null);
        let known = dialect
            .as_str()
            .is_some_and(|uri| uri.trim_end_matches('#') == DRAFT);
        if !dialect.is_null() && !known {
            let message = "is not the draft 2020-12 of JSON Schema";
            return Err(vec![violation("/$schema".into(), message.into())]);
        }
        let meta = jsonschema::draft202012::meta::validator();
        let mistakes = told(meta.iter_errors(schema));
        if !mistakes.is_empty() {
            return Err(mistakes);
        }
        // Patterns run in linear time, whatever they and their subjects are.
        jsonschema::options()
            .with_draft(Draft::Draft202012)
            .with_pattern_options(PatternOptions::regex())
            .build(schema)
            .map(|validator| Self(Arc::new(validator)))
            .map_err(|error| {
                let message = match error.kind() {
                    ValidationErrorKind::Referencing(_) => {
                        "refers to what is not within it".to_owned()
                    }
                    _ => message(&error),
                };
                vec![violation(error.instance_path().to_string(), message)]
            })
    }

    /// One entry per mistake, by path.
    pub(super) fn check(&self, value: &Value) -> Vec<Violation> {
        if self.0.is_valid(value) {
            return Vec::new();
        }
        let mut violations = told(self.0.iter_errors(value));
        violations.sort_by(|a, b| a.path.cmp(&b.path));
        violations
    }
}

fn told<'a>(errors: impl Iterator<Item = ValidationError<'a>>) -> Vec<Violation> {
    errors
        .take(MOST_VIOLATIONS)
        .flat_map(|error| entries(&error))
        .take(MOST_VIOLATIONS)
        .collect()
}

/// A missing or an unknown field is a mistake at its own place.
fn entries(error: &ValidationError<'_>) -> Vec<Violation> {
    let at = error.instance_path().to_string();
    let field = |name: &str| format!("{at}/{}", name.replace('~', "~0").replace('/', "~1"));
    let unknown = |names: &[String]| {
        names
            .iter()
            .map(|name| violation(field(name), "is not known".into()))
            .collect()
    };
    match error.kind() {
        ValidationErrorKind::Required { property } => {
            let name = property.as_str().unwrap_or_default();
            vec![violation(field(name), "is missing".into())]
        }
        ValidationErrorKind::AdditionalProperties { unexpected }
        | ValidationErrorKind::UnevaluatedProperties { unexpected } => unknown(unexpected),
        _ => vec![violation(at, message(error))],
    }
}

fn message(error: &ValidationError<'_>) -> String {
    match error.kind() {
        ValidationErrorKind::Type {
            kind: TypeKind::Single(kind),
        } => format!("is not of type {kind}"),
        ValidationErrorKind::Type {
            kind: TypeKind::Multiple(kinds),
        } => {
            let kinds: Vec<String> = kinds.iter().map(|kind| kind.to_string()).collect();
            format!("is not of type {}", kinds.join(" or "))
        }
        ValidationErrorKind::Enum { options } => format!("is none of {options}"),
        ValidationErrorKind::Constant { expected_value } => format!("is not {expected_value}"),
        ValidationErrorKind::Minimum { limit } => format!("is below {limit}"),
        ValidationErrorKind::Maximum { limit } => format!("is above {limit}"),
        ValidationErrorKind::ExclusiveMinimum { limit } => format!("is not above {limit}"),
        ValidationErrorKind::ExclusiveMaximum { limit } => format!("is not below {limit}"),
        ValidationErrorKind::MinLength { limit } => {
            format!("is shorter than {limit} characters")
        }
        ValidationErrorKind::MaxLength { limit } => format!("is longer than {limit} characters"),
        ValidationErrorKind::MinItems { limit } => format!("has fewer than {limit} items"),
        ValidationErrorKind::MaxItems { limit } => format!("has more than {limit} items"),
        ValidationErrorKind::MinProperties { limit } => format!("has fewer than {limit} fields"),
        ValidationErrorKind::MaxProperties { limit } => format!("has more than {limit} fields"),
        ValidationErrorKind::Pattern { pattern } => {
            format!("does not match the pattern `{pattern}`")
        }
        ValidationErrorKind::Format { format } => format!("is not of the format {format}"),
        ValidationErrorKind::UniqueItems => "has equal items".into(),
        kind => format!("does not fit `{}` of its schema", kind.keyword()),
    }
}

fn violation(path: String, message: String) -> Violation {
    Violation {
        path: cut(path),
        message: cut(message),
    }
}

fn cut(text: String) -> String {
    match text.char_indices().nth(LONGEST) {
        None => text,
        Some((at, _)) => format!("{}…", &text[..at]),
    }
}

/// JSON Schema takes `3.0` for an integer, and those who read arguments do not: whole numbers of integer fields are
/// written as integers.
pub(super) fn with_integers<'a>(schema: &Value, arguments: &'a Value) -> Cow<'a, Value> {
    const EXACT: f64 = 9_007_199_254_740_992.0;
    let mut read = Cow::Borrowed(arguments);
    for (name, value) in arguments.as_object().into_iter().flatten() {
        if let Some(number) = value.as_f64()
            && value.is_f64()
            && number.fract() == 0.0
            && number.abs() <= EXACT
            && schema["properties"][name]["type"] == "integer"
        {
            #[expect(
                clippy::cast_possible_truncation,
                reason = "whole, and within what a double holds exactly"
            )]
            let whole = number as i64;
            read.to_mut()[name] = whole.into();
        }
    }
    read
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn compiled(schema: &Value) -> Schema {
        Schema::compile(schema).unwrap()
    }

    #[test]
    fn every_mistake_has_an_entry_of_its_own() {
        let schema = compiled(&json!({
            "type": "object", "required": ["a", "b"], "additionalProperties": false,
            "properties": {
                "a": { "type": "string" }, "b": {},
                "n": { "type": "integer", "minimum": 1 }, "e": { "enum": ["x"] },
                "deep": { "type": "object", "properties": { "list": { "items": { "type": "string" } } } },
            },
        }));
        let mistakes = |value: Value| {
            let found = schema.check(&value).into_iter();
            found
                .map(|found| format!("{} {}", found.path, found.message))
                .collect::<Vec<_>>()
        };
        assert_eq!(
            mistakes(
                json!({ "n": 0, "e": "y", "z/1": 1, "y": 2, "deep": { "list": ["a", 1, null] } })
            ),
            [
                "/a is missing",
                "/b is missing",
                "/deep/list/1 is not of type string",
                "/deep/list/2 is not of type string",
                "/e is none of [\"x\"]",
                "/n is below 1",
                "/y is not known",
                "/z~11 is not known",
            ]
        );
        assert_eq!(
            mistakes(json!("a text")),
            [" is not of type object"],
            "the path of the whole is empty"
        );
        assert!(mistakes(json!({ "a": "", "b": null, "n": 1, "e": "x" })).is_empty());
    }

    #[test]
    fn a_long_value_is_not_repeated() {
        let schema = compiled(
            &json!({ "type": "object", "properties": { "a": { "maxLength": 3, "pattern": "^x$" } }, "additionalProperties": false }),
        );
        let long = "secret".repeat(1_000);
        let found = schema.check(&json!({ "a": long, (long.as_str()): 1 }));
        assert_eq!(found.len(), 3);
        for violation in found {
            assert!(violation.message.len() < 300 && violation.path.len() < 300);
            assert!(!violation.message.contains("secret"));
        }
    }

    #[test]
    fn what_is_no_schema_is_said_with_its_place() {
        let path = |schema: Value| Schema::compile(&schema).unwrap_err().remove(0).path;
        assert_eq!(
            path(json!({ "properties": { "a": { "type": "text" } } })),
            "/properties/a/type"
        );
        assert_eq!(path(json!({ "required": "a" })), "/required");
        assert_eq!(
            path(json!({ "$schema": "http://json-schema.org/draft-07/schema#" })),
            "/$schema"
        );
        assert_eq!(path(json!("object")), "");
        let elsewhere =
            Schema::compile(&json!({ "$ref": "https://example.com/schema.json" })).unwrap_err();
        assert_eq!(elsewhere[0].message, "refers to what is not within it");
        assert!(Schema::compile(&json!({ "pattern": "(" })).is_err());
    }

    #[test]
    fn a_pattern_takes_linear_time() {
        let schema =
            compiled(&json!({ "properties": { "a": { "type": "string", "pattern": "^(a+)+$" } } }));
        let began = std::time::Instant::now();
        let found = schema.check(&json!({ "a": format!("{}b", "a".repeat(50_000)) }));
        assert_eq!(found.len(), 1);
        assert!(began.elapsed() < std::time::Duration::from_secs(2));
    }

    #[test]
    fn whole_numbers_of_integer_fields_are_integers() {
        let schema =
            json!({ "properties": { "n": { "type": "integer" }, "x": { "type": "number" } } });
        let arguments = json!({ "n": 3.0, "x": 3.0 });
        let read = with_integers(&schema, &arguments);
        assert_eq!(read["n"].as_u64(), Some(3));
        assert!(read["x"].is_f64());
    }
}
