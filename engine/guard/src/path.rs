//! May this path be tried? By its text alone, taken literally and as another layer might read it.

use crate::{Refusal, Rule};
use unicode_normalization::UnicodeNormalization as _;

/// A path that stays below a root, by every reading. What lies there is decided when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafePath {
    below: String,
    root: Option<usize>,
}

impl SafePath {
    /// The part below a root; empty for the root itself.
    pub fn below(&self) -> &str {
        &self.below
    }

    /// Which of the roots it names, where it is absolute; a relative one belongs to the first root that has it.
    pub fn root(&self) -> Option<usize> {
        self.root
    }
}

const LONGEST: usize = 4_096;
const LONGEST_NAME: usize = 255;
const MOST_COMPONENTS: usize = 256;
const MOST_READINGS: usize = 64;
const SECRET_NAMES: &[&str] = &[
    "id_rsa",
    "id_dsa",
    "id_ecdsa",
    "id_ed25519",
    "credentials",
    "credentials.json",
    "secrets.json",
    "secrets.yaml",
    "secrets.yml",
    "secrets.toml",
];
const SECRET_ENDINGS: &[&str] = &[
    "pem", "key", "p12", "pfx", "jks", "keystore", "kdbx", "keytab", "ppk",
];

/// Decides. Roots are absolute, and end without a slash.
pub fn check(text: &str, roots: &[&str]) -> Result<SafePath, Refusal> {
    let long_name = text.split('/').any(|name| name.len() > LONGEST_NAME);
    if text.is_empty()
        || text.len() > LONGEST
        || long_name
        || text.split('/').count() > MOST_COMPONENTS
        || text.chars().any(char::is_control)
    {
        return Err(Refusal::new(Rule::PathMalformed, ""));
    }
    let (root, below) = if text.starts_with('/') {
        let within = roots.iter().enumerate().find_map(|(at, root)| {
            let rest = text.strip_prefix(root)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((at, rest))
        });
        let (at, rest) = within.ok_or_else(|| Refusal::new(Rule::PathOutsideRoot, ""))?;
        (Some(at), rest.trim_start_matches('/'))
    } else {
        (None, text)
    };
    let literal = judge(below, Rule::PathOutsideRoot);
    let leaves = literal
        .as_ref()
        .is_err_and(|refusal| refusal.rule == Rule::PathOutsideRoot);
    match judge_readings(below) {
        // Leaving weighs more than the name that it begins with.
        Err(refusal) if refusal.rule == Rule::PathEncodedTraversal && !leaves => {
            return Err(refusal);
        }
        readings => literal.and(readings)?,
    }
    Ok(SafePath {
        below: below.to_owned(),
        root,
    })
}

/// As other layers might read it: each way of decoding, again and again, and combined.
fn judge_readings(below: &str) -> Result<(), Refusal> {
    let mut readings = vec![below.to_owned()];
    let mut at = 0;
    while let Some(reading) = readings.get(at).cloned() {
        at += 1;
        judge_reading(&reading)?;
        for decode in DECODERS {
            let next = decode(&reading);
            if !readings.contains(&next) {
                readings.push(next);
            }
        }
        if readings.len() > MOST_READINGS {
            return Err(Refusal::new(Rule::PathEncodedTraversal, ""));
        }
    }
    Ok(())
}

/// Ways in which some layer decodes a path.
const DECODERS: [fn(&str) -> String; 4] = [percent_decoded, unescaped, folded, |text| {
    text.replace('\\', "/")
}];

fn judge_reading(reading: &str) -> Result<(), Refusal> {
    let refused = || Err(Refusal::new(Rule::PathEncodedTraversal, ""));
    if reading.chars().any(char::is_control) {
        return refused();
    }
    judge(reading, Rule::PathEncodedTraversal)?;
    judge(&without_blanks(reading), Rule::PathEncodedTraversal)?;
    // Servers that delete `../` once, one behind the other: that matters for leaving only, since `.../x` is no hidden
    // name.
    for step in ["../", "..\\"] {
        let mut variant = reading.replace(step, "");
        loop {
            if climbs(&without_blanks(&variant.replace('\\', "/"))) {
                return refused();
            }
            let shorter = variant.replace(step, "");
            if shorter == variant {
                break;
            }
            variant = shorter;
        }
    }
    let foreign = names_a_home(reading)
        || reading.contains(":/")
        || reading.contains(":\\")
        || reading.as_bytes().get(1) == Some(&b':');
    if foreign || reading.starts_with('/') || reading.starts_with('\\') {
        return refused();
    }
    Ok(())
}

/// One reading: does it climb, hide or name a key?
fn judge(text: &str, leaves: Rule) -> Result<(), Refusal> {
    if climbs(text) {
        return Err(Refusal::new(leaves, ""));
    }
    text.split('/')
        .filter(|name| !matches!(*name, "" | "." | ".."))
        .try_for_each(refuse_name)
}

/// Whether any prefix lies above where the path begins.
fn climbs(text: &str) -> bool {
    let mut depth = 0_i32;
    text.split('/').any(|name| {
        depth += match name {
            "" | "." => 0,
            ".." => -1,
            _ => 1,
        };
        depth < 0
    })
}

