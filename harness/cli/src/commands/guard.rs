//! `fact guard`: the reference guard's verdict, on one text or on JSON lines.

use super::{Failure, code};
use crate::args::{Dialect, GuardArgs, GuardKind};
use fact_engine::tools::sql::SqliteJudge;
use fact_guard::sql::Schema;
use fact_guard::{Refusal, Rule, path, sql, url};
use serde_json::{Map, Value, json};
use std::cell::OnceCell;
use std::collections::VecDeque;
use std::io::{BufRead as _, BufReader, StdinLock, Write};
use std::sync::mpsc::sync_channel;

pub(crate) fn guard(args: &GuardArgs) -> Result<u8, Failure> {
    let judges = Judges::new(args)?;
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    if let Some(text) = &args.text {
        let case = Map::from_iter([(field(args.kind).to_owned(), Value::from(text.as_str()))]);
        let verdict = judges.worker().verdict(&case).map_err(Failure::usage)?;
        writeln!(out, "{verdict}").map_err(Failure::usage)?;
        return Ok(if verdict["verdict"] == "accept" {
            0
        } else {
            code::FAILED
        });
    }
    lines(&judges, &mut out).map_err(Failure::usage)?;
    Ok(0)
}

/// Lines that go to a core together.
const BATCH: usize = 128;

type Batch = Vec<(usize, String)>;
type Answers = Vec<Result<String, String>>;

/// Every line gets its line, in order. The lines that are there are shared among all cores; before the next ones have to
/// be waited for, all answers are out, so that somebody may ask and wait.
fn lines(judges: &Judges<'_>, out: &mut impl Write) -> Result<(), String> {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    std::thread::scope(|scope| {
        let mut workers = Vec::new();
        for _ in 0..cores {
            let (give, take) = sync_channel::<Batch>(2);
            let (answer, answers) = sync_channel::<Answers>(2);
            scope.spawn(move || {
                let worker = judges.worker();
                for batch in take {
                    let told = batch
                        .iter()
                        .map(|(number, line)| worker.line(*number, line));
                    if answer.send(told.collect()).is_err() {
                        return;
                    }
                }
            });
            workers.push((give, answers));
        }
        let mut input = BufReader::with_capacity(1 << 16, std::io::stdin().lock());
        let mut number = 0;
        let mut under_way = VecDeque::new();
        let mut next = 0;
        loop {
            let Read {
                batch,
                waits,
                ended,
            } = read_batch(&mut input, &mut number)?;
            if !batch.is_empty() {
                let worker = next % cores;
                next += 1;
                if workers[worker].0.send(batch).is_err() {
                    return Err("a worker ended".to_owned());
                }
                under_way.push_back(worker);
            }
            while under_way.len() > cores || (waits && !under_way.is_empty()) {
                let Some(worker) = under_way.pop_front() else {
                    break;
                };
                for answer in workers[worker].1.recv().unwrap_or_default() {
                    if writeln!(out, "{}", answer?).is_err() {
                        // Who reads has heard enough.
                        return Ok(());
                    }
                }
            }
            if ended || (waits && out.flush().is_err()) {
                return Ok(());
            }
        }
    })
}

/// Lines that are there, with their numbers.
struct Read {
    batch: Batch,
    /// Those after them are not there yet.
    waits: bool,
    ended: bool,
}

fn read_batch(input: &mut BufReader<StdinLock<'_>>, number: &mut usize) -> Result<Read, String> {
    let mut batch = Vec::new();
    while batch.len() < BATCH {
        let mut line = String::new();
        *number += 1;
        let length = input
            .read_line(&mut line)
            .map_err(|error| format!("line {number} cannot be read: {error}"))?;
        let ended = length == 0;
        if !line.trim().is_empty() {
            batch.push((*number, line));
        }
        if ended || !input.buffer().contains(&b'\n') {
            return Ok(Read {
                batch,
                waits: true,
                ended,
            });
        }
    }
    Ok(Read {
        batch,
        waits: false,
        ended: false,
    })
}

fn field(kind: GuardKind) -> &'static str {
    match kind {
        GuardKind::Sql => "statement",
        GuardKind::Path => "path",
        GuardKind::Url => "url",
    }
}

/// What decides, shared by all cores.
struct Judges<'a> {
    args: &'a GuardArgs,
    postgres: Schema,
    /// What makes the tables on `SQLite`, and which of them may be read there.
    sqlite: (String, Option<Vec<String>>),
    roots: Vec<&'a str>,
}

impl<'a> Judges<'a> {
    fn new(args: &'a GuardArgs) -> Result<Self, Failure> {
        let shipped = fact_harness::database::Data::shipped();
        let (postgres_sql, sqlite) = match &args.schema {
            None => {
                let readable = [
                    "companies",
                    "financial_records",
                    "stock_prices",
                    "invoices",
                    "annual_results",
                ];
                let readable = readable.map(ToOwned::to_owned).to_vec();
                (shipped.postgres_sql, (shipped.sqlite_sql, Some(readable)))
            }
            Some(file) => {
                let text = std::fs::read_to_string(file).map_err(|error| {
                    Failure::usage(format!("cannot read {}: {error}", file.display()))
                })?;
                (text.clone(), (text, args.table.clone()))
            }
        };
        // A schema in SQLite's own words is no Postgres.
        let postgres = match Schema::from_ddl(&postgres_sql) {
            Ok(schema) => schema,
            Err(_) if args.dialect == Dialect::Sqlite => Schema::default(),
            Err(error) => return Err(Failure::usage(error)),
        };
        let judges = Self {
            args,
            postgres,
            sqlite,
            roots: args
                .root
                .iter()
                .map(|root| root.trim_end_matches('/'))
                .collect(),
        };
        if args.dialect == Dialect::Sqlite {
            judges.sqlite_judge().map_err(Failure::usage)?;
        }
        Ok(judges)
    }

