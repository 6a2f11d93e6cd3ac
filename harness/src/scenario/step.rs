//! What a step does: exactly one of `ask`, `execute`, `request`, `write`, `sql`, `wait`, `fault` and `restart`.

use super::expect::Expect;
use fact_mocks::script::{DatabaseFault, Fault, Millis};
use indexmap::IndexMap;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Deserialize;
use serde_json::Value;
use std::borrow::Cow;

/// One step, and what must be seen of it.
#[derive(Debug, Clone, Deserialize)]
#[serde(try_from = "Written")]
pub struct Step {
    /// What is done.
    pub verb: Verb,
    /// What must be seen.
    pub expect: Expect,
    /// The row of `for_each` that it was made for.
    #[serde(skip)]
    pub row: Option<String>,
}

/// What a step does.
#[derive(Debug, Clone)]
pub enum Verb {
    /// Asks a question.
    Ask(Ask),
    /// Executes a tool.
    Execute(Execute),
    /// Sends any HTTP request.
    Request(Request),
    /// Writes what the target's tools find.
    Write(Write),
    /// A statement by the database's owner, not through the relay.
    Sql(String),
    /// Lets time pass.
    Wait(Millis),
    /// From now on the mocks fail so.
    Fault(Faults),
    /// The target is ended and started again; what it keeps stays where it is.
    Restart(Restart),
}

impl Verb {
    /// Its name, as it is written.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ask(_) => "ask",
            Self::Execute(_) => "execute",
            Self::Request(_) => "request",
            Self::Write(_) => "write",
            Self::Sql(_) => "sql",
            Self::Wait(_) => "wait",
            Self::Fault(_) => "fault",
            Self::Restart(_) => "restart",
        }
    }
}

/// A question.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Ask {
    /// The client that asks.
    #[serde(rename = "as", default = "alice")]
    pub client: String,
    /// What it asks.
    pub question: String,
    /// How many times in all; as often as `at_once` without it, else once.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many at the same time.
    #[serde(default)]
    pub at_once: Option<u32>,
    /// Sent as `cache_options`.
    #[serde(default)]
    pub cache_options: Option<Value>,
    /// Sent as `context.session_id`.
    #[serde(default)]
    pub session: Option<String>,
    /// Sent as `user_id`.
    #[serde(default)]
    pub user_id: Option<String>,
    /// Whether the answer is wanted as a stream of events; what is expected of the body is then expected of its end.
    #[serde(default)]
    pub stream: bool,
    /// The connection is closed then, and nothing is expected of the answer.
    #[serde(default)]
    pub leave_after: Option<Millis>,
    /// How many of those at once leave, the first of them; all without. What is expected is expected of the others.
    #[serde(default)]
    pub leaving: Option<u32>,
}

/// A tool and its arguments.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Execute {
    /// The client that executes it.
    #[serde(rename = "as", default = "alice")]
    pub client: String,
    /// `Toolkit.Tool`.
    pub tool: String,
    /// Its arguments.
    #[serde(default = "no_arguments")]
    pub arguments: Value,
    /// How many times in all.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many at the same time.
    #[serde(default)]
    pub at_once: Option<u32>,
}

/// Any HTTP request. Texts may hold `{{ token.CLIENT }}`, `{{ secret.CLIENT }}`, `{{ last.PATH }}` (a value of the
/// last answer), `{{ file_root }}` and `{{ outside }}`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Request {
    /// `GET` without it.
    #[serde(default = "get")]
    pub method: String,
    /// From the root, with its query string.
    pub path: String,
    /// The client whose token is sent; without it and `token`, none is.
    #[serde(rename = "as", default)]
    pub client: Option<String>,
    /// A token, literally.
    #[serde(default)]
    pub token: Option<String>,
    /// Further headers.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// A text is sent as it is, anything else as JSON.
    #[serde(default)]
    pub body: Option<Value>,
    /// How many times in all.
    #[serde(default)]
    pub times: Option<u32>,
    /// How many at the same time.
    #[serde(default)]
    pub at_once: Option<u32>,
}

