//! The questions of late, by their ids: what is being answered, and what was answered.

use crate::answer::AnswerError;
use crate::flight::Flight;
use bytes::Bytes;
use fact_wire::{ErrorDetail, Progress, QueryState};
use serde_json::json;
use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Answers that are remembered, the last ones.
const REMEMBERED: usize = 4_096;
const REMEMBERED_BYTES: usize = 32 << 20;

/// All of them. Clones share them.
#[derive(Debug, Clone, Default)]
pub(crate) struct Queries(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    all: HashMap<String, Entry>,
    /// Those that have ended, the oldest first.
    ended: VecDeque<String>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    client_id: String,
    state: State,
}

#[derive(Debug)]
enum State {
    UnderWay(Arc<Flight<AnswerError>>),
    /// The answer as it was sent.
    Answered(Bytes),
    Failed(ErrorDetail),
}

impl State {
    fn bytes(&self) -> usize {
        match self {
            Self::Answered(body) => body.len() + 256,
            Self::UnderWay(_) | Self::Failed(_) => 512,
        }
    }
}

/// A question that is being answered. Dropped before its end, it is forgotten: its asker has left.
#[derive(Debug)]
pub(crate) struct Asked {
    queries: Queries,
    id: String,
    client_id: String,
    ended: bool,
}

impl Queries {
    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A question with an id of its own.
    pub(crate) fn ask(&self, client_id: &str) -> Asked {
        Asked {
            queries: self.clone(),
            id: format!("qry_{:032x}", rand::random::<u128>()),
            client_id: client_id.to_owned(),
            ended: false,
        }
    }

    /// How far a client's own question is.
    pub(crate) fn state(&self, id: &str, client_id: &str) -> Option<QueryState> {
        let inner = self.inner();
        let entry = inner
            .all
            .get(id)
            .filter(|entry| entry.client_id == client_id)?;
        let mut state = QueryState {
            query_id: id.to_owned(),
            status: Progress::Processing,
            progress: None,
            result: None,
            error: None,
        };
        match &entry.state {
            State::UnderWay(flight) => {
                state.progress = flight
                    .feed()
                    .last_step()
                    .map(|step| json!({ "step": step }));
            }
            State::Answered(body) => {
                state.status = Progress::Completed;
                state.result = serde_json::from_slice(body).ok();
            }
            State::Failed(error) => {
                state.status = Progress::Failed;
                state.error = Some(error.clone());
            }
        }
        Some(state)
    }
}

impl Asked {
    /// Its id.
    pub(crate) fn id(&self) -> &str {
        &self.id
    }

    /// It is being answered.
    pub(crate) fn under_way(&self, flight: Arc<Flight<AnswerError>>) {
        let entry = Entry {
            client_id: self.client_id.clone(),
            state: State::UnderWay(flight),
        };
        self.queries.inner().all.insert(self.id.clone(), entry);
    }

    /// It was answered with these bytes.
    pub(crate) fn answered(self, body: Bytes) {
        self.end(State::Answered(body));
    }

    /// It was not answered.
    pub(crate) fn failed(self, error: ErrorDetail) {
        self.end(State::Failed(error));
    }

    fn end(mut self, state: State) {
        self.ended = true;
        let mut inner = self.queries.inner();
        inner.bytes += state.bytes();
        inner.ended.push_back(self.id.clone());
        let entry = Entry {
            client_id: std::mem::take(&mut self.client_id),
            state,
        };
        inner.all.insert(self.id.clone(), entry);
        while inner.ended.len() > REMEMBERED || inner.bytes > REMEMBERED_BYTES {
            let oldest = inner.ended.pop_front();
            let Some(entry) = oldest.and_then(|id| inner.all.remove(&id)) else {
                break;
            };
            inner.bytes = inner.bytes.saturating_sub(entry.state.bytes());
        }
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        if !self.ended {
            self.queries.inner().all.remove(&self.id);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_asker_sees_it_and_the_oldest_is_forgotten() {
        let queries = Queries::default();
        let mut ids = Vec::new();
        for _ in 0..=REMEMBERED {
            let asked = queries.ask("alice");
            ids.push(asked.id().to_owned());
            asked.answered(Bytes::from_static(b"{}"));
        }
        assert!(queries.state(&ids[0], "alice").is_none());
        assert!(queries.state(&ids[1], "alice").is_some());
        assert!(queries.state(&ids[1], "bob").is_none());
        assert_eq!(queries.inner().all.len(), REMEMBERED);
    }

    #[test]
    fn a_question_whose_asker_left_is_forgotten() {
        let queries = Queries::default();
        let asked = queries.ask("alice");
        let id = asked.id().to_owned();
        asked.under_way(Flight::new().0);
        let state = queries.state(&id, "alice").map(|state| state.status);
        assert_eq!(state, Some(Progress::Processing));
        drop(asked);
        assert!(queries.state(&id, "alice").is_none());
    }
}
