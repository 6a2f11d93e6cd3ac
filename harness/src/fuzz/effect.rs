//! Runs a statement as the owner of a throw-away database, and says what it did there. Errors say nothing: effects do.

use crate::database::{DatabaseError, ScenarioDatabase, Server};
use futures_util::StreamExt as _;
use sqlx::postgres::{PgConnection, PgRow};
use sqlx::{AssertSqlSafe, Connection as _, Either, Row as _};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// Texts that nobody may read begin so.
const CANARY: &str = "CANARY";
/// What a statement may take before it counts as slow, and as one that no clock of the database ends.
const SLOW: Duration = Duration::from_millis(900);
const ENDLESS: Duration = Duration::from_secs(3);
/// In words.
pub(super) const WAS_SLOW: &str = "it was slow";
const STATEMENT_TIMEOUT: &str = "SET statement_timeout = '1200ms'";
const PATIENCE: Duration = Duration::from_secs(6);
const MOST_TEXT: usize = 1 << 20;
const ENDED: &str = "it did not end";
/// As the reference engine has it.
const MOST_COST: f64 = 1e6;

const XID: &str = "SELECT pg_snapshot_xmax(pg_current_snapshot())::text";

/// What a session keeps, each with the words for it.
const SESSION: [(&str, &str); 9] = [
    ("the user changed", "current_user || '/' || session_user"),
    (
        "a setting stayed changed",
        "md5(coalesce((SELECT string_agg(name || '=' || setting, ',' ORDER BY name) FROM pg_settings \
         WHERE source = 'session' OR name IN ('role', 'session_authorization', 'transaction_read_only')), ''))",
    ),
    (
        "the tenant changed",
        "coalesce(current_setting('fact.tenant', true), '')",
    ),
    (
        "the session listens",
        "(SELECT count(*) FROM pg_listening_channels())::text",
    ),
    (
        "a prepared statement stayed",
        "(SELECT count(*) FROM pg_prepared_statements WHERE from_sql)::text",
    ),
    (
        "a cursor stayed",
        "(SELECT count(*) FROM pg_cursors WHERE name <> '')::text",
    ),
    (
        "a lock stayed",
        "(SELECT count(*) FROM pg_locks WHERE pid = pg_backend_pid() AND locktype = 'advisory')::text",
    ),
    ("a temporary schema was made", "pg_my_temp_schema()::text"),
    (
        "a transaction stayed open",
        "(now() = statement_timestamp())::text",
    ),
];

/// What the database keeps besides rows, each with the words for it.
const KEPT: [(&str, &str); 4] = [
    (
        "tables, functions or rights changed",
        "md5(concat((SELECT string_agg(concat_ws(',', oid, relname, relkind, relfilenode, relacl, relowner, relnatts, relrowsecurity), ';' ORDER BY oid) FROM pg_class WHERE relname !~ '^pg_toast'), \
         (SELECT string_agg(concat_ws(',', oid, proname, proacl, prosecdef), ';' ORDER BY oid) FROM pg_proc), \
         (SELECT string_agg(concat_ws(',', oid, nspname, nspacl), ';' ORDER BY oid) FROM pg_namespace WHERE nspname !~ '^pg_(toast_)?temp'), \
         (SELECT string_agg(d::text, ';' ORDER BY d::text) FROM pg_description d), \
         (SELECT string_agg(r::text, ';' ORDER BY r::text) FROM pg_rewrite r), \
         (SELECT string_agg(concat_ws(',', oid, rolname, rolsuper, rolpassword), ';' ORDER BY oid) FROM pg_authid), \
         (SELECT string_agg(concat_ws(',', setdatabase, setrole, setconfig), ';' ORDER BY setdatabase, setrole) FROM pg_db_role_setting)))",
    ),
    (
        "a sequence moved",
        "coalesce((SELECT string_agg(schemaname || sequencename || coalesce(last_value::text, '-'), ',' ORDER BY 1) FROM (SELECT * FROM pg_sequences ORDER BY schemaname, sequencename) s), '')",
    ),
    (
        "a large object changed",
        "md5(coalesce((SELECT string_agg(loid || ':' || pageno || ':' || md5(data), ',' ORDER BY loid, pageno) FROM pg_largeobject), '') || \
         coalesce((SELECT string_agg(oid::text, ',' ORDER BY oid) FROM pg_largeobject_metadata), ''))",
    ),
    (
        "a file was written",
        "coalesce((pg_stat_file('fact_planted', true)).size::text, '')",
    ),
];
const TABLES: &str = "SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE schemaname NOT IN ('pg_catalog', 'information_schema') AND schemaname NOT LIKE 'pg_temp%' ORDER BY 1";

/// What was seen of one statement.
#[derive(Debug, Clone, Default)]
pub(super) struct Seen {
    /// In words; empty where it only read what it may.
    pub(super) effects: BTreeSet<String>,
    /// In Postgres' words.
    pub(super) error: Option<String>,
}

