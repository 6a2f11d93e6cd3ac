//! Paths and URLs: disguised ways to a place that must not be reached. What is accepted is read as other layers read it,
//! by readers of our own that share nothing with the guard.

use super::{Book, Case, Config, Event, Subject, Target, Trouble, Verdict, target};
use fact_reports::hunt::{Finding, Hunt, Kind};
use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::time::{Duration, Instant};

/// The root of a hunt for paths; nothing has to lie there.
pub const ROOT: &str = "/srv/hunt/root";

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
            Subject::Url => url(&mut random),
            _ => path(&mut random),
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
                    Subject::Url => near(&case.text),
                    _ => outside(&case.text),
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

// Paths.

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

fn path(random: &mut ChaCha8Rng) -> Case {
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

fn hex(byte: u8) -> String {
    format!("%{byte:02x}")
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
fn outside(text: &str) -> Option<String> {
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

// URLs.

const PUBLIC: &[&str] = &[
    "http://example.com/",
    "https://example.org/a/b?c=d#e",
    "https://news.example.net:8443/x",
    "http://93.184.216.34/",
    "https://bücher.example/ä",
    "http://1.1.1.1:8080/",
    "https://example.com/?u=http://127.0.0.1/",
    "https://a-b.c-d.example/%2e%2e/x",
    "https://example.com./",
    "http://[2606:4700::1111]/",
    "https://user.example.com/@me",
];
const NEAR_V4: &[Ipv4Addr] = &[
    Ipv4Addr::LOCALHOST,
    Ipv4Addr::new(10, 0, 0, 1),
    Ipv4Addr::new(169, 254, 169, 254),
    Ipv4Addr::new(172, 16, 5, 4),
    Ipv4Addr::new(192, 168, 1, 1),
    Ipv4Addr::new(100, 64, 0, 1),
    Ipv4Addr::UNSPECIFIED,
    Ipv4Addr::new(127, 8, 9, 1),
];
const NEAR_NAMES: &[&str] = &[
    "localhost",
    "LOCALHOST",
    "localhost.",
    "db.internal",
    "printer.local",
    "x.localhost",
    "intranet",
    "metadata.google.internal",
    "api.svc.cluster.local",
    "lоcalhost.localdomain",
    "host.docker.internal",
];

fn url(random: &mut ChaCha8Rng) -> Case {
    if random.random_bool(0.25) {
        return Case {
            text: pick(random, PUBLIC).to_owned(),
            family: None,
            plain: None,
        };
    }
    let (family, host) = if random.random_bool(0.75) {
        ("private address", spelt(pick(random, NEAR_V4), random))
    } else {
        ("local name", pick(random, NEAR_NAMES).to_owned())
    };
    let host = match random.random_range(0..10) {
        0 => host.bytes().map(hex).collect(),
        1 => host.replace('.', "\u{3002}"),
        2 => host.replace('1', "\u{ff11}").replace('0', "\u{ff10}"),
        3 => format!("{host}."),
        _ => host,
    };
    let port = pick(random, &["", "", "", ":80", ":8080", ":22", ":0", ":"]);
    let scheme = pick(
        random,
        &[
            "http://",
            "https://",
            "HTTP://",
            "http:",
            "http:/",
            "http:///",
            "http:\\\\",
            "//",
            "gopher://",
            "file://",
        ],
    );
    let place = format!("{host}{port}");
    let text = match random.random_range(0..9) {
        0 => format!("{scheme}example.com@{place}/"),
        1 => format!("{scheme}{place}\\@example.com/"),
        2 => format!("{scheme}example.com\\@{place}/"),
        3 => format!("{scheme}{place}#@example.com/"),
        4 => format!("{scheme}{place}?@example.com/"),
        5 => format!("{scheme}example.com:80@{place}/"),
        6 => format!("\t{scheme}{place}/"),
        7 => format!("{scheme}\n{place}/"),
        _ => format!("{scheme}{place}/x"),
    };
    Case {
        text,
        family: Some(family),
        plain: None,
    }
}

/// One of the many ways to write an address.
fn spelt(address: Ipv4Addr, random: &mut ChaCha8Rng) -> String {
    let [a, b, c, d] = address.octets();
    let number = address.to_bits();
    let (high, low) = (number >> 16, number & 0xffff);
    match random.random_range(0..14) {
        0 => number.to_string(),
        1 => format!("0x{number:x}"),
        2 => format!("0{number:o}"),
        3 => format!("0{a:o}.0{b:o}.0{c:o}.0{d:o}"),
        4 => format!("0x{a:x}.{b}.{c}.{d}"),
        5 => format!("{a}.{b}.{}", u32::from(c) << 8 | u32::from(d)),
        6 => format!("{a}.{}", number & 0x00ff_ffff),
        7 => format!("[::ffff:{high:x}:{low:x}]"),
        8 => format!("[::{a}.{b}.{c}.{d}]"),
        9 => format!("[64:ff9b::{high:x}:{low:x}]"),
        10 => format!("[2002:{high:x}:{low:x}::1]"),
        11 => format!("[fe80::5efe:{high:x}:{low:x}]"),
        12 => pick(
            random,
            &[
                "[::1]",
                "[::]",
                "[fd00::1]",
                "[fe80::1]",
                "[fd00:ec2::254]",
                "[0:0:0:0:0:0:0:1]",
            ],
        )
        .to_owned(),
        _ => address.to_string(),
    }
}

/// How a URL is read as one that leads near.
fn near(text: &str) -> Option<String> {
    let clean: String = text.chars().filter(|c| !c.is_control()).collect();
    let slashed = clean.trim().replace('\\', "/");
    let after_scheme = |text: &str| {
        let rest = text.split_once(':').map_or(text, |(_, rest)| rest);
        rest.trim_start_matches('/').to_owned()
    };
    let authority = |text: &str, ends: &[char]| {
        let rest = after_scheme(text);
        rest.split(ends).next().unwrap_or_default().to_owned()
    };
    let by_library = url::Url::parse(text)
        .ok()
        .and_then(|url| url.host_str().map(ToOwned::to_owned));
    let mut hosts: Vec<(&str, String)> = by_library
        .map(|host| ("browsers", host))
        .into_iter()
        .collect();
    for (who, authority) in [
        ("readers of RFC 3986", authority(&clean, &['/', '?', '#'])),
        (
            "readers that take a backslash for a slash",
            authority(&slashed, &['/', '?', '#']),
        ),
        (
            "readers that end at the path only",
            authority(&clean, &['/']),
        ),
    ] {
        let host = authority.rsplit('@').next().unwrap_or_default();
        hosts.push((who, without_port(host)));
        hosts.push((who, without_port(&percent_decoded(host))));
    }
    hosts.into_iter().find_map(|(who, host)| {
        let address = address_of(&host);
        let private = match address {
            Some(IpAddr::V4(address)) => is_near_v4(address),
            Some(IpAddr::V6(address)) => is_near_v6(address),
            None => {
                let name = host.trim_end_matches('.').to_ascii_lowercase();
                !name.contains('.') && !name.is_empty()
                    || [".localhost", ".local", ".internal", ".localdomain"]
                        .iter()
                        .any(|ending| name.ends_with(ending))
            }
        };
        private.then(|| format!("to {who} its host is `{host}`"))
    })
}

fn without_port(host: &str) -> String {
    if let Some(rest) = host.strip_prefix('[') {
        return format!("[{}]", rest.split(']').next().unwrap_or_default());
    }
    host.split(':').next().unwrap_or_default().to_owned()
}

/// As the C library reads addresses: up to four parts, each decimal, octal or hexadecimal.
fn address_of(host: &str) -> Option<IpAddr> {
    if let Some(inner) = host
        .strip_prefix('[')
        .and_then(|rest| rest.strip_suffix(']'))
    {
        return inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6);
    }
    let fold = |c: char| match c {
        '\u{3002}' | '\u{ff0e}' => '.',
        '\u{ff10}'..='\u{ff19}' => char::from_digit(u32::from(c) - 0xff10, 10).unwrap_or(c),
        other => other,
    };
    let host: String = host.trim_end_matches('.').chars().map(fold).collect();
    let parts: Option<Vec<u64>> = host.split('.').map(number_of).collect();
    let parts = parts.filter(|parts| (1..=4).contains(&parts.len()))?;
    let (last, first) = parts.split_last()?;
    let mut address = 0_u64;
    for part in first {
        if *part > 255 {
            return None;
        }
        address = address << 8 | part;
    }
    let room = 8 * (4 - first.len());
    (*last < 1 << room)
        .then(|| address << room | last)
        .and_then(|address| u32::try_from(address).ok())
        .map(|address| IpAddr::V4(Ipv4Addr::from_bits(address)))
}

fn number_of(part: &str) -> Option<u64> {
    let lower = part.to_ascii_lowercase();
    if let Some(hex) = lower.strip_prefix("0x") {
        return u64::from_str_radix(hex, 16).ok();
    }
    if lower.len() > 1 && lower.starts_with('0') {
        return u64::from_str_radix(&lower, 8).ok();
    }
    lower.parse().ok()
}

fn is_near_v4(address: Ipv4Addr) -> bool {
    let [a, b, ..] = address.octets();
    address.is_private()
        || address.is_loopback()
        || address.is_link_local()
        || address.is_unspecified()
        || (a == 100 && (64..128).contains(&b))
        || a == 0
}

fn is_near_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    address.is_loopback()
        || address.is_unspecified()
        || address.is_unique_local()
        || address.is_unicast_link_local()
        || address.to_ipv4().is_some_and(is_near_v4)
        || (segments[0] == 0x2002 && is_near_v4(v4(segments[1], segments[2])))
        || (segments[..6] == [0x64, 0xff9b, 0, 0, 0, 0] && is_near_v4(v4(segments[6], segments[7])))
}
