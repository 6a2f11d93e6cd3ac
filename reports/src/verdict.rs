//! From outcomes to one verdict and its exit code.

use crate::run::{Outcome, Run, SCHEMA_VERSION, Scenario, Verdict};
use std::collections::BTreeMap;

/// The verdict of a run. `strict`: inconclusive gates end with code 4.
pub fn verdict(run: &Run, strict: bool) -> Verdict {
    let mut scenarios = BTreeMap::new();
    let mut checks = BTreeMap::new();
    for scenario in &run.scenarios {
        count(&mut scenarios, scenario.outcome);
        let of_checks = scenario.checks.iter().map(|check| check.outcome);
        let of_gates = scenario.gates.iter().map(|gate| gate.outcome);
        of_checks
            .chain(of_gates)
            .for_each(|outcome| count(&mut checks, outcome));
    }
    let (word, exit_code) = judge(run, strict);
    let summary = format!(
        "{word}: scenarios {}; checks and gates {}",
        in_words(&scenarios),
        in_words(&checks)
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

/// A failed check stands whatever the measurements are worth; a failed gate only where they can be believed.
fn judge(run: &Run, strict: bool) -> (&'static str, i32) {
    let of_one_scenario = run
        .scenarios
        .iter()
        .any(|scenario| !scenario.invalid.is_empty());
    let invalid = of_one_scenario || !run.invalid.is_empty();
    let all_in_doubt = !of_one_scenario && invalid;
    let check_failed = |scenario: &Scenario| {
        let mut outcomes = scenario.checks.iter().map(|check| check.outcome);
        outcomes.any(|outcome| outcome == Outcome::Failed)
    };
    let believed = |scenario: &Scenario| scenario.invalid.is_empty() && !all_in_doubt;
    let failed = |scenario: &Scenario| {
        check_failed(scenario) || (believed(scenario) && scenario.outcome == Outcome::Failed)
    };
    if run.interrupted {
        ("interrupted", 130)
    } else if run.scenarios.is_empty() || run.scenarios.iter().any(failed) {
        ("failed", 1)
    } else if invalid {
        ("invalid", 5)
    } else if run
        .scenarios
        .iter()
        .any(|scenario| scenario.outcome == Outcome::Inconclusive)
    {
        ("inconclusive", if strict { 4 } else { 0 })
    } else {
        ("passed", 0)
    }
}

fn count(counts: &mut BTreeMap<String, u64>, outcome: Outcome) {
    *counts.entry(outcome.word().to_owned()).or_default() += 1;
}

fn in_words(counts: &BTreeMap<String, u64>) -> String {
    let words: Vec<String> = counts
        .iter()
        .map(|(word, number)| format!("{number} {word}"))
        .collect();
    if words.is_empty() {
        "none".to_owned()
    } else {
        words.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    fn of(run: &Run, strict: bool) -> (String, i32) {
        let verdict = verdict(run, strict);
        (verdict.verdict, verdict.exit_code)
    }

    #[test]
    fn each_verdict_has_its_exit_code() {
        let run = sample::passed();
        assert_eq!(of(&run, true), ("passed".into(), 0));
        let mut slow = sample::passed();
        slow.scenarios[1].gates[0].outcome = Outcome::Failed;
        slow.scenarios[1].outcome = Outcome::Failed;
        assert_eq!(of(&slow, false), ("failed".into(), 1));
        let mut unsure = sample::passed();
        unsure.scenarios[1].outcome = Outcome::Inconclusive;
        assert_eq!(of(&unsure, false), ("inconclusive".into(), 0));
        assert_eq!(of(&unsure, true), ("inconclusive".into(), 4));
        let mut stopped = sample::failed();
        stopped.interrupted = true;
        assert_eq!(of(&stopped, false), ("interrupted".into(), 130));
        let mut nothing = sample::passed();
        nothing.scenarios.clear();
        assert_eq!(of(&nothing, false), ("failed".into(), 1));
    }

    #[test]
    fn a_gate_in_doubt_fails_nothing_and_a_failed_check_always_does() {
        let mut noisy = sample::passed();
        noisy.scenarios[1].outcome = Outcome::Failed;
        noisy.scenarios[1].gates[0].outcome = Outcome::Failed;
        noisy.scenarios[1].invalid = vec!["the generator was late".into()];
        noisy.invalid = vec!["load.standard: the generator was late".into()];
        assert_eq!(of(&noisy, false), ("invalid".into(), 5));
        noisy.scenarios[0] = sample::failed().scenarios[0].clone();
        assert_eq!(of(&noisy, false), ("failed".into(), 1));
    }
}
