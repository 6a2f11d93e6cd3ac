//! May this URL be fetched? By its text, by the addresses that its name has, by each hop, header and method.
//! Resolves nothing and connects to nothing.

mod address;

use crate::{Refusal, Rule};
use ::url::{Host, Url};
use std::net::IpAddr;

pub use address::check as check_address;

/// A URL that may be asked, if the addresses of its name may.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AllowedUrl {
    url: Url,
    listed: bool,
}

impl AllowedUrl {
    /// As it will be asked.
    pub fn url(&self) -> &Url {
        &self.url
    }

    /// Whether the operator listed this very host and port: then its addresses may be private.
    pub fn is_listed(&self) -> bool {
        self.listed
    }
}

/// A `host:port` that may be reached although it is private.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    host: String,
    port: u16,
}

impl Pair {
    /// Reads `host:port`, as written in a URL.
    pub fn read(text: &str) -> Option<Self> {
        let url = Url::parse(&format!("http://{}/", text.trim())).ok()?;
        let plain = url.username().is_empty()
            && url.path() == "/"
            && url.query().is_none()
            && url.fragment().is_none();
        let host = url.host_str()?.trim_end_matches('.').to_owned();
        plain.then(|| Self {
            host,
            port: url.port_or_known_default().unwrap_or(80),
        })
    }
}

const LONGEST: usize = 8_192;
const MOST_HOPS: usize = 5;

/// Ports that browsers do not ask either (WHATWG Fetch, "bad port"), from 1024 on.
const BAD_PORTS: &[u16] = &[
    1719, 1720, 1723, 2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669,
    6679, 6697, 10080,
];
const LOCAL_ENDINGS: &[&str] = &[
    "localhost",
    "local",
    "internal",
    "localdomain",
    "lan",
    "intranet",
    "corp",
    "home",
    "private",
    "home.arpa",
    "onion",
    "svc.cluster.local",
];
const METADATA_NAMES: &[&str] = &[
    "metadata.google.internal",
    "metadata.goog",
    "metadata.tencentyun.com",
    "metadata.packet.net",
    "metadata.platformequinix.com",
];
const HEADERS: &[&str] = &["accept", "accept-language", "range", "user-agent"];

fn refuse<T>(rule: Rule) -> Result<T, Refusal> {
    Err(Refusal::new(rule, ""))
}

/// Decides on the text and on a literal address in it.
pub fn check(text: &str, listed: &[Pair]) -> Result<AllowedUrl, Refusal> {
    let rest = before_parsing(text)?;
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    if authority.is_empty()
        || authority.contains('\\')
        || authority.chars().any(char::is_whitespace)
    {
        return refuse(Rule::WebMalformed);
    }
    if authority.contains('@') {
        return refuse(Rule::WebUserinfo);
    }
    let Ok(url) = Url::parse(text) else {
        return refuse(Rule::WebMalformed);
    };
    if !url.username().is_empty() || url.password().is_some() {
        return refuse(Rule::WebUserinfo);
    }
    let Some(host) = url.host() else {
        return refuse(Rule::WebMalformed);
    };
    let port = url.port_or_known_default().unwrap_or(0);
    let name = host.to_string();
    let name = name.trim_end_matches('.');
    let is_listed = listed
        .iter()
        .any(|pair| pair.host == name && pair.port == port);
    if !is_listed
        && (port == 0 || (port < 1024 && port != 80 && port != 443) || BAD_PORTS.contains(&port))
    {
        return refuse(Rule::WebPort);
    }
    match &host {
        Host::Ipv4(address) => literal(IpAddr::V4(*address), is_listed)?,
        Host::Ipv6(address) => literal(IpAddr::V6(*address), is_listed)?,
        Host::Domain(domain) => named(domain, is_listed)?,
    }
    Ok(AllowedUrl {
        url,
        listed: is_listed,
    })
}

/// What every parser has to see the same way; the part after `scheme://`.
fn before_parsing(text: &str) -> Result<&str, Refusal> {
    if text.len() > LONGEST
        || text.is_empty()
        || text.chars().any(char::is_control)
        || text.starts_with(' ')
        || text.ends_with(' ')
    {
        return refuse(Rule::WebMalformed);
    }
    let scheme = text.split(':').next().unwrap_or_default();
    let known = scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https");
    let lettered = scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "+-.".contains(c));
    if !known {
        return refuse(if lettered && scheme.len() < text.len() {
            Rule::WebScheme
        } else {
            Rule::WebMalformed
        });
    }
    match text
        .get(scheme.len()..)
        .and_then(|rest| rest.strip_prefix("://"))
    {
        Some(rest) if !rest.starts_with('/') => Ok(rest),
        _ => refuse(Rule::WebMalformed),
    }
}

fn literal(address: IpAddr, listed: bool) -> Result<(), Refusal> {
    match check_address(address) {
        Err(refusal) if refusal.rule == Rule::WebMetadata || !listed => Err(refusal),
        _ => Ok(()),
    }
}

