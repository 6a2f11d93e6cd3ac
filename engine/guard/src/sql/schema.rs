//! What may be read, taken from the statements that made it: tables, views, and who was granted them.

use super::{DEFAULT_SCHEMA, Relation, Schema};
use pg_query::NodeEnum;
use pg_query::protobuf::{Node, ObjectType, RangeVar, SelectStmt};
use std::collections::BTreeSet;

/// Why a text says nothing about tables.
#[derive(Debug, thiserror::Error)]
#[error("the schema is not SQL that Postgres reads: {0}")]
pub struct SchemaError(String);

impl Schema {
    /// From `CREATE TABLE`, `CREATE VIEW`, `CREATE FUNCTION` and the like, and `GRANT SELECT`. Where nothing is granted, all may be read.
    pub fn from_ddl(text: &str) -> Result<Self, SchemaError> {
        let parsed = pg_query::parse(text, pg_query::ParserOptions::default())
            .map_err(|error| SchemaError(error.to_string()))?;
        let mut relations = Vec::new();
        let mut granted: BTreeSet<(String, String)> = BTreeSet::new();
        let (mut functions, mut operators) = (Vec::new(), Vec::new());
        for statement in &parsed.protobuf.stmts {
            match statement.stmt.as_ref().and_then(|node| node.node.as_ref()) {
                Some(NodeEnum::CreateStmt(table)) => {
                    let columns = table
                        .table_elts
                        .iter()
                        .filter_map(column_of_table)
                        .collect();
                    relations.extend(table.relation.as_ref().map(|name| relation(name, columns)));
                }
                Some(NodeEnum::ViewStmt(view)) => {
                    let columns = if view.aliases.is_empty() {
                        columns_of_query(view.query.as_deref())
                    } else {
                        names(&view.aliases)
                    };
                    relations.extend(view.view.as_ref().map(|name| relation(name, columns)));
                }
                Some(NodeEnum::CreateTableAsStmt(made)) => {
                    let into = made.into.as_ref().and_then(|into| into.rel.as_ref());
                    relations.extend(
                        into.map(|name| relation(name, columns_of_query(made.query.as_deref()))),
                    );
                }
                Some(NodeEnum::CreateFunctionStmt(made)) => {
                    functions.extend(made.funcname.last().and_then(name_of));
                }
                Some(NodeEnum::DefineStmt(made)) => {
                    let name = made.defnames.last().and_then(name_of);
                    if made.kind == ObjectType::ObjectOperator as i32 {
                        operators.extend(name);
                    } else {
                        functions.extend(name);
                    }
                }
                Some(NodeEnum::GrantStmt(grant))
                    if grant.is_grant && grant.objtype == ObjectType::ObjectTable as i32 =>
                {
                    granted.extend(
                        grant
                            .objects
                            .iter()
                            .filter_map(|object| match &object.node {
                                Some(NodeEnum::RangeVar(name)) => Some(full_name(name)),
                                _ => None,
                            }),
                    );
                }
                _ => {}
            }
        }
        if !granted.is_empty() {
            relations.retain(|relation| {
                granted.contains(&(relation.schema.clone(), relation.name.clone()))
            });
        }
        Ok(Self::new(relations).beside(functions, operators))
    }
}

fn full_name(name: &RangeVar) -> (String, String) {
    let schema = if name.schemaname.is_empty() {
        DEFAULT_SCHEMA
    } else {
        &name.schemaname
    };
    (schema.to_owned(), name.relname.clone())
}

fn relation(name: &RangeVar, columns: Vec<String>) -> Relation {
    let (schema, name) = full_name(name);
    Relation {
        schema,
        name,
        columns,
    }
}

fn column_of_table(element: &Node) -> Option<String> {
    match element.node.as_ref()? {
        NodeEnum::ColumnDef(column) => Some(column.colname.clone()),
        _ => None,
    }
}

fn names(list: &[Node]) -> Vec<String> {
    list.iter().filter_map(name_of).collect()
}

fn name_of(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.clone()),
        _ => None,
    }
}

fn columns_of_query(query: Option<&Node>) -> Vec<String> {
    let Some(NodeEnum::SelectStmt(select)) = query.and_then(|node| node.node.as_ref()) else {
        return Vec::new();
    };
    columns_of_select(select)
}

fn columns_of_select(select: &SelectStmt) -> Vec<String> {
    if let Some(first) = &select.larg {
        return columns_of_select(first);
    }
    let name = |target: &Node| {
        let NodeEnum::ResTarget(target) = target.node.as_ref()? else {
            return None;
        };
        if !target.name.is_empty() {
            return Some(target.name.clone());
        }
        match target.val.as_ref()?.node.as_ref()? {
            NodeEnum::ColumnRef(column) => column.fields.last().and_then(name_of),
            NodeEnum::FuncCall(call) => call.funcname.last().and_then(name_of),
            _ => None,
        }
    };
    select.target_list.iter().filter_map(name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_granted_may_be_read_with_the_columns_that_it_was_made_with() {
        let ddl = "CREATE TABLE a (x int, y text); CREATE TABLE b (z int); CREATE VIEW v AS SELECT x, count(*), 1 AS one FROM a GROUP BY x; GRANT SELECT ON a, v TO r;";
        let schema = Schema::from_ddl(ddl).unwrap();
        assert!(super::super::check("SELECT v.x, v.count, v.one, a.y FROM v, a", &schema).is_ok());
        assert!(super::super::check("SELECT z FROM b", &schema).is_err());
        assert!(super::super::check("SELECT a.z FROM a", &schema).is_err());
        assert!(Schema::from_ddl("CREATE TABEL a ()").is_err());
    }
}
