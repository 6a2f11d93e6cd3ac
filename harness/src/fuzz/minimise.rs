//! What is left of a statement when everything is taken away that the finding does not need.

use pg_query::protobuf::{Node, ParseResult, RawStmt, ResTarget, SelectStmt};
use pg_query::{DeparseOptions, NodeEnum, NodeRef, ParserOptions};

/// Shorter statements that might show the same, shortest first.
pub(super) fn candidates(text: &str) -> Vec<String> {
    let Ok(parsed) = pg_query::parse(text, ParserOptions::default()) else {
        return pieces(text);
    };
    let mut found: Vec<String> = trees(&parsed.protobuf)
        .iter()
        .filter_map(|tree| pg_query::deparse(tree, DeparseOptions::default()).ok())
        .chain(groups(text))
        .chain(pieces(text))
        .filter(|shorter| shorter.len() < text.len())
        .collect();
    found.sort_by(|a, b| a.len().cmp(&b.len()).then(a.cmp(b)));
    found.dedup();
    found
}

/// The statement as Postgres would write it, without disguise.
pub(super) fn plain(text: &str) -> Option<String> {
    pg_query::parse(text, ParserOptions::default())
        .and_then(|parsed| parsed.deparse(DeparseOptions::default()))
        .ok()
}

fn trees(tree: &ParseResult) -> Vec<ParseResult> {
    let mut found = vec![tree.clone()];
    if tree.stmts.len() > 1 {
        for at in 0..tree.stmts.len() {
            let mut fewer = tree.clone();
            fewer.stmts.remove(at);
            found.push(fewer);
        }
        return found;
    }
    let alone = |node: NodeEnum| ParseResult {
        version: tree.version,
        stmts: vec![RawStmt {
            stmt: Some(Box::new(Node { node: Some(node) })),
            stmt_location: 0,
            stmt_len: 0,
        }],
    };
    for (node, ..) in tree.nodes() {
        let inner = match node {
            NodeRef::SelectStmt(select) => NodeEnum::SelectStmt(Box::new(select.clone())),
            NodeRef::DeleteStmt(_) | NodeRef::UpdateStmt(_) | NodeRef::InsertStmt(_) => {
                node.to_enum()
            }
            NodeRef::FuncCall(_)
            | NodeRef::SubLink(_)
            | NodeRef::TypeCast(_)
            | NodeRef::AExpr(_)
            | NodeRef::AIndirection(_) => select_of(node.to_enum()),
            _ => continue,
        };
        found.push(alone(inner));
    }
    if let Some(NodeEnum::SelectStmt(select)) = tree.stmts[0]
        .stmt
        .as_ref()
        .and_then(|node| node.node.as_ref())
    {
        let smaller = smaller(select).into_iter();
        found.extend(smaller.map(|select| alone(NodeEnum::SelectStmt(Box::new(select)))));
    }
    found
}

fn select_of(expression: NodeEnum) -> NodeEnum {
    let target = ResTarget {
        val: Some(Box::new(Node {
            node: Some(expression),
        })),
        ..ResTarget::default()
    };
    NodeEnum::SelectStmt(Box::new(SelectStmt {
        target_list: vec![Node {
            node: Some(NodeEnum::ResTarget(Box::new(target))),
        }],
        ..blank()
    }))
}

fn blank() -> SelectStmt {
    SelectStmt {
        limit_option: pg_query::protobuf::LimitOption::Default as i32,
        op: pg_query::protobuf::SetOperation::SetopNone as i32,
        ..SelectStmt::default()
    }
}

/// One clause or one item less.
fn smaller(select: &SelectStmt) -> Vec<SelectStmt> {
    let mut found = Vec::new();
    let mut without = |take: &dyn Fn(&mut SelectStmt)| {
        let mut less = select.clone();
        take(&mut less);
        if less != *select {
            found.push(less);
        }
    };
    without(&|less| less.where_clause = None);
    without(&|less| less.having_clause = None);
    without(&|less| less.group_clause.clear());
    without(&|less| less.sort_clause.clear());
    without(&|less| less.distinct_clause.clear());
    without(&|less| less.window_clause.clear());
    without(&|less| less.with_clause = None);
    without(&|less| less.locking_clause.clear());
    without(&|less| {
        less.limit_count = None;
        less.limit_offset = None;
        less.limit_option = pg_query::protobuf::LimitOption::Default as i32;
    });
    without(&|less| less.from_clause.clear());
    for at in 0..select.from_clause.len() {
        without(&|less| drop(less.from_clause.remove(at)));
    }
    if select.target_list.len() > 1 {
        for at in 0..select.target_list.len() {
            without(&|less| less.target_list = vec![select.target_list[at].clone()]);
        }
    }
    for half in [&select.larg, &select.rarg].into_iter().flatten() {
        found.push((**half).clone());
    }
    found
}

/// Every group in parentheses by itself, and with the name before it.
fn groups(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open = Vec::new();
    for (at, c) in text.char_indices() {
        match c {
            '(' => open.push(at),
            ')' => {
                let Some(from) = open.pop() else { continue };
                let named = text[..from]
                    .rfind(|c: char| !(c.is_alphanumeric() || "_.\"".contains(c)))
                    .map_or(0, |at| at + 1);
                let inner = text[from + 1..at].trim();
                found.push(format!("SELECT {}", &text[named..=at]));
                let word = inner.split_whitespace().next().unwrap_or_default();
                found.push(match word.to_ascii_uppercase().as_str() {
                    "SELECT" | "WITH" | "VALUES" | "TABLE" => inner.to_owned(),
                    _ => format!("SELECT {inner}"),
                });
            }
            _ => {}
        }
    }
    found
}

/// A text that is no tree: without one of its pieces.
fn pieces(text: &str) -> Vec<String> {
    const PIECES: usize = 8;
    let words: Vec<&str> = text.split_inclusive(char::is_whitespace).collect();
    let size = words.len().div_ceil(PIECES).max(1);
    let chunks = words.chunks(size).enumerate();
    let without = |left_out: usize| {
        let kept = words
            .chunks(size)
            .enumerate()
            .filter(|(at, _)| *at != left_out);
        kept.flat_map(|(_, chunk)| chunk.iter().copied())
            .collect::<String>()
    };
    chunks
        .map(|(at, _)| without(at).trim().to_owned())
        .filter(|text| !text.is_empty())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_stays_and_the_rest_goes() {
        let needed =
            |text: &str| text.to_lowercase().contains("pg_sleep(") && plain(text).is_some();
        let mut text = "WITH a AS (SELECT 1) SELECT c.name, (SELECT coalesce(pg_sleep(1)::text, 'x')) FROM companies c JOIN a ON true WHERE c.id > 3 ORDER BY 1 LIMIT 4".to_owned();
        while let Some(shorter) = candidates(&text)
            .into_iter()
            .find(|shorter| needed(shorter))
        {
            text = shorter;
        }
        assert_eq!(text, "SELECT pg_sleep(1)");
    }
}
