//! Visits every field of a parsed statement. Each structure is taken apart with all its fields named, so that a field
//! that a newer grammar brings does not compile until somebody has decided about it; an unknown node is refused.

use super::allowed::{FUNCTIONS, OPERATORS, SYSTEM_COLUMNS, TYPES, UNNAMED_COLUMNS};
use super::cost;
use super::names::{self, Columns, Item, Scopes};
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
    /// WITH queries in scope and their columns, innermost last.
    common: Vec<(&'a str, Columns<'a>)>,
    /// The WITH query whose body comes next, if it may read itself.
    growing: Option<usize>,
    /// What stands in FROM, as far as it can be seen.
    scopes: Scopes<'a>,
    /// Names that the statement itself gives, anywhere in it: to columns, and to rows, which may be named as a whole.
    own: BTreeSet<&'a str>,
    /// Columns by a bare name, which can call no function; judged once all names are known.
    columns: Vec<(&'a str, i32)>,
    tables: BTreeSet<String>,
    sources: usize,
    /// How many times longer its functions can make a text, one by the other.
    growth: i64,
}

fn refuse(rule: Rule, about: &str, location: i32) -> Decision {
    Err((Refusal::new(rule, about), location))
}

/// The texts of a list of names; a star has none.
fn texts(list: &[Node]) -> Vec<&str> {
    list.iter().filter_map(name_of).collect()
}

