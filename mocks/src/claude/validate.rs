//! Whether a request is one that the Messages API would take.

use std::collections::BTreeSet;

use serde_json::Value;

use super::prices::{self, Model};
use super::problem::Problem;

/// The version under which sampling parameters are refused.
const VERSION: &str = "2026-10-21";
const OLD_VERSION: &str = "2023-06-01";
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];
const FIELDS: [&str; 17] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "stream",
    "stop_sequences",
    "metadata",
    "cache_control",
    "thinking",
    "output_config",
    "service_tier",
    "speed",
    "inference_geo",
    "container",
    "diagnostics",
    "max_tokens",
];

/// The version header.
pub(crate) fn version(header: Option<&str>) -> Result<&'static str, Problem> {
    match header {
        None => Err(Problem::invalid("anthropic-version: header is required")),
        Some(VERSION) => Ok(VERSION),
        Some(OLD_VERSION) => Ok(OLD_VERSION),
        Some(other) => Err(Problem::invalid(format!(
            "anthropic-version: \"{other}\" is not a valid version"
        ))),
    }
}

/// A request for an answer, or, without `max_tokens`, for a count of tokens.
pub(crate) fn request(
    body: &Value,
    version: &str,
    counts_only: bool,
) -> Result<&'static Model, Problem> {
    let Some(fields) = body.as_object() else {
        return Err(Problem::invalid("body: Input should be an object"));
    };
    for name in fields.keys().map(String::as_str) {
        let sampling = SAMPLING.contains(&name);
        if (sampling && version == VERSION) || !(sampling || FIELDS.contains(&name)) {
            return Err(Problem::invalid(format!(
                "{name}: Extra inputs are not permitted"
            )));
        }
    }
    let id = match fields.get("model") {
        None => return Err(Problem::invalid("model: Field required")),
        Some(Value::String(id)) => id,
        Some(_) => return Err(Problem::invalid("model: Input should be a valid string")),
    };
    let model = prices::find(id).ok_or_else(|| Problem::of_status(404, format!("model: {id}")))?;
    if !counts_only {
        max_tokens(body, model)?;
    }
    if !matches!(body["stream"], Value::Null | Value::Bool(_)) {
        return Err(Problem::invalid("stream: Input should be a valid boolean"));
    }
    tools(body, model)?;
    messages(body, model)?;
    Ok(model)
}

fn max_tokens(body: &Value, model: &Model) -> Result<(), Problem> {
    let limit = match &body["max_tokens"] {
        Value::Null => return Err(Problem::invalid("max_tokens: Field required")),
        value => value.as_u64().ok_or_else(|| {
            Problem::invalid("max_tokens: Input should be greater than or equal to 0")
        })?,
    };
    if limit > model.max_output {
        return Err(Problem::invalid(format!(
            "max_tokens: {limit} > {}, which is the maximum allowed number of output tokens for {}",
            model.max_output, model.id
        )));
    }
    if limit == 0 && body["stream"] == true {
        return Err(Problem::invalid(
            "max_tokens: 0 is not supported with stream",
        ));
    }
    Ok(())
}

fn tools(body: &Value, model: &Model) -> Result<(), Problem> {
    let tools = match &body["tools"] {
        Value::Null => &[],
        Value::Array(tools) => tools.as_slice(),
        _ => return Err(Problem::invalid("tools: Input should be a valid list")),
    };
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let Some(name) = tool["name"].as_str() else {
            return Err(Problem::invalid(format!(
                "tools.{index}.custom.name: Field required"
            )));
        };
        if !(1..=128).contains(&name.len())
            || !name
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
        {
            return Err(Problem::invalid(format!(
                "tools.{index}.custom.name: String should match pattern '^[a-zA-Z0-9_-]{{1,128}}$'"
            )));
        }
        if !names.insert(name) {
            return Err(Problem::invalid("tools: Tool names must be unique."));
        }
        let custom = matches!(tool["type"].as_str(), None | Some("custom"));
        if custom && tool["input_schema"]["type"] != "object" {
            return Err(Problem::invalid(format!(
                "tools.{index}.custom.input_schema.type: Input should be 'object'"
            )));
        }
    }
    let choice = &body["tool_choice"];
    if choice.is_null() {
        return Ok(());
    }
    if tools.is_empty() {
        return Err(Problem::invalid(
            "tool_choice: may only be specified while providing `tools`",
        ));
    }
    match choice["type"].as_str() {
        Some("any" | "tool") if !model.forced_tools => Err(Problem::invalid(
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        )),
        Some("auto" | "none" | "any") => Ok(()),
        Some("tool") => match choice["name"].as_str() {
            Some(name) if names.contains(name) => Ok(()),
            Some(name) => Err(Problem::invalid(format!(
                "tool_choice: Tool '{name}' not found in provided tools"
            ))),
            None => Err(Problem::invalid("tool_choice.tool.name: Field required")),
        },
        _ => Err(Problem::invalid(
            "tool_choice: Input should be one of 'auto', 'any', 'tool', 'none'",
        )),
    }
}

