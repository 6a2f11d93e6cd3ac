//! The models that are served, and what their tokens cost from which day on.

use crate::journal::Usage;

/// A model as the Messages API offers it.
#[derive(Debug)]
pub struct Model {
    /// Its id.
    pub id: &'static str,
    /// A dated id for the same model.
    pub alias: Option<&'static str>,
    /// Haiku, sonnet, opus, fable or mythos.
    pub line: &'static str,
    /// The smallest prefix that is cached, in tokens.
    pub cache_minimum: u64,
    /// The largest prompt, in tokens.
    pub max_input: u64,
    /// The longest answer, in tokens.
    pub max_output: u64,
    /// Whether `tool_choice` may be `any` or `tool`.
    pub forced_tools: bool,
    /// Whether the last message may be the assistant's.
    pub prefill: bool,
    /// The day it is retired.
    pub retires: Option<&'static str>,
    /// What it costs, oldest first.
    pub prices: &'static [Price],
}

/// Prices in USD per million tokens.
#[derive(Clone, Copy, Debug)]
pub struct Price {
    /// The first day they hold, `YYYY-MM-DD`; the first price of a model also holds before.
    pub from: &'static str,
    /// Prompts above so many tokens cost more: the factor on every token of the request.
    pub long_prompt: Option<(u64, f64)>,
    /// Uncached input.
    pub input: f64,
    /// Input read from the cache.
    pub read: f64,
    /// Output.
    pub output: f64,
}

/// A write that lives five minutes costs so much more than uncached input.
const WRITE_5M: f64 = 1.25;
/// A write that lives an hour costs so much more than uncached input.
const WRITE_1H: f64 = 2.0;

const ALWAYS: &str = "2026-01-01";

const fn price(from: &'static str, input: f64, read: f64, output: f64) -> Price {
    Price {
        from,
        long_prompt: None,
        input,
        read,
        output,
    }
}

const fn model(
    id: &'static str,
    line: &'static str,
    cache_minimum: u64,
    prices: &'static [Price],
) -> Model {
    Model {
        id,
        alias: None,
        line,
        cache_minimum,
        max_input: 1_000_000,
        max_output: 128_000,
        forced_tools: true,
        prefill: false,
        retires: None,
        prices,
    }
}

/// The table of `GET /v1/models`, newest first.
pub const MODELS: &[Model] = &[
    Model {
        forced_tools: false,
        ..model(
            "claude-fable-5-2",
            "fable",
            512,
            &[price("2026-11-09", 8.0, 0.20, 40.0)],
        )
    },
    Model {
        forced_tools: false,
        ..model(
            "claude-fable-5-1",
            "fable",
            512,
            &[price(ALWAYS, 10.0, 0.25, 50.0)],
        )
    },
    Model {
        forced_tools: false,
        ..model(
            "claude-mythos-5-1",
            "mythos",
            512,
            &[price(ALWAYS, 10.0, 0.25, 50.0)],
        )
    },
    Model {
        forced_tools: false,
        ..model(
            "claude-opus-5-5",
            "opus",
            512,
            &[price(ALWAYS, 4.0, 0.20, 20.0)],
        )
    },
    Model {
        forced_tools: false,
        ..model(
            "claude-sonnet-5-5",
            "sonnet",
            512,
            &[
                price(ALWAYS, 2.0, 0.20, 10.0),
                price("2026-10-07", 2.0, 0.10, 10.0),
            ],
        )
    },
    model(
        "claude-haiku-5-5",
        "haiku",
        512,
        &[Price {
            long_prompt: Some((100_000, 5.0)),
            ..price(ALWAYS, 0.10, 0.01, 0.50)
        }],
    ),
    model(
        "claude-fable-5",
        "fable",
        512,
        &[price(ALWAYS, 10.0, 1.0, 50.0)],
    ),
    model(
        "claude-mythos-5",
        "mythos",
        512,
        &[price(ALWAYS, 10.0, 1.0, 50.0)],
    ),
    model(
        "claude-opus-5",
        "opus",
        512,
        &[price(ALWAYS, 5.0, 0.50, 25.0)],
    ),
    model(
        "claude-sonnet-5",
        "sonnet",
        1024,
        &[price(ALWAYS, 2.0, 0.20, 10.0)],
    ),
    model(
        "claude-opus-4-8",
        "opus",
        1024,
        &[price(ALWAYS, 5.0, 0.50, 25.0)],
    ),
    model(
        "claude-opus-4-7",
        "opus",
        2048,
        &[price(ALWAYS, 5.0, 0.50, 25.0)],
    ),
    model(
        "claude-opus-4-6",
        "opus",
        4096,
        &[price(ALWAYS, 5.0, 0.50, 25.0)],
    ),
    model(
        "claude-sonnet-4-6",
        "sonnet",
        1024,
        &[price(ALWAYS, 3.0, 0.30, 15.0)],
    ),
    Model {
        prefill: true,
        max_input: 200_000,
        ..model(
            "claude-opus-4-5",
            "opus",
            4096,
            &[price(ALWAYS, 5.0, 0.50, 25.0)],
        )
    },
    Model {
        prefill: true,
        retires: Some("2026-11-30"),
        ..model(
            "claude-sonnet-4-5",
            "sonnet",
            1024,
            &[price(ALWAYS, 3.0, 0.30, 15.0)],
        )
    },
    Model {
        alias: Some("claude-haiku-4-5-20251001"),
        prefill: true,
        max_input: 200_000,
        max_output: 64_000,
        ..model(
            "claude-haiku-4-5",
            "haiku",
            4096,
            &[price(ALWAYS, 1.0, 0.10, 5.0)],
        )
    },
];

