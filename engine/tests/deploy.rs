//! What operators are given names metrics that exist, and Prometheus takes its rules.

use fact_engine::metrics::{Kind, Metrics};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("deploy")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(folder().join(path)).expect("a file of engine/deploy")
}

/// All names that can be asked for.
fn known() -> BTreeSet<String> {
    let mut known = BTreeSet::from(["up".to_owned()]);
    for metric in Metrics::default().metrics() {
        if metric.kind == Kind::Histogram {
            known.extend(["bucket", "sum", "count"].map(|part| format!("{}_{part}", metric.name)));
        } else {
            known.insert(metric.name.to_owned());
        }
    }
    known
}

/// The metrics in a query: words that stand neither in quotes, nor before `(`, nor among labels.
fn named(query: &str) -> BTreeSet<String> {
    let mut plain = String::new();
    let (mut quoted, mut braces) = (false, 0);
    for c in query.chars() {
        match c {
            '"' => quoted = !quoted,
            '{' | '[' if !quoted => braces += 1,
            '}' | ']' if !quoted => braces -= 1,
            _ if !quoted && braces == 0 => plain.push(c),
            _ => {}
        }
    }
    for grouping in ["by", "without", "on", "ignoring"] {
        while let Some(at) = plain.find(&format!(" {grouping} (")) {
            let end = plain[at..]
                .find(')')
                .map_or(plain.len(), |end| at + end + 1);
            plain.replace_range(at..end, " ");
        }
    }
    let word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let mut names = BTreeSet::new();
    let mut rest = plain.as_str();
    while let Some(at) = rest.find(word) {
        let end = rest[at..]
            .find(|c| !word(c))
            .map_or(rest.len(), |end| at + end);
        let name = &rest[at..end];
        rest = &rest[end..];
        let called = rest.trim_start().starts_with('(');
        if !called
            && !name.starts_with(|c: char| c.is_ascii_digit())
            && !matches!(name, "sum" | "max" | "and" | "or")
        {
            names.insert(name.to_owned());
        }
    }
    names
}

fn alerts() -> Vec<String> {
    let value: serde_json::Value =
        serde_saphyr::from_str(&read("prometheus/alerts.yaml")).expect("alert rules");
    let rules = value["groups"]
        .as_array()
        .expect("groups")
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules").clone());
    rules
        .map(|rule| rule["expr"].as_str().expect("an expression").to_owned())
        .collect()
}

fn panels() -> Vec<String> {
    let value: serde_json::Value =
        serde_json::from_str(&read("grafana/dashboard.json")).expect("a dashboard");
    let panels = value["panels"].as_array().expect("panels").iter();
    panels
        .flat_map(|panel| panel["targets"].as_array().expect("targets").clone())
        .map(|target| target["expr"].as_str().expect("an expression").to_owned())
        .collect()
}

#[test]
fn every_query_names_metrics_that_exist() {
    let known = known();
    let queries: Vec<String> = alerts().into_iter().chain(panels()).collect();
    assert!(queries.len() > 40, "{}", queries.len());
    for query in &queries {
        let named = named(query);
        assert!(!named.is_empty(), "no metric was found in `{query}`");
        let unknown: Vec<&String> = named.difference(&known).collect();
        assert!(unknown.is_empty(), "`{query}` names {unknown:?}");
    }
}

#[test]
fn every_metric_of_the_engines_own_is_on_the_dashboard() {
    let shown: BTreeSet<String> = panels().iter().flat_map(|query| named(query)).collect();
    for metric in Metrics::default().metrics() {
        let own = metric.name.starts_with("fact_") && metric.name != "fact_build_info";
        let on_it = shown
            .iter()
            .any(|name| name.trim_end_matches("_bucket") == metric.name);
        assert!(!own || on_it, "{} is not on the dashboard", metric.name);
    }
}

#[test]
fn a_metric_that_does_not_exist_is_found() {
    let query = "histogram_quantile(0.9, sum by (le, tool) (rate(fact_gone_bucket{a=\"fact_x\"}[5m]))) > 0.5";
    assert_eq!(
        named(query),
        BTreeSet::from(["fact_gone_bucket".to_owned()])
    );
}

/// Needs `promtool` (the package `prometheus`): without it the test fails under CI, and says so elsewhere.
#[test]
fn prometheus_takes_the_rules() {
    let rules = folder().join("prometheus/alerts.yaml");
    let checked = std::process::Command::new("promtool")
        .args(["check", "rules"])
        .arg(rules)
        .output();
    let Ok(output) = checked else {
        assert!(std::env::var_os("CI").is_none(), "`promtool` is missing");
        eprintln!("skipped: `promtool` is missing");
        return;
    };
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
}
