//! What may stand in an audit event of a text that somebody else wrote: cut, and without what looks like a secret.

const LONGEST: usize = 256;
const MASK: &str = "***";
/// As many as no year, quarter or port has.
const MOST_DIGITS: usize = 8;
const LONGEST_PLAIN_WORD: usize = 31;

/// The text, cut to 256 characters; keys, tokens, addresses of persons, long numbers and query strings are left out.
pub(crate) fn mask(text: &str) -> String {
    let cut: String = text.chars().take(LONGEST).collect();
    let mut masked = String::new();
    for word in cut.split_inclusive(char::is_whitespace) {
        let bare = word.trim_end();
        masked.push_str(&mask_word(bare));
        masked.push_str(&word[bare.len()..]);
    }
    if cut.contains("PRIVATE KEY") {
        return MASK.to_owned();
    }
    without_long_numbers(&masked)
}

fn mask_word(word: &str) -> String {
    let (head, rest) = word.split_once("://").map_or(("", word), |(scheme, rest)| {
        (&word[..scheme.len() + 3], rest)
    });
    let (place, query) = match rest.find(['?', '#']) {
        Some(at) => (&rest[..at], &rest[at..=at]),
        None => (rest, ""),
    };
    let place = place
        .split('/')
        .map(|part| if is_secret(part) { MASK } else { part })
        .collect::<Vec<_>>()
        .join("/");
    let hidden = if query.is_empty() { "" } else { MASK };
    format!("{head}{place}{query}{hidden}")
}

fn is_secret(part: &str) -> bool {
    let begins = ["sk-", "AKIA", "eyJ", "ghp_", "xox"];
    let long = part.chars().filter(char::is_ascii_alphanumeric).count() > LONGEST_PLAIN_WORD
        && part.chars().any(|c| c.is_ascii_digit());
    part.contains('@') || long || begins.iter().any(|begin| part.starts_with(begin))
}

/// Card, account, telephone and social security numbers, also in groups.
fn without_long_numbers(text: &str) -> String {
    let mut masked = String::new();
    let mut number = String::new();
    let grouping = |c: char| c.is_ascii_digit() || matches!(c, ' ' | '-' | '+');
    let flush = |number: &mut String, masked: &mut String| {
        let digits = number.chars().filter(char::is_ascii_digit).count();
        masked.push_str(if digits > MOST_DIGITS { MASK } else { number });
        number.clear();
    };
    for c in text.chars() {
        if grouping(c) {
            number.push(c);
        } else {
            flush(&mut number, &mut masked);
            masked.push(c);
        }
    }
    flush(&mut number, &mut masked);
    masked
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_secret_is_left_out() {
        for secret in [
            "sk-ant-api03-AAAAAAAAAAAAAAAAAAAAAAAAAAAA",
            "postgres://app:hunter2@db/finance",
            "card 4111 1111 1111 1111",
            "mail jane.doe@example.com, phone +49 30 1234567",
            "IBAN DE89 3704 0044 0532 0130 00",
            "-----BEGIN PRIVATE KEY-----\nMIIEvQIBADAN",
            "SSN 078-05-1120",
            "http://evil.example/?d=4711-2291",
        ] {
            let masked = mask(secret);
            assert!(masked.contains(MASK), "{masked}");
            for part in [
                "AAAA", "hunter2", "1111", "jane", "1234567", "3704", "MII", "1120", "4711",
            ] {
                assert!(!masked.contains(part), "{masked}");
            }
        }
        assert_eq!(
            mask("../outside/notes 2025.txt"),
            "../outside/notes 2025.txt"
        );
        assert_eq!(mask("http://10.0.0.1:8080/x"), "http://10.0.0.1:8080/x");
    }
}
