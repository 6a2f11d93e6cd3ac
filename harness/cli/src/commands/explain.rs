//! `fact explain`: what a scenario asks and why; or where the time of a gate's slowest requests went.

use super::Failure;
use crate::console;
use fact_harness::gates::{self, Subject};
use fact_harness::nearest::nearest;
use fact_harness::scenario;
use fact_reports::run::{Run, Slow};
use std::fmt::Write as _;
use std::path::Path;

pub(crate) fn explain(what: &str, gate: Option<&str>) -> Result<u8, Failure> {
    match gate {
        Some(gate) => slowest(Path::new(what), gate),
        None => requirement(what),
    }
}

fn requirement(id: &str) -> Result<u8, Failure> {
    let all = scenario::load_all(&[]).map_err(Failure::usage)?;
    let Some(scenario) = all.iter().find(|scenario| scenario.id == id) else {
        let hint = nearest(id, all.iter().map(|scenario| scenario.id.as_str()))
            .map(|nearest| format!(" did you mean `{nearest}`?"))
            .unwrap_or_default();
        return Err(Failure::usage(format!(
            "no scenario is called `{id}`;{hint} `fact list` shows all; for a gate of a saved run, write `fact explain RUN.json {id}`"
        )));
    };
    let mut text = format!(
        "{}\n{}\n{} for {}\n",
        scenario.id, scenario.title, scenario.requirement.level, scenario.requirement.profile
    );
    if let Some(why) = &scenario.why {
        let _ = writeln!(text, "\n{}", why.trim_end());
    }
    if let Some(load) = &scenario.load {
        let _ = writeln!(text, "\nload    {}", load.in_words());
    }
    for (name, written) in &scenario.gates {
        for limit in gates::read(name, written).map_err(Failure::usage)? {
            let _ = writeln!(text, "gate    {} {}", limit.name, limit.text);
        }
    }
    let _ = write!(text, "\nrepeat  fact run --only {}", scenario.id);
    console::data(&text);
    Ok(0)
}

fn slowest(run: &Path, gate: &str) -> Result<u8, Failure> {
    let file = if run.is_dir() {
        run.join("run.json")
    } else {
        run.to_owned()
    };
    let text = std::fs::read_to_string(&file)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", file.display())))?;
    let run = fact_reports::read_run(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", file.display())))?;
    let known = run.scenarios.iter().flat_map(|scenario| &scenario.gates);
    let Some(found) = known.clone().find(|known| known.name == gate) else {
        let names: Vec<String> = known.map(|known| format!("`{}`", known.name)).collect();
        return Err(Failure::usage(format!(
            "{} has no gate `{gate}`; it has {}",
            file.display(),
            if names.is_empty() {
                "none".to_owned()
            } else {
                names.join(", ")
            }
        )));
    };
    let limit = gates::parse(&found.name, &found.limit).map_err(Failure::usage)?;
    let Subject::Quantile { class, .. } = limit.subject else {
        return Err(Failure::usage(format!(
            "`{gate}` is not about the time of requests, so that none is the slowest; {}",
            found.why
        )));
    };
    console::data(tables(&run, gate, &class).trim_end());
    Ok(0)
}

fn tables(run: &Run, gate: &str, class: &str) -> String {
    let mut text = String::new();
    for scenario in &run.scenarios {
        let Some(found) = scenario.gates.iter().find(|found| found.name == gate) else {
            continue;
        };
        let _ = writeln!(
            text,
            "{}  {} {}: {}, {} ({})\n",
            scenario.id,
            found.name,
            found.limit,
            found.outcome.word(),
            found.measured,
            found.why
        );
        let _ = writeln!(
            text,
            "{:>10} {:>9} {:>8} {:>10} {:>10} {:>9} {:>9} {:>10}  in milliseconds, the slowest first",
            "response",
            "sent late",
            "own",
            "upstreams",
            "scheduled",
            "database",
            "its body",
            "due at"
        );
        let slowest = scenario
            .load
            .iter()
            .filter_map(|load| load.slowest.get(class));
        for slow in slowest.flatten() {
            row(slow, &mut text);
        }
        let _ = writeln!(text, "\nrepeat  {}", scenario.repeat);
    }
    text
}

fn row(slow: &Slow, text: &mut String) {
    let _ = writeln!(
        text,
        "{:>10.3} {:>9.3} {:>8.3} {:>10.3} {:>10.3} {:>9.3} {:>9.3} {:>8.3} s  {}",
        slow.response_ms,
        slow.late_ms,
        slow.own_ms,
        slow.upstream_ms,
        slow.scheduled_ms,
        slow.database_ms,
        slow.body_ms,
        slow.due_ms / 1e3,
        slow.nonce
    );
    for fault in &slow.faults {
        let _ = writeln!(text, "           fault: {fault}");
    }
    if let Some(failure) = &slow.failure {
        let _ = writeln!(text, "           failed: {failure}");
    }
}
