//! Decides whether a statement touches a relation of the user's. Looks at words only, and rather counts one too many.

/// Statements that open, close, set or look, and read no rows of the user's themselves.
const SILENT: [&str; 21] = [
    "abort",
    "begin",
    "close",
    "commit",
    "deallocate",
    "discard",
    "end",
    "explain",
    "fetch",
    "listen",
    "move",
    "notify",
    "release",
    "reset",
    "rollback",
    "savepoint",
    "set",
    "show",
    "start",
    "unlisten",
    "checkpoint",
];
/// Words that end a list of relations.
const AFTER_FROM: [&str; 16] = [
    "where",
    "group",
    "having",
    "window",
    "order",
    "limit",
    "offset",
    "fetch",
    "for",
    "union",
    "intersect",
    "except",
    "select",
    "values",
    "set",
    "returning",
];
/// What may stand where a relation is expected and is none.
const NOT_A_NAME: [&str; 6] = ["select", "values", "with", "null", "true", "false"];

/// Whether a statement touches a relation of the user's: not what only opens or closes a transaction, sets, explains,
/// or reads the system's own catalogues. Comments and literals say nothing; of several statements in one text, any counts.
pub fn names_relation(statement: &str) -> bool {
    tokens(statement)
        .split(|token| *token == Token::Sign(b';'))
        .any(one_names_relation)
}

fn one_names_relation(tokens: &[Token]) -> bool {
    let Some(first) = tokens.iter().find_map(Token::keyword) else {
        return false;
    };
    let analyzes = |token: &Token| matches!(token.keyword(), Some("analyze" | "analyse"));
    if SILENT.contains(&first) && !(first == "explain" && tokens.iter().any(analyzes)) {
        return false;
    }
    // What these run cannot be seen in their text.
    if ["do", "call", "execute"].contains(&first) {
        return true;
    }
    // For each open parenthesis: whether a comma is followed by a further relation.
    let mut in_from = vec![false];
    // A relation comes next; and whether it may as well be a function.
    let mut expected = None;
    for (index, token) in tokens.iter().enumerate() {
        match token {
            Token::Sign(b'(') => in_from.push(expected.is_some()),
            Token::Sign(b')') => {
                if in_from.len() > 1 {
                    in_from.pop();
                }
                expected = None;
            }
            Token::Sign(b',') => {
                expected = in_from.last().is_some_and(|list| *list).then_some(true);
            }
            Token::Sign(_) | Token::Other => expected = None,
            Token::Word { .. } => match token.keyword() {
                Some("from") if compares(&tokens[..index]) => expected = None,
                Some("from") => {
                    expected = Some(true);
                    if let Some(list) = in_from.last_mut() {
                        *list = true;
                    }
                }
                Some("join") => expected = Some(true),
                Some("table" | "into" | "update" | "copy" | "truncate" | "lock") => {
                    expected = Some(false);
                }
                Some("only" | "lateral") if expected.is_some() => {}
                word => {
                    if let Some(may_be_function) = expected.take() {
                        let called =
                            may_be_function && tokens.get(index + 1) == Some(&Token::Sign(b'('));
                        let other = word.is_some_and(|word| NOT_A_NAME.contains(&word));
                        if !called && !other && token.is_of_user() {
                            return true;
                        }
                    }
                    if word.is_some_and(|word| AFTER_FROM.contains(&word))
                        && let Some(list) = in_from.last_mut()
                    {
                        *list = false;
                    }
                }
            },
        }
    }
    false
}

/// Whether a FROM after these belongs to `IS [NOT] DISTINCT FROM`.
fn compares(before: &[Token]) -> bool {
    let mut back = before.iter().rev().map(Token::keyword);
    back.next() == Some(Some("distinct")) && matches!(back.next(), Some(Some("is" | "not")))
}

#[derive(Debug, PartialEq, Eq)]
enum Token {
    /// A name with its dots, or a keyword; folded unless quoted.
    Word {
        text: String,
        quoted: bool,
    },
    Sign(u8),
    /// A literal, a number or a parameter.
    Other,
}

impl Token {
    fn keyword(&self) -> Option<&str> {
        match self {
            Self::Word {
                text,
                quoted: false,
            } => Some(text),
            _ => None,
        }
    }

    fn is_of_user(&self) -> bool {
        matches!(self, Self::Word { text, .. } if !text.starts_with("pg_") && !text.starts_with("information_schema"))
    }
}

fn tokens(statement: &str) -> Vec<Token> {
    let bytes = statement.as_bytes();
    let mut tokens = Vec::new();
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let rest = &bytes[at..];
        match byte {
            _ if byte.is_ascii_whitespace() => at += 1,
            b'-' if rest.starts_with(b"--") => {
                at += rest
                    .iter()
                    .position(|byte| matches!(byte, b'\n' | b'\r'))
                    .unwrap_or(rest.len());
            }
            b'/' if rest.starts_with(b"/*") => at += comment(rest),
            b'\'' => {
                at += literal(rest, false);
                tokens.push(Token::Other);
            }
            b'e' | b'E' if rest.get(1) == Some(&b'\'') => {
                at += 1 + literal(&rest[1..], true);
                tokens.push(Token::Other);
            }
            b'$' => {
                at += dollar(rest);
                tokens.push(Token::Other);
            }
            b'0'..=b'9' => {
                at += rest
                    .iter()
                    .take_while(|byte| is_of_name(**byte) || **byte == b'.')
                    .count();
                tokens.push(Token::Other);
            }
            _ if byte == b'"' || is_of_name(byte) => {
                let (word, length) = word(rest);
                at += length;
                tokens.push(word);
            }
            _ => {
                tokens.push(Token::Sign(byte));
                at += 1;
            }
        }
    }
    tokens
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'$' || !byte.is_ascii()
}

