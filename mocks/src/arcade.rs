//! The Arcade Engine API: tools and running them, users' authorizations, workers, and what is kept for an administrator.

mod administration;
mod arguments;
mod authorizations;
mod chat;
mod formats;
mod refusal;
mod scheduled;
mod tools;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::body::{Answer, Recording};
use crate::control;
use crate::draw;
use crate::front::{self, Arrived};
use crate::journal;
use crate::mutant::Mutant;
use crate::script::{ArcadeScript, Fault};
use crate::server::Service;
use crate::stage::{Asked, Stage, lock};
use administration::Administration;
use authorizations::{Authorizations, Wanted};
use refusal::Refusal;
use scheduled::Scheduled;
use tools::Tool;
use workers::Workers;

/// The largest body that is taken, in bytes.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
/// How many items a page has unless asked, and at most.
const PAGE: usize = 25;
const PAGE_MAX: usize = 100;
/// How long a status may be waited for.
const LONGEST_WAIT: Duration = Duration::from_secs(59);

/// The mock.
#[derive(Debug)]
pub(crate) struct Arcade {
    stage: Arc<Stage>,
    script: ArcadeScript,
    tools: Vec<Arc<Tool>>,
    authorizations: Authorizations,
    workers: Workers,
    scheduled: Scheduled,
    administration: Administration,
    /// Executions by tool and whether they succeeded.
    ledger: Mutex<BTreeMap<(String, bool), u64>>,
    /// Whether `/_mock/` is there.
    control: bool,
}

/// A tool that is to be run.
struct Execution {
    tool: Arc<Tool>,
    input: Value,
    user: String,
    stacktrace: bool,
}

type Reply = Result<Answer, Refusal>;

impl Service for Arcade {
    async fn serve(self: Arc<Self>, request: Request) -> Option<Response> {
        let path = front::known_path(request.uri().path());
        if self.control && path.starts_with("/_mock/") {
            return Some(self.control(request).await);
        }
        let mut arrived = front::arrive(&self.stage, request, BODY_LIMIT).await?;
        let method = arrived.parts.method.as_str().to_owned();
        if let Some(rule) = self.stage.raw(&method, &arrived.path) {
            return front::play(&self.stage, &rule.response, arrived.recording, None).await;
        }
        let wanted = match arrived.wanted_fault(&self.stage) {
            Ok(wanted) => wanted,
            Err(why) => return Some(Refusal::bad(why).into_response(arrived.recording)),
        };
        if let Some(fault) = &wanted
            && (fault.status.is_some() || fault.resets_at_once() || fault.half_open)
        {
            return fail(fault, arrived.recording).await;
        }
        if (method.as_str(), arrived.path.as_str()) == ("POST", "/v1/tools/execute") {
            return self.execute(arrived, wanted).await;
        }
        let answer = self.route(&method, &mut arrived).await;
        Some(match answer {
            Ok(answer) => answer.into_response(arrived.recording),
            Err(refusal) => refusal.into_response(arrived.recording),
        })
    }
}

impl Arcade {
    pub(crate) fn new(stage: &Arc<Stage>, script: ArcadeScript, control: bool) -> Self {
        Self {
            stage: Arc::clone(stage),
            tools: tools::all(&script.tools)
                .into_iter()
                .map(Arc::new)
                .collect(),
            authorizations: Authorizations::new(stage, script.authorization_time.0),
            workers: Workers::default(),
            scheduled: Scheduled::default(),
            administration: Administration::default(),
            ledger: Mutex::default(),
            script,
            control,
        }
    }

