//! Matching, by small cases.

use super::*;
use fact_mocks::journal::Upstream;

fn entry(upstream: Upstream, what: &str, application: Option<&str>) -> Entry {
    Entry {
        application: application.map(Into::into),
        status: 200,
        ..Entry::new(upstream, what.into(), 0)
    }
}

#[test]
fn a_probe_and_a_list_of_tools_do_not_break_the_silence_of_a_hit() {
    let own = [
        entry(
            Upstream::Database,
            "SELECT count(*) FROM companies",
            Some("fact-probe-ready"),
        ),
        entry(Upstream::Database, "BEGIN READ ONLY", None),
        entry(Upstream::Arcade, "GET /v1/tools", None),
    ];
    assert!(upstream::is_silent(&own), "{}", upstream::in_words(&own));
    assert!(!upstream::is_silent(&[entry(
        Upstream::Database,
        "SELECT count(*) FROM companies",
        Some("fact")
    )]));
    assert!(!upstream::is_silent(&[entry(
        Upstream::Arcade,
        "POST /v1/tools/execute",
        None
    )]));
    assert!(!upstream::is_silent(&[entry(
        Upstream::Claude,
        "POST /v1/messages",
        None
    )]));
}

#[test]
fn a_star_in_a_header_stands_for_any_characters() {
    assert!(matches("fact; fwd=*; stored", "fact; fwd=uri-miss; stored") && matches("*", "3"));
    assert!(!matches("fact; hit", "fact; hit; detail=stale"));
}

#[test]
fn a_snapshot_that_differs_shows_the_lines() {
    assert_eq!(
        body::difference("{\n  \"a\": 1\n}", "{\n  \"a\": 2\n}"),
        "line 2: -\"a\": 1 +\"a\": 2"
    );
}

#[test]
fn the_header_and_the_word_of_the_cache_say_the_same_or_do_not() {
    for (header, word) in [
        ("fact; hit", "hit"),
        ("fact; fwd=uri-miss; stored", "miss"),
        ("fact; fwd=uri-miss", "miss"),
        ("fact; fwd=bypass", "bypass"),
        ("fact; fwd=request", "refresh"),
        ("fact; fwd=uri-miss; collapsed", "collapsed"),
        ("fact; hit; detail=stale", "stale"),
    ] {
        assert!(says_the_same(header, word), "{header}");
    }
    for (header, word) in [
        ("fact; hit", "miss"),
        ("fact; hit; detail=stale", "hit"),
        ("other; hit", "hit"),
        ("", "hit"),
        ("fact; fwd=uri-miss", "collapsed"),
    ] {
        assert!(!says_the_same(header, word), "{header}");
    }
}

#[test]
fn a_kind_fits_its_values_and_no_others() {
    use crate::scenario::expect::Kind;
    use serde_json::json;
    assert!(Kind::Timestamp.fits(&json!("2026-11-23T14:12:06.5Z")));
    assert!(Kind::Timestamp.fits(&json!("2026-11-23T14:12:06+02:00")));
    assert!(!Kind::Timestamp.fits(&json!("2026-11-23")) && !Kind::Timestamp.fits(&json!(1)));
    assert!(!Kind::Text.fits(&json!("")) && !Kind::Positive.fits(&json!(0)));
    assert!(Kind::Count.fits(&json!(0)) && !Kind::Count.fits(&json!(-1)));
    assert!(!Kind::Absent.fits(&Value::Null) && Kind::Null.fits(&Value::Null));
}
