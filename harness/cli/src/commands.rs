//! From what was typed to what is done.

mod ask;
mod audit;
mod cache;
mod config;
mod database;
mod explain;
mod fuzz;
mod guard;
mod mocks;
mod run;
mod saved;
mod scenario;
mod selftest;
mod serve;
mod trend;

use crate::args::{Args, AuditCommand, Command, ConfigCommand, DatabaseCommand};

/// Exit codes, as the judging rules have them.
pub(crate) mod code {
    pub(crate) const FAILED: u8 = 1;
    pub(crate) const USAGE: u8 = 2;
    pub(crate) const NOT_STARTED: u8 = 3;
    pub(crate) const DEFECT: u8 = 70;
}

/// Why a command could not do its work.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) code: u8,
    pub(crate) text: String,
}

impl Failure {
    pub(crate) fn new(code: u8, error: impl std::fmt::Display) -> Self {
        Self {
            code,
            text: error.to_string(),
        }
    }

    pub(crate) fn usage(error: impl std::fmt::Display) -> Self {
        Self::new(code::USAGE, error)
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.text)
    }
}

pub(crate) async fn dispatch(args: Args) -> Result<u8, Failure> {
    match args.command {
        Command::Run(args) => run::run(args).await,
        Command::Serve(args) => serve::serve(args).await,
        Command::Config(ConfigCommand::Show { config, format }) => config::show(&config, format),
        Command::Config(ConfigCommand::Schema) => config::schema(),
        Command::Mocks(args) => mocks::mocks(args).await,
        Command::List { paths } => scenario::list(&paths),
        Command::Scenario(command) => scenario::scenario(&command),
        Command::Report { run, out } => saved::report(&run, &out),
        Command::Guard(args) => guard::guard(&args),
        Command::Ask(args) => ask::ask(args).await,
        Command::Audit(AuditCommand::Verify(args)) => audit::verify(args).await,
        Command::Database(DatabaseCommand::Triggers { table }) => database::triggers(&table),
        Command::Fuzz(args) => fuzz::fuzz(args).await,
        Command::Cache(command) => cache::cache(command),
        Command::Selftest(command) => Ok(selftest::selftest(&command)),
        Command::Explain { what, gate } => explain::explain(&what, gate.as_deref()),
        Command::Trend(args) => trend::trend(&args),
        Command::Verdict { file } => saved::verdict(&file),
    }
}

/// Resolves when the user or the system wants the process to end.
pub(crate) async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    ) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
}
