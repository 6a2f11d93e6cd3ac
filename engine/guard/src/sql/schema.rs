//! What may be read, taken from the statements that made it: tables, views, and who was granted them.

use super::tree::Walk;
use super::{DEFAULT_SCHEMA, Relation, Schema};
use pg_query::NodeEnum;
use pg_query::protobuf::{AlterTableType, GrantStmt, Node, ObjectType, RangeVar, SelectStmt};
use std::collections::{BTreeMap, BTreeSet};

/// Why a text says nothing about tables.
#[derive(Debug, thiserror::Error)]
#[error("the schema is not SQL that Postgres reads: {0}")]
pub struct SchemaError(String);

impl Schema {
    /// From `CREATE TABLE`, `CREATE VIEW`, `CREATE FUNCTION` and the like, and `GRANT SELECT`. Where nothing is granted, all may be read.
    pub fn from_ddl(text: &str) -> Result<Self, SchemaError> {
        let parsed = pg_query::parse(text, pg_query::ParserOptions::default())
            .map_err(|error| SchemaError(error.to_string()))?;
        let mut made = Made::default();
        for statement in &parsed.protobuf.stmts {
            if let Some(node) = statement.stmt.as_ref().and_then(|node| node.node.as_ref()) {
                made.read(node);
            }
        }
        let Made {
            mut relations,
            granted,
            functions,
            operators,
        } = made;
        if !granted.is_empty() {
            relations.retain_mut(|relation| {
                let Some(columns) = granted.get(&(relation.schema.clone(), relation.name.clone()))
                else {
                    return false;
                };
                if let Some(columns) = columns {
                    relation.columns.retain(|name| columns.contains(name));
                }
                true
            });
        }
        Ok(Self::new(relations).beside(functions, operators))
    }
}

/// What the statements so far have made.
#[derive(Default)]
struct Made {
    relations: Vec<Relation>,
    /// By schema and name; certain columns, or all.
    granted: BTreeMap<(String, String), Option<BTreeSet<String>>>,
    functions: Vec<String>,
    operators: Vec<String>,
}

impl Made {
    fn read(&mut self, node: &NodeEnum) {
        match node {
            NodeEnum::CreateStmt(table) => {
                let parents = table.inh_relations.iter().filter_map(range);
                let inherited = parents.flat_map(|parent| self.columns_of(parent));
                let mut columns: Vec<String> = inherited.collect();
                for element in &table.table_elts {
                    match &element.node {
                        Some(NodeEnum::ColumnDef(column)) => columns.push(column.colname.clone()),
                        Some(NodeEnum::TableLikeClause(like)) => {
                            columns.extend(like.relation.iter().flat_map(|of| self.columns_of(of)));
                        }
                        _ => {}
                    }
                }
                self.add(table.relation.as_ref(), columns);
            }
            NodeEnum::AlterTableStmt(change) => {
                let added = change.cmds.iter().filter_map(added_column);
                let added: Vec<String> = added.collect();
                let name = change.relation.as_ref().map(full_name);
                let table = self.relations.iter_mut().find(|relation| {
                    name.as_ref() == Some(&(relation.schema.clone(), relation.name.clone()))
                });
                if let Some(table) = table {
                    table.columns.extend(added);
                }
            }
            NodeEnum::ViewStmt(view) => {
                let mut columns = self.columns_of_query(view.query.as_deref());
                for (column, name) in columns.iter_mut().zip(names(&view.aliases)) {
                    *column = name;
                }
                self.add(view.view.as_ref(), columns);
            }
            NodeEnum::CreateTableAsStmt(made) => {
                let into = made.into.as_ref().and_then(|into| into.rel.as_ref());
                self.add(into, self.columns_of_query(made.query.as_deref()));
            }
            NodeEnum::CreateFunctionStmt(made) => {
                self.functions
                    .extend(made.funcname.last().and_then(name_of));
            }
            NodeEnum::DefineStmt(made) => {
                let name = made.defnames.last().and_then(name_of);
                if made.kind == ObjectType::ObjectOperator as i32 {
                    self.operators.extend(name);
                } else {
                    self.functions.extend(name);
                }
            }
            NodeEnum::GrantStmt(grant) if grant.objtype == ObjectType::ObjectTable as i32 => {
                self.grant(grant);
            }
            _ => {}
        }
    }

