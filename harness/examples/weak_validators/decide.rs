//! The decisions, shared with the test that hunts them.

use pg_query::NodeEnum;

pub(crate) type Decide = fn(&str) -> bool;

/// Each by its name.
pub(crate) const ALL: &[(&str, Decide)] = &[
    ("prefix", prefix),
    ("keywords", keywords),
    ("sqlparser", sqlparser),
    ("top-level", top_level),
];

pub(crate) fn by_name(name: &str) -> Option<Decide> {
    ALL.iter()
        .find(|(known, _)| *known == name)
        .map(|(_, decide)| *decide)
}

/// It begins like a question.
fn prefix(statement: &str) -> bool {
    let folded = statement.trim_start().to_lowercase();
    folded.starts_with("select") || folded.starts_with("with")
}

/// It has none of the words that one thinks of.
fn keywords(statement: &str) -> bool {
    let folded = statement.to_lowercase();
    let bad = [
        "insert", "update", "delete", "drop", "alter", "create", "truncate", "grant", "revoke",
        "copy", "execute", "call", ";--", "xp_", "pg_sleep",
    ];
    prefix(statement) && !bad.iter().any(|word| folded.contains(word))
}

/// To a general parser it is one query.
fn sqlparser(statement: &str) -> bool {
    let dialect = sqlparser::dialect::PostgreSqlDialect {};
    sqlparser::parser::Parser::parse_sql(&dialect, statement)
        .is_ok_and(|parsed| matches!(parsed.as_slice(), [sqlparser::ast::Statement::Query(_)]))
}

/// To Postgres' own parser its top is one SELECT.
fn top_level(statement: &str) -> bool {
    pg_query::parse(statement, pg_query::ParserOptions::default()).is_ok_and(|parsed| {
        let [only] = parsed.protobuf.stmts.as_slice() else {
            return false;
        };
        let node = only.stmt.as_ref().and_then(|node| node.node.as_ref());
        matches!(node, Some(NodeEnum::SelectStmt(_)))
    })
}
