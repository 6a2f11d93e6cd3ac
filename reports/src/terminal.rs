//! What a run says on a terminal: what failed, the gates, and one last line.

use crate::run::{Outcome, Run, Verdict};
use std::fmt::Write as _;

/// One paragraph per failed check, with the two lines that repeat it.
pub fn failures(run: &Run) -> String {
    let mut text = String::new();
    for scenario in &run.scenarios {
        for check in scenario
            .checks
            .iter()
            .filter(|check| check.outcome == Outcome::Failed)
        {
            let line = format!(
                "FAILED {} · {} · {}\n  expected  {}\n  seen      {}\n  repeat    {}\n",
                scenario.id, check.step, check.what, check.expected, check.seen, scenario.repeat
            );
            text.push_str(&plain(&line));
            if let Some(curl) = &check.curl {
                let _ = writeln!(text, "  curl      {}", plain(curl));
            }
        }
    }
    text
}

/// The table of the gates.
pub fn gates(run: &Run) -> String {
    let mut text = String::new();
    for scenario in run
        .scenarios
        .iter()
        .filter(|scenario| !scenario.gates.is_empty())
    {
        let _ = writeln!(text, "{}", plain(&scenario.id));
        let _ = writeln!(
            text,
            "  {:<20} {:<10} {:>12}  {:<28} {:>8}  outcome",
            "gate", "limit", "measured", "interval", "samples"
        );
        for gate in &scenario.gates {
            let row = format!(
                "  {:<20} {:<10} {:>12}  {:<28} {:>8}  {}",
                gate.name,
                gate.limit,
                gate.measured,
                gate.interval,
                gate.samples,
                gate.outcome.word()
            );
            let _ = writeln!(text, "{}", plain(&row));
        }
        for (name, class) in scenario.load.iter().flat_map(|load| &load.classes) {
            let _ = writeln!(
                text,
                "  {name:<5} own time p50 {:.3} ms, p95 {:.3} ms; Claude and Arcade p95 {:.1} ms, database p95 {:.3} ms, {} answers",
                class.own.p50_ms,
                class.own.p95_ms,
                class.upstream.p95_ms,
                class.database.p95_ms,
                class.own.count
            );
        }
        for why in &scenario.invalid {
            let _ = writeln!(text, "  not to be believed: {}", plain(why));
        }
    }
    text
}

/// Verdict, counts, report path.
pub fn last_line(run: &Run, verdict: &Verdict, folder: &str) -> String {
    format!(
        "{} · {:.1} s on {} · {folder}/report.html",
        verdict.summary, run.duration_seconds, run.database.kind
    )
}

/// Without control characters, but for the line's end: a target's words cannot move the cursor.
fn plain(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() && c != '\n' {
                '\u{fffd}'
            } else {
                c
            }
        })
        .collect()
}
