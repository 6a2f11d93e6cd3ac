//! A conversation: Claude's turns and the tools that it calls, until it has said its answer.

use super::{AnswerError, Answering, Question, Standing};
use crate::audit::Receipt;
use crate::cache::Stored;
use crate::claude::Listener;
use crate::config::WebAfterData;
use crate::flight::{Feed, Said};
use crate::prices;
use crate::tools::outcome::{ToolError, ToolOutput};
use crate::tools::web::Reach;
use crate::tools::{Executed, Tools, source_kind};
use fact_guard::Rule;
use fact_wire::{Source, Tokens};
use futures_util::future::join_all;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tokio::time::Instant;

/// Of all turns of a question together.
const MOST_CALLS: usize = 64;

impl Answering {
    /// The conversation, and its audit events on disk before anybody hears of it.
    pub(super) async fn converse(
        &self,
        question: &Question,
        standing: &Standing,
        deadline: Instant,
        feed: &Feed,
    ) -> Result<Stored, AnswerError> {
        let mut progress = Progress::begin();
        let talking = tokio::time::timeout_at(
            deadline,
            self.talk(question, standing, deadline, feed, &mut progress),
        );
        let said = talking.await.unwrap_or(Err(AnswerError::Deadline));
        if said.is_err() {
            // Calls that were given up have left events without a receipt.
            let settled = self.tools.audit.settled();
            settled.await.map_err(|_| AnswerError::Unaudited)?;
        }
        for receipt in progress.receipts.drain(..) {
            receipt
                .written()
                .await
                .map_err(|_| AnswerError::Unaudited)?;
        }
        progress.finish(said?)
    }

    /// Claude's turns, and the results of the tools that it calls, until it has said its answer.
    async fn talk(
        &self,
        question: &Question,
        standing: &Standing,
        deadline: Instant,
        feed: &Feed,
        progress: &mut Progress,
    ) -> Result<String, AnswerError> {
        let mut messages = question.messages();
        let listener = question.streamed.then(|| Listener::new(feed));
        for _ in 0..self.max_turns {
            feed.say(Said::Step("model", None));
            let turn = self
                .claude
                .next_turn(&standing.prompt, &messages, deadline, listener.as_ref())
                .await?;
            let billed = progress.bill(self.claude.model(), turn.tokens());
            self.metrics.bill(turn.tokens(), billed);
            match turn.stop_reason.as_deref() {
                Some("tool_use") => {}
                Some("max_tokens") => {
                    return Err(AnswerError::Limit(
                        "the answer is longer than the model may write".into(),
                    ));
                }
                Some("refusal") => {
                    return Err(AnswerError::Limit(
                        "the model refuses to answer this question".into(),
                    ));
                }
                Some("end_turn" | "stop_sequence") => return Ok(turn.text()),
                _ => {
                    return Err(AnswerError::Limit(
                        "the model stopped before its answer was whole".into(),
                    ));
                }
            }
            let results = self
                .call_all(question, &standing.names, &turn.content, feed, progress)
                .await?;
            messages.push(json!({ "role": "assistant", "content": turn.content }));
            messages.push(json!({ "role": "user", "content": results }));
        }
        self.out_of_budget(question, progress);
        Err(AnswerError::Limit(format!(
            "the model wanted more than {} turns",
            self.max_turns
        )))
    }

    /// All tool calls of a turn side by side; the results in the order of the calls.
    async fn call_all(
        &self,
        question: &Question,
        names: &BTreeMap<String, String>,
        content: &[Value],
        feed: &Feed,
        progress: &mut Progress,
    ) -> Result<Vec<Value>, AnswerError> {
        let calls: Vec<&Value> = content
            .iter()
            .filter(|block| block["type"] == "tool_use")
            .collect();
        progress.calls += calls.len();
        if progress.calls > MOST_CALLS {
            self.out_of_budget(question, progress);
            return Err(AnswerError::Limit(format!(
                "the model wanted more than {MOST_CALLS} tool calls"
            )));
        }
        // What the calls of this turn ask for was written before any of them was answered.
        let reach = if progress.read_data && self.web_after_data == WebAfterData::Named {
            Reach::hosts_in(&question.text)
        } else {
            Reach::Anywhere
        };
        let call = question.call(&reach);
        let running = join_all(calls.iter().map(|block| async {
            let name = block["name"].as_str().unwrap_or_default();
            if let Some(tool) = names.get(name) {
                feed.say(Said::Step("tool", Some(tool.clone())));
                (
                    tool.as_str(),
                    self.tools.execute(call, tool, &block["input"]).await,
                )
            } else {
                let rule = self.tools.not_offered(&question.principal, name);
                (name, self.tools.refuse(call, name, &block["input"], rule))
            }
        }));
        let executed = running.await;
        let mut results = Vec::with_capacity(calls.len());
        for (block, (tool, Executed { outcome, audited })) in calls.into_iter().zip(executed) {
            progress.receipts.push(audited);
            let told = progress.heard(tool, outcome, &self.tools);
            let failed = told.is_err();
            let text = told.unwrap_or_else(|reason| reason);
            let mut result =
                json!({ "type": "tool_result", "tool_use_id": block["id"], "content": text });
            if failed {
                result["is_error"] = true.into();
            }
            results.push(result);
        }
        Ok(results)
    }