pub(super) fn name_of(node: &Node) -> Option<&str> {
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
            growing: None,
            scopes: Scopes::default(),
            own: BTreeSet::new(),
            columns: Vec::new(),
            tables: BTreeSet::new(),
            sources: 0,
            growth: 1,
        }
    }

    /// The tables, and how often anything is read from.
    pub(super) fn found(self) -> (Vec<String>, usize) {
        (self.tables.into_iter().collect(), self.sources)
    }

    /// What a query gives, where it may be read.
    pub(super) fn columns_of(&mut self, select: &'a SelectStmt) -> Option<Vec<String>> {
        let columns = self.select(select).ok()?;
        Some(columns.into_iter().map(Into::into).collect())
    }

    /// The top: one SELECT.
    pub(super) fn statement(&mut self, node: Option<&'a Node>) -> Decision {
        match node.and_then(|node| node.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => drop(self.select(select)?),
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

    /// Whether a field of some row may have this name; what the statement calls so itself does not count.
    fn is_field(&self, name: &str) -> bool {
        let numbered = name
            .strip_prefix('f')
            .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|byte| byte.is_ascii_digit()));
        let known = self.schema.columns.contains(name) || matches!(name, "key" | "value");
        (known || numbered) && !self.schema.functions.contains(name)
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
            NodeEnum::SelectStmt(select) => self.select(select).map(drop),
            NodeEnum::ColumnRef(column) => self.column(column),
            NodeEnum::FuncCall(call) => self.function(call),
            NodeEnum::AExpr(expression) => self.operation(expression),
            NodeEnum::TypeName(kind) => self.type_name(kind),
            NodeEnum::SubLink(link) => self.sub_link(link),
            NodeEnum::WindowDef(window) => self.window(window),
            NodeEnum::ColumnDef(column) => self.column_definition(column),
            NodeEnum::List(list) => self.all(&list.items),
            NodeEnum::ResTarget(target) => {
                self.own.insert(&target.name);
                self.all(&target.indirection)?;
                self.maybe(target.val.as_deref())
            }
            NodeEnum::SortBy(sort) => {
                self.operator(&sort.use_op, sort.location)?;
                self.maybe(sort.node.as_deref())
            }
            NodeEnum::TypeCast(cast) => {
                if let Some(kind) = &cast.type_name {
                    self.type_name(kind)?;
                }
                self.maybe(cast.arg.as_deref())
            }
            NodeEnum::AIndirection(indirection) => {
                // `(value).name` is a field, or else a call of the function of that name with the value.
                for name in indirection.indirection.iter().filter_map(name_of) {
                    if !self.is_field(name) {
                        return refuse(Rule::ColumnNotFound, name, -1);
                    }
                }
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
    fn select(&mut self, select: &'a SelectStmt) -> Result<Columns<'a>, (Refusal, i32)> {
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
            return Err((Refusal::of(Rule::SelectInto), -1));
        }
        if !locking_clause.is_empty() {
            return Err((Refusal::of(Rule::LockingClause), -1));
        }
        cost::of_select(select)?;
        let growing = self.growing.take();
        let outside = self.common.len();
        if let Some(with) = with_clause {
            self.with(with)?;
        }
        let mut columns = Columns::new();
        if let Some(half) = larg {
            columns = self.select(half)?;
            if let Some(at) = growing {
                let known = &mut self.common[at].1;
                let named = known.len();
                known.extend(columns.iter().skip(named).cloned());
            }
        }
        if let Some(half) = rarg {
            self.select(half)?;
        }
        let scope = self.scopes.open();
        for item in from_clause {
            self.from(item, &scope)?;
        }
        self.scopes.show(&scope);
        for list in [
            distinct_clause,
            target_list,
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
        if let Some(NodeEnum::List(row)) = values_lists.first().and_then(|row| row.node.as_ref()) {
            columns = names::of_values(row.items.len());
            self.sources += usize::from(values_lists.len() > 1);
        }
        columns.extend(names::of_targets(target_list, &self.scopes, &scope));
        self.scopes.close(&scope);
        self.common.truncate(outside);
        Ok(columns)
    }

    /// A WITH query sees those before it; a recursive one all of them, itself too.
    fn with(&mut self, with: &'a WithClause) -> Decision {
        let WithClause {
            ctes,
            recursive,
            location: _,
        } = with;
        let queries = ctes.iter().filter_map(|node| match &node.node {
            Some(NodeEnum::CommonTableExpr(query)) => Some(query.as_ref()),
            _ => None,
        });
        if *recursive {
            cost::recursion(ctes)?;
            let first = self.common.len();
            let known = queries.clone().map(|query| {
                let given = query
                    .aliascolnames
                    .iter()
                    .filter_map(name_of)
                    .map(Into::into);
                (query.ctename.as_str(), given.collect())
            });
            self.common.extend(known);
            for (at, query) in queries.enumerate() {
                self.growing = Some(first + at);
                self.common[first + at].1 = self.common_table(query)?;
            }
            return Ok(());
        }
        for query in queries {
            let columns = self.common_table(query)?;
            self.common.push((&query.ctename, columns));
        }
        Ok(())
    }

    fn common_table(&mut self, query: &'a CommonTableExpr) -> Result<Columns<'a>, (Refusal, i32)> {
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
        let mut made = Columns::new();
        if let Some(CteSearchClause {
            search_col_list,
            search_breadth_first: _,
            search_seq_column,
            location: _,
        }) = search_clause
        {
            self.own.insert(search_seq_column);
            made.push(search_seq_column.into());
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
            let marks = [cycle_mark_column.as_str(), cycle_path_column.as_str()];
            self.own.extend(marks);
            made.extend(marks.map(Into::into));
            self.all(cycle_col_list)?;
            self.maybe(cycle_mark_value.as_deref())?;
            self.maybe(cycle_mark_default.as_deref())?;
        }
        let mut columns = match ctequery.as_ref().and_then(|query| query.node.as_ref()) {
            Some(NodeEnum::SelectStmt(select)) => self.select(select)?,
            _ => return Err((Refusal::of(Rule::WritesInCte), -1)),
        };
        names::rename(&mut columns, aliascolnames);
        columns.extend(made);
        Ok(columns)
    }

    fn relation(&mut self, relation: &'a RangeVar) -> Result<Item<'a>, (Refusal, i32)> {
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
        self.sources += 1;
        let bare = catalogname.is_empty() && schemaname.is_empty();
        let common = self.common.iter().rev().find(|(name, _)| name == relname);
        if let Some((_, columns)) = common.filter(|_| bare) {
            return Ok(Item::new(relname, columns.clone(), alias.as_ref()));
        }
        let system = |name: &str| name.starts_with("pg_") || name == "information_schema";
        if system(schemaname) || (schemaname.is_empty() && system(relname)) {
            return Err((Refusal::new(Rule::Catalog, relname), *location));
        }
        let known = self.schema.columns_of(schemaname, relname);
        let Some(columns) = known.filter(|_| catalogname.is_empty()) else {
            return Err((Refusal::new(Rule::RelationNotAllowed, relname), *location));
        };
        let plain = schemaname.is_empty() || schemaname == DEFAULT_SCHEMA;
        self.tables.insert(if plain {
            relname.clone()
        } else {
            format!("{schemaname}.{relname}")
        });
        let columns = columns.iter().map(|name| name.as_str().into()).collect();
        Ok(Item::new(relname, columns, alias.as_ref()))
    }

    /// What stands in FROM: read, judged, and added to the scope.
    fn from(&mut self, node: &'a Node, scope: &names::Scope) -> Decision {
        match &node.node {
            Some(NodeEnum::RangeVar(relation)) => {
                let item = self.relation(relation)?;
                self.scopes.add(item);
                Ok(())
            }
            Some(NodeEnum::RangeSubselect(query)) => {
                self.alias(query.alias.as_ref());
                let Some(NodeEnum::SelectStmt(select)) = query
                    .subquery
                    .as_ref()
                    .and_then(|query| query.node.as_ref())
                else {
                    return refuse(Rule::ConstructNotAllowed, "", -1);
                };
                // Only LATERAL sees what stands before it.
                let beside = query.lateral.then(|| self.scopes.show(scope));
                let columns = self.select(select)?;
                if beside.is_some() {
                    self.scopes.hide();
                }
                self.scopes
                    .add(Item::new("", columns, query.alias.as_ref()));
                Ok(())
            }
            Some(NodeEnum::RangeFunction(function)) => {
                self.alias(function.alias.as_ref());
                self.sources += 1;
                self.scopes.show(scope);
                self.all(&function.functions)?;
                self.all(&function.coldeflist)?;
                self.scopes.hide();
                self.scopes.add(names::of_function(function));
                Ok(())
            }
            Some(NodeEnum::RangeTableSample(sample)) => {
                if !matches!(
                    texts(&sample.method).as_slice(),
                    ["system" | "bernoulli"] | ["pg_catalog", "system" | "bernoulli"]
                ) {
                    return refuse(Rule::FunctionNotAllowed, "", sample.location);
                }
                self.all(&sample.args)?;
                self.maybe(sample.repeatable.as_deref())?;
                match sample.relation.as_deref() {
                    Some(relation) => self.from(relation, scope),
                    None => refuse(Rule::ConstructNotAllowed, "", sample.location),
                }
            }
            Some(NodeEnum::JoinExpr(join)) => self.join(join, scope),
            _ => refuse(Rule::ConstructNotAllowed, "", -1),
        }
    }

    fn column(&mut self, column: &'a ColumnRef) -> Decision {
        let ColumnRef { fields, location } = column;
        let Some(last) = fields.last().and_then(name_of) else {
            return Ok(());
        };
        let row = fields.iter().rev().nth(1).and_then(name_of);
        let item = row.and_then(|row| self.scopes.find(row));
        let is_column = item.is_some_and(|item| item.has(last));
        let is_system = SYSTEM_COLUMNS.contains(&last);
        if is_system && !is_column && !self.schema.columns.contains(last) {
            return refuse(Rule::Catalog, last, *location);
        }
        if row.is_none() {
            self.columns.push((last, *location));
            return Ok(());
        }
        // `row.name` that is no column of the row is a call of the function of that name with the row.
        if is_column {
            Ok(())
        } else {
            refuse(Rule::ColumnNotFound, last, *location)
        }
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
        if FUNCTIONS.binary_search(&name).is_err()
            || (names.len() == 1 && self.schema.functions.contains(name))
        {
            return refuse(Rule::FunctionNotAllowed, name, *location);
        }
        self.growth = self.growth.saturating_mul(cost::growth(name, args));
        if cost::of_call(name, args) || self.growth > cost::MOST_GROWTH {
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
        self.operator(name, *location)?;
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
        self.operator(oper_name, *location)?;
        self.maybe(testexpr.as_deref())?;
        self.maybe(subselect.as_deref())
    }

    fn join(&mut self, join: &'a JoinExpr, scope: &names::Scope) -> Decision {
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
        let own = self.scopes.inner();
        for side in [larg, rarg] {
            match side.as_deref() {
                Some(side) => self.from(side, scope)?,
                None => return refuse(Rule::ConstructNotAllowed, "", -1),
            }
        }
        // A condition sees the two sides of its join, and nothing beside them.
        self.scopes.show(&own);
        self.maybe(quals.as_deref())?;
        self.scopes.hide();
        if let Some(alias) = join_using_alias {
            let columns = using_clause.iter().filter_map(name_of).map(Into::into);
            let item = Item::new("", columns.collect(), Some(alias));
            self.scopes.add(item);
        }
        if alias.is_some() {
            // Its sides cannot be seen any more.
            let columns = self.scopes.take(&own);
            self.scopes.add(Item::new("", columns, alias.as_ref()));
        }
        Ok(())
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

    /// Operators by their symbol, or as what the grammar calls its own.
    fn operator(&self, names: &[Node], location: i32) -> Decision {
        let known = |name: &&str| {
            let plain = OPERATORS.contains(name) && !self.schema.operators.contains(*name);
            plain || name.starts_with("BETWEEN") || name.starts_with("NOT BETWEEN")
        };
        match texts(names).as_slice() {
            [] => Ok(()),
            [name] if known(name) => Ok(()),
            ["pg_catalog", name] if OPERATORS.contains(name) => Ok(()),
            names => refuse(Rule::OperatorNotAllowed, &names.join("."), location),
        }
    }
}
