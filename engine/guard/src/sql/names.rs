//! What a name in a statement means: which rows can be seen where, and which columns they have. It matters because
//! `row.name` calls the function `name` where the row has no such column.

use super::tree::name_of;
use pg_query::NodeEnum;
use pg_query::protobuf::{Alias, Node, RangeFunction, ResTarget, SqlValueFunctionOp, SubLinkType};
use std::borrow::Cow;
use std::ops::Range;

/// The columns of a row, in order.
pub(super) type Columns<'a> = Vec<Cow<'a, str>>;

/// Something in FROM, by the name that it has there.
#[derive(Debug)]
pub(super) struct Item<'a> {
    name: &'a str,
    columns: Columns<'a>,
}

impl<'a> Item<'a> {
    pub(super) fn new(name: &'a str, mut columns: Columns<'a>, alias: Option<&'a Alias>) -> Self {
        let Some(alias) = alias else {
            return Self { name, columns };
        };
        rename(&mut columns, &alias.colnames);
        Self {
            name: &alias.aliasname,
            columns,
        }
    }

    pub(super) fn has(&self, column: &str) -> bool {
        self.columns.iter().any(|name| name == column)
    }
}

/// A select's part of all items.
#[derive(Debug)]
pub(super) struct Scope {
    first: usize,
    shown: usize,
}

/// All items that were met and not left, and what of them can be seen.
#[derive(Debug, Default)]
pub(super) struct Scopes<'a> {
    items: Vec<Item<'a>>,
    shown: Vec<Range<usize>>,
}

impl<'a> Scopes<'a> {
    /// A select begins: it sees what could be seen before, and none of its own items yet.
    pub(super) fn open(&self) -> Scope {
        Scope {
            first: self.items.len(),
            shown: self.shown.len(),
        }
    }

    /// A part that begins here, of the select that is open.
    pub(super) fn inner(&self) -> Scope {
        self.open()
    }

    pub(super) fn add(&mut self, item: Item<'a>) {
        self.items.push(item);
    }

    /// From here on the scope's items so far can be seen.
    pub(super) fn show(&mut self, scope: &Scope) {
        self.shown.push(scope.first..self.items.len());
    }

    /// What was shown last cannot be seen any more.
    pub(super) fn hide(&mut self) {
        self.shown.pop();
    }

    /// A select ends.
    pub(super) fn close(&mut self, scope: &Scope) {
        self.items.truncate(scope.first);
        self.shown.truncate(scope.shown);
    }

    /// Removes the scope's items; their columns.
    pub(super) fn take(&mut self, scope: &Scope) -> Columns<'a> {
        let taken = self.items.drain(scope.first..);
        taken.flat_map(|item| item.columns).collect()
    }

    /// The innermost row of this name.
    pub(super) fn find(&self, name: &str) -> Option<&Item<'a>> {
        let mut levels = self.shown.iter().rev();
        levels.find_map(|level| {
            self.items[level.clone()]
                .iter()
                .find(|item| item.name == name)
        })
    }
}

/// The first columns get these names.
pub(super) fn rename<'a>(columns: &mut Columns<'a>, given: &'a [Node]) {
    for (at, name) in given.iter().filter_map(name_of).enumerate() {
        match columns.get_mut(at) {
            Some(column) => *column = name.into(),
            None => columns.push(name.into()),
        }
    }
}

/// The columns of VALUES.
pub(super) fn of_values<'a>(number: usize) -> Columns<'a> {
    (1..=number)
        .map(|at| format!("column{at}").into())
        .collect()
}

/// The columns of a target list.
pub(super) fn of_targets<'a>(
    targets: &'a [Node],
    scopes: &Scopes<'a>,
    scope: &Scope,
) -> Columns<'a> {
    let mut columns = Columns::new();
    for target in targets {
        let Some(NodeEnum::ResTarget(target)) = &target.node else {
            continue;
        };
        match star(target) {
            Star::OfAll => {
                let all = scopes.items[scope.first..].iter();
                columns.extend(all.flat_map(|item| item.columns.iter().cloned()));
            }
            Star::Of(row) => {
                let row = scopes.find(row);
                columns.extend(row.iter().flat_map(|item| item.columns.iter().cloned()));
            }
            Star::None => columns.push(name_of_target(target).into()),
        }
    }
    columns
}

/// Whether a target stands for many columns.
enum Star<'a> {
    None,
    /// `*`
    OfAll,
    /// `row.*`
    Of(&'a str),
}

fn star(target: &ResTarget) -> Star<'_> {
    let value = target.val.as_ref().and_then(|value| value.node.as_ref());
    let Some(NodeEnum::ColumnRef(column)) = value else {
        return Star::None;
    };
    match column.fields.split_last() {
        Some((last, before)) if matches!(last.node, Some(NodeEnum::AStar(_))) => before
            .last()
            .and_then(name_of)
            .map_or(Star::OfAll, Star::Of),
        _ => Star::None,
    }
}

/// As Postgres names a column (`FigureColname`).
fn name_of_target(target: &ResTarget) -> &str {
    if !target.name.is_empty() {
        return &target.name;
    }
    let value = target.val.as_deref().and_then(figured);
    value.map_or("?column?", |(name, _)| name)
}

