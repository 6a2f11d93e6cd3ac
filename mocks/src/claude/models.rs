//! The models that are served, what they allow, and what their tokens cost from which day on: `models.json` as types.
//!
//! Prices, limits of the cache and forced tools are the provider's documentation; days of release and types of thinking
//! come from third parties, and those of Fable 5.1 and 5.2, Mythos 5 and 5.1 are guesses after their nearest relatives.

use std::sync::LazyLock;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::journal::Usage;

/// A model as the Messages API offers it.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a column of the table"
)]
pub(crate) struct Model {
    /// Its id.
    pub(crate) id: String,
    /// Dated ids for the same model.
    aliases: Vec<String>,
    name: String,
    line: String,
    /// The day that it was released.
    created: String,
    deprecated: Option<String>,
    retires: Option<String>,
    /// The smallest prefix that is cached, in tokens.
    pub(crate) cache_minimum: u64,
    /// The largest prompt, in tokens.
    pub(crate) max_input: u64,
    /// The longest answer, in tokens.
    pub(crate) max_output: u64,
    /// Whether `tool_choice` may be `any` or `tool`.
    pub(crate) forced_tools: bool,
    /// Whether the last message may be the assistant's.
    pub(crate) prefill: bool,
    /// The types of `thinking` that it takes.
    pub(crate) thinking: Vec<String>,
    /// The levels of `output_config.effort` that it takes.
    pub(crate) effort: Vec<String>,
    /// Whether a message may have the role `system`.
    pub(crate) system_messages: bool,
    /// Whether `speed` may be `fast`.
    pub(crate) fast: bool,
    /// What it costs, oldest first.
    prices: Vec<Price>,
}

/// Prices in USD per million tokens.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Price {
    /// The first day they hold; the first price of a model also holds before.
    from: jiff::civil::Date,
    /// Prompts above so many tokens cost more.
    #[serde(default)]
    long_prompt: Option<LongPrompt>,
    /// Uncached input.
    input: f64,
    /// Input read from the cache.
    read: f64,
    /// Output.
    output: f64,
}

/// Every token of a request whose prompt is longer costs more.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct LongPrompt {
    above: u64,
    factor: f64,
}

/// A write that lives five minutes costs so much more than uncached input.
const WRITE_5M: f64 = 1.25;
/// A write that lives an hour costs so much more than uncached input.
const WRITE_1H: f64 = 2.0;
/// In a batch every token costs so much less.
const BATCH: f64 = 0.5;
/// Inference that stays in the US costs so much more.
const ONLY_US: f64 = 1.1;

/// The table of `GET /v1/models`, newest first.
static MODELS: LazyLock<Vec<Model>> =
    LazyLock::new(|| serde_json::from_str(include_str!("models.json")).expect("a test reads it"));

/// All models, newest first.
pub(crate) fn all() -> &'static [Model] {
    &MODELS
}

/// The model of this id or alias.
pub(crate) fn find(id: &str) -> Option<&'static Model> {
    all()
        .iter()
        .find(|model| model.id == id || model.aliases.iter().any(|alias| alias == id))
}

/// What a request costs, with prompt caching and without, in USD.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Cost {
    /// As served.
    pub(crate) served: f64,
    /// If all input had been uncached.
    pub(crate) uncached: f64,
}

/// What tokens were used for.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Used {
    /// How many.
    pub(crate) usage: Usage,
    /// How many of the written ones live an hour.
    pub(crate) written_1h: u64,
    /// In a batch.
    pub(crate) batch: bool,
    /// With `inference_geo: us`.
    pub(crate) only_us: bool,
}

