//! `fact audit verify`: whether a log is what was written.

use super::{Failure, code};
use crate::args::{Format, VerifyArgs};
use crate::console;
use crate::remote::{Credentials, Remote};
use fact_engine::audit::{Anchor, Finding, Kind, Link, check, files};
use serde_json::{Value, json};
use std::io::BufRead as _;
use std::path::{Path, PathBuf};

/// Of an endpoint.
const MOST_PAGES: usize = 1_000_000;

/// Oldest first.
#[derive(Default)]
struct Log {
    links: Vec<Link>,
    findings: Vec<Finding>,
    /// What the folder says of earlier events.
    anchor: Option<Anchor>,
}

impl Log {
    fn add(&mut self, place: String, event: &Value) {
        match Link::read(place, event) {
            Ok(link) => self.links.push(link),
            Err(finding) => self.findings.push(finding),
        }
    }
}

pub(crate) async fn verify(args: VerifyArgs) -> Result<u8, Failure> {
    let mut log = if args.log.starts_with("http://") || args.log.starts_with("https://") {
        fetched(&args).await?
    } else {
        read(Path::new(&args.log))?
    };
    let anchor = args
        .after
        .or(log.anchor.take())
        .unwrap_or_else(Anchor::origin);
    log.findings.extend(check(&anchor, &log.links));
    if let Some(holds) = &args.holds {
        log.findings.extend(missing(holds, &log.links));
    }
    match args.format {
        Format::Text => show(&log, &anchor),
        Format::Json => console::data(&as_json(&log).to_string()),
    }
    Ok(if log.findings.is_empty() {
        0
    } else {
        code::FAILED
    })
}

fn missing(holds: &Anchor, links: &[Link]) -> Option<Finding> {
    let found = links.iter().find(|link| link.sequence == holds.sequence);
    let (kind, what) = match found {
        Some(link) if link.hash == holds.hash => return None,
        Some(_) => (Kind::Altered, "has another hash than was noted"),
        None => (Kind::Removed, "was noted, and is not here"),
    };
    Some(Finding {
        kind,
        sequence: Some(holds.sequence),
        text: format!("event {} {what}", holds.sequence),
    })
}

fn show(log: &Log, anchor: &Anchor) {
    for finding in &log.findings {
        console::data(&finding.text);
    }
    let newest = log.links.last().map_or_else(
        || "none".to_owned(),
        |link| format!("{}:{}", link.sequence, link.hash),
    );
    let count = log.links.len();
    if log.findings.is_empty() {
        console::data(&format!(
            "{count} events, the chain is whole; the newest is {newest}"
        ));
    } else {
        console::data(&format!(
            "{count} events, {} findings; the newest is {newest}",
            log.findings.len()
        ));
    }
    let begins_late = log.links.first().is_some_and(|link| link.sequence > 1);
    if begins_late && *anchor == Anchor::origin() {
        console::note(
            "hint: where earlier events were removed in time, verify the state folder, or give the last of them with `--after`",
        );
    }
}

fn as_json(log: &Log) -> Value {
    let end = |link: Option<&Link>| {
        link.map(|link| json!({ "sequence": link.sequence, "event_id": link.event_id, "hash": link.hash }))
    };
    json!({
        "schema_version": 1,
        "whole": log.findings.is_empty(),
        "events": log.links.len(),
        "first": end(log.links.first()),
        "newest": end(log.links.last()),
        "findings": log.findings,
    })
}

fn read(path: &Path) -> Result<Log, Failure> {
    let mut log = Log::default();
    let paths: Vec<PathBuf> = if path.is_dir() {
        let (anchor, paths) = files(path).map_err(Failure::usage)?;
        log.anchor = Some(anchor);
        paths
    } else {
        vec![path.to_owned()]
    };
    for path in paths {
        let unreadable = |error: std::io::Error| {
            Failure::usage(format!("cannot read {}: {error}", path.display()))
        };
        let mut reader = std::io::BufReader::new(std::fs::File::open(&path).map_err(unreadable)?);
        let mut line = Vec::new();
        for number in 1.. {
            line.clear();
            if reader.read_until(b'\n', &mut line).map_err(unreadable)? == 0 {
                break;
            }
            let place = format!("{}:{number}", path.display());
            match serde_json::from_slice(&line) {
                Ok(event) => log.add(place, &event),
                Err(_) if line.last() != Some(&b'\n') => console::note(&format!(
                    "{place} is cut off: it was being written, and nobody was told of it"
                )),
                Err(_) => log.add(place, &Value::Null),
            }
        }
    }
    Ok(log)
}

async fn fetched(args: &VerifyArgs) -> Result<Log, Failure> {
    let remote = if let Some(token) = &args.token {
        Remote::with_token(&args.log, token)?
    } else {
        let credentials = Credentials {
            client: &args.client,
            secret: args.secret.as_deref(),
            clients: args.clients.as_deref(),
            variable: "FACT_AUDIT_SECRET",
        };
        Remote::log_in(&args.log, &credentials).await?
    };
    let mut log = Log::default();
    let mut path = "/api/v1/audit".to_owned();
    for page in 1..=MOST_PAGES {
        let answer = remote.get(&path).await?;
        let events = answer["events"].as_array().ok_or_else(|| {
            Failure::new(
                code::FAILED,
                format!("GET {path} answered without `events`"),
            )
        })?;
        for (number, event) in events.iter().enumerate() {
            log.add(format!("page {page}, entry {}", number + 1), event);
        }
        console::progress(&format!("{} events", log.links.len()));
        let next = match &answer["next_cursor"] {
            Value::Null => break,
            Value::String(next) => next.clone(),
            other => other.to_string(),
        };
        let mut url = reqwest::Url::parse("http://x/api/v1/audit").map_err(Failure::usage)?;
        url.query_pairs_mut().append_pair("cursor", &next);
        path = format!("{}?{}", url.path(), url.query().unwrap_or_default());
    }
    console::progress("");
    log.links.reverse();
    Ok(log)
}
