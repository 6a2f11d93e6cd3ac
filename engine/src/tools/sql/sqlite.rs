//! `SQLite`: read-only, behind its own authorizer that denies by default, with a clock.

use super::{Change, Column, ConnectError, MOST_BYTES, Rows, Table, distinct};
use crate::tools::outcome::ToolError;
use fact_guard::Rule;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::limits::Limit;
use rusqlite::types::{ToSqlOutput, ValueRef};
use rusqlite::{Connection, OpenFlags};
use serde_json::Value;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

#[derive(Debug)]
pub(super) struct Sqlite {
    path: PathBuf,
    timeout: Duration,
    /// Every table and view that there is, granted or not.
    world: BTreeSet<String>,
}

/// How often it is asked whether something changed.
const WATCH_EVERY: Duration = Duration::from_millis(100);

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

fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let connection = Connection::open_with_flags(
        path,
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX,
    )?;
    connection.execute_batch("PRAGMA query_only = 1; PRAGMA trusted_schema = 0")?;
    Ok(connection)
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
    tokio::spawn(watch(connection, changes));
    let world = tables.iter().map(|table| table.name.clone()).collect();
    Ok((
        Sqlite {
            path,
            timeout,
            world,
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
        let mut described = connection.prepare("SELECT name, type FROM pragma_table_info(?1)")?;
        let column = |row: &rusqlite::Row<'_>| {
            Ok(Column {
                name: row.get(0)?,
                kind: row.get::<_, String>(1)?.to_lowercase(),
                comment: String::new(),
            })
        };
        let columns = described
            .query_map([&name], column)?
            .collect::<Result<_, _>>()?;
        let bases = BTreeSet::from([format!("public.{name}")]);
        tables.push(Table {
            schema: "public".into(),
            name,
            comment: String::new(),
            columns,
            bases,
        });
    }
    Ok(tables)
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
        let world = self.world.clone();
        let running = tokio::task::spawn_blocking(move || {
            query(
                &path,
                &statement,
                &parameters,
                world,
                granted,
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
    world: BTreeSet<String>,
    granted: BTreeSet<String>,
    most: u64,
    deadline: Instant,
) -> Result<(Rows, Vec<String>), ToolError> {
    let connection = read_only(path)
        .map_err(|_| ToolError::Unavailable("the database cannot be opened".into()))?;
    let failed = |error: rusqlite::Error| ToolError::Failed(error.to_string());
    for (limit, value) in [
        (Limit::SQLITE_LIMIT_LENGTH, 1_000_000),
        (Limit::SQLITE_LIMIT_SQL_LENGTH, 16_384),
        (Limit::SQLITE_LIMIT_EXPR_DEPTH, 100),
        (Limit::SQLITE_LIMIT_ATTACHED, 0),
    ] {
        connection.set_limit(limit, value).map_err(failed)?;
    }
    let read: Arc<Mutex<BTreeSet<String>>> = Arc::default();
    let denied: Arc<Mutex<Option<Rule>>> = Arc::default();
    let (reading, denying) = (read.clone(), denied.clone());
    connection
        .authorizer(Some(move |context: AuthContext<'_>| {
            match rule(&context, &world, &granted, &reading) {
                None => Authorization::Allow,
                Some(rule) => {
                    denying
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .get_or_insert(rule);
                    Authorization::Deny
                }
            }
        }))
        .map_err(failed)?;
    connection
        .progress_handler(10_000, Some(move || Instant::now() > deadline))
        .map_err(failed)?;
    let mut prepared = connection.prepare(statement).map_err(|error| {
        match (
            *denied.lock().unwrap_or_else(PoisonError::into_inner),
            error,
        ) {
            (Some(rule), _) => refused(rule),
            (None, rusqlite::Error::MultipleStatement) => refused(Rule::MultipleStatements),
            (None, error)
                if error.to_string().contains("no such column")
                    || error.to_string().contains("no such table") =>
            {
                refused(if error.to_string().contains("table") {
                    Rule::RelationNotAllowed
                } else {
                    Rule::ColumnNotFound
                })
            }
            (None, _) => refused(Rule::DoesNotParse),
        }
    })?;
    if prepared.column_count() == 0
        && prepared
            .expanded_sql()
            .is_none_or(|sql| sql.trim().is_empty())
    {
        return Err(refused(Rule::Empty));
    }
    if !prepared.readonly() || prepared.is_explain() != 0 {
        return Err(refused(Rule::NotARead));
    }
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
        if u64::try_from(rows.values.len()).unwrap_or(u64::MAX) >= most || bytes > MOST_BYTES {
            rows.truncated = true;
            break;
        }
        let values: Vec<Value> = (0..rows.columns.len())
            .map(|at| row.get_ref(at).map(told))
            .collect::<Result<_, _>>()
            .map_err(interrupted)?;
        bytes += values
            .iter()
            .map(|value| value.to_string().len())
            .sum::<usize>();
        rows.values.push(values);
    }
    let tables = read
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .iter()
        .cloned()
        .collect();
    Ok((rows, tables))
}

fn refused(rule: Rule) -> ToolError {
    ToolError::Refused {
        rule: rule.id(),
        why: rule.sentence().to_owned(),
        place: None,
    }
}

/// Denied by default.
fn rule(
    context: &AuthContext<'_>,
    world: &BTreeSet<String>,
    granted: &BTreeSet<String>,
    read: &Mutex<BTreeSet<String>>,
) -> Option<Rule> {
    match context.action {
        AuthAction::Select | AuthAction::Recursive => None,
        AuthAction::Read { table_name, .. }
            if table_name.to_ascii_lowercase().starts_with("sqlite_") =>
        {
            Some(Rule::Catalog)
        }
        AuthAction::Read {
            table_name,
            column_name,
        } => {
            // SQLite tells some names as they were written; letters of either case mean the same.
            let find = |names: &BTreeSet<String>, wanted: &str| {
                names
                    .iter()
                    .find(|name| name.eq_ignore_ascii_case(wanted))
                    .cloned()
            };
            if let Some(name) = find(granted, table_name) {
                read.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .insert(name);
                return None;
            }
            // What a granted view reads; and the name of a WITH query, of which no column is read.
            let by_view = context
                .accessor
                .is_some_and(|view| find(granted, view).is_some());
            let no_table = column_name.is_empty() && find(world, table_name).is_none();
            let of_json = matches!(table_name, "json_each" | "json_tree");
            if by_view || no_table || of_json {
                None
            } else {
                Some(Rule::RelationNotAllowed)
            }
        }
        AuthAction::Function { function_name }
            if FUNCTIONS.contains(&function_name.to_lowercase().as_str()) =>
        {
            None
        }
        AuthAction::Function { .. } => Some(Rule::FunctionNotAllowed),
        _ => Some(Rule::NotARead),
    }
}

fn told(value: ValueRef<'_>) -> Value {
    use base64::Engine as _;
    match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) if number.unsigned_abs() <= 1 << 53 => number.into(),
        ValueRef::Integer(number) => number.to_string().into(),
        ValueRef::Real(number) => serde_json::Number::from_f64(number)
            .map_or_else(|| number.to_string().into(), Value::Number),
        ValueRef::Text(text) => String::from_utf8_lossy(text).into_owned().into(),
        ValueRef::Blob(bytes) => base64::engine::general_purpose::STANDARD
            .encode(bytes)
            .into(),
    }
}
