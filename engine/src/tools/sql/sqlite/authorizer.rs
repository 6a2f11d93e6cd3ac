//! What `SQLite` itself asks before it compiles a statement, answered with no unless there is a reason for yes.

use super::tokens::{Token, names_of_tables, tokens};
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

/// Tables that are functions of their arguments alone.
const OF_JSON: [&str; 2] = ["json_each", "json_tree"];

/// What there is in a database, granted or not; names in small letters, of which `SQLite` compares those of ASCII alone.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Tables, views and modules, whose rows nobody reads by a name alone.
    names: BTreeSet<String>,
    /// Those whose pages no program names.
    of_modules: BTreeSet<String>,
    /// The tables of pages, of indexes as well.
    pages: BTreeMap<i64, String>,
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
        let mut world = Self::default();
        let mut views = Vec::new();
        let mut listed = connection
            .prepare("SELECT type, name, tbl_name, coalesce(rootpage, 0) FROM sqlite_schema")?;
        let mut found = listed.query([])?;
        while let Some(row) = found.next()? {
            let text = |at| {
                row.get::<_, String>(at)
                    .map(|text| text.to_ascii_lowercase())
            };
            let (kind, name, page) = (text(0)?, text(1)?, row.get::<_, i64>(3)?);
            match (kind.as_str(), page) {
                ("view", _) => views.push(name.clone()),
                ("table", 0) => drop(world.of_modules.insert(name.clone())),
                (_, 0) => {}
                _ => drop(world.pages.insert(page, text(2)?)),
            }
            if matches!(kind.as_str(), "table" | "view") {
                world.names.insert(name);
            }
        }
        let mut listed = connection.prepare("SELECT name FROM pragma_module_list")?;
        for name in listed.query_map([], |row| row.get::<_, String>(0))? {
            let name = name?.to_ascii_lowercase();
            if !OF_JSON.contains(&name.as_str()) {
                world.of_modules.insert(name.clone());
            }
            world.names.insert(name);
        }
        for view in views {
            let within = views_within(connection, &world, &view)?;
            world.views.insert(view, within);
        }
        Ok(world)
    }

    /// The tables that the statement's program opens. What stands in USING or is joined naturally is read without that
    /// the authorizer is asked.
    fn opened(
        &self,
        connection: &Connection,
        statement: &str,
    ) -> rusqlite::Result<BTreeSet<Option<&String>>> {
        const OF_THE_FILE: i64 = 0;
        let mut opened = BTreeSet::new();
        let mut program = connection.prepare(&format!("EXPLAIN {statement}"))?;
        let mut steps = program.raw_query();
        while let Some(step) = steps.next()? {
            if matches!(
                step.get_ref("opcode")?.as_str()?,
                "OpenRead" | "OpenWrite" | "ReopenIdx"
            ) {
                let (page, file) = (step.get::<_, i64>("p2")?, step.get::<_, i64>("p3")?);
                opened.insert(self.pages.get(&page).filter(|_| file == OF_THE_FILE));
            }
        }
        Ok(opened)
    }
}

