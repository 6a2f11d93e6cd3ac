//! Where a conversation stands: its question, its turn, and the tool results of its last message.

use std::collections::HashMap;

use serde_json::{Value, json};

use crate::journal;

/// What scripts look at.
#[derive(Clone, Debug, Default)]
pub(crate) struct Conversation {
    /// The last plain user text.
    pub(crate) question: String,
    pub(crate) nonce: Option<String>,
    /// From 1; one more for each answer since the question.
    pub(crate) turn: u32,
    /// The tool results of the last message.
    pub(crate) results: Vec<ToolResult>,
    /// The how-manieth request with this question it is, from 1.
    pub(crate) call: u32,
    /// The key of who asks.
    pub(crate) client: String,
}

/// One tool result.
#[derive(Clone, Debug)]
pub(crate) struct ToolResult {
    pub(crate) tool: String,
    pub(crate) failed: bool,
    /// Parsed when it is JSON, otherwise its text.
    content: Value,
}

impl Conversation {
    pub(crate) fn read(body: &Value) -> Self {
        let messages = body["messages"].as_array().map_or(&[][..], Vec::as_slice);
        let asked = messages
            .iter()
            .enumerate()
            .rev()
            .find_map(|(index, message)| {
                let text =
                    (message["role"] == "user").then(|| plain_text(&message["content"]))??;
                Some((index, text))
            });
        let (index, question) = asked.unwrap_or_default();
        let answers = messages
            .iter()
            .skip(index)
            .filter(|message| message["role"] == "assistant")
            .count();
        let names: HashMap<&str, &str> = messages
            .iter()
            .flat_map(|message| blocks(&message["content"]))
            .filter(|block| block["type"] == "tool_use")
            .filter_map(|block| Some((block["id"].as_str()?, block["name"].as_str()?)))
            .collect();
        let results = messages
            .last()
            .into_iter()
            .filter(|message| message["role"] == "user")
            .flat_map(|message| blocks(&message["content"]))
            .filter(|block| block["type"] == "tool_result")
            .map(|block| ToolResult {
                tool: block["tool_use_id"]
                    .as_str()
                    .and_then(|id| names.get(id))
                    .map_or_else(String::new, |name| (*name).to_owned()),
                failed: block["is_error"] == true,
                content: result_content(&block["content"]),
            })
            .collect();
        Self {
            nonce: journal::nonce_in(&question).map(str::to_owned),
            question,
            turn: u32::try_from(answers + 1).unwrap_or(u32::MAX),
            results,
            call: 0,
            client: String::new(),
        }
    }

    /// The texts that came last: of the tool results, or else the question.
    pub(crate) fn heard(&self) -> String {
        if self.results.is_empty() {
            return self.question.clone();
        }
        let contents = self.results.iter().map(|result| texts(&result.content));
        contents.collect::<Vec<_>>().join("\n")
    }

    /// What templates are filled from.
    pub(crate) fn context(&self) -> Value {
        let mut context = json!({
            "question": self.question,
            "turn": self.turn,
            "call": self.call,
            "results": self
                .results
                .iter()
                .map(|result| json!({
                    "tool": result.tool,
                    "is_error": result.failed,
                    "content": result.content,
                }))
                .collect::<Vec<_>>(),
        });
        if let Some(nonce) = &self.nonce {
            context["nonce"] = json!(nonce);
        }
        if let Some(result) = self.results.last() {
            context["result"] = result.content.clone();
        }
        context
    }
}

/// All texts of a value, one after the other.
fn texts(value: &Value) -> String {
    let mut all = String::new();
    gather(value, &mut all);
    all
}

fn gather(value: &Value, all: &mut String) {
    match value {
        Value::String(text) => {
            all.push_str(text);
            all.push('\n');
        }
        Value::Array(items) => items.iter().for_each(|item| gather(item, all)),
        Value::Object(fields) => {
            for (name, field) in fields {
                all.push_str(name);
                all.push('\n');
                gather(field, all);
            }
        }
        _ => {}
    }
}

fn blocks(content: &Value) -> &[Value] {
    content.as_array().map_or(&[], Vec::as_slice)
}

/// The last text of a message that holds no tool result.
fn plain_text(content: &Value) -> Option<String> {
    match content {
        Value::String(text) => Some(text.clone()),
        Value::Array(blocks) if blocks.iter().all(|block| block["type"] != "tool_result") => blocks
            .iter()
            .rev()
            .find_map(|block| block["text"].as_str().map(str::to_owned)),
        _ => None,
    }
}

fn result_content(content: &Value) -> Value {
    let text = match content {
        Value::String(text) => text.clone(),
        Value::Array(blocks) => blocks
            .iter()
            .filter_map(|block| block["text"].as_str())
            .collect::<Vec<_>>()
            .join("\n"),
        _ => String::new(),
    };
    serde_json::from_str(&text).unwrap_or(Value::String(text))
}