/// A name with its dots, its parts quoted or not, and its length.
fn word(bytes: &[u8]) -> (Token, usize) {
    let mut text = Vec::new();
    let mut quoted = false;
    let mut at = 0;
    loop {
        match bytes.get(at) {
            Some(b'"') => {
                quoted = true;
                let length = until_quote(&bytes[at + 1..], b'"', false);
                text.extend_from_slice(&bytes[at + 1..at + 1 + length]);
                at = (at + length + 2).min(bytes.len());
            }
            Some(b'.') if at > 0 => {
                text.push(b'.');
                at += 1;
            }
            Some(byte) if is_of_name(*byte) => {
                text.push(byte.to_ascii_lowercase());
                at += 1;
            }
            _ => break,
        }
    }
    let text = String::from_utf8_lossy(&text).into_owned();
    (Token::Word { text, quoted }, at)
}

/// The length of what stands before the closing quote; a doubled quote closes nothing.
fn until_quote(bytes: &[u8], quote: u8, escapes: bool) -> usize {
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        let backslash = escapes && byte == b'\\';
        let doubled = byte == quote && bytes.get(at + 1) == Some(&quote);
        if backslash || doubled {
            at += 2;
        } else if byte == quote {
            return at;
        } else {
            at += 1;
        }
    }
    bytes.len()
}

fn literal(bytes: &[u8], escapes: bool) -> usize {
    (until_quote(&bytes[1..], b'\'', escapes) + 2).min(bytes.len())
}

/// A parameter, or a literal between dollar quotes.
fn dollar(bytes: &[u8]) -> usize {
    let name = bytes[1..]
        .iter()
        .take_while(|byte| is_of_name(**byte) && **byte != b'$')
        .count();
    let tag = &bytes[..(name + 2).min(bytes.len())];
    let opens = tag.len() > 1 && tag.ends_with(b"$") && !tag.get(1).is_some_and(u8::is_ascii_digit);
    if !opens {
        return name + 1;
    }
    bytes[tag.len()..]
        .windows(tag.len())
        .position(|window| window == tag)
        .map_or(bytes.len(), |inside| inside + 2 * tag.len())
}

/// Comments nest.
fn comment(bytes: &[u8]) -> usize {
    let (mut depth, mut at) = (0_usize, 0);
    while at < bytes.len() {
        let rest = &bytes[at..];
        if rest.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if rest.starts_with(b"*/") {
            depth -= 1;
            at += 2;
            if depth == 0 {
                break;
            }
        } else {
            at += 1;
        }
    }
    at
}

#[cfg(test)]
mod tests {
    use super::names_relation;

    #[test]
    fn a_statement_on_a_relation_counts_however_it_is_dressed() {
        for statement in [
            "SELECT sum(revenue) FROM financial_records",
            "select * from(companies)",
            "TABLE companies",
            "SELECT 1 FROM pg_class c, companies",
            "SELECT 1 FROM pg_class JOIN LATERAL (SELECT 1 FROM ONLY \"companies\") x ON true",
            "/* begin */ SELECT * FROM companies",
            "-- explain\nSELECT * FROM public.companies",
            "BEGIN; SELECT * FROM companies; ROLLBACK",
            "SELECT 'it''s' , E'\\'' , $a$ from $a$, $1 FROM companies",
            "WITH d AS (DELETE FROM companies RETURNING *) SELECT 1",
            "INSERT INTO companies (id) VALUES (1)",
            "COPY companies TO STDOUT",
            "DROP TABLE companies",
            "DO $$ BEGIN DELETE FROM companies; END $$",
            "SELECT \"from\" FROM f(1) x, companies",
        ] {
            assert!(names_relation(statement), "{statement}");
        }
    }

    #[test]
    fn what_only_steers_or_reads_the_catalogue_does_not_count() {
        for statement in [
            "",
            ";",
            "BEGIN READ ONLY",
            "SET statement_timeout = '5s'",
            "EXPLAIN (FORMAT JSON) SELECT * FROM companies",
            "SELECT 1",
            "SELECT set_config('fact.tenant', 'acme', true)",
            "SELECT 'select * from companies' -- from companies",
            "SELECT oid FROM pg_catalog.pg_type, pg_class WHERE a IN (b, c) ORDER BY oid, typname",
            "SELECT x FROM (VALUES (0, 1::int4), (1, 2)) AS col(idx, table_id) LEFT JOIN pg_catalog.pg_attribute ON table_id IS NOT DISTINCT FROM attrelid",
            "SELECT * FROM generate_series(1, 3) i, unnest($1) j",
            "SELECT a, b FROM information_schema.columns",
            "FETCH 10 FROM cursor",
            "SELECT extract(year FROM now()), substring('abc' FROM 2)",
            "$",
            "$x",
            "'",
            "\"",
            "/*",
            "E'\\",
            "$a$ $",
        ] {
            assert!(!names_relation(statement), "{statement}");
        }
    }
}
