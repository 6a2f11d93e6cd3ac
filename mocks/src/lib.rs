//! Claude and Arcade that do as the scenario says, a relay before Postgres, and the books over all three; pages, names and
//! canaries for the web tool.

mod arcade;
mod body;
mod claude;
pub mod clock;
mod control;
pub mod dns;
mod draw;
mod faults;
mod front;
pub mod journal;
mod ledger;
pub mod mutant;
mod raw;
pub mod relay;
pub mod script;
mod server;
pub mod site;
mod stage;
mod template;
mod timer;
mod timing;

pub use timing::{LagReport, TimingReport};

use std::net::SocketAddr;
use std::sync::Arc;

use arcade::Arcade;
use axum::extract::Request;
use axum::response::Response;
use claude::Claude;
use journal::{Journal, Upstream};
use mutant::Mutant;
use script::{ArcadeScript, ClaudeScript, Fault};
use server::{Server, Service as _};
use stage::{Setting, Stage};
use timer::Timer;

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
    /// Who may steer them by `/_mock/`.
    pub control: Control,
    /// A mistake that is made on purpose.
    pub mutant: Option<Mutant>,
}

/// Who may steer the mocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Control {
    /// Whoever reaches a mock that listens on loopback; nobody else.
    #[default]
    Loopback,
    /// Whoever reaches it.
    Anybody,
    /// Nobody.
    Nobody,
}

impl Control {
    fn allows(self, listen: SocketAddr) -> bool {
        match self {
            Self::Loopback => listen.ip().is_loopback(),
            Self::Anybody => true,
            Self::Nobody => false,
        }
    }
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
    arcade_stage: Arc<Stage>,
    servers: [Server; 2],
}

/// Binds both listeners and serves until [`Mocks::shutdown`].
pub async fn start(config: Config) -> Result<Mocks, StartError> {
    let (claude_listen, arcade_listen) = (config.claude_listen, config.arcade_listen);
    let cannot = |upstream, address| {
        move |source| StartError {
            upstream,
            address,
            source,
        }
    };
    let (claude_outages, arcade_outages) =
        (config.claude.outages.clone(), config.arcade.outages.clone());
    let unplugged = Unplugged::start(config).map_err(cannot("Claude", claude_listen))?;
    let Unplugged { claude, arcade } = unplugged;
    let (claude_stage, arcade_stage) = (Arc::clone(claude.stage()), Arc::clone(arcade.stage()));
    let claude_server = Server::start(claude_listen, claude, claude_outages)
        .await
        .map_err(cannot("Claude", claude_listen))?;
    let arcade_server = match Server::start(arcade_listen, arcade, arcade_outages).await {
        Ok(server) => server,
        Err(source) => {
            claude_server.shutdown().await;
            return Err(cannot("Arcade", arcade_listen)(source));
        }
    };
    Ok(Mocks {
        claude: claude_server.address(),
        arcade: arcade_server.address(),
        claude_stage,
        arcade_stage,
        servers: [claude_server, arcade_server],
    })
}

/// Both mocks without sockets: they answer requests that are handed to them. Outages that refuse connections, resets and
/// slow heads are of sockets, and do not show.
#[derive(Debug)]
pub struct Unplugged {
    claude: Arc<Claude>,
    arcade: Arc<Arcade>,
}

impl Unplugged {
    /// Both mocks; the addresses of `config` only say whether the control plane is there.
    pub fn start(config: Config) -> std::io::Result<Self> {
        let timer = Timer::start()?;
        let setting = |upstream| Setting {
            upstream,
            journal: config.journal.clone(),
            seed: config.seed,
            timer: timer.clone(),
            faults: Vec::new(),
            outages: Vec::new(),
            raw: Vec::new(),
            mutant: config.mutant,
        };
        let claude_stage = Arc::new(Stage::new(Setting {
            faults: config.claude.faults.clone(),
            outages: config.claude.outages.clone(),
            ..setting(Upstream::Claude)
        }));
        let arcade_stage = Arc::new(Stage::new(Setting {
            faults: config.arcade.faults.clone(),
            outages: config.arcade.outages.clone(),
            raw: config.arcade.script.clone(),
            ..setting(Upstream::Arcade)
        }));
        let claude_control = config.control.allows(config.claude_listen);
        let arcade_control = config.control.allows(config.arcade_listen);
        Ok(Self {
            claude: Arc::new(Claude::new(&claude_stage, config.claude, claude_control)),
            arcade: Arc::new(Arcade::new(&arcade_stage, config.arcade, arcade_control)),
        })
    }

    /// Claude's answer; none is a connection that is broken off.
    pub async fn claude(&self, request: Request) -> Option<Response> {
        Arc::clone(&self.claude).serve(request).await
    }

    /// Arcade's answer; none is a connection that is broken off.
    pub async fn arcade(&self, request: Request) -> Option<Response> {
        Arc::clone(&self.arcade).serve(request).await
    }
}

impl Mocks {
    /// Replaces Claude's faults; calls are counted from 1 again for them.
    pub fn set_claude_faults(&self, faults: Vec<Fault>) {
        self.claude_stage.set_faults(faults);
    }

    /// Replaces Arcade's faults; calls are counted from 1 again for them.
    pub fn set_arcade_faults(&self, faults: Vec<Fault>) {
        self.arcade_stage.set_faults(faults);
    }

    /// How well Claude and Arcade kept their schedules.
    pub fn timing(&self) -> [TimingReport; 2] {
        [&self.claude_stage, &self.arcade_stage].map(|stage| stage.timing.report())
    }

    /// Stops listening and waits for the answers under way, two seconds at most.
    pub async fn shutdown(self) {
        for server in self.servers {
            server.shutdown().await;
        }
    }
}
