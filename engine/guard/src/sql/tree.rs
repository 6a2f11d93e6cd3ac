//! Visits every value of a parsed statement.

use super::allowed::{FUNCTIONS, NODES, OPERATORS, SYSTEM_COLUMNS, TYPES, UNNAMED_COLUMNS};
use super::{DEFAULT_SCHEMA, Schema};
use crate::{Refusal, Rule};
use serde_json::Value;
use std::collections::BTreeSet;

/// Where a statement gives a name to a column or a row.
const NAMING_FIELDS: &[&str] = &[
    "aliasname",
    "colname",
    "ctename",
    "relname",
    "search_seq_column",
    "cycle_mark_column",
    "cycle_path_column",
];

type Decision = Result<(), (Refusal, Option<usize>)>;

/// A walk over one statement.
#[derive(Debug)]
pub(super) struct Walk<'a> {
    schema: &'a Schema,
    /// Names of WITH queries in scope, innermost last.
    common: Vec<BTreeSet<String>>,
    /// Names that the statement itself gives to columns.
    own_columns: BTreeSet<String>,
    tables: BTreeSet<String>,
}

fn refuse(rule: Rule, about: &str, node: &Value) -> Decision {
    Err((
        Refusal::new(rule, about),
        node["location"]
            .as_u64()
            .and_then(|at| usize::try_from(at).ok()),
    ))
}

/// The texts of a list of `String` nodes.
fn texts(list: &Value) -> Vec<&str> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(|node| node["node"]["String"]["sval"].as_str())
        .collect()
}

fn filled(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Array(items) => !items.is_empty(),
        _ => true,
    }
}

impl<'a> Walk<'a> {
    pub(super) fn new(schema: &'a Schema) -> Self {
        Self {
            schema,
            common: Vec::new(),
            own_columns: BTreeSet::new(),
            tables: BTreeSet::new(),
        }
    }

    pub(super) fn tables(self) -> Vec<String> {
        self.tables.into_iter().collect()
    }

    /// The top: one SELECT.
    pub(super) fn statement(&mut self, node: &Value) -> Decision {
        let kind = node["node"]
            .as_object()
            .and_then(|node| node.keys().next())
            .map_or("", String::as_str);
        match kind {
            "SelectStmt" => {
                self.name_columns(node);
                self.visit(node)
            }
            "ExplainStmt" => refuse(Rule::Explain, "", node),
            _ => refuse(Rule::NotARead, "", node),
        }
    }

    /// Names that the statement itself gives, anywhere in it: to columns, and to rows, which may be named as a whole.
    fn name_columns(&mut self, value: &Value) {
        match value {
            Value::Array(items) => items.iter().for_each(|item| self.name_columns(item)),
            Value::Object(fields) => {
                for (field, inner) in fields {
                    match (field.as_str(), inner) {
                        (name_field, Value::String(name))
                            if NAMING_FIELDS.contains(&name_field) =>
                        {
                            self.own_columns.insert(name.clone());
                        }
                        ("colnames" | "aliascolnames", list) => {
                            self.own_columns
                                .extend(texts(list).into_iter().map(ToOwned::to_owned));
                        }
                        ("ResTarget", target) => self
                            .own_columns
                            .extend(target["name"].as_str().map(ToOwned::to_owned)),
                        // Without a name of its own, a column is called by its function.
                        ("FuncCall", call) => {
                            self.own_columns
                                .extend(texts(&call["funcname"]).last().map(ToString::to_string));
                        }
                        _ => {}
                    }
                    self.name_columns(inner);
                }
            }
            _ => {}
        }
    }

    fn knows_column(&self, name: &str) -> bool {
        self.schema.columns.contains(name)
            || self.own_columns.contains(name)
            || UNNAMED_COLUMNS.contains(&name)
            || TYPES.contains(&name)
    }

    fn visit(&mut self, value: &Value) -> Decision {
        match value {
            Value::Array(items) => items.iter().try_for_each(|item| self.visit(item)),
            Value::Object(fields) => match fields.get("node") {
                Some(Value::Object(node)) if fields.len() == 1 => node
                    .iter()
                    .try_for_each(|(kind, body)| self.node(kind, body)),
                _ => self.fields(value),
            },
            _ => Ok(()),
        }
    }

