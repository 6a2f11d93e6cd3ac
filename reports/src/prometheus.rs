//! A run as metrics in Prometheus' text format, for a textfile collector or a push gateway.

use crate::run::{Outcome, Run, Verdict};
use std::fmt::Write as _;

/// The metrics.
pub fn render(run: &Run, verdict: &Verdict) -> String {
    let mut text = String::new();
    head(
        &mut text,
        "fact_run_exit_code",
        "Exit code of the verdict: 0 passed, 1 failed, 4 inconclusive, 5 invalid.",
    );
    let _ = writeln!(
        text,
        "fact_run_exit_code{{verdict=\"{}\"}} {}",
        label(&verdict.verdict),
        verdict.exit_code
    );
    head(
        &mut text,
        "fact_run_duration_seconds",
        "How long the run took.",
    );
    let _ = writeln!(text, "fact_run_duration_seconds {}", run.duration_seconds);
    for (name, help, counts) in [
        (
            "fact_run_scenarios",
            "Scenarios by outcome.",
            &verdict.scenarios,
        ),
        (
            "fact_run_checks",
            "Checks and gates by outcome.",
            &verdict.checks,
        ),
    ] {
        head(&mut text, name, help);
        for (outcome, number) in counts {
            let _ = writeln!(text, "{name}{{outcome=\"{}\"}} {number}", label(outcome));
        }
    }
    head(
        &mut text,
        "fact_run_gate_passed",
        "1 for a gate that passed, 0 for one that did not.",
    );
    for (scenario, gate) in run
        .scenarios
        .iter()
        .flat_map(|scenario| scenario.gates.iter().map(move |gate| (scenario, gate)))
    {
        let _ = writeln!(
            text,
            "fact_run_gate_passed{{scenario=\"{}\",gate=\"{}\",limit=\"{}\",outcome=\"{}\"}} {}",
            label(&scenario.id),
            label(&gate.name),
            label(&gate.limit),
            gate.outcome.word(),
            u8::from(gate.outcome == Outcome::Passed)
        );
    }
    latencies(run, &mut text);
    text
}

fn latencies(run: &Run, text: &mut String) {
    for (name, help) in [
        (
            "fact_run_response_seconds",
            "From the due time to the last byte.",
        ),
        (
            "fact_run_own_seconds",
            "What neither the mocks nor the database took.",
        ),
    ] {
        let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} summary");
        for scenario in &run.scenarios {
            for (class, times) in scenario.load.iter().flat_map(|load| &load.classes) {
                let times = if name == "fact_run_own_seconds" {
                    &times.own
                } else {
                    &times.response
                };
                let labels = format!(
                    "scenario=\"{}\",class=\"{}\"",
                    label(&scenario.id),
                    label(class)
                );
                for (quantile, ms) in [
                    ("0.5", times.p50_ms),
                    ("0.9", times.p90_ms),
                    ("0.95", times.p95_ms),
                    ("0.99", times.p99_ms),
                ] {
                    let _ = writeln!(
                        text,
                        "{name}{{{labels},quantile=\"{quantile}\"}} {}",
                        ms / 1e3
                    );
                }
                #[expect(clippy::cast_precision_loss, reason = "counts are far below 2^52")]
                let sum = times.mean_ms / 1e3 * times.count as f64;
                let _ = writeln!(
                    text,
                    "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {}",
                    times.count
                );
            }
        }
    }
}

fn head(text: &mut String, name: &str, help: &str) {
    let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} gauge");
}

fn label(value: &str) -> String {
    value
        .replace('\\', r"\\")
        .replace('"', "\\\"")
        .replace('\n', r"\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_failed_run_as_metrics() {
        let mut run = sample::failed();
        run.scenarios[1].gates[0].limit = "<= \"50ms\"\n".to_owned();
        let text = render(&run, &crate::verdict(&run, false));
        for line in [
            "fact_run_exit_code{verdict=\"failed\"} 1",
            "fact_run_scenarios{outcome=\"failed\"} 2",
            "fact_run_gate_passed{scenario=\"load.standard\",gate=\"miss.p95\",limit=\"<= 140ms\",outcome=\"failed\"} 0",
            "fact_run_response_seconds_count{scenario=\"load.standard\",class=\"hit\"} 200",
            r#"limit="<= \"50ms\"\n""#,
        ] {
            assert!(text.contains(line), "{line} in\n{text}");
        }
    }
}
