//! `fact report` and `fact verdict`: a run of the past, shown again.

use super::{Failure, code};
use crate::console;
use fact_reports::run::{SCHEMA_VERSION, Verdict};
use std::path::Path;

pub(crate) fn report(run: &Path, out: &Path) -> Result<u8, Failure> {
    let text = read(run)?;
    let saved = fact_reports::read_run(&text)
        .map_err(|error| Failure::usage(format!("{}: {error}", run.display())))?;
    let journal = std::fs::read_to_string(run.with_file_name("journal.ndjson")).unwrap_or_default();
    let journal: Vec<String> = journal.lines().map(ToOwned::to_owned).collect();
    fact_reports::write(&saved, &journal, out, false).map_err(Failure::usage)?;
    let verdict = fact_reports::verdict(&saved, false);
    console::data(&fact_reports::terminal::last_line(
        &saved,
        &verdict,
        &out.display().to_string(),
    ));
    Ok(0)
}

pub(crate) fn verdict(file: &Path) -> Result<u8, Failure> {
    let text = read(file)?;
    let verdict: Verdict = serde_json::from_str(&text).map_err(|error| {
        Failure::usage(format!(
            "{} is no verdict of `fact run`: {error}",
            file.display()
        ))
    })?;
    if verdict.schema_version > SCHEMA_VERSION {
        return Err(Failure::usage(format!(
            "{} was written by a newer fact (schema {}, this one reads up to {SCHEMA_VERSION})",
            file.display(),
            verdict.schema_version
        )));
    }
    console::data(&format!("{}: {}", verdict.verdict, verdict.summary));
    u8::try_from(verdict.exit_code).map_err(|error| Failure::new(code::DEFECT, error))
}

fn read(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::usage(format!("cannot read {}: {error}", path.display())))
}
