//! Visits every field of a parsed statement. Each structure is taken apart with all its fields named, so that a field
//! that a newer grammar brings does not compile until somebody has decided about it; an unknown node is refused.

use super::allowed::{FUNCTIONS, OPERATORS, SYSTEM_COLUMNS, TYPES, UNNAMED_COLUMNS};
use super::cost;
use super::{DEFAULT_SCHEMA, Schema};
use crate::{Refusal, Rule};
use pg_query::NodeEnum;
use pg_query::protobuf::{
    AExpr, Alias, ColumnDef, ColumnRef, CommonTableExpr, CteCycleClause, CteSearchClause, FuncCall,
    JoinExpr, Node, RangeVar, SelectStmt, SubLink, TypeName, WindowDef, WithClause,
};
use std::collections::BTreeSet;

/// A refusal and the byte of the statement that it is about.
type Decision = Result<(), (Refusal, i32)>;

/// A walk over one statement.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    schema: &'a Schema,
    /// Names of WITH queries in scope, innermost last.
    common: Vec<&'a str>,
    /// Names that the statement itself gives, anywhere in it: to columns, and to rows, which may be named as a whole.
    own: BTreeSet<&'a str>,
    /// Columns by name, judged once all names are known.
    columns: Vec<(&'a str, i32)>,
    tables: BTreeSet<String>,
}

fn refuse(rule: Rule, about: &str, location: i32) -> Decision {
    Err((Refusal::new(rule, about), location))
}

/// The texts of a list of names; a star has none.
fn texts(list: &[Node]) -> Vec<&str> {
    list.iter().filter_map(name_of).collect()
}