    async fn control(&self, request: Request) -> Response {
        let (parts, body) = request.into_parts();
        let body = front::read(body, BODY_LIMIT)
            .await
            .flatten()
            .unwrap_or_default();
        let path = front::known_path(parts.uri.path());
        if let ("POST", Some(rest)) = (
            parts.method.as_str(),
            path.strip_prefix("/_mock/authorizations/"),
        ) {
            let steered = match rest.split_once('/') {
                Some((id, "complete")) => self.authorizations.settle(id, true),
                Some((id, "fail")) => self.authorizations.settle(id, false),
                _ => Err(Refusal::not_found("no such route")),
            };
            return match steered {
                Ok(shown) => Answer::json(200, &shown).unrecorded(),
                Err(refusal) => refusal.answer().unrecorded(),
            };
        }
        front::settle(&self.stage).await;
        let asked = (&parts.method, path, parts.uri.query());
        control::answer(&self.stage, asked, &body, || self.books(), || self.reset())
            .unwrap_or_else(|| Refusal::not_found("no such route").answer())
            .unrecorded()
    }

    fn books(&self) -> Value {
        let ledger = lock(&self.ledger);
        let lines = ledger.iter().map(|((tool, success), executions)| {
            json!({"tool": tool, "success": success, "executions": executions})
        });
        json!({
            "requests": ledger.values().sum::<u64>(),
            "lines": lines.collect::<Vec<_>>(),
        })
    }

    fn reset(&self) {
        lock(&self.ledger).clear();
        self.authorizations.clear();
        self.workers.clear();
        self.scheduled.clear();
        self.administration.clear();
    }

    /// Answers everything but executions.
    async fn route(self: &Arc<Self>, method: &str, arrived: &mut Arrived) -> Reply {
        let path = arrived.path.clone();
        let segments: Vec<&str> = path.trim_matches('/').split('/').collect();
        let query = Query(arrived.query());
        let rest = segments.strip_prefix(&["v1"]).unwrap_or(&segments);
        if let ("GET", ["health"]) = (method, rest) {
            return Ok(Answer::json(200, &json!({"healthy": true})));
        }
        if let ("GET", ["oauth", "authorize"]) = (method, rest) {
            let shown = self
                .authorizations
                .settle(query.text("flow_id").unwrap_or_default(), true)?;
            return Ok(Answer::new(
                200,
                "text/plain",
                format!("Authorized. {}", shown["id"]),
            ));
        }
        authorized(arrived)?;
        if arrived.body.is_none() {
            return Err(Refusal(
                413,
                "request_too_large",
                "the body is too large".to_owned(),
            ));
        }
        let base = base(arrived);
        match (method, rest) {
            ("GET", ["tools"]) => {
                let (tools, user) = (self.offered(&query).await, query.text("user_id"));
                let formats = formats::wanted(query.list("include_format"))?;
                page(&query, tools.len(), |range| {
                    let tools = tools[range].iter();
                    tools
                        .map(|tool| self.definition(tool, user, &formats))
                        .collect()
                })
            }
            ("GET", ["tools", name]) => {
                let formats = formats::wanted(query.list("include_format"))?;
                let tool = self.find(name, None).await?;
                let definition = self.definition(&tool, query.text("user_id"), &formats);
                Ok(Answer::json(200, &definition))
            }
            ("POST", ["tools", "authorize"]) => {
                let body = object(arrived)?;
                let wanted = self.wanted(&body).await?;
                let user = text(&body, "user_id")?;
                Ok(Answer::json(
                    200,
                    &self.authorizations.begin(user, wanted, &base),
                ))
            }
            ("GET", ["formatted_tools"]) => {
                let format = formats::Format::read(query.text("format").unwrap_or("openai"))?;
                let tools = self.offered(&query).await;
                page(&query, tools.len(), |range| {
                    tools[range].iter().map(|tool| format.of(tool)).collect()
                })
            }
            ("GET", ["formatted_tools", name]) => {
                let format = formats::Format::read(query.text("format").unwrap_or("openai"))?;
                Ok(Answer::json(
                    200,
                    &format.of(&*self.find(name, None).await?),
                ))
            }
            ("GET", ["scheduled_tools"]) => {
                let all = self.scheduled.all();
                page(&query, all.len(), |range| all[range].to_vec())
            }
            ("GET", ["scheduled_tools", id]) => Ok(Answer::json(200, &self.scheduled.one(id)?)),
            ("POST", ["auth", "authorize"]) => {
                let body = object(arrived)?;
                let user = text(&body, "user_id")?;
                let wanted = Wanted::read(&body["auth_requirement"])?;
                Ok(Answer::json(
                    200,
                    &self.authorizations.begin(user, Some(wanted), &base),
                ))
            }
            ("GET", ["auth", "status"]) => {
                let id = query.text("id").unwrap_or_default();
                let wait = query.number("wait")?.unwrap_or_default();
                let mut wait = Duration::from_secs(wait).min(LONGEST_WAIT);
                if self.stage.mutant == Some(Mutant::WaitIgnored) {
                    wait = Duration::ZERO;
                }
                Ok(Answer::json(
                    200,
                    &self.authorizations.status(id, wait).await?,
                ))
            }
            ("POST", ["auth", "confirm_user"]) => {
                let body = object(arrived)?;
                let (flow, user) = (text(&body, "flow_id")?, text(&body, "user_id")?);
                self.authorizations.confirm(flow, user)
            }
            ("POST", ["chat", "completions"]) => {
                let body = object(arrived)?;
                chat::completion(&self.stage, &body).map(|it| Answer::json(200, &it))
            }
            (_, ["workers", rest @ ..]) => self.workers(method, rest, arrived, &query).await,
            (_, ["admin", rest @ ..]) => {
                let body = if matches!(method, "POST" | "PATCH" | "PUT") {
                    object(arrived)?
                } else {
                    Value::Null
                };
                if let ["user_connections", ..] = rest {
                    return self
                        .authorizations
                        .connections(method, rest, &query, |all| {
                            page(&query, all.len(), |range| all[range].to_vec())
                        });
                }
                self.administration.answer(method, rest, &body, &query)
            }
            _ => Err(Refusal::not_found("no such route")),
        }
    }

