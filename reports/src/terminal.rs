//! What a run says on a terminal: what failed, the gates, and one last line.

use crate::escape::line;
use crate::run::{Gate, Outcome, Run, Scenario, Verdict};
use std::fmt::Write as _;

/// One paragraph per failed check, and per failed gate that can be believed, with the lines that repeat it.
pub fn failures(run: &Run) -> String {
    let mut text = String::new();
    for scenario in &run.scenarios {
        let failed = |outcome: Outcome| outcome == Outcome::Failed;
        for check in scenario.checks.iter().filter(|check| failed(check.outcome)) {
            let place = format!("{} · {}", check.step, check.what);
            paragraph(&mut text, scenario, &place, &check.expected, &check.seen);
            if let Some(curl) = &check.curl {
                let _ = writeln!(text, "  curl      {}", line(curl));
            }
        }
        let believed = scenario.invalid.is_empty();
        for gate in scenario
            .gates
            .iter()
            .filter(|gate| believed && failed(gate.outcome))
        {
            let place = format!("gate {}", gate.name);
            let seen = format!("{} ({})", gate.measured, gate.why);
            paragraph(&mut text, scenario, &place, &gate.limit, &seen);
        }
    }
    text
}

fn paragraph(text: &mut String, scenario: &Scenario, place: &str, expected: &str, seen: &str) {
    let _ = write!(
        text,
        "FAILED {} · {}\n  expected  {}\n  seen      {}\n  repeat    {}\n",
        line(&scenario.id),
        line(place),
        line(expected),
        line(seen),
        line(&scenario.repeat)
    );
}

/// The gates of every load, and below them where the time went and whether the figures can be believed.
pub fn gates(run: &Run) -> String {
    let mut text = String::new();
    let with_gates = |scenario: &&Scenario| !scenario.gates.is_empty();
    for scenario in run.scenarios.iter().filter(with_gates) {
        let _ = writeln!(text, "{}", line(&scenario.id));
        table(&mut text, &scenario.gates);
        for (name, class) in scenario.load.iter().flat_map(|load| &load.classes) {
            let _ = writeln!(
                text,
                "  {:<5} own time p50 {:.3} ms, p95 {:.3} ms; Claude and Arcade p95 {:.1} ms, database p95 {:.3} ms, {} answers",
                line(name),
                class.own.p50_ms,
                class.own.p95_ms,
                class.upstream.p95_ms,
                class.database.p95_ms,
                class.own.count
            );
        }
        if let Some(load) = &scenario.load
            && let Some(noise) = &load.noise
        {
            let _ = writeln!(
                text,
                "  noise meanwhile: a request that costs nothing p95 {:.3} ms, hiccups p99 {:.3} ms; {}",
                noise.floor.p95_ms,
                noise.hiccups.p99_ms,
                match load.looks {
                    1 => "decided at the first look".to_owned(),
                    looks => format!("looked at {looks} times"),
                }
            );
        }
        for why in &scenario.invalid {
            let _ = writeln!(text, "  not to be believed: {}", line(why));
        }
    }
    text
}

fn table(text: &mut String, gates: &[Gate]) {
    let cells = |gate: &Gate| {
        let samples = gate.samples.to_string();
        [
            &gate.name,
            &gate.limit,
            &gate.measured,
            &gate.interval,
            &samples,
        ]
        .map(|cell| line(cell))
    };
    let rows: Vec<[String; 5]> = gates.iter().map(cells).collect();
    let heads = ["gate", "limit", "measured", "interval", "samples"];
    let widths: Vec<usize> = (0..heads.len())
        .map(|at| {
            let cells = rows.iter().map(|row| row[at].chars().count());
            cells.chain([heads[at].len()]).max().unwrap_or(0)
        })
        .collect();
    let mut row = |cells: [&str; 5], outcome: &str| {
        let [gate, limit, measured, interval, samples] = cells;
        let _ = writeln!(
            text,
            "  {gate:<0$}  {limit:<1$}  {measured:>2$}  {interval:<3$}  {samples:>4$}  {outcome}",
            widths[0], widths[1], widths[2], widths[3], widths[4]
        );
    };
    row(heads, "outcome");
    for (cells, gate) in rows.iter().zip(gates) {
        row(cells.each_ref().map(String::as_str), gate.outcome.word());
    }
}

/// Verdict, counts, report path.
pub fn last_line(run: &Run, verdict: &Verdict, folder: &str) -> String {
    format!(
        "{} · {:.1} s on {} · {folder}/report.html",
        line(&verdict.summary),
        run.duration_seconds,
        line(&run.database.kind)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;

    #[test]
    fn a_failed_run_on_the_terminal() {
        let run = sample::failed();
        let last = last_line(&run, &crate::verdict(&run, false), "fact-report/x");
        insta::assert_snapshot!([failures(&run), gates(&run), last].join("\n"));
    }
}
