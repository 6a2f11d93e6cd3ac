//! A run as one HTML page: no script, no network, readable on paper.

use crate::junit::escape;
use crate::run::{Class, Load, Outcome, Run, Scenario, Verdict};
use std::fmt::Write as _;

const STYLE: &str = "\
:root{color-scheme:light dark;--line:#8884;--good:#1a7f37;--bad:#c62828;--dim:#777}\
body{font:16px/1.5 system-ui,sans-serif;max-width:62rem;margin:2rem auto;padding:0 1rem}\
h1{margin:.2em 0}table{border-collapse:collapse;width:100%;margin:1em 0}\
td,th{text-align:left;padding:.3em .6em;border-bottom:1px solid var(--line);vertical-align:top}\
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums}\
.passed{color:var(--good)}.failed,.invalid,.interrupted{color:var(--bad)}.dim{color:var(--dim)}\
code,pre{font:13px ui-monospace,monospace;white-space:pre-wrap;overflow-wrap:anywhere}\
svg{width:100%;height:auto}svg text{font:11px system-ui;fill:currentColor}";

/// The page.
pub fn render(run: &Run, verdict: &Verdict) -> String {
    let mut page = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>fact: {word}</title><style>{STYLE}</style>\n<h1 class=\"{word}\">{word}</h1>\n<p>{summary}</p>\n",
        word = escape(&verdict.verdict),
        summary = escape(&verdict.summary)
    );
    for why in &run.invalid {
        let _ = writeln!(
            page,
            "<p class=\"invalid\">Not to be believed: {}</p>",
            escape(why)
        );
    }
    facts(run, &mut page);
    for scenario in run
        .scenarios
        .iter()
        .filter(|scenario| scenario.load.is_some() || !scenario.gates.is_empty())
    {
        load(scenario, &mut page);
    }
    page.push_str("<h2>Scenarios</h2>\n<table><tr><th>Outcome<th>Scenario<th class=\"n\">Checks<th class=\"n\">Seconds</tr>\n");
    for scenario in &run.scenarios {
        row(scenario, &mut page);
    }
    page.push_str("</table>\n</html>\n");
    page
}

fn facts(run: &Run, page: &mut String) {
    let passed_over: Vec<String> = run
        .database
        .passed_over
        .iter()
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    let machine: Vec<String> = run
        .machine
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let rows = [
        ("Judged", run.target.clone()),
        (
            "Database",
            format!("{} ({})", run.database.kind, run.database.version),
        ),
        ("Not taken", passed_over.join("; ")),
        ("Seed", run.seed.to_string()),
        (
            "Started",
            format!("{}, {:.1} s", run.started_at, run.duration_seconds),
        ),
        ("Machine", machine.join(", ")),
    ];
    page.push_str("<table>");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(page, "<tr><th>{name}<td>{}</tr>", escape(value));
    }
    page.push_str("</table>\n");
}

fn load(scenario: &Scenario, page: &mut String) {
    let _ = writeln!(
        page,
        "<h2>{}</h2><p>{}</p>",
        escape(&scenario.id),
        escape(&scenario.title)
    );
    page.push_str("<table><tr><th>Gate<th>Limit<th class=\"n\">Measured<th>Interval<th class=\"n\">Samples<th>Outcome</tr>\n");
    for gate in &scenario.gates {
        let _ = writeln!(
            page,
            "<tr><td>{}<td>{}<td class=\"n\">{}<td>{}<td class=\"n\">{}<td class=\"{}\">{}<br><span class=\"dim\">{}</span></tr>",
            escape(&gate.name),
            escape(&gate.limit),
            escape(&gate.measured),
            escape(&gate.interval),
            gate.samples,
            class_of(gate.outcome),
            gate.outcome.word(),
            escape(&gate.why)
        );
    }
    page.push_str("</table>\n");
    let Some(load) = &scenario.load else { return };
    let _ = writeln!(
        page,
        "<p>{}: {} planned, {} sent, {} answered as they should after the warm-up. Sent late at the 99th percentile: {:.3} ms; mocks late: {:.3} ms. \
         Billed ${:.4}, uncached ${:.4}.</p>",
        escape(&load.description),
        load.planned,
        load.sent,
        load.succeeded,
        load.lag.p99_ms,
        load.mock_lag.p99_ms,
        load.cost.billed_usd,
        load.cost.uncached_usd
    );
    distribution(load, page);
    page.push_str("<table><tr><th>Class<th class=\"n\">Answers<th class=\"n\">p50<th class=\"n\">p95<th class=\"n\">p99<th class=\"n\">max<th class=\"n\">own p95<th class=\"n\">mocks p95<th class=\"n\">database p95</tr>\n");
    for (name, class) in &load.classes {
        let Class {
            response,
            own,
            upstream,
            database,
            ..
        } = class;
        let _ = writeln!(
            page,
            "<tr><td>{}<td class=\"n\">{}<td class=\"n\">{:.2}<td class=\"n\">{:.2}<td class=\"n\">{:.2}<td class=\"n\">{:.2}<td class=\"n\">{:.3}<td class=\"n\">{:.2}<td class=\"n\">{:.3}</tr>",
            escape(name),
            response.count,
            response.p50_ms,
            response.p95_ms,
            response.p99_ms,
            response.max_ms,
            own.p95_ms,
            upstream.p95_ms,
            database.p95_ms
        );
    }
    page.push_str("</table><p class=\"dim\">Milliseconds from the due time to the last byte; own time is what neither the mocks nor the database took.</p>\n");
}