    async fn workers(
        &self,
        method: &str,
        rest: &[&str],
        arrived: &Arrived,
        query: &Query,
    ) -> Reply {
        match (method, rest) {
            ("GET", []) => {
                let all = self.workers.all();
                page(query, all.len(), |range| all[range].to_vec())
            }
            ("POST", []) => {
                let created = self.workers.create(&object(arrived)?).await?;
                Ok(Answer::json(201, &created))
            }
            ("GET", [id]) => Ok(Answer::json(200, &self.workers.shown(id)?)),
            ("PATCH", [id]) => {
                let patched = self.workers.patch(id, &object(arrived)?).await?;
                Ok(Answer::json(200, &patched))
            }
            ("DELETE", [id]) => {
                self.workers.delete(id)?;
                Ok(Answer::new(204, "application/json", ""))
            }
            ("GET", [id, "health"]) => Ok(Answer::json(200, &self.workers.health(id).await?)),
            ("GET", [id, "tools"]) => {
                let tools = self.workers.tools_of(id).await?;
                page(query, tools.len(), |range| {
                    let tools = tools[range].iter();
                    tools.map(|tool| self.definition(tool, None, &[])).collect()
                })
            }
            _ => Err(Refusal::not_found("no such route")),
        }
    }

    /// The tools of this mock and of its workers, of the toolkit that is asked for.
    async fn offered(&self, query: &Query) -> Vec<Arc<Tool>> {
        let mut tools = self.tools.clone();
        tools.extend(self.workers.tools().await);
        if let Some(toolkit) = query.text("toolkit") {
            tools.retain(|tool| tool.toolkit().eq_ignore_ascii_case(toolkit));
        }
        if let Some(filter) = query
            .text("filter")
            .and_then(|it| serde_json::from_str(it).ok())
        {
            tools.retain(|tool| tool.behaves(&filter));
        }
        tools
    }

