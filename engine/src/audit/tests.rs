//! The log on disk: across restarts, torn lines, days, and pages.

use super::*;
use std::io::Write as _;

fn happening(resource: &str) -> Happening {
    Happening {
        kind: "tool_call",
        outcome: "success",
        client_id: "alice".into(),
        tenant: "acme".into(),
        resource: resource.into(),
        rule: None,
        trace_id: "t".into(),
        details: serde_json::json!({}),
    }
}

fn open(folder: &Path) -> Audit {
    Audit::open(folder, None, Arc::default()).unwrap()
}

fn findings(folder: &Path) -> (usize, Vec<Finding>) {
    let (anchor, files) = files(folder).unwrap();
    let links: Vec<Link> = files
        .iter()
        .flat_map(|file| {
            let text = std::fs::read_to_string(file).unwrap();
            let events: Vec<Value> = text
                .lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect();
            events
        })
        .map(|event| Link::read(String::new(), &event).unwrap())
        .collect();
    (links.len(), check(&anchor, &links))
}

async fn shown(audit: &Audit, wanted: Wanted) -> (Vec<String>, Option<u64>) {
    let page = audit.page(wanted).await.unwrap();
    (
        page.events
            .into_iter()
            .map(|event| event.resource)
            .collect(),
        page.next,
    )
}

fn limit(limit: usize) -> Wanted {
    Wanted {
        limit,
        ..Wanted::default()
    }
}

#[tokio::test]
async fn every_event_holds_the_hash_of_the_one_before_also_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    for round in 0..2 {
        let audit = open(folder.path());
        for number in 0..3 {
            audit
                .record(happening(&format!("{round}.{number}")))
                .await
                .unwrap();
        }
    }
    assert_eq!(findings(folder.path()), (6, vec![]));
    let text = std::fs::read_to_string(folder.path().join("audit.ndjson")).unwrap();
    let first: AuditEvent = serde_json::from_str(text.lines().next().unwrap()).unwrap();
    assert_eq!((first.sequence, first.previous_hash.as_str()), (1, NO_HASH));
    assert_eq!(first.hash, hash_of(&first));
}

#[tokio::test]
async fn a_line_cut_off_in_the_writing_does_not_end_the_log_and_earlier_events_are_still_shown() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    audit.record(happening("first")).await.unwrap();
    drop(audit);
    let mut file = std::fs::File::options()
        .append(true)
        .open(folder.path().join("audit.ndjson"))
        .unwrap();
    file.write_all(br#"{"event_id":"evt_"#).unwrap();
    let audit = open(folder.path());
    audit.record(happening("second")).await.unwrap();
    assert_eq!(
        shown(&audit, limit(9)).await,
        (vec!["second".into(), "first".into()], None)
    );
    assert_eq!(findings(folder.path()), (2, vec![]));
}

#[tokio::test]
async fn pages_reach_back_to_the_first_event_and_stay_in_place_while_events_are_added() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    let long = "x".repeat(5_000);
    for number in 1..=200 {
        drop(audit.submit(happening(&format!("{number} {long}"))));
    }
    audit.settled().await.unwrap();
    let mut seen = Vec::new();
    let mut wanted = limit(7);
    loop {
        let page = audit.page(wanted.clone()).await.unwrap();
        seen.extend(page.events.iter().map(|event| event.sequence));
        let Some(next) = page.next else { break };
        wanted.before = Some(next);
        audit.record(happening("meanwhile")).await.unwrap();
    }
    assert_eq!(seen, (1..=200).rev().collect::<Vec<u64>>());
    let (anything, next) = shown(
        &audit,
        Wanted {
            before: Some(1),
            ..limit(9)
        },
    )
    .await;
    assert_eq!((anything.len(), next), (0, None));
}

#[tokio::test]
async fn pages_hold_what_is_wanted_only() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    for number in 0..20 {
        let mut happening = happening(&number.to_string());
        happening.client_id = ["alice", "bob"][number % 2].into();
        audit.record(happening).await.unwrap();
    }
    let of_bob = Wanted {
        equal: vec![(Field::ClientId, "bob".into())],
        ..limit(2)
    };
    assert_eq!(
        shown(&audit, of_bob.clone()).await,
        (vec!["19".into(), "17".into()], Some(18))
    );
    let further = Wanted {
        before: Some(18),
        ..of_bob
    };
    assert_eq!(shown(&audit, further).await.0, ["15", "13"]);
    let future = jiff::Timestamp::now() + Duration::from_mins(1);
    assert_eq!(
        shown(
            &audit,
            Wanted {
                since: Some(future),
                ..limit(9)
            }
        )
        .await
        .0
        .len(),
        0
    );
    assert_eq!(
        shown(
            &audit,
            Wanted {
                until: Some(future),
                ..limit(9)
            }
        )
        .await
        .0
        .len(),
        9
    );
}

#[tokio::test]
async fn a_second_engine_on_the_same_folder_is_refused_until_the_first_is_gone() {
    let folder = tempfile::tempdir().unwrap();
    let audit = open(folder.path());
    let error = Audit::open(folder.path(), None, Arc::default()).unwrap_err();
    assert!(matches!(error, AuditError::Held), "{error}");
    drop(audit);
    open(folder.path());
}

#[test]
fn days_are_moved_off_and_removed_in_time_and_the_chain_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let day = |day: i64| jiff::Timestamp::from_second(day * 86_400 + 7).unwrap();
    let today = jiff::Timestamp::now().as_second() / 86_400;
    let keep = Some(Duration::from_hours(72));
    for (number, at) in [today - 9, today - 9, today - 8, today - 1, today]
        .into_iter()
        .enumerate()
    {
        // The first day is written by an engine that keeps everything.
        let mut log = Log::open(folder.path(), keep.filter(|_| number > 1)).unwrap();
        let mut last = log.last().clone();
        let event = append(&mut last, &happening(&number.to_string()), day(at));
        let mut line = serde_json::to_vec(&event).unwrap();
        line.push(b'\n');
        log.append(&line, event.sequence, last, day(at)).unwrap();
        assert_eq!(findings(folder.path()).1, [], "{number}");
    }
    // The days nine and eight ago are gone, and what stays begins behind them.
    let (anchor, kept) = files(folder.path()).unwrap();
    assert_eq!((anchor.sequence, kept.len()), (3, 2), "{kept:?}");
    assert_eq!(findings(folder.path()), (2, vec![]));
    let log = Log::open(folder.path(), keep).unwrap();
    let readable = log.readable().lock().unwrap().clone();
    let page = read::page(&readable, &limit(9)).unwrap();
    let seen: Vec<u64> = page.events.iter().map(|event| event.sequence).collect();
    assert_eq!((seen, page.next), (vec![5, 4], None));
}
