//! A run as a page of Markdown, as build servers show it: verdict, gates, failures.

use crate::escape::{line, markdown};
use crate::run::{Outcome, Run, Scenario, Verdict};
use std::fmt::Write as _;

/// The page.
pub fn render(run: &Run, verdict: &Verdict) -> String {
    let mut page = format!(
        "# fact: {}\n\n{}\n",
        markdown(&verdict.verdict),
        markdown(&verdict.summary)
    );
    for why in &verdict.invalid {
        let _ = write!(page, "\nNot to be believed: {}\n", markdown(why));
    }
    let _ = write!(
        page,
        "\nJudged {} on {} ({}), seed {}, {:.1} s.\n",
        markdown(&run.target),
        markdown(&run.database.kind),
        markdown(&run.database.version),
        run.seed,
        run.duration_seconds
    );
    if run
        .scenarios
        .iter()
        .any(|scenario| !scenario.gates.is_empty())
    {
        gates(run, &mut page);
    }
    let failed = |scenario: &&Scenario| scenario.outcome == Outcome::Failed;
    for scenario in run.scenarios.iter().filter(failed) {
        failures(scenario, &mut page);
    }
    page
}

fn gates(run: &Run, page: &mut String) {
    page.push_str("\n| scenario | gate | limit | measured | interval | samples | outcome |\n|---|---|---|---:|---|---:|---|\n");
    for scenario in &run.scenarios {
        for gate in &scenario.gates {
            let _ = writeln!(
                page,
                "| {} | {} | {} | {} | {} | {} | {} |",
                markdown(&scenario.id),
                markdown(&gate.name),
                markdown(&gate.limit),
                markdown(&gate.measured),
                markdown(&gate.interval),
                gate.samples,
                gate.outcome.word()
            );
        }
    }
}

fn failures(scenario: &Scenario, page: &mut String) {
    let _ = write!(
        page,
        "\n## {}\n\n{}\n",
        markdown(&scenario.id),
        markdown(&scenario.title)
    );
    let failed = scenario
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Failed);
    for (number, check) in failed.enumerate() {
        let _ = writeln!(
            page,
            "{}- {}, {}: expected {}, seen {}",
            if number == 0 { "\n" } else { "" },
            markdown(&check.step),
            markdown(&check.what),
            markdown(&check.expected),
            markdown(&check.seen)
        );
    }
    let _ = write!(page, "\n    {}\n", line(&scenario.repeat));
}

#[cfg(test)]
mod tests {
    use crate::sample;

    #[test]
    fn a_failed_run_as_markdown() {
        let run = sample::failed();
        insta::assert_snapshot!(super::render(&run, &crate::verdict(&run, false)));
    }
}
