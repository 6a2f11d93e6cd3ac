//! What `SQLite` itself asks before it compiles a statement, answered with no unless there is a reason for yes.

use crate::tools::outcome::ToolError;
use fact_guard::{Refusal, Rule};
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::{Connection, Statement};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, PoisonError};

const FUNCTIONS: &[&str] = &[
    "abs",
    "avg",
    "ceil",
    "ceiling",
    "char",
    "coalesce",
    "concat",
    "concat_ws",
    "count",
    "cume_dist",
    "current_date",
    "current_time",
    "current_timestamp",
    "date",
    "datetime",
    "dense_rank",
    "exp",
    "first_value",
    "floor",
    "format",
    "glob",
    "group_concat",
    "hex",
    "ifnull",
    "iif",
    "instr",
    "json",
    "json_array",
    "json_array_length",
    "json_each",
    "json_extract",
    "json_group_array",
    "json_group_object",
    "json_object",
    "json_type",
    "json_valid",
    "julianday",
    "lag",
    "last_value",
    "lead",
    "length",
    "like",
    "ln",
    "log",
    "lower",
    "ltrim",
    "max",
    "min",
    "mod",
    "nth_value",
    "ntile",
    "nullif",
    "percent_rank",
    "pi",
    "pow",
    "printf",
    "power",
    "quote",
    "rank",
    "replace",
    "round",
    "row_number",
    "rtrim",
    "sign",
    "sqrt",
    "strftime",
    "string_agg",
    "substr",
    "substring",
    "sum",
    "time",
    "total",
    "trim",
    "trunc",
    "typeof",
    "unicode",
    "unixepoch",
    "upper",
    "->",
    "->>",
];

/// What there is in a database, granted or not; names in small letters, as `SQLite` compares them.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Tables, views and modules, whose rows nobody reads by a name alone.
    names: BTreeSet<String>,
    views: BTreeMap<String, Within>,
}

/// What a view rests on.
#[derive(Debug, Clone, Default)]
struct Within {
    /// Itself and the views that it reads.
    views: BTreeSet<String>,
    tables: BTreeSet<String>,
}

impl World {
    pub(super) fn read(connection: &Connection) -> rusqlite::Result<Self> {
        let column = |query: &str| -> rusqlite::Result<BTreeSet<String>> {
            let mut listed = connection.prepare(query)?;
            let names = listed.query_map([], |row| row.get::<_, String>(0))?;
            names.map(|name| Ok(name?.to_lowercase())).collect()
        };
        let mut names = column("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view')")?;
        names.extend(column("SELECT name FROM pragma_module_list")?);
        let mut views = BTreeMap::new();
        for view in column("SELECT name FROM sqlite_schema WHERE type = 'view'")? {
            let within = views_within(connection, &view)?;
            views.insert(view, within);
        }
        Ok(Self { names, views })
    }
}

/// What a view rests on, as `SQLite` names it while it compiles it.
fn views_within(connection: &Connection, view: &str) -> rusqlite::Result<Within> {
    let met = Arc::new(Mutex::new(Within::default()));
    let meeting = met.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        let mut met = meeting.lock().unwrap_or_else(PoisonError::into_inner);
        met.views.extend(context.accessor.map(str::to_lowercase));
        if let AuthAction::Read { table_name, .. } = context.action {
            met.tables.insert(table_name.to_lowercase());
        }
        Authorization::Allow
    }))?;
    // A view that cannot be compiled any more is read by nobody.
    drop(connection.prepare(&format!("SELECT * FROM \"{}\"", view.replace('"', "\"\""))));
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    let mut within = met.lock().unwrap_or_else(PoisonError::into_inner).clone();
    within.views.insert(view.to_owned());
    Ok(within)
}

/// A connection on which only what is granted can be compiled.
#[derive(Debug)]
pub(super) struct Guarded {
    granted: BTreeSet<String>,
    misleads: bool,
    read: Arc<Mutex<BTreeSet<String>>>,
    denied: Arc<Mutex<Option<Rule>>>,
}

