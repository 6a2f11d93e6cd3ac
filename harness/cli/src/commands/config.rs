//! `fact config`: what the engine would be started with, and what its file may hold.

use super::{Failure, code};
use crate::args::{ConfigArgs, Format};
use crate::console;
use fact_engine::config::{Config, Mistakes, Sources};
use serde_json::json;

/// Flags, environment and file together.
pub(crate) fn sources(args: &ConfigArgs) -> Result<Sources, Failure> {
    let flags: Vec<(&'static str, String)> = args
        .listen
        .iter()
        .map(|listen| ("FACT_LISTEN", listen.clone()))
        .collect();
    let file = match &args.config {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|error| {
                Failure::usage(format!(
                    "the configuration file {} cannot be read: {error}",
                    path.display()
                ))
            })?;
            Some((path.as_path(), text))
        }
    };
    let file = file.as_ref().map(|(path, text)| (*path, text.as_str()));
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment is read"
    )]
    let variable = |name: &str| std::env::var(name).ok();
    Ok(Sources::new(&flags, variable, file))
}

/// What is wrong, in one message.
pub(crate) fn wrong(mistakes: &Mistakes) -> Failure {
    Failure::usage(format!("the engine's configuration is wrong:\n{mistakes}"))
}

pub(crate) fn show(args: &ConfigArgs, format: Format) -> Result<u8, Failure> {
    let sources = sources(args)?;
    let shown = Config::show(&sources);
    match format {
        Format::Json => {
            console::data(&json!({ "schema_version": 1, "settings": shown }).to_string());
        }
        Format::Text => {
            for setting in shown {
                let value = setting.value.as_deref().unwrap_or("-");
                console::data(&format!(
                    "{:<32} {value:<40} {}",
                    setting.key, setting.origin
                ));
            }
        }
    }
    Config::from_sources(&sources)
        .map(|_| 0)
        .map_err(|mistakes| wrong(&mistakes))
}

pub(crate) fn schema() -> Result<u8, Failure> {
    let schema = serde_json::to_string_pretty(&fact_engine::config::schema())
        .map_err(|error| Failure::new(code::DEFECT, error))?;
    console::data(&schema);
    Ok(0)
}
