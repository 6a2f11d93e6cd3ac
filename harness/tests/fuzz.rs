//! Weak validators are found out, and the reference is not: with real effects on a real Postgres.

#![expect(
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and says where it skips"
)]

#[path = "../examples/weak_validators/decide.rs"]
mod decide;

use fact_harness::database::Request;
use fact_harness::fuzz::{self, Config, HuntError, ROOT, Subject, Target};
use fact_reports::hunt::{Hunt, Kind};
use std::time::Duration;

/// `None` where this machine has no Postgres, which only CI has to have.
async fn hunt(target: Target, most: u64) -> Option<Hunt> {
    let config = Config {
        subject: Subject::Sql,
        seed: 11,
        // The number ends it: on a busy machine a minute is not enough.
        time: Duration::from_mins(15),
        most: Some(most),
        database: Request {
            kind: "binaries".into(),
            image: None,
        },
        corpus: Vec::new(),
    };
    match fuzz::hunt(config, target, std::future::pending(), &mut |_| {}).await {
        Ok(hunt) => Some(hunt),
        Err(HuntError::Database(error)) if std::env::var_os("CI").is_none() => {
            println!("skipped: {error}");
            None
        }
        Err(error) => panic!("no hunt: {error}"),
    }
}

#[tokio::test]
async fn the_reference_has_no_hole_that_is_found_and_refuses_no_legitimate_use() {
    let schema = fact_guard::sql::Schema::from_ddl(&fuzz::world("f")).expect("a schema");
    let target = Target::Reference {
        schema: Box::new(schema),
        root: ROOT.to_owned(),
    };
    if let Some(hunt) = hunt(target, 6_000).await {
        assert!(hunt.findings.is_empty(), "{}", hunt.in_words());
        assert!(
            hunt.accepted > 500 && hunt.executed > 300,
            "{}",
            hunt.in_words()
        );
    }
}

#[tokio::test]
async fn every_weak_validator_is_found_out_by_what_its_statements_do() {
    // What each of them lets through, at the least.
    let expected: [(&str, &[&str]); 4] = [
        (
            "prefix",
            &[
                "stacked",
                "write in WITH",
                "select into",
                "user function",
                "ungranted table",
            ],
        ),
        (
            "keywords",
            &["select into", "user function", "ungranted table", "file"],
        ),
        ("sqlparser", &["user function", "ungranted table", "file"]),
        (
            "top-level",
            &[
                "write in WITH",
                "select into",
                "user function",
                "ungranted table",
                "catalogue",
            ],
        ),
    ];
    for (name, families) in expected {
        let decide = decide::by_name(name).expect("a validator");
        let Some(hunt) = hunt(Target::Function(Box::new(decide)), 1_500).await else {
            return;
        };
        let bypasses: Vec<_> = hunt
            .findings
            .iter()
            .filter(|found| found.kind == Kind::Bypass)
            .collect();
        for family in families {
            assert!(
                bypasses.iter().any(|found| found.family == *family),
                "{name}, {family}: {}",
                hunt.in_words()
            );
        }
        for bypass in bypasses {
            assert!(
                bypass.text.len() <= bypass.original.len().max(80),
                "{}",
                bypass.text
            );
        }
    }
}
