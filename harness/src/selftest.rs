//! The judge judged: runs are simulated whose truth is known, and it is counted how often the verdict is wrong.

mod gates;
mod series;

use serde::Serialize;

/// How often something happened that should, or should not, in simulated runs of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// What was simulated.
    pub case: String,
    /// What was counted.
    pub counted: &'static str,
    /// Of so many runs.
    pub runs: u32,
    /// In how many of them.
    pub times: u32,
    /// The share that it may have, at least and at most.
    pub allowed: (f64, f64),
    /// Whether the share can be one that is allowed, for all that so many runs can say.
    pub kept: bool,
}

impl Row {
    /// By few runs a share is only known roughly: it is broken when it surely lies outside.
    fn new(case: &str, counted: &'static str, runs: u32, times: u32, allowed: (f64, f64)) -> Self {
        const SURE: f64 = 0.01;
        let (lower, upper) = crate::statistics::share_bounds(times.into(), runs.into(), SURE);
        Self {
            case: case.to_owned(),
            counted,
            runs,
            times,
            allowed,
            kept: lower <= allowed.1 && upper >= allowed.0,
        }
    }

    /// In how many of a hundred runs.
    pub fn percent(&self) -> f64 {
        f64::from(self.times) / f64::from(self.runs.max(1)) * 100.0
    }
}

/// Simulates so many runs of each kind.
pub fn statistics(runs: u32, seed: u64) -> Vec<Row> {
    gates::rows(runs, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_outside_of_what_is_allowed_is_told_once_there_are_runs_enough() {
        let kept = |runs, times| Row::new("", "", runs, times, (0.0, 0.01)).kept;
        assert!(kept(1000, 10) && kept(100, 3));
        assert!(!kept(1000, 30) && !kept(100, 10));
    }
}