impl Seen {
    /// The worst of its effects.
    pub(super) fn worst(&self) -> Option<&String> {
        let rank = |effect: &&String| match effect.as_str() {
            effect if effect.starts_with("rows of") => 0,
            effect if effect.starts_with("it showed") => 1,
            effect if effect.starts_with("tables,") => 2,
            effect if effect.contains("large object") || effect.contains("file") => 3,
            effect if effect.contains("setting") || effect.contains("tenant") => 4,
            _ => 5,
        };
        self.effects.iter().min_by_key(rank)
    }
}

/// A throw-away database, and two sessions in it: one acts, one watches.
#[derive(Debug)]
pub(super) struct Oracle<'a> {
    server: &'a Server,
    world: Option<World>,
    /// What a fresh copy holds.
    kept: Option<BTreeMap<String, String>>,
    /// Statements that were run, without the slow ones, and how long they and the looking took.
    pub(super) runs: u64,
    pub(super) slow_runs: u64,
    pub(super) running: Duration,
}

#[derive(Debug)]
struct World {
    database: ScenarioDatabase,
    acting: PgConnection,
    watching: PgConnection,
    session: Vec<String>,
    xid: String,
}

impl<'a> Oracle<'a> {
    pub(super) fn new(server: &'a Server) -> Self {
        Self {
            server,
            world: None,
            kept: None,
            runs: 0,
            slow_runs: 0,
            running: Duration::ZERO,
        }
    }

    /// Runs a statement. After an effect the next one gets a fresh copy.
    pub(super) async fn run(&mut self, statement: &str) -> Result<Seen, DatabaseError> {
        let mut world = match self.world.take() {
            Some(world) => world,
            None => self.fresh().await?,
        };
        let began = Instant::now();
        let mut seen = Seen::default();
        let told = tokio::time::timeout(PATIENCE, told(&mut world.acting, statement)).await;
        let took = began.elapsed();
        match told {
            Err(_) => drop(seen.effects.insert(ENDED.into())),
            Ok(told) => {
                if told.text.contains(CANARY) && !statement.contains(CANARY) {
                    seen.effects.insert("it showed what nobody may read".into());
                }
                if told.results > 1 {
                    seen.effects.insert("it was several statements".into());
                }
                if told.broken {
                    seen.effects.insert("its answer was no table".into());
                }
                seen.error = told.error;
            }
        }
        if took > ENDLESS {
            seen.effects
                .insert("the clock of the database did not end it".into());
        } else if took > SLOW {
            seen.effects.insert(WAS_SLOW.into());
        }
        let harm = self.compare(&mut world, &mut seen).await?;
        if took < SLOW {
            self.runs += 1;
            self.running += began.elapsed();
        } else {
            self.slow_runs += 1;
        }
        let unsure = seen.effects.iter().any(|effect| effect == ENDED);
        match harm {
            Harm::Database => world.give_up().await,
            Harm::Session => self.world = Some(world.again().await?),
            Harm::None if unsure => self.world = Some(world.again().await?),
            Harm::None => self.world = Some(world),
        }
        Ok(seen)
    }

    /// Whether the planner finds it too costly, as the reference engine asks before it runs anything.
    pub(super) async fn is_costly(&mut self, statement: &str) -> Result<bool, DatabaseError> {
        let mut world = match self.world.take() {
            Some(world) => world,
            None => self.fresh().await?,
        };
        let explain = format!("EXPLAIN (FORMAT JSON) {statement}");
        let plan: Result<serde_json::Value, _> = sqlx::query_scalar(AssertSqlSafe(explain))
            .persistent(false)
            .fetch_one(&mut world.acting)
            .await;
        self.world = Some(world);
        let cost = plan
            .ok()
            .and_then(|plan| plan[0]["Plan"]["Total Cost"].as_f64());
        Ok(cost.is_some_and(|cost| cost > MOST_COST))
    }

    /// Gives the database up.
    pub(super) async fn stop(mut self) {
        if let Some(world) = self.world.take() {
            world.give_up().await;
        }
    }

    async fn fresh(&mut self) -> Result<World, DatabaseError> {
        let mut world = World::make(self.server).await?;
        if self.kept.is_none() {
            self.kept = Some(
                kept(&mut world.watching)
                    .await
                    .map_err(|error| refused(&error))?,
            );
        }
        Ok(world)
    }

