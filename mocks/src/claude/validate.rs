//! Whether a request is one that the Messages API would take.

mod content;
mod fields;
mod schema;
mod settings;
mod tools;

use serde_json::Value;

use super::models::{self, Model};
use super::problem::Problem;

/// The version under which sampling parameters are refused.
const VERSION: &str = "2026-10-21";
const OLD_VERSION: &str = "2023-06-01";
const SAMPLING: [&str; 3] = ["temperature", "top_p", "top_k"];
/// What a count of tokens takes, too.
const INPUT: [&str; 11] = [
    "model",
    "messages",
    "system",
    "tools",
    "tool_choice",
    "thinking",
    "output_config",
    "cache_control",
    "speed",
    "container",
    "inference_geo",
];
const OUTPUT: [&str; 6] = [
    "max_tokens",
    "stream",
    "stop_sequences",
    "metadata",
    "service_tier",
    "diagnostics",
];
/// What only the beta of the API takes.
const BETA: [&str; 10] = [
    "billing_policy",
    "compaction",
    "context_management",
    "fallback_credit_token",
    "fallbacks",
    "mcp_servers",
    "output_format",
    "thread",
    "user_profile_id",
    "betas",
];

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Message,
    /// One of a batch.
    Batch,
    CountTokens,
}

/// What the headers say of how a request is to be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dialect {
    /// `2026-10-21`, no longer `2023-06-01`.
    strict: bool,
    beta: bool,
}

impl Dialect {
    /// By the headers `anthropic-version` and `anthropic-beta`; `asks_beta` is `?beta=true`.
    pub(super) fn read(
        version: Option<&str>,
        betas: Option<&str>,
        asks_beta: bool,
    ) -> Result<Self, Problem> {
        let strict = match version {
            None => return Err(Problem::invalid("anthropic-version: header is required")),
            Some(VERSION) => true,
            Some(OLD_VERSION) => false,
            Some(other) => {
                return Err(Problem::invalid(format!(
                    "anthropic-version: \"{other}\" is not a valid version"
                )));
            }
        };
        let named = betas
            .iter()
            .flat_map(|betas| betas.split(','))
            .map(str::trim);
        let unknown: Vec<String> = named
            .filter(|beta| !beta.is_empty() && !is_dated(beta))
            .map(|beta| format!("`{beta}`"))
            .collect();
        if !unknown.is_empty() {
            return Err(Problem::invalid(format!(
                "Unexpected value(s) {} for the `anthropic-beta` header. Please consult our documentation at docs.claude.com or try again without the header.",
                unknown.join(", ")
            )));
        }
        Ok(Self {
            strict,
            beta: asks_beta || betas.is_some(),
        })
    }
}

/// Betas are named `what-it-is-YYYY-MM-DD`; which there are changes too often to list them.
fn is_dated(beta: &str) -> bool {
    let (Some(name), Some(date)) = (
        beta.len().checked_sub(11).and_then(|end| beta.get(..end)),
        beta.len().checked_sub(11).and_then(|end| beta.get(end..)),
    ) else {
        return false;
    };
    let day = date.strip_prefix('-').map(str::parse::<jiff::civil::Date>);
    matches!(day, Some(Ok(_)))
        && !name.is_empty()
        && name
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

/// Checks a request; returns the model that it is for.
pub(super) fn request(
    body: &Value,
    dialect: Dialect,
    purpose: Purpose,
) -> Result<&'static Model, Problem> {
    let Some(given) = body.as_object() else {
        return Err(Problem::invalid("body: Input should be a valid dictionary"));
    };
    let counts = purpose == Purpose::CountTokens;
    for name in given.keys().map(String::as_str) {
        let sampling = SAMPLING.contains(&name) && !dialect.strict && !counts;
        let known = INPUT.contains(&name)
            || (OUTPUT.contains(&name) && !counts)
            || (BETA.contains(&name) && dialect.beta);
        if !known && !sampling {
            return Err(fields::extra(name));
        }
    }
    let id = fields::text("model", &body["model"])?;
    let model = models::find(id).ok_or_else(|| Problem::of_status(404, format!("model: {id}")))?;
    if !counts {
        settings::max_tokens(body, model)?;
    }
    settings::all(body, model, purpose)?;
    tools::all(body, model)?;
    content::messages(body, model, dialect.strict)?;
    Ok(model)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::claude::conversation::Conversation;
    use crate::claude::prefix::{self, Toggles};
    use crate::claude::reply;
    use proptest::prelude::*;
    use serde_json::json;

    fn any_json() -> impl Strategy<Value = Value> {
        let words = [
            "text",
            "user",
            "assistant",
            "tool_use",
            "tool_result",
            "ephemeral",
            "object",
            "",
            "a",
        ];
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            any::<f64>().prop_map(Value::from),
            prop::sample::select(words.to_vec()).prop_map(Value::from),
            ".{0,8}".prop_map(Value::from),
        ];
        let names = [
            "type",
            "role",
            "content",
            "text",
            "id",
            "name",
            "input",
            "tool_use_id",
            "cache_control",
            "source",
            "input_schema",
            "properties",
        ];
        leaf.prop_recursive(4, 24, 5, move |inner| {
            let name = prop::sample::select(names.to_vec()).prop_map(str::to_owned);
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::hash_map(name, inner, 0..5)
                    .prop_map(|fields| Value::Object(fields.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]

        #[test]
        fn whatever_stands_in_a_request_it_is_taken_or_refused(
            field in prop::sample::select([&INPUT[..], &OUTPUT[..]].concat()),
            value in any_json(),
            strict in any::<bool>(),
        ) {
            let mut body = json!({
                "model": "claude-sonnet-4-6",
                "max_tokens": 10,
                "messages": [{"role": "user", "content": "q"}],
                "tools": [{"name": "a", "input_schema": {"type": "object"}}],
            });
            body[field] = value;
            let dialect = Dialect { strict, beta: false };
            let conversation = Conversation::read(&body);
            for purpose in [Purpose::Message, Purpose::Batch, Purpose::CountTokens] {
                let taken = request(&body, dialect, purpose);
                let blocks = prefix::blocks(body.to_string().as_bytes(), Toggles::of(&body), "k", "m");
                if taken.is_ok() {
                    prop_assert!(blocks.is_ok() || body.to_string().contains("cache_control"));
                    reply::unscripted(&body, &conversation);
                }
            }
        }
    }

    #[test]
    fn a_beta_is_a_name_with_a_date() {
        for (beta, expected) in [
            ("token-counting-2024-11-01", true),
            ("a-2026-01-01", true),
            ("token-counting", false),
            ("2026-01-01", false),
            ("x-2026-13-01", false),
            ("é2026-01-01", false),
        ] {
            assert_eq!(is_dated(beta), expected, "{beta}");
        }
    }
}
