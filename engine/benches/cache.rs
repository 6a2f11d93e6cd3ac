//! The key of a question, and finding its answer, beside a bare look into a hash map.

use criterion::{Criterion, criterion_group, criterion_main};
use fact_engine::cache::{Cache, Key, Label, Stored};
use fact_wire::Tokens;
use std::collections::{BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

fn lookup(criterion: &mut Criterion) {
    let circumstances = "f".repeat(64);
    let key = |question: &str| Key::of([circumstances.as_str(), "fact_v1", question]);
    criterion.bench_function("key", |bencher| {
        bencher.iter(|| key(black_box("What was Q1-2025 revenue?")));
    });

    let cache = Cache::<()>::new(Duration::from_hours(1), Duration::ZERO, 1 << 28);
    let now = Instant::now();
    let answer = Arc::new(Stored {
        response: "Q1-2025 revenue was 42.".into(),
        sources: Vec::new(),
        tools_used: Vec::new(),
        tokens: Tokens::default(),
        cost_usd: 0.0,
        baseline_cost_usd: 0.0,
        tables: BTreeSet::new(),
        storable: true,
        degraded: false,
        made_in_ms: 80.0,
    });
    let mut map = HashMap::new();
    for number in 0..10_000 {
        let question = format!("question {number}");
        let label = Label {
            tenant: "acme".into(),
            question: question.clone(),
            prefix: "fact_v1".into(),
        };
        cache.store(key(&question), label, answer.clone(), cache.since(), now);
        map.insert(key(&question), answer.clone());
    }
    let wanted = key("question 4711");
    criterion.bench_function("get of 10,000", |bencher| {
        bencher.iter(|| cache.get(black_box(wanted), now, None));
    });
    criterion.bench_function("bare hash map of 10,000", |bencher| {
        bencher.iter(|| map.get(&black_box(wanted)).cloned());
    });
}

criterion_group!(benches, lookup);
criterion_main!(benches);