/// `~`, `~/` or `~user/`, as a shell reads them.
fn names_a_home(text: &str) -> bool {
    let user = text.strip_prefix('~').and_then(|rest| rest.split_once('/'));
    text == "~"
        || user.is_some_and(|(user, _)| {
            user.chars()
                .all(|c| c.is_alphanumeric() || "_-.".contains(c))
        })
}

/// Names that are not shown, wherever they lie.
pub fn refuse_name(name: &str) -> Result<(), Refusal> {
    let folded = name.to_lowercase();
    if name.starts_with('.') && name.chars().any(|c| c != '.') {
        return Err(Refusal::new(Rule::PathHidden, ""));
    }
    let ending = folded.rsplit_once('.').map(|(_, ending)| ending);
    if SECRET_NAMES.contains(&folded.as_str())
        || ending.is_some_and(|ending| SECRET_ENDINGS.contains(&ending))
    {
        return Err(Refusal::new(Rule::PathSecret, ""));
    }
    Ok(())
}

/// Blanks after dots, and parameters after `..`, as some servers drop them.
fn without_blanks(text: &str) -> String {
    let clean = |name: &str| {
        let bare = name.split(';').next().unwrap_or_default().trim_end();
        if !bare.is_empty() && bare.chars().all(|c| c == '.') {
            bare.to_owned()
        } else {
            name.to_owned()
        }
    };
    text.split('/').map(clean).collect::<Vec<_>>().join("/")
}

/// Percent escapes of bytes, and what overlong bytes mean.
fn percent_decoded(text: &str) -> String {
    if !text.contains('%') {
        return text.to_owned();
    }
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        let digits = tail.get(..2).and_then(|hex| std::str::from_utf8(hex).ok());
        let code = digits.and_then(|hex| u8::from_str_radix(hex, 16).ok());
        if let Some(byte) = code.filter(|_| *first == b'%') {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(*first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&overlong(&bytes)).into_owned()
}

/// `%u`, `\u`, `\x` and `0x` escapes of characters.
fn unescaped(text: &str) -> String {
    const HEADS: [(&str, usize); 8] = [
        ("%u", 4),
        ("%U", 4),
        ("\\u", 4),
        ("\\U", 4),
        ("\\x", 2),
        ("\\X", 2),
        ("0x", 2),
        ("0X", 2),
    ];
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escape = HEADS.iter().find_map(|(head, digits)| {
            let code = rest.strip_prefix(head)?.get(..*digits)?;
            let code = u32::from_str_radix(code, 16).ok()?;
            Some((char::from_u32(code)?, head.len() + digits))
        });
        let (c, length) = escape.unwrap_or((first, first.len_utf8()));
        plain.push(c);
        rest = &rest[length..];
    }
    plain
}

/// Compatibility forms, and what looks like a slash.
fn folded(text: &str) -> String {
    if text.is_ascii() {
        return text.to_owned();
    }
    let looks = |c: char| match c {
        '∕' | '⁄' | '⧸' | '╱' => '/',
        '∖' | '⧵' | '⧹' => '\\',
        other => other,
    };
    text.nfkc().map(looks).collect()
}

/// Overlong UTF-8 of ASCII characters, in two to six bytes, becomes those characters.
fn overlong(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some((first, tail)) = rest.split_first() {
        let (zeros, lead) = match first {
            0xc0 | 0xc1 => (0, *first),
            0xe0 => (1, 0),
            0xf0 => (2, 0),
            0xf8 => (3, 0),
            0xfc => (4, 0),
            _ => (usize::MAX, 0),
        };
        let form = tail
            .get(..zeros.saturating_add(1))
            .filter(|_| zeros != usize::MAX);
        let overlong = form.and_then(|form| {
            let (last, middle) = form.split_last()?;
            let high = middle.last().map_or(lead & 1, |byte| byte & 1);
            let zero = middle
                .iter()
                .enumerate()
                .all(|(at, byte)| *byte == 0x80 || (at + 1 == middle.len() && *byte == 0x81));
            (zero && last & 0xc0 == 0x80).then_some(((high << 6) | (last & 0x3f), form.len()))
        });
        if let Some((byte, length)) = overlong {
            plain.push(byte);
            rest = &tail[length..];
        } else {
            plain.push(*first);
            rest = tail;
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_leaves_the_root_by_any_reading_is_refused() {
        let cases = [
            "../x",
            "a/../../x",
            "..%2fx",
            "%2e%2e/x",
            "%252e%252e%252fx",
            "..\\x",
            "a/..\\..\\..\\x",
            "..%c0%afx",
            "．．/x",
            "..∕x",
            "....//x",
            ".. /x",
            "..;/x",
            "~/x",
            "file:///etc/passwd",
            "C:\\x",
            "\\u002e\\u002e/x",
            "a\0b",
            "",
            ".git/config",
            "id_rsa",
            "keys/server.PEM",
        ];
        for case in cases {
            assert!(check(case, &["/srv/data"]).is_err(), "{case}");
        }
    }

    #[test]
    fn what_stays_is_taken() {
        for case in [
            "a.txt",
            "notes/x/../y.md",
            "reports/100%.txt",
            "a..b",
            "...",
            "über.txt",
            "/srv/data/a",
            "Q1 2025.csv",
            "./a",
        ] {
            assert!(
                check(case, &["/srv/data"]).is_ok(),
                "{case}: {:?}",
                check(case, &["/srv/data"])
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_gets_a_decision(text in "\\PC{0,40}") {
            drop(check(&text, &["/srv/data"]));
        }
    }
}
