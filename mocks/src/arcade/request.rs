//! What a request asks with, its query and its body, and the pages that are answered.

use serde_json::{Value, json};

use super::Reply;
use super::refusal::Refusal;
use crate::body::Answer;
use crate::front::Arrived;

/// How many items a page has unless asked, and at most.
const PAGE: usize = 25;
const PAGE_MAX: usize = 100;

/// The pairs of a query, decoded.
pub(super) struct Query(pub(super) Vec<(String, String)>);

impl Query {
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Values that are given apart or joined by commas.
    pub(super) fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let bracketed = self
            .0
            .iter()
            .filter(move |(key, _)| key.trim_end_matches("[]") == name);
        let values = bracketed.flat_map(|(_, value)| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty())
    }

    pub(super) fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let wrong =
            |text: &str| Refusal::bad(format!("{name} must be a whole number, not `{text}`"));
        self.text(name)
            .map(|text| text.parse().map_err(|_| wrong(text)))
            .transpose()
    }
}

/// A page of so many items.
pub(super) fn page(
    query: &Query,
    total: usize,
    items: impl FnOnce(std::ops::Range<usize>) -> Vec<Value>,
) -> Reply {
    let number = |name| {
        query
            .number(name)
            .map(|it| it.and_then(|it| usize::try_from(it).ok()))
    };
    let limit = number("limit")?.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let offset = number("offset")?.unwrap_or_default();
    let from = offset.min(total);
    let items = items(from..total.min(from + limit));
    Ok(Answer::json(
        200,
        &json!({
            "limit": limit,
            "offset": offset,
            "page_count": items.len(),
            "total_count": total,
            "items": items,
        }),
    ))
}

/// The body, which must be an object.
pub(super) fn object(arrived: &Arrived) -> Result<Value, Refusal> {
    let body = arrived
        .body
        .as_deref()
        .ok_or_else(|| Refusal(413, "request_too_large", "the body is too large".to_owned()))?;
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(Refusal::bad("the body must be a JSON object".to_owned())),
        Err(error) => Err(Refusal::bad(format!("the body is not valid JSON: {error}"))),
    }
}

pub(super) fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    match optional_text(body, name)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::bad(format!("{name} is required"))),
    }
}

pub(super) fn optional_text<'a>(body: &'a Value, name: &str) -> Result<Option<&'a str>, Refusal> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Refusal::bad(format!("{name} must be a string"))),
    }
}
