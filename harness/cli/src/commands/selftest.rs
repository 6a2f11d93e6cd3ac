//! `fact selftest statistics`: how often the judge is wrong where the truth is known.

use super::code;
use crate::args::{Format, SelftestCommand};
use crate::console;
use fact_harness::selftest::{Row, statistics};
use serde_json::json;
use std::fmt::Write as _;

pub(crate) fn selftest(command: &SelftestCommand) -> u8 {
    let SelftestCommand::Statistics { runs, seed, format } = command;
    let rows = statistics(*runs, *seed);
    let broken = rows.iter().filter(|row| !row.kept).count();
    match format {
        Format::Json => {
            let report = json!({ "schema_version": 1, "seed": seed, "rows": rows });
            console::data(&report.to_string());
        }
        Format::Text => console::data(&table(&rows)),
    }
    let all = rows.len();
    let last = match broken {
        0 => format!("passed: all {all} shares are what they may be"),
        _ => format!("failed: {broken} of {all} shares are not what they may be"),
    };
    console::note(&format!("{last}; {runs} runs of each kind, seed {seed}"));
    if broken == 0 { 0 } else { code::FAILED }
}

fn table(rows: &[Row]) -> String {
    let width = rows.iter().map(|row| row.case.chars().count()).max();
    let width = width.unwrap_or_default();
    let mut text = String::new();
    for row in rows {
        let _ = writeln!(
            text,
            "{:<width$}  {:<17}  {:>6.2} %  (may be {:.1} to {:.1} %)  {}",
            row.case,
            row.counted,
            row.percent(),
            row.allowed.0 * 100.0,
            row.allowed.1 * 100.0,
            if row.kept { "ok" } else { "WRONG" }
        );
    }
    text.truncate(text.trim_end().len());
    text
}
