//! Executions that are meant for later.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use serde_json::{Value, json};

use super::execution::Execution;
use super::refusal::Refusal;
use crate::stage::lock;

/// All of them, oldest first.
#[derive(Debug, Default)]
pub(super) struct Scheduled {
    all: Mutex<BTreeMap<usize, Value>>,
}

impl Scheduled {
    pub(super) fn clear(&self) {
        lock(&self.all).clear();
    }

    /// Notes an execution; returns how long it has to wait.
    pub(super) fn add(
        &self,
        execution: &Execution,
        run_at: &str,
        id: &str,
    ) -> Result<Duration, Refusal> {
        let wrong = |_| {
            Refusal::bad(format!(
                "run_at must be a time such as 2026-11-23T12:00:00, not `{run_at}`"
            ))
        };
        let at = if let Ok(at) = run_at.parse::<Timestamp>() {
            at
        } else {
            let civil: DateTime = run_at.parse().map_err(wrong)?;
            TimeZone::UTC.to_timestamp(civil).map_err(wrong)?
        };
        let now = Timestamp::now();
        let tool = &execution.tool;
        let mut all = lock(&self.all);
        let number = all.last_key_value().map_or(0, |(last, _)| last + 1);
        let shown = json!({
            "id": id,
            "execution_type": "scheduled",
            "execution_status": "scheduled",
            "tool_name": tool.short(),
            "toolkit_name": tool.toolkit(),
            "toolkit_version": tool.version,
            "user_id": execution.user,
            "run_at": run_at,
            "created_at": now.to_string(),
            "updated_at": now.to_string(),
            "started_at": null,
            "finished_at": null,
            "input": execution.input,
            "attempts": [],
        });
        all.insert(number, shown);
        Ok(Duration::try_from(at.duration_since(now)).unwrap_or_default())
    }

    pub(super) fn start(&self, id: &str) {
        let now = json!(Timestamp::now().to_string());
        self.change(id, |shown| {
            shown["execution_status"] = json!("running");
            shown["updated_at"] = now.clone();
            shown["started_at"] = now;
        });
    }

    pub(super) fn finish(&self, id: &str, done: &Value) {
        self.change(id, |shown| {
            shown["execution_status"] = done["status"].clone();
            shown["finished_at"] = done["finished_at"].clone();
            shown["updated_at"] = done["finished_at"].clone();
            shown["attempts"] = json!([{
                "id": done["execution_id"],
                "success": done["success"],
                "started_at": shown["started_at"],
                "finished_at": done["finished_at"],
                "output": done["output"],
            }]);
        });
    }

    /// Without what only the details tell.
    pub(super) fn all(&self) -> Vec<Value> {
        let all = lock(&self.all);
        let shown = all.values().map(|shown| {
            let mut shown = shown.clone();
            if let Some(fields) = shown.as_object_mut() {
                fields.remove("input");
                fields.remove("attempts");
            }
            shown
        });
        shown.collect()
    }

    pub(super) fn one(&self, id: &str) -> Result<Value, Refusal> {
        let all = lock(&self.all);
        let found = all.values().find(|shown| shown["id"] == id);
        found
            .cloned()
            .ok_or_else(|| Refusal::not_found(&format!("scheduled execution `{id}` not found")))
    }

    fn change(&self, id: &str, change: impl FnOnce(&mut Value)) {
        let mut all = lock(&self.all);
        if let Some(shown) = all.values_mut().find(|shown| shown["id"] == id) {
            change(shown);
        }
    }
}
