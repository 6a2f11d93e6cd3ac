//! `fact serve`: the reference engine, configured by flags, environment and file.

use super::{Failure, code, config, stop_signal};
use crate::args::ConfigArgs;
use fact_engine::config::{Config, LogFormat};

pub(crate) async fn serve(args: ConfigArgs) -> Result<u8, Failure> {
    let sources = config::sources(&args)?;
    let config = Config::from_sources(&sources).map_err(|mistakes| config::wrong(&mistakes))?;
    log(config.log_format);
    fact_engine::serve(config, stop_signal())
        .await
        .map_err(|error| Failure::new(code::NOT_STARTED, error))?;
    Ok(0)
}

/// To stderr; every line of a request carries its trace id.
fn log(format: LogFormat) {
    let filter = tracing_subscriber::EnvFilter::try_from_default_env()
        .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(filter);
    match format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().flatten_event(true).with_span_list(false).init(),
    }
}
