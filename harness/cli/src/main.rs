//! The command `fact`: what was typed, what was meant, run, exit code.

mod args;
mod commands;
mod console;
mod remote;

use clap::Parser as _;
use std::process::ExitCode;

/// A question and its answer are some hundred small allocations, a fifth of what a hit costs with the system's allocator.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let args = args::Args::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => {
            console::note(&format!("fact: the runtime cannot start: {error}"));
            return ExitCode::from(70);
        }
    };
    let outcome = runtime.block_on(commands::dispatch(args));
    runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    match outcome {
        Ok(code) => ExitCode::from(code),
        Err(failure) => {
            console::note(&format!("fact: {failure}"));
            ExitCode::from(failure.code)
        }
    }
}
