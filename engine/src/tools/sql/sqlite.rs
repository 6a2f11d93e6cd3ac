//! `SQLite`: read-only, behind its own authorizer that denies by default, with a clock.

mod authorizer;
mod tokens;
mod trim;

pub use authorizer::Judge;

use super::{Change, Column, ConnectError, ForeignKey, MOST_BYTES, Rows, Table, distinct};
use crate::tools::outcome::ToolError;
use authorizer::World;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    timeout: Duration,
    known: Arc<Known>,
}

/// The world as it was last read, by the version of its schema.
type Known = Mutex<Option<(i64, Arc<World>)>>;

/// How many steps of a program go by before the clock is looked at: few, since one may be a call on a megabyte.
const CLOCK_EVERY: i32 = 100;

/// For all statements together; one that wants more fails, and not the process.
const MOST_MEMORY: u32 = 256 << 20;

/// How often it is asked whether something changed.
const WATCH_EVERY: Duration = Duration::from_millis(100);

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.execute_batch(&format!(
        "PRAGMA query_only = 1; PRAGMA trusted_schema = 0; PRAGMA hard_heap_limit = {MOST_MEMORY}"
    ))?;
    trim::replace(&connection)?;
    Ok(connection)
}

/// The world of today, which the owner may have changed since it was last read.
fn world(connection: &Connection, known: &Known) -> rusqlite::Result<Arc<World>> {
    let version: i64 = connection.query_row("PRAGMA schema_version", [], |row| row.get(0))?;
    let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, world)) = known.as_ref().filter(|(read, _)| *read == version) {
        return Ok(world.clone());
    }
    let world = Arc::new(World::read(connection)?);
    *known = Some((version, world.clone()));
    Ok(world)
}

pub(super) fn open(
    path: &str,
    timeout: Duration,
    changes: broadcast::Sender<Change>,
) -> Result<(Sqlite, Vec<Table>), ConnectError> {
    let path = PathBuf::from(path.trim_start_matches("//"));
    let unreachable = |error: rusqlite::Error| ConnectError::Unreachable(error.to_string());
    let connection = read_only(&path).map_err(unreachable)?;
    let tables = schema(&connection).map_err(unreachable)?;
    let known = Arc::default();
    world(&connection, &known).map_err(unreachable)?;
    tokio::spawn(watch(connection, changes));
    Ok((
        Sqlite {
            path,
            timeout,
            known,
        },
        tables,
    ))
}

fn schema(connection: &Connection) -> rusqlite::Result<Vec<Table>> {
    let mut listed = connection.prepare("SELECT name FROM sqlite_schema WHERE type IN ('table', 'view') AND name NOT LIKE 'sqlite_%' ORDER BY name")?;
    let names: Vec<String> = listed
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let mut tables = Vec::new();
    for name in names {
        let mut described = connection
            .prepare("SELECT name, type, \"notnull\" = 0 AND pk = 0 FROM pragma_table_info(?1)")?;
        let column = |row: &rusqlite::Row<'_>| {
            Ok(Column {
                name: row.get(0)?,
                kind: row.get::<_, String>(1)?.to_lowercase(),
                nullable: row.get(2)?,
                comment: String::new(),
            })
        };
        let columns = described
            .query_map([&name], column)?
            .collect::<Result<_, _>>()?;
        let primary_key = connection
            .prepare("SELECT name FROM pragma_table_info(?1) WHERE pk > 0 ORDER BY pk")?
            .query_map([&name], |row| row.get(0))?
            .collect::<Result<_, _>>()?;
        let foreign_keys = foreign_keys(connection, &name)?;
        let bases = BTreeSet::from([format!("public.{name}")]);
        tables.push(Table {
            schema: "public".into(),
            name,
            comment: String::new(),
            columns,
            primary_key,
            foreign_keys,
            bases,
        });
    }
    // A key that names no columns there means the primary key.
    let primary: BTreeMap<String, Vec<String>> = tables
        .iter()
        .map(|table| (table.name.to_lowercase(), table.primary_key.clone()))
        .collect();
    for key in tables.iter_mut().flat_map(|table| &mut table.foreign_keys) {
        if key.referenced.is_empty()
            && let Some(columns) = primary.get(&key.table.to_lowercase())
        {
            key.referenced.clone_from(columns);
        }
    }
    Ok(tables)
}

fn foreign_keys(connection: &Connection, table: &str) -> rusqlite::Result<Vec<ForeignKey>> {
    let mut listed = connection.prepare(
        "SELECT id, \"table\", \"from\", \"to\" FROM pragma_foreign_key_list(?1) ORDER BY id DESC, seq",
    )?;
    let mut rows = listed.query([table])?;
    let mut keys: Vec<(i64, ForeignKey)> = Vec::new();
    while let Some(row) = rows.next()? {
        let id = row.get(0)?;
        if keys.last().is_none_or(|(last, _)| *last != id) {
            let key = ForeignKey {
                columns: Vec::new(),
                schema: "public".into(),
                table: row.get(1)?,
                referenced: Vec::new(),
            };
            keys.push((id, key));
        }
        if let Some((_, key)) = keys.last_mut() {
            key.columns.push(row.get(2)?);
            key.referenced.extend(row.get::<_, Option<String>>(3)?);
        }
    }
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}

/// `data_version` moves when another connection has written.
async fn watch(connection: Connection, changes: broadcast::Sender<Change>) {
    let connection = Mutex::new(connection);
    let version = || {
        connection
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0))
            .ok()
    };
    let mut last = version();
    loop {
        tokio::time::sleep(WATCH_EVERY).await;
        let now = version();
        if now != last {
            last = now;
            drop(changes.send(Change::Everything));
        }
    }
}

