//! `fact fuzz`: from the flags to a hunt, its folder and its exit code.

use super::{Failure, code, stop_signal};
use crate::args::{FuzzArgs, GuardKind};
use crate::console;
use fact_guard::sql::Schema;
use fact_harness::client::Client;
use fact_harness::database::Request;
use fact_harness::fuzz::{self, Config, Event, HuntError, Lined, Subject, Target};
use fact_reports::hunt::{Hunt, Kind};
use std::collections::BTreeMap;
use std::path::Path;

pub(crate) async fn fuzz(args: FuzzArgs) -> Result<u8, Failure> {
    if args.print_schema {
        console::data(&fuzz::world("fact_hunt"));
        return Ok(0);
    }
    let target = target(&args)?;
    let config = Config {
        subject: match args.kind {
            GuardKind::Sql => Subject::Sql,
            GuardKind::Path => Subject::Path,
            GuardKind::Url => Subject::Url,
        },
        seed: args.seed,
        time: args.time,
        most: args.most,
        database: Request {
            kind: args.database.clone(),
            image: super::run::image(),
        },
        corpus: corpus(&args)?,
    };
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::usage(format!("cannot write {}: {error}", args.out.display())))?;
    let mut show = |event: Event| match event {
        Event::Chosen(text) => console::note(&text),
        Event::Progress(text) => console::progress(&text),
        Event::Found(found) => {
            console::progress("");
            console::note(&format!("found: {} ({})", found.kind.id(), found.family));
        }
    };
    let hunt = fuzz::hunt(config, target, stop_signal(), &mut show)
        .await
        .map_err(|error| {
            let code = match error {
                HuntError::NeedsPostgres => code::USAGE,
                HuntError::Database(_) | HuntError::Target { .. } => code::NOT_STARTED,
            };
            Failure::new(code, error)
        })?;
    console::progress("");
    write(&hunt, &args.out)?;
    console::data(&hunt.in_words());
    let verdict = match hunt.findings.len() {
        0 => "nothing found".to_owned(),
        1 => "1 finding".to_owned(),
        number => format!("{number} findings"),
    };
    console::data(&format!("{verdict} · {}", args.out.display()));
    Ok(if hunt.findings.is_empty() {
        0
    } else {
        code::FAILED
    })
}

fn target(args: &FuzzArgs) -> Result<Target, Failure> {
    if !args.command.is_empty() {
        return Ok(Target::Command(Box::new(Lined::new(args.command.clone()))));
    }
    if args.target == "reference" {
        let schema = Schema::from_ddl(&fuzz::world("fact_hunt")).map_err(Failure::usage)?;
        return Ok(Target::Reference {
            schema: Box::new(schema),
            root: fuzz::ROOT.to_owned(),
        });
    }
    let base = args.target.parse().map_err(|_| {
        Failure::usage(format!(
            "`--target {}` is none that is known; use `reference`, `http://HOST:PORT`, or a command after `--`",
            args.target
        ))
    })?;
    let given = args
        .client
        .as_deref()
        .and_then(|given| given.split_once(':'));
    let (id, secret) = given.ok_or_else(|| {
        Failure::usage("an implementation is asked as one of its clients: add `--as ID:SECRET`")
    })?;
    let secrets = BTreeMap::from([(id.to_owned(), secret.to_owned())]);
    let client = Client::new(base, fact_mocks::clock::Clock::start(), secrets)
        .map_err(|error| Failure::new(code::NOT_STARTED, error))?;
    Ok(Target::Http {
        client: Box::new(client),
        as_client: id.to_owned(),
    })
}

fn corpus(args: &FuzzArgs) -> Result<Vec<String>, Failure> {
    let Some(path) = &args.corpus else {
        return Ok(Vec::new());
    };
    let unreadable =
        |error: std::io::Error| Failure::usage(format!("cannot read {}: {error}", path.display()));
    let mut files = vec![path.clone()];
    if path.is_dir() {
        let entries = std::fs::read_dir(path).map_err(unreadable)?;
        files = entries.flatten().map(|entry| entry.path()).collect();
        files.sort();
    }
    let mut texts = Vec::new();
    for file in files.iter().filter(|file| file.is_file()) {
        let text = std::fs::read_to_string(file).map_err(unreadable)?;
        texts.extend(
            text.lines()
                .filter(|line| !line.trim().is_empty())
                .map(statement_of),
        );
    }
    Ok(texts)
}

/// A line is a text, or a JSON object that has one.
fn statement_of(line: &str) -> String {
    let object: Option<serde_json::Value> = serde_json::from_str(line).ok();
    let text = object
        .as_ref()
        .and_then(|object| object["statement"].as_str());
    text.unwrap_or(line).to_owned()
}

fn write(hunt: &Hunt, folder: &Path) -> Result<(), Failure> {
    let failed = |error: std::io::Error| {
        Failure::usage(format!("cannot write {}: {error}", folder.display()))
    };
    let json = |value: serde_json::Result<String>| value.unwrap_or_default() + "\n";
    std::fs::write(
        folder.join("findings.json"),
        json(serde_json::to_string_pretty(hunt)),
    )
    .map_err(failed)?;
    std::fs::write(
        folder.join("findings.sarif"),
        json(serde_json::to_string_pretty(&hunt.sarif())),
    )
    .map_err(failed)?;
    let scenarios = folder.join("scenarios");
    drop(std::fs::remove_dir_all(&scenarios));
    if hunt.findings.is_empty() {
        return Ok(());
    }
    std::fs::create_dir_all(&scenarios).map_err(failed)?;
    for (number, finding) in hunt.findings.iter().enumerate() {
        let name = format!("{}-{}", finding.kind.id(), number + 1);
        std::fs::write(
            scenarios.join(format!("{name}.yaml")),
            scenario(hunt, finding, &name),
        )
        .map_err(failed)?;
    }
    Ok(())
}

/// What repeats a finding.
fn scenario(hunt: &Hunt, finding: &fact_reports::hunt::Finding, name: &str) -> String {
    let text = serde_json::Value::from(finding.text.as_str());
    let (tool, field) = match hunt.subject.as_str() {
        "path" => ("FileSystem.ReadFile", "path"),
        "url" => ("Web.HttpRequest", "url"),
        _ => ("SQL.QueryReadonly", "statement"),
    };
    let profile = match hunt.subject.as_str() {
        "path" => "files",
        "url" => "web",
        _ => "core",
    };
    let expect = if finding.kind == Kind::FalseRefusal {
        "{ status: [200, 404] }"
    } else {
        "{ status: [403, 422], error: [SECURITY_VIOLATION, INVALID_ARGUMENTS], no_trace: true }"
    };
    format!(
        "id: hunt.{name}\ntitle: {}\nwhy: {}\nrequirement: {{ level: MUST, profile: {profile} }}\nsteps:\n  - execute: {{ tool: {tool}, arguments: {{ {field}: {text} }} }}\n    expect: {expect}\n",
        serde_json::Value::from(format!("{}: {}", finding.family, finding.kind.sentence())),
        serde_json::Value::from(finding.paragraph()),
    )
}
