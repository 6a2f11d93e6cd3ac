//! Paths and URLs: disguised ways to a place that must not be reached. What is accepted is read as other layers read it,
//! by readers of our own that share nothing with the guard.

mod path;
mod url;

pub use path::ROOT;

use super::{Book, Case, Config, Event, Subject, Target, Trouble, Verdict, target};
use fact_reports::hunt::{Finding, Hunt, Kind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::time::{Duration, Instant};

pub(super) async fn hunt(
    config: &Config,
    mut target: Target,
    stop: impl Future<Output = ()>,
    show: &mut dyn FnMut(Event),
) -> Hunt {
    const TELL_EVERY: Duration = Duration::from_secs(1);
    show(Event::Chosen(format!(
        "hunting {} with seed {}",
        target.name(),
        config.seed
    )));
    let mut book = Book::new(config, target.name());
    let mut random = ChaCha8Rng::seed_from_u64(config.seed);
    let mut told = Instant::now();
    tokio::pin!(stop);
    loop {
        let over = book.began.elapsed() >= config.time
            || config.most.is_some_and(|most| book.hunt.asked >= most);
        if over || futures_util::poll!(&mut stop).is_ready() {
            return book.close();
        }
        let case = match config.subject {
            Subject::Url => url::case(&mut random),
            _ => path::case(&mut random),
        };
        book.hunt.asked += 1;
        let (verdict, took) = target.ask(config.subject, &case.text).await;
        book.hunt.accepted += u64::from(verdict == Verdict::Accept);
        let shapes = BTreeSet::from([shape(&case.text)]);
        book.is_new(&verdict, &shapes);
        if took > target::STALL {
            add(&mut book, &case, Kind::Stall, Vec::new(), show);
        }
        match (&verdict, case.family) {
            (Verdict::None(Trouble::Crash(reason)), _) => {
                add(&mut book, &case, Kind::Crash, vec![reason.clone()], show);
            }
            (Verdict::None(Trouble::Stall), _) => {
                add(&mut book, &case, Kind::Stall, Vec::new(), show);
            }
            (Verdict::Accept, _) => {
                let reached = match config.subject {
                    Subject::Url => url::near(&case.text),
                    _ => path::outside(&case.text),
                };
                if let Some(reached) = reached {
                    add(&mut book, &case, Kind::Bypass, vec![reached], show);
                }
            }
            (Verdict::Refuse(rule), None) => {
                let rule = rule.iter().map(|rule| format!("refused by `{rule}`"));
                add(&mut book, &case, Kind::FalseRefusal, rule.collect(), show);
            }
            (Verdict::Refuse(_), Some(_)) => {}
        }
        if told.elapsed() > TELL_EVERY {
            told = Instant::now();
            show(Event::Progress(book.progress()));
        }
    }
}

fn add(
    book: &mut Book,
    case: &Case,
    kind: Kind,
    effects: Vec<String>,
    show: &mut dyn FnMut(Event),
) {
    let family = case.family.unwrap_or("legitimate use");
    if book.again(kind, family, None) {
        return;
    }
    let cwe = match (book.hunt.subject.as_str(), kind) {
        (_, Kind::FalseRefusal | Kind::Crash | Kind::Stall) => 20,
        ("url", _) => 918,
        _ => 22,
    };
    let finding = Finding {
        kind,
        family: family.to_owned(),
        effects,
        cwe,
        text: case.text.clone(),
        original: case.text.clone(),
        number: book.hunt.asked,
        times: 1,
    };
    book.add(finding, show);
}

/// Letters and digits alike.
fn shape(text: &str) -> u64 {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    let mut hasher = DefaultHasher::new();
    for c in text.chars() {
        let kind = match c {
            'a'..='z' | 'A'..='Z' => 'a',
            '0'..='9' => '0',
            other => other,
        };
        kind.hash(&mut hasher);
    }
    hasher.finish()
}

fn pick<T: Copy>(random: &mut ChaCha8Rng, list: &[T]) -> T {
    list[random.random_range(0..list.len())]
}

/// A byte as URLs write it.
fn hex(byte: u8) -> String {
    format!("%{byte:02x}")
}

/// With the bytes that percent signs stand for.
fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let raw = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = raw.get(at) {
        let code = raw
            .get(at + 1..at + 3)
            .and_then(|hex| std::str::from_utf8(hex).ok());
        let code = code
            .filter(|hex| hex.bytes().all(|byte| byte.is_ascii_hexdigit()))
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match code {
            Some(code) if *byte == b'%' => {
                bytes.push(code);
                at += 3;
            }
            _ => {
                bytes.push(*byte);
                at += 1;
            }
        }
    }
    // Overlong forms of the slash, as careless decoders take them.
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let overlong = [&[0xc0, 0xaf][..], &[0xe0, 0x80, 0xaf][..]];
    if overlong
        .iter()
        .any(|form| bytes.windows(form.len()).any(|window| window == *form))
    {
        return text
            .replace("\u{fffd}\u{fffd}\u{fffd}", "/")
            .replace("\u{fffd}\u{fffd}", "/");
    }
    text
}
