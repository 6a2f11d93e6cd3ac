//! Everything of a request but its tools and its messages.

use serde_json::Value;

use super::Purpose;
use super::fields::{
    boolean, choice, extra, given, integer, list, nullable_text, number, object, only, text,
};
use super::schema;
use crate::claude::models::Model;
use crate::claude::problem::Problem;

pub(super) fn max_tokens(body: &Value, model: &Model) -> Result<(), Problem> {
    let limit = integer("max_tokens", &body["max_tokens"], 0)?;
    if limit > model.max_output {
        return Err(Problem::invalid(format!(
            "max_tokens: {limit} > {}, which is the maximum allowed number of output tokens for {}",
            model.max_output, model.id
        )));
    }
    Ok(())
}

pub(super) fn all(body: &Value, model: &Model, purpose: Purpose) -> Result<(), Problem> {
    let fields = object("body", body)?;
    let field = |name| given(fields, name);
    boolean("stream", field("stream"))?;
    if field("thread").is_some_and(|thread| !thread.is_null()) {
        // Clients that hear this go on without a thread.
        let why = "thread: message threads are not supported";
        return Err(Problem::invalid(why).coded("thread_unsupported_request"));
    }
    if purpose == Purpose::Batch && field("stream").is_some() {
        return Err(extra("stream"));
    }
    if let Some(sequences) = field("stop_sequences") {
        for (index, sequence) in list("stop_sequences", sequences)?.iter().enumerate() {
            if text(&format!("stop_sequences.{index}"), sequence)?
                .trim()
                .is_empty()
            {
                return Err(Problem::invalid(
                    "stop_sequences: each stop sequence must contain non-whitespace",
                ));
            }
        }
    }
    if let Some(metadata) = field("metadata") {
        let metadata = object("metadata", metadata)?;
        only("metadata", metadata, &["user_id"])?;
        nullable_text("metadata.user_id", metadata.get("user_id"))?;
    }
    if let Some(tier) = field("service_tier") {
        choice("service_tier", tier, &["auto", "standard_only"])?;
    }
    if let Some(speed) = field("speed").filter(|speed| !speed.is_null()) {
        let speed = choice("speed", speed, &["standard", "fast"])?;
        if speed == "fast" && !model.fast {
            return Err(Problem::invalid(
                "speed: 'fast' is not supported for this model",
            ));
        }
    }
    nullable_text("inference_geo", field("inference_geo"))?;
    if let Some(diagnostics) = field("diagnostics").filter(|value| !value.is_null()) {
        let diagnostics = object("diagnostics", diagnostics)?;
        only("diagnostics", diagnostics, &["previous_message_id"])?;
        nullable_text(
            "diagnostics.previous_message_id",
            diagnostics.get("previous_message_id"),
        )?;
    }
    number("temperature", field("temperature"), 1.0)?;
    number("top_p", field("top_p"), 1.0)?;
    if let Some(top_k) = field("top_k") {
        integer("top_k", top_k, 0)?;
    }
    let thinks = thinking(field("thinking"), body, model)?;
    let has_format = output_config(field("output_config"), model)?;
    let choice = body["tool_choice"]["type"].as_str();
    let forced = matches!(choice, Some("any" | "tool"));
    if forced && thinks == Some("enabled") {
        return Err(Problem::invalid(
            "Thinking may not be enabled when tool_choice forces tool use.",
        ));
    }
    if body["max_tokens"] == 0 && purpose != Purpose::CountTokens {
        let unsupported = [
            (purpose == Purpose::Batch, "in a batch"),
            (body["stream"] == true, "with `stream`"),
            (thinks == Some("enabled"), "with `thinking` enabled"),
            (has_format, "with `output_config.format`"),
            (forced, "with a `tool_choice` that forces tool use"),
        ];
        if let Some((_, why)) = unsupported.iter().find(|(unsupported, _)| *unsupported) {
            return Err(Problem::invalid(format!(
                "max_tokens: 0 is not supported {why}"
            )));
        }
    }
    Ok(())
}

/// Returns the type of thinking.
fn thinking<'a>(
    thinking: Option<&'a Value>,
    body: &Value,
    model: &Model,
) -> Result<Option<&'a str>, Problem> {
    let Some(thinking) = thinking else {
        return Ok(None);
    };
    let fields = object("thinking", thinking)?;
    let kinds = ["adaptive", "enabled", "disabled", "between_tools"];
    let kind = choice("thinking.type", &thinking["type"], &kinds)?;
    if !model.thinking.iter().any(|known| known == kind) {
        return Err(Problem::invalid(format!(
            "thinking.type: '{kind}' is not supported for this model"
        )));
    }
    let at = format!("thinking.{kind}");
    match kind {
        "enabled" => {
            only(&at, fields, &["type", "budget_tokens", "display"])?;
            let budget_at = format!("{at}.budget_tokens");
            let budget = integer(&budget_at, &thinking["budget_tokens"], 1024)?;
            if body["max_tokens"]
                .as_u64()
                .is_some_and(|limit| limit > 0 && budget >= limit)
            {
                return Err(Problem::invalid(
                    "`max_tokens` must be greater than `thinking.budget_tokens`. Please consult our documentation at https://docs.claude.com/en/docs/build-with-claude/extended-thinking#max-tokens-and-context-window-size",
                ));
            }
        }
        "adaptive" => only(&at, fields, &["type", "display"])?,
        _ => only(&at, fields, &["type"])?,
    }
    if let Some(display) = fields.get("display").filter(|value| !value.is_null()) {
        choice(
            &format!("{at}.display"),
            display,
            &["summarized", "omitted"],
        )?;
    }
    Ok(Some(kind))
}

/// Returns whether it asks for a format.
fn output_config(config: Option<&Value>, model: &Model) -> Result<bool, Problem> {
    let Some(config) = config else {
        return Ok(false);
    };
    let fields = object("output_config", config)?;
    only(
        "output_config",
        fields,
        &["effort", "format", "task_budget"],
    )?;
    if let Some(effort) = fields.get("effort").filter(|value| !value.is_null()) {
        let levels = ["low", "medium", "high", "xhigh", "max"];
        let effort = choice("output_config.effort", effort, &levels)?;
        if !model.effort.iter().any(|known| known == effort) {
            return Err(Problem::invalid(format!(
                "output_config.effort: '{effort}' is not supported for this model"
            )));
        }
    }
    let Some(format) = fields.get("format").filter(|value| !value.is_null()) else {
        return Ok(false);
    };
    let at = "output_config.format";
    let fields = object(at, format)?;
    choice(&format!("{at}.type"), &format["type"], &["json_schema"])?;
    only(at, fields, &["type", "schema"])?;
    object(&format!("{at}.schema"), &format["schema"])?;
    schema::check(&format["schema"])
        .map_err(|why| Problem::invalid(format!("{at}.schema: {why}")))?;
    Ok(true)
}
