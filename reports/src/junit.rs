//! A run as `JUnit` XML: one suite per scenario, one case per check and gate.

use crate::run::{Outcome, Run};
use std::fmt::Write as _;

/// The document.
pub fn render(run: &Run) -> String {
    let mut xml =
        String::from("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"fact\">\n");
    for scenario in &run.scenarios {
        let mut cases = String::new();
        let (mut tests, mut failures, mut skipped) = (0, 0, 0);
        let checks = scenario.checks.iter().map(|check| {
            (
                format!("{}: {}", check.step, check.what),
                check.outcome,
                format!("expected {}, seen {}", check.expected, check.seen),
            )
        });
        let gates = scenario.gates.iter().map(|gate| {
            (
                format!("gate {} {}", gate.name, gate.limit),
                gate.outcome,
                format!("measured {}: {}", gate.measured, gate.why),
            )
        });
        for (name, outcome, text) in checks.chain(gates) {
            tests += 1;
            let _ = write!(
                cases,
                "    <testcase classname=\"{}\" name=\"{}\">",
                escape(&scenario.id),
                escape(&name)
            );
            match outcome {
                Outcome::Failed => {
                    failures += 1;
                    let _ = write!(
                        cases,
                        "<failure message=\"{}\">{}</failure>",
                        escape(&text),
                        escape(&scenario.repeat)
                    );
                }
                Outcome::Passed => {}
                other => {
                    skipped += 1;
                    let _ = write!(cases, "<skipped message=\"{}\"/>", escape(other.word()));
                }
            }
            cases.push_str("</testcase>\n");
        }
        let _ = writeln!(
            xml,
            "  <testsuite name=\"{}\" tests=\"{tests}\" failures=\"{failures}\" skipped=\"{skipped}\" time=\"{:.3}\">\n{cases}  </testsuite>",
            escape(&scenario.id),
            scenario.duration_seconds
        );
    }
    xml.push_str("</testsuites>\n");
    xml
}

/// Text for XML and HTML alike; what XML cannot hold is replaced.
pub(crate) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            '\n' | '\t' => safe.push(c),
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}
