//! What failed, as SARIF 2.1.0, which code hosts show beside the files of the scenarios.

use crate::run::{Outcome, Run, Scenario};
use serde_json::{Value, json};
use std::collections::BTreeMap;

/// The log: a rule for each scenario with a finding, a result for each check or gate that failed.
pub fn render(run: &Run) -> String {
    let mut rules = BTreeMap::new();
    let mut results = Vec::new();
    for scenario in &run.scenarios {
        let findings = findings(scenario);
        if !findings.is_empty() {
            rules.insert(scenario.id.clone(), rule(scenario));
        }
        results.extend(findings);
    }
    let log = log(
        "fact",
        &rules.into_values().collect::<Vec<Value>>(),
        &results,
    );
    serde_json::to_string_pretty(&log).unwrap_or_default() + "\n"
}

/// A log of one tool's run.
pub(crate) fn log(tool: &str, rules: &[Value], results: &[Value]) -> Value {
    json!({
        "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
        "version": "2.1.0",
        "runs": [{
            "tool": { "driver": { "name": tool, "version": env!("CARGO_PKG_VERSION"), "rules": rules } },
            "results": results,
        }],
    })
}

fn rule(scenario: &Scenario) -> Value {
    json!({
        "id": scenario.id,
        "shortDescription": { "text": scenario.title },
        "help": { "text": format!("Repeat it with: {}", scenario.repeat) },
    })
}

fn findings(scenario: &Scenario) -> Vec<Value> {
    let believed = scenario.invalid.is_empty();
    let level = |outcome| match outcome {
        Outcome::Failed => Some("error"),
        Outcome::Warned => Some("warning"),
        _ => None,
    };
    let checks = scenario.checks.iter().filter_map(|check| {
        let place = format!("{} · {}", check.step, check.what);
        Some((
            level(check.outcome)?,
            place,
            &check.expected,
            check.seen.clone(),
        ))
    });
    let gates = scenario
        .gates
        .iter()
        .filter(|_| believed)
        .filter_map(|gate| {
            let seen = format!("{} ({})", gate.measured, gate.why);
            Some((
                level(gate.outcome)?,
                format!("gate {}", gate.name),
                &gate.limit,
                seen,
            ))
        });
    let result = |(level, place, expected, seen): (&str, String, &String, String)| {
        json!({
            "ruleId": scenario.id,
            "level": level,
            "message": { "text": format!("{place}: expected {expected}, seen {seen}") },
            "locations": [{ "logicalLocations": [{ "name": place, "fullyQualifiedName": format!("{}: {place}", scenario.id), "kind": "member" }] }],
        })
    };
    checks.chain(gates).map(result).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn what_failed_is_a_result_and_what_passed_is_none() {
        let read = |run: &Run| -> Value { serde_json::from_str(&render(run)).unwrap() };
        let failed = read(&sample::failed());
        let results = failed["runs"][0]["results"].as_array().unwrap();
        assert_eq!(results.len(), 2);
        assert!(results.iter().all(|result| result["level"] == "error"));
        assert_eq!(
            failed["runs"][0]["tool"]["driver"]["rules"]
                .as_array()
                .unwrap()
                .len(),
            2
        );
        assert_eq!(read(&sample::passed())["runs"][0]["results"], json!([]));
    }
}
