//! The Arcade Engine API: tools and running them, users' authorizations, workers, and what is kept for an administrator.

mod administration;
mod arguments;
mod authorizations;
mod chat;
mod execution;
mod formats;
mod refusal;
mod request;
mod scheduled;
mod tools;
mod workers;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::Request;
use axum::response::Response;
use serde_json::{Value, json};

use crate::body::Answer;
use crate::control;
use crate::front::{self, Arrived};
use crate::mutant::Mutant;
use crate::script::ArcadeScript;
use crate::server::Service;
use crate::stage::{Stage, lock};
use administration::Administration;
use authorizations::{Authorizations, Wanted};
use refusal::Refusal;
use request::{Query, object, optional_text, page, text};
use scheduled::Scheduled;
use tools::Tool;
use workers::Workers;

/// The largest body that is taken, in bytes.
const BODY_LIMIT: usize = 32 * 1024 * 1024;
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

type Reply = Result<Answer, Refusal>;

impl Service for Arcade {
    async fn serve(self: Arc<Self>, request: Request) -> Option<Response> {
        let path = front::known_path(request.uri().path());
        if self.control && path.starts_with("/_mock/") {
            return Some(self.control(request).await);
        }
        let arrived = front::arrive(&self.stage, request, BODY_LIMIT).await?;
        let method = arrived.parts.method.as_str().to_owned();
        if let Some(rule) = self.stage.raw(&method, &arrived.path) {
            return front::play(&self.stage, &rule.response, arrived.recording, None).await;
        }
        let wanted = match arrived.wanted_fault(&self.stage) {
            Ok(wanted) => wanted,
            Err(why) => return Some(Refusal::bad(why).into_response(arrived.recording)),
        };
        if let Some(fault) = wanted.as_ref().filter(|fault| fault.refuses()) {
            return fault.fail(arrived.recording, injected).await;
        }
        if (method.as_str(), arrived.path.as_str()) == ("POST", "/v1/tools/execute") {
            return self.execute(arrived, wanted).await;
        }
        let answer = self.route(&method, &arrived).await;
        Some(match answer {
            Ok(answer) => answer.into_response(arrived.recording),
            Err(refusal) => refusal.into_response(arrived.recording),
        })
    }
}

impl Arcade {
    pub(crate) fn stage(&self) -> &Arc<Stage> {
        &self.stage
    }

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
    async fn route(self: &Arc<Self>, method: &str, arrived: &Arrived) -> Reply {
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
        let base = arrived.base();
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

/// The error of an injected fault.
fn injected(status: u16) -> Answer {
    let body = json!({"name": "injected", "message": "injected by the scenario"});
    Answer::json(status, &body)
}