/// Sets the limits and the authorizer.
pub(super) fn guard(
    connection: &Connection,
    world: &Arc<World>,
    granted: BTreeSet<String>,
    statement: &str,
) -> rusqlite::Result<Guarded> {
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, 1_000_000),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 16_384),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
        (Limit::SQLITE_LIMIT_COLUMN, 500),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    let folded: BTreeMap<String, String> = granted
        .iter()
        .map(|name| (name.to_lowercase(), name.clone()))
        .collect();
    let tokens = tokens(statement);
    let views = || folded.keys().filter_map(|name| world.views.get(name));
    let trusted: BTreeSet<String> = views().flat_map(|view| view.views.clone()).collect();
    let guarded = Guarded {
        // What a granted view reads is told by the view's name only; a WITH query of that name would be taken for it.
        misleads: names_of_with(&tokens).any(|name| trusted.contains(name)),
        granted,
        read: Arc::default(),
        denied: Arc::default(),
    };
    let (reading, denying) = (guarded.read.clone(), guarded.denied.clone());
    // The rows of a table that the statement does not name are counted for a view that was dissolved into it.
    let counted = views().flat_map(|view| view.tables.clone());
    let rights = Rights {
        world: world.clone(),
        counted: counted.filter(|table| !tokens.contains(table)).collect(),
        granted: folded,
        trusted,
    };
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        match rights.judge(&context) {
            Ok(table) => {
                let mut reading = reading.lock().unwrap_or_else(PoisonError::into_inner);
                reading.extend(table);
                Authorization::Allow
            }
            Err(rule) => {
                let mut denying = denying.lock().unwrap_or_else(PoisonError::into_inner);
                denying.get_or_insert(rule);
                Authorization::Deny
            }
        }
    }))?;
    Ok(guarded)
}

impl Guarded {
    /// Compiles one statement that reads.
    pub(super) fn prepare<'c>(
        &self,
        connection: &'c Connection,
        statement: &str,
    ) -> Result<Statement<'c>, ToolError> {
        if self.misleads {
            return Err(ToolError::refused(Rule::RelationNotAllowed));
        }
        let prepared = connection.prepare(statement).map_err(|error| {
            let denied = *self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            ToolError::refused(denied.unwrap_or_else(|| rule_of(&error)))
        })?;
        let is_empty = prepared.column_count() == 0
            && prepared
                .expanded_sql()
                .is_none_or(|sql| sql.trim().is_empty());
        if is_empty {
            return Err(ToolError::refused(Rule::Empty));
        }
        if prepared.is_explain() != 0 {
            return Err(ToolError::refused(Rule::Explain));
        }
        if !prepared.readonly() || prepared.column_count() == 0 {
            return Err(ToolError::refused(Rule::NotARead));
        }
        Ok(prepared)
    }

    /// The granted tables and views that were read.
    pub(super) fn read(&self) -> Vec<String> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.iter()
            .filter(|name| self.granted.contains(*name))
            .cloned()
            .collect()
    }
}

fn rule_of(error: &rusqlite::Error) -> Rule {
    let text = error.to_string();
    if matches!(error, rusqlite::Error::MultipleStatement) {
        Rule::MultipleStatements
    } else if text.contains("no such column") {
        Rule::ColumnNotFound
    } else if text.contains("no such table") {
        Rule::RelationNotAllowed
    } else if text.contains("no such function") {
        Rule::FunctionNotAllowed
    } else {
        Rule::DoesNotParse
    }
}

/// What a statement may read.
struct Rights {
    world: Arc<World>,
    /// In small letters, and as they are written.
    granted: BTreeMap<String, String>,
    /// Views that read on behalf of granted ones, and these themselves.
    trusted: BTreeSet<String>,
    counted: BTreeSet<String>,
}

