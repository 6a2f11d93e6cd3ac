//! Statements one after the other, from a seed: legitimate ones, hostile ones in every position, disguised and spliced.

use super::words::{
    CONDITIONS, EXPRESSIONS, FORMS, HOSTILE_SOURCES, NUMBERS, SOURCES, STATEMENTS, TEXTS,
};
use pg_query::protobuf::{KeywordKind, ScanToken, Token};
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use std::collections::BTreeSet;

/// A statement and what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Case {
    pub(super) text: String,
    /// What kind of thing must not get through; nothing where it is legitimate.
    pub(super) family: Option<&'static str>,
    /// The same without its disguise.
    pub(super) plain: Option<String>,
}

/// What came of changing an earlier statement; nothing is known of it.
pub(super) const MUTATED: &str = "mutation";

const MOST_KEPT: usize = 2_000;
const MOST_WRAPPINGS: usize = 3;
/// Meanings that stay within a larger expression.
const WRAPPINGS: &[&str] = &[
    "({p})",
    "(SELECT {p})",
    "(ARRAY[{p}])[1]",
    "CASE WHEN true THEN {p} END",
    "(WITH w AS (SELECT {p} AS q) SELECT w.q FROM w)",
    "(SELECT y.x FROM (SELECT {p} AS x) y)",
    "(VALUES ({p}))",
    "(SELECT max(m.x) FROM (SELECT {p} AS x UNION ALL SELECT NULL) m)",
];
const INSERTS: &[&str] = &[
    "FOR UPDATE",
    "INTO planted",
    "; SELECT app.touch()",
    "UNION SELECT memo FROM vault",
    "ORDER BY 1 USING OPERATOR(public.===)",
    ".label",
    "::noisy_text",
    "OPERATOR(public.===) 1",
    "FROM vault",
    ", app.touch()",
];

/// An endless, repeatable row of statements.
#[derive(Debug)]
pub(super) struct Generator {
    random: ChaCha8Rng,
    file: String,
    kept: Vec<String>,
}

impl Generator {
    /// `file` is a file on the database's server that holds a canary.
    pub(super) fn new(seed: u64, file: &str) -> Self {
        Self {
            random: ChaCha8Rng::seed_from_u64(seed),
            file: file.to_owned(),
            kept: Vec::new(),
        }
    }

    /// Remembers a statement that showed something new, to change it later.
    pub(super) fn keep(&mut self, text: &str) {
        if self.kept.len() < MOST_KEPT {
            self.kept.push(text.to_owned());
        } else {
            let at = self.random.random_range(0..MOST_KEPT);
            text.clone_into(&mut self.kept[at]);
        }
    }

    pub(super) fn next(&mut self) -> Case {
        let kind = self.random.random_range(0..100);
        let (text, family) = match kind {
            0..20 => (self.form(None), None),
            20..65 => {
                let hostile = self
                    .random
                    .random_range(0..EXPRESSIONS.len() + HOSTILE_SOURCES.len());
                let family = EXPRESSIONS
                    .get(hostile)
                    .unwrap_or_else(|| &HOSTILE_SOURCES[hostile - EXPRESSIONS.len()])
                    .0;
                (self.form(Some(hostile)), Some(family))
            }
            65..82 => {
                let (family, text) = STATEMENTS[self.one_of_a_family(STATEMENTS)];
                (text.to_owned(), Some(family))
            }
            _ if self.kept.is_empty() => (self.form(None), None),
            _ => (self.mutation(), Some(MUTATED)),
        };
        let text = text.replace("@FILE@", &self.file);
        let disguised = if self.random.random_bool(0.6) {
            self.disguise(&text)
        } else {
            None
        };
        match disguised {
            Some(disguised) => Case {
                text: disguised,
                family,
                plain: Some(text),
            },
            None => Case {
                text,
                family,
                plain: None,
            },
        }
    }

    fn pick<T: Copy>(&mut self, list: &[T]) -> T {
        list[self.random.random_range(0..list.len())]
    }

    /// Every family comes as often as any other, however many texts it has.
    fn one_of_a_family(&mut self, list: &[(&str, &str)]) -> usize {
        let families: BTreeSet<&str> = list.iter().map(|(family, _)| *family).collect();
        let families: Vec<&str> = families.into_iter().collect();
        let family = self.pick(&families);
        let within: Vec<usize> = (0..list.len()).filter(|at| list[*at].0 == family).collect();
        self.pick(&within)
    }

