//! Hunts a validator. What it accepts is run where every effect shows; what is legitimate it has to accept.

mod effect;
mod generate;
mod minimise;
mod places;
mod target;
mod words;

pub use places::ROOT;
pub use target::{Lined, Subject, Target, Trouble, Verdict};

use crate::database::{self, Data, DatabaseError, Request, Server};
use effect::Oracle;
use fact_reports::hunt::{Finding, Hunt, Kind, SCHEMA_VERSION};
use generate::{Case, Generator, MUTATED};
use std::collections::{BTreeMap, BTreeSet};
use std::time::{Duration, Instant};

/// How a hunt is made.
#[derive(Debug, Clone)]
pub struct Config {
    /// What is asked about.
    pub subject: Subject,
    /// Repeats it.
    pub seed: u64,
    /// It ends then.
    pub time: Duration,
    /// Or after so many texts.
    pub most: Option<u64>,
    /// Where accepted statements run.
    pub database: Request,
    /// Texts of the user's own, to begin with.
    pub corpus: Vec<String>,
}

/// What is told meanwhile.
#[derive(Debug, Clone)]
pub enum Event {
    /// What was chosen.
    Chosen(String),
    /// How far it is.
    Progress(String),
    /// Something was found.
    Found(Box<Finding>),
}

/// Why there was no hunt.
#[derive(Debug, thiserror::Error)]
pub enum HuntError {
    /// No database to run statements in.
    #[error(transparent)]
    Database(#[from] DatabaseError),
    /// `SQLite` shows no effects.
    #[error(
        "effects show on Postgres only: use `--database docker`, `binaries` or a URL, not `sqlite`"
    )]
    NeedsPostgres,
    /// It says nothing even about the plainest text.
    #[error("{target} gives no verdict on `{text}`: {reason}")]
    Target {
        /// What was to be hunted.
        target: &'static str,
        /// The plainest text.
        text: &'static str,
        /// Why.
        reason: String,
    },
}

/// Whether there is somebody to hunt.
async fn greet(target: &mut Target, subject: Subject) -> Result<(), HuntError> {
    let text = match subject {
        Subject::Sql => "SELECT 1",
        Subject::Path => "a.txt",
        Subject::Url => "https://example.com/",
    };
    let name = target.name();
    let failed = |reason: String| HuntError::Target {
        target: name,
        text,
        reason,
    };
    match target.ask(subject, text).await.0 {
        Verdict::None(Trouble::Crash(reason)) => Err(failed(reason)),
        Verdict::None(Trouble::Stall) => Err(failed("it does not answer in time".into())),
        Verdict::Accept | Verdict::Refuse(_) => Ok(()),
    }
}

/// The statements that make the world of a hunt: the scenarios' data with traps in it.
pub fn world(file: &str) -> String {
    let traps = crate::scenario::shipped()
        .into_iter()
        .find(|(path, _)| path == "data/traps.sql")
        .map(|(_, text)| text.replace("@FILE@", file))
        .unwrap_or_default();
    format!("{}\n{traps}", Data::shipped().postgres_sql)
}

/// Hunts until the time is over, the number is reached, or `stop` resolves.
pub async fn hunt(
    config: Config,
    mut target: Target,
    stop: impl Future<Output = ()>,
    show: &mut dyn FnMut(Event),
) -> Result<Hunt, HuntError> {
    greet(&mut target, config.subject).await?;
    if config.subject != Subject::Sql {
        return Ok(places::hunt(&config, target, stop, show).await);
    }
    let file = file_name();
    let data = Data {
        postgres_sql: world(&file),
        sqlite_sql: String::new(),
    };
    let server = database::choose(&config.database, &data).await?;
    if server.kind() == "sqlite" {
        return Err(HuntError::NeedsPostgres);
    }
    show(Event::Chosen(format!(
        "hunting {} with seed {}; what it accepts runs on {} ({})",
        target.name(),
        config.seed,
        server.version(),
        server.kind()
    )));
    let mut hunter = Hunter {
        oracle: Oracle::new(&server),
        book: Book::new(&config, target.name()),
        target,
        met: BTreeMap::new(),
    };
    let outcome = hunter.run(&config, &file, stop, show).await;
    let described = format!("{} ({})", server.version(), server.kind());
    let Hunter {
        oracle, mut book, ..
    } = hunter;
    book.hunt.executed = oracle.runs;
    book.hunt.slow = oracle.slow_runs;
    book.hunt.executing_seconds = oracle.running.as_secs_f64();
    book.hunt.database = Some(described);
    oracle.stop().await;
    clean_up(&server, &file).await;
    server.stop().await;
    outcome?;
    Ok(book.close())
}

