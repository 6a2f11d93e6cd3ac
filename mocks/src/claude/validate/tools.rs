//! Tools, and which of them is to be called.

use std::collections::BTreeSet;

use serde_json::Value;

use super::fields::{boolean, choice, list, object, only, required, text};
use super::schema;
use crate::claude::models::Model;
use crate::claude::problem::Problem;

const PATTERN: &str = "^[a-zA-Z0-9_-]{1,128}$";
const CUSTOM: [&str; 10] = [
    "name",
    "description",
    "input_schema",
    "type",
    "cache_control",
    "strict",
    "defer_loading",
    "eager_input_streaming",
    "allowed_callers",
    "input_examples",
];
/// Tools that the provider runs or knows.
const KNOWN: [&str; 21] = [
    "web_search_20250305",
    "web_search_20260209",
    "web_search_20260318",
    "web_fetch_20250910",
    "web_fetch_20260209",
    "web_fetch_20260309",
    "web_fetch_20260318",
    "code_execution_20250522",
    "code_execution_20250825",
    "code_execution_20260120",
    "code_execution_20260521",
    "bash_20250124",
    "text_editor_20250124",
    "text_editor_20250429",
    "text_editor_20250728",
    "memory_20250818",
    "tool_search_tool_bm25_20251119",
    "tool_search_tool_regex_20251119",
    "browser_toolset_20260801",
    "computer_toolset_20260801",
    "mcp_toolset",
];

pub(super) fn all(body: &Value, model: &Model) -> Result<(), Problem> {
    let tools = match body.get("tools") {
        None => &[],
        Some(tools) => list("tools", tools)?,
    };
    let mut names = BTreeSet::new();
    for (index, tool) in tools.iter().enumerate() {
        let fields = object(&format!("tools.{index}"), tool)?;
        if let Some(kind) = fields
            .get("type")
            .filter(|kind| *kind != "custom" && !kind.is_null())
        {
            let kind = text(&format!("tools.{index}.type"), kind)?;
            if !KNOWN.contains(&kind) {
                return Err(Problem::invalid(format!(
                    "tools.{index}: Input tag '{kind}' found using 'type' does not match any of the expected tags: 'custom', {}",
                    KNOWN.map(|known| format!("'{known}'")).join(", ")
                )));
            }
        } else {
            custom(&format!("tools.{index}.custom"), tool)?;
        }
        if let Some(name) = tool["name"].as_str()
            && !names.insert(name)
        {
            return Err(Problem::invalid("tools: Tool names must be unique."));
        }
    }
    match body.get("tool_choice") {
        None => Ok(()),
        Some(chosen) => tool_choice(chosen, tools, &names, model),
    }
}

fn custom(at: &str, tool: &Value) -> Result<(), Problem> {
    let name_at = format!("{at}.name");
    let name = text(&name_at, &tool["name"])?;
    if name.len() > 128 {
        return Err(Problem::invalid(format!(
            "{name_at}: String should have at most 128 characters"
        )));
    }
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if name.is_empty() || !name.bytes().all(fits) {
        return Err(Problem::invalid(format!(
            "{name_at}: String should match pattern '{PATTERN}'"
        )));
    }
    let fields = object(at, tool)?;
    only(at, fields, &CUSTOM)?;
    if let Some(description) = fields.get("description") {
        text(&format!("{at}.description"), description)?;
    }
    for flag in ["strict", "defer_loading"] {
        boolean(&format!("{at}.{flag}"), fields.get(flag))?;
    }
    let schema_at = format!("{at}.input_schema");
    let schema = object(&schema_at, &tool["input_schema"])?;
    match schema.get("type") {
        None => return Err(required(&format!("{schema_at}.type"))),
        Some(kind) if kind != "object" => {
            return Err(Problem::invalid(format!(
                "{schema_at}.type: Input should be 'object'"
            )));
        }
        Some(_) => {}
    }
    schema::check(&tool["input_schema"])
        .map_err(|why| Problem::invalid(format!("{schema_at}: {why}")))
}

fn tool_choice(
    chosen: &Value,
    tools: &[Value],
    names: &BTreeSet<&str>,
    model: &Model,
) -> Result<(), Problem> {
    let fields = object("tool_choice", chosen)?;
    let kinds = ["auto", "any", "tool", "none"];
    let kind = choice("tool_choice.type", &chosen["type"], &kinds)?;
    let at = format!("tool_choice.{kind}");
    let known: &[&str] = match kind {
        "tool" => &["type", "name", "disable_parallel_tool_use"],
        "none" => &["type"],
        _ => &["type", "disable_parallel_tool_use"],
    };
    only(&at, fields, known)?;
    let parallel = "disable_parallel_tool_use";
    boolean(&format!("{at}.{parallel}"), fields.get(parallel))?;
    if tools.is_empty() {
        return Err(Problem::invalid(
            "tool_choice: may only be specified while providing `tools`",
        ));
    }
    if matches!(kind, "any" | "tool") && !model.forced_tools {
        return Err(Problem::invalid(
            "tool_choice: type \"tool\" and \"any\" are not supported for this model.",
        ));
    }
    if kind == "tool" {
        let name = text(&format!("{at}.name"), &chosen["name"])?;
        if !names.contains(name) {
            return Err(Problem::invalid(format!(
                "tool_choice: Tool '{name}' not found in provided tools"
            )));
        }
    }
    Ok(())
}
