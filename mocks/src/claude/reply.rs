//! What Claude says next: by the script, or, without one, what keeps an official client going.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::conversation::{Conversation, ToolResult};
use super::problem::Problem;
use crate::script::{Rule, When};
use crate::template;

/// One turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reply {
    pub(crate) text: Option<String>,
    /// Tools called, with their input.
    pub(crate) calls: Vec<(String, Value)>,
    pub(crate) stop_reason: Option<String>,
}

/// How often each rule was followed, per question.
pub(crate) type Followed = HashMap<(usize, String), u32>;

/// The first rule that matches; an empty script leaves it to [`unscripted`].
pub(crate) fn scripted(
    rules: &[Rule],
    conversation: &Conversation,
    followed: &mut Followed,
) -> Result<Reply, Problem> {
    let mut nearest: Option<(usize, usize, &'static str)> = None;
    for (index, rule) in rules.iter().enumerate() {
        let key = (index, conversation.question.clone());
        let used_up = rule
            .times
            .is_some_and(|times| followed.get(&key).copied().unwrap_or_default() >= times);
        match mismatch(&rule.when, conversation) {
            None if used_up => keep(
                &mut nearest,
                (6, index, "it was followed as often as it may"),
            ),
            None => {
                *followed.entry(key).or_default() += 1;
                return fill(rule, conversation);
            }
            Some((met, why)) => keep(&mut nearest, (met, index, why)),
        }
    }
    let results: Vec<String> = conversation
        .results
        .iter()
        .map(|result| {
            let outcome = if result.failed { " (an error)" } else { "" };
            format!("`{}`{outcome}", result.tool)
        })
        .collect();
    let after = if results.is_empty() {
        "no tool result".to_owned()
    } else {
        format!("results of {}", results.join(", "))
    };
    let nearest = nearest.map_or_else(String::new, |(_, index, why)| {
        let when = serde_json::to_string(&rules[index].when).unwrap_or_default();
        format!(
            "; nearest is rule {} of {}, when {when}: {why}",
            index + 1,
            rules.len()
        )
    });
    Err(Problem::invalid(format!(
        "the script has no rule for question `{}`, turn {}, with {after}{nearest}",
        conversation.question, conversation.turn
    )))
}

fn keep(
    nearest: &mut Option<(usize, usize, &'static str)>,
    candidate: (usize, usize, &'static str),
) {
    if nearest.is_none_or(|(met, ..)| candidate.0 > met) {
        *nearest = Some(candidate);
    }
}

/// Why a rule does not match, and how near it came: points for the situation, the question and the turn.
fn mismatch(when: &When, conversation: &Conversation) -> Option<(usize, &'static str)> {
    let tool = when.after.as_ref().map(|tool| tool.replace('.', "_"));
    let named = |result: &&ToolResult| {
        tool.as_ref()
            .is_none_or(|pattern| template::matches(pattern, &result.tool))
    };
    let mut results = conversation.results.iter().filter(named);
    let (situation, why) = if when.after.is_some() || when.failed.is_some() {
        match when.failed {
            _ if results.clone().next().is_none() => {
                (0, "the last message has no result of its tool")
            }
            Some(failed) if !results.any(|result| result.failed == failed) => {
                (1, "`failed` is otherwise")
            }
            _ => (3, ""),
        }
    } else if when.turn.is_none() && !conversation.results.is_empty() {
        (0, "without `after` it matches only a first turn")
    } else {
        (3, "")
    };
    let (question, why) = match &when.question {
        Some(pattern) if !template::matches(pattern, &conversation.question) => {
            (0, "its question is another")
        }
        Some(_) => (2, why),
        None => (1, why),
    };
    let (turn, why) = match when.turn {
        Some(turn) if turn != conversation.turn => (0, "its turn is another"),
        _ => (1, why),
    };
    (!why.is_empty()).then_some((situation + question + turn, why))
}

/// Every tool of every `[[call {"TOOL": {…}}]]` in a text.
fn orders(text: &str) -> Vec<(String, Value)> {
    let mut orders = Vec::new();
    for rest in text.split("[[call ").skip(1) {
        let mut order = serde_json::Deserializer::from_str(rest).into_iter::<Map<String, Value>>();
        if let Some(Ok(tools)) = order.next() {
            orders.extend(tools);
        }
    }
    orders
}

fn fill(rule: &Rule, conversation: &Conversation) -> Result<Reply, Problem> {
    let context = conversation.context();
    let problem = |missing: template::Missing| Problem::invalid(missing.to_string());
    let text = rule
        .say
        .as_ref()
        .map(|say| template::text(say, &context))
        .transpose()
        .map_err(problem)?;
    let mut calls: Vec<(String, Value)> = rule
        .call
        .iter()
        .flatten()
        .map(|(name, input)| {
            // `Tool#2` calls the same tool once more.
            let name = name.split('#').next().unwrap_or_default();
            let input = match input {
                Value::Null => json!({}),
                input => template::value(input, &context).map_err(problem)?,
            };
            Ok((name.replace('.', "_"), input))
        })
        .collect::<Result<_, Problem>>()?;
    if rule.obey {
        let orders = orders(&conversation.heard());
        if orders.is_empty() {
            return Err(Problem::invalid(
                "the script obeys, and there is no `[[call {\"TOOL\": {…}}]]` to obey",
            ));
        }
        calls.extend(orders);
    }
    Ok(Reply {
        text,
        calls,
        stop_reason: rule.stop_reason.clone(),
    })
}

/// Text; or, when a tool is forced, a call of it that is valid under its own schema.
pub(crate) fn unscripted(body: &Value, conversation: &Conversation) -> Reply {
    let tools = body["tools"].as_array().map_or(&[][..], Vec::as_slice);
    let forced = match body["tool_choice"]["type"].as_str() {
        Some("any") => tools.first(),
        Some("tool") => tools
            .iter()
            .find(|tool| tool["name"] == body["tool_choice"]["name"]),
        _ => None,
    };
    if let Some(name) = forced.and_then(|tool| tool["name"].as_str()) {
        let schema = forced.map_or(Value::Null, |tool| tool["input_schema"].clone());
        return Reply {
            calls: vec![(name.to_owned(), example(&schema, 0))],
            ..Reply::default()
        };
    }
    let text = if conversation.results.is_empty() {
        format!("This is an answer to: {}", conversation.question)
    } else {
        format!(
            "This is an answer from {} tool result(s) to: {}",
            conversation.results.len(),
            conversation.question
        )
    };
    Reply {
        text: Some(text),
        ..Reply::default()
    }
}

/// A value that is valid under a schema.
fn example(schema: &Value, depth: usize) -> Value {
    for given in ["const", "default"] {
        if let Some(value) = schema.get(given) {
            return value.clone();
        }
    }
    if let Some(first) = schema["enum"].as_array().and_then(|values| values.first()) {
        return first.clone();
    }
    for choice in ["anyOf", "oneOf"] {
        if let Some(first) = schema[choice]
            .as_array()
            .and_then(|schemas| schemas.first())
        {
            return example(first, depth + 1);
        }
    }
    let kind = match &schema["type"] {
        Value::Array(kinds) => kinds.first().and_then(Value::as_str),
        kind => kind.as_str(),
    };
    match kind {
        Some("string") => {
            let length = schema["minLength"].as_u64().unwrap_or(1).max(1);
            Value::String("x".repeat(usize::try_from(length.min(4096)).unwrap_or(1)))
        }
        Some("integer" | "number") => schema
            .get("minimum")
            .or(schema.get("maximum"))
            .cloned()
            .unwrap_or(json!(1)),
        Some("boolean") => json!(true),
        Some("null") => Value::Null,
        Some("array") => {
            let count = schema["minItems"].as_u64().unwrap_or(0).min(64);
            (0..count)
                .map(|_| example(&schema["items"], depth + 1))
                .collect()
        }
        _ if depth > 8 => json!({}),
        _ => {
            let required = schema["required"].as_array().into_iter().flatten();
            let fields: Map<String, Value> = required
                .filter_map(Value::as_str)
                .map(|name| {
                    (
                        name.to_owned(),
                        example(&schema["properties"][name], depth + 1),
                    )
                })
                .collect();
            Value::Object(fields)
        }
    }
}
