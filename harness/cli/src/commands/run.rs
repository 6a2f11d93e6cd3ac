//! `fact run`: from the flags to a run, its folder and its exit code.

use super::{Failure, code, stop_signal};
use crate::args::RunArgs;
use crate::console;
use fact_harness::history;
use fact_harness::run::{Config, Event};
use fact_harness::scenario::Scenario;
use fact_harness::target::Target;
use fact_mocks::script::Millis;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) async fn run(args: RunArgs) -> Result<u8, Failure> {
    let out = args
        .out
        .clone()
        .unwrap_or_else(|| default_folder(args.seed));
    let mut scenarios = fact_harness::scenario::load_all(&args.paths).map_err(Failure::usage)?;
    if let Some(duration) = args.duration {
        last(&mut scenarios, duration)?;
    }
    let (claude_listen, arcade_listen) = mock_addresses(args.mocks.as_deref())?;
    let config = Config {
        scenarios,
        only: args.only.clone(),
        target: target(&args)?,
        database: args.database.clone(),
        image: image(),
        seed: args.seed,
        update_snapshots: args.update_snapshots,
        claude_listen,
        arcade_listen,
        environment: environment(&args.environment)?,
        jobs: args.jobs.map(usize::from),
        budget: args.budget.map(|budget| budget.0),
        out: out.clone(),
        repeat: repeat(&args),
    };
    prepare(&out)?;
    if let Some(path) = &args.history {
        history::open(path).map_err(Failure::usage)?;
    }
    let finished = fact_harness::run::run(config, stop_signal(), &mut show)
        .await
        .map_err(|error| {
            let code = if error.is_usage() {
                code::USAGE
            } else {
                code::NOT_STARTED
            };
            Failure::new(code, error)
        })?;
    console::progress("");
    fact_reports::write(&finished.run, &finished.journal, &out, args.strict)
        .map_err(Failure::usage)?;
    point_latest(&out);
    let verdict = fact_reports::verdict(&finished.run, args.strict);
    if let Some(path) = &args.history {
        let commit = std::env::current_dir().ok();
        let commit = commit.and_then(|folder| history::commit(&folder));
        let entry = history::Entry::of(&finished.run, &verdict, commit);
        history::append(path, &entry).map_err(Failure::usage)?;
    }
    for text in [
        fact_reports::terminal::gates(&finished.run),
        // Last, so that the end of a long log says what was wrong.
        fact_reports::terminal::failures(&finished.run),
    ] {
        if !text.is_empty() {
            console::data(&text);
        }
    }
    console::data(&fact_reports::terminal::last_line(
        &finished.run,
        &verdict,
        &out.display().to_string(),
    ));
    u8::try_from(verdict.exit_code).map_err(|error| Failure::new(code::DEFECT, error))
}

/// Every load lasts that long.
fn last(scenarios: &mut [Scenario], duration: Millis) -> Result<(), Failure> {
    if duration.0 < Duration::from_millis(100) {
        return Err(Failure::usage(format!(
            "`--duration {duration}` is too short to measure anything; use `100ms` at least"
        )));
    }
    for load in scenarios
        .iter_mut()
        .filter_map(|scenario| scenario.load.as_mut())
    {
        load.open.r#for = duration;
    }
    Ok(())
}

fn show(event: Event) {
    match event {
        Event::Chosen(text) => console::note(&text),
        Event::Progress(text) => console::progress(&text),
        Event::Scenario {
            id,
            outcome,
            seconds,
        } => {
            console::progress("");
            console::note(&format!("{outcome:>15}  {id}  ({seconds:.1} s)"));
        }
    }
}

fn target(args: &RunArgs) -> Result<Target, Failure> {
    if !args.command.is_empty() {
        return Ok(Target::Command(args.command.clone()));
    }
    if args.target == "reference" {
        let executable =
            std::env::current_exe().map_err(|error| Failure::new(code::NOT_STARTED, error))?;
        return Ok(Target::Reference { executable });
    }
    if args.target.starts_with("http://") || args.target.starts_with("https://") {
        if args.mocks.is_none() {
            return Err(Failure::usage(
                "a target that runs already must be pointed at the mocks: add `--mocks claude=127.0.0.1:PORT,arcade=127.0.0.1:PORT`",
            ));
        }
        let url = args
            .target
            .parse()
            .map_err(|error| Failure::usage(format!("`--target {}`: {error}", args.target)))?;
        return Ok(Target::Http(url));
    }
    Err(Failure::usage(format!(
        "`--target {}` is none that is known; use `reference`, `http://HOST:PORT`, or a command after `--`",
        args.target
    )))
}

