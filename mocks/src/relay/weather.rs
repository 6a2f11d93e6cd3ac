//! What goes wrong between a target and its database: answers are late, nothing comes, or the connections are gone.

use crate::clock::Clock;
use crate::script::{DatabaseFault, DatabaseFaultKind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// How often it is looked whether something has begun or ended.
pub(super) const TICK: Duration = Duration::from_millis(5);

/// The faults, and since when they count.
#[derive(Debug)]
pub(super) struct Weather {
    clock: Clock,
    faults: Mutex<(u64, Vec<DatabaseFault>)>,
}

impl Weather {
    /// Nothing goes wrong.
    pub(super) fn fair(clock: Clock) -> Self {
        Self {
            clock,
            faults: Mutex::default(),
        }
    }

    /// From now on it is so.
    pub(super) fn set(&self, faults: Vec<DatabaseFault>) {
        let mut current = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *current = (self.clock.now_ns(), faults);
    }

    /// The faults at this moment.
    fn now(&self) -> Vec<DatabaseFault> {
        let current = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        let (since, faults) = &*current;
        let ns = self.clock.now_ns().saturating_sub(*since);
        let open = |fault: &&DatabaseFault| fault.window.is_none_or(|window| window.is_open(ns));
        faults.iter().filter(open).copied().collect()
    }

    /// Whether nobody is let in, and whoever is in is thrown out.
    pub(super) fn is_down(&self) -> bool {
        let down = |fault: &DatabaseFault| fault.kind == DatabaseFaultKind::Down;
        self.now().iter().any(down)
    }

    /// Waits as long as an answer has to wait.
    pub(super) async fn hold_answer(&self) {
        let faults = self.now();
        let slow = faults.iter().filter_map(|fault| match fault.kind {
            DatabaseFaultKind::Slow(delay) => Some(delay.0),
            DatabaseFaultKind::Down | DatabaseFaultKind::Hang => None,
        });
        if let Some(longest) = slow.max() {
            tokio::time::sleep(longest).await;
        }
        while self
            .now()
            .iter()
            .any(|fault| fault.kind == DatabaseFaultKind::Hang)
        {
            tokio::time::sleep(TICK).await;
        }
    }
}
