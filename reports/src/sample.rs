//! Runs for the tests of the renderers.

use crate::run::*;
use hdrhistogram::Histogram as Hdr;
use std::collections::BTreeMap;

fn histogram(from_us: u64, step_us: u64) -> Histogram {
    let mut hdr = Hdr::<u64>::new(3).unwrap();
    (0..200).for_each(|sample| hdr.record((from_us + sample * step_us) * 1_000).unwrap());
    Histogram::from_hdr(&hdr)
}

fn class(own_us: u64, upstream_us: u64, database_us: u64) -> Class {
    Class {
        response: histogram(own_us + upstream_us + database_us, 100),
        service: histogram(own_us + upstream_us + database_us, 100),
        upstream: histogram(upstream_us, 50),
        database: histogram(database_us, 10),
        own: histogram(own_us, 10),
    }
}

fn check(step: &str, what: &str, expected: &str, seen: &str, outcome: Outcome) -> Check {
    Check {
        step: step.into(),
        what: what.into(),
        expected: expected.into(),
        seen: seen.into(),
        outcome,
        curl: Some("curl -sS 'http://127.0.0.1:18080/api/v1/query'".into()),
    }
}

fn gate(name: &str, limit: &str, measured: &str, outcome: Outcome) -> Gate {
    Gate {
        name: name.into(),
        limit: limit.into(),
        measured: measured.into(),
        interval: "0.611 ms to 0.902 ms".into(),
        samples: 200,
        outcome,
        why: "0 of 200 were slower".into(),
    }
}

fn scenario(id: &str, title: &str) -> Scenario {
    Scenario {
        id: id.into(),
        title: title.into(),
        level: "MUST".into(),
        profile: "core".into(),
        outcome: Outcome::Passed,
        reason: None,
        duration_seconds: 1.5,
        checks: Vec::new(),
        load: None,
        gates: Vec::new(),
        invalid: Vec::new(),
        repeat: format!("fact run --seed 42 --only {id}"),
    }
}

/// A check, a load, and something that `SQLite` cannot show.
pub(crate) fn passed() -> Run {
    let silent = Scenario {
        checks: vec![check(
            "step 1: ask",
            "status",
            "200",
            "200",
            Outcome::Passed,
        )],
        ..scenario(
            "cache.hit-is-silent",
            "A repeated question is answered without Claude, tools or SQL",
        )
    };
    let load = Load {
        description:
            "open loop, 100/s, Poisson arrivals, for 10s after 1s of warm-up: 80% hit, 20% miss"
                .into(),
        planned: 400,
        sent: 400,
        succeeded: 400,
        classes: BTreeMap::from([
            ("hit".to_owned(), class(300, 0, 0)),
            ("miss".to_owned(), class(900, 80_000, 700)),
        ]),
        lag: histogram(10, 1),
        mock_lag: histogram(20, 1),
        cost: Cost {
            billed_usd: 0.42,
            uncached_usd: 9.6,
            conversations: 41,
            input_tokens: 900,
            cache_write_tokens: 1_800,
            cache_read_tokens: 90_000,
            output_tokens: 1_200,
        },
        target_cpu_seconds: Some(1.25),
        target_peak_bytes: Some(64 << 20),
        noise: Some(Noise {
            floor: histogram(30, 1),
            hiccups: histogram(40, 1),
            stolen_percent: Some(0.5),
            throttled_ms: None,
        }),
        looks: 1,
        slowest: BTreeMap::new(),
    };
    let standard = Scenario {
        load: Some(load),
        gates: vec![
            gate("hit.p95", "<= 50ms", "0.750 ms", Outcome::Passed),
            gate("miss.p95", "<= 140ms", "98.2 ms", Outcome::Passed),
            gate("cost.reduction.hit", ">= 90%", "100.00 %", Outcome::Passed),
        ],
        ..scenario(
            "load.standard",
            "Hits, misses and tools are fast enough, reliable and cheap under load",
        )
    };
    let elsewhere = Scenario {
        outcome: Outcome::NotApplicable,
        reason: Some("only Postgres can show it".into()),
        ..scenario(
            "sql.tenants-see-their-own-rows",
            "Each tenant sees its own rows",
        )
    };
    Run {
        schema_version: SCHEMA_VERSION,
        started_at: "2026-01-02T03:04:05Z".into(),
        duration_seconds: 21.25,
        seed: 42,
        target: "reference".into(),
        database: Database {
            kind: "sqlite".into(),
            version: "SQLite 3.51.3".into(),
            passed_over: vec![("docker".into(), "no Docker engine answers".into())],
        },
        scenarios: vec![silent, standard, elsewhere],
        invalid: Vec::new(),
        interrupted: false,
        machine: BTreeMap::from([("cores".to_owned(), "2".to_owned())]),
    }
}

/// The same with a failed check, in hostile words, and a failed gate.
pub(crate) fn failed() -> Run {
    let mut run = passed();
    let hostile = "500 <script>alert('x')</script>\u{1b}[2J\u{0}\n| # [x](y)";
    run.scenarios[0].outcome = Outcome::Failed;
    run.scenarios[0].checks.push(check(
        "step 2: ask",
        "upstream.claude",
        "0",
        hostile,
        Outcome::Failed,
    ));
    run.scenarios[1].outcome = Outcome::Failed;
    run.scenarios[1].gates[1] = gate("miss.p95", "<= 140ms", "212.4 ms", Outcome::Failed);
    run
}