/// A name, and whether it is more than the name of a type or construct.
fn figured(node: &Node) -> Option<(&str, bool)> {
    let weak = |name| Some((name, false));
    let last = |list: &'_ [Node]| -> Option<usize> {
        list.iter().rposition(|node| name_of(node).is_some())
    };
    let strong = |list: &'_ [Node]| last(list);
    match node.node.as_ref()? {
        NodeEnum::ColumnRef(column) => {
            let at = strong(&column.fields)?;
            Some((name_of(&column.fields[at])?, true))
        }
        NodeEnum::FuncCall(call) => {
            let at = strong(&call.funcname)?;
            Some((name_of(&call.funcname[at])?, true))
        }
        NodeEnum::AIndirection(indirection) => match last(&indirection.indirection) {
            Some(at) => Some((name_of(&indirection.indirection[at])?, true)),
            None => figured(indirection.arg.as_deref()?),
        },
        NodeEnum::TypeCast(cast) => {
            let inner = cast.arg.as_deref().and_then(figured);
            if inner.is_some_and(|(_, strong)| strong) {
                return inner;
            }
            let names = &cast.type_name.as_ref()?.names;
            weak(name_of(&names[last(names)?])?)
        }
        NodeEnum::CollateClause(collate) => figured(collate.arg.as_deref()?),
        NodeEnum::CaseExpr(case) => {
            let otherwise = case.defresult.as_deref().and_then(figured);
            otherwise
                .filter(|(_, strong)| *strong)
                .or(Some(("case", false)))
        }
        NodeEnum::SubLink(link) => match SubLinkType::try_from(link.sub_link_type) {
            Ok(SubLinkType::ExistsSublink) => Some(("exists", true)),
            Ok(SubLinkType::ArraySublink) => Some(("array", true)),
            Ok(SubLinkType::ExprSublink) => {
                let Some(NodeEnum::SelectStmt(select)) = link.subselect.as_ref()?.node.as_ref()
                else {
                    return None;
                };
                let Some(NodeEnum::ResTarget(first)) = select
                    .target_list
                    .first()
                    .and_then(|first| first.node.as_ref())
                else {
                    return None;
                };
                Some((name_of_target(first), true))
            }
            _ => None,
        },
        NodeEnum::AExpr(expression) => {
            let nullif = pg_query::protobuf::AExprKind::AexprNullif as i32;
            (expression.kind == nullif).then_some(("nullif", true))
        }
        NodeEnum::GroupingFunc(_) => Some(("grouping", true)),
        NodeEnum::AArrayExpr(_) => Some(("array", true)),
        NodeEnum::RowExpr(_) => Some(("row", true)),
        NodeEnum::CoalesceExpr(_) => Some(("coalesce", true)),
        NodeEnum::MinMaxExpr(expression) => {
            let greatest = pg_query::protobuf::MinMaxOp::IsGreatest as i32;
            let name = if expression.op == greatest {
                "greatest"
            } else {
                "least"
            };
            Some((name, true))
        }
        NodeEnum::SqlvalueFunction(value) => match SqlValueFunctionOp::try_from(value.op) {
            Ok(SqlValueFunctionOp::SvfopCurrentDate) => Some(("current_date", true)),
            Ok(SqlValueFunctionOp::SvfopCurrentTime | SqlValueFunctionOp::SvfopCurrentTimeN) => {
                Some(("current_time", true))
            }
            Ok(
                SqlValueFunctionOp::SvfopCurrentTimestamp
                | SqlValueFunctionOp::SvfopCurrentTimestampN,
            ) => Some(("current_timestamp", true)),
            Ok(SqlValueFunctionOp::SvfopLocaltime | SqlValueFunctionOp::SvfopLocaltimeN) => {
                Some(("localtime", true))
            }
            _ => Some(("localtimestamp", true)),
        },
        _ => None,
    }
}

/// A function in FROM. Its row may be a bare value, with which any function could be called; so only names that
/// are given here, or by one of the functions that are allowed, are columns.
pub(super) fn of_function(function: &RangeFunction) -> Item<'_> {
    let alias = function.alias.as_ref();
    let mut columns: Columns<'_> = ["key", "value", "ordinality"].map(Into::into).into();
    for defined in &function.coldeflist {
        if let Some(NodeEnum::ColumnDef(column)) = &defined.node {
            columns.push(column.colname.as_str().into());
        }
    }
    for call in function.functions.iter().filter_map(call_of) {
        let name = call.funcname.last().and_then(name_of);
        columns.extend(name.map(Into::into));
    }
    if let Some(alias) = alias {
        if alias.colnames.is_empty() {
            columns.push(alias.aliasname.as_str().into());
        }
        columns.extend(alias.colnames.iter().filter_map(name_of).map(Into::into));
    }
    let name = match alias {
        Some(alias) => alias.aliasname.as_str(),
        None => function
            .functions
            .iter()
            .find_map(call_of)
            .and_then(|call| call.funcname.last())
            .and_then(name_of)
            .unwrap_or_default(),
    };
    Item { name, columns }
}

/// Each function stands in a list with its own column definitions.
pub(super) fn call_of(node: &Node) -> Option<&pg_query::protobuf::FuncCall> {
    match node.node.as_ref()? {
        NodeEnum::FuncCall(call) => Some(call),
        NodeEnum::List(list) => list.items.first().and_then(call_of),
        _ => None,
    }
}
