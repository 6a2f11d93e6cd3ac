//! Values that are valid under a JSON Schema.

use serde_json::{Map, Value, json};

/// How deep schemas may refer to each other.
const DEPTH: usize = 16;

/// A value that is valid under a schema, as far as its common keywords go.
pub(super) fn example(schema: &Value) -> Value {
    of(schema, schema, 0)
}

fn of(schema: &Value, root: &Value, depth: usize) -> Value {
    if depth > DEPTH {
        return Value::Null;
    }
    if let Some(pointer) = schema["$ref"].as_str() {
        let target = pointer
            .strip_prefix('#')
            .and_then(|path| root.pointer(path));
        return target.map_or(Value::Null, |target| of(target, root, depth + 1));
    }
    for given in ["const", "default"] {
        if let Some(value) = schema.get(given) {
            return value.clone();
        }
    }
    for given in ["enum", "examples"] {
        if let Some(first) = schema[given].as_array().and_then(|values| values.first()) {
            return first.clone();
        }
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(first) = schema[choice].as_array().and_then(|them| them.first()) {
            return of(first, root, depth + 1);
        }
    }
    if let Some(all) = schema["allOf"].as_array() {
        return of(&merged(schema, all, root), root, depth + 1);
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => Value::String(string(schema)),
        Some("integer") => number(schema, true),
        Some("number") => number(schema, false),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => array(schema, root, depth),
        Some("object") => object(schema, root, depth),
        _ if schema.get("properties").is_some() => object(schema, root, depth),
        _ => json!({}),
    }
}

/// What several schemas ask for together.
fn merged(schema: &Value, all: &[Value], root: &Value) -> Value {
    let mut whole = schema.as_object().cloned().unwrap_or_default();
    whole.remove("allOf");
    for part in all {
        let target = part["$ref"]
            .as_str()
            .and_then(|path| root.pointer(path.strip_prefix('#')?));
        for (name, value) in target.unwrap_or(part).as_object().into_iter().flatten() {
            match (whole.get_mut(name), value) {
                (Some(Value::Object(fields)), Value::Object(more)) => {
                    fields.extend(
                        more.iter()
                            .map(|(name, field)| (name.clone(), field.clone())),
                    );
                }
                (Some(Value::Array(items)), Value::Array(more)) => items.extend(more.clone()),
                _ => {
                    whole.insert(name.clone(), value.clone());
                }
            }
        }
    }
    Value::Object(whole)
}

fn string(schema: &Value) -> String {
    let known = match schema["format"].as_str() {
        Some("date-time") => "2026-01-01T00:00:00Z",
        Some("date") => "2026-01-01",
        Some("time") => "00:00:00Z",
        Some("duration") => "P1D",
        Some("email") => "someone@example.com",
        Some("hostname") => "example.com",
        Some("ipv4") => "192.0.2.1",
        Some("ipv6") => "2001:db8::1",
        Some("uri") => "https://example.com/",
        Some("uuid") => "00000000-0000-4000-8000-000000000000",
        _ => "",
    };
    if !known.is_empty() {
        return known.to_owned();
    }
    if let Some(text) = schema["pattern"]
        .as_str()
        .and_then(|pattern| matching(pattern, schema))
    {
        return text;
    }
    let least = schema["minLength"].as_u64().unwrap_or_default();
    let most = schema["maxLength"].as_u64().unwrap_or(u64::MAX);
    let length = least.max(1).min(most).min(4096);
    "x".repeat(usize::try_from(length).unwrap_or(1))
}

/// A text of a pattern: the shortest that its own syntax tree spells.
fn matching(pattern: &str, schema: &Value) -> Option<String> {
    let least = schema["minLength"].as_u64().unwrap_or_default();
    let tree = regex_syntax::parse(pattern).ok()?;
    let mut text = String::new();
    spell(&tree, usize::try_from(least).ok()?, &mut text);
    Some(text)
}