impl Sqlite {
    pub(super) async fn run(
        &self,
        statement: &str,
        parameters: Vec<Value>,
        granted: BTreeSet<String>,
        most: u64,
    ) -> Result<(Rows, Vec<String>), ToolError> {
        let (path, statement, deadline) = (
            self.path.clone(),
            statement.to_owned(),
            Instant::now() + self.timeout,
        );
        let known = self.known.clone();
        let running = tokio::task::spawn_blocking(move || {
            query(
                &path,
                &statement,
                &parameters,
                &known,
                &granted,
                most,
                deadline,
            )
        });
        running
            .await
            .unwrap_or_else(|_| Err(ToolError::Failed("the statement was given up".into())))
    }
}

fn query(
    path: &Path,
    statement: &str,
    parameters: &[Value],
    known: &Known,
    granted: &BTreeSet<String>,
    most: u64,
    deadline: Instant,
) -> Result<(Rows, Vec<String>), ToolError> {
    let connection = read_only(path)
        .map_err(|_| ToolError::Unavailable("the database cannot be opened".into()))?;
    let failed = |error: rusqlite::Error| ToolError::Failed(error.to_string());
    // What is judged and what is read are of one moment.
    connection.execute_batch("BEGIN").map_err(failed)?;
    let world = world(&connection, known).map_err(failed)?;
    let guarded = authorizer::guard(&connection, &world, granted, statement).map_err(failed)?;
    connection
        .progress_handler(CLOCK_EVERY, Some(move || Instant::now() > deadline))
        .map_err(failed)?;
    let mut prepared = guarded.prepare(&connection, statement)?;
    if prepared.parameter_count() != parameters.len() {
        return Err(ToolError::argument(
            "/parameters",
            format!(
                "has {} values, the statement takes {}",
                parameters.len(),
                prepared.parameter_count()
            ),
        ));
    }
    let names = distinct(prepared.column_names().into_iter().map(ToOwned::to_owned));
    let kinds: Vec<String> = prepared
        .columns()
        .iter()
        .map(|column| column.decl_type().unwrap_or("").to_lowercase())
        .collect();
    let mut rows = Rows {
        columns: names.into_iter().zip(kinds).collect(),
        ..Rows::default()
    };
    let bound = parameters.iter().map(|value| match value {
        Value::Null => ToSqlOutput::from(rusqlite::types::Null),
        Value::Bool(flag) => ToSqlOutput::from(*flag),
        Value::Number(number) if number.is_i64() => {
            ToSqlOutput::from(number.as_i64().unwrap_or_default())
        }
        Value::Number(number) => ToSqlOutput::from(number.as_f64().unwrap_or_default()),
        Value::String(text) => ToSqlOutput::from(text.clone()),
        other => ToSqlOutput::from(other.to_string()),
    });
    let interrupted = |error: rusqlite::Error| match error.sqlite_error_code() {
        Some(rusqlite::ErrorCode::OperationInterrupted) => ToolError::Timeout,
        _ => ToolError::Failed(error.to_string()),
    };
    let mut found = prepared
        .query(rusqlite::params_from_iter(bound))
        .map_err(interrupted)?;
    let mut bytes = 0;
    while let Some(row) = found.next().map_err(interrupted)? {
        if u64::try_from(rows.values.len()).unwrap_or(u64::MAX) >= most {
            rows.truncated = true;
            break;
        }
        let values: Vec<ValueRef<'_>> = (0..rows.columns.len())
            .map(|at| row.get_ref(at))
            .collect::<Result<_, _>>()
            .map_err(interrupted)?;
        bytes += values.iter().map(length).sum::<usize>();
        if bytes > MOST_BYTES {
            rows.truncated = true;
            break;
        }
        rows.values.push(values.into_iter().map(told).collect());
    }
    let tables = guarded.read();
    Ok((rows, tables))
}

/// About as much as it takes in JSON.
fn length(value: &ValueRef<'_>) -> usize {
    const OF_NUMBERS: usize = 8;
    match value {
        ValueRef::Text(bytes) => bytes.len(),
        ValueRef::Blob(bytes) => bytes.len() / 3 * 4,
        _ => OF_NUMBERS,
    }
}

fn told(value: ValueRef<'_>) -> Value {
    use base64::Engine as _;
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) if number.unsigned_abs() <= 1 << 53 => number.into(),
        ValueRef::Integer(number) => number.to_string().into(),
        // There is no NaN in SQLite.
        ValueRef::Real(number) if number.is_infinite() => if number > 0.0 {
            "Infinity"
        } else {
            "-Infinity"
        }
        .into(),
        ValueRef::Real(number) => number.into(),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => base64::engine::general_purpose::STANDARD
            .encode(bytes)
            .into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_the_authorizer_the_connection_still_only_reads() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("world.db");
        Connection::open(&file)
            .and_then(|world| world.execute_batch("CREATE TABLE t (a); INSERT INTO t VALUES (1)"))
            .expect("the world");
        let connection = read_only(&file).expect("a connection");
        // Even when the second lock is taken off by a statement.
        for statement in [
            "DELETE FROM t",
            "CREATE TABLE u (a)",
            "PRAGMA query_only = 0; DELETE FROM t",
            "PRAGMA writable_schema = 1; DELETE FROM sqlite_master",
        ] {
            assert!(connection.execute_batch(statement).is_err(), "{statement}");
        }
        let rows: i64 = connection
            .query_row("SELECT count(*) FROM t", [], |row| row.get(0))
            .expect("a count");
        assert_eq!(rows, 1);
    }
}