fn named(domain: &str, listed: bool) -> Result<(), Refusal> {
    let name = domain
        .strip_suffix('.')
        .unwrap_or(domain)
        .to_ascii_lowercase();
    let label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && label.bytes().all(|byte| {
                byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-_".contains(&byte)
            })
    };
    if name.len() > 253 || !name.split('.').all(label) {
        return refuse(Rule::WebMalformed);
    }
    if METADATA_NAMES.contains(&name.as_str()) {
        return refuse(Rule::WebMetadata);
    }
    let below = |ending: &&str| {
        name == **ending
            || name
                .strip_suffix(*ending)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if !listed && (!name.contains('.') || LOCAL_ENDINGS.iter().any(below)) {
        return refuse(Rule::WebLocalName);
    }
    Ok(())
}

/// Decides on where a URL sends its asker; `hop` counts from 1.
pub fn check_redirect(
    from: &AllowedUrl,
    location: &str,
    hop: usize,
    listed: &[Pair],
) -> Result<AllowedUrl, Refusal> {
    let refused = |_| Refusal::new(Rule::WebRedirectRefused, "");
    if hop > MOST_HOPS || location.chars().any(char::is_control) {
        return refuse(Rule::WebRedirectRefused);
    }
    let absolute = location.contains("://")
        || location.starts_with("//")
        || location.contains('\\')
        || has_scheme(location);
    let next = if absolute && !location.starts_with("//") {
        check(location, listed).map_err(refused)?
    } else {
        let joined = from
            .url
            .join(location)
            .map_err(|_| Refusal::new(Rule::WebRedirectRefused, ""))?;
        check(joined.as_str(), listed).map_err(refused)?
    };
    if from.url.scheme() == "https" && next.url.scheme() == "http" {
        return refuse(Rule::WebRedirectRefused);
    }
    Ok(next)
}

fn has_scheme(location: &str) -> bool {
    location
        .split(['/', '?', '#'])
        .next()
        .is_some_and(|head| head.contains(':'))
}

/// Decides on a header that the asker wants to send.
pub fn check_header(name: &str, value: &str) -> Result<(), Refusal> {
    let name = name.to_ascii_lowercase();
    let known = HEADERS.contains(&name.as_str()) || name.starts_with("if-");
    if !known || value.contains(['\r', '\n', '\0']) || name.contains(['\r', '\n', '\0', ':', ' ']) {
        return refuse(Rule::WebHeader);
    }
    Ok(())
}

/// Decides on a method.
pub fn check_method(method: &str) -> Result<(), Refusal> {
    if matches!(method, "GET" | "HEAD") {
        Ok(())
    } else {
        refuse(Rule::WebMethod)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(text: &str) -> Option<&'static str> {
        check(text, &[]).err().map(|refusal| refusal.rule.id())
    }

    #[test]
    fn every_spelling_of_what_is_near_is_refused() {
        for (text, expected) in [
            ("http://127.0.0.1/", "web.private-address"),
            ("http://2130706433/", "web.private-address"),
            ("http://0x7f.1/", "web.private-address"),
            ("http://[::ffff:7f00:1]/", "web.private-address"),
            ("http://[64:ff9b::10.0.0.1]/", "web.private-address"),
            ("http://169.254.169.254/latest/meta-data", "web.metadata"),
            ("http://metadata.google.internal./", "web.metadata"),
            ("http://localhost/", "web.local-name"),
            ("http://db.svc.cluster.local/", "web.local-name"),
            ("http://user@example.com/", "web.userinfo"),
            ("http://example.com:22/", "web.port"),
            ("http://example.com:6667/", "web.port"),
            ("file:///etc/passwd", "web.scheme"),
            ("http:/example.com/", "web.malformed"),
            ("http://example.com\\@127.0.0.1/", "web.malformed"),
            ("http://exa mple.com/", "web.malformed"),
            ("", "web.malformed"),
        ] {
            assert_eq!(rule(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_public_is_taken_and_what_is_listed_too() {
        for text in [
            "https://example.com/?next=http://127.0.0.1/",
            "http://1.1.1.1:8080/",
            "https://bücher.example/ä b",
        ] {
            assert_eq!(rule(text), None, "{text}");
        }
        let listed = [
            Pair::read("127.0.0.1:9000").unwrap(),
            Pair::read("169.254.169.254:80").unwrap(),
        ];
        assert!(
            check("http://127.0.0.1:9000/x", &listed)
                .unwrap()
                .is_listed()
        );
        assert!(check("http://127.0.0.1:9001/x", &listed).is_err());
        assert!(check("http://169.254.169.254/", &listed).is_err());
    }

    #[test]
    fn a_redirect_is_judged_like_a_url_and_may_not_lose_its_encryption() {
        let from = check("https://example.com/a", &[]).unwrap();
        assert!(check_redirect(&from, "/b", 1, &[]).is_ok());
        assert!(check_redirect(&from, "https://example.org/", 5, &[]).is_ok());
        for location in [
            "http://example.com/",
            "https://127.0.0.1/",
            "//localhost/",
            "file:///etc/passwd",
            "gopher:x",
        ] {
            assert!(
                check_redirect(&from, location, 1, &[]).is_err(),
                "{location}"
            );
        }
        assert!(check_redirect(&from, "/b", 6, &[]).is_err());
    }

    proptest::proptest! {
        #[test]
        fn any_text_gets_a_decision(text in "\\PC{0,60}") {
            drop(check(&text, &[]));
            drop(check(&format!("http://{text}"), &[]));
        }
    }
}
