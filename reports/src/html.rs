//! A run as one HTML page: no script, no network, light or dark as the reader likes, and readable on paper.

mod curve;
mod load;

use crate::escape::xml;
use crate::run::{Check, Outcome, Run, Scenario, Verdict};
use std::fmt::Write as _;

const STYLE: &str = include_str!("html/style.css");

/// The page.
pub fn render(run: &Run, verdict: &Verdict) -> String {
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n<meta name=\"viewport\" content=\"width=device-width\">\n\
         <title>fact: {word}</title>\n<style>\n{STYLE}</style>\n",
        word = xml(&verdict.verdict)
    );
    head(run, verdict, &mut page);
    facts(run, verdict, &mut page);
    if run
        .scenarios
        .iter()
        .any(|scenario| !scenario.gates.is_empty())
    {
        load::gates(&run.scenarios, &mut page);
    }
    for scenario in run
        .scenarios
        .iter()
        .filter(|scenario| scenario.load.is_some())
    {
        load::section(scenario, &mut page);
    }
    page.push_str("<h2 id=\"scenarios\">Scenarios</h2>\n");
    for scenario in &run.scenarios {
        section(scenario, &mut page);
    }
    page.push_str("</html>\n");
    page
}

fn head(run: &Run, verdict: &Verdict, page: &mut String) {
    let class = match verdict.verdict.as_str() {
        "passed" => "good",
        "failed" | "interrupted" => "bad",
        _ => "doubt",
    };
    let _ = writeln!(
        page,
        "<header class=\"{class}\"><h1>{}</h1>",
        xml(&verdict.verdict)
    );
    for why in &verdict.invalid {
        let _ = writeln!(page, "<p>Not to be believed: {}</p>", xml(why));
    }
    let failed: Vec<String> = run
        .scenarios
        .iter()
        .filter(|scenario| scenario.outcome == Outcome::Failed)
        .map(|scenario| format!("<a href=\"#{0}\">{0}</a>", xml(&scenario.id)))
        .collect();
    if !failed.is_empty() {
        let _ = writeln!(page, "<p>Failed: {}</p>", failed.join(", "));
    }
    page.push_str("</header>\n");
}

fn facts(run: &Run, verdict: &Verdict, page: &mut String) {
    let counts = |counts: &std::collections::BTreeMap<String, u64>| {
        let words: Vec<String> = counts
            .iter()
            .map(|(word, number)| format!("{number} {word}"))
            .collect();
        words.join(", ")
    };
    let passed_over = &run.database.passed_over;
    let passed_over: Vec<String> = passed_over
        .iter()
        .map(|(name, why)| format!("{name}: {why}"))
        .collect();
    let machine: Vec<String> = run
        .machine
        .iter()
        .map(|(name, value)| format!("{name} {value}"))
        .collect();
    let took = format!("{}, for {:.1} s", run.started_at, run.duration_seconds);
    let rows = [
        ("Judged", run.target.clone()),
        ("Scenarios", counts(&verdict.scenarios)),
        ("Checks and gates", counts(&verdict.checks)),
        (
            "Database",
            format!("{}, {}", run.database.kind, run.database.version),
        ),
        ("Passed over", passed_over.join("; ")),
        ("Seed", run.seed.to_string()),
        ("Started", took),
        ("Machine", machine.join(", ")),
    ];
    page.push_str("<table class=\"facts\">\n");
    for (name, value) in rows.iter().filter(|(_, value)| !value.is_empty()) {
        let _ = writeln!(page, "<tr><th>{name}</th><td>{}</td></tr>", xml(value));
    }
    page.push_str("</table>\n");
}