impl Rights {
    /// Allowed, with the granted table that is read; or why not.
    fn judge(&self, context: &AuthContext<'_>) -> Result<Option<String>, Rule> {
        match context.action {
            // A view of which no column is read is known by what it selects.
            AuthAction::Select => {
                let by = context.accessor.map(str::to_lowercase);
                let view = by.filter(|view| self.trusted.contains(view));
                Ok(view.and_then(|view| self.granted.get(&view).cloned()))
            }
            AuthAction::Recursive => Ok(None),
            AuthAction::Read {
                table_name,
                column_name,
            } => {
                let table = table_name.to_lowercase();
                if table.starts_with("sqlite_") || table.starts_with("pragma_") {
                    return Err(Rule::Catalog);
                }
                if let Some(name) = self.granted.get(&table) {
                    return Ok(Some(name.clone()));
                }
                let by_view = context
                    .accessor
                    .is_some_and(|view| self.trusted.contains(&view.to_lowercase()));
                // The name of a WITH query or of one in FROM, of which no column is read.
                let no_table = column_name.is_empty()
                    && (!self.world.names.contains(&table) || self.counted.contains(&table));
                let of_json = matches!(table.as_str(), "json_each" | "json_tree");
                if by_view || no_table || of_json {
                    Ok(None)
                } else {
                    Err(Rule::RelationNotAllowed)
                }
            }
            AuthAction::Function { function_name }
                if FUNCTIONS.contains(&function_name.to_lowercase().as_str()) =>
            {
                Ok(None)
            }
            AuthAction::Function { .. } => Err(Rule::FunctionNotAllowed),
            _ => Err(Rule::NotARead),
        }
    }
}

/// Every name that could be that of a WITH query: one before `AS (`, a list of columns between them or not.
fn names_of_with(tokens: &[String]) -> impl Iterator<Item = &String> {
    let is = |at: usize, text: &str| tokens.get(at).is_some_and(|token: &String| token == text);
    let mut names = Vec::new();
    for at in 0..tokens.len() {
        let mut next = at + 1;
        if is(next, "(") {
            while next < tokens.len() && !is(next, ")") {
                next += 1;
            }
            next += 1;
        }
        if !is(next, "as") {
            continue;
        }
        next += 1;
        while is(next, "not") || is(next, "materialized") {
            next += 1;
        }
        if is(next, "(") {
            names.push(&tokens[at]);
        }
    }
    names.into_iter()
}

