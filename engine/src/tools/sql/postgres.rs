//! Postgres: a role that may only read, a READ ONLY transaction, one statement by the extended protocol, always rolled back.

mod values;

use super::{
    Beside, Change, Column, ConnectError, DatabaseConfig, ForeignKey, MOST_BYTES, RoleCheck, Rows,
    Table, distinct,
};
use crate::tools::outcome::{ToolError, Violation};
use fact_guard::Rule;
use fact_guard::sql::ReadOnlySql;
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use sqlx::pool::PoolConnection;
use sqlx::postgres::{
    PgConnectOptions, PgListener, PgPool, PgPoolOptions, PgStatement, PgTypeInfo,
};
use sqlx::{
    AssertSqlSafe, Column as _, Connection as _, Executor as _, Row as _, SqlSafeStr as _,
    Statement as _,
};
use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::broadcast;

#[derive(Debug)]
pub(super) struct Postgres {
    pool: PgPool,
    probe: PgPool,
    /// For a statement: the tool's, or the role's own where that is shorter.
    timeout: Duration,
    affordable: Affordable,
}

/// Statements whose plan was found affordable a moment ago: it is not looked at again.
#[derive(Debug, Default)]
struct Affordable(Mutex<HashMap<blake3::Hash, Instant>>);

impl Affordable {
    fn has(&self, key: &blake3::Hash) -> bool {
        const REMEMBERED: Duration = Duration::from_mins(1);
        let known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(key).is_some_and(|at| at.elapsed() < REMEMBERED)
    }

    fn add(&self, key: blake3::Hash) {
        const MOST: usize = 4_096;
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MOST {
            known.clear();
        }
        known.insert(key, Instant::now());
    }
}

/// Statements at the same time.
const CONNECTIONS: u32 = 16;

const CHANNEL: &str = "fact_table_changed";

/// What the role may do beyond reading; null where nothing.
const TOO_STRONG: &str = "SELECT concat_ws(', ', \
    CASE WHEN r.rolsuper THEN 'it is a superuser' END, \
    CASE WHEN r.rolbypassrls THEN 'it passes by row-level security' END, \
    CASE WHEN r.rolcreaterole OR r.rolcreatedb THEN 'it makes roles or databases' END, \
    CASE WHEN EXISTS (SELECT FROM pg_auth_members m WHERE m.member = r.oid) THEN 'it is a member of other roles' END, \
    CASE WHEN has_database_privilege(current_database(), 'CREATE, TEMP') THEN 'it may create in the database' END, \
    CASE WHEN EXISTS (SELECT FROM pg_namespace n WHERE n.nspname NOT LIKE 'pg\\_%' AND has_schema_privilege(n.oid, 'CREATE')) THEN 'it may create in a schema' END, \
    CASE WHEN EXISTS (SELECT FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace WHERE c.relkind IN ('r', 'p', 'v', 'm', 'f') \
        AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' \
        AND has_table_privilege(c.oid, 'INSERT, UPDATE, DELETE, TRUNCATE')) THEN 'it may write to tables' END) \
    FROM pg_roles r WHERE r.rolname = current_user";

const COLUMNS: &str = "SELECT n.nspname, c.relname, coalesce(obj_description(c.oid, 'pg_class'), ''), a.attname, \
    format_type(a.atttypid, a.atttypmod), coalesce(col_description(c.oid, a.attnum), ''), NOT a.attnotnull \
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped \
    WHERE c.relkind IN ('r', 'p', 'v', 'm') AND n.nspname NOT IN ('pg_catalog', 'information_schema') AND n.nspname NOT LIKE 'pg\\_%' \
    AND has_schema_privilege(n.oid, 'USAGE') AND has_table_privilege(c.oid, 'SELECT') ORDER BY 1, 2, a.attnum";

