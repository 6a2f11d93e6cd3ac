//! From outcomes to one verdict and its exit code.

use crate::run::{Outcome, Run, SCHEMA_VERSION, Verdict};
use std::collections::BTreeMap;

/// The verdict of a run. `strict`: inconclusive gates end with code 4.
pub fn verdict(run: &Run, strict: bool) -> Verdict {
    let mut scenarios = BTreeMap::new();
    let mut checks = BTreeMap::new();
    let count = |counts: &mut BTreeMap<String, u64>, outcome: Outcome| {
        *counts.entry(outcome.word().to_owned()).or_default() += 1;
    };
    for scenario in &run.scenarios {
        count(&mut scenarios, scenario.outcome);
        let outcomes = scenario
            .checks
            .iter()
            .map(|check| check.outcome)
            .chain(scenario.gates.iter().map(|gate| gate.outcome));
        outcomes.for_each(|outcome| count(&mut checks, outcome));
    }
    let check_failed = run.scenarios.iter().any(|scenario| {
        scenario
            .checks
            .iter()
            .any(|check| check.outcome == Outcome::Failed)
    });
    let any = |outcome| {
        run.scenarios
            .iter()
            .any(|scenario| scenario.outcome == outcome)
    };
    let (word, exit_code) = if run.interrupted {
        ("interrupted", 130)
    } else if check_failed {
        ("failed", 1)
    } else if !run.invalid.is_empty() {
        ("invalid", 5)
    } else if any(Outcome::Failed) || run.scenarios.is_empty() {
        ("failed", 1)
    } else if any(Outcome::Inconclusive) {
        ("inconclusive", if strict { 4 } else { 0 })
    } else {
        ("passed", 0)
    };
    let words = |counts: &BTreeMap<String, u64>| {
        counts
            .iter()
            .map(|(word, number)| format!("{number} {word}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let summary = format!(
        "{word}: scenarios {}; checks and gates {}",
        words(&scenarios),
        words(&checks)
    );
    Verdict {
        schema_version: SCHEMA_VERSION,
        verdict: word.into(),
        exit_code,
        scenarios,
        checks,
        summary,
        invalid: run.invalid.clone(),
    }
}
