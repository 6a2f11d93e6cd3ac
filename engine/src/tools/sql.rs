//! The SQL tools: a statement is judged, run by a role that may only read, and its rows are told in JSON.

mod postgres;
mod sqlite;

use super::outcome::{Caller, ToolError, ToolOutput};
pub use crate::config::RoleCheck;
use fact_guard::sql::{Relation, Schema};
use serde_json::{Value, json};
pub use sqlite::Judge as SqliteJudge;
use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::broadcast;

/// How to reach the database, and how it may be used.
#[derive(Debug, Clone)]
pub struct DatabaseConfig {
    /// `postgres://…` or `sqlite:PATH`.
    pub url: String,
    /// What to do about a role that may do more.
    pub role_check: RoleCheck,
    /// For one call.
    pub tool_timeout: Duration,
    /// `{question, statement}`, by the operator.
    pub samples: Vec<Value>,
}

/// Why there is no database.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    /// It cannot be reached or read.
    #[error("the database of `DATABASE_URL` cannot be used: {0}")]
    Unreachable(String),
    /// The role is too strong.
    #[error(
        "the role of `DATABASE_URL` may do more than read: {0}; take a weaker role, or set `FACT_ROLE_CHECK=warn`"
    )]
    Role(String),
}

/// What changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// `schema.table`.
    Table(String),
    /// It is not known what.
    Everything,
}

/// One table or view that may be read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Table {
    pub(crate) schema: String,
    pub(crate) name: String,
    pub(crate) comment: String,
    pub(crate) columns: Vec<Column>,
    pub(crate) primary_key: Vec<String>,
    pub(crate) foreign_keys: Vec<ForeignKey>,
    /// `schema.table`, itself or what the view reads.
    pub(crate) bases: BTreeSet<String>,
}

#[derive(Debug, Clone)]
pub(crate) struct Column {
    pub(crate) name: String,
    pub(crate) kind: String,
    pub(crate) nullable: bool,
    pub(crate) comment: String,
}

/// Columns that name a row of another table.
#[derive(Debug, Clone)]
pub(crate) struct ForeignKey {
    pub(crate) columns: Vec<String>,
    pub(crate) schema: String,
    pub(crate) table: String,
    /// The columns there.
    pub(crate) referenced: Vec<String>,
}

impl Table {
    /// As statements name it.
    fn shown(&self) -> String {
        if self.schema == "public" {
            self.name.clone()
        } else {
            format!("{}.{}", self.schema, self.name)
        }
    }
}

/// What the database's owner has made besides tables, and a bare name could mean.
#[derive(Debug, Default)]
pub(crate) struct Beside {
    pub(crate) functions: Vec<String>,
    pub(crate) operators: Vec<String>,
}

/// Rows, however they were read.
#[derive(Debug, Default)]
pub(crate) struct Rows {
    pub(crate) columns: Vec<(String, String)>,
    pub(crate) values: Vec<Vec<Value>>,
    pub(crate) truncated: bool,
}

/// The database behind the SQL tools.
#[derive(Debug, Clone)]
pub struct Database(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    engine: Engine,
    tables: Vec<Table>,
    beside: Beside,
    /// What the guard knows, by data scope.
    schemas: Mutex<HashMap<Option<Vec<String>>, Arc<Schema>>>,
    changes: broadcast::Sender<Change>,
    samples: Vec<Value>,
}

#[derive(Debug)]
enum Engine {
    Postgres(postgres::Postgres),
    Sqlite(sqlite::Sqlite),
}

const MOST_ROWS: u64 = 10_000;
const ROWS: u64 = 1_000;
/// Of an answer's rows, as JSON.
pub(crate) const MOST_BYTES: usize = 1 << 20;

impl Database {
    /// Connects, checks the role, reads the schema, and follows changes.
    pub async fn connect(config: DatabaseConfig) -> Result<Self, ConnectError> {
        let (changes, _) = broadcast::channel(1024);
        let (engine, tables, beside) = if let Some(path) = config.url.strip_prefix("sqlite:") {
            let (engine, tables) = sqlite::open(path, config.tool_timeout, changes.clone())?;
            (Engine::Sqlite(engine), tables, Beside::default())
        } else {
            let (engine, tables, beside) = postgres::open(&config, changes.clone()).await?;
            (Engine::Postgres(engine), tables, beside)
        };
        Ok(Self(Arc::new(Inner {
            engine,
            tables,
            beside,
            schemas: Mutex::default(),
            changes,
            samples: config.samples,
        })))
    }

