//! The system prompt and the messages: roles, blocks, and that every call of a tool has its result.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::fields::{boolean, choice, list, object, only, text};
use crate::claude::models::Model;
use crate::claude::problem::Problem;

/// How many messages a request may have.
const MESSAGES: usize = 100_000;
const IMAGES: [&str; 4] = ["image/jpeg", "image/png", "image/gif", "image/webp"];
/// Blocks that only the provider writes, and that come back as they were.
const PROVIDERS: [&str; 11] = [
    "server_tool_use",
    "web_search_tool_result",
    "web_fetch_tool_result",
    "code_execution_tool_result",
    "bash_code_execution_tool_result",
    "text_editor_code_execution_tool_result",
    "tool_search_tool_result",
    "container_upload",
    "mcp_tool_use",
    "mcp_tool_result",
    "compaction",
];

/// Messages of one role that stand beside each other: they are one turn.
struct Turn<'a> {
    role: &'a str,
    /// Its first message.
    index: usize,
    calls: Vec<&'a str>,
    /// A block has come that is no tool result.
    other_seen: bool,
    results: BTreeSet<&'a str>,
}

/// Where a block stands, and what may be there.
#[derive(Clone, Copy)]
struct Place<'a> {
    at: &'a str,
    role: &'a str,
    strict: bool,
}

pub(super) fn messages(body: &Value, model: &Model, strict: bool) -> Result<(), Problem> {
    system(body)?;
    let messages = list("messages", &body["messages"])?;
    if messages.is_empty() {
        return Err(Problem::invalid(
            "messages: at least one message is required",
        ));
    }
    if messages.len() > MESSAGES {
        return Err(Problem::invalid(format!(
            "messages: List should have at most {MESSAGES} items after validation, not {}",
            messages.len()
        )));
    }
    let last = messages.len() - 1;
    let mut before: Option<Turn<'_>> = None;
    let mut current: Option<Turn<'_>> = None;
    for (index, message) in messages.iter().enumerate() {
        let at = format!("messages.{index}");
        let fields = object(&at, message)?;
        let roles = ["user", "assistant", "system"];
        let role = choice(&format!("{at}.role"), &message["role"], &roles)?;
        only(&at, fields, &["role", "content"])?;
        if role == "system" {
            system_message(messages, index, model)?;
            continue;
        }
        if current.as_ref().is_none_or(|turn| turn.role != role) {
            let ended = current.replace(Turn {
                role,
                index,
                calls: Vec::new(),
                other_seen: false,
                results: BTreeSet::new(),
            });
            if let Some(turn) = &ended {
                answered(before.as_ref(), turn)?;
            }
            before = ended;
        }
        if let Some(turn) = &mut current {
            let optional = index == last && role == "assistant";
            content(
                (index, optional, strict),
                &message["content"],
                before.as_ref(),
                turn,
            )?;
        }
    }
    if messages[0]["role"] != "user" {
        return Err(Problem::invalid(
            "messages: first message must use the \"user\" role",
        ));
    }
    if messages[last]["role"] == "assistant" {
        if !model.prefill {
            return Err(Problem::invalid(
                "This model does not support assistant message prefill. The conversation must end with a user message.",
            ));
        }
        let text = match &messages[last]["content"] {
            Value::Array(blocks) => blocks.last().and_then(|block| block["text"].as_str()),
            content => content.as_str(),
        };
        if text.is_some_and(|text| text.ends_with(char::is_whitespace)) {
            return Err(Problem::invalid(
                "messages: final assistant content cannot end with trailing whitespace",
            ));
        }
    }
    if let Some(turn) = &current {
        answered(before.as_ref(), turn)?;
        unanswered(turn.index, &turn.calls)?;
    }
    Ok(())
}

fn system(body: &Value) -> Result<(), Problem> {
    let blocks = match body.get("system") {
        None | Some(Value::String(_)) => return Ok(()),
        Some(system) => list("system", system)?,
    };
    for (index, block) in blocks.iter().enumerate() {
        let at = format!("system.{index}");
        let fields = object(&at, block)?;
        choice(&format!("{at}.type"), &block["type"], &["text"])?;
        only(&at, fields, &["type", "text", "cache_control", "citations"])?;
        if text(&format!("{at}.text"), &block["text"])?.is_empty() {
            return Err(Problem::invalid(
                "system: text content blocks must be non-empty",
            ));
        }
    }
    Ok(())
}

