//! `chat/completions`, in the shape of `OpenAI`: text, and nothing that needs a model.

use serde_json::{Value, json};

use super::refusal::Refusal;
use crate::stage::Stage;

/// The answer to a conversation.
pub(super) fn completion(stage: &Stage, body: &Value) -> Result<Value, Refusal> {
    let messages = body["messages"]
        .as_array()
        .filter(|messages| !messages.is_empty());
    let messages = messages.ok_or_else(|| Refusal::bad("messages is required".to_owned()))?;
    let last = messages
        .iter()
        .rev()
        .find(|message| message["role"] == "user");
    let question = last
        .and_then(|message| message["content"].as_str())
        .unwrap_or_default();
    let text = format!("This is an answer to: {question}");
    let tokens = |text: &str| text.len().div_ceil(4);
    let (prompt, spoken) = (tokens(&body["messages"].to_string()), tokens(&text));
    Ok(json!({
        "id": stage.next_id("chatcmpl-"),
        "object": "chat.completion",
        "created": jiff::Timestamp::now().as_second(),
        "model": body["model"].as_str().unwrap_or("gpt-4o"),
        "choices": [{
            "index": 0,
            "finish_reason": "stop",
            "logprobs": null,
            "message": {"role": "assistant", "content": text},
            "tool_authorizations": [],
            "tool_messages": [],
        }],
        "usage": {
            "prompt_tokens": prompt,
            "completion_tokens": spoken,
            "total_tokens": prompt + spoken,
        },
    }))
}