    /// `postgres` or `sqlite`.
    pub fn kind(&self) -> &'static str {
        match self.0.engine {
            Engine::Postgres(_) => "postgres",
            Engine::Sqlite(_) => "sqlite",
        }
    }

    /// Whether it answers.
    pub async fn ping(&self) -> bool {
        match &self.0.engine {
            Engine::Postgres(engine) => engine.ping().await,
            Engine::Sqlite(_) => true,
        }
    }

    /// What changes from now on.
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.0.changes.subscribe()
    }

    fn visible(&self, scope: Option<&[String]>) -> impl Iterator<Item = &Table> {
        let within = move |table: &&Table| {
            scope.is_none_or(|scope| {
                scope.iter().any(|name| {
                    *name == table.shown() || *name == format!("{}.{}", table.schema, table.name)
                })
            })
        };
        self.0.tables.iter().filter(within)
    }

    /// What the guard knows of a data scope.
    fn schema(&self, scope: Option<&[String]>) -> Arc<Schema> {
        let mut known = self
            .0
            .schemas
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let made = known
            .entry(scope.map(<[String]>::to_vec))
            .or_insert_with(|| Arc::new(self.make_schema(scope)));
        made.clone()
    }

    fn make_schema(&self, scope: Option<&[String]>) -> Schema {
        let relations = self.visible(scope).map(|table| Relation {
            schema: table.schema.clone(),
            name: table.name.clone(),
            columns: table
                .columns
                .iter()
                .map(|column| column.name.clone())
                .collect(),
        });
        let Beside {
            functions,
            operators,
        } = &self.0.beside;
        Schema::new(relations.collect()).beside(functions.clone(), operators.clone())
    }

    /// The tables within a data scope, in words, the same each time.
    pub fn schema_text(&self, scope: Option<&[String]>) -> String {
        let mut text = String::new();
        for table in self.visible(scope) {
            let keys = self.keys(table, scope);
            let _ = writeln!(text, "\n## {}{}", table.shown(), remark(&table.comment));
            for column in &table.columns {
                let _ = writeln!(
                    text,
                    "- {} {}{}",
                    column.name,
                    column.kind,
                    remark(&column.comment)
                );
            }
            if !table.primary_key.is_empty() {
                let _ = writeln!(text, "primary key ({})", table.primary_key.join(", "));
            }
            for (key, other) in keys {
                let (own, there) = (key.columns.join(", "), key.referenced.join(", "));
                let _ = writeln!(text, "({own}) references {other} ({there})");
            }
        }
        text
    }

    /// The foreign keys of a table that lead to tables within a data scope, and how those are named.
    fn keys<'a>(
        &'a self,
        table: &'a Table,
        scope: Option<&'a [String]>,
    ) -> Vec<(&'a ForeignKey, String)> {
        let other = |key: &'a ForeignKey| {
            self.visible(scope)
                .find(|other| other.schema == key.schema && other.name == key.table)
                .map(|other| (key, other.shown()))
        };
        table.foreign_keys.iter().filter_map(other).collect()
    }

    /// `schema.table` of tables as written, views resolved.
    pub fn base_tables(&self, tables: &[String]) -> BTreeSet<String> {
        let mut bases = BTreeSet::new();
        for name in tables {
            match self.0.tables.iter().find(|table| {
                table.shown() == *name || format!("{}.{}", table.schema, table.name) == *name
            }) {
                Some(table) => bases.extend(table.bases.iter().cloned()),
                None => drop(bases.insert(name.clone())),
            }
        }
        bases
    }

    /// The operator's examples.
    pub fn get_sample_queries(&self) -> ToolOutput {
        ToolOutput::plain(json!({ "samples": self.0.samples }))
    }

    /// The tables within the caller's data scope.
    #[expect(clippy::unused_async, reason = "all tools are called alike")]
    pub async fn get_schema(
        &self,
        caller: &Caller,
        arguments: &Value,
    ) -> Result<ToolOutput, ToolError> {
        let only = arguments["table"].as_str();
        let tables: Vec<Value> = self
            .visible(caller.tables.as_deref())
            .filter(|table| {
                only.is_none_or(|name| {
                    table.shown() == name || format!("{}.{}", table.schema, table.name) == name
                })
            })
            .map(|table| {
                let columns: Vec<Value> =
                    table.columns.iter().map(|column| json!({ "name": column.name, "type": column.kind, "nullable": column.nullable, "comment": column.comment })).collect();
                let keys: Vec<Value> = self
                    .keys(table, caller.tables.as_deref())
                    .into_iter()
                    .map(|(key, other)| json!({ "columns": key.columns, "references": { "table": other, "columns": key.referenced } }))
                    .collect();
                json!({ "name": table.shown(), "comment": table.comment, "columns": columns, "primary_key": table.primary_key, "foreign_keys": keys })
            })
            .collect();
        if tables.is_empty()
            && let Some(name) = only
        {
            return Err(ToolError::NotFound(format!(
                "there is no table `{name}` for you"
            )));
        }
        Ok(ToolOutput::plain(json!({ "tables": tables })))
    }

    /// Judges a statement, runs it, tells its rows.
    pub async fn query_readonly(
        &self,
        caller: &Caller,
        arguments: &Value,
    ) -> Result<ToolOutput, ToolError> {
        let statement = arguments["statement"].as_str().unwrap_or_default();
        let parameters = arguments["parameters"]
            .as_array()
            .cloned()
            .unwrap_or_default();
        let most = arguments["max_rows"]
            .as_u64()
            .unwrap_or(ROWS)
            .clamp(1, MOST_ROWS);
        let began = std::time::Instant::now();
        let (rows, tables) = match &self.0.engine {
            Engine::Postgres(engine) => {
                let schema = self.schema(caller.tables.as_deref());
                let safe = fact_guard::sql::check(statement, &schema)?;
                (
                    engine.run(&caller.tenant, &safe, &parameters, most).await?,
                    safe.tables().to_vec(),
                )
            }
            Engine::Sqlite(engine) => {
                fact_guard::sql::check_sqlite_text(statement)?;
                let granted = self
                    .visible(caller.tables.as_deref())
                    .map(|table| table.name.clone())
                    .collect();
                engine.run(statement, parameters, granted, most).await?
            }
        };
        let columns: Vec<Value> = rows
            .columns
            .iter()
            .map(|(name, kind)| json!({ "name": name, "type": kind }))
            .collect();
        let row_count = u64::try_from(rows.values.len()).unwrap_or(u64::MAX);
        let told: Vec<Value> = rows
            .values
            .into_iter()
            .map(|row| {
                rows.columns
                    .iter()
                    .map(|(name, _)| name.clone())
                    .zip(row)
                    .collect()
            })
            .collect();
        let result = json!({
            "columns": columns,
            "rows": told,
            "row_count": row_count,
            "truncated": rows.truncated,
            "tables": tables,
            "execution_time_ms": began.elapsed().as_secs_f64() * 1e3,
        });
        Ok(ToolOutput {
            result,
            tables,
            statement: Some(statement.to_owned()),
            row_count: Some(row_count),
            source: None,
        })
    }
}

fn remark(comment: &str) -> String {
    if comment.is_empty() {
        String::new()
    } else {
        format!(": {comment}")
    }
}

/// A doubled column name gets `_2`, `_3` …, the first that no other column has.
pub(crate) fn distinct(names: impl Iterator<Item = String>) -> Vec<String> {
    let names: Vec<String> = names.collect();
    let given: BTreeSet<&String> = names.iter().collect();
    let mut taken: BTreeSet<String> = BTreeSet::new();
    let mut made = Vec::with_capacity(names.len());
    for name in &names {
        let mut own = name.clone();
        let mut times = 1;
        while taken.contains(&own) || (times > 1 && given.contains(&own)) {
            times += 1;
            own = format!("{name}_{times}");
        }
        taken.insert(own.clone());
        made.push(own);
    }
    made
}

#[cfg(test)]
mod tests {
    #[test]
    fn no_column_takes_the_name_of_another() {
        let distinct = |names: &[&str]| super::distinct(names.iter().map(ToString::to_string));
        assert_eq!(distinct(&["a", "a", "a"]), ["a", "a_2", "a_3"]);
        assert_eq!(distinct(&["a", "a", "a_2"]), ["a", "a_3", "a_2"]);
    }
}