fn mock_addresses(text: Option<&str>) -> Result<(SocketAddr, SocketAddr), Failure> {
    let mut addresses = (
        SocketAddr::from(([127, 0, 0, 1], 0)),
        SocketAddr::from(([127, 0, 0, 1], 0)),
    );
    for part in text
        .unwrap_or_default()
        .split(',')
        .filter(|part| !part.is_empty())
    {
        let bad = || {
            Failure::usage(format!(
                "`--mocks`: `{part}` is not `claude=ADDR:PORT` or `arcade=ADDR:PORT`"
            ))
        };
        let (name, address) = part.split_once('=').ok_or_else(bad)?;
        let address = address.parse().map_err(|_| bad())?;
        match name {
            "claude" => addresses.0 = address,
            "arcade" => addresses.1 = address,
            _ => return Err(bad()),
        }
    }
    Ok(addresses)
}

fn environment(pairs: &[String]) -> Result<Vec<(String, String)>, Failure> {
    let split = |pair: &String| {
        let (name, value) = pair
            .split_once('=')
            .ok_or_else(|| Failure::usage(format!("`--env {pair}`: write `NAME=VALUE`")))?;
        Ok((name.to_owned(), value.to_owned()))
    };
    pairs.iter().map(split).collect()
}

#[expect(
    clippy::disallowed_methods,
    reason = "the command reads the environment"
)]
pub(crate) fn image() -> Option<String> {
    std::env::var("FACT_POSTGRES_IMAGE")
        .ok()
        .filter(|image| !image.is_empty())
}

/// The flags that make the same run again, but for `--only` and `--seed`, which the run adds itself.
fn repeat(args: &RunArgs) -> String {
    let mut words = vec!["fact run".to_owned()];
    words.extend(
        args.paths
            .iter()
            .map(|path| quote(&path.display().to_string())),
    );
    if args.target != "reference" {
        words.push(format!("--target {}", quote(&args.target)));
    }
    if let Some(mocks) = &args.mocks {
        words.push(format!("--mocks {}", quote(mocks)));
    }
    if args.database != "auto" && !args.database.contains("://") {
        words.push(format!("--database {}", args.database));
    }
    if let Some(duration) = args.duration {
        words.push(format!("--duration {duration}"));
    }
    if let Some(budget) = args.budget {
        words.push(format!("--budget {budget}"));
    }
    words.extend(
        args.environment
            .iter()
            .map(|pair| format!("--env {}", quote(pair))),
    );
    words.join(" ")
}

fn quote(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=,*".contains(c);
    if word.chars().all(plain) && !word.is_empty() {
        word.to_owned()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

fn default_folder(seed: u64) -> PathBuf {
    let time = jiff::Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    Path::new("fact-report").join(format!("{time}-{seed}"))
}

/// Finds out before anything is measured whether the report can be written.
fn prepare(out: &Path) -> Result<(), Failure> {
    let probe = out.join(".writable");
    std::fs::create_dir_all(out)
        .and_then(|()| std::fs::write(&probe, b""))
        .and_then(|()| std::fs::remove_file(&probe))
        .map_err(|error| {
            Failure::usage(format!(
                "the report folder {} cannot be written: {error}; choose another with `--out`",
                out.display()
            ))
        })
}

/// `latest` beside the folder points to it. Where links cannot be made, nothing is lost.
fn point_latest(out: &Path) {
    let (Some(parent), Some(name)) = (out.parent(), out.file_name()) else {
        return;
    };
    let latest = parent.join("latest");
    if latest.is_symlink() || !latest.exists() {
        drop(std::fs::remove_file(&latest));
        drop(std::os::unix::fs::symlink(name, &latest));
    }
}