/// Of letters alone: a disguise draws by the letters that it meets, and a seed has to mean the same whatever the name is.
fn file_name() -> String {
    let letter = |digit: u8| char::from(b'a' + digit % 26);
    let letters: String = rand::random::<[u8; 10]>().into_iter().map(letter).collect();
    format!("fact_hunt_{letters}")
}

/// The canary's file lies on the server.
async fn clean_up(server: &Server, file: &str) {
    if let Ok(database) = server.create("last").await {
        let remove = format!("COPY (SELECT '') TO PROGRAM 'rm -f /tmp/{file}'");
        drop(database.execute_as_owner(&remove).await);
        drop(
            database
                .execute_as_owner("ALTER ROLE CURRENT_USER RESET fact.hidden")
                .await,
        );
        database.drop().await;
    }
}

/// What was found so far.
#[derive(Debug)]
struct Book {
    hunt: Hunt,
    began: Instant,
    shapes: BTreeSet<u64>,
}

impl Book {
    fn new(config: &Config, target: &str) -> Self {
        let subject = match config.subject {
            Subject::Sql => "sql",
            Subject::Path => "path",
            Subject::Url => "url",
        };
        Self {
            hunt: Hunt {
                schema_version: SCHEMA_VERSION,
                subject: subject.to_owned(),
                target: target.to_owned(),
                seed: config.seed,
                seconds: 0.0,
                asked: 0,
                accepted: 0,
                executed: 0,
                slow: 0,
                executing_seconds: 0.0,
                shapes: 0,
                database: None,
                findings: Vec::new(),
            },
            began: Instant::now(),
            shapes: BTreeSet::new(),
        }
    }

    fn close(mut self) -> Hunt {
        self.hunt.seconds = self.began.elapsed().as_secs_f64();
        self.hunt.shapes = u64::try_from(self.shapes.len()).unwrap_or(u64::MAX);
        self.hunt
            .findings
            .sort_by(|a, b| (a.kind, &a.family).cmp(&(b.kind, &b.family)));
        self.hunt
    }

    /// Whether this combination of decision and construct is new.
    fn is_new(&mut self, verdict: &Verdict, constructs: &BTreeSet<u64>) -> bool {
        let decision = match verdict {
            Verdict::Accept => "accept",
            Verdict::Refuse(rule) => rule.as_deref().unwrap_or("refuse"),
            Verdict::None(_) => "none",
        };
        let mut new = false;
        for construct in constructs {
            let shape = blake3::hash(format!("{decision} {construct}").as_bytes());
            let first = shape.as_bytes().first_chunk().copied().unwrap_or_default();
            new |= self.shapes.insert(u64::from_le_bytes(first));
        }
        new
    }

    fn progress(&self) -> String {
        let seconds = self.began.elapsed().as_secs_f64();
        #[expect(clippy::cast_precision_loss, reason = "it is shown without digits")]
        let (rate, accepted) = (
            self.hunt.asked as f64 / seconds.max(1e-9),
            100.0 * self.hunt.accepted as f64 / (self.hunt.asked as f64).max(1.0),
        );
        format!(
            "{:.0} s: {} texts, {rate:.0} per second, {accepted:.0} % accepted, {} shapes, {} findings",
            seconds,
            self.hunt.asked,
            self.shapes.len(),
            self.hunt.findings.len()
        )
    }

