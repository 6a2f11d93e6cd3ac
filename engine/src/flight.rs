//! One conversation for all who ask the same at once: what it says meanwhile, what came of it, and who still waits for it.
//! When nobody waits any more it is given up.

use crate::cache::Stored;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// What a conversation says before it ends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Said {
    /// What it does now, and with which tool.
    Step(&'static str, Option<String>),
    /// A piece of text, and the turn that it belongs to.
    Text(u32, String),
}

/// What a conversation says, for any number of listeners, whenever they come.
#[derive(Debug, Default)]
pub struct Feed {
    said: Mutex<Vec<Said>>,
    grown: watch::Sender<usize>,
}

impl Feed {
    /// Tells all listeners.
    pub fn say(&self, said: Said) {
        let mut all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.push(said);
        self.grown.send_replace(all.len());
    }

    /// What was said last.
    pub fn last_step(&self) -> Option<&'static str> {
        let all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().rev().find_map(|said| match said {
            Said::Step(step, _) => Some(*step),
            Said::Text(..) => None,
        })
    }

    fn from(&self, next: usize) -> Vec<Said> {
        let all = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        all.get(next..).unwrap_or_default().to_vec()
    }
}

/// What all who wait are told: the answer and whether it was stored, or why there is none.
pub type Made<E> = Result<(Arc<Stored>, bool), E>;

/// A conversation under way.
#[derive(Debug)]
pub struct Flight<E> {
    feed: Feed,
    outcome: watch::Sender<Option<Made<E>>>,
    /// Those who wait for it.
    seats: AtomicUsize,
    given_up: CancellationToken,
}

impl<E: Clone> Flight<E> {
    /// With one seat taken.
    pub fn new() -> (Arc<Self>, Seat<E>) {
        let flight = Arc::new(Self {
            feed: Feed::default(),
            outcome: watch::Sender::new(None),
            seats: AtomicUsize::new(1),
            given_up: CancellationToken::new(),
        });
        (flight.clone(), Seat { flight, heard: 0 })
    }

    /// Takes a seat; nobody can where it was given up.
    pub fn join(self: &Arc<Self>) -> Option<Seat<E>> {
        let join = |seats: usize| (seats > 0).then_some(seats + 1);
        self.seats
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, join)
            .ok()?;
        Some(Seat {
            flight: self.clone(),
            heard: 0,
        })
    }

    /// Where it says what it does.
    pub fn feed(&self) -> &Feed {
        &self.feed
    }

    /// What came of it.
    pub fn land(&self, made: Made<E>) {
        self.outcome.send_replace(Some(made));
    }

    /// Whether anything came of it.
    pub fn has_landed(&self) -> bool {
        self.outcome.borrow().is_some()
    }

    /// Resolves once nobody waits any more.
    pub async fn given_up(&self) {
        self.given_up.cancelled().await;
    }
}

/// The right to be told, and what keeps the conversation going.
#[derive(Debug)]
pub struct Seat<E> {
    flight: Arc<Flight<E>>,
    heard: usize,
}

impl<E: Clone> Seat<E> {
    /// The conversation.
    pub fn flight(&self) -> &Arc<Flight<E>> {
        &self.flight
    }

    /// What came of it, once it has come; nothing where its maker is gone.
    pub async fn landed(&self) -> Option<Made<E>> {
        let mut outcome = self.flight.outcome.subscribe();
        let made = outcome.wait_for(Option::is_some).await.ok()?;
        made.clone()
    }

    /// What was said since the last time, once there is something; nothing any more once all is heard and it has ended.
    pub async fn hear(&mut self) -> Vec<Said> {
        let mut grown = self.flight.feed.grown.subscribe();
        let mut outcome = self.flight.outcome.subscribe();
        loop {
            let landed = outcome.borrow_and_update().is_some();
            let said = self.flight.feed.from(self.heard);
            self.heard += said.len();
            if !said.is_empty() || landed {
                return said;
            }
            tokio::select! {
                changed = grown.changed() => drop(changed),
                changed = outcome.changed() => drop(changed),
            }
        }
    }
}

impl<E> Drop for Seat<E> {
    fn drop(&mut self) {
        if self.flight.seats.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.flight.given_up.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_goes_on_while_anybody_waits_and_nobody_joins_what_was_given_up() {
        let (flight, first) = Flight::<()>::new();
        let second = flight.join().unwrap();
        drop(first);
        assert!(!flight.given_up.is_cancelled());
        drop(second);
        flight.given_up().await;
        assert!(flight.join().is_none());
    }

    #[tokio::test]
    async fn whoever_comes_late_hears_everything_and_then_the_end() {
        let (flight, mut seat) = Flight::<()>::new();
        flight.feed().say(Said::Step("model", None));
        flight.feed().say(Said::Text(1, "a".into()));
        assert_eq!(seat.hear().await.len(), 2);
        flight.feed().say(Said::Text(1, "b".into()));
        flight.land(Err(()));
        assert_eq!(seat.hear().await, [Said::Text(1, "b".into())]);
        assert!(seat.hear().await.is_empty());
        assert_eq!(flight.join().unwrap().hear().await.len(), 3);
        assert!(matches!(seat.landed().await, Some(Err(()))));
    }
}
