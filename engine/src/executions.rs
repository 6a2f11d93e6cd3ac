//! Tool calls whose result is fetched later: those under way, and for an hour those that have ended, each its caller's own.

use crate::store::{Kind, Store, StoreError, now};
use fact_wire::{ErrorDetail, ExecutionState, ExecutionStatus};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio_util::task::TaskTracker;

/// How long a result waits to be fetched.
const KEPT_SECONDS: i64 = 3_600;
/// Under way, of one client.
const MOST_RUNNING: usize = 64;
/// Ended and kept, of all clients; the oldest go first.
const MOST_KEPT: usize = 4_096;

/// Why a call is not begun.
#[derive(Debug, thiserror::Error)]
pub(crate) enum BeginError {
    /// The client has enough of them.
    #[error("at most {MOST_RUNNING} asynchronous calls of a client run at once")]
    Busy,
    /// It cannot be remembered.
    #[error(transparent)]
    Store(#[from] StoreError),
}

#[derive(Debug, Serialize, Deserialize)]
struct Record {
    client_id: String,
    state: ExecutionState,
}

#[derive(Debug, Default)]
struct Known {
    /// Client by execution.
    running: HashMap<String, String>,
    ended: VecDeque<String>,
}

/// The calls. Clones share them.
#[derive(Debug, Clone)]
pub(crate) struct Executions {
    store: Store,
    known: Arc<Mutex<Known>>,
    /// Those under way; the drain waits for them.
    pub(crate) tasks: TaskTracker,
}

/// A call that was begun.
#[derive(Debug)]
pub(crate) struct Begun {
    executions: Executions,
    client_id: String,
    state: ExecutionState,
}

impl Executions {
    pub(crate) fn new(store: Store) -> Self {
        Self {
            store,
            known: Arc::default(),
            tasks: TaskTracker::new(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers a call of this client's.
    pub(crate) async fn begin(&self, client_id: &str, tool: &str) -> Result<Begun, BeginError> {
        let state = ExecutionState {
            execution_id: id(),
            tool_name: tool.to_owned(),
            status: ExecutionStatus::Processing,
            result: None,
            error: None,
        };
        {
            let mut known = self.lock();
            let own = known.running.values().filter(|other| *other == client_id);
            if own.count() >= MOST_RUNNING {
                return Err(BeginError::Busy);
            }
            let id = state.execution_id.clone();
            known.running.insert(id, client_id.to_owned());
        }
        let begun = Begun {
            executions: self.clone(),
            client_id: client_id.to_owned(),
            state,
        };
        begun.keep().await?;
        Ok(begun)
    }

    /// How far a call of this client's is.
    pub(crate) async fn find(
        &self,
        client_id: &str,
        id: &str,
    ) -> Result<Option<ExecutionState>, StoreError> {
        let record: Option<Record> = self.store.get(Kind::Execution, id).await?;
        let own = record.filter(|record| record.client_id == client_id);
        let Some(Record { mut state, .. }) = own else {
            return Ok(None);
        };
        if state.status == ExecutionStatus::Processing && !self.lock().running.contains_key(id) {
            // It may have ended since it was read; else its engine has.
            let again: Option<Record> = self.store.get(Kind::Execution, id).await?;
            state = again.map_or(state, |record| record.state);
            if state.status == ExecutionStatus::Processing {
                state.status = ExecutionStatus::Failed;
                state.error = Some(ErrorDetail {
                    code: fact_wire::ErrorCode::Internal,
                    message: "the engine was stopped before the tool had answered".into(),
                    details: None,
                    trace_id: String::new(),
                });
            }
        }
        Ok(Some(state))
    }
}

impl Begun {
    pub(crate) fn state(&self) -> &ExecutionState {
        &self.state
    }

    /// Keeps what came of it.
    pub(crate) async fn end(mut self, outcome: Result<Value, ErrorDetail>) {
        match outcome {
            Ok(result) => {
                self.state.status = ExecutionStatus::Success;
                self.state.result = Some(result);
            }
            Err(error) => {
                self.state.status = ExecutionStatus::Failed;
                self.state.error = Some(error);
            }
        }
        if let Err(error) = self.keep().await {
            tracing::error!(%error, "the result of a tool call could not be kept");
        }
        let oldest = {
            let mut known = self.executions.lock();
            known.ended.push_back(self.state.execution_id.clone());
            let over = known.ended.len() > MOST_KEPT;
            over.then(|| known.ended.pop_front()).flatten()
        };
        if let Some(oldest) = oldest {
            drop(self.executions.store.remove(Kind::Execution, &oldest).await);
        }
    }

    async fn keep(&self) -> Result<(), StoreError> {
        let record = Record {
            client_id: self.client_id.clone(),
            state: self.state.clone(),
        };
        let id = &record.state.execution_id;
        let until = Some(now() + KEPT_SECONDS);
        let store = &self.executions.store;
        store.put(Kind::Execution, id, &record, until).await
    }
}

impl Drop for Begun {
    fn drop(&mut self) {
        self.executions
            .lock()
            .running
            .remove(&self.state.execution_id);
    }
}

/// A name for a call.
pub(crate) fn id() -> String {
    format!("exe_{:032x}", rand::random::<u128>())
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    async fn executions() -> (tempfile::TempDir, Executions) {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::in_folder(folder.path()).await.unwrap();
        (folder, Executions::new(store))
    }

    #[tokio::test]
    async fn a_result_waits_for_its_caller_and_nobody_else() {
        let (_folder, executions) = executions().await;
        let begun = executions.begin("alice", "A.B").await.unwrap();
        let id = begun.state().execution_id.clone();
        let find = |client: &'static str| executions.find(client, &id);
        let status = find("alice").await.unwrap().unwrap().status;
        assert_eq!(status, ExecutionStatus::Processing);
        assert!(find("bob").await.unwrap().is_none());
        begun.end(Ok(json!(42))).await;
        let state = find("alice").await.unwrap().unwrap();
        assert_eq!(
            (state.status, state.result),
            (ExecutionStatus::Success, Some(json!(42)))
        );
        assert!(find("bob").await.unwrap().is_none());
        // After a restart too.
        let later = Executions::new(executions.store.clone());
        assert!(later.find("alice", &id).await.unwrap().is_some());
    }

    #[tokio::test]
    async fn what_the_engine_did_not_live_to_see_has_failed() {
        let (_folder, executions) = executions().await;
        let begun = executions.begin("alice", "A.B").await.unwrap();
        let id = begun.state().execution_id.clone();
        drop(begun);
        let state = executions.find("alice", &id).await.unwrap().unwrap();
        assert_eq!(state.status, ExecutionStatus::Failed);
        assert!(state.error.is_some());
    }

    #[tokio::test]
    async fn a_client_has_so_many_under_way_and_no_more() {
        let (_folder, executions) = executions().await;
        let mut begun = Vec::new();
        for _ in 0..MOST_RUNNING {
            begun.push(executions.begin("alice", "A.B").await.unwrap());
        }
        let refused = executions.begin("alice", "A.B").await;
        assert!(matches!(refused, Err(BeginError::Busy)));
        assert!(executions.begin("bob", "A.B").await.is_ok());
        begun.pop();
        assert!(executions.begin("alice", "A.B").await.is_ok());
    }
}