/// Primary and foreign keys; of a primary key there is no other table.
const KEYS: &str = "SELECT n.nspname, c.relname, \
    ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY AS u(num, at) JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.num ORDER BY u.at), \
    fn.nspname, f.relname, \
    ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY AS u(num, at) JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.num ORDER BY u.at) \
    FROM pg_constraint k JOIN pg_class c ON c.oid = k.conrelid JOIN pg_namespace n ON n.oid = c.relnamespace \
    LEFT JOIN pg_class f ON f.oid = k.confrelid LEFT JOIN pg_namespace fn ON fn.oid = f.relnamespace WHERE k.contype IN ('p', 'f') ORDER BY 1, 2, k.conname";

/// Every relation with the tables that it rests on.
const BASES: &str = "WITH RECURSIVE rests(top, at) AS (SELECT c.oid, c.oid FROM pg_class c WHERE c.relkind IN ('r', 'p', 'v', 'm') \
    UNION SELECT rests.top, d.refobjid FROM rests JOIN pg_rewrite w ON w.ev_class = rests.at \
    JOIN pg_depend d ON d.objid = w.oid AND d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass AND d.refobjid <> rests.at) \
    SELECT tn.nspname, t.relname, bn.nspname || '.' || b.relname FROM rests JOIN pg_class t ON t.oid = rests.top JOIN pg_namespace tn ON tn.oid = t.relnamespace \
    JOIN pg_class b ON b.oid = rests.at AND b.relkind IN ('r', 'p') JOIN pg_namespace bn ON bn.oid = b.relnamespace \
    WHERE tn.nspname NOT IN ('pg_catalog', 'information_schema') AND tn.nspname NOT LIKE 'pg\\_%'";

/// Functions and operators of the owner that a bare name could mean; those of extensions are as good as Postgres' own.
const BESIDE: &str = "SELECT 'function', p.proname::text FROM pg_proc p JOIN pg_namespace n ON n.oid = p.pronamespace WHERE n.nspname = 'public' \
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e') \
    UNION SELECT 'operator', o.oprname::text FROM pg_operator o JOIN pg_namespace n ON n.oid = o.oprnamespace WHERE n.nspname = 'public' \
    AND NOT EXISTS (SELECT FROM pg_depend d WHERE d.classid = 'pg_operator'::regclass AND d.objid = o.oid AND d.deptype = 'e')";

const ROLE_TIMEOUT: &str = "SELECT setting::int FROM pg_settings WHERE name = 'statement_timeout'";

/// By the planner's reckoning. Questions of analysts stay below a thousand, products of tables go into the millions.
const MOST_COST: f64 = 1e6;

pub(super) async fn open(
    config: &DatabaseConfig,
    changes: broadcast::Sender<Change>,
) -> Result<(Postgres, Vec<Table>, Beside), ConnectError> {
    let options: PgConnectOptions = config.url.parse().map_err(|_| {
        ConnectError::Unreachable("it is no `postgres://USER:PASSWORD@HOST:PORT/NAME`".into())
    })?;
    let unreachable = |error: sqlx::Error| ConnectError::Unreachable(brief(&error));
    let pools = |name: &str, most: u32| {
        PgPoolOptions::new()
            .max_connections(most)
            .acquire_timeout(Duration::from_secs(5))
            .test_before_acquire(false)
            .connect_lazy_with(options.clone().application_name(name))
    };
    let (pool, probe) = (pools("fact", CONNECTIONS), pools("fact-probe", 1));
    let strong: Option<String> = sqlx::query_scalar(TOO_STRONG)
        .fetch_optional(&probe)
        .await
        .map_err(unreachable)?;
    if let Some(strong) = strong.filter(|strong| !strong.is_empty()) {
        match config.role_check {
            RoleCheck::Refuse => return Err(ConnectError::Role(strong)),
            RoleCheck::Warn => tracing::warn!(strong, "the database role may do more than read"),
        }
    }
    let tables = schema(&probe).await.map_err(unreachable)?;
    let role_timeout: i32 = sqlx::query_scalar(ROLE_TIMEOUT)
        .fetch_one(&probe)
        .await
        .map_err(unreachable)?;
    // Zero is none.
    let role_timeout = match u64::try_from(role_timeout) {
        Ok(millis) if millis > 0 => Duration::from_millis(millis),
        _ => Duration::MAX,
    };
    let beside = beside(&probe).await.map_err(unreachable)?;
    let listener = listen(&options).await.map_err(unreachable)?;
    tokio::spawn(follow(options, listener, changes));
    Ok((
        Postgres {
            pool,
            probe,
            timeout: config.tool_timeout.min(role_timeout),
            affordable: Affordable::default(),
        },
        tables,
        beside,
    ))
}