    /// A tool by its name in any of its forms.
    async fn find(&self, name: &str, version: Option<&str>) -> Result<Arc<Tool>, Refusal> {
        let (bare, named_version) = match name.split_once('@') {
            Some((bare, version)) => (bare, Some(version)),
            None => (name, None),
        };
        let tools = self.offered(&Query(Vec::new())).await;
        let found = tools.into_iter().find(|tool| tool.is_called(bare));
        let tool = found.ok_or_else(|| Refusal::not_found(&format!("tool `{name}` not found")))?;
        match version.or(named_version) {
            Some(version) if version != tool.version => Err(Refusal::not_found(&format!(
                "tool `{bare}` has the version {}, not {version}",
                tool.version
            ))),
            _ => Ok(tool),
        }
    }

    fn definition(&self, tool: &Tool, user: Option<&str>, formats: &[formats::Format]) -> Value {
        let status = user.and_then(|user| {
            let wanted = Wanted::of(tool)?;
            Some(self.authorizations.standing(user, &wanted))
        });
        let mut definition =
            tool.definition(status, |key| self.administration.secret(key).is_some());
        if !formats.is_empty() {
            let formatted = formats
                .iter()
                .map(|format| (format.name().to_owned(), format.of(tool)));
            definition["formatted_schema"] = formatted.collect::<serde_json::Map<_, _>>().into();
        }
        definition
    }

    /// What the tool of `tools.authorize` needs.
    async fn wanted(&self, body: &Value) -> Result<Option<Wanted>, Refusal> {
        let name = text(body, "tool_name")?;
        let version = optional_text(body, "tool_version")?;
        Ok(Wanted::of(&*self.find(name, version).await?))
    }

    async fn execute(
        self: Arc<Self>,
        mut arrived: Arrived,
        wanted: Option<Fault>,
    ) -> Option<Response> {
        let body = object(&arrived);
        let shown = body.as_ref().map_or(&Value::Null, |body| body);
        let entry = &mut arrived.recording.entry;
        entry.question = shown["tool_name"].as_str().map(str::to_owned);
        entry.nonce = journal::nonce_in(&shown.to_string()).map(str::to_owned);
        let read = match (authorized(&arrived), body) {
            (Err(refusal), _) | (_, Err(refusal)) => Err(refusal),
            (Ok(()), Ok(body)) => self.read_execution(&body).await.map(|it| (it, body)),
        };
        let (execution, body) = match read {
            Ok(read) => read,
            Err(refusal) => return Some(refusal.into_response(arrived.recording)),
        };
        let stage = &self.stage;
        let key = format!("{} {}", execution.tool.name, execution.input);
        let number = stage.count(&key);
        let (under_way, concurrent) = stage.enter(&key);
        let arrived_ns = arrived.recording.entry.arrived_ns;
        let fault = wanted.or_else(|| {
            stage.fault(&Asked {
                key: &key,
                subject: &execution.tool.name,
                client: arrived.header("authorization").unwrap_or_default(),
                arrived_ns,
            })
        });
        let recording = &mut arrived.recording;
        recording.under_way = Some(under_way);
        recording.entry.concurrent = concurrent;
        recording.entry.fault = fault.as_ref().map(Fault::describe);
        let fault = fault.unwrap_or_default();
        let mut delays = stage.delays(&self.script.latency, (&key, number), None);
        if let Some(slow) = fault.slow {
            delays.first_byte = delays.first_byte.saturating_add(slow.0);
        }
        let delay = delays.total.unwrap_or(delays.first_byte);
        recording.entry.scheduled_ns = u64::try_from(delay.as_nanos()).unwrap_or(u64::MAX);
        let due = stage.instant(arrived_ns, delay);
        if fault.status.is_some() || fault.resets_at_once() || fault.half_open {
            stage.until(due).await;
            return fail(&fault, arrived.recording).await;
        }
        let number = number.to_string();
        let identity = [key.as_str(), number.as_str()];
        let ids = [("te_", "te"), ("tc_", "tc")]
            .map(|(prefix, kind)| draw::id(prefix, stage.seed, &[kind, identity[0], identity[1]]));
        let answer = match optional_text(&body, "run_at") {
            Ok(Some(run_at)) => self.schedule(execution, run_at, &ids),
            Ok(None) => Ok(self.run(&execution, &ids, delay).await),
            Err(refusal) => Err(refusal),
        };
        stage.until(due).await;
        Some(match answer {
            Ok(answer) => {
                let mut answer = Answer::json(200, &answer);
                fault.strike(&mut answer, |_| bytes::Bytes::new());
                answer.into_response(arrived.recording)
            }
            Err(refusal) => refusal.into_response(arrived.recording),
        })
    }