    /// The same thing again, if it is known.
    fn again(&mut self, kind: Kind, family: &str, effect: Option<&str>) -> bool {
        let known = self.hunt.findings.iter_mut().find(|known| {
            known.kind == kind
                && known.family == family
                && effect
                    .is_none_or(|effect| known.effects.first().is_some_and(|first| first == effect))
        });
        if let Some(known) = known {
            known.times += 1;
            return true;
        }
        false
    }

    fn add(&mut self, finding: Finding, show: &mut dyn FnMut(Event)) {
        show(Event::Found(Box::new(finding.clone())));
        self.hunt.findings.push(finding);
    }
}

struct Hunter<'a> {
    target: Target,
    oracle: Oracle<'a>,
    book: Book,
    /// How often a family got through.
    met: BTreeMap<&'static str, u64>,
}

/// A family that is known to get through is looked at this often again.
const SELDOM: u64 = 16;
const TRIALS: u32 = 60;

impl Hunter<'_> {
    async fn run(
        &mut self,
        config: &Config,
        file: &str,
        stop: impl Future<Output = ()>,
        show: &mut dyn FnMut(Event),
    ) -> Result<(), DatabaseError> {
        const TELL_EVERY: Duration = Duration::from_secs(1);
        let mut generator = Generator::new(config.seed, &format!("/tmp/{file}"));
        for text in &config.corpus {
            generator.keep(text);
        }
        let mut told = Instant::now();
        tokio::pin!(stop);
        loop {
            let over = self.book.began.elapsed() >= config.time
                || config.most.is_some_and(|most| self.book.hunt.asked >= most);
            if over || futures_util::poll!(&mut stop).is_ready() {
                return Ok(());
            }
            let case = generator.next();
            self.look(&case, &mut generator, show).await?;
            if told.elapsed() > TELL_EVERY {
                told = Instant::now();
                show(Event::Progress(self.book.progress()));
            }
        }
    }

    async fn ask(&mut self, text: &str) -> (Verdict, Duration) {
        self.book.hunt.asked += 1;
        let (verdict, took) = self.target.ask(Subject::Sql, text).await;
        self.book.hunt.accepted += u64::from(verdict == Verdict::Accept);
        (verdict, took)
    }

    async fn look(
        &mut self,
        case: &Case,
        generator: &mut Generator,
        show: &mut dyn FnMut(Event),
    ) -> Result<(), DatabaseError> {
        let (verdict, took) = self.ask(&case.text).await;
        let is_new = self.book.is_new(&verdict, &constructs(&case.text));
        let family = case.family.unwrap_or("legitimate use");
        let stopped = matches!(&verdict, Verdict::Refuse(Some(rule)) if rule == target::STOPPED);
        if took > target::STALL && !stopped {
            self.found(Kind::Stall, family, case, Vec::new(), show);
        }
        match &verdict {
            Verdict::None(trouble) => {
                let (kind, effect) = match trouble {
                    Trouble::Stall => (Kind::Stall, Vec::new()),
                    Trouble::Crash(reason) => (Kind::Crash, vec![reason.clone()]),
                };
                self.found(kind, family, case, effect, show);
            }
            Verdict::Accept => self.accepted(case, family, show).await?,
            Verdict::Refuse(_) if case.family.is_none() && !stopped => {
                let seen = self.oracle.run(&case.text).await?;
                if seen.error.is_none() && seen.effects.is_empty() {
                    let rule = match &verdict {
                        Verdict::Refuse(Some(rule)) => vec![format!("refused by `{rule}`")],
                        _ => Vec::new(),
                    };
                    self.found(Kind::FalseRefusal, family, case, rule, show);
                }
            }
            Verdict::Refuse(_) => {}
        }
        // What is slow once is slow in a hundred changes. Its family tells, and not the clock: a seed has to mean the same
        // on a busy machine.
        if is_new && !matches!(case.family, Some("cost" | "sleep")) {
            generator.keep(&case.text);
        }
        self.compare_with_plain(case, &verdict, show).await
    }

    /// The same meaning has to get the same verdict.
    async fn compare_with_plain(
        &mut self,
        case: &Case,
        verdict: &Verdict,
        show: &mut dyn FnMut(Event),
    ) -> Result<(), DatabaseError> {
        let Some(plain) = &case.plain else {
            return Ok(());
        };
        let (other, _) = self.ask(plain).await;
        let decided = |verdict: &Verdict| match verdict {
            Verdict::Accept => Some(true),
            Verdict::Refuse(_) => Some(false),
            Verdict::None(_) => None,
        };
        let pair = (decided(verdict), decided(&other));
        let parses = |text: &str| pg_query::parse(text, pg_query::ParserOptions::default()).is_ok();
        if let (Some(disguised), Some(plainly)) = pair
            && disguised != plainly
            // What gets through plainly anyway is found as it is.
            && (disguised || case.family.is_none())
            && parses(&case.text)
            && parses(plain)
        {
            let effect = if disguised {
                "accepted in disguise, refused plainly"
            } else {
                "refused in disguise, accepted plainly"
            };
            let family = case.family.unwrap_or("legitimate use");
            self.found(
                Kind::Metamorphic,
                family,
                case,
                vec![effect.to_owned()],
                show,
            );
        }
        Ok(())
    }

    async fn accepted(
        &mut self,
        case: &Case,
        family: &'static str,
        show: &mut dyn FnMut(Event),
    ) -> Result<(), DatabaseError> {
        let met = self.met.entry(family).or_default();
        if *met > 2 && !(*met).is_multiple_of(SELDOM) && family != MUTATED {
            *met += 1;
            let family = family.to_owned();
            for known in &mut self.book.hunt.findings {
                known.times += u64::from(known.kind == Kind::Bypass && known.family == family);
            }
            return Ok(());
        }
        if self.target.judges_cost() && self.oracle.is_costly(&case.text).await? {
            return Ok(());
        }
        let mut seen = self.oracle.run(&case.text).await?;
        if self.target.judges_cost() {
            // What the planner cannot see, the clock of the reference engine ends.
            let was_slow = seen.effects.remove(effect::WAS_SLOW);
            *self.met.entry(family).or_default() += u64::from(was_slow);
        }
        if let Some(effect) = seen.worst().cloned() {
            *self.met.entry(family).or_default() += 1;
            if self.book.again(Kind::Bypass, family, Some(&effect)) {
                return Ok(());
            }
            let text = self.minimised(&case.text, &effect).await?;
            let same = |known: &&mut Finding| known.kind == Kind::Bypass && known.text == text;
            if let Some(known) = self.book.hunt.findings.iter_mut().find(same) {
                known.times += 1;
                return Ok(());
            }
            let finding = Finding {
                kind: Kind::Bypass,
                family: family.to_owned(),
                effects: seen.effects.into_iter().collect(),
                cwe: cwe(family),
                text,
                original: case.text.clone(),
                number: self.book.hunt.asked,
                times: 1,
            };
            self.book.add(finding, show);
        } else if !reads_once(&case.text) {
            let error = seen.error.into_iter().collect();
            self.found(Kind::Differential, family, case, error, show);
        }
        Ok(())
    }

    fn found(
        &mut self,
        kind: Kind,
        family: &str,
        case: &Case,
        effects: Vec<String>,
        show: &mut dyn FnMut(Event),
    ) {
        if self.book.again(kind, family, None) {
            return;
        }
        let finding = Finding {
            kind,
            family: family.to_owned(),
            effects,
            cwe: cwe(family),
            text: case.plain.clone().unwrap_or_else(|| case.text.clone()),
            original: case.text.clone(),
            number: self.book.hunt.asked,
            times: 1,
        };
        let finding = if kind == Kind::Metamorphic {
            Finding {
                text: case.text.clone(),
                ..finding
            }
        } else {
            finding
        };
        self.book.add(finding, show);
    }

    /// The shortest that is still accepted and still shows the effect.
    async fn minimised(&mut self, text: &str, effect: &str) -> Result<String, DatabaseError> {
        let mut smallest = text.to_owned();
        let mut trials = 0;
        if let Some(plain) = minimise::plain(text)
            && self.still_shows(&plain, effect).await?
        {
            smallest = plain;
        }
        'smaller: loop {
            for candidate in minimise::candidates(&smallest) {
                trials += 1;
                if trials > TRIALS {
                    return Ok(smallest);
                }
                if self.still_shows(&candidate, effect).await? {
                    smallest = candidate;
                    continue 'smaller;
                }
            }
            return Ok(smallest);
        }
    }

    async fn still_shows(&mut self, text: &str, effect: &str) -> Result<bool, DatabaseError> {
        let (verdict, _) = self.ask(text).await;
        if verdict != Verdict::Accept {
            return Ok(false);
        }
        let seen = self.oracle.run(text).await?;
        Ok(seen.effects.contains(effect))
    }
}

