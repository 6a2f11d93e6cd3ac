//! What measuring costs: recording a latency, bounding a share, making a plan.

use criterion::{Criterion, criterion_group, criterion_main};
use fact_harness::{plan, statistics};
use hdrhistogram::Histogram;
use std::hint::black_box;

fn measure(criterion: &mut Criterion) {
    let mut histogram = Histogram::<u64>::new_with_bounds(1, 3_600_000_000_000, 3).expect("bounds");
    criterion.bench_function("histogram record", |bencher| {
        bencher.iter(|| histogram.saturating_record(black_box(1_234_567)));
    });
    criterion.bench_function("share bounds of 10,000", |bencher| {
        bencher.iter(|| statistics::share_bounds(black_box(431.0), 10_000.0, 0.05));
    });
    let load = serde_json::from_value(serde_json::json!({
        "open": { "rate": "200/s", "arrivals": "poisson", "for": "10s" }, "mix": { "hit": "80%", "miss": "20%" },
    }))
    .expect("a load");
    criterion.bench_function("plan of 2,000 requests", |bencher| {
        bencher.iter(|| plan::plan(&load, "bench", black_box(42), 0));
    });
}

criterion_group!(benches, measure);
criterion_main!(benches);