    async fn read_execution(&self, body: &Value) -> Result<Execution, Refusal> {
        let name = text(body, "tool_name")?;
        let version = optional_text(body, "tool_version")?;
        let user = optional_text(body, "user_id")?.unwrap_or_default();
        let input = match &body["input"] {
            Value::Null => json!({}),
            input @ Value::Object(_) => input.clone(),
            _ => return Err(Refusal::bad("input must be an object".to_owned())),
        };
        let stacktrace = match &body["include_error_stacktrace"] {
            Value::Null => false,
            Value::Bool(wanted) => *wanted,
            _ => {
                let why = "include_error_stacktrace must be a boolean";
                return Err(Refusal::bad(why.to_owned()));
            }
        };
        let tool = self.find(name, version).await?;
        if let Some(wanted) = Wanted::of(&tool)
            && !self.authorizations.granted(user, &wanted)
        {
            let message = "authorization required".to_owned();
            return Err(Refusal(403, "tool_authorization_required", message));
        }
        Ok(Execution {
            tool,
            input,
            user: user.to_owned(),
            stacktrace,
        })
    }

    /// Runs a tool and books it; `took` is how long it is said to have taken.
    async fn run(&self, execution: &Execution, ids: &[String; 2], took: Duration) -> Value {
        let began = std::time::Instant::now();
        let mut output = self.output(execution, &ids[1]).await;
        let success = output.get("error").is_none();
        if let Some(error) = output.get_mut("error").and_then(Value::as_object_mut)
            && !execution.stacktrace
        {
            error.remove("stacktrace");
        }
        let name = execution.tool.name.clone();
        *lock(&self.ledger).entry((name, success)).or_default() += 1;
        json!({
            "id": ids[0],
            "execution_id": ids[1],
            "execution_type": "immediate",
            "status": if success { "success" } else { "failed" },
            "success": success,
            "duration": took.max(began.elapsed()).as_secs_f64() * 1e3,
            "finished_at": jiff::Timestamp::now().to_string(),
            "run_at": null,
            "output": output,
        })
    }

    async fn output(&self, execution: &Execution, id: &str) -> Value {
        let Execution {
            tool, input, user, ..
        } = execution;
        if let Err(why) = arguments::check(&tool.parameters, input) {
            return json!({"error": tool.error("TOOL_RUNTIME_BAD_INPUT_VALUE", 400, &why)});
        }
        match &tool.worker {
            Some(worker) => {
                let token = Wanted::of(tool).map(|wanted| self.authorizations.token(user, &wanted));
                let secrets = tool.secrets.iter().filter_map(|key| {
                    let value = self.administration.secret(key)?;
                    Some(json!({"key": key, "value": value}))
                });
                let context = json!({
                    "authorization": token.map(|token| json!({"token": token, "user_info": {}})),
                    "secrets": secrets.collect::<Vec<_>>(),
                    "metadata": [],
                    "user_id": user,
                });
                self.workers
                    .invoke(worker, tool, (input, context), id)
                    .await
            }
            None => tool.run(input),
        }
    }

    fn schedule(
        self: &Arc<Self>,
        execution: Execution,
        run_at: &str,
        ids: &[String; 2],
    ) -> Result<Value, Refusal> {
        let wait = self.scheduled.add(&execution, run_at, &ids[0])?;
        let (arcade, later) = (Arc::clone(self), ids.clone());
        tokio::spawn(async move {
            tokio::time::sleep(wait).await;
            arcade.scheduled.start(&later[0]);
            let done = arcade.run(&execution, &later, Duration::ZERO).await;
            arcade.scheduled.finish(&later[0], &done);
        });
        Ok(json!({
            "id": ids[0],
            "execution_id": ids[1],
            "execution_type": "scheduled",
            "status": "scheduled",
            "success": true,
            "run_at": run_at,
        }))
    }
}