/// A scenario, opened when it failed.
fn section(scenario: &Scenario, page: &mut String) {
    let open = if scenario.outcome == Outcome::Failed {
        " open"
    } else {
        ""
    };
    let _ = writeln!(
        page,
        "<details id=\"{id}\"{open}><summary><span class=\"n\">{checks} checks, {seconds:.1} s</span>{outcome} <b>{id}</b> <span class=\"dim\">{title}</span></summary>",
        id = xml(&scenario.id),
        checks = scenario.checks.len() + scenario.gates.len(),
        seconds = scenario.duration_seconds,
        outcome = badge(scenario.outcome),
        title = xml(&scenario.title)
    );
    let _ = writeln!(
        page,
        "<p class=\"small dim\">{} for {}{}</p>",
        xml(&scenario.level),
        xml(&scenario.profile),
        scenario
            .reason
            .as_ref()
            .map(|reason| format!("; {}", xml(reason)))
            .unwrap_or_default()
    );
    for check in scenario
        .checks
        .iter()
        .filter(|check| check.outcome == Outcome::Failed)
    {
        failed(scenario, check, page);
    }
    for gate in scenario
        .gates
        .iter()
        .filter(|gate| gate.outcome == Outcome::Failed && scenario.invalid.is_empty())
    {
        let _ = writeln!(
            page,
            "<pre>gate {}\nexpected  {}\nseen      {} ({})\nrepeat    {}</pre>",
            xml(&gate.name),
            xml(&gate.limit),
            xml(&gate.measured),
            xml(&gate.why),
            xml(&scenario.repeat)
        );
    }
    others(scenario, page);
    page.push_str("</details>\n");
}

fn failed(scenario: &Scenario, check: &Check, page: &mut String) {
    let _ = write!(
        page,
        "<pre>{} · {}\nexpected  {}\nseen      {}\nrepeat    {}",
        xml(&check.step),
        xml(&check.what),
        xml(&check.expected),
        xml(&check.seen),
        xml(&scenario.repeat)
    );
    if let Some(curl) = &check.curl {
        let _ = write!(page, "\ncurl      {}", xml(curl));
    }
    page.push_str("</pre>\n");
}

/// What did not fail, shortened: it is looked up, not read.
fn others(scenario: &Scenario, page: &mut String) {
    const CHARACTERS: usize = 120;
    let others: Vec<&Check> = scenario
        .checks
        .iter()
        .filter(|check| check.outcome != Outcome::Failed)
        .collect();
    if others.is_empty() {
        return;
    }
    let short = |text: &str| {
        let mut short: String = text.chars().take(CHARACTERS).collect();
        if short.len() < text.len() {
            short.push('…');
        }
        xml(&short)
    };
    page.push_str("<table class=\"small\"><thead><tr><th>Step</th><th>Looked at</th><th>Expected</th><th>Seen</th><th>Outcome</th></tr></thead>\n");
    for check in others {
        let _ = writeln!(
            page,
            "<tr><td>{}</td><td>{}</td><td>{}</td><td>{}</td><td>{}</td></tr>",
            short(&check.step),
            short(&check.what),
            short(&check.expected),
            short(&check.seen),
            badge(check.outcome)
        );
    }
    page.push_str("</table>\n");
}

/// An outcome as a sign and a word, so that it does not rest on colour.
fn badge(outcome: Outcome) -> String {
    let (class, sign) = match outcome {
        Outcome::Passed => ("good", "✓"),
        Outcome::Failed => ("bad", "✗"),
        Outcome::Inconclusive => ("doubt", "?"),
        Outcome::Warned => ("doubt", "!"),
        _ => ("dim", "–"),
    };
    format!("<span class=\"{class}\">{sign} {}</span>", outcome.word())
}

#[cfg(test)]
mod tests {
    use crate::sample;

    fn page(run: &crate::run::Run) -> String {
        super::render(run, &crate::verdict(run, false))
    }

    #[test]
    fn a_failed_run_as_a_page() {
        let page = page(&sample::failed());
        let (_, body) = page.split_once("</style>").unwrap();
        insta::assert_snapshot!(body);
    }

    #[test]
    fn the_page_needs_neither_script_nor_network_and_shows_hostile_words_as_words() {
        let page = page(&sample::failed());
        for lacking in [
            "<script", "src=", "@import", "url(", "https:", "\u{1b}", "\0",
        ] {
            assert!(!page.contains(lacking), "{lacking:?}");
        }
        assert!(page.contains("&lt;script&gt;alert(&#39;x&#39;)"));
        assert!(page.contains("<details id=\"cache.hit-is-silent\" open>"));
        assert!(page.contains("prefers-color-scheme: dark") && page.contains("@media print"));
    }
}
