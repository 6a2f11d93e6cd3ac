//! What was really served, per key, model and kind of request: tokens and money.

use std::collections::BTreeMap;
use std::sync::Mutex;

use serde::Serialize;
use serde_json::{Value, json};

use crate::journal::{Totals, Usage};
use crate::stage::lock;

/// The books of one mock.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    lines: Mutex<BTreeMap<(String, &'static str, &'static str), Line>>,
}

/// A line of the ledger.
#[derive(Clone, Copy, Debug, Default, Serialize)]
struct Line {
    requests: u64,
    usage: Usage,
    cost_usd: f64,
    uncached_usd: f64,
}

impl Ledger {
    pub(crate) fn book(
        &self,
        (key, model, kind): (&str, &'static str, &'static str),
        usage: &Usage,
        (cost_usd, uncached_usd): (f64, f64),
    ) {
        let mut lines = lock(&self.lines);
        let line = lines.entry((key.to_owned(), model, kind)).or_default();
        line.requests += 1;
        line.usage.add(usage);
        line.cost_usd += cost_usd;
        line.uncached_usd += uncached_usd;
    }

    pub(crate) fn clear(&self) {
        lock(&self.lines).clear();
    }

    /// As `/_mock/ledger` shows it.
    pub(crate) fn shown(&self) -> Value {
        let lines = lock(&self.lines);
        let mut totals = Totals::default();
        let mut requests = 0;
        for line in lines.values() {
            requests += line.requests;
            totals.usage.add(&line.usage);
            totals.cost_usd += line.cost_usd;
            totals.uncached_usd += line.uncached_usd;
        }
        let lines: Vec<Value> = lines
            .iter()
            .map(|((key, model, kind), line)| {
                let mut shown = json!(line);
                // Enough to tell keys apart, too little to use one.
                shown["key"] = json!(key.chars().take(12).collect::<String>());
                shown["model"] = json!(model);
                shown["kind"] = json!(kind);
                shown
            })
            .collect();
        json!({
            "requests": requests,
            "totals": {
                "usage": totals.usage,
                "cost_usd": totals.cost_usd,
                "uncached_usd": totals.uncached_usd,
            },
            "lines": lines,
        })
    }
}