/// The pairs of a query, decoded.
pub(crate) struct Query(Vec<(String, String)>);

impl Query {
    fn text(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(key, _)| key == name);
        found.map(|(_, value)| value.as_str())
    }

    /// Values that are given apart or joined by commas.
    fn list<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        let bracketed = self
            .0
            .iter()
            .filter(move |(key, _)| key.trim_end_matches("[]") == name);
        let values = bracketed.flat_map(|(_, value)| value.split(','));
        values.map(str::trim).filter(|value| !value.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let wrong =
            |text: &str| Refusal::bad(format!("{name} must be a whole number, not `{text}`"));
        self.text(name)
            .map(|text| text.parse().map_err(|_| wrong(text)))
            .transpose()
    }
}

/// A page of so many items.
fn page(
    query: &Query,
    total: usize,
    items: impl FnOnce(std::ops::Range<usize>) -> Vec<Value>,
) -> Reply {
    let number = |name| {
        query
            .number(name)
            .map(|it| it.and_then(|it| usize::try_from(it).ok()))
    };
    let limit = number("limit")?.unwrap_or(PAGE).clamp(1, PAGE_MAX);
    let offset = number("offset")?.unwrap_or_default();
    let from = offset.min(total);
    let items = items(from..total.min(from + limit));
    Ok(Answer::json(
        200,
        &json!({
            "limit": limit,
            "offset": offset,
            "page_count": items.len(),
            "total_count": total,
            "items": items,
        }),
    ))
}

/// The body, which must be an object.
fn object(arrived: &Arrived) -> Result<Value, Refusal> {
    let body = arrived.body.as_deref().unwrap_or_default();
    match serde_json::from_slice(body) {
        Ok(body @ Value::Object(_)) => Ok(body),
        Ok(_) => Err(Refusal::bad("the body must be a JSON object".to_owned())),
        Err(error) => Err(Refusal::bad(format!("the body is not valid JSON: {error}"))),
    }
}

fn text<'a>(body: &'a Value, name: &str) -> Result<&'a str, Refusal> {
    match optional_text(body, name)? {
        Some(text) if !text.is_empty() => Ok(text),
        _ => Err(Refusal::bad(format!("{name} is required"))),
    }
}

fn optional_text<'a>(body: &'a Value, name: &str) -> Result<Option<&'a str>, Refusal> {
    match &body[name] {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        _ => Err(Refusal::bad(format!("{name} must be a string"))),
    }
}

/// Where this mock is, for the client that asks.
fn base(arrived: &Arrived) -> String {
    let host = arrived.header("host").unwrap_or("localhost");
    format!("http://{host}{}", arrived.prefix())
}

/// The API key is sent bare or as a bearer token.
fn authorized(arrived: &Arrived) -> Result<(), Refusal> {
    let header = arrived.header("authorization").unwrap_or_default();
    let key = header.strip_prefix("Bearer ").unwrap_or(header);
    if key.starts_with("arc_") && key != "arc_invalid" {
        return Ok(());
    }
    let message = "invalid or missing API key".to_owned();
    Err(Refusal(401, "unauthorized", message))
}

/// An injected failure instead of an answer.
async fn fail(fault: &Fault, mut recording: Recording) -> Option<Response> {
    recording.entry.fault = Some(fault.describe());
    if fault.half_open {
        std::future::pending::<()>().await;
    }
    let Some(status) = fault.status else {
        return Answer::reset(&recording);
    };
    let body = json!({"name": "injected", "message": "injected by the scenario"});
    let mut answer = fault.advise(Answer::json(status, &body));
    fault.strike(&mut answer, |_| bytes::Bytes::new());
    Some(answer.into_response(recording))
}
