//! `for_each`: a table of cases, each of which repeats the steps.

use super::{Origin, shipped_files};
use serde_json::{Map, Value};
use std::path::{Path, PathBuf};

/// The document with its steps repeated for every row, and the rows' names; nothing without `for_each`.
pub(super) fn expand(
    mut document: Value,
    origin: &Origin,
) -> Result<Option<(Value, Vec<String>)>, String> {
    let Some(for_each) = document
        .get("for_each")
        .filter(|value| !value.is_null())
        .cloned()
    else {
        return Ok(None);
    };
    let rows = match (for_each.get("file"), for_each.get("rows")) {
        (Some(Value::String(file)), None) => read(file, origin)?,
        (None, Some(Value::Array(rows))) => rows.clone(),
        _ => return Err("`for_each` has either `file: PATH` or `rows: [...]`".into()),
    };
    if rows.is_empty() {
        return Err("`for_each` has no rows, so nothing would be asked".into());
    }
    let steps = document
        .get("steps")
        .and_then(Value::as_array)
        .cloned()
        .unwrap_or_default();
    let mut names = Vec::new();
    let mut expanded = Vec::new();
    for (number, row) in rows.iter().enumerate() {
        let Value::Object(row) = row else {
            return Err(format!("row {} of `for_each` is not an object", number + 1));
        };
        let name = row
            .get("id")
            .or_else(|| row.get("name"))
            .map_or_else(|| format!("row {}", number + 1), text_of);
        for step in &steps {
            expanded.push(fill(step, row)?);
            names.push(name.clone());
        }
    }
    document["steps"] = Value::Array(expanded);
    Ok(Some((document, names)))
}

fn read(file: &str, origin: &Origin) -> Result<Vec<Value>, String> {
    let text = find(file, origin).ok_or_else(|| {
        format!("`for_each`: there is no file `{file}` beside the scenario or above it")
    })?;
    let lines = text
        .lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty());
    lines
        .map(|(number, line)| {
            serde_json::from_str(line).map_err(|error| format!("{file}:{}: {error}", number + 1))
        })
        .collect()
}

/// Looks beside the scenario, then in the folders above it.
fn find(file: &str, origin: &Origin) -> Option<String> {
    const FOLDERS_ABOVE: usize = 4;
    let folders = Path::new(&origin.name)
        .ancestors()
        .skip(1)
        .take(FOLDERS_ABOVE);
    let candidates: Vec<PathBuf> = folders.map(|folder| folder.join(file)).collect();
    if origin.shipped {
        let text_of = |path: &PathBuf| {
            shipped_files()
                .iter()
                .find(|(name, _)| Path::new(name) == path)
                .map(|(_, text)| (*text).to_owned())
        };
        candidates.iter().find_map(text_of)
    } else {
        candidates
            .iter()
            .find_map(|path| std::fs::read_to_string(path).ok())
    }
}

/// `{{ row.FIELD }}` alone keeps the value's type; within a text it becomes text.
fn fill(value: &Value, row: &Map<String, Value>) -> Result<Value, String> {
    Ok(match value {
        Value::String(text) => fill_text(text, row)?,
        Value::Array(items) => Value::Array(
            items
                .iter()
                .map(|item| fill(item, row))
                .collect::<Result<_, _>>()?,
        ),
        Value::Object(fields) => {
            let filled = fields
                .iter()
                .map(|(name, field)| Ok((name.clone(), fill(field, row)?)));
            Value::Object(filled.collect::<Result<_, String>>()?)
        }
        other => other.clone(),
    })
}

fn fill_text(text: &str, row: &Map<String, Value>) -> Result<Value, String> {
    let mut filled = String::new();
    let mut rest = text;
    while let Some((before, after)) = rest.split_once("{{") {
        let Some((inside, tail)) = after.split_once("}}") else {
            break;
        };
        let Some(field) = inside.trim().strip_prefix("row.") else {
            filled.extend([before, "{{", inside, "}}"]);
            rest = tail;
            continue;
        };
        let value = row.get(field).ok_or_else(|| {
            let known: Vec<&str> = row.keys().map(String::as_str).collect();
            format!(
                "`{{{{ row.{field} }}}}`: this row has no `{field}`; it has {}",
                known.join(", ")
            )
        })?;
        if before.is_empty() && tail.is_empty() && filled.is_empty() {
            return Ok(value.clone());
        }
        filled.push_str(before);
        filled.push_str(&text_of(value));
        rest = tail;
    }
    filled.push_str(rest);
    Ok(Value::String(filled))
}

fn text_of(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}
