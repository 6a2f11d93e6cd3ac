//! What a decision costs beside the parse that it rests on.

use criterion::{Criterion, criterion_group, criterion_main};
use fact_guard::sql::{self, Relation, Schema};
use std::hint::black_box;

const SHORT: &str = "SELECT c.name, sum(f.revenue) AS revenue FROM companies c JOIN financial_records f ON f.company_id = c.id \
     WHERE f.year = 2025 AND f.quarter IN ('Q1', 'Q2') GROUP BY c.name HAVING sum(f.revenue) > 1000 ORDER BY revenue DESC LIMIT 10";

fn schema() -> Schema {
    let relation = |name: &str, columns: &[&str]| Relation {
        schema: "public".into(),
        name: name.into(),
        columns: columns.iter().map(ToString::to_string).collect(),
    };
    Schema::new(vec![
        relation("companies", &["id", "name"]),
        relation(
            "financial_records",
            &["company_id", "year", "quarter", "revenue"],
        ),
    ])
}

fn guard(criterion: &mut Criterion) {
    let schema = schema();
    let long = format!(
        "SELECT id FROM companies WHERE id IN ({})",
        (0..1_300)
            .map(|n| n.to_string())
            .collect::<Vec<_>>()
            .join(", ")
    );
    for (name, statement) in [("200 bytes", SHORT), ("5 kB", long.as_str())] {
        let mut group = criterion.benchmark_group(name);
        group.bench_function("parse", |bencher| {
            bencher
                .iter(|| pg_query::parse(black_box(statement), pg_query::ParserOptions::default()));
        });
        group.bench_function("check", |bencher| {
            bencher.iter(|| sql::check(black_box(statement), &schema));
        });
        group.finish();
    }
    criterion.bench_function("path", |bencher| {
        bencher.iter(|| {
            fact_guard::path::check(black_box("reports/2025/q1/summary.csv"), &["/srv/data"])
        });
    });
}

criterion_group!(benches, guard);
criterion_main!(benches);
