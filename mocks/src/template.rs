//! Patterns with `*`, and texts with `{{ path }}` in them.

use serde_json::{Map, Value};

/// Whether `text` is `pattern`, in which `*` stands for any run of characters.
pub(crate) fn matches(pattern: &str, text: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = text.strip_prefix(first) else {
        return false;
    };
    let mut parts = parts.peekable();
    if parts.peek().is_none() {
        return rest.is_empty();
    }
    while let Some(part) = parts.next() {
        if parts.peek().is_none() {
            return rest.ends_with(part);
        }
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    true
}

/// A placeholder that finds nothing.
#[derive(Debug, thiserror::Error)]
#[error("the script's template `{{{{ {path} }}}}` finds nothing; there is {there}")]
pub(crate) struct Missing {
    path: String,
    there: String,
}

/// Fills the placeholders of a text.
pub(crate) fn text(template: &str, context: &Value) -> Result<String, Missing> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((path, tail)) = after.split_once("}}") else {
            break;
        };
        filled.push_str(before);
        match find(path.trim(), context)? {
            Value::String(text) => filled.push_str(text),
            other => filled.push_str(&other.to_string()),
        }
        rest = tail;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Fills the strings of a value; a string that is one placeholder only takes the type of what is found.
pub(crate) fn value(template: &Value, context: &Value) -> Result<Value, Missing> {
    Ok(match template {
        Value::String(string) => {
            let whole = string
                .trim()
                .strip_prefix("{{")
                .and_then(|rest| rest.strip_suffix("}}"))
                .filter(|path| !path.contains("{{"));
            match whole {
                Some(path) => find(path.trim(), context)?.clone(),
                None => Value::String(text(string, context)?),
            }
        }
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| value(item, context))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => Value::Object(
            fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), value(field, context)?)))
                .collect::<Result<Map<_, _>, Missing>>()?,
        ),
        other => other.clone(),
    })
}

fn find<'a>(path: &str, context: &'a Value) -> Result<&'a Value, Missing> {
    path.split('.')
        .try_fold(context, |value, step| match value {
            Value::Object(fields) => fields.get(step),
            Value::Array(items) => items.get(step.parse::<usize>().ok()?),
            _ => None,
        })
        .ok_or_else(|| Missing {
            path: path.to_owned(),
            there: context.to_string().chars().take(400).collect(),
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_star_stands_for_any_run_of_characters() {
        for (pattern, text, expected) in [
            ("a", "a", true),
            ("a", "ab", false),
            ("*", "", true),
            ("a*", "abc", true),
            ("*c", "abc", true),
            ("a*b*c", "a1b2c", true),
            ("a*b*c", "acb", false),
            ("ab*ba", "aba", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }

    #[test]
    fn placeholders_follow_paths_and_keep_types() {
        let context = json!({"result": {"rows": [{"revenue": 12.5}]}, "question": "why"});
        assert_eq!(
            text("{{ question }}: {{result.rows.0.revenue}}", &context).unwrap(),
            "why: 12.5"
        );
        assert_eq!(
            value(&json!({"a": ["{{ result.rows.0.revenue }}"]}), &context).unwrap(),
            json!({"a": [12.5]})
        );
        assert!(text("{{ result.rows.1 }}", &context).is_err());
    }
}
