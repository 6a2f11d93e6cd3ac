//! What would cost too much before any limit of the database could stop it.

use crate::{Refusal, Rule};
use pg_query::NodeEnum;
use pg_query::protobuf::{Node, SelectStmt, a_const::Val};

const LONGEST_SERIES: i64 = 10_000;
/// Of one series, and of several that multiply.
const MOST_STEPS: i64 = 1_000_000;
const MOST_COLUMNS: usize = 200;
/// Of tables that no condition joins.
const MOST_UNJOINED: usize = 2;
const DAY: i64 = 86_400;
/// Dates that are computed lie within one, in days.
const CENTURY: i64 = 36_525;
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

/// What can only be a date or a time: a series of them is bounded by its calendar.
fn dated(node: &Node) -> bool {
    const GIVE_DATES: &[&str] = &[
        "now",
        "date_trunc",
        "date_bin",
        "make_date",
        "make_timestamp",
        "make_timestamptz",
        "to_date",
        "to_timestamp",
        "clock_timestamp",
        "statement_timestamp",
        "transaction_timestamp",
        "timezone",
    ];
    match &node.node {
        Some(NodeEnum::TypeCast(cast)) => {
            let names = cast.type_name.iter().flat_map(|kind| &kind.names);
            names
                .filter_map(super::tree::name_of)
                .any(|name| ["date", "timestamp", "timestamptz"].contains(&name))
        }
        Some(NodeEnum::FuncCall(call)) => {
            let name = call.funcname.last().and_then(super::tree::name_of);
            name.is_some_and(|name| GIVE_DATES.contains(&name))
        }
        Some(NodeEnum::AExpr(sum)) => [&sum.lexpr, &sum.rexpr]
            .into_iter()
            .flatten()
            .any(|side| dated(side)),
        // Today and now; users and schemas are refused elsewhere.
        Some(NodeEnum::SqlvalueFunction(_)) => true,
        _ => false,
    }
}

/// How many steps a series has at the most: between whole numbers, or between dates by literal intervals.
fn series(arguments: &[Node]) -> Option<i64> {
    let [from, to, step @ ..] = arguments else {
        return None;
    };
    if let (Some(from), Some(to)) = (whole(from), whole(to)) {
        let bounded = from.abs() <= LONGEST_SERIES && to.abs() <= LONGEST_SERIES;
        // A step below one makes more of them than there are numbers.
        let steps = step
            .first()
            .map_or(Some(1), whole)
            .filter(|step| *step != 0 && step.abs() < i64::MAX);
        return (bounded && steps.is_some()).then_some((to - from).abs() + 1);
    }
    // Only dates are an interval apart.
    let apart = step.first().and_then(literal).and_then(seconds);
    if apart.is_none() && !(dated(from) && dated(to)) {
        return None;
    }
    // A literal that is no day may be the end of time.
    let day = |node: &Node| literal(node).map_or(Some(None), |text| days(text).map(Some));
    let days = match (day(from)?, day(to)?) {
        (Some(from), Some(to)) => (to - from).abs(),
        _ => CENTURY,
    };
    let seconds = match step.first() {
        None => DAY,
        Some(step) => literal(step).and_then(seconds)?,
    };
    days.checked_mul(DAY)?.checked_div(seconds)
}

/// The text of a literal, cast or not.
fn literal(node: &Node) -> Option<&str> {
    match node.node.as_ref()? {
        NodeEnum::AConst(constant) => match constant.val.as_ref()? {
            Val::Sval(text) => Some(&text.sval),
            _ => None,
        },
        NodeEnum::TypeCast(cast) => literal(cast.arg.as_deref()?),
        _ => None,
    }
}

/// About how many days lie before a date.
fn days(text: &str) -> Option<i64> {
    let mut parts = text.trim().split(['-', ' ', 'T']).map(str::parse::<i64>);
    let (year, month, day) = (
        parts.next()?.ok()?,
        parts.next()?.ok()?,
        parts.next()?.ok()?,
    );
    Some(year * 366 + month * 31 + day)
}

/// How long an interval such as `1 day` or `15 minutes` is.
fn seconds(text: &str) -> Option<i64> {
    let mut words = text.split_whitespace();
    let number: i64 = words.next()?.parse().ok()?;
    let unit = match words.next()?.to_lowercase().trim_end_matches('s') {
        "second" | "sec" => 1,
        "minute" | "min" => 60,
        "hour" => 3_600,
        "day" => DAY,
        "week" => 7 * DAY,
        "month" | "mon" => 28 * DAY,
        "quarter" => 90 * DAY,
        "year" => 365 * DAY,
        _ => return None,
    };
    let whole = words.next().is_none() && number != 0;
    number.abs().checked_mul(unit).filter(|_| whole)
}