    /// A form with its holes filled, one of them with something hostile.
    fn form(&mut self, hostile: Option<usize>) -> String {
        let wants_source = hostile.is_some_and(|at| at >= EXPRESSIONS.len());
        let fitting = |form: &&&str| match hostile {
            None => true,
            Some(_) => form.contains("{s}") == wants_source,
        };
        let forms: Vec<&&str> = FORMS.iter().filter(fitting).collect();
        let mut form = (*self.pick(&forms)).to_string();
        let holes = form.matches('{').count();
        let chosen = self.random.random_range(0..holes.max(1));
        let mut number = 0;
        while let Some(at) = form.find('{') {
            let hole = form[at..at + 3].to_owned();
            let filling = match hostile {
                Some(hostile) if number == chosen => self.hostile(hostile, &hole),
                _ => self.legitimate(&hole),
            };
            form.replace_range(at..at + 3, &filling.replace('{', "\u{1}"));
            number += 1;
        }
        form.replace('\u{1}', "{")
    }

    fn legitimate(&mut self, hole: &str) -> String {
        let words = match hole {
            "{i}" => NUMBERS,
            "{b}" => CONDITIONS,
            "{t}" => TEXTS,
            _ => SOURCES,
        };
        self.pick(words).to_owned()
    }

    fn hostile(&mut self, which: usize, hole: &str) -> String {
        let Some((_, expression)) = EXPRESSIONS.get(which) else {
            return HOSTILE_SOURCES[which - EXPRESSIONS.len()].1.to_owned();
        };
        let mut text = (*expression).to_owned();
        for _ in 0..self.random.random_range(0..=MOST_WRAPPINGS) {
            text = self.pick(WRAPPINGS).replace("{p}", &text);
        }
        if self.random.random_bool(0.3) {
            return text;
        }
        match hole {
            "{i}" => format!("(CASE WHEN {text} IS NULL THEN 1 ELSE 2 END)"),
            "{b}" => format!("({text} IS NOT NULL)"),
            _ => format!("({text})::text"),
        }
    }

    /// Something earlier, changed in a place or two.
    fn mutation(&mut self) -> String {
        let at = self.random.random_range(0..self.kept.len());
        let mut text = self.kept[at].clone();
        for _ in 0..self.random.random_range(1..=3) {
            text = self.mutate(&text);
        }
        text
    }

    fn mutate(&mut self, text: &str) -> String {
        let Some(tokens) = tokens(text).filter(|tokens| tokens.len() > 1) else {
            return text.to_owned();
        };
        let from = self.random.random_range(0..tokens.len());
        let to = (from + self.random.random_range(1..=4)).min(tokens.len());
        let (start, end) = (tokens[from].start, tokens[to - 1].end);
        let (before, middle, after) = (&text[..start], &text[start..end], &text[end..]);
        match self.random.random_range(0..6) {
            0 => format!("{before}{after}"),
            1 => format!("{before}{middle} {middle}{after}"),
            2 => {
                let insert = self.pick(INSERTS);
                format!("{before}{middle} {insert} {after}")
            }
            3 => {
                let hostile = self.random.random_range(0..EXPRESSIONS.len());
                let expression = self.hostile(hostile, "{i}");
                format!("{before} {expression} {after}")
            }
            4 => {
                let other = self.random.random_range(0..self.kept.len());
                let group = group(&self.kept[other]).unwrap_or("(SELECT 1)").to_owned();
                format!("{before} {group} {after}")
            }
            _ => {
                let word = self.pick(NUMBERS);
                format!("{before} {word} {after}")
            }
        }
    }

    /// The same meaning in other characters; nothing where the text has no tokens.
    fn disguise(&mut self, text: &str) -> Option<String> {
        let tokens = tokens(text)?;
        let mut disguised = String::new();
        let mut last = 0;
        let mut comments = 0;
        for (at, token) in tokens.iter().enumerate() {
            let gap = &text[last..token.start];
            // The line of a comment ends where it ended.
            let after_comment = at > 0 && text[tokens[at - 1].start..].starts_with("--");
            if after_comment {
                disguised.push_str(gap);
            } else {
                disguised.push_str(&self.gap(gap, &mut comments));
            }
            let called = tokens
                .get(at + 1)
                .is_some_and(|next| text[next.start..next.end] == *"(");
            disguised.push_str(&self.word(&text[token.start..token.end], token, called));
            last = token.end;
        }
        disguised.push_str(&text[last..]);
        if self.random.random_bool(0.1) {
            disguised.push_str("/* ; DELETE FROM companies */");
        }
        (disguised != text).then_some(disguised)
    }

    fn gap(&mut self, gap: &str, comments: &mut u32) -> String {
        const MOST_COMMENTS: u32 = 12;
        if gap.is_empty() {
            return String::new();
        }
        let kind = self.random.random_range(0..20);
        if kind < 3 {
            *comments += 1;
        }
        match kind {
            0..3 if *comments > MOST_COMMENTS => gap.to_owned(),
            0 => "/**/".to_owned(),
            1 => "/* a /* nested */ ' */".to_owned(),
            2 => " -- ;\n".to_owned(),
            3 => "\n\t".to_owned(),
            4 => "\u{c}".to_owned(),
            _ => gap.to_owned(),
        }
    }

