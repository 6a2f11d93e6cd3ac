//! Spellings of what is near, and how other readers would understand them.

use super::super::Case;
use super::{hex, percent_decoded, pick};
use rand::RngExt as _;
use rand_chacha::ChaCha8Rng;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

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

/// A URL: legitimate, or a disguised way to what is near.
pub(super) fn case(random: &mut ChaCha8Rng) -> Case {
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
pub(super) fn near(text: &str) -> Option<String> {
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
    let by_library = ::url::Url::parse(text)
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
