//! A statement cut up as `SQLite` does it, for what its authorizer does not tell: which names the statement itself writes.

/// A piece of a statement, in small letters.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Token {
    Word(String),
    /// Without its quotes, which may be those of a text: that too can name a table.
    Quoted(String),
    Sign(char),
}

impl Token {
    pub(super) fn name(self) -> Option<String> {
        match self {
            Self::Word(name) | Self::Quoted(name) => Some(name),
            Self::Sign(_) => None,
        }
    }
}

/// Every name that stands where that of a table can: `FROM a, b JOIN c`, `(a)`, `main.a`, `IN a`.
pub(super) fn names_of_tables(tokens: &[Token]) -> impl Iterator<Item = &String> {
    let leads = |token: &Token| match token {
        Token::Word(word) => matches!(word.as_str(), "from" | "join" | "in"),
        Token::Sign(sign) => matches!(sign, ',' | '(' | '.'),
        Token::Quoted(_) => false,
    };
    tokens.windows(2).filter_map(move |pair| match pair {
        [before, Token::Word(name) | Token::Quoted(name)] if leads(before) => Some(name),
        _ => None,
    })
}

/// As `SQLite` cuts a statement up (`sqlite3GetToken`), without comments, numbers of parameters and blanks.
pub(super) fn tokens(statement: &str) -> Vec<Token> {
    const MARK: char = '\u{feff}';
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            '"' | '`' | '\'' | '[' => {
                let closing = if first == '[' { ']' } else { first };
                let (name, length) = quoted(rest, closing);
                tokens.push(Token::Quoted(name));
                length
            }
            '$' | '@' | '#' | ':' => parameter(rest),
            MARK => MARK.len_utf8(),
            c if is_of_name(c) => {
                let length = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_ascii_lowercase()));
                length
            }
            c if c.is_ascii_whitespace() => c.len_utf8(),
            c => {
                tokens.push(Token::Sign(c));
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

fn is_of_name(c: char) -> bool {
    c.is_ascii_alphanumeric() || c == '_' || c == '$' || !c.is_ascii()
}

/// The length of a named parameter, which may have a suffix in brackets, quotes and signs of comments included.
fn parameter(text: &str) -> usize {
    let mut at = 1;
    let mut has_name = false;
    while let Some(c) = text[at..].chars().next() {
        if is_of_name(c) {
            has_name = true;
            at += c.len_utf8();
        } else if text[at..].starts_with("::") {
            at += 2;
        } else if c == '(' && has_name {
            let is_end = |c: char| c == ')' || c.is_ascii_whitespace() || c == '\u{b}';
            return text[at + 1..]
                .find(is_end)
                .map_or(text.len(), |end| at + 1 + end + 1);
        } else {
            break;
        }
    }
    at
}

/// A name between quotes, of which a doubled one stands for itself; and its length with them.
fn quoted(text: &str, closing: char) -> (String, usize) {
    let mut name = String::new();
    let mut inside = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = inside.next() {
        if c != closing {
            name.push(c);
        } else if closing != ']' && inside.peek().is_some_and(|(_, next)| *next == closing) {
            name.push(c);
            inside.next();
        } else {
            return (name.to_ascii_lowercase(), at + c.len_utf8());
        }
    }
    (name.to_ascii_lowercase(), text.len())
}
