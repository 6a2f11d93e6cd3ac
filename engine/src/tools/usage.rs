//! What each tenant has made of each tool since the start.

use fact_wire::{ToolLatency, ToolUsage};
use jiff::Timestamp;
use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

/// Over so many calls percentiles are taken.
const LATEST: usize = 256;

/// How a call ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Ended {
    Success,
    Failure,
    /// It never ran.
    Refused,
}

#[derive(Debug, Default)]
struct Figures {
    calls: u64,
    failures: u64,
    refusals: u64,
    total: Duration,
    latest: VecDeque<Duration>,
    last_used: Option<Timestamp>,
}

/// The figures, by tenant and tool. Only tools that exist are counted, so that there are no more than those.
#[derive(Debug, Default)]
pub(super) struct Usage(Mutex<HashMap<String, HashMap<String, Figures>>>);

impl Usage {
    pub(super) fn count(
        &self,
        (tenant, tool): (&str, &str),
        ended: Ended,
        latency: Duration,
        now: Timestamp,
    ) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !all.contains_key(tenant) {
            all.insert(tenant.to_owned(), HashMap::new());
        }
        let Some(own) = all.get_mut(tenant) else {
            return;
        };
        if !own.contains_key(tool) {
            own.insert(tool.to_owned(), Figures::default());
        }
        let Some(figures) = own.get_mut(tool) else {
            return;
        };
        figures.last_used = Some(now);
        if ended == Ended::Refused {
            figures.refusals += 1;
            return;
        }
        figures.calls += 1;
        figures.failures += u64::from(ended == Ended::Failure);
        figures.total += latency;
        if figures.latest.len() == LATEST {
            figures.latest.pop_front();
        }
        figures.latest.push_back(latency);
    }

    pub(super) fn of(&self, tenant: &str, tool: &str) -> ToolUsage {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let figures = all.get(tenant).and_then(|own| own.get(tool));
        figures.map(Figures::told).unwrap_or_default()
    }

    /// A tool that is gone takes its figures along.
    pub(super) fn forget(&self, tenant: &str, tool: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = all.get_mut(tenant) {
            own.remove(tool);
        }
    }
}

impl Figures {
    fn told(&self) -> ToolUsage {
        let mut latest: Vec<Duration> = self.latest.iter().copied().collect();
        latest.sort_unstable();
        let at = |percent: usize| {
            let rank = (latest.len() * percent).div_ceil(100).max(1);
            latest.get(rank - 1).copied().map(milliseconds)
        };
        #[expect(clippy::cast_precision_loss, reason = "a number of calls")]
        let latency_ms = at(50).zip(at(95)).map(|(p50, p95)| ToolLatency {
            mean: milliseconds(self.total) / self.calls as f64,
            p50,
            p95,
        });
        ToolUsage {
            calls: self.calls,
            failures: self.failures,
            refusals: self.refusals,
            latency_ms,
            last_used_at: self.last_used.map(|at| at.to_string()),
        }
    }
}

fn milliseconds(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_failures_and_refusals_are_told_apart_by_tenant() {
        let usage = Usage::default();
        let count = |tenant: &str, ended, ms| {
            let latency = Duration::from_millis(ms);
            usage.count((tenant, "A.B"), ended, latency, Timestamp::UNIX_EPOCH);
        };
        for ms in 1..=300 {
            count("acme", Ended::Success, ms);
        }
        count("acme", Ended::Failure, 301);
        count("acme", Ended::Refused, 9_000);
        count("globex", Ended::Success, 5);
        let told = usage.of("acme", "A.B");
        assert_eq!((told.calls, told.failures, told.refusals), (301, 1, 1));
        let latency = told.latency_ms.unwrap();
        assert_eq!(
            (latency.mean, latency.p50, latency.p95),
            (151.0, 173.0, 289.0)
        );
        assert_eq!(usage.of("globex", "A.B").calls, 1);
        usage.forget("acme", "A.B");
        assert_eq!(usage.of("acme", "A.B"), ToolUsage::default());
    }
}
