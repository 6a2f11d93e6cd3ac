//! What Claude says next: by the script, or, without one, what keeps an official client going.

use std::collections::HashMap;

use serde_json::{Map, Value, json};

use super::conversation::{Conversation, ToolResult};
use super::example::example;
use super::problem::Problem;
use crate::script::{Latency, Recorded, Recording, Rule, When};
use crate::template;

/// One turn.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Reply {
    /// Thought before anything is said.
    pub(crate) thinking: Option<String>,
    pub(crate) text: Option<String>,
    /// Tools called, with their input.
    pub(crate) calls: Vec<(String, Value)>,
    pub(crate) stop_reason: Option<String>,
    /// How long it takes, when the rule says so.
    pub(crate) latency: Option<Latency>,
}

impl Reply {
    /// The turn of a recorded message.
    pub(crate) fn of_message(message: &Value) -> Self {
        let blocks = message["content"].as_array().map_or(&[][..], Vec::as_slice);
        let texts = |field: &str| {
            let texts = blocks.iter().filter_map(|block| block[field].as_str());
            let texts: Vec<&str> = texts.collect();
            (!texts.is_empty()).then(|| texts.join(""))
        };
        let calls = blocks.iter().filter(|block| block["type"] == "tool_use");
        Self {
            thinking: texts("thinking"),
            text: texts("text"),
            calls: calls
                .map(|call| {
                    let name = call["name"].as_str().unwrap_or_default();
                    (name.to_owned(), call["input"].clone())
                })
                .collect(),
            stop_reason: message["stop_reason"].as_str().map(str::to_owned),
            latency: None,
        }
    }
}

/// How often each rule that may not be followed for ever was followed, per question.
pub(crate) type Followed = HashMap<(usize, String), u32>;

/// The first rule that matches; an empty script leaves it to [`unscripted`].
pub(crate) fn scripted(
    rules: &[Rule],
    conversation: &Conversation,
    followed: &mut Followed,
) -> Result<Reply, Problem> {
    let mut nearest: Option<(usize, usize, &'static str)> = None;
    for (index, rule) in rules.iter().enumerate() {
        if rule.response.is_some() {
            // Given byte for byte, and looked at before.
            continue;
        }
        match mismatch(&rule.when, conversation) {
            None => {
                if follow(rule, (index, &conversation.question), followed) {
                    return fill(rule, conversation);
                }
                keep(
                    &mut nearest,
                    (8, index, "it was followed as often as it may"),
                );
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
        "the script has no rule for question `{}`, turn {}, call {}, with {after}{nearest}",
        conversation.question, conversation.turn, conversation.call
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

/// Counts that a rule is followed, unless it was as often as it may.
pub(crate) fn follow(
    rule: &Rule,
    (index, question): (usize, &str),
    followed: &mut Followed,
) -> bool {
    let Some(times) = rule.times else {
        return true;
    };
    let count = followed.entry((index, question.to_owned())).or_default();
    let left = *count < times;
    *count += u32::from(left);
    left
}

/// Whether a rule is for this point of a conversation.
pub(crate) fn fits(when: &When, conversation: &Conversation) -> bool {
    mismatch(when, conversation).is_none()
}

/// Why a rule does not match, and how near it came: points for the situation, the question, the turn and who asks.
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
    let (call, why) = match when.call {
        Some(call) if call != conversation.call => (0, "its call is another"),
        _ => (1, why),
    };
    let (client, why) = match &when.client {
        Some(pattern) if !template::matches(pattern, &conversation.client) => {
            (0, "its client is another")
        }
        _ => (1, why),
    };
    let near = situation + question + turn + call + client;
    (!why.is_empty()).then_some((near, why))
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
    let filled = |template: &Option<String>| {
        let template = template.as_ref();
        let text = template.map(|template| template::text(template, &context));
        text.transpose().map_err(problem)
    };
    let text = filled(&rule.say)?;
    let thinking = filled(&rule.think)?;
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
        thinking,
        text,
        calls,
        stop_reason: rule.stop_reason.clone(),
        latency: rule.latency.clone(),
    })
}

/// The message that was recorded for the same messages; the error names the nearest one and where it differs.
pub(crate) fn replayed<'a>(
    recording: &'a Recording,
    body: &Value,
) -> Result<&'a Recorded, Problem> {
    let asked = messages(body);
    let same = |line: &&Recorded| {
        let recorded = messages(&line.request);
        recorded.len() == asked.len() && agreeing(recorded, asked) == asked.len()
    };
    if let Some(line) = recording.lines.iter().find(same) {
        return Ok(line);
    }
    let nearest = recording.lines.iter().enumerate();
    let nearest = nearest
        .map(|(index, line)| (agreeing(messages(&line.request), asked), index))
        .max_by_key(|(agreeing, index)| (*agreeing, std::cmp::Reverse(*index)));
    let nearest = nearest.map_or_else(String::new, |(agreeing, index)| {
        let there = messages(&recording.lines[index].request).get(agreeing);
        let there = there.map_or_else(|| "nothing".to_owned(), Value::to_string);
        let here = asked.get(agreeing).map_or_else(|| "nothing".to_owned(), Value::to_string);
        format!(
            "; nearest is exchange {}, whose message {agreeing} is {there:.300} instead of {here:.300}",
            index + 1
        )
    });
    Err(Problem::invalid(format!(
        "the recording `{}` has no request with these messages{nearest}",
        recording.file
    )))
}

fn messages(body: &Value) -> &[Value] {
    body["messages"].as_array().map_or(&[], Vec::as_slice)
}

/// How many messages agree from the first on.
fn agreeing(one: &[Value], other: &[Value]) -> usize {
    let pairs = one.iter().zip(other);
    pairs
        .take_while(|(one, other)| same_message(one, other))
        .count()
}

/// Where breakpoints stand makes no other message.
fn same_message(one: &Value, other: &Value) -> bool {
    fn bare(value: &Value) -> Value {
        match value {
            Value::Object(fields) => fields
                .iter()
                .filter(|(name, _)| *name != "cache_control")
                .map(|(name, field)| (name.clone(), bare(field)))
                .collect(),
            Value::Array(items) => items.iter().map(bare).collect(),
            other => other.clone(),
        }
    }
    one == other || bare(one) == bare(other)
}

/// Text; or, when a tool is forced, a call of it that is valid under its own schema. Thinks first where it is asked to.
pub(crate) fn unscripted(body: &Value, conversation: &Conversation) -> Reply {
    let thinks = matches!(
        body["thinking"]["type"].as_str(),
        Some("adaptive" | "enabled")
    );
    Reply {
        thinking: thinks.then(|| format!("They ask: {}", conversation.question)),
        ..spoken(body, conversation)
    }
}

fn spoken(body: &Value, conversation: &Conversation) -> Reply {
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
            calls: vec![(name.to_owned(), example(&schema))],
            ..Reply::default()
        };
    }
    let format = &body["output_config"]["format"];
    let text = if format.is_object() {
        example(&format["schema"]).to_string()
    } else if conversation.results.is_empty() {
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