fn messages(body: &Value, model: &Model) -> Result<(), Problem> {
    let messages = match &body["messages"] {
        Value::Null => return Err(Problem::invalid("messages: Field required")),
        Value::Array(messages) => messages,
        _ => return Err(Problem::invalid("messages: Input should be a valid list")),
    };
    if messages.is_empty() {
        return Err(Problem::invalid(
            "messages: at least one message is required",
        ));
    }
    if messages[0]["role"] != "user" {
        return Err(Problem::invalid(
            "messages: first message must use the \"user\" role",
        ));
    }
    let last = messages.len() - 1;
    if messages[last]["role"] == "assistant" && !model.prefill {
        return Err(Problem::invalid(
            "This model does not support assistant message prefill. The conversation must end with a user message.",
        ));
    }
    let mut called: Vec<&str> = Vec::new();
    for (index, message) in messages.iter().enumerate() {
        let role = message["role"].as_str().unwrap_or_default();
        if !matches!(role, "user" | "assistant") {
            return Err(Problem::invalid(format!(
                "messages.{index}.role: Input should be 'user' or 'assistant'"
            )));
        }
        called = content(index, index == last, role, &message["content"], &called)?;
    }
    unanswered(last, &called)
}

/// Checks one message against the calls of the one before; returns its own.
fn content<'a>(
    index: usize,
    last: bool,
    role: &str,
    content: &'a Value,
    called: &[&str],
) -> Result<Vec<&'a str>, Problem> {
    let empty = || {
        Problem::invalid(format!(
            "messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        ))
    };
    let optional = last && role == "assistant";
    let blocks = match content {
        Value::String(text) if text.is_empty() && !optional => return Err(empty()),
        Value::String(_) => &[],
        Value::Array(blocks) if blocks.is_empty() && !optional => return Err(empty()),
        Value::Array(blocks) => blocks.as_slice(),
        Value::Null => {
            return Err(Problem::invalid(format!(
                "messages.{index}.content: Field required"
            )));
        }
        _ => {
            return Err(Problem::invalid(format!(
                "messages.{index}.content: Input should be a valid string or list"
            )));
        }
    };
    let mut results = BTreeSet::new();
    let mut calls = Vec::new();
    let mut other_seen = false;
    for (place, block) in blocks.iter().enumerate() {
        let at = format!("messages.{index}.content.{place}");
        let required = |field: &str| {
            block[field]
                .as_str()
                .ok_or_else(|| Problem::invalid(format!("{at}.{field}: Field required")))
        };
        match required("type")? {
            "text" => {
                if required("text")?.is_empty() {
                    return Err(Problem::invalid(
                        "messages: text content blocks must be non-empty",
                    ));
                }
                other_seen = true;
            }
            "tool_use" => {
                if role != "assistant" {
                    return Err(Problem::invalid(format!(
                        "{at}: `tool_use` blocks can only be in `assistant` messages"
                    )));
                }
                required("name")?;
                if !block["input"].is_object() {
                    return Err(Problem::invalid(format!(
                        "{at}.tool_use.input: Input should be a valid dictionary"
                    )));
                }
                calls.push(required("id")?);
            }
            "tool_result" => {
                let id = required("tool_use_id")?;
                if role != "user" || !called.contains(&id) || !results.insert(id) {
                    return Err(Problem::invalid(format!(
                        "{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                    )));
                }
                if other_seen {
                    return Err(Problem::invalid(format!(
                        "{at}: `tool_result` blocks must come first in the message"
                    )));
                }
            }
            "image" | "document" | "search_result" | "thinking" | "redacted_thinking" => {
                other_seen = true;
            }
            other => {
                return Err(Problem::invalid(format!(
                    "{at}: Input tag '{other}' found using 'type' does not match any of the expected tags"
                )));
            }
        }
    }
    let missing: Vec<&str> = called
        .iter()
        .copied()
        .filter(|id| !results.contains(id))
        .collect();
    unanswered(index.saturating_sub(1), &missing)?;
    Ok(calls)
}

fn unanswered(index: usize, missing: &[&str]) -> Result<(), Problem> {
    if missing.is_empty() {
        return Ok(());
    }
    Err(Problem::invalid(format!(
        "messages.{index}: `tool_use` ids were found without `tool_result` blocks immediately after: {}. Each `tool_use` block must have a corresponding `tool_result` block in the next message.",
        missing.join(", ")
    )))
}
