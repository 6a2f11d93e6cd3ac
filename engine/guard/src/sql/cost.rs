//! What would cost too much before any limit of the database could stop it.

use crate::{Refusal, Rule};
use pg_query::NodeEnum;
use pg_query::protobuf::{Node, a_const::Val};

const LONGEST_SERIES: i64 = 10_000;
const LONGEST_REPEAT: i64 = 1_000;

/// A whole number that stands there as such, with a sign or a cast.
fn whole(node: &Node) -> Option<i64> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref() {
            Some(Val::Ival(number)) => Some(i64::from(number.ival)),
            Some(Val::Fval(_)) => Some(i64::MAX),
            // Zero is not written into the tree.
            None if !constant.isnull => Some(0),
            _ => None,
        },
        NodeEnum::TypeCast(cast) => whole(cast.arg.as_deref()?),
        NodeEnum::AExpr(sign) if sign.lexpr.is_none() => whole(sign.rexpr.as_deref()?),
        _ => None,
    }
}

/// A cast to a date or a time: a series of them is bounded by its calendar.
fn dated(node: &Node) -> bool {
    let Some(NodeEnum::TypeCast(cast)) = node.node.as_ref() else {
        return false;
    };
    let names = cast.type_name.iter().flat_map(|kind| &kind.names);
    names.filter_map(|name| name.node.as_ref()).any(|name| {
        matches!(name, NodeEnum::String(name) if ["date", "timestamp", "timestamptz"].contains(&name.sval.as_str()))
    })
}

/// Only `%s`, `%I`, `%L` and `%%`: a width would be filled with blanks.
fn plain_template(node: &Node) -> bool {
    let Some(NodeEnum::AConst(constant)) = node.node.as_ref() else {
        return false;
    };
    let Some(Val::Sval(text)) = constant.val.as_ref() else {
        return false;
    };
    text.sval
        .replace("%%", "")
        .split('%')
        .skip(1)
        .all(|rest| rest.starts_with(['s', 'I', 'L']))
}

/// Whether a call could be made to cost more than it may.
pub(super) fn of_call(name: &str, arguments: &[Node]) -> bool {
    match name {
        "generate_series" => {
            let bounded = |argument: &Node| {
                dated(argument) || whole(argument).is_some_and(|n| n.abs() <= LONGEST_SERIES)
            };
            !arguments.iter().take(2).all(bounded)
        }
        "repeat" | "lpad" | "rpad" => arguments
            .get(1)
            .and_then(whole)
            .is_none_or(|n| n > LONGEST_REPEAT),
        "format" => arguments.first().is_none_or(|text| !plain_template(text)),
        _ => false,
    }
}

/// A recursive term needs a condition that can end it.
pub(super) fn recursion(queries: &[Node]) -> Result<(), (Refusal, i32)> {
    for node in queries {
        let Some(NodeEnum::CommonTableExpr(query)) = &node.node else {
            continue;
        };
        let Some(NodeEnum::SelectStmt(select)) = query
            .ctequery
            .as_ref()
            .and_then(|query| query.node.as_ref())
        else {
            continue;
        };
        let Some(term) = &select.rarg else { continue };
        let joined = term.from_clause.iter().any(
            |from| matches!(&from.node, Some(NodeEnum::JoinExpr(join)) if join.quals.is_some()),
        );
        if term.where_clause.is_none() && !joined {
            return Err((
                Refusal::new(Rule::TooCostly, &query.ctename),
                query.location,
            ));
        }
    }
    Ok(())
}
