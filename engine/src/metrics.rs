//! What the engine counts: one list, shown as JSON and for Prometheus.

use fact_wire::Tokens;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The counters. Money is kept in billionths of a dollar.
#[derive(Debug, Default)]
pub struct Metrics {
    /// Questions asked.
    pub queries: AtomicU64,
    /// Answered from the cache.
    pub cache_hits: AtomicU64,
    /// Answered anew.
    pub cache_misses: AtomicU64,
    /// Answered from the cache although the time was over.
    pub cache_stale: AtomicU64,
    /// Answered together with an equal question.
    pub cache_collapsed: AtomicU64,
    /// Requests to Claude, retries included.
    pub claude_requests: AtomicU64,
    /// Tool calls.
    pub tool_executions: AtomicU64,
    /// Refusals by a guard.
    pub refusals: AtomicU64,
    /// Answers with an error status.
    pub errors: AtomicU64,
    input: AtomicU64,
    output: AtomicU64,
    cache_creation: AtomicU64,
    cache_read: AtomicU64,
    cost_nano_usd: AtomicU64,
}

impl Metrics {
    /// Adds what an answer was billed.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a cost is small and not negative"
    )]
    pub fn bill(&self, tokens: Tokens, cost_usd: f64) {
        self.input.fetch_add(tokens.input, Relaxed);
        self.output.fetch_add(tokens.output, Relaxed);
        self.cache_creation
            .fetch_add(tokens.cache_creation, Relaxed);
        self.cache_read.fetch_add(tokens.cache_read, Relaxed);
        self.cost_nano_usd
            .fetch_add((cost_usd * 1e9) as u64, Relaxed);
    }

    #[expect(clippy::cast_precision_loss, reason = "a sum of dollars")]
    fn cost_usd(&self) -> f64 {
        self.cost_nano_usd.load(Relaxed) as f64 / 1e9
    }

    fn counters(&self) -> [(&'static str, &'static str, u64); 9] {
        [
            (
                "queries_total",
                "Questions asked.",
                self.queries.load(Relaxed),
            ),
            (
                "cache_hits_total",
                "Questions answered from the cache.",
                self.cache_hits.load(Relaxed),
            ),
            (
                "cache_misses_total",
                "Questions answered anew.",
                self.cache_misses.load(Relaxed),
            ),
            (
                "cache_collapsed_total",
                "Questions answered together with an equal one.",
                self.cache_collapsed.load(Relaxed),
            ),
            (
                "cache_stale_total",
                "Questions answered from the cache although the time was over.",
                self.cache_stale.load(Relaxed),
            ),
            (
                "claude_requests_total",
                "Requests to Claude, retries included.",
                self.claude_requests.load(Relaxed),
            ),
            (
                "tool_executions_total",
                "Tool calls.",
                self.tool_executions.load(Relaxed),
            ),
            (
                "refusals_total",
                "Refusals by a guard.",
                self.refusals.load(Relaxed),
            ),
            (
                "errors_total",
                "Answers with an error status.",
                self.errors.load(Relaxed),
            ),
        ]
    }

    fn tokens(&self) -> [(&'static str, u64); 4] {
        [
            ("input", self.input.load(Relaxed)),
            ("output", self.output.load(Relaxed)),
            ("cache_creation", self.cache_creation.load(Relaxed)),
            ("cache_read", self.cache_read.load(Relaxed)),
        ]
    }

    /// As `GET /api/v1/metrics` says.
    pub fn as_json(&self) -> Value {
        let mut all: serde_json::Map<String, Value> = self
            .counters()
            .into_iter()
            .map(|(name, _, value)| (name.to_owned(), value.into()))
            .collect();
        all.insert(
            "tokens".into(),
            self.tokens()
                .into_iter()
                .map(|(name, value)| (name.to_owned(), json!(value)))
                .collect(),
        );
        all.insert("cost_usd_total".into(), json!(self.cost_usd()));
        Value::Object(all)
    }

    /// As Prometheus reads it.
    pub fn as_prometheus(&self) -> String {
        let mut text = String::new();
        for (name, help, value) in self.counters() {
            let _ = writeln!(
                text,
                "# HELP fact_{name} {help}\n# TYPE fact_{name} counter\nfact_{name} {value}"
            );
        }
        text.push_str(
            "# HELP fact_tokens_total Tokens as billed.\n# TYPE fact_tokens_total counter\n",
        );
        for (kind, value) in self.tokens() {
            let _ = writeln!(text, "fact_tokens_total{{kind=\"{kind}\"}} {value}");
        }
        let cost = self.cost_usd();
        let _ = writeln!(
            text,
            "# HELP fact_cost_usd_total Dollars billed by Claude.\n# TYPE fact_cost_usd_total counter\nfact_cost_usd_total {cost}"
        );
        text
    }
}