    async fn compare(&self, world: &mut World, seen: &mut Seen) -> Result<Harm, DatabaseError> {
        let mut harm = Harm::None;
        if let Ok(now) = session(&mut world.acting).await {
            let pairs = now.iter().zip(&world.session).zip(SESSION);
            let changed = pairs.filter(|((now, before), _)| now != before);
            for (_, (words, _)) in changed {
                seen.effects.insert(words.to_owned());
                harm = Harm::Session;
            }
        } else {
            seen.effects
                .insert("the session is no longer usable".into());
            harm = Harm::Session;
        }
        let xid = xid(&mut world.watching)
            .await
            .map_err(|error| refused(&error))?;
        if xid == world.xid {
            return Ok(harm);
        }
        world.xid = xid;
        let Ok(now) = kept(&mut world.watching).await else {
            seen.effects
                .insert("the database can no longer be looked at".into());
            return Ok(Harm::Database);
        };
        let before = self.kept.as_ref();
        let mut changed: BTreeSet<String> = now
            .iter()
            .filter(|(what, digest)| before.and_then(|before| before.get(*what)) != Some(digest))
            .map(|(what, _)| what.clone())
            .collect();
        if changed.is_empty() {
            changed.insert("a transaction id was spent".into());
        }
        seen.effects.append(&mut changed);
        Ok(Harm::Database)
    }
}

/// What has to be made anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Harm {
    None,
    Session,
    Database,
}

impl World {
    async fn make(server: &Server) -> Result<Self, DatabaseError> {
        let database = server.create("hunt").await?;
        let (acting, session) = act(&database).await?;
        let mut watching = database.connect_as_owner().await?;
        let xid = xid(&mut watching).await.map_err(|error| refused(&error))?;
        Ok(Self {
            database,
            acting,
            watching,
            session,
            xid,
        })
    }

    /// With a session that knows nothing of the last one.
    async fn again(self) -> Result<Self, DatabaseError> {
        drop(self.acting.close_hard().await);
        let (acting, session) = act(&self.database).await?;
        Ok(Self {
            acting,
            session,
            ..self
        })
    }

    async fn give_up(self) {
        drop(self.acting.close_hard().await);
        drop(self.watching.close().await);
        self.database.drop().await;
    }
}

async fn act(database: &ScenarioDatabase) -> Result<(PgConnection, Vec<String>), DatabaseError> {
    let mut acting = database.connect_as_owner().await?;
    sqlx::raw_sql(AssertSqlSafe(STATEMENT_TIMEOUT))
        .execute(&mut acting)
        .await
        .map_err(|error| refused(&error))?;
    let session = session(&mut acting)
        .await
        .map_err(|error| refused(&error))?;
    Ok((acting, session))
}

/// What came back.
#[derive(Debug, Default)]
struct Told {
    text: String,
    results: u32,
    error: Option<String>,
    broken: bool,
}

async fn told(acting: &mut PgConnection, statement: &str) -> Told {
    let mut told = Told::default();
    let mut answers = sqlx::raw_sql(AssertSqlSafe(statement.to_owned())).fetch_many(acting);
    while let Some(answer) = answers.next().await {
        match answer {
            Ok(Either::Left(_)) => told.results += 1,
            Ok(Either::Right(row)) => {
                if told.text.len() < MOST_TEXT {
                    add_row(&mut told.text, &row);
                }
            }
            Err(sqlx::Error::Database(error)) => {
                told.text.push_str(error.message());
                told.error = Some(error.message().to_owned());
                break;
            }
            Err(error) => {
                told.broken = true;
                told.error = Some(error.to_string());
                break;
            }
        }
    }
    told
}

fn add_row(text: &mut String, row: &PgRow) {
    for at in 0..row.len() {
        if let Ok(value) = row.try_get_raw(at)
            && let Ok(value) = value.as_str()
        {
            text.push_str(value);
            text.push('\n');
        }
    }
}

async fn session(acting: &mut PgConnection) -> sqlx::Result<Vec<String>> {
    let parts = SESSION.map(|(_, expression)| expression).join(", ");
    let row = sqlx::query(AssertSqlSafe(format!("SELECT {parts}")))
        .fetch_one(acting)
        .await?;
    (0..row.len()).map(|at| row.try_get(at)).collect()
}

async fn xid(watching: &mut PgConnection) -> sqlx::Result<String> {
    sqlx::query_scalar(XID).fetch_one(watching).await
}

async fn kept(watching: &mut PgConnection) -> sqlx::Result<BTreeMap<String, String>> {
    let mut kept = BTreeMap::new();
    for (words, expression) in KEPT {
        let digest = sqlx::query_scalar(AssertSqlSafe(format!("SELECT {expression}")))
            .fetch_one(&mut *watching)
            .await?;
        kept.insert(words.to_owned(), digest);
    }
    let tables: Vec<String> = sqlx::query_scalar(TABLES).fetch_all(&mut *watching).await?;
    for table in tables {
        let digest =
            format!("SELECT count(*) || ':' || coalesce(sum(hashtext(t::text)), 0) FROM {table} t");
        let digest = sqlx::query_scalar(AssertSqlSafe(digest))
            .fetch_one(&mut *watching)
            .await?;
        kept.insert(format!("rows of `{table}` changed"), digest);
    }
    Ok(kept)
}

fn refused(error: &sqlx::Error) -> DatabaseError {
    DatabaseError::Statement(error.to_string())
}
