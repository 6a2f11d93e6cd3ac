//! Both forms of the list.

use super::*;
use std::time::Duration;

fn busy() -> Metrics {
    let metrics = Metrics::default();
    metrics.queries.fetch_add(3, Relaxed);
    metrics.bill(
        Tokens {
            input: 7,
            ..Tokens::default()
        },
        0.25,
    );
    metrics.overhead.record(Duration::from_micros(20));
    metrics.overhead.record(Duration::from_mins(2));
    metrics.errors_by_code.add(["RATE_LIMITED"], 2);
    metrics.audit_events.add(["login", "failure"], 4);
    metrics.requests.add(["/api/v1/query", "POST", "200"], 5);
    metrics
        .tool_calls
        .with(["odd \"name\"\\\n", "success"])
        .record(Duration::from_millis(3));
    metrics
}

#[test]
fn json_says_what_the_contract_names() {
    let seen = busy().as_json();
    assert_eq!(seen["queries_total"], 3);
    assert_eq!(
        seen["tokens"],
        json!({ "input": 7, "output": 0, "cache_creation": 0, "cache_read": 0 })
    );
    assert_eq!(seen["cost_usd_total"], 0.25);
    assert_eq!(seen["rate_limited_total"], 2);
    assert_eq!(seen["logins_total"], json!({ "failure": 4 }));
    assert_eq!(seen["requests_total"]["/api/v1/query"]["POST"]["200"], 5);
    assert_eq!(seen["overhead_seconds"]["count"], 2);
    for name in [
        "cache_hits_total",
        "cache_misses_total",
        "claude_requests_total",
        "tool_executions_total",
        "errors_total",
    ] {
        assert_eq!(seen[name], 0, "{name}");
    }
}

#[test]
fn buckets_are_cumulative_and_end_with_all() {
    let text = busy().as_prometheus();
    for line in [
        "fact_overhead_seconds_bucket{le=\"0.00001\"} 0",
        "fact_overhead_seconds_bucket{le=\"0.000025\"} 1",
        "fact_overhead_seconds_bucket{le=\"30\"} 1",
        "fact_overhead_seconds_bucket{le=\"+Inf\"} 2",
        "fact_overhead_seconds_count 2",
        r#"fact_tool_calls_total{tool="odd \"name\"\\\n",outcome="success"} 1"#,
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn a_family_does_not_grow_without_end() {
    let family = Family::<AtomicU64, 1>::default();
    for number in 0..10_000 {
        family.add([&number.to_string()], 1);
    }
    let all = family.all(|value| value.load(Relaxed));
    assert!(all.len() <= 513, "{}", all.len());
    assert_eq!(all.iter().map(|(_, value)| value).sum::<u64>(), 10_000);
}

/// Needs `promtool` (the package `prometheus`): without it the test fails under CI, and says so elsewhere.
#[test]
fn promtool_finds_nothing_to_say() {
    use std::io::Write as _;
    use std::process::{Command, Stdio};
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let Ok(mut child) = child else {
        assert!(std::env::var_os("CI").is_none(), "`promtool` is missing");
        eprintln!("skipped: `promtool` is missing");
        return;
    };
    child
        .stdin
        .take()
        .unwrap()
        .write_all(busy().as_prometheus().as_bytes())
        .unwrap();
    let output = child.wait_with_output().unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}