impl Model {
    /// What a request costs on this day.
    #[expect(
        clippy::cast_precision_loss,
        reason = "token counts stay far below 2^53"
    )]
    pub(crate) fn cost(&self, day: jiff::civil::Date, used: &Used) -> Cost {
        let usage = &used.usage;
        let price = self.prices.iter().rfind(|price| price.from <= day);
        let Some(price) = price.or(self.prices.first()) else {
            return Cost::default();
        };
        let mut per_token = 1e-6;
        if let Some(long) = price.long_prompt
            && usage.total_input() > long.above
        {
            per_token *= long.factor;
        }
        if used.batch {
            per_token *= BATCH;
        }
        if used.only_us {
            per_token *= ONLY_US;
        }
        let short_lived = usage
            .cache_creation_input_tokens
            .saturating_sub(used.written_1h);
        let output = usage.output_tokens as f64 * price.output;
        let served = usage.input_tokens as f64 * price.input
            + short_lived as f64 * price.input * WRITE_5M
            + used.written_1h as f64 * price.input * WRITE_1H
            + usage.cache_read_input_tokens as f64 * price.read
            + output;
        let uncached = usage.total_input() as f64 * price.input + output;
        Cost {
            served: served * per_token,
            uncached: uncached * per_token,
        }
    }

    /// As the API lists it.
    pub(crate) fn shown(&self) -> Value {
        let at = |day: &Option<String>| day.as_ref().map(|day| format!("{day}T00:00:00Z"));
        let yes = |supported: bool| json!({"supported": supported});
        let thinks = |kind: &str| self.thinking.iter().any(|known| known == kind);
        let takes = |level: &str| yes(self.effort.iter().any(|known| known == level));
        json!({
            "type": "model",
            "id": self.id,
            "display_name": self.name,
            "created_at": format!("{}T00:00:00Z", self.created),
            "lifecycle": if self.deprecated.is_some() { "deprecated" } else { "active" },
            "line": self.line,
            "deprecated_at": at(&self.deprecated),
            "retires_at": at(&self.retires),
            "max_input_tokens": self.max_input,
            "max_tokens": self.max_output,
            "capabilities": {
                "batch": yes(true),
                "citations": yes(true),
                "code_execution": yes(true),
                "image_input": yes(true),
                "pdf_input": yes(true),
                "structured_outputs": yes(true),
                "effort": {
                    "supported": !self.effort.is_empty(),
                    "low": takes("low"),
                    "medium": takes("medium"),
                    "high": takes("high"),
                    "xhigh": takes("xhigh"),
                    "max": takes("max"),
                },
                "thinking": {
                    "supported": true,
                    "types": {
                        "adaptive": yes(thinks("adaptive")),
                        "between_tools": yes(thinks("between_tools")),
                        "disabled": yes(thinks("disabled")),
                        "enabled": yes(thinks("enabled")),
                    },
                },
                "context_management": {
                    "supported": true,
                    "clear_thinking_20251015": yes(true),
                    "clear_tool_uses_20250919": yes(true),
                    "compact_20260112": yes(!self.prefill),
                },
                "server_tools": {
                    "supported": true,
                    "code_execution": yes(true),
                    "web_search": yes(true),
                },
            },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::civil::date;

    #[test]
    fn prices_follow_the_day_the_length_of_the_prompt_and_the_kind_of_request() {
        let used = |input, read| Used {
            usage: Usage {
                input_tokens: input,
                cache_read_input_tokens: read,
                ..Usage::default()
            },
            ..Used::default()
        };
        let close = |cost: Cost, expected: f64| (cost.served - expected).abs() < 1e-12;
        let sonnet = find("claude-sonnet-5-5").unwrap();
        let read = used(0, 1_000_000);
        assert!(close(sonnet.cost(date(2026, 10, 6), &read), 0.20));
        assert!(close(sonnet.cost(date(2026, 10, 7), &read), 0.10));
        let today = date(2026, 11, 23);
        let haiku = find("claude-haiku-5-5").unwrap();
        assert!(close(haiku.cost(today, &used(100_000, 0)), 0.01));
        assert!(close(haiku.cost(today, &used(100_001, 0)), 0.050_000_5));
        let (batch, only_us) = (true, true);
        let special = Used {
            batch,
            only_us,
            ..used(1_000_000, 0)
        };
        assert!(close(sonnet.cost(today, &special), 2.0 * 0.5 * 1.1));
    }
}