    /// The fields of a node, and of what stands in it without being wrapped.
    fn fields(&mut self, value: &Value) -> Decision {
        let Some(fields) = value.as_object() else {
            return Ok(());
        };
        for (name, field) in fields.iter().filter(|(_, field)| filled(field)) {
            match name.as_str() {
                "into_clause" => return refuse(Rule::SelectInto, "", field),
                "locking_clause" => return refuse(Rule::LockingClause, "", field),
                // The halves of a set operation stand bare; those of a join are nodes.
                "larg" | "rarg" if !field["node"].is_object() => self.select(field)?,
                "type_name" => self.type_name(field)?,
                "relation" if field["relname"].is_string() => self.relation(field)?,
                _ => self.visit(field)?,
            }
        }
        Ok(())
    }

    fn node(&mut self, kind: &str, body: &Value) -> Decision {
        match kind {
            "InsertStmt" | "UpdateStmt" | "DeleteStmt" | "MergeStmt" => {
                return refuse(Rule::WritesInCte, "", body);
            }
            "LockingClause" => return refuse(Rule::LockingClause, "", body),
            kind if !NODES.contains(&kind) => return refuse(Rule::ConstructNotAllowed, "", body),
            "SelectStmt" => return self.select(body),
            "RangeVar" => return self.relation(body),
            "TypeName" => return self.type_name(body),
            "FuncCall" => Self::function(body)?,
            "AExpr" => Self::operator(&body["name"], body)?,
            "SubLink" | "SortBy" => {
                for list in ["oper_name", "use_op"] {
                    if filled(&body[list]) {
                        Self::operator(&body[list], body)?;
                    }
                }
            }
            "ColumnRef" => self.column(body)?,
            "AIndirection" => self.indirection(body)?,
            // The numbers of the user, role, catalogue and schema values; dates and times stand below them.
            "SqlvalueFunction" if body["op"].as_u64().is_none_or(|op| op >= 10) => {
                return refuse(Rule::ConstructNotAllowed, "", body);
            }
            _ => {}
        }
        self.fields(body)
    }