    /// The model does not stop calling: that leaves its event too.
    fn out_of_budget(&self, question: &Question, progress: &mut Progress) {
        let call = question.call(&Reach::Anywhere);
        let refused = self.tools.refuse(call, "", &Value::Null, Rule::ToolBudget);
        progress.receipts.push(refused.audited);
    }
}

/// What a conversation has gathered so far.
#[derive(Debug)]
struct Progress {
    began: Instant,
    sources: Vec<Source>,
    tools_used: Vec<String>,
    tables: BTreeSet<String>,
    tokens: Tokens,
    cost_usd: f64,
    baseline_cost_usd: f64,
    receipts: Vec<Receipt>,
    calls: usize,
    calls_failed: u32,
    sources_down: u32,
    /// Whether rows, files or what a person's services hold came into the conversation.
    read_data: bool,
}

impl Progress {
    fn begin() -> Self {
        Self {
            began: Instant::now(),
            sources: Vec::new(),
            tools_used: Vec::new(),
            tables: BTreeSet::new(),
            tokens: Tokens::default(),
            cost_usd: 0.0,
            baseline_cost_usd: 0.0,
            receipts: Vec::new(),
            calls: 0,
            calls_failed: 0,
            sources_down: 0,
            read_data: false,
        }
    }

    /// Adds a turn; the dollars that it was billed.
    fn bill(&mut self, model: &str, tokens: Tokens) -> f64 {
        let day = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
        let (billed, baseline) = prices::cost(model, &day, tokens);
        self.tokens.input += tokens.input;
        self.tokens.output += tokens.output;
        self.tokens.cache_creation += tokens.cache_creation;
        self.tokens.cache_read += tokens.cache_read;
        self.cost_usd += billed;
        self.baseline_cost_usd += baseline;
        billed
    }

    /// Keeps what came of a call; the text for Claude, or why there is none.
    fn heard(
        &mut self,
        tool: &str,
        outcome: Result<ToolOutput, ToolError>,
        tools: &Tools,
    ) -> Result<String, String> {
        let refused = outcome.as_ref().is_err_and(|error| error.rule().is_some());
        if !refused && !self.tools_used.iter().any(|used| used == tool) {
            self.tools_used.push(tool.to_owned());
        }
        self.read_data |= !refused && !matches!(source_kind(tool), "web" | "system");
        let output = outcome.map_err(|error| {
            self.calls_failed += 1;
            self.sources_down += u32::from(error.is_outage());
            error.to_string()
        })?;
        let text = output.result.to_string();
        self.tables
            .extend(tools.database.base_tables(&output.tables));
        self.sources.push(Source {
            r#type: output
                .source
                .unwrap_or_else(|| source_kind(tool))
                .to_owned(),
            tool: tool.to_owned(),
            statement: output.statement,
            tables: output.tables,
            row_count: output.row_count,
            at: jiff::Timestamp::now().to_string(),
        });
        Ok(text)
    }

    fn finish(self, response: String) -> Result<Stored, AnswerError> {
        if self.sources.is_empty() && self.sources_down > 0 {
            return Err(AnswerError::SourcesDown);
        }
        if response.trim().is_empty() {
            return Err(AnswerError::Limit(
                "the model ended without an answer".into(),
            ));
        }
        Ok(Stored {
            response,
            sources: self.sources,
            tools_used: self.tools_used,
            tokens: self.tokens,
            cost_usd: self.cost_usd,
            baseline_cost_usd: self.baseline_cost_usd,
            tables: self.tables,
            storable: self.calls_failed == 0,
            degraded: self.sources_down > 0,
            made_in_ms: self.began.elapsed().as_secs_f64() * 1e3,
        })
    }
}
