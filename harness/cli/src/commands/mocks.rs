//! `fact mocks`: the Claude and Arcade mocks by themselves, until they are told to stop.

use super::{Failure, code, stop_signal};
use crate::args::MocksArgs;
use crate::console;
use fact_harness::scenario::{self, Mocks};
use fact_mocks::{Control, clock::Clock, journal::Journal, mutant::Mutant};

pub(crate) async fn mocks(args: MocksArgs) -> Result<u8, Failure> {
    if args.mutants {
        for mutant in Mutant::ALL {
            console::data(mutant.name());
        }
        return Ok(0);
    }
    let scripts = match &args.script {
        None => Mocks::default(),
        Some(path) => scenario::mocks(path).map_err(Failure::usage)?,
    };
    let config = fact_mocks::Config {
        claude_listen: args.claude,
        arcade_listen: args.arcade,
        claude: scripts.claude,
        arcade: scripts.arcade,
        seed: args.seed,
        journal: Journal::new(Clock::start()),
        control: if args.control {
            Control::Anybody
        } else {
            Control::Loopback
        },
        mutant: args.mutant,
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
