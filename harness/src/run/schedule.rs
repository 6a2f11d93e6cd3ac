//! Which scenario is replayed when: side by side, but for those whose own time is judged. They wait until the others
//! are done, and have the machine to themselves.

use super::Config;
use crate::gates::{Limit, Subject};
use crate::target::Target;
use std::collections::VecDeque;
use std::future::Future;
use tokio::task::JoinSet;

/// How many scenarios go on at once: most of a scenario is waiting, so more than there are cores.
pub(super) fn at_once(config: &Config) -> usize {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    match config.target {
        // Its mocks have one address, and what it keeps is shared by all scenarios.
        Target::Http(_) => 1,
        Target::Reference { .. } | Target::Command(_) => config.jobs.unwrap_or(2 * cores).max(1),
    }
}

/// True where others beside it would be measured with it.
pub(super) fn is_alone(limits: &[Limit]) -> bool {
    limits
        .iter()
        .any(|limit| matches!(limit.subject, Subject::Quantile { .. }))
}

/// The jobs that wait, and those that go on.
#[derive(Debug)]
pub(super) struct Schedule<J, T> {
    shared: VecDeque<J>,
    alone: VecDeque<J>,
    running: JoinSet<T>,
    at_once: usize,
}

impl<J, T: Send + 'static> Schedule<J, T> {
    /// Those that share go first, each in the order given.
    pub(super) fn new(jobs: impl Iterator<Item = (J, bool)>, at_once: usize) -> Self {
        let mut schedule = Self {
            shared: VecDeque::new(),
            alone: VecDeque::new(),
            running: JoinSet::new(),
            at_once,
        };
        for (job, is_alone) in jobs {
            if is_alone {
                schedule.alone.push_back(job);
            } else {
                schedule.shared.push_back(job);
            }
        }
        schedule
    }

    /// What is done next; none when everything is. Cancelled, it loses nothing.
    pub(super) async fn next<F: Future<Output = T> + Send + 'static>(
        &mut self,
        mut start: impl FnMut(J) -> F,
    ) -> Option<T> {
        while self.running.len() < self.at_once
            && let Some(job) = self.shared.pop_front()
        {
            self.running.spawn(start(job));
        }
        if self.running.is_empty()
            && let Some(job) = self.alone.pop_front()
        {
            self.running.spawn(start(job));
        }
        let ended = self.running.join_next().await?;
        Some(ended.unwrap_or_else(|error| match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            // Nobody but `stop` cancels, and after it nothing is asked for.
            Err(_) => unreachable!("a scenario was cancelled"),
        }))
    }

    /// Ends what goes on, and returns when it has ended.
    pub(super) async fn stop(mut self) {
        self.running.shutdown().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

    #[tokio::test]
    async fn a_job_alone_waits_for_the_others_and_has_none_beside_it() {
        let going_on = Arc::new(AtomicUsize::new(0));
        let jobs = [(0, true), (1, false), (2, false), (3, true), (4, false)];
        let mut schedule = Schedule::new(jobs.into_iter(), 2);
        let mut ended = Vec::new();
        let start = |job: usize| {
            let going_on = going_on.clone();
            async move {
                let beside = going_on.fetch_add(1, SeqCst);
                tokio::task::yield_now().await;
                going_on.fetch_sub(1, SeqCst);
                (job, beside)
            }
        };
        while let Some(job) = schedule.next(start).await {
            ended.push(job);
        }
        assert!(ended.iter().all(|(_, beside)| *beside < 2), "{ended:?}");
        let order: Vec<usize> = ended.iter().map(|(job, _)| *job).collect();
        assert_eq!(order[3..], [0, 3]);
        assert_eq!((ended[3].1, ended[4].1), (0, 0));
    }

    #[tokio::test]
    async fn what_is_stopped_goes_on_no_more() {
        let kept = Arc::new(());
        let mut schedule = Schedule::new([(0, false), (1, false)].into_iter(), 2);
        let start = |job: usize| {
            let kept = kept.clone();
            async move {
                if job == 1 {
                    std::future::pending::<()>().await;
                }
                drop(kept);
                job
            }
        };
        assert_eq!(schedule.next(start).await, Some(0));
        assert_eq!(Arc::strong_count(&kept), 2);
        schedule.stop().await;
        assert_eq!(Arc::strong_count(&kept), 1);
    }
}
