//! A run as `JUnit` XML: one suite per scenario, one case per check and gate.

use crate::escape::xml;
use crate::run::{Outcome, Run, Scenario};
use std::fmt::Write as _;

/// What became of one case.
enum Case {
    Passed,
    Failed { message: String, text: String },
    Skipped(String),
}

/// The document.
pub fn render(run: &Run) -> String {
    let mut document =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"fact\">\n");
    for scenario in &run.scenarios {
        let cases = cases(scenario);
        let number =
            |chosen: fn(&Case) -> bool| cases.iter().filter(|(_, case)| chosen(case)).count();
        let _ = writeln!(
            document,
            "  <testsuite name=\"{}\" tests=\"{}\" failures=\"{}\" errors=\"0\" skipped=\"{}\" time=\"{:.3}\">",
            xml(&scenario.id),
            cases.len(),
            number(|case| matches!(case, Case::Failed { .. })),
            number(|case| matches!(case, Case::Skipped(_))),
            scenario.duration_seconds
        );
        for (name, case) in &cases {
            let _ = write!(
                document,
                "    <testcase classname=\"{}\" name=\"{}\"",
                xml(&scenario.id),
                xml(name)
            );
            let _ = match case {
                Case::Passed => writeln!(document, "/>"),
                Case::Skipped(why) => {
                    writeln!(document, "><skipped message=\"{}\"/></testcase>", xml(why))
                }
                Case::Failed { message, text } => writeln!(
                    document,
                    "><failure message=\"{}\">{}</failure></testcase>",
                    xml(message),
                    xml(text)
                ),
            };
        }
        document.push_str("  </testsuite>\n");
    }
    document.push_str("</testsuites>\n");
    document
}

fn cases(scenario: &Scenario) -> Vec<(String, Case)> {
    let checks = scenario.checks.iter().map(|check| {
        let message = format!("expected {}, seen {}", check.expected, check.seen);
        let curl = check.curl.as_deref().unwrap_or_default();
        let case = case(
            check.outcome,
            message,
            format!("{}\n{curl}", scenario.repeat),
        );
        (format!("{}: {}", check.step, check.what), case)
    });
    let doubt = scenario.invalid.first();
    let gates = scenario.gates.iter().map(|gate| {
        let message = format!("limit {}, measured {}", gate.limit, gate.measured);
        let case = match doubt {
            Some(why) => Case::Skipped(format!("not to be believed: {why}")),
            None => case(
                gate.outcome,
                message,
                format!("{}\n{}", gate.why, scenario.repeat),
            ),
        };
        (format!("gate {}", gate.name), case)
    });
    let mut cases: Vec<(String, Case)> = checks.chain(gates).collect();
    if cases.is_empty() {
        let why = scenario.reason.clone().unwrap_or_default();
        let case = match scenario.outcome {
            Outcome::Passed => Case::Passed,
            other => Case::Skipped(format!("{}: {why}", other.word())),
        };
        cases.push((scenario.title.clone(), case));
    }
    cases
}

fn case(outcome: Outcome, message: String, text: String) -> Case {
    match outcome {
        Outcome::Passed => Case::Passed,
        Outcome::Failed => Case::Failed { message, text },
        other => Case::Skipped(other.word().to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use crate::sample;

    #[test]
    fn a_run_as_junit() {
        insta::assert_snapshot!(super::render(&sample::failed()));
    }
}
