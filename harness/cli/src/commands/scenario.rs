//! `fact list` and `fact scenario`: what is asked, and whether a file asks it rightly.

use super::Failure;
use crate::args::ScenarioCommand;
use crate::console;
use fact_harness::scenario;
use std::path::PathBuf;

pub(crate) fn list(paths: &[PathBuf]) -> Result<u8, Failure> {
    for scenario in scenario::load_all(paths).map_err(Failure::usage)? {
        let requirement = &scenario.requirement;
        console::data(&format!(
            "{:<42} {:<6} {:<14} {}",
            scenario.id, requirement.level, requirement.profile, scenario.title
        ));
    }
    Ok(0)
}

pub(crate) fn scenario(command: &ScenarioCommand) -> Result<u8, Failure> {
    match command {
        ScenarioCommand::Check { paths } => {
            let scenarios = scenario::load_all(paths).map_err(Failure::usage)?;
            console::note(&format!("{} scenarios are well formed", scenarios.len()));
        }
        ScenarioCommand::Schema => {
            let schema = serde_json::to_string_pretty(&scenario::schema())
                .map_err(|error| Failure::new(super::code::DEFECT, error))?;
            console::data(&schema);
        }
    }
    Ok(0)
}