    fn word(&mut self, word: &str, token: &Span, called: bool) -> String {
        let plain = word
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || byte == b'_');
        match token.kind {
            Kind::Name if plain => match self.random.random_range(0..8) {
                0 => self.recased(word),
                1 => format!("\"{}\"", word.to_ascii_lowercase()),
                2 => escaped_name(&word.to_ascii_lowercase()),
                _ => word.to_owned(),
            },
            Kind::Keyword if plain && !called => {
                if self.random.random_bool(0.3) {
                    self.recased(word)
                } else {
                    word.to_owned()
                }
            }
            Kind::Literal if word.starts_with('\'') => {
                let inner = word.trim_matches('\'').to_owned();
                let simple = !inner.contains(['\'', '\\', '$']);
                match self.random.random_range(0..8) {
                    0 if simple => format!("$${inner}$$"),
                    1 if simple => format!("$q1${inner}$q1$"),
                    2 if simple && inner.is_ascii() => {
                        let bytes = inner.bytes().map(|byte| format!("\\x{byte:02x}"));
                        format!("E'{}'", bytes.collect::<String>())
                    }
                    3 if simple && inner.is_ascii() => {
                        let bytes = inner
                            .bytes()
                            .map(|byte| format!("\\{:04x}", u32::from(byte)));
                        format!("U&'{}'", bytes.collect::<String>())
                    }
                    _ => word.to_owned(),
                }
            }
            _ => word.to_owned(),
        }
    }

    fn recased(&mut self, word: &str) -> String {
        let bits = self.random.next_u64();
        let cased = word.chars().enumerate().map(|(at, c)| {
            if bits >> (at % 64) & 1 == 1 {
                c.to_ascii_uppercase()
            } else {
                c.to_ascii_lowercase()
            }
        });
        cased.collect()
    }
}

fn escaped_name(name: &str) -> String {
    let first = name.bytes().next().map(u32::from).unwrap_or_default();
    format!("U&\"\\{first:04x}{}\"", name.get(1..).unwrap_or_default())
}

/// A part of a text in parentheses.
fn group(text: &str) -> Option<&str> {
    let from = text.find('(')?;
    let mut depth = 0;
    for (at, byte) in text.bytes().enumerate().skip(from) {
        depth += match byte {
            b'(' => 1,
            b')' => -1,
            _ => 0,
        };
        if depth == 0 {
            return text.get(from..=at);
        }
    }
    None
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Name,
    Keyword,
    Literal,
    Other,
}

#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    kind: Kind,
}

/// As Postgres' own scanner sees them.
fn tokens(text: &str) -> Option<Vec<Span>> {
    let scanned = pg_query::scan(text).ok()?;
    let span = |token: &ScanToken| {
        let kind = match token.token() {
            Token::Ident => Kind::Name,
            Token::Sconst => Kind::Literal,
            _ if token.keyword_kind() == KeywordKind::NoKeyword => Kind::Other,
            _ => Kind::Keyword,
        };
        let (start, end) = (
            usize::try_from(token.start).ok()?,
            usize::try_from(token.end).ok()?,
        );
        (text.is_char_boundary(start) && text.is_char_boundary(end)).then_some(Span {
            start,
            end,
            kind,
        })
    };
    scanned.tokens.iter().map(span).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_repeats_its_statements_and_all_legitimate_ones_parse() {
        let row = |seed| {
            let mut generator = Generator::new(seed, "f");
            (0..500).map(|_| generator.next()).collect::<Vec<_>>()
        };
        let (first, second, other) = (row(1), row(1), row(2));
        let texts = |row: &[Case]| row.iter().map(|case| case.text.clone()).collect::<Vec<_>>();
        assert_eq!(texts(&first), texts(&second));
        assert_ne!(texts(&first), texts(&other));
        for case in first.iter().filter(|case| case.family.is_none()) {
            assert!(
                pg_query::parse(&case.text, pg_query::ParserOptions::default()).is_ok(),
                "{}",
                case.text
            );
        }
    }

    #[test]
    fn a_disguise_means_the_same() {
        let mut generator = Generator::new(3, "f");
        let fingerprint = |text: &str| {
            pg_query::parse(text, pg_query::ParserOptions::default())
                .and_then(|parsed| parsed.deparse(pg_query::DeparseOptions::default()))
                .ok()
        };
        for _ in 0..500 {
            let case = generator.next();
            if let Some(plain) = case.plain {
                assert_eq!(
                    fingerprint(&case.text),
                    fingerprint(&plain),
                    "{}",
                    case.text
                );
            }
        }
    }
}