/// The share of answers (upwards) that took at most so long (to the right, logarithmic from 0.1 ms to 10 s).
fn distribution(load: &Load, page: &mut String) {
    const COLOURS: [&str; 4] = ["#1f77b4", "#d95f02", "#1b9e77", "#7570b3"];
    let x =
        |milliseconds: f64| 40.0 + (milliseconds.clamp(0.1, 10_000.0).log10() + 1.0) / 5.0 * 640.0;
    let y = |share: f64| 210.0 - share * 190.0;
    page.push_str("<svg viewBox=\"0 0 700 240\" role=\"img\" aria-label=\"latency distribution\">");
    for (at, label) in [
        (0.1, "0.1 ms"),
        (1.0, "1 ms"),
        (10.0, "10 ms"),
        (100.0, "100 ms"),
        (1e3, "1 s"),
        (1e4, "10 s"),
    ] {
        let _ = write!(
            page,
            "<line x1=\"{0:.0}\" x2=\"{0:.0}\" y1=\"20\" y2=\"210\" stroke=\"#8884\"/><text x=\"{0:.0}\" y=\"226\" text-anchor=\"middle\">{label}</text>",
            x(at)
        );
    }
    for share in [0.0, 0.5, 0.95, 1.0] {
        let _ = write!(
            page,
            "<line x1=\"40\" x2=\"680\" y1=\"{0:.0}\" y2=\"{0:.0}\" stroke=\"#8884\"/><text x=\"34\" y=\"{1:.0}\" text-anchor=\"end\">{2:.0}%</text>",
            y(share),
            y(share) + 4.0,
            share * 100.0
        );
    }
    for (number, (name, class)) in load.classes.iter().enumerate() {
        let Some(hdr) = class.response.to_hdr() else {
            continue;
        };
        let mut points = String::new();
        for step in 0..=200_u32 {
            let share = f64::from(step) / 200.0;
            #[expect(
                clippy::cast_precision_loss,
                reason = "latencies are far below 2^52 ns"
            )]
            let milliseconds = hdr.value_at_quantile(share) as f64 / 1e6;
            let _ = write!(points, "{:.1},{:.1} ", x(milliseconds), y(share));
        }
        let colour = COLOURS[number % COLOURS.len()];
        let _ = write!(
            page,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" points=\"{points}\"/>"
        );
        let _ = write!(
            page,
            "<text x=\"50\" y=\"{}\" style=\"fill:{colour}\">{} ({})</text>",
            36 + number * 15,
            escape(name),
            class.response.count
        );
    }
    page.push_str("</svg>\n");
}

fn row(scenario: &Scenario, page: &mut String) {
    let _ = write!(
        page,
        "<tr><td class=\"{}\">{}<td><b>{}</b> {}",
        class_of(scenario.outcome),
        scenario.outcome.word(),
        escape(&scenario.id),
        escape(&scenario.title)
    );
    if let Some(reason) = &scenario.reason {
        let _ = write!(page, "<br><span class=\"dim\">{}</span>", escape(reason));
    }
    for check in scenario
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Failed)
    {
        let _ = write!(
            page,
            "<pre>{} · {}\nexpected  {}\nseen      {}\nrepeat    {}\n{}</pre>",
            escape(&check.step),
            escape(&check.what),
            escape(&check.expected),
            escape(&check.seen),
            escape(&scenario.repeat),
            escape(check.curl.as_deref().unwrap_or_default())
        );
    }
    let _ = writeln!(
        page,
        "<td class=\"n\">{}<td class=\"n\">{:.1}</tr>",
        scenario.checks.len(),
        scenario.duration_seconds
    );
}

fn class_of(outcome: Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed => "failed",
        _ => "dim",
    }
}