/// A message of the role `system`: text only, after a user's message, last or before an assistant's.
fn system_message(messages: &[Value], index: usize, model: &Model) -> Result<(), Problem> {
    if !model.system_messages {
        return Err(Problem::invalid(
            "role 'system' is not supported on this model",
        ));
    }
    let role = |index: usize| messages.get(index).map(|message| &message["role"]);
    let after_user = index
        .checked_sub(1)
        .and_then(role)
        .is_some_and(|role| role == "user");
    let before_assistant = role(index + 1).is_none_or(|role| role == "assistant");
    if !after_user || !before_assistant {
        return Err(Problem::invalid(format!(
            "messages.{index}: a message of role 'system' must follow a user message and be last or be followed by an assistant message"
        )));
    }
    match &messages[index]["content"] {
        Value::String(text) if !text.trim().is_empty() => Ok(()),
        Value::Array(blocks)
            if !blocks.is_empty() && blocks.iter().all(|block| block["type"] == "text") =>
        {
            Ok(())
        }
        _ => Err(Problem::invalid(format!(
            "messages.{index}.content: a message of role 'system' must hold text only"
        ))),
    }
}

/// Reads one message into its turn.
fn content<'a>(
    (index, optional, strict): (usize, bool, bool),
    content: &'a Value,
    before: Option<&Turn<'a>>,
    turn: &mut Turn<'a>,
) -> Result<(), Problem> {
    let empty = || {
        Problem::invalid(format!(
            "messages.{index}: all messages must have non-empty content except for the optional final assistant message"
        ))
    };
    let at = format!("messages.{index}.content");
    let blocks = match content {
        Value::String(text) if text.is_empty() && !optional => return Err(empty()),
        Value::String(text) if text.trim().is_empty() && !optional => {
            return Err(Problem::invalid(
                "messages: text content blocks must contain non-whitespace text",
            ));
        }
        Value::String(_) => {
            turn.other_seen = true;
            return Ok(());
        }
        Value::Array(blocks) if blocks.is_empty() && !optional => return Err(empty()),
        content => list(&at, content)?,
    };
    for (place, block) in blocks.iter().enumerate() {
        let at = format!("{at}.{place}");
        let fields = object(&at, block)?;
        let kind = text(&format!("{at}.type"), &block["type"])?;
        let place = Place {
            at: &format!("{at}.{kind}"),
            role: turn.role,
            strict,
        };
        match kind {
            "tool_use" => turn.calls.push(tool_use(place, block, fields)?),
            "tool_result" => {
                let id = tool_result(place, block, fields)?;
                let called = before.is_some_and(|before| before.calls.contains(&id));
                if turn.role != "user" || !called || !turn.results.insert(id) {
                    return Err(Problem::invalid(format!(
                        "{at}: unexpected `tool_use_id` found in `tool_result` blocks: {id}. Each `tool_result` block must have a corresponding `tool_use` block in the previous message."
                    )));
                }
                if turn.other_seen {
                    return Err(Problem::invalid(format!(
                        "{at}: `tool_result` blocks must come first in the message"
                    )));
                }
                continue;
            }
            _ => other(place, kind, block, fields)?,
        }
        turn.other_seen = true;
    }
    Ok(())
}

/// A block that neither calls a tool nor answers a call.
fn other(
    place: Place<'_>,
    kind: &str,
    block: &Value,
    fields: &Map<String, Value>,
) -> Result<(), Problem> {
    let Place { at, role, strict } = place;
    match kind {
        "text" => {
            only(at, fields, &["type", "text", "cache_control", "citations"])?;
            let said = text(&format!("{at}.text"), &block["text"])?;
            if said.is_empty() {
                return Err(Problem::invalid(
                    "messages: text content blocks must be non-empty",
                ));
            }
            if said.trim().is_empty() {
                return Err(Problem::invalid(
                    "messages: text content blocks must contain non-whitespace text",
                ));
            }
            no_citations(place, block)
        }
        "image" | "document" => {
            let source_at = format!("{at}.source");
            let source = object(&source_at, &block["source"])?;
            let kinds = ["base64", "url", "file", "text", "content"];
            let kinds = if kind == "image" { &kinds[..3] } else { &kinds };
            let source_kind = choice(
                &format!("{source_at}.type"),
                &block["source"]["type"],
                kinds,
            )?;
            let field = |name: &str| {
                let value = source.get(name).unwrap_or(&Value::Null);
                text(&format!("{source_at}.{source_kind}.{name}"), value)
            };
            match source_kind {
                "base64" => {
                    let media_at = format!("{source_at}.base64.media_type");
                    let media = source.get("media_type").unwrap_or(&Value::Null);
                    let media_types = if kind == "image" {
                        &IMAGES[..]
                    } else {
                        &["application/pdf"]
                    };
                    choice(&media_at, media, media_types)?;
                    let data = field("data")?;
                    let engine = base64::prelude::BASE64_STANDARD;
                    if base64::Engine::decode(&engine, data).is_err() {
                        return Err(Problem::invalid(format!(
                            "{source_at}.base64.data: Input should be valid base64"
                        )));
                    }
                }
                "url" => drop(field("url")?),
                "file" => drop(field("file_id")?),
                _ => {}
            }
            if role == "assistant" && (kind == "image" || strict) {
                return Err(Problem::invalid(format!(
                    "{at}: `{kind}` blocks are not permitted in assistant messages"
                )));
            }
            Ok(())
        }
        "search_result" => {
            text(&format!("{at}.source"), &block["source"])?;
            text(&format!("{at}.title"), &block["title"])?;
            let parts = list(&format!("{at}.content"), &block["content"])?;
            parts.iter().try_for_each(|part| no_citations(place, part))
        }
        "thinking" | "redacted_thinking" if role != "assistant" => Err(Problem::invalid(format!(
            "{at}: `{kind}` blocks can only be in `assistant` messages"
        ))),
        "thinking" => {
            only(
                at,
                fields,
                &["type", "thinking", "signature", "cache_control"],
            )?;
            text(&format!("{at}.thinking"), &block["thinking"])?;
            text(&format!("{at}.signature"), &block["signature"]).map(drop)
        }
        "redacted_thinking" => text(&format!("{at}.data"), &block["data"]).map(drop),
        kind if PROVIDERS.contains(&kind) => Ok(()),
        kind => {
            let at = at.strip_suffix(kind).unwrap_or(at);
            let at = at.strip_suffix('.').unwrap_or(at);
            Err(Problem::invalid(format!(
                "{at}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', 'image', 'redacted_thinking', 'search_result', 'server_tool_use', 'text', 'thinking', 'tool_result', 'tool_use', 'web_search_tool_result'"
            )))
        }
    }
}

