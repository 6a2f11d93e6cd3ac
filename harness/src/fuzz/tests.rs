//! Hunts without a database: the reference holds, careless validators do not.

use super::*;

fn config(subject: Subject, seed: u64, most: u64) -> Config {
    Config {
        subject,
        seed,
        time: Duration::from_mins(2),
        most: Some(most),
        database: Request {
            kind: "binaries".into(),
            image: None,
        },
        corpus: Vec::new(),
    }
}

fn reference() -> Target {
    let schema = fact_guard::sql::Schema::from_ddl(&world("f")).expect("a schema");
    Target::Reference {
        schema: Box::new(schema),
        root: places::ROOT.to_owned(),
    }
}

#[tokio::test]
async fn the_reference_lets_no_path_and_no_url_through_and_refuses_no_legitimate_one() {
    for subject in [Subject::Path, Subject::Url] {
        let hunt = hunt(
            config(subject, 1, 50_000),
            reference(),
            std::future::pending(),
            &mut |_| {},
        )
        .await
        .expect("a hunt");
        assert!(hunt.findings.is_empty(), "{}", hunt.in_words());
        assert!(hunt.accepted > 5_000, "{}", hunt.in_words());
    }
}

#[tokio::test]
async fn careless_validators_of_paths_and_urls_are_found_out() {
    let no_dots = Target::Function(Box::new(|text| {
        !text.contains("..") && !text.starts_with('/')
    }));
    let found = hunt(
        config(Subject::Path, 1, 20_000),
        no_dots,
        std::future::pending(),
        &mut |_| {},
    )
    .await
    .expect("a hunt");
    let families: Vec<&str> = found
        .findings
        .iter()
        .map(|found| found.family.as_str())
        .collect();
    for family in ["above the root", "hidden", "key"] {
        assert!(families.contains(&family), "{families:?}");
    }
    let no_loopback = Target::Function(Box::new(|text| {
        text.starts_with("http") && !text.contains("127.0.0.1") && !text.contains("localhost")
    }));
    let found = hunt(
        config(Subject::Url, 1, 20_000),
        no_loopback,
        std::future::pending(),
        &mut |_| {},
    )
    .await
    .expect("a hunt");
    assert!(
        found
            .findings
            .iter()
            .any(|found| found.kind == Kind::Bypass),
        "{}",
        found.in_words()
    );
}

#[test]
fn what_the_guard_accepts_prints_and_parses_to_the_same_and_is_accepted_again() {
    let schema = fact_guard::sql::Schema::from_ddl(&world("f")).expect("a schema");
    let mut generator = Generator::new(5, "/tmp/f");
    let mut accepted = 0;
    for _ in 0..4_000 {
        let text = generator.next().text;
        generator.keep(&text);
        if fact_guard::sql::check(&text, &schema).is_err() {
            continue;
        }
        accepted += 1;
        let printed = minimise::plain(&text).expect("what is accepted prints");
        assert_eq!(minimise::plain(&printed).as_ref(), Some(&printed), "{text}");
        let again = fact_guard::sql::check(&printed, &schema);
        assert!(again.is_ok(), "{text}: {printed}: {again:?}");
    }
    assert!(accepted > 400, "{accepted}");
}

#[test]
fn a_seed_means_the_same_whatever_the_canary_s_file_is_called() {
    let cases = |file: &str| {
        let mut generator = Generator::new(11, file);
        let next = |_| {
            let case = generator.next();
            if case.family.is_some() {
                generator.keep(&case.text);
            }
            (case.family, case.text.len())
        };
        (0..3_000).map(next).collect::<Vec<_>>()
    };
    assert_eq!(cases("fact_hunt_abcdefghij"), cases("fact_hunt_qwertzuiop"));
}