fn name_of(node: &Node) -> Option<&str> {
    match &node.node {
        Some(NodeEnum::String(text)) => Some(text.sval.as_str()),
        _ => None,
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            common: Vec::new(),
            own: BTreeSet::new(),
            columns: Vec::new(),
            tables: BTreeSet::new(),
        }
    }

    pub(super) fn tables(self) -> Vec<String> {
        self.tables.into_iter().collect()
    }

    /// The top: one SELECT.
    pub(super) fn statement(&mut self, node: Option<&'a Node>) -> Decision {
        match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => self.select(select)?,
            Some(NodeEnum::ExplainStmt(_)) => return refuse(Rule::Explain, "", -1),
            _ => return refuse(Rule::NotARead, "", -1),
        }
        match self.columns.iter().find(|(name, _)| !self.knows(name)) {
            Some((name, location)) => refuse(Rule::ColumnNotFound, name, *location),
            None => Ok(()),
        }
    }

    fn knows(&self, name: &str) -> bool {
        self.schema.columns.contains(name)
            || self.own.contains(name)
            || UNNAMED_COLUMNS.contains(&name)
            || TYPES.contains(&name)
    }

    fn all(&mut self, nodes: &'a [Node]) -> Decision {
        nodes.iter().try_for_each(|node| self.visit(node))
    }

    fn maybe(&mut self, node: Option<&'a Node>) -> Decision {
        node.map_or(Ok(()), |node| self.visit(node))
    }

    fn alias(&mut self, alias: Option<&'a Alias>) {
        if let Some(Alias {
            aliasname,
            colnames,
        }) = alias
        {
            self.own.insert(aliasname);
            self.own.extend(colnames.iter().filter_map(name_of));
        }
    }

    fn visit(&mut self, node: &'a Node) -> Decision {
        let Some(kind) = &node.node else {
            return Ok(());
        };
        match kind {
            NodeEnum::String(_)
            | NodeEnum::Integer(_)
            | NodeEnum::Float(_)
            | NodeEnum::Boolean(_)
            | NodeEnum::BitString(_)
            | NodeEnum::AConst(_)
            | NodeEnum::ParamRef(_)
            | NodeEnum::AStar(_) => Ok(()),
            NodeEnum::SelectStmt(select) => self.select(select),
            NodeEnum::RangeVar(relation) => self.relation(relation),
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::FuncCall(call) => self.function(call),
            NodeEnum::AExpr(expression) => self.operation(expression),
            NodeEnum::TypeName(kind) => self.type_name(kind),
            NodeEnum::JoinExpr(join) => self.join(join),
            NodeEnum::SubLink(link) => self.sub_link(link),
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::CommonTableExpr(query) => self.common_table(query),
            NodeEnum::ColumnDef(column) => self.column_definition(column),
            NodeEnum::List(list) => self.all(&list.items),
            NodeEnum::ResTarget(target) => {
                self.own.insert(&target.name);
                self.all(&target.indirection)?;
                self.maybe(target.val.as_deref())
            }
            NodeEnum::SortBy(sort) => {
                operator(&sort.use_op, sort.location)?;
                self.maybe(sort.node.as_deref())
            }
            NodeEnum::TypeCast(cast) => {
                if let Some(kind) = &cast.type_name {
                    self.type_name(kind)?;
                }
                self.maybe(cast.arg.as_deref())
            }
            NodeEnum::RangeSubselect(query) => {
                self.alias(query.alias.as_ref());
                self.maybe(query.subquery.as_deref())
            }
            NodeEnum::RangeFunction(function) => {
                self.alias(function.alias.as_ref());
                self.all(&function.functions)?;
                self.all(&function.coldeflist)
            }
            NodeEnum::RangeTableSample(sample) => {
                if !matches!(
                    texts(&sample.method).as_slice(),
                    ["system" | "bernoulli"] | ["pg_catalog", "system" | "bernoulli"]
                ) {
                    return refuse(Rule::FunctionNotAllowed, "", sample.location);
                }
                self.maybe(sample.relation.as_deref())?;
                self.all(&sample.args)?;
                self.maybe(sample.repeatable.as_deref())
            }
            NodeEnum::AIndirection(indirection) => {
                // `(row).name` is a column, or else a call of a function.
                self.columns.extend(
                    indirection
                        .indirection
                        .iter()
                        .filter_map(name_of)
                        .map(|name| (name, -1)),
                );
                self.all(&indirection.indirection)?;
                self.maybe(indirection.arg.as_deref())
            }
            NodeEnum::AIndices(indices) => {
                self.maybe(indices.lidx.as_deref())?;
                self.maybe(indices.uidx.as_deref())
            }
            NodeEnum::CollateClause(collate) => self.maybe(collate.arg.as_deref()),
            _ => self.expression(kind),
        }
    }

    /// Expressions that only hold others.
    fn expression(&mut self, kind: &'a NodeEnum) -> Decision {
        match kind {
            NodeEnum::BoolExpr(expression) => self.all(&expression.args),
            NodeEnum::NullTest(test) => self.maybe(test.arg.as_deref()),
            NodeEnum::BooleanTest(test) => self.maybe(test.arg.as_deref()),
            NodeEnum::CoalesceExpr(expression) => self.all(&expression.args),
            NodeEnum::MinMaxExpr(expression) => self.all(&expression.args),
            NodeEnum::AArrayExpr(array) => self.all(&array.elements),
            NodeEnum::GroupingSet(set) => self.all(&set.content),
            NodeEnum::GroupingFunc(function) => self.all(&function.args),
            NodeEnum::NamedArgExpr(argument) => self.maybe(argument.arg.as_deref()),
            NodeEnum::RowExpr(row) => {
                self.all(&row.args)?;
                self.all(&row.colnames)
            }
            NodeEnum::CaseExpr(case) => {
                self.maybe(case.arg.as_deref())?;
                self.all(&case.args)?;
                self.maybe(case.defresult.as_deref())
            }
            NodeEnum::CaseWhen(when) => {
                self.maybe(when.expr.as_deref())?;
                self.maybe(when.result.as_deref())
            }
            // The numbers of the user, role, catalogue and schema values; dates and times stand below them.
            NodeEnum::SqlvalueFunction(value) if (1..10).contains(&value.op) => Ok(()),
            NodeEnum::InsertStmt(_)
            | NodeEnum::UpdateStmt(_)
            | NodeEnum::DeleteStmt(_)
            | NodeEnum::MergeStmt(_) => refuse(Rule::WritesInCte, "", -1),
            NodeEnum::LockingClause(_) => refuse(Rule::LockingClause, "", -1),
            _ => refuse(Rule::ConstructNotAllowed, "", -1),
        }
    }

    /// A SELECT with the WITH queries that only it sees.
    fn select(&mut self, select: &'a SelectStmt) -> Decision {
        let SelectStmt {
            distinct_clause,
            into_clause,
            target_list,
            from_clause,
            where_clause,
            group_clause,
            group_distinct: _,
            having_clause,
            window_clause,
            values_lists,
            sort_clause,
            limit_offset,
            limit_count,
            limit_option: _,
            locking_clause,
            with_clause,
            op: _,
            all: _,
            larg,
            rarg,
        } = select;
        if into_clause.is_some() {
            return refuse(Rule::SelectInto, "", -1);
        }
        if !locking_clause.is_empty() {
            return refuse(Rule::LockingClause, "", -1);
        }
        let outside = self.common.len();
        if let Some(with) = with_clause {
            self.with(with)?;
        }
        for half in [larg, rarg].into_iter().flatten() {
            self.select(half)?;
        }
        for list in [
            distinct_clause,
            target_list,
            from_clause,
            group_clause,
            window_clause,
            values_lists,
            sort_clause,
        ] {
            self.all(list)?;
        }
        for one in [where_clause, having_clause, limit_offset, limit_count] {
            self.maybe(one.as_deref())?;
        }
        self.common.truncate(outside);
        Ok(())
    }

    /// A WITH query sees those before it; a recursive one all of them, itself too.
    fn with(&mut self, with: &'a WithClause) -> Decision {
        let WithClause {
            ctes,
            recursive,
            location: _,
        } = with;
        let named = ctes.iter().filter_map(|node| match &node.node {
            Some(NodeEnum::CommonTableExpr(query)) => Some(query.ctename.as_str()),
            _ => None,
        });
        if *recursive {
            self.common.extend(named);
            cost::recursion(ctes)?;
            return self.all(ctes);
        }
        for (query, name) in ctes.iter().zip(named) {
            self.visit(query)?;
            self.common.push(name);
        }
        Ok(())
    }

    fn common_table(&mut self, query: &'a CommonTableExpr) -> Decision {
        let CommonTableExpr {
            ctename,
            aliascolnames,
            ctematerialized: _,
            ctequery,
            search_clause,
            cycle_clause,
            location: _,
            cterecursive: _,
            cterefcount: _,
            ctecolnames: _,
            ctecoltypes: _,
            ctecoltypmods: _,
            ctecolcollations: _,
        } = query;
        self.own.insert(ctename);
        self.own.extend(aliascolnames.iter().filter_map(name_of));
        if let Some(CteSearchClause {
            search_col_list,
            search_breadth_first: _,
            search_seq_column,
            location: _,
        }) = search_clause
        {
            self.own.insert(search_seq_column);
            self.all(search_col_list)?;
        }
        if let Some(cycle) = cycle_clause {
            let CteCycleClause {
                cycle_col_list,
                cycle_mark_column,
                cycle_mark_value,
                cycle_mark_default,
                cycle_path_column,
                location: _,
                cycle_mark_type: _,
                cycle_mark_typmod: _,
                cycle_mark_collation: _,
                cycle_mark_neop: _,
            } = cycle.as_ref();
            self.own
                .extend([cycle_mark_column.as_str(), cycle_path_column.as_str()]);
            self.all(cycle_col_list)?;
            self.maybe(cycle_mark_value.as_deref())?;
            self.maybe(cycle_mark_default.as_deref())?;
        }
        self.maybe(ctequery.as_deref())
    }

    fn relation(&mut self, relation: &'a RangeVar) -> Decision {
        let RangeVar {
            catalogname,
            schemaname,
            relname,
            inh: _,
            relpersistence: _,
            alias,
            location,
        } = relation;
        self.alias(alias.as_ref());
        self.own.insert(relname);
        if catalogname.is_empty()
            && schemaname.is_empty()
            && self.common.contains(&relname.as_str())
        {
            return Ok(());
        }
        let system = |name: &str| name.starts_with("pg_") || name == "information_schema";
        if system(schemaname) || (schemaname.is_empty() && system(relname)) {
            return refuse(Rule::Catalog, relname, *location);
        }
        if !catalogname.is_empty() || !self.schema.has(schemaname, relname) {
            return refuse(Rule::RelationNotAllowed, relname, *location);
        }
        let plain = schemaname.is_empty() || schemaname == DEFAULT_SCHEMA;
        self.tables.insert(if plain {
            relname.clone()
        } else {
            format!("{schemaname}.{relname}")
        });
        Ok(())
    }

    fn column(&mut self, column: &'a ColumnRef) -> Decision {
        let ColumnRef { fields, location } = column;
        let Some(last) = fields.last().and_then(name_of) else {
            return Ok(());
        };
        if SYSTEM_COLUMNS.contains(&last) && !self.schema.columns.contains(last) {
            return refuse(Rule::Catalog, last, *location);
        }
        self.columns.push((last, *location));
        Ok(())
    }

    fn function(&mut self, call: &'a FuncCall) -> Decision {
        let FuncCall {
            funcname,
            args,
            agg_order,
            agg_filter,
            over,
            agg_within_group: _,
            agg_star: _,
            agg_distinct: _,
            func_variadic: _,
            funcformat: _,
            location,
        } = call;
        let names: Vec<&str> = funcname.iter().filter_map(name_of).collect();
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => return refuse(Rule::FunctionNotAllowed, &names.join("."), *location),
        };
        if FUNCTIONS.binary_search(&name).is_err() {
            return refuse(Rule::FunctionNotAllowed, name, *location);
        }
        if cost::of_call(name, args) {
            return refuse(Rule::TooCostly, name, *location);
        }
        // Without a name of its own, a column is called by its function.
        self.own.insert(name);
        self.all(args)?;
        self.all(agg_order)?;
        self.maybe(agg_filter.as_deref())?;
        over.as_deref().map_or(Ok(()), |window| self.window(window))
    }

    fn window(&mut self, window: &'a WindowDef) -> Decision {
        let WindowDef {
            name: _,
            refname: _,
            partition_clause,
            order_clause,
            frame_options: _,
            start_offset,
            end_offset,
            location: _,
        } = window;
        self.all(partition_clause)?;
        self.all(order_clause)?;
        self.maybe(start_offset.as_deref())?;
        self.maybe(end_offset.as_deref())
    }

    fn operation(&mut self, expression: &'a AExpr) -> Decision {
        let AExpr {
            kind: _,
            name,
            lexpr,
            rexpr,
            rexpr_list_start: _,
            rexpr_list_end: _,
            location,
        } = expression;
        operator(name, *location)?;
        self.maybe(lexpr.as_deref())?;
        self.maybe(rexpr.as_deref())
    }

    fn sub_link(&mut self, link: &'a SubLink) -> Decision {
        let SubLink {
            xpr: _,
            sub_link_type: _,
            sub_link_id: _,
            testexpr,
            oper_name,
            subselect,
            location,
        } = link;
        operator(oper_name, *location)?;
        self.maybe(testexpr.as_deref())?;
        self.maybe(subselect.as_deref())
    }

    fn join(&mut self, join: &'a JoinExpr) -> Decision {
        let JoinExpr {
            jointype: _,
            is_natural: _,
            larg,
            rarg,
            using_clause,
            join_using_alias,
            quals,
            alias,
            rtindex: _,
        } = join;
        self.alias(join_using_alias.as_ref());
        self.alias(alias.as_ref());
        self.columns.extend(
            using_clause
                .iter()
                .filter_map(name_of)
                .map(|name| (name, -1)),
        );
        self.maybe(larg.as_deref())?;
        self.maybe(rarg.as_deref())?;
        self.maybe(quals.as_deref())
    }

    /// A column of a record that a function in FROM gives.
    fn column_definition(&mut self, column: &'a ColumnDef) -> Decision {
        let bare = column.raw_default.is_none()
            && column.cooked_default.is_none()
            && column.identity_sequence.is_none()
            && column.constraints.is_empty()
            && column.fdwoptions.is_empty();
        if !bare {
            return refuse(Rule::ConstructNotAllowed, &column.colname, column.location);
        }
        self.own.insert(&column.colname);
        if let Some(collate) = &column.coll_clause {
            self.maybe(collate.arg.as_deref())?;
        }
        column
            .type_name
            .as_ref()
            .map_or(Ok(()), |kind| self.type_name(kind))
    }

    fn type_name(&mut self, kind: &'a TypeName) -> Decision {
        let TypeName {
            names,
            type_oid: _,
            setof,
            pct_type,
            typmods,
            typemod: _,
            array_bounds,
            location,
        } = kind;
        match texts(names).as_slice() {
            [name] | ["pg_catalog", name] if TYPES.contains(name) && !setof && !pct_type => {}
            names => return refuse(Rule::TypeNotAllowed, &names.join("."), *location),
        }
        self.all(typmods)?;
        self.all(array_bounds)
    }
}

/// Operators by their symbol, or as what the grammar calls its own.
fn operator(names: &[Node], location: i32) -> Decision {
    let known = |name: &&str| {
        OPERATORS.contains(name) || name.starts_with("BETWEEN") || name.starts_with("NOT BETWEEN")
    };
    match texts(names).as_slice() {
        [] => Ok(()),
        [name] | ["pg_catalog", name] if known(name) => Ok(()),
        names => refuse(Rule::OperatorNotAllowed, &names.join("."), location),
    }
}