/// A text in a file below the file root, or on a page of the `web`: exactly one of them is given.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Write {
    /// A plain path below the file root.
    #[serde(default)]
    pub file: Option<String>,
    /// A path of the site, such as `/page`.
    #[serde(default)]
    pub page: Option<String>,
    /// The text; it may hold templates.
    pub content: String,
}

/// How the upstreams fail from now on; an empty list heals, what is left out stays as it is.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Faults {
    /// Of Claude.
    #[serde(default)]
    pub claude: Option<Vec<Fault>>,
    /// Of Arcade.
    #[serde(default)]
    pub arcade: Option<Vec<Fault>>,
    /// Before the database; only where a relay stands there.
    #[serde(default)]
    pub database: Option<Vec<DatabaseFault>>,
}

/// How the target is ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Restart {
    /// By `SIGTERM`.
    Stop,
    /// By `SIGKILL`: it has no time for anything.
    Kill,
}

fn alice() -> String {
    "alice".to_owned()
}

fn get() -> String {
    "GET".to_owned()
}

fn no_arguments() -> Value {
    Value::Object(serde_json::Map::new())
}

/// A step as it is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
struct Written {
    /// Asks a question.
    #[serde(default)]
    ask: Option<Ask>,
    /// Executes a tool.
    #[serde(default)]
    execute: Option<Execute>,
    /// Sends any HTTP request.
    #[serde(default)]
    request: Option<Request>,
    /// Writes a file or a page.
    #[serde(default)]
    write: Option<Write>,
    /// A statement by the database's owner, not through the relay.
    #[serde(default)]
    sql: Option<String>,
    /// Lets time pass.
    #[serde(default)]
    wait: Option<Millis>,
    /// From now on the mocks fail so.
    #[serde(default)]
    fault: Option<Faults>,
    /// The target is ended, by `stop` or `kill`, and started again.
    #[serde(default)]
    restart: Option<Restart>,
    /// What must be seen.
    #[serde(default)]
    expect: Option<Expect>,
}

impl TryFrom<Written> for Step {
    type Error = String;

    fn try_from(written: Written) -> Result<Self, String> {
        let mut verbs = Vec::new();
        verbs.extend(written.ask.map(Verb::Ask));
        verbs.extend(written.execute.map(Verb::Execute));
        verbs.extend(written.request.map(Verb::Request));
        if let Some(write) = written.write {
            if write.file.is_some() == write.page.is_some() {
                return Err("`write` has either `file: PATH` or `page: PATH`".into());
            }
            verbs.push(Verb::Write(write));
        }
        verbs.extend(written.sql.map(Verb::Sql));
        verbs.extend(written.wait.map(Verb::Wait));
        verbs.extend(written.fault.map(Verb::Fault));
        verbs.extend(written.restart.map(Verb::Restart));
        let names: Vec<&str> = verbs.iter().map(Verb::name).collect();
        if names.len() > 1 {
            return Err(format!(
                "a step does one thing, this one does {}: make it several steps",
                names.join(" and ")
            ));
        }
        let Some(verb) = verbs.pop() else {
            return Err("a step does one of `ask`, `execute`, `request`, `write`, `sql`, `wait`, `fault`, `restart`; this one does nothing".into());
        };
        if written.expect.is_some()
            && matches!(
                verb,
                Verb::Write(_) | Verb::Sql(_) | Verb::Wait(_) | Verb::Fault(_) | Verb::Restart(_)
            )
        {
            return Err(format!(
                "nothing can be expected of `{}`; expect it of the step after it",
                verb.name()
            ));
        }
        Ok(Self {
            verb,
            expect: written.expect.unwrap_or_default(),
            row: None,
        })
    }
}

impl JsonSchema for Step {
    fn schema_name() -> Cow<'static, str> {
        "Step".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        Written::json_schema(generator)
    }
}