/// What a view rests on, as `SQLite` names it while it compiles it.
fn views_within(connection: &Connection, world: &World, view: &str) -> rusqlite::Result<Within> {
    let met = Arc::new(Mutex::new(Within::default()));
    let meeting = met.clone();
    connection.authorizer(Some(move |context: AuthContext<'_>| {
        let mut met = meeting.lock().unwrap_or_else(PoisonError::into_inner);
        met.views
            .extend(context.accessor.map(str::to_ascii_lowercase));
        if let AuthAction::Read { table_name, .. } = context.action {
            met.tables.insert(table_name.to_ascii_lowercase());
        }
        Authorization::Allow
    }))?;
    // A view that cannot be compiled any more is read by nobody.
    let all = format!("SELECT * FROM \"{}\"", view.replace('"', "\"\""));
    let opened = world.opened(connection, &all).unwrap_or_default();
    connection.authorizer(None::<fn(AuthContext<'_>) -> Authorization>)?;
    let mut within = met.lock().unwrap_or_else(PoisonError::into_inner).clone();
    within.views.insert(view.to_owned());
    within.tables.extend(opened.into_iter().flatten().cloned());
    within.tables.retain(|table| world.names.contains(table));
    Ok(within)
}

/// A connection on which only what is granted can be compiled.
#[derive(Debug)]
pub(super) struct Guarded {
    rights: Arc<Rights>,
    /// All that the statement names, tables or not.
    words: BTreeSet<String>,
    misleads: bool,
    read: Arc<Mutex<BTreeSet<String>>>,
    denied: Arc<Mutex<Option<Rule>>>,
}

/// Sets the limits and the authorizer.
pub(super) fn guard(
    connection: &Connection,
    world: &Arc<World>,
    granted: &BTreeSet<String>,
    statement: &str,
) -> rusqlite::Result<Guarded> {
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, 1_000_000),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 16_400),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 100),
        (Limit::SQLITE_LIMIT_COLUMN, 500),
        (Limit::SQLITE_LIMIT_COMPOUND_SELECT, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        connection.set_limit(limit, value)?;
    }
    let rights = Arc::new(Rights::of(world, granted));
    let tokens = tokens(statement);
    let misleads = names_of_tables(&tokens)
        .any(|name| rights.behind.contains(name) || name.starts_with("pragma_"));
    let guarded = Guarded {
        misleads,
        words: tokens.into_iter().filter_map(Token::name).collect(),
        rights: rights.clone(),
        read: Arc::default(),
        denied: Arc::default(),
    };
    let (reading, denying) = (guarded.read.clone(), guarded.denied.clone());
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
        let why = |error: &rusqlite::Error| {
            let denied = *self.denied.lock().unwrap_or_else(PoisonError::into_inner);
            ToolError::refused(denied.unwrap_or_else(|| rule_of(error)))
        };
        let prepared = connection.prepare(statement).map_err(|error| why(&error))?;
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
        let opened = self.rights.world.opened(connection, statement);
        for table in opened.map_err(|error| why(&error))? {
            let read = self
                .rights
                .judge_opened(table)
                .map_err(ToolError::refused)?;
            let mut reading = self.read.lock().unwrap_or_else(PoisonError::into_inner);
            reading.extend(read);
        }
        Ok(prepared)
    }

    /// The granted tables and views that were read, of those that the statement names.
    pub(super) fn read(&self) -> Vec<String> {
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let named = |name: &&String| self.words.contains(&name.to_ascii_lowercase());
        read.iter().filter(named).cloned().collect()
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
#[derive(Debug)]
struct Rights {
    world: Arc<World>,
    /// In small letters, and as they are written.
    granted: BTreeMap<String, String>,
    /// Views that read on behalf of granted ones, and these themselves.
    trusted: BTreeSet<String>,
    /// The tables of granted views.
    within: BTreeSet<String>,
    /// What a statement may not name, since something else could vouch for it: what only granted views read, which is
    /// told by a view's name that a WITH query may bear too, or by none; and ungranted tables of modules.
    behind: BTreeSet<String>,
}

impl Rights {
    fn of(world: &Arc<World>, granted: &BTreeSet<String>) -> Self {
        let folded = granted
            .iter()
            .map(|name| (name.to_ascii_lowercase(), name.clone()));
        let granted: BTreeMap<String, String> = folded.collect();
        let views = || granted.keys().filter_map(|name| world.views.get(name));
        let trusted: BTreeSet<String> = views().flat_map(|view| view.views.clone()).collect();
        let within: BTreeSet<String> = views().flat_map(|view| view.tables.clone()).collect();
        let unnamed = trusted.iter().chain(&within).chain(&world.of_modules);
        Self {
            behind: unnamed
                .filter(|name| !granted.contains_key(*name))
                .cloned()
                .collect(),
            world: world.clone(),
            granted,
            trusted,
            within,
        }
    }

    /// Allowed, with the granted table that is read; or why not.
    fn judge(&self, context: &AuthContext<'_>) -> Result<Option<String>, Rule> {
        let accessor = context.accessor.map(str::to_ascii_lowercase);
        let view = accessor.and_then(|name| self.world.views.get_key_value(&name));
        match context.action {
            // A view of which no column is read is known by what it selects.
            AuthAction::Select => match view {
                Some((name, _)) if !self.trusted.contains(name) => Err(Rule::RelationNotAllowed),
                view => Ok(view.and_then(|(name, _)| self.granted.get(name).cloned())),
            },
            AuthAction::Recursive => Ok(None),
            AuthAction::Read {
                table_name,
                column_name,
            } => {
                let table = table_name.to_ascii_lowercase();
                if table.starts_with("sqlite_") || table.starts_with("pragma_") {
                    return Err(Rule::Catalog);
                }
                if let Some(name) = self.granted.get(&table) {
                    return Ok(Some(name.clone()));
                }
                let by_view = view.is_some_and(|(name, within)| {
                    self.trusted.contains(name)
                        && (within.tables.contains(&table) || within.views.contains(&table))
                });
                // The name of a WITH query or of one in FROM, of which no column is read; or the rows of a table are
                // counted for a view that was dissolved into the statement.
                let no_table = column_name.is_empty()
                    && (!self.world.names.contains(&table) || self.within.contains(&table));
                let of_json = OF_JSON.contains(&table.as_str());
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

    /// Whether a program may open the table, with the name by which it is granted.
    fn judge_opened(&self, table: Option<&String>) -> Result<Option<String>, Rule> {
        let table = table.ok_or(Rule::Catalog)?;
        let granted = self.granted.get(table).cloned();
        if granted.is_some() || self.within.contains(table) {
            Ok(granted)
        } else {
            Err(Rule::RelationNotAllowed)
        }
    }
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
        let guarded =
            guard(&self.connection, &self.world, &self.granted, statement).map_err(failed)?;
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
             CREATE TABLE \"É\" (secret); CREATE TABLE \"é\" (id); CREATE VIRTUAL TABLE pages USING fts5(secret);
             CREATE VIEW inner_view AS SELECT id FROM base; CREATE VIEW shown AS SELECT id FROM inner_view;
             CREATE VIEW grouped AS SELECT id, count(*) AS n FROM base GROUP BY id; CREATE VIEW rows_only AS SELECT 1 FROM base;
             CREATE VIEW paired AS SELECT hidden FROM base JOIN secrets USING (id);",
        )
        .expect("a world")
        .granting(&["companies", "shown", "grouped", "paired", "é"].map(str::to_owned))
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
            "WITH shown(\")\") AS (SELECT hidden FROM base) SELECT * FROM shown",
            "WITH shown \u{feff}AS \u{feff}(SELECT hidden FROM base) SELECT * FROM shown",
            "WITH y AS (SELECT $a(')), shown AS (SELECT hidden FROM base) SELECT * FROM shown WHERE $a(') IS NOT 7",
            "SELECT $a(/*), (SELECT count(*) FROM base) FROM shown",
            "SELECT secret FROM (SELECT 1 AS secret) FULL JOIN secrets USING (secret)",
            "SELECT hidden FROM (SELECT 1 AS hidden), shown FULL JOIN base USING (hidden)",
            "SELECT count(*) FROM (SELECT 'x' AS secret) JOIN secrets USING (secret)",
            "SELECT count(*) FROM companies NATURAL JOIN secrets",
            "SELECT count(*) FROM (SELECT 'x' AS secret) JOIN pages USING (secret)",
            "SELECT count(*) FROM (SELECT 'secrets' AS name) JOIN dbstat USING (name)",
            "SELECT count(*) FROM (SELECT 'secrets' AS name) JOIN pragma_table_list USING (name)",
            "SELECT count(*) FROM (SELECT 'secrets' AS name) JOIN sqlite_schema USING (name)",
            "SELECT * FROM grouped WHERE id IN (SELECT count(*) FROM secrets)",
            "SELECT secret FROM \"É\"",
            "SELECT count(*) FROM rows_only",
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
            "SELECT id AS base FROM shown WHERE id <> 'base'",
            "SELECT n FROM grouped WHERE id IN (SELECT count(*) FROM companies)",
            "SELECT hidden FROM paired",
            "SELECT id FROM \"é\" WHERE id = $a(') OR id = ?",
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
        assert_eq!(
            judge()
                .check("SELECT count(*) FROM companies JOIN shown USING (id)")
                .ok(),
            Some(vec!["companies".to_owned(), "shown".to_owned()])
        );
    }
}