/// What one SELECT reads and gives: too many columns, tables that nothing joins, series that multiply.
pub(super) fn of_select(select: &SelectStmt) -> Result<(), (Refusal, i32)> {
    let wide = |list: &[Node]| list.len() > MOST_COLUMNS;
    let wide_row = select
        .values_lists
        .iter()
        .any(|row| matches!(&row.node, Some(NodeEnum::List(row)) if wide(&row.items)));
    if wide(&select.target_list) || wide_row {
        return Err((Refusal::new(Rule::TooLong, ""), -1));
    }
    let mut found = Product::default();
    for item in &select.from_clause {
        found.add(item);
    }
    let joined = found.joined || select.where_clause.is_some();
    if found.steps > MOST_STEPS || (!joined && found.tables > MOST_UNJOINED) {
        return Err((Refusal::new(Rule::TooCostly, ""), -1));
    }
    Ok(())
}

/// What stands side by side in FROM.
struct Product {
    tables: usize,
    /// Of all series together.
    steps: i64,
    joined: bool,
}

impl Default for Product {
    fn default() -> Self {
        Self {
            tables: 0,
            steps: 1,
            joined: false,
        }
    }
}

impl Product {
    fn add(&mut self, item: &Node) {
        match &item.node {
            Some(NodeEnum::RangeVar(_) | NodeEnum::RangeTableSample(_)) => self.tables += 1,
            Some(NodeEnum::RangeSubselect(query)) => self.joined |= query.lateral,
            Some(NodeEnum::RangeFunction(function)) => {
                for call in function.functions.iter().filter_map(super::names::call_of) {
                    let named = call.funcname.last().and_then(super::tree::name_of);
                    if named == Some("generate_series") {
                        self.steps = self
                            .steps
                            .saturating_mul(series(&call.args).unwrap_or(1).max(1));
                    }
                }
            }
            Some(NodeEnum::JoinExpr(join)) => {
                self.joined |=
                    join.quals.is_some() || !join.using_clause.is_empty() || join.is_natural;
                for side in [&join.larg, &join.rarg].into_iter().flatten() {
                    self.add(side);
                }
            }
            _ => {}
        }
    }
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

/// Of all functions of a statement, one by the other.
pub(super) const MOST_GROWTH: i64 = 1_000_000;

/// How many times longer a call makes a text.
pub(super) fn growth(name: &str, arguments: &[Node]) -> i64 {
    // What is replaced by something short grows little, however often.
    const SHORT: usize = 8;
    let length = |at: usize| arguments.get(at).and_then(literal).map(str::len);
    match name {
        "repeat" => arguments.get(1).and_then(whole).unwrap_or(1).max(1),
        "replace" | "regexp_replace" => match (length(1), length(2)) {
            (from, Some(to)) if to > SHORT => i64::try_from(to / from.unwrap_or(1).max(1))
                .unwrap_or(i64::MAX)
                .max(1),
            _ => 1,
        },
        _ => 1,
    }
}

/// Whether a call could be made to cost more than it may.
pub(super) fn of_call(name: &str, arguments: &[Node]) -> bool {
    match name {
        "generate_series" => series(arguments).is_none_or(|steps| steps > MOST_STEPS),
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

#[cfg(test)]
mod tests {
    use super::super::{Relation, Schema, check};
    use crate::Rule;

    #[test]
    fn what_multiplies_is_refused_and_what_is_bounded_is_not() {
        let schema = Schema::new(vec![Relation {
            schema: "public".into(),
            name: "t".into(),
            columns: vec!["a".into(), "day".into()],
        }]);
        let wide = format!("SELECT {}1", "1, ".repeat(200));
        for (statement, rule) in [
            ("SELECT count(*) FROM t a, t b, t c", Some(Rule::TooCostly)),
            (
                "SELECT count(*) FROM t a CROSS JOIN t b CROSS JOIN t c",
                Some(Rule::TooCostly),
            ),
            (
                "SELECT count(*) FROM generate_series(1, 10000) a, generate_series(1, 10000) b",
                Some(Rule::TooCostly),
            ),
            (
                "SELECT * FROM generate_series(timestamp '0001-01-01', timestamp '9999-12-31', interval '1 second')",
                Some(Rule::TooCostly),
            ),
            (
                "SELECT * FROM generate_series(timestamp '2024-01-01', timestamp '2024-12-31', interval '1 millisecond')",
                Some(Rule::TooCostly),
            ),
            (
                "SELECT * FROM generate_series(timestamp '2024-01-01', timestamp '2024-12-31', interval '15 minutes')",
                None,
            ),
            (
                "SELECT * FROM generate_series(date '2000-01-01', current_date, '1 month')",
                None,
            ),
            (
                "SELECT d FROM generate_series(date '2024-01-01', date '2024-01-31', '1 day') d, t",
                None,
            ),
            (
                "SELECT count(*) FROM t a, t b, t c WHERE a.a = b.a AND b.a = c.a",
                None,
            ),
            ("SELECT count(*) FROM t a CROSS JOIN t b", None),
            (wide.as_str(), Some(Rule::TooLong)),
        ] {
            assert_eq!(
                check(statement, &schema).err().map(|refusal| refusal.rule),
                rule,
                "{statement}"
            );
        }
    }
}