async fn beside(probe: &PgPool) -> sqlx::Result<Beside> {
    let mut beside = Beside::default();
    for row in probe.fetch_all(BESIDE).await? {
        let (kind, name): (String, String) = (row.get(0), row.get(1));
        if kind == "operator" {
            beside.operators.push(name);
        } else {
            beside.functions.push(name);
        }
    }
    Ok(beside)
}

async fn schema(probe: &PgPool) -> sqlx::Result<Vec<Table>> {
    let mut tables: Vec<Table> = Vec::new();
    for row in probe.fetch_all(COLUMNS).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        if tables
            .last()
            .is_none_or(|table| table.schema != schema || table.name != name)
        {
            tables.push(Table {
                schema,
                name,
                comment: row.get(2),
                ..Table::default()
            });
        }
        if let Some(table) = tables.last_mut() {
            table.columns.push(Column {
                name: row.get(3),
                kind: row.get(4),
                comment: row.get(5),
                nullable: row.get(6),
            });
        }
    }
    for row in probe.fetch_all(KEYS).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        let Some(table) = tables
            .iter_mut()
            .find(|table| table.schema == schema && table.name == name)
        else {
            continue;
        };
        let columns = row.get(2);
        match row.get::<Option<String>, _>(4) {
            None => table.primary_key = columns,
            Some(other) => table.foreign_keys.push(ForeignKey {
                columns,
                schema: row.get(3),
                table: other,
                referenced: row.get(5),
            }),
        }
    }
    for row in probe.fetch_all(BASES).await? {
        let (schema, name): (String, String) = (row.get(0), row.get(1));
        if let Some(table) = tables
            .iter_mut()
            .find(|table| table.schema == schema && table.name == name)
        {
            table.bases.insert(row.get(2));
        }
    }
    Ok(tables)
}

async fn listen(options: &PgConnectOptions) -> sqlx::Result<PgListener> {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_lazy_with(options.clone().application_name("fact-probe-listen"));
    let mut listener = PgListener::connect_with(&pool).await?;
    listener.ignore_pool_close_event(true);
    listener.listen(CHANNEL).await?;
    Ok(listener)
}

/// Says what changed. While nobody listens anything may change.
async fn follow(
    options: PgConnectOptions,
    mut listener: PgListener,
    changes: broadcast::Sender<Change>,
) {
    loop {
        hear(&mut listener, &changes).await;
        drop(changes.send(Change::Everything));
        loop {
            tokio::time::sleep(Duration::from_millis(200)).await;
            if let Ok(again) = listen(&options).await {
                listener = again;
                drop(changes.send(Change::Everything));
                break;
            }
        }
    }
}

/// Tells what changes until the connection is lost. One that has gone silent is lost too: nobody would be told of a
/// change, and what was read before it would be served for ever.
async fn hear(listener: &mut PgListener, changes: &broadcast::Sender<Change>) {
    const SILENCE: Duration = Duration::from_millis(300);
    const PATIENCE: Duration = Duration::from_millis(600);
    loop {
        match tokio::time::timeout(SILENCE, listener.try_recv()).await {
            Ok(Ok(Some(notification))) => {
                drop(changes.send(Change::Table(notification.payload().to_owned())));
            }
            Ok(_) => return,
            Err(_) => {
                let asked = tokio::time::timeout(PATIENCE, listener.execute("SELECT 1")).await;
                if !matches!(asked, Ok(Ok(_))) {
                    return;
                }
            }
        }
    }
}

