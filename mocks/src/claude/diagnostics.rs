//! Why a request missed the prompt cache, for those who ask with `diagnostics`.

use std::collections::HashMap;
use std::sync::Mutex;

use serde_json::{Value, json};

use super::models::Model;
use super::prefix::{Block, Section};
use super::prompt_cache::Plan;
use crate::stage::lock;

/// How many messages are remembered.
const REMEMBERED: usize = 10_000;

/// The messages that were answered to requests with `diagnostics`.
#[derive(Debug, Default)]
pub(crate) struct Diagnostics {
    messages: Mutex<HashMap<String, Prompt>>,
}

/// What a message answered: hashes up to the end of each section.
#[derive(Clone, Copy, Debug)]
struct Prompt {
    model: &'static str,
    tools: Option<[u8; 32]>,
    system: Option<[u8; 32]>,
    all: Option<[u8; 32]>,
}

impl Prompt {
    fn of(model: &'static Model, blocks: &[Block]) -> Self {
        let end = |sections: &[Section]| {
            let mut blocks = blocks.iter().rev();
            let last = blocks.find(|block| sections.contains(&block.section));
            last.map(|block| block.hash)
        };
        Self {
            model: &model.id,
            tools: end(&[Section::Tools]),
            system: end(&[Section::Tools, Section::System]),
            all: blocks.last().map(|block| block.hash),
        }
    }
}

impl Diagnostics {
    pub(crate) fn clear(&self) {
        lock(&self.messages).clear();
    }

    pub(crate) fn remember(&self, id: &str, model: &'static Model, blocks: &[Block]) {
        let mut messages = lock(&self.messages);
        if messages.len() >= REMEMBERED {
            messages.clear();
        }
        messages.insert(id.to_owned(), Prompt::of(model, blocks));
    }

    /// `cache_miss_reason`: none when nothing changed that the cache had.
    pub(crate) fn reason(
        &self,
        previous: Option<&str>,
        model: &'static Model,
        blocks: &[Block],
        plan: &Plan,
    ) -> Option<Value> {
        let previous = previous?;
        let Some(before) = lock(&self.messages).get(previous).copied() else {
            return Some(json!({"type": "previous_message_not_found"}));
        };
        let now = Prompt::of(model, blocks);
        let kind = if before.model != now.model {
            "model_changed"
        } else if before.tools != now.tools {
            "tools_changed"
        } else if before.system != now.system {
            "system_changed"
        } else if !blocks.iter().any(|block| Some(block.hash) == before.all) {
            "messages_changed"
        } else {
            return None;
        };
        let missed = plan.uncached + plan.write_1h + plan.write_5m;
        Some(json!({"type": kind, "cache_missed_input_tokens": missed}))
    }
}
