//! What a model's tokens cost, by the day. From the provider's price list of November 2026, dollars per million tokens.

use fact_wire::Tokens;

#[derive(Clone, Copy)]
struct Price {
    model: &'static str,
    /// First day, `YYYY-MM-DD`.
    from: &'static str,
    input: f64,
    write: f64,
    read: f64,
    output: f64,
    /// Only a prompt of more tokens, whatever was cached of it, has this price.
    above: u64,
}

const fn price(
    model: &'static str,
    from: &'static str,
    input: f64,
    write: f64,
    read: f64,
    output: f64,
) -> Price {
    Price {
        model,
        from,
        input,
        write,
        read,
        output,
        above: 0,
    }
}

/// The price of a prompt that is longer than `tokens`.
const fn above(tokens: u64, price: Price) -> Price {
    Price {
        above: tokens,
        ..price
    }
}

/// Longer prompts stand later. Later days stand later.
const PRICES: &[Price] = &[
    price("claude-fable-5-2", "2026-11-09", 8.0, 10.0, 0.20, 40.0),
    price("claude-fable-5-1", "", 10.0, 12.5, 0.25, 50.0),
    price("claude-mythos-5-1", "", 10.0, 12.5, 0.25, 50.0),
    price("claude-fable-5", "", 10.0, 12.5, 1.0, 50.0),
    price("claude-mythos-5", "", 10.0, 12.5, 1.0, 50.0),
    price("claude-opus-5-5", "", 4.0, 5.0, 0.20, 20.0),
    price("claude-opus-5", "", 5.0, 6.25, 0.50, 25.0),
    price("claude-opus-4-8", "", 5.0, 6.25, 0.50, 25.0),
    price("claude-opus-4-7", "", 5.0, 6.25, 0.50, 25.0),
    price("claude-opus-4-6", "", 5.0, 6.25, 0.50, 25.0),
    price("claude-opus-4-5", "", 5.0, 6.25, 0.50, 25.0),
    price("claude-sonnet-5-5", "", 2.0, 2.5, 0.20, 10.0),
    price("claude-sonnet-5-5", "2026-10-07", 2.0, 2.5, 0.10, 10.0),
    price("claude-sonnet-5", "", 2.0, 2.5, 0.20, 10.0),
    price("claude-sonnet-4-6", "", 3.0, 3.75, 0.30, 15.0),
    price("claude-sonnet-4-5", "", 3.0, 3.75, 0.30, 15.0),
    price("claude-haiku-5-5", "", 0.10, 0.125, 0.01, 0.50),
    above(
        100_000,
        price("claude-haiku-5-5", "", 0.50, 0.625, 0.05, 2.50),
    ),
    price("claude-haiku-4-5", "", 1.0, 1.25, 0.10, 5.0),
    price("claude-haiku-4-5-20251001", "", 1.0, 1.25, 0.10, 5.0),
];

/// Dollars for one request: what was billed, and what the same tokens cost without any caching. Zero for a model without a known price.
pub fn cost(model: &str, day: &str, tokens: Tokens) -> (f64, f64) {
    let all_input = tokens.input + tokens.cache_creation + tokens.cache_read;
    // A request without input has the price of the shortest.
    let input = all_input.max(1);
    let Some(price) = PRICES
        .iter()
        .rev()
        .find(|price| price.model == model && price.from <= day && input > price.above)
    else {
        return (0.0, 0.0);
    };
    let dollars = |count: u64, per_million: f64| as_f64(count) * per_million / 1e6;
    let output = dollars(tokens.output, price.output);
    let billed = dollars(tokens.input, price.input)
        + dollars(tokens.cache_creation, price.write)
        + dollars(tokens.cache_read, price.read)
        + output;
    (billed, dollars(all_input, price.input) + output)
}

#[expect(
    clippy::cast_precision_loss,
    reason = "token counts are far below 2^52"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_longer_prompt_costs_more_for_every_token() {
        let prompt = |cache_read, input| Tokens {
            input,
            cache_read,
            ..Tokens::default()
        };
        let billed = |tokens| cost("claude-haiku-5-5", "2026-11-23", tokens).0;
        assert!((billed(prompt(99_000, 1_000)) - 0.00109).abs() < 1e-12);
        assert!((billed(prompt(99_000, 1_001)) - 0.005_450_5).abs() < 1e-12);
    }

    #[test]
    fn a_price_holds_from_its_day_on() {
        let read = Tokens {
            cache_read: 1_000_000,
            ..Tokens::default()
        };
        assert!((cost("claude-sonnet-5-5", "2026-10-06", read).0 - 0.20).abs() < 1e-12);
        assert!((cost("claude-sonnet-5-5", "2026-10-07", read).0 - 0.10).abs() < 1e-12);
        assert!((cost("claude-sonnet-5-5", "2026-10-07", read).1 - 2.0).abs() < 1e-12);
    }
}
