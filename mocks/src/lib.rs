//! Claude and Arcade that do as the scenario says, a relay before Postgres, and the books over all three; pages, names and
//! canaries for the web tool.

pub mod arcade;
mod body;
pub mod claude;
pub mod clock;
mod control;
pub mod dns;
mod draw;
pub mod journal;
pub mod relay;
pub mod script;
mod server;
pub mod site;
mod stage;
mod template;

use std::net::SocketAddr;
use std::sync::Arc;

use journal::{Journal, Upstream};
use script::{ArcadeScript, ClaudeScript, Fault};
use server::Server;
use stage::Stage;

/// What the two mocks listen on and play.
#[derive(Debug)]
pub struct Config {
    /// Where Claude listens; port 0 takes a free one.
    pub claude_listen: SocketAddr,
    /// Where Arcade listens; port 0 takes a free one.
    pub arcade_listen: SocketAddr,
    /// What Claude does.
    pub claude: ClaudeScript,
    /// What Arcade does.
    pub arcade: ArcadeScript,
    /// Everything that is drawn is drawn from this.
    pub seed: u64,
    /// Where both write down what they served.
    pub journal: Journal,
}

/// A mock that could not listen.
#[derive(Debug, thiserror::Error)]
#[error("the {upstream} mock cannot listen on `{address}`")]
pub struct StartError {
    upstream: &'static str,
    address: SocketAddr,
    #[source]
    source: std::io::Error,
}

/// Both mocks, listening.
#[derive(Debug)]
pub struct Mocks {
    /// Where Claude listens.
    pub claude: SocketAddr,
    /// Where Arcade listens.
    pub arcade: SocketAddr,
    claude_stage: Arc<Stage>,
    servers: [Server; 2],
}

/// Binds both listeners and serves until [`Mocks::shutdown`].
pub async fn start(config: Config) -> Result<Mocks, StartError> {
    let Config {
        claude_listen,
        arcade_listen,
        claude,
        arcade,
        seed,
        journal,
    } = config;
    let claude_stage = Arc::new(Stage::new(
        Upstream::Claude,
        claude.latency.first_byte,
        claude.faults,
        seed,
        journal.clone(),
    ));
    let arcade_stage = Arc::new(Stage::new(
        Upstream::Arcade,
        arcade.latency.first_byte,
        arcade.faults,
        seed,
        journal,
    ));
    let claude_routes = claude::routes(&claude_stage, claude.script);
    let arcade_routes = arcade::routes(&arcade_stage, arcade.tools);
    let claude_server = Server::start(claude_listen, claude_routes)
        .await
        .map_err(|source| StartError {
            upstream: "Claude",
            address: claude_listen,
            source,
        })?;
    let arcade_server = match Server::start(arcade_listen, arcade_routes).await {
        Ok(server) => server,
        Err(source) => {
            claude_server.shutdown().await;
            return Err(StartError {
                upstream: "Arcade",
                address: arcade_listen,
                source,
            });
        }
    };
    Ok(Mocks {
        claude: claude_server.address(),
        arcade: arcade_server.address(),
        claude_stage,
        servers: [claude_server, arcade_server],
    })
}

impl Mocks {
    /// Replaces Claude's faults; calls are counted from 1 again for them.
    pub fn set_claude_faults(&self, faults: Vec<Fault>) {
        self.claude_stage.set_faults(faults);
    }

    /// Stops listening and waits for the answers under way, two seconds at most.
    pub async fn shutdown(self) {
        for server in self.servers {
            server.shutdown().await;
        }
    }
}