impl Postgres {
    /// Whether it answers. A connection that an earlier outage has broken is no answer: another is tried.
    pub(super) async fn ping(&self) -> bool {
        const PATIENCE: Duration = Duration::from_millis(500);
        for _ in 0..2 {
            let asked = async {
                let mut connection = self.probe.acquire().await?;
                connection.close_on_drop();
                connection.ping().await
            };
            if matches!(tokio::time::timeout(PATIENCE, asked).await, Ok(Ok(()))) {
                return true;
            }
        }
        false
    }

    pub(super) async fn run(
        &self,
        tenant: &str,
        safe: &ReadOnlySql,
        parameters: &[Value],
        most: u64,
    ) -> Result<Rows, ToolError> {
        let begin = format!(
            "BEGIN READ ONLY; SELECT set_config('search_path', 'public', true), set_config('statement_timeout', '{}', true), \
             set_config('lock_timeout', '500', true), set_config('idle_in_transaction_session_timeout', '10000', true), \
             set_config('fact.tenant', '{}', true)",
            self.timeout.as_millis(),
            tenant.replace('\'', "''")
        );
        let mut lease = self.begin(begin).await?;
        // One scan costs what its table costs, and the clock ends it; what is read together can multiply.
        let to_judge = (safe.sources() > 1)
            .then(|| json!([tenant, safe.text(), parameters]).to_string())
            .map(|text| blake3::hash(text.as_bytes()))
            .filter(|key| !self.affordable.has(key));
        let judged = to_judge.is_none();
        let outcome = read(lease.connection()?, safe, parameters, most, judged).await;
        if let Some(key) = to_judge.filter(|_| outcome.is_ok()) {
            self.affordable.add(key);
        }
        // Rows that nobody reads must not hold up the next user: such a connection is closed.
        if outcome.as_ref().is_ok_and(|rows| !rows.truncated)
            || matches!(
                &outcome,
                Err(ToolError::Failed(_)
                    | ToolError::InvalidArguments { .. }
                    | ToolError::Refused { .. })
            )
        {
            lease.give_back();
        }
        outcome
    }

    /// A connection within a transaction. One that the server has closed meanwhile is replaced.
    async fn begin(&self, begin: String) -> Result<Lease, ToolError> {
        let mut last = ToolError::Unavailable("the database is not available".into());
        for _ in 0..=CONNECTIONS {
            let mut lease = Lease(Some(
                self.pool.acquire().await.map_err(|error| failure(&error))?,
            ));
            match lease
                .connection()?
                .execute(AssertSqlSafe(begin.clone()))
                .await
            {
                Ok(_) => return Ok(lease),
                Err(error) => last = failure(&error),
            }
            if !matches!(last, ToolError::Unavailable(_)) {
                break;
            }
        }
        Err(last)
    }
}

/// A connection that is closed unless it is given back: whoever gives up in the middle leaves no open transaction behind.
struct Lease(Option<PoolConnection<sqlx::Postgres>>);

impl Lease {
    fn connection(&mut self) -> Result<&mut sqlx::PgConnection, ToolError> {
        self.0
            .as_deref_mut()
            .ok_or_else(|| ToolError::Failed("the connection was given back".into()))
    }

