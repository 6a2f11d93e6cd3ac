//! Runs a tool: at once or later, here or at its worker, as well as the scenario lets it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::response::Response;
use bytes::Bytes;
use serde_json::{Value, json};

use super::authorizations::Wanted;
use super::refusal::Refusal;
use super::request::{object, optional_text, text};
use super::tools::Tool;
use super::{Arcade, arguments, authorized, injected};
use crate::body::Answer;
use crate::draw;
use crate::front::Arrived;
use crate::journal;
use crate::script::Fault;
use crate::stage::{Asked, lock};

/// A tool that is to be run.
pub(super) struct Execution {
    pub(super) tool: Arc<Tool>,
    pub(super) input: Value,
    pub(super) user: String,
    stacktrace: bool,
}

impl Arcade {
    pub(super) async fn execute(
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
        if fault.refuses() {
            stage.until(due).await;
            return fault.fail(arrived.recording, injected).await;
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
                fault.strike(&mut answer, |_| Bytes::new());
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
        let began = Instant::now();
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
