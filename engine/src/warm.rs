//! Warming: questions are asked as their caller would ask them, so that their answers are there when they are needed.

use crate::answer::{Answering, Question};
use crate::auth::Principal;
use crate::store::{Kind, Store, StoreError, now};
use fact_wire::{CacheOptions, Progress, WarmingJob};
use futures_util::StreamExt as _;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Questions of one job that are asked at the same time.
const AT_ONCE: usize = 4;
/// Jobs of all clients at the same time.
const MOST_JOBS: usize = 32;
/// A job's outcome is told so long.
const KEPT_SECONDS: i64 = 24 * 3600;

/// What is kept of a job.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
struct Record {
    client_id: String,
    scopes: Vec<String>,
    queries: Vec<String>,
    job: WarmingJob,
}

/// All jobs. Clones share them.
#[derive(Debug, Clone)]
pub struct Warming {
    store: Store,
    /// Those that run.
    running: Arc<Mutex<HashMap<String, Record>>>,
}

/// Why no job was begun.
#[derive(Debug, thiserror::Error)]
pub enum WarmError {
    /// Enough of them run.
    #[error("enough warming jobs are running at the moment")]
    Busy,
    /// It could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Warming {
    /// Kept in this store.
    pub fn new(store: Store) -> Self {
        Self {
            store,
            running: Arc::default(),
        }
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Record>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins a job.
    pub async fn begin(
        &self,
        answering: &Answering,
        principal: Arc<Principal>,
        queries: Vec<String>,
        trace_id: String,
    ) -> Result<WarmingJob, WarmError> {
        if self.running().len() >= MOST_JOBS {
            return Err(WarmError::Busy);
        }
        let id = format!("warm_{:032x}", rand::random::<u128>());
        let record = Record {
            client_id: principal.client.id.clone(),
            scopes: principal.scopes.clone(),
            job: WarmingJob {
                progress_url: format!("/api/v1/cache/warm/{id}/status"),
                warming_job_id: id,
                status: Progress::Processing,
                total_queries: queries.len(),
                completed_queries: 0,
                failed_queries: 0,
                started_at: jiff::Timestamp::now().to_string(),
                finished_at: None,
            },
            queries,
        };
        self.keep(&record).await?;
        let job = record.job.clone();
        self.run(answering, principal, record, trace_id);
        Ok(job)
    }

    /// Goes on with what a restart has interrupted: the answers that were there are gone with the memory that held them.
    pub async fn resume(
        &self,
        answering: &Answering,
        principal: impl Fn(&str, &[String]) -> Option<Arc<Principal>>,
    ) -> Result<(), StoreError> {
        for (_, mut record) in self.store.all::<Record>(Kind::Job).await? {
            if record.job.status != Progress::Processing {
                continue;
            }
            record.job.completed_queries = 0;
            record.job.failed_queries = 0;
            if let Some(principal) = principal(&record.client_id, &record.scopes) {
                let trace_id = record.job.warming_job_id.replace("warm_", "");
                self.run(answering, principal, record, trace_id);
            } else {
                record.job.status = Progress::Failed;
                self.keep(&record).await?;
            }
        }
        Ok(())
    }

    /// How far a client's own job is.
    pub async fn status(
        &self,
        id: &str,
        client_id: &str,
    ) -> Result<Option<WarmingJob>, StoreError> {
        let running = self.running().get(id).cloned();
        let record = match running {
            Some(record) => Some(record),
            None => self.store.get::<Record>(Kind::Job, id).await?,
        };
        Ok(record
            .filter(|record| record.client_id == client_id)
            .map(|record| record.job))
    }

    async fn keep(&self, record: &Record) -> Result<(), StoreError> {
        let expires = Some(now() + KEPT_SECONDS);
        self.store
            .put(Kind::Job, &record.job.warming_job_id, record, expires)
            .await
    }

    fn run(
        &self,
        answering: &Answering,
        principal: Arc<Principal>,
        record: Record,
        trace_id: String,
    ) {
        let id = record.job.warming_job_id.clone();
        self.running().insert(id.clone(), record.clone());
        let (warming, asking) = (self.clone(), answering.clone());
        answering.conversations.spawn(async move {
            let mut answers = futures_util::stream::iter(record.queries)
                .map(|text| {
                    asking.answer(Question {
                        text,
                        person: principal.client.id.clone(),
                        principal: principal.clone(),
                        history: Vec::new(),
                        cache: CacheOptions::default(),
                        streamed: false,
                        trace_id: trace_id.clone(),
                    })
                })
                .buffer_unordered(AT_ONCE);
            while let Some(answer) = answers.next().await {
                let there = answer.is_ok_and(|answered| answered.answer.storable);
                if let Some(record) = warming.running().get_mut(&id) {
                    if there {
                        record.job.completed_queries += 1;
                    } else {
                        record.job.failed_queries += 1;
                    }
                }
            }
            warming.finish(&id).await;
        });
    }

    async fn finish(&self, id: &str) {
        let Some(mut record) = self.running().get(id).cloned() else {
            return;
        };
        record.job.status = if record.job.completed_queries > 0 {
            Progress::Completed
        } else {
            Progress::Failed
        };
        record.job.finished_at = Some(jiff::Timestamp::now().to_string());
        if let Err(error) = self.keep(&record).await {
            tracing::error!(%error, "the end of a warming job could not be kept");
        }
        self.running().remove(id);
    }
}