    fn sqlite_judge(&self) -> Result<SqliteJudge, String> {
        let (ddl, tables) = &self.sqlite;
        // A schema in Postgres' words says as well what there is to read.
        let judge = SqliteJudge::new(ddl)
            .or_else(|error| match self.as_sqlite() {
                Some(ddl) => SqliteJudge::new(&ddl),
                None => Err(error),
            })
            .map_err(|error| format!("the schema is not SQL that SQLite reads: {error}"))?;
        Ok(match tables {
            Some(tables) => judge.granting(tables),
            None => judge,
        })
    }

    /// The tables that may be read, made again for `SQLite`.
    fn as_sqlite(&self) -> Option<String> {
        let quoted = |name: &str| format!("\"{}\"", name.replace('"', "\"\""));
        let table = |(name, columns): (&str, &[String])| {
            let columns: Vec<String> = columns.iter().map(|name| quoted(name)).collect();
            format!("CREATE TABLE {} ({});", quoted(name), columns.join(", "))
        };
        let tables: String = self.postgres.relations().map(table).collect();
        (!tables.is_empty()).then_some(tables)
    }

    fn worker(&'a self) -> Worker<'a> {
        Worker {
            judges: self,
            sqlite: OnceCell::new(),
        }
    }
}

/// One core's.
struct Worker<'a> {
    judges: &'a Judges<'a>,
    /// `SQLite` decides in a database of its own.
    sqlite: OnceCell<Result<SqliteJudge, String>>,
}

impl Worker<'_> {
    fn line(&self, number: usize, line: &str) -> Result<String, String> {
        let at_line = |reason: String| format!("line {number}: {reason}");
        let case: Map<String, Value> = serde_json::from_str(line)
            .map_err(|error| at_line(format!("no JSON object ({error})")))?;
        let verdict = self.verdict(&case).map_err(at_line)?;
        Ok(verdict.to_string())
    }

    fn verdict(&self, case: &Map<String, Value>) -> Result<Value, String> {
        let args = self.judges.args;
        let name = field(args.kind);
        let text = case
            .get(name)
            .and_then(Value::as_str)
            .ok_or_else(|| format!("it has no `{name}` of type string"))?;
        let decision = match args.kind {
            GuardKind::Sql => self.statement(text, case)?,
            GuardKind::Path => path::check(text, &self.judges.roots).map(|_| Vec::new()),
            GuardKind::Url => whole_url(text, case).map(|()| Vec::new()),
        };
        let mut verdict = match decision {
            Ok(tables) if args.kind == GuardKind::Sql => {
                json!({ "verdict": "accept", "tables": tables })
            }
            Ok(_) => json!({ "verdict": "accept" }),
            Err(refusal) => refused(&refusal),
        };
        if let Some(id) = case.get("id") {
            verdict["id"] = id.clone();
        }
        Ok(verdict)
    }

    fn statement(
        &self,
        text: &str,
        case: &Map<String, Value>,
    ) -> Result<Result<Vec<String>, Refusal>, String> {
        let dialect = match case.get("dialect").and_then(Value::as_str) {
            Some("sqlite") => Dialect::Sqlite,
            Some("postgres") => Dialect::Postgres,
            _ => self.judges.args.dialect,
        };
        if dialect == Dialect::Postgres {
            let safe = sql::check(text, &self.judges.postgres);
            return Ok(safe.map(|safe| safe.tables().to_vec()));
        }
        let judge = self.sqlite.get_or_init(|| self.judges.sqlite_judge());
        Ok(judge.as_ref().map_err(Clone::clone)?.check(text))
    }
}

/// The URL, its method and headers, the addresses of its name, and every hop.
fn whole_url(text: &str, case: &Map<String, Value>) -> Result<(), Refusal> {
    let texts = |name: &str| match case.get(name) {
        Some(Value::Array(list)) => list
            .iter()
            .filter_map(Value::as_str)
            .map(ToOwned::to_owned)
            .collect(),
        Some(Value::String(one)) => vec![one.clone()],
        _ => Vec::new(),
    };
    for method in texts("method") {
        url::check_method(&method)?;
    }
    for (name, value) in case
        .get("headers")
        .and_then(Value::as_object)
        .into_iter()
        .flatten()
    {
        url::check_header(name, value.as_str().unwrap_or_default())?;
    }
    let mut allowed = url::check(text, &[])?;
    for address in texts("resolves_to") {
        match address.parse() {
            Ok(address) => url::check_address(address)?,
            Err(_) => return Err(Refusal::of(Rule::WebMalformed)),
        }
    }
    for (at, hop) in texts("redirect_to").iter().enumerate() {
        allowed = url::check_redirect(&allowed, hop, at + 1, &[])?;
    }
    Ok(())
}

fn refused(refusal: &Refusal) -> Value {
    let mut verdict = json!({ "verdict": "refuse", "rule": refusal.rule.id(), "why": refusal.why });
    if let (Some(line), Some(column)) = (refusal.line, refusal.column) {
        verdict["line"] = line.into();
        verdict["column"] = column.into();
    }
    verdict
}