    /// A SELECT with the WITH queries that only it sees.
    fn select(&mut self, body: &Value) -> Decision {
        let queries = &body["with_clause"]["ctes"];
        let names: BTreeSet<String> = queries
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|query| query["node"]["CommonTableExpr"]["ctename"].as_str())
            .map(ToOwned::to_owned)
            .collect();
        if body["with_clause"]["recursive"] == true {
            Self::bounded_recursion(queries)?;
        }
        self.common.push(names);
        let decision = self.fields(body);
        self.common.pop();
        decision
    }

    /// A recursive term needs a condition.
    fn bounded_recursion(queries: &Value) -> Decision {
        for query in queries.as_array().into_iter().flatten() {
            let query = &query["node"]["CommonTableExpr"];
            let term = &query["ctequery"]["node"]["SelectStmt"]["rarg"];
            let joined = term["from_clause"].to_string().contains("\"quals\":{");
            if term.is_object() && !term["where_clause"].is_object() && !joined {
                return refuse(Rule::TooCostly, "", query);
            }
        }
        Ok(())
    }

    fn relation(&mut self, body: &Value) -> Decision {
        let part = |name: &str| body[name].as_str().unwrap_or_default();
        let (catalog, schema, name) = (part("catalogname"), part("schemaname"), part("relname"));
        if catalog.is_empty()
            && schema.is_empty()
            && self.common.iter().any(|names| names.contains(name))
        {
            return Ok(());
        }
        if matches!(schema, "pg_catalog" | "information_schema")
            || schema.starts_with("pg_")
            || (schema.is_empty() && name.starts_with("pg_"))
        {
            return refuse(Rule::Catalog, name, body);
        }
        if !catalog.is_empty() || !self.schema.has(schema, name) {
            return refuse(Rule::RelationNotAllowed, name, body);
        }
        self.tables
            .insert(if schema.is_empty() || schema == DEFAULT_SCHEMA {
                name.to_owned()
            } else {
                format!("{schema}.{name}")
            });
        Ok(())
    }

    fn column(&self, body: &Value) -> Decision {
        let names = texts(&body["fields"]);
        let Some(last) = names.last() else {
            return Ok(());
        };
        if SYSTEM_COLUMNS.contains(last) && !self.schema.columns.contains(*last) {
            return refuse(Rule::Catalog, last, body);
        }
        let star = body["fields"].to_string().contains("AStar");
        if !star && !self.knows_column(last) {
            return refuse(Rule::ColumnNotFound, last, body);
        }
        Ok(())
    }

    /// `(row).name` is a column, or else a call of a function.
    fn indirection(&self, body: &Value) -> Decision {
        match texts(&body["indirection"])
            .iter()
            .find(|name| !self.knows_column(name))
        {
            Some(name) => refuse(Rule::ColumnNotFound, name, body),
            None => Ok(()),
        }
    }

    fn function(body: &Value) -> Decision {
        let names = texts(&body["funcname"]);
        let name = match names.as_slice() {
            [name] | ["pg_catalog", name] => *name,
            _ => return refuse(Rule::FunctionNotAllowed, &names.join("."), body),
        };
        if !FUNCTIONS.contains(&name) {
            return refuse(Rule::FunctionNotAllowed, name, body);
        }
        let arguments = body["args"]
            .as_array()
            .map(Vec::as_slice)
            .unwrap_or_default();
        let whole = |node: &Value| {
            let constant = &node["node"]["AConst"];
            let inner = if constant.is_null() {
                &node["node"]["TypeCast"]["arg"]["node"]["AConst"]
            } else {
                constant
            };
            let negative = &node["node"]["AExpr"]["rexpr"]["node"]["AConst"];
            [inner, negative]
                .into_iter()
                .find(|constant| constant.is_object())
                .map(|constant| {
                    constant["val"]["Ival"]["ival"].as_i64().unwrap_or(
                        if constant["val"]["Fval"].is_object() {
                            i64::MAX
                        } else {
                            0
                        },
                    )
                })
        };
        let dates = |node: &Value| {
            node["node"]["TypeCast"]["type_name"]
                .to_string()
                .contains("date")
                || node["node"]["TypeCast"]["type_name"]
                    .to_string()
                    .contains("timestamp")
        };
        let costly = match name {
            "generate_series" => !arguments.iter().take(2).all(|argument| {
                dates(argument) || whole(argument).is_some_and(|n| n.abs() <= 10_000)
            }),
            "repeat" | "lpad" | "rpad" => {
                arguments.get(1).and_then(whole).is_none_or(|n| n > 1_000)
            }
            "format" => !arguments.first().is_some_and(|text| {
                let template = text["node"]["AConst"]["val"]["Sval"]["sval"].as_str();
                template.is_some_and(|text| {
                    text.replace("%%", "")
                        .split('%')
                        .skip(1)
                        .all(|rest| rest.starts_with(['s', 'I', 'L']))
                })
            }),
            _ => false,
        };
        if costly {
            refuse(Rule::TooCostly, name, body)
        } else {
            Ok(())
        }
    }

    fn operator(names: &Value, body: &Value) -> Decision {
        let known = |name: &&str| {
            OPERATORS.contains(name)
                || name.starts_with("BETWEEN")
                || name.starts_with("NOT BETWEEN")
        };
        match texts(names).as_slice() {
            [] => Ok(()),
            [name] | ["pg_catalog", name] if known(name) => Ok(()),
            names => refuse(Rule::OperatorNotAllowed, &names.join("."), body),
        }
    }

    fn type_name(&mut self, body: &Value) -> Decision {
        match texts(&body["names"]).as_slice() {
            [name] | ["pg_catalog", name] if TYPES.contains(name) => {}
            names => return refuse(Rule::TypeNotAllowed, &names.join("."), body),
        }
        self.visit(&body["typmods"])
    }
}