/// Whether Postgres' own parser sees one statement that reads.
fn reads_once(text: &str) -> bool {
    let Ok(parsed) = pg_query::parse(text, pg_query::ParserOptions::default()) else {
        return false;
    };
    let [statement] = parsed.protobuf.stmts.as_slice() else {
        return false;
    };
    let node = statement.stmt.as_ref().and_then(|node| node.node.as_ref());
    matches!(node, Some(pg_query::NodeEnum::SelectStmt(select)) if select.into_clause.is_none() && select.locking_clause.is_empty())
}

/// What a statement is made of: which construct stands within which.
fn constructs(text: &str) -> BTreeSet<u64> {
    let mut found = BTreeSet::new();
    let Ok(parsed) = pg_query::parse(text, pg_query::ParserOptions::default()) else {
        found.insert(0);
        return found;
    };
    if let Ok(tree) = serde_json::to_value(&parsed.protobuf) {
        pairs(&tree, "", &mut found);
    }
    found
}

fn pairs(value: &serde_json::Value, within: &str, found: &mut BTreeSet<u64>) {
    use std::hash::{DefaultHasher, Hash as _, Hasher as _};
    match value {
        serde_json::Value::Object(fields) => {
            for (name, field) in fields {
                let empty = field.is_null()
                    || field.as_array().is_some_and(Vec::is_empty)
                    || field.as_str().is_some_and(str::is_empty);
                if empty {
                    continue;
                }
                let mut hasher = DefaultHasher::new();
                (within, name).hash(&mut hasher);
                found.insert(hasher.finish());
                let capital = name.starts_with(char::is_uppercase);
                pairs(field, if capital { name } else { within }, found);
            }
        }
        serde_json::Value::Array(items) => {
            for item in items {
                pairs(item, within, found);
            }
        }
        _ => {}
    }
}

/// The weakness that a family is an instance of.
fn cwe(family: &str) -> u16 {
    match family {
        "write" | "write in WITH" | "stacked" | "select into" | "statement in a text" | "copy" => {
            89
        }
        "ungranted table" | "user function" | "user aggregate" | "user operator" | "user type"
        | "shadowed name" | "call by attribute" | "settings" | "sequence" | "large object"
        | "notification" | "session" | "transaction id" | "write-ahead log" => 862,
        "catalogue" => 200,
        "explain" => 209,
        "file" => 22,
        "lock" | "row lock" => 667,
        "cost" | "sleep" => 400,
        _ => 20,
    }
}

#[cfg(test)]
mod tests;
