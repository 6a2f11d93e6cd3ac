//! How much memory answers take in the cache: `memory COUNT BYTES` stores so many of so many bytes and reads what the process
//! holds then, from the system.

#![expect(clippy::print_stdout, reason = "its figures are what it has to say")]

use fact_engine::cache::{Cache, Key, Label, Stored};
use fact_wire::{Source, Tokens};
use std::sync::Arc;
use std::time::{Duration, Instant};

fn resident_kilobytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let words = line.and_then(|line| line.split_whitespace().next());
    words.and_then(|word| word.parse().ok()).unwrap_or(0)
}

fn main() {
    let number = |index: usize, default: usize| {
        let argument = std::env::args().nth(index);
        argument.and_then(|it| it.parse().ok()).unwrap_or(default)
    };
    let (count, bytes) = (number(1, 100_000), number(2, 2_000));
    let before = resident_kilobytes();
    let cache = Cache::<()>::new(Duration::from_hours(1), Duration::ZERO, 1 << 34);
    for index in 0..count {
        let question = format!("question number {index} about the revenue of a company");
        let answer = Stored {
            response: format!("{index:0>bytes$}"),
            sources: vec![Source {
                r#type: "sql".into(),
                tool: "SQL.QueryReadonly".into(),
                statement: Some(
                    "SELECT sum(revenue) AS revenue FROM financial_records WHERE year = 2025"
                        .into(),
                ),
                tables: vec!["financial_records".into()],
                row_count: Some(1),
                at: jiff::Timestamp::now().to_string(),
            }],
            tools_used: vec!["SQL.QueryReadonly".into()],
            tokens: Tokens::default(),
            cost_usd: 0.01,
            baseline_cost_usd: 0.02,
            tables: ["public.financial_records".to_owned()].into(),
            storable: true,
            degraded: false,
            made_in_ms: 80.0,
        };
        let label = Label {
            tenant: "acme".into(),
            question: question.clone(),
            prefix: "fact_v1".into(),
        };
        let key = Key::of([question.as_str()]);
        cache.store(key, label, Arc::new(answer), cache.since(), Instant::now());
    }
    let (entries, reckoned, _) = cache.status("acme", Instant::now());
    let held = resident_kilobytes().saturating_sub(before) / 1_024;
    println!(
        "{entries} answers of {bytes} bytes: {held} MiB held, {} MiB by the cache's own reckoning",
        reckoned >> 20
    );
}
