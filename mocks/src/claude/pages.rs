//! Pages of models and of batches, by the ids at their ends.

use serde_json::{Value, json};

use super::models;
use super::problem::Problem;

/// How many items a page has unless asked, and at most.
const PAGE: usize = 20;
const PAGE_MAX: usize = 1000;

type Query = [(String, String)];

fn field<'a>(query: &'a Query, name: &str) -> Option<&'a str> {
    let found = query.iter().find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}

/// The models that are asked for.
pub(super) fn models(query: &Query) -> Result<Value, Problem> {
    let lifecycles = query
        .iter()
        .filter(|(key, _)| key == "lifecycle[]" || key == "lifecycle");
    let lifecycles: Vec<&str> = lifecycles.map(|(_, value)| value.as_str()).collect();
    for lifecycle in &lifecycles {
        if !["active", "deprecated", "retired"].contains(lifecycle) {
            return Err(Problem::invalid(format!(
                "lifecycle: Input should be 'active', 'deprecated' or 'retired', not '{lifecycle}'"
            )));
        }
    }
    let shown = models::all().iter().map(models::Model::shown);
    let wanted = shown.filter(|model| {
        let lifecycle = model["lifecycle"].as_str().unwrap_or_default();
        lifecycles.is_empty() || lifecycles.contains(&lifecycle)
    });
    page(&wanted.collect::<Vec<_>>(), query)
}

/// A page of these items, which all have an `id`.
pub(super) fn page(items: &[Value], query: &Query) -> Result<Value, Problem> {
    let limit = match field(query, "limit") {
        None => PAGE,
        Some(limit) => match limit.parse::<usize>() {
            Ok(limit) if (1..=PAGE_MAX).contains(&limit) => limit,
            _ => {
                return Err(Problem::invalid(format!(
                    "limit: Input should be a whole number from 1 to {PAGE_MAX}, not '{limit}'"
                )));
            }
        },
    };
    let place = |name: &str| {
        field(query, name)
            .map(|id| {
                let found = items.iter().position(|item| item["id"] == id);
                found.ok_or_else(|| Problem::invalid(format!("{name}: there is no '{id}'")))
            })
            .transpose()
    };
    let (data, has_more) = match (place("before_id")?, place("after_id")?) {
        (Some(_), Some(_)) => {
            return Err(Problem::invalid(
                "only one of `before_id` and `after_id` may be given",
            ));
        }
        (Some(before), None) => {
            let from = before.saturating_sub(limit);
            (&items[from..before], from > 0)
        }
        (None, after) => {
            let from = after.map_or(0, |index| index + 1);
            let to = items.len().min(from + limit);
            (&items[from..to], to < items.len())
        }
    };
    Ok(json!({
        "has_more": has_more,
        "first_id": data.first().map(|item| &item["id"]),
        "last_id": data.last().map(|item| &item["id"]),
        "data": data,
    }))
}
