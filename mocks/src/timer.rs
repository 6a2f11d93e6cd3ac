//! Waits to a few microseconds: the runtime's own timer only knows milliseconds, so threads of its own sleep.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

/// How many threads there are at most: one writes a hundred thousand events a second.
const THREADS: usize = 4;

/// Wakes tasks at their time; clones share the threads, which end with the last of them.
#[derive(Clone, Debug)]
pub(crate) struct Timer {
    threads: Arc<Threads>,
    /// The thread that wakes for this one.
    index: usize,
}

#[derive(Debug)]
struct Threads {
    shared: Vec<Arc<Shared>>,
    next: AtomicUsize,
}

#[derive(Debug, Default)]
struct Shared {
    queue: Mutex<Queue>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    waiting: BinaryHeap<Reverse<Waiting>>,
    ended: bool,
}

#[derive(Debug)]
struct Waiting {
    due: Instant,
    waker: Waker,
}

impl Ord for Waiting {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.due.cmp(&other.due)
    }
}

impl PartialOrd for Waiting {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Waiting {
    fn eq(&self, other: &Self) -> bool {
        self.due == other.due
    }
}

impl Eq for Waiting {}

impl Timer {
    pub(crate) fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut threads = Threads {
            shared: Vec::new(),
            next: AtomicUsize::new(0),
        };
        for _ in 0..cores.min(THREADS) {
            let shared = Arc::<Shared>::default();
            threads.shared.push(Arc::clone(&shared));
            std::thread::Builder::new()
                .name("mock-timer".to_owned())
                .spawn(move || shared.run())?;
        }
        Ok(Self {
            threads: Arc::new(threads),
            index: 0,
        })
    }

    /// The same timer, with the next of its threads.
    pub(crate) fn next(&self) -> Self {
        let next = self.threads.next.fetch_add(1, Ordering::Relaxed);
        Self {
            threads: Arc::clone(&self.threads),
            index: next % self.threads.shared.len(),
        }
    }

    /// Ready at `due`.
    pub(crate) fn until(&self, due: Instant) -> Until {
        Until {
            timer: self.clone(),
            due,
            waker: None,
        }
    }

    /// Wakes at `due`, on the timer's own thread.
    pub(crate) fn wake_at(&self, due: Instant, waker: Waker) {
        let shared = &self.threads.shared[self.index];
        let mut queue = shared.lock();
        let first = queue
            .waiting
            .peek()
            .is_none_or(|Reverse(first)| due < first.due);
        queue.waiting.push(Reverse(Waiting { due, waker }));
        drop(queue);
        if first {
            shared.changed.notify_one();
        }
    }
}

impl Drop for Threads {
    fn drop(&mut self) {
        for shared in &self.shared {
            shared.lock().ended = true;
            shared.changed.notify_one();
        }
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self) {
        let mut due = Vec::new();
        let mut queue = self.lock();
        while !queue.ended {
            let now = Instant::now();
            while queue
                .waiting
                .peek()
                .is_some_and(|Reverse(first)| first.due <= now)
            {
                due.extend(queue.waiting.pop().map(|Reverse(first)| first.waker));
            }
            if !due.is_empty() {
                drop(queue);
                due.drain(..).for_each(Waker::wake);
                queue = self.lock();
                continue;
            }
            let first = queue.waiting.peek().map(|Reverse(first)| first.due);
            queue = match first {
                Some(first) => {
                    let waited = self.changed.wait_timeout(queue, first - now);
                    waited.unwrap_or_else(PoisonError::into_inner).0
                }
                None => self
                    .changed
                    .wait(queue)
                    .unwrap_or_else(PoisonError::into_inner),
            };
        }
    }
}

/// Ready at its time.
#[derive(Debug)]
pub(crate) struct Until {
    timer: Timer,
    due: Instant,
    /// Who is to be woken.
    waker: Option<Waker>,
}

impl Future for Until {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.due {
            return Poll::Ready(());
        }
        let known = self.waker.as_ref();
        if !known.is_some_and(|waker| waker.will_wake(context.waker())) {
            self.timer.wake_at(self.due, context.waker().clone());
            self.waker = Some(context.waker().clone());
        }
        Poll::Pending
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[tokio::test]
    async fn nobody_is_woken_early_and_all_are_woken() {
        let timer = Timer::start().unwrap();
        let began = Instant::now();
        let waits = (0..200_u64).map(|index| {
            let due = began + Duration::from_micros(index * 7_919 % 20_000);
            let wait = timer.until(due);
            async move {
                wait.await;
                assert!(Instant::now() >= due);
            }
        });
        futures_util::future::join_all(waits).await;
    }
}