    /// Ends the transaction, without anybody waiting for it.
    fn give_back(mut self) {
        if let Some(mut connection) = self.0.take() {
            tokio::spawn(async move {
                if connection.execute("ROLLBACK").await.is_err() {
                    drop(connection.detach().close_hard().await);
                }
            });
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(connection) = self.0.take() {
            // A connection that is dropped outside its pool is closed.
            drop(connection.detach());
        }
    }
}

/// The rows, at most so many.
async fn read(
    connection: &mut sqlx::PgConnection,
    safe: &ReadOnlySql,
    parameters: &[Value],
    most: u64,
    judged: bool,
) -> Result<Rows, ToolError> {
    let prepared = prepare(connection, safe.text().to_owned()).await?;
    let parameters = arguments(connection, &prepared, parameters).await?;
    if !judged {
        judge_cost(connection, safe, &parameters).await?;
    }
    let told = values_told(&prepared, safe);
    let readable = match told {
        None => prepared.clone(),
        Some(text) => prepare(connection, text).await?,
    };
    let mut query = readable.query();
    for parameter in parameters {
        query = query.bind(parameter);
    }
    let names = distinct(
        prepared
            .columns()
            .iter()
            .map(|column| column.name().to_owned()),
    );
    let kinds = prepared
        .columns()
        .iter()
        .map(|column| values::type_name(column.type_info()));
    let mut rows = Rows {
        columns: names.into_iter().zip(kinds).collect(),
        ..Rows::default()
    };
    let mut found = query.fetch(connection);
    let mut bytes = 0;
    while let Some(row) = found.next().await {
        let row = row.map_err(|error| failure(&error))?;
        if u64::try_from(rows.values.len()).unwrap_or(u64::MAX) >= most || bytes > MOST_BYTES {
            rows.truncated = true;
            break;
        }
        let mut told = Vec::with_capacity(rows.columns.len());
        for at in 0..rows.columns.len() {
            let value = row.try_get_raw(at).map_err(|error| failure(&error))?;
            let raw = value.as_bytes();
            told.push(match raw {
                Err(_) => Value::Null,
                Ok(raw) => {
                    bytes += raw.len() + 8;
                    let unreadable = || {
                        ToolError::Failed(format!(
                            "the column `{}` cannot be read",
                            rows.columns[at].0
                        ))
                    };
                    values::decode(row.column(at).type_info(), raw).ok_or_else(unreadable)?
                }
            });
        }
        rows.values.push(told);
    }
    Ok(rows)
}

async fn prepare(
    connection: &mut sqlx::PgConnection,
    text: String,
) -> Result<PgStatement, ToolError> {
    connection
        .prepare(AssertSqlSafe(text).into_sql_str())
        .await
        .map_err(|error| failure(&error))
}

/// The statement within one that asks for text where the binary form of a column is not known here.
fn values_told(prepared: &PgStatement, safe: &ReadOnlySql) -> Option<String> {
    let kinds = || {
        prepared
            .columns()
            .iter()
            .map(sqlx::Column::type_info)
            .enumerate()
    };
    if kinds().all(|(_, kind)| values::is_known(kind)) {
        return None;
    }
    let told: Vec<String> = kinds()
        .map(|(at, kind)| format!("q.c{at}{}", values::as_text(kind)))
        .collect();
    let names: Vec<String> = kinds().map(|(at, _)| format!("c{at}")).collect();
    Some(format!(
        "SELECT {} FROM (\n{}\n) AS q({})",
        told.join(", "),
        safe.bare(),
        names.join(", ")
    ))
}

/// Refuses what the planner takes to be a product of tables. The plan is looked at, and not run.
async fn judge_cost(
    connection: &mut sqlx::PgConnection,
    safe: &ReadOnlySql,
    parameters: &[values::Parameter],
) -> Result<(), ToolError> {
    let explain = format!("EXPLAIN (FORMAT JSON) {}", safe.text());
    let mut query = sqlx::query(AssertSqlSafe(explain)).persistent(false);
    for parameter in parameters {
        query = query.bind(parameter.clone());
    }
    let row = query
        .fetch_one(connection)
        .await
        .map_err(|error| failure(&error))?;
    let plan: Value = row.try_get(0).map_err(|error| failure(&error))?;
    let cost = plan[0]["Plan"]["Total Cost"].as_f64();
    if cost.is_some_and(|cost| cost <= MOST_COST) {
        Ok(())
    } else {
        Err(ToolError::refused(Rule::TooCostly))
    }
}

/// The parameters in the form that the statement wants; one violation per value that does not fit.
async fn arguments(
    connection: &mut sqlx::PgConnection,
    prepared: &PgStatement,
    parameters: &[Value],
) -> Result<Vec<values::Parameter>, ToolError> {
    let wanted: Vec<PgTypeInfo> = match prepared.parameters() {
        Some(sqlx::Either::Left(types)) => types.to_vec(),
        _ => Vec::new(),
    };
    if wanted.len() != parameters.len() {
        let message = format!(
            "has {} values, the statement takes {}",
            parameters.len(),
            wanted.len()
        );
        return Err(ToolError::argument("/parameters", message));
    }
    let mut violations = Vec::new();
    let mut read = Vec::new();
    for (at, (kind, value)) in wanted.iter().zip(parameters).enumerate() {
        let parameter = match values::Parameter::read(kind, value) {
            Some(parameter) => Some(parameter),
            None => ask(connection, kind, value).await?,
        };
        match parameter {
            Some(parameter) => read.push(parameter),
            None => violations.push(Violation {
                path: format!("/parameters/{at}"),
                message: format!("does not read as {}", values::type_name(kind)),
            }),
        }
    }
    if violations.is_empty() {
        Ok(read)
    } else {
        Err(ToolError::InvalidArguments { violations })
    }
}

/// A value as Postgres itself reads it; `None` where it does not.
async fn ask(
    connection: &mut sqlx::PgConnection,
    kind: &PgTypeInfo,
    value: &Value,
) -> Result<Option<values::Parameter>, ToolError> {
    let Some(asked) = values::Parameter::ask(kind, value) else {
        return Ok(None);
    };
    let failed = |error: sqlx::Error| failure(&error);
    connection
        .execute("SAVEPOINT parameter")
        .await
        .map_err(failed)?;
    let query = sqlx::query(AssertSqlSafe(asked.query)).persistent(false);
    match query.bind(asked.text).fetch_one(&mut *connection).await {
        Ok(row) => {
            let value = row.try_get_raw(0).map_err(failed)?;
            let bytes = value.as_bytes().ok();
            Ok(bytes.map(|bytes| values::Parameter::told(kind, bytes)))
        }
        // Of the class of data, or of a domain's constraint.
        Err(sqlx::Error::Database(error))
            if error
                .code()
                .is_some_and(|code| code.starts_with("22") || code.starts_with("23")) =>
        {
            connection
                .execute("ROLLBACK TO SAVEPOINT parameter")
                .await
                .map_err(failed)?;
            Ok(None)
        }
        Err(error) => Err(failed(error)),
    }
}

/// In words that name neither address nor secret.
fn brief(error: &sqlx::Error) -> String {
    match error {
        sqlx::Error::Database(error) => error.message().to_owned(),
        sqlx::Error::Io(error) => error.kind().to_string(),
        _ => "it does not answer".to_owned(),
    }
}

fn failure(error: &sqlx::Error) -> ToolError {
    match error {
        sqlx::Error::Database(database) => match database.code().as_deref() {
            Some("57014") => ToolError::Timeout,
            Some("57P01" | "57P02" | "57P03" | "53300" | "25P03") => {
                ToolError::Unavailable("the database is not available".into())
            }
            Some("42P02" | "08P01" | "22P02" | "42804") => {
                ToolError::argument("/parameters", database.message())
            }
            _ => ToolError::Failed(database.message().to_owned()),
        },
        sqlx::Error::Protocol(_)
        | sqlx::Error::Decode(_)
        | sqlx::Error::TypeNotFound { .. }
        | sqlx::Error::ColumnDecode { .. } => {
            ToolError::Failed("a column has a type that cannot be read; cast it to text".into())
        }
        _ => ToolError::Unavailable("the database is not available".into()),
    }
}