fn spell(tree: &regex_syntax::hir::Hir, least: usize, text: &mut String) {
    use regex_syntax::hir::{Class, HirKind};
    match tree.kind() {
        HirKind::Literal(literal) => text.push_str(&String::from_utf8_lossy(&literal.0)),
        HirKind::Class(Class::Unicode(class)) => {
            // A letter or a digit if it may be one.
            let ranges = class.ranges();
            let mut starts = ranges.iter().map(|range| {
                let wanted = ['a', 'A', '0'].into_iter();
                wanted
                    .into_iter()
                    .find(|it| (range.start()..=range.end()).contains(it))
            });
            let first = ranges
                .first()
                .map(regex_syntax::hir::ClassUnicodeRange::start);
            text.extend(starts.find_map(|start| start).or(first));
        }
        HirKind::Class(Class::Bytes(class)) => {
            text.extend(
                class
                    .ranges()
                    .first()
                    .map(|range| char::from(range.start())),
            );
        }
        HirKind::Repetition(repetition) => {
            let most = repetition.max.unwrap_or(u32::MAX);
            let mut count = repetition.min;
            // As often as a `minLength` wants it, where it may be repeated.
            while count < most && text.len() + usize::try_from(count).unwrap_or(usize::MAX) < least
            {
                count += 1;
            }
            for _ in 0..count.min(4096) {
                spell(&repetition.sub, least, text);
            }
        }
        HirKind::Capture(capture) => spell(&capture.sub, least, text),
        HirKind::Concat(parts) => parts.iter().for_each(|part| spell(part, least, text)),
        HirKind::Alternation(parts) => parts
            .first()
            .into_iter()
            .for_each(|part| spell(part, least, text)),
        HirKind::Empty | HirKind::Look(_) => {}
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "what is rounded is checked to be small"
)]
fn number(schema: &Value, whole: bool) -> Value {
    let bound = |name: &str| schema[name].as_f64();
    let step = bound("multipleOf").filter(|step| *step > 0.0);
    let gap = if whole { 1.0 } else { 0.5 };
    let least = match (bound("minimum"), bound("exclusiveMinimum")) {
        (least, Some(above)) => Some(least.unwrap_or(f64::MIN).max(above + gap)),
        (least, None) => least,
    };
    let most = match (bound("maximum"), bound("exclusiveMaximum")) {
        (most, Some(below)) => Some(most.unwrap_or(f64::MAX).min(below - gap)),
        (most, None) => most,
    };
    let mut number = 1.0_f64;
    if let Some(most) = most {
        number = number.min(most);
    }
    if let Some(least) = least {
        number = number.max(least);
    }
    if let Some(step) = step {
        number = (number / step).ceil() * step;
    } else if whole {
        number = number.ceil();
    }
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

fn array(schema: &Value, root: &Value, depth: usize) -> Value {
    let firsts = schema["prefixItems"].as_array().into_iter().flatten();
    let mut items: Vec<Value> = firsts.map(|item| of(item, root, depth + 1)).collect();
    let least = schema["minItems"].as_u64().unwrap_or(0).min(64);
    let least = usize::try_from(least).unwrap_or_default();
    while items.len() < least {
        let mut item = of(&schema["items"], root, depth + 1);
        if schema["uniqueItems"] == true {
            item = unlike(&item, &schema["items"], &items);
        }
        items.push(item);
    }
    Value::Array(items)
}

/// Another value of the same kind that is not yet there.
fn unlike(item: &Value, schema: &Value, items: &[Value]) -> Value {
    let listed = schema["enum"].as_array().into_iter().flatten().cloned();
    let made = (0..100_i64).map(|count| match item {
        Value::String(text) => json!(format!("{text}{count}")),
        Value::Number(number) => json!(number.as_i64().unwrap_or_default() + count),
        other => other.clone(),
    });
    let found = listed.chain(made).find(|value| !items.contains(value));
    found.unwrap_or_else(|| item.clone())
}

fn object(schema: &Value, root: &Value, depth: usize) -> Value {
    let required = schema["required"].as_array().into_iter().flatten();
    let fields: Map<String, Value> = required
        .filter_map(Value::as_str)
        .map(|name| {
            let field = of(&schema["properties"][name], root, depth + 1);
            (name.to_owned(), field)
        })
        .collect();
    Value::Object(fields)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_example_keeps_to_its_schema() {
        let schema = json!({
            "type": "object",
            "required": ["kind", "count", "half", "code", "when", "tags", "pair", "ref", "odd"],
            "properties": {
                "kind": {"enum": ["x", "y"]},
                "count": {"type": "integer", "exclusiveMinimum": 3},
                "half": {"type": "number", "minimum": 0.5, "maximum": 0.75},
                "code": {"type": "string", "pattern": "^[A-Z]{2}-\\d+$", "minLength": 6},
                "when": {"type": "string", "format": "date"},
                "tags": {"type": "array", "items": {"type": "string"}, "minItems": 2, "uniqueItems": true},
                "pair": {"allOf": [
                    {"type": "object", "required": ["a"], "properties": {"a": {"type": "boolean"}}},
                    {"required": ["b"], "properties": {"b": {"type": "null"}}},
                ]},
                "ref": {"$ref": "#/$defs/r"},
                "odd": {"type": "integer", "minimum": 8, "multipleOf": 5},
                "left out": {"type": "string"},
            },
            "$defs": {"r": {"const": 7}},
        });
        assert_eq!(
            example(&schema),
            json!({
                "kind": "x", "count": 4, "half": 0.75, "code": "AA-000", "when": "2026-01-01",
                "tags": ["x0", "x1"], "pair": {"a": true, "b": null}, "ref": 7, "odd": 10,
            })
        );
    }
}
