//! `fact serve`: the reference engine, configured by the environment.

use super::{Failure, code, stop_signal};
use fact_engine::config::Config;

pub(crate) async fn serve() -> Result<u8, Failure> {
    tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .init();
    #[expect(
        clippy::disallowed_methods,
        reason = "this is where the environment is read"
    )]
    let config = Config::from_environment(|name| std::env::var(name).ok()).map_err(|mistakes| {
        Failure::usage(format!("the engine's configuration is wrong:\n{mistakes}"))
    })?;
    fact_engine::serve(config, stop_signal())
        .await
        .map_err(|error| Failure::new(code::NOT_STARTED, error))?;
    Ok(0)
}