/// Under the new version a user's text brings no citations.
fn no_citations(place: Place<'_>, block: &Value) -> Result<(), Problem> {
    let cited = block["citations"]
        .as_array()
        .is_some_and(|them| !them.is_empty());
    if cited && place.strict && place.role == "user" {
        return Err(Problem::invalid(format!(
            "{}.citations: Extra inputs are not permitted",
            place.at
        )));
    }
    Ok(())
}

fn identifier<'a>(at: &str, value: &'a Value) -> Result<&'a str, Problem> {
    let id = text(at, value)?;
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if !id.is_empty() && id.bytes().all(fits) {
        return Ok(id);
    }
    Err(Problem::invalid(format!(
        "{at}: String should match pattern '^[a-zA-Z0-9_-]+$'"
    )))
}

fn tool_use<'a>(
    place: Place<'_>,
    block: &'a Value,
    fields: &Map<String, Value>,
) -> Result<&'a str, Problem> {
    let at = place.at;
    if place.role != "assistant" {
        let at = at.strip_suffix(".tool_use").unwrap_or(at);
        return Err(Problem::invalid(format!(
            "{at}: `tool_use` blocks can only be in `assistant` messages"
        )));
    }
    let known = [
        "type",
        "id",
        "name",
        "input",
        "caller",
        "toolset_name",
        "cache_control",
    ];
    only(at, fields, &known)?;
    let id = identifier(&format!("{at}.id"), &block["id"])?;
    let name = text(&format!("{at}.name"), &block["name"])?;
    if !(1..=200).contains(&name.len()) {
        return Err(Problem::invalid(format!(
            "{at}.name: String should have at least 1 and at most 200 characters"
        )));
    }
    object(&format!("{at}.input"), &block["input"])?;
    Ok(id)
}

fn tool_result<'a>(
    place: Place<'_>,
    block: &'a Value,
    fields: &Map<String, Value>,
) -> Result<&'a str, Problem> {
    let at = place.at;
    only(
        at,
        fields,
        &[
            "type",
            "tool_use_id",
            "content",
            "is_error",
            "cache_control",
        ],
    )?;
    let id = identifier(&format!("{at}.tool_use_id"), &block["tool_use_id"])?;
    boolean(&format!("{at}.is_error"), fields.get("is_error"))?;
    let content_at = format!("{at}.content");
    match fields.get("content") {
        None | Some(Value::String(_)) => {}
        Some(content) => {
            for (index, part) in list(&content_at, content)?.iter().enumerate() {
                let at = format!("{content_at}.{index}");
                let part_fields = object(&at, part)?;
                let kind = text(&format!("{at}.type"), &part["type"])?;
                let at = format!("{at}.{kind}");
                match kind {
                    "text" => {
                        text(&format!("{at}.text"), &part["text"])?;
                        no_citations(Place { at: &at, ..place }, part)?;
                    }
                    "image" | "document" | "search_result" => {
                        other(Place { at: &at, ..place }, kind, part, part_fields)?;
                    }
                    "tool_reference" | "browser_state" => {}
                    _ => {
                        return Err(Problem::invalid(format!(
                            "{content_at}.{index}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'document', 'image', 'search_result', 'text', 'tool_reference'"
                        )));
                    }
                }
            }
        }
    }
    Ok(id)
}

/// That a turn answers every call of the one before.
fn answered(before: Option<&Turn<'_>>, turn: &Turn<'_>) -> Result<(), Problem> {
    let Some(before) = before else {
        return Ok(());
    };
    let missing: Vec<&str> = before
        .calls
        .iter()
        .copied()
        .filter(|id| !turn.results.contains(id))
        .collect();
    unanswered(before.index, &missing)
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