/// Words, names without their quotes, and signs; in small letters, without comments.
fn tokens(statement: &str) -> Vec<String> {
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '-' if rest.starts_with("--") => rest.find('\n').unwrap_or(rest.len()),
            '/' if rest.starts_with("/*") => rest[2..].find("*/").map_or(rest.len(), |end| end + 4),
            '"' | '`' | '\'' | '[' => {
                let closing = if first == '[' { ']' } else { first };
                let (name, length) = quoted(rest, closing);
                tokens.push(name);
                length
            }
            c if c.is_alphanumeric() || c == '_' || c == '$' => {
                let is_name = |c: char| c.is_alphanumeric() || c == '_' || c == '$';
                let length = rest.find(|c| !is_name(c)).unwrap_or(rest.len());
                tokens.push(rest[..length].to_lowercase());
                length
            }
            c if c.is_whitespace() => c.len_utf8(),
            c => {
                tokens.push(c.to_string());
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// A name between quotes, of which a doubled one stands for itself; and its length with them.
fn quoted(text: &str, closing: char) -> (String, usize) {
    let mut name = String::new();
    let mut inside = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = inside.next() {
        if c != closing {
            name.push(c);
        } else if closing != ']' && inside.peek().is_some_and(|(_, next)| *next == closing) {
            name.push(c);
            inside.next();
        } else {
            return (name.to_lowercase(), at + c.len_utf8());
        }
    }
    (name.to_lowercase(), text.len())
}

/// Decides on statements for `SQLite` without running them.
#[derive(Debug)]
pub struct Judge {
    connection: Connection,
    world: Arc<World>,
    granted: BTreeSet<String>,
}

impl Judge {
    /// Of a database that these statements make, of which all tables and views may be read.
    pub fn new(ddl: &str) -> Result<Self, rusqlite::Error> {
        let connection = Connection::open_in_memory()?;
        connection.execute_batch(ddl)?;
        connection.execute_batch("PRAGMA query_only = 1; PRAGMA trusted_schema = 0")?;
        let world = Arc::new(World::read(&connection)?);
        let names = {
            let mut listed = connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%'")?;
            let names = listed.query_map([], |row| row.get(0))?;
            names.collect::<Result<BTreeSet<String>, _>>()?
        };
        Ok(Self {
            connection,
            world,
            granted: names,
        })
    }

    /// Only these of its tables and views may be read.
    #[must_use]
    pub fn granting(mut self, names: &[String]) -> Self {
        self.granted.retain(|name| names.contains(name));
        self
    }

    /// The tables that the statement reads, or why it may not.
    pub fn check(&self, statement: &str) -> Result<Vec<String>, Refusal> {
        fact_guard::sql::check_sqlite_text(statement)?;
        let failed = |_| Refusal::of(Rule::DoesNotParse);
        let guarded = guard(
            &self.connection,
            &self.world,
            self.granted.clone(),
            statement,
        )
        .map_err(failed)?;
        match guarded.prepare(&self.connection, statement) {
            Ok(_) => Ok(guarded.read()),
            Err(ToolError::Refused { rule, .. }) => {
                Err(Rule::by_id(rule).map_or_else(|| Refusal::of(Rule::DoesNotParse), Refusal::of))
            }
            Err(_) => Err(Refusal::of(Rule::DoesNotParse)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judge() -> Judge {
        Judge::new(
            "CREATE TABLE companies (id, name); CREATE TABLE secrets (id, secret); CREATE TABLE base (id, hidden);
             CREATE VIEW inner_view AS SELECT id FROM base; CREATE VIEW shown AS SELECT id FROM inner_view;",
        )
        .expect("a world")
        .granting(&["companies".into(), "shown".into()])
    }

    #[test]
    fn no_name_of_the_statements_own_opens_what_is_not_granted() {
        for statement in [
            "SELECT secret FROM secrets",
            "SELECT count(*) FROM secrets",
            "SELECT count(*) FROM SECRETS s",
            "SELECT id FROM inner_view",
            "WITH companies AS (SELECT secret FROM secrets) SELECT * FROM companies",
            "WITH shown AS (SELECT hidden FROM base) SELECT * FROM shown",
            "WITH x AS (SELECT 1), \"SHOWN\"(a) AS NOT MATERIALIZED (SELECT hidden FROM base) SELECT * FROM shown",
            "WITH [shown] AS (SELECT hidden FROM base) SELECT * FROM shown",
            "WITH/**/'shown'/* */AS/**/(SELECT hidden FROM base) SELECT * FROM shown",
            "WITH inner_view AS (SELECT hidden FROM base) SELECT * FROM inner_view",
            "SELECT * FROM (SELECT secret FROM secrets) AS companies",
            "SELECT * FROM (SELECT secret FROM secrets) AS shown",
            "SELECT (SELECT secret FROM secrets) FROM shown",
            "SELECT * FROM shown WHERE id IN (SELECT hidden FROM base)",
            "SELECT * FROM shown, (SELECT hidden FROM base) shown2",
            "SELECT count(*) FROM pragma_table_list",
            "SELECT count(*) FROM sqlite_schema",
            "SELECT sql FROM \"SQLITE_MASTER\"",
            "SELECT * FROM main.secrets",
            "SELECT rowid FROM base",
            "SELECT randomblob(9)",
            "SELECT load_extension('x')",
            "PRAGMA query_only = 0",
            "ATTACH ':memory:' AS m",
            "DELETE FROM companies",
            "EXPLAIN SELECT 1",
            "REINDEX",
            "SELECT 1; SELECT 2",
            "",
            "-- nothing",
        ] {
            assert!(judge().check(statement).is_err(), "{statement}");
        }
    }

    #[test]
    fn views_and_own_names_are_read() {
        for statement in [
            "SELECT id FROM shown",
            "SELECT s.id FROM shown AS s JOIN companies c ON c.id = s.id",
            "WITH companies AS (SELECT id FROM shown) SELECT count(*) FROM companies",
            "WITH t AS (SELECT id FROM shown) SELECT count(*) FROM t",
            "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 5) SELECT i FROM n",
            "SELECT value FROM json_each('[1]')",
            "SELECT CAST(name AS TEXT) AS shown FROM companies",
        ] {
            assert!(
                judge().check(statement).is_ok(),
                "{statement}: {:?}",
                judge().check(statement)
            );
        }
        assert_eq!(
            judge().check("SELECT c.name FROM SHOWN, Companies c").ok(),
            Some(vec!["companies".to_owned(), "shown".to_owned()])
        );
    }
}
