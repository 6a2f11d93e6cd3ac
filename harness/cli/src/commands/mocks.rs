//! `fact mocks`: the Claude and Arcade mocks by themselves, until they are told to stop.

use super::{Failure, code, stop_signal};
use crate::args::MocksArgs;
use crate::console;
use fact_mocks::{clock::Clock, journal::Journal};

pub(crate) async fn mocks(args: MocksArgs) -> Result<u8, Failure> {
    let (claude, arcade) = match &args.script {
        None => Default::default(),
        Some(path) => {
            let scenario = fact_harness::scenario::check(path).map_err(Failure::usage)?;
            (scenario.claude, scenario.arcade)
        }
    };
    let config = fact_mocks::Config {
        claude_listen: args.claude,
        arcade_listen: args.arcade,
        claude,
        arcade,
        seed: args.seed,
        journal: Journal::new(Clock::start()),
    };
    let mocks = fact_mocks::start(config)
        .await
        .map_err(|error| Failure::new(code::NOT_STARTED, error))?;
    let line = serde_json::json!({ "claude": format!("http://{}", mocks.claude), "arcade": format!("http://{}", mocks.arcade) });
    console::data(&line.to_string());
    stop_signal().await;
    mocks.shutdown().await;
    Ok(0)
}
