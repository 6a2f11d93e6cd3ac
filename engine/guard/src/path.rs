//! May this path be tried? By its text alone, taken literally and as another layer might read it.

use crate::{Refusal, Rule};
use unicode_normalization::UnicodeNormalization as _;

/// A path that stays where it begins, by every reading. What lies there is decided when it is opened.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SafePath {
    text: String,
}

impl SafePath {
    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Whether it begins with a slash.
    pub fn is_absolute(&self) -> bool {
        self.text.starts_with('/')
    }
}

const LONGEST: usize = 4_096;
const LONGEST_NAME: usize = 255;
const MOST_COMPONENTS: usize = 256;
const READINGS: usize = 4;
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

/// Decides.
pub fn check(text: &str) -> Result<SafePath, Refusal> {
    let long_name = text.split('/').any(|name| name.len() > LONGEST_NAME);
    if text.is_empty()
        || text.len() > LONGEST
        || long_name
        || text.split('/').count() > MOST_COMPONENTS
        || text.chars().any(char::is_control)
    {
        return Err(Refusal::new(Rule::PathMalformed, ""));
    }
    judge(text, Rule::PathOutsideRoot)?;
    let mut reading = text.to_owned();
    for _ in 0..READINGS {
        let next = decode(&reading);
        if next.chars().any(char::is_control) {
            return Err(Refusal::new(Rule::PathEncodedTraversal, ""));
        }
        for variant in [
            next.clone(),
            next.replace('\\', "/"),
            next.replace("../", ""),
            next.replace("..\\", ""),
        ] {
            judge(&without_blanks(&variant), Rule::PathEncodedTraversal)?;
        }
        let foreign = next.starts_with('~')
            || next.contains(":/")
            || next.contains(":\\")
            || next.as_bytes().get(1) == Some(&b':');
        if foreign || (next.starts_with('/') && !text.starts_with('/')) || next.starts_with('\\') {
            return Err(Refusal::new(Rule::PathEncodedTraversal, ""));
        }
        if next == reading {
            break;
        }
        reading = next;
    }
    Ok(SafePath {
        text: text.to_owned(),
    })
}

/// One reading: does it climb, hide or name a key?
fn judge(text: &str, leaves: Rule) -> Result<(), Refusal> {
    let mut depth = 0_i32;
    for name in text.split('/') {
        match name {
            "" | "." => {}
            ".." => depth -= 1,
            name => {
                depth += 1;
                refuse_name(name)?;
            }
        }
        if depth < 0 {
            return Err(Refusal::new(leaves, ""));
        }
    }
    Ok(())
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

/// Percent, `%u`, `\u`, `\x` and `0x` escapes, overlong bytes, look-alikes of the slash, compatibility forms.
fn decode(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let escape = [
            ("%u", 4),
            ("%U", 4),
            ("\\u", 4),
            ("\\U", 4),
            ("\\x", 2),
            ("\\X", 2),
            ("0x", 2),
            ("0X", 2),
            ("%", 2),
        ]
        .into_iter()
        .find_map(|(head, digits)| {
            let code = rest.strip_prefix(head)?.get(..digits)?;
            Some((
                u32::from_str_radix(code, 16).ok()?,
                head.len() + digits,
                head == "%",
            ))
        });
        if let Some((code, length, is_byte)) = escape {
            match (is_byte, u8::try_from(code), char::from_u32(code)) {
                (true, Ok(byte), _) => bytes.push(byte),
                (_, _, Some(c)) => bytes.extend(c.to_string().into_bytes()),
                _ => {}
            }
            rest = &rest[length..];
        } else {
            bytes.extend(first.to_string().into_bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    let plain = overlong(&bytes);
    let text = String::from_utf8_lossy(&plain).into_owned();
    let normal: String = text.nfkc().collect();
    normal
        .chars()
        .map(|c| match c {
            '∕' | '⁄' | '⧸' | '╱' => '/',
            '∖' | '⧵' | '⧹' => '\\',
            other => other,
        })
        .collect()
}

/// Overlong UTF-8 of ASCII characters becomes those characters.
fn overlong(bytes: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while at < bytes.len() {
        match bytes[at..] {
            [lead @ 0xc0..=0xc1, next, ..] => {
                plain.push(((lead & 1) << 6) | (next & 0x3f));
                at += 2;
            }
            [0xe0, middle @ 0x80..=0x81, last, ..] => {
                plain.push(((middle & 1) << 6) | (last & 0x3f));
                at += 3;
            }
            [byte, ..] => {
                plain.push(byte);
                at += 1;
            }
            [] => break,
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
            assert!(check(case).is_err(), "{case}");
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
            assert!(check(case).is_ok(), "{case}: {:?}", check(case));
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_gets_a_decision(text in "\\PC{0,40}") {
            drop(check(&text));
        }
    }
}
