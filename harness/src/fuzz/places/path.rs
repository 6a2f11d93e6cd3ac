//! Disguised ways out of a root, and how other layers would read them.

use super::super::Case;
use super::{hex, percent_decoded, pick};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// The root of a hunt for paths; nothing has to lie there.
pub const ROOT: &str = "/srv/hunt/root";

const NAMES: &[&str] = &[
    "notes",
    "Q1 2025.csv",
    "100%.txt",
    "über.md",
    "a..b",
    "report (final).pdf",
    "x.tar.gz",
    "data-2024_01",
    "%zz",
    "50%off",
    "日本.txt",
    "key ideas.txt",
    "readme",
    "a;b",
    "pemberton.txt",
    "credentials-policy.md",
    "...",
];
const PLACES: &[(&str, &str)] = &[
    ("above the root", "../outside/secret.txt"),
    ("above the root", "notes/../../outside/secret.txt"),
    ("above the root", "a/b/../../../outside/secret.txt"),
    ("absolute", "/etc/passwd"),
    ("absolute", "/srv/hunt/outside/secret.txt"),
    ("absolute", "/srv/hunt/root/../outside/secret.txt"),
    ("absolute", "/srv/hunt/root-of-others/x"),
    ("hidden", ".env"),
    ("hidden", "notes/.git/config"),
    ("key", "id_rsa"),
    ("key", "notes/server.pem"),
];

/// A path: legitimate, or a disguised way to a place that must not be reached.
pub(super) fn case(random: &mut ChaCha8Rng) -> Case {
    if random.random_bool(0.3) {
        let names: Vec<&str> = (0..random.random_range(1..4))
            .map(|_| pick(random, NAMES))
            .collect();
        let head = pick(random, &["", "", "./", "/srv/hunt/root/"]);
        return Case {
            text: format!("{head}{}", names.join("/")),
            family: None,
            plain: None,
        };
    }
    let (family, place) = pick(random, PLACES);
    let mut text = place.to_owned();
    for _ in 0..random.random_range(0..=3) {
        text = encode(&text, random);
    }
    Case {
        text,
        family: Some(family),
        plain: None,
    }
}

/// One way in which somebody hides what a path means.
fn encode(text: &str, random: &mut ChaCha8Rng) -> String {
    let some = random.random_range(1..=3);
    let percent = |c: char| {
        let mut bytes = [0; 4];
        let bytes = c.encode_utf8(&mut bytes).bytes();
        bytes.map(hex).collect::<String>()
    };
    match random.random_range(0..13) {
        0 => text
            .chars()
            .map(|c| {
                if "./\\".contains(c) {
                    percent(c)
                } else {
                    c.into()
                }
            })
            .collect(),
        1 => text
            .chars()
            .map(|c| if c == '/' { percent(c) } else { c.into() })
            .collect(),
        2 => text
            .chars()
            .map(|c| if c == '.' { percent(c) } else { c.into() })
            .collect(),
        3 => text.replace('%', "%25"),
        4 => text.replace('/', "\\"),
        5 => text.replace("../", "....//"),
        6 => text.replace("../", "..;x/"),
        7 => text.replace('.', "\u{ff0e}"),
        8 => text.replace(
            '/',
            pick(random, &["\u{2215}", "\u{2044}", "\u{ff0f}", "\u{29f8}"]),
        ),
        9 => text.replace(
            '/',
            pick(
                random,
                &["%c0%af", "%e0%80%af", "%u2215", "\\u002f", "0x2f", "\\x2f"],
            ),
        ),
        10 => text.replace("../", ".. /"),
        11 => format!("{}{text}", "./".repeat(some)),
        _ => text.replacen('/', "//", some),
    }
}

type Decoder = (&'static str, fn(&str) -> String);

const DECODERS: &[Decoder] = &[
    ("percent-decoded", percent_decoded),
    ("with slashes for backslashes", |text| {
        text.replace('\\', "/")
    }),
    ("with compatibility forms folded", folded),
    ("with `../` deleted once", |text| text.replace("../", "")),
    ("with blanks and parameters after dots dropped", bare_dots),
    ("with escapes decoded", unescaped),
];

/// How a path is read as one that must not be opened.
pub(super) fn outside(text: &str) -> Option<String> {
    const ROUNDS: usize = 4;
    let mut readings: Vec<(String, Vec<&str>)> = vec![(text.to_owned(), Vec::new())];
    let mut seen = BTreeSet::from([text.to_owned()]);
    let mut at = 0;
    while let Some((reading, ways)) = readings.get(at).cloned() {
        at += 1;
        if let Some(what) = leaves(&reading, ways.contains(&"with `../` deleted once")) {
            let ways = if ways.is_empty() {
                "as it is".to_owned()
            } else {
                ways.join(", ")
            };
            return Some(format!("read {ways}, it is `{reading}`, which {what}"));
        }
        if ways.len() >= ROUNDS {
            continue;
        }
        for (way, decode) in DECODERS {
            let next = decode(&reading);
            if seen.insert(next.clone()) {
                let mut ways = ways.clone();
                ways.push(way);
                readings.push((next, ways));
            }
        }
    }
    None
}

fn leaves(reading: &str, stripped: bool) -> Option<&'static str> {
    let below = match reading.strip_prefix('/') {
        Some(_) => {
            let rest = reading.strip_prefix(ROOT)?;
            if !rest.is_empty() && !rest.starts_with('/') {
                return Some("is outside the root");
            }
            rest
        }
        None => reading,
    };
    if reading.starts_with('/') && !reading.starts_with(ROOT) {
        return Some("is outside the root");
    }
    let mut depth = 0_i32;
    for name in below.split('/') {
        depth += match name {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        if depth < 0 {
            return Some("leaves the root");
        }
        if stripped {
            continue;
        }
        if name.starts_with('.') && !name.trim_matches('.').is_empty() {
            return Some("is hidden");
        }
        if matches!(name, "id_rsa" | "id_ed25519" | "credentials.json")
            || std::path::Path::new(name)
                .extension()
                .is_some_and(|ending| ending == "pem" || ending == "p12")
        {
            return Some("names a key");
        }
    }
    None
}

fn folded(text: &str) -> String {
    let fold = |c: char| match c {
        '\u{ff0e}' => '.',
        '\u{2215}' | '\u{2044}' | '\u{ff0f}' | '\u{29f8}' => '/',
        other => other,
    };
    text.chars().map(fold).collect()
}

fn bare_dots(text: &str) -> String {
    let bare = |name: &str| {
        let head = name
            .split(';')
            .next()
            .unwrap_or_default()
            .trim_end()
            .to_owned();
        if head == ".." { head } else { name.to_owned() }
    };
    text.split('/').map(bare).collect::<Vec<_>>().join("/")
}

fn unescaped(text: &str) -> String {
    let mut plain = text.to_owned();
    for (escape, meant) in [
        ("%u2215", "/"),
        ("\\u002f", "/"),
        ("0x2f", "/"),
        ("\\x2f", "/"),
        ("\\u002e", "."),
    ] {
        plain = plain.replace(escape, meant);
    }
    plain
}