/// The model of this id or alias.
pub fn find(id: &str) -> Option<&'static Model> {
    MODELS
        .iter()
        .find(|model| model.id == id || model.alias == Some(id))
}

/// What a request costs, with prompt caching and without, in USD.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Cost {
    /// As served.
    pub served: f64,
    /// If all input had been uncached.
    pub uncached: f64,
}

/// The cost of a request on this day (`YYYY-MM-DD`); `written_1h` of the written tokens live an hour.
#[expect(
    clippy::cast_precision_loss,
    reason = "token counts stay far below 2^53"
)]
pub fn cost(model: &Model, day: &str, usage: &Usage, written_1h: u64) -> Cost {
    let Some(price) = model
        .prices
        .iter()
        .rfind(|price| price.from <= day)
        .or(model.prices.first())
    else {
        return Cost::default();
    };
    let factor = price
        .long_prompt
        .filter(|(limit, _)| usage.total_input() > *limit)
        .map_or(1.0, |(_, factor)| factor);
    let per_token = factor / 1e6;
    let short_lived = usage.cache_creation_input_tokens.saturating_sub(written_1h);
    let output = usage.output_tokens as f64 * price.output;
    let served = usage.input_tokens as f64 * price.input
        + short_lived as f64 * price.input * WRITE_5M
        + written_1h as f64 * price.input * WRITE_1H
        + usage.cache_read_input_tokens as f64 * price.read
        + output;
    let uncached = usage.total_input() as f64 * price.input + output;
    Cost {
        served: served * per_token,
        uncached: uncached * per_token,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prices_follow_the_day_and_the_length_of_the_prompt() {
        let usage = |input, read| Usage {
            input_tokens: input,
            cache_read_input_tokens: read,
            ..Usage::default()
        };
        let sonnet = find("claude-sonnet-5-5").unwrap();
        let read = usage(0, 1_000_000);
        let served = |day| cost(sonnet, day, &read, 0).served;
        assert!((served("2026-10-06") - 0.20).abs() < 1e-12);
        assert!((served("2026-10-07") - 0.10).abs() < 1e-12);
        let haiku = find("claude-haiku-5-5").unwrap();
        let short = cost(haiku, "2026-11-23", &usage(100_000, 0), 0).served;
        let long = cost(haiku, "2026-11-23", &usage(100_001, 0), 0).served;
        assert!((short - 0.01).abs() < 1e-12);
        assert!((long - 0.050_000_5).abs() < 1e-12);
    }
}
