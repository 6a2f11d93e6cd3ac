//! `fact trend`: what the runs of a history came to, and where that changed.

use super::Failure;
use crate::args::{Format, TrendArgs};
use crate::console;
use fact_harness::history::{self, ChangePoint, Entry, change_points};
use serde_json::json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

/// One metric over all runs that have it.
struct Series<'a> {
    name: &'a str,
    runs: Vec<&'a Entry>,
    values: Vec<f64>,
    changes: Vec<ChangePoint>,
}

pub(crate) fn trend(args: &TrendArgs) -> Result<u8, Failure> {
    let history = history::read(&args.history).map_err(Failure::usage)?;
    for line in &history.rubbish {
        console::note(&format!(
            "line {line} of {} is torn or no run; it is left out",
            args.history.display()
        ));
    }
    let newest = history.entries.last();
    let same_machine = |entry: &&Entry| {
        args.any_machine || newest.is_none_or(|newest| newest.machine == entry.machine)
    };
    let entries: Vec<&Entry> = history.entries.iter().filter(same_machine).collect();
    let elsewhere = history.entries.len() - entries.len();
    if elsewhere > 0 {
        console::note(&format!(
            "{elsewhere} runs were made on other machines than the newest; `--any-machine` takes them too"
        ));
    }
    let series = series(&entries, args.metric.as_deref())?;
    match args.format {
        Format::Json => console::data(&as_json(&series).to_string()),
        Format::Text => console::data(as_text(&series).trim_end()),
    }
    Ok(0)
}

fn series<'a>(entries: &[&'a Entry], wanted: Option<&str>) -> Result<Vec<Series<'a>>, Failure> {
    let names: BTreeSet<&str> = entries
        .iter()
        .flat_map(|entry| entry.metrics.keys().map(String::as_str))
        .collect();
    let chosen: Vec<&str> = names
        .iter()
        .copied()
        .filter(|name| wanted.is_none_or(|wanted| name.contains(wanted)))
        .collect();
    if chosen.is_empty() {
        let known: Vec<&str> = names.into_iter().collect();
        return Err(Failure::usage(match wanted {
            Some(wanted) => format!(
                "no metric has `{wanted}` in its name; there are {}",
                known.join(", ")
            ),
            None => "these runs measured nothing under load; run a scenario with a `load`, such as `fact run --only load.standard --history FILE`".to_owned(),
        }));
    }
    let of = |name: &'a str| {
        let (runs, values): (Vec<&Entry>, Vec<f64>) = entries
            .iter()
            .filter_map(|entry| Some((*entry, *entry.metrics.get(name)?)))
            .unzip();
        let changes = change_points(&values);
        Series {
            name,
            runs,
            values,
            changes,
        }
    };
    Ok(chosen.into_iter().map(of).collect())
}

fn as_text(all: &[Series<'_>]) -> String {
    let width = all
        .iter()
        .map(|series| series.name.len())
        .max()
        .unwrap_or(0);
    let mut text = String::new();
    for series in all {
        let newest = series.values.last().copied().unwrap_or_default();
        let _ = writeln!(
            text,
            "{:<width$}  {:>9.3} ms  {:>4} runs  {}",
            series.name,
            newest,
            series.values.len(),
            sparkline(&series.values)
        );
        for change in &series.changes {
            let run = series.runs[change.at];
            let commit = run.commit.as_deref().map(short).unwrap_or_default();
            let _ = writeln!(
                text,
                "{:<width$}  changed at run {} ({}{commit}): {:.3} to {:.3} ms, {:+.1} %, p {:.3}",
                "",
                change.at + 1,
                run.started_at,
                change.before,
                change.after,
                (change.after / change.before - 1.0) * 100.0,
                change.p
            );
        }
    }
    text
}

fn short(commit: &str) -> String {
    format!(", commit {}", commit.chars().take(10).collect::<String>())
}

/// The newest runs, lowest to highest.
fn sparkline(values: &[f64]) -> String {
    const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];
    const MOST: usize = 60;
    let values = &values[values.len().saturating_sub(MOST)..];
    let low = values.iter().copied().fold(f64::INFINITY, f64::min);
    let high = values.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "between 0 and 7"
    )]
    let bar = |value: &f64| {
        let share = if high > low {
            (value - low) / (high - low)
        } else {
            0.0
        };
        BARS[((share * 7.0).round() as usize).min(7)]
    };
    values.iter().map(bar).collect()
}

fn as_json(all: &[Series<'_>]) -> serde_json::Value {
    let metrics: BTreeMap<&str, serde_json::Value> = all
        .iter()
        .map(|series| {
            let runs: Vec<_> = series
                .runs
                .iter()
                .zip(&series.values)
                .map(|(run, value)| json!({ "started_at": run.started_at, "commit": run.commit, "milliseconds": value }))
                .collect();
            (series.name, json!({ "runs": runs, "changes": series.changes }))
        })
        .collect();
    json!({ "schema_version": 1, "metrics": metrics })
}