    /// SELECT on tables, on some of their columns, or on all tables of a schema.
    fn grant(&mut self, grant: &GrantStmt) {
        let rights = grant
            .privileges
            .iter()
            .filter_map(|right| match &right.node {
                Some(NodeEnum::AccessPriv(right)) => Some(right),
                _ => None,
            });
        let mut reads = rights.filter(|right| right.priv_name.eq_ignore_ascii_case("select"));
        let select = reads.next();
        if select.is_none() && !grant.privileges.is_empty() {
            return;
        }
        let columns: BTreeSet<String> =
            select.iter().flat_map(|right| names(&right.cols)).collect();
        let objects = grant.objects.iter();
        let tables: Vec<(String, String)> = objects
            .flat_map(|object| match &object.node {
                Some(NodeEnum::RangeVar(name)) => vec![full_name(name)],
                Some(NodeEnum::String(schema)) => self.tables_of(&schema.sval),
                _ => Vec::new(),
            })
            .collect();
        for table in tables {
            if !grant.is_grant {
                if columns.is_empty() {
                    self.granted.remove(&table);
                }
            } else if columns.is_empty() {
                self.granted.insert(table, None);
            } else if let Some(known) = self
                .granted
                .entry(table)
                .or_insert_with(|| Some(BTreeSet::new()))
            {
                known.extend(columns.iter().cloned());
            }
        }
    }

    fn tables_of(&self, schema: &str) -> Vec<(String, String)> {
        let within = self
            .relations
            .iter()
            .filter(|relation| relation.schema == schema);
        within
            .map(|relation| (relation.schema.clone(), relation.name.clone()))
            .collect()
    }

    fn add(&mut self, name: Option<&RangeVar>, columns: Vec<String>) {
        if let Some(name) = name {
            let (schema, name) = full_name(name);
            self.relations.push(Relation {
                schema,
                name,
                columns,
            });
        }
    }

    fn columns_of(&self, name: &RangeVar) -> Vec<String> {
        let (schema, name) = full_name(name);
        let found = self
            .relations
            .iter()
            .find(|relation| relation.schema == schema && relation.name == name);
        found.map_or_else(Vec::new, |relation| relation.columns.clone())
    }

    /// With stars resolved; of a query that the guard would not take, by its target list alone.
    fn columns_of_query(&self, query: Option<&Node>) -> Vec<String> {
        let Some(NodeEnum::SelectStmt(select)) = query.and_then(|node| node.node.as_ref()) else {
            return Vec::new();
        };
        let known = Schema::new(self.relations.clone());
        Walk::new(&known)
            .columns_of(select)
            .unwrap_or_else(|| columns_of_select(select))
    }
}

fn range(node: &Node) -> Option<&RangeVar> {
    match node.node.as_ref()? {
        NodeEnum::RangeVar(name) => Some(name),
        _ => None,
    }
}

fn added_column(command: &Node) -> Option<String> {
    let NodeEnum::AlterTableCmd(command) = command.node.as_ref()? else {
        return None;
    };
    let added = command.subtype == AlterTableType::AtAddColumn as i32;
    match command.def.as_ref()?.node.as_ref()? {
        NodeEnum::ColumnDef(column) if added => Some(column.colname.clone()),
        _ => None,
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

fn names(list: &[Node]) -> Vec<String> {
    list.iter().filter_map(name_of).collect()
}

fn name_of(node: &Node) -> Option<String> {
    match node.node.as_ref()? {
        NodeEnum::String(text) => Some(text.sval.clone()),
        _ => None,
    }
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

    #[test]
    fn columns_come_through_stars_partitions_likes_and_grants_of_some() {
        let ddl = "CREATE TABLE a (x int, y text) PARTITION BY RANGE (x); CREATE TABLE a1 PARTITION OF a FOR VALUES FROM (1) TO (2); \
                   CREATE TABLE c (LIKE a, z int); ALTER TABLE c ADD COLUMN w int; CREATE VIEW v AS SELECT *, 1 AS one FROM c; \
                   CREATE VIEW n (first) AS SELECT app.noisy(x), y FROM a; GRANT SELECT (x) ON a TO r; GRANT INSERT ON c TO r; GRANT ALL ON a1, v, n TO r;";
        let schema = Schema::from_ddl(ddl).unwrap();
        for (statement, taken) in [
            (
                "SELECT v.w, v.one, v.z, a1.y, n.first, n.y FROM v, a1, n WHERE v.z = a1.x",
                true,
            ),
            ("SELECT a.x FROM a", true),
            ("SELECT a.y FROM a", false),
            ("SELECT z FROM c", false),
        ] {
            let decision = super::super::check(statement, &schema);
            assert_eq!(decision.is_ok(), taken, "{statement}: {decision:?}");
        }
    }
}
