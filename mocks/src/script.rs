//! What a scenario tells the mocks to say, how fast, and where to fail.

mod arcade;
mod database;
mod fault;
mod latency;
mod millis;
mod recording;
mod rule;

pub use arcade::{ArcadeScript, ArcadeTool, ToolAuthorization};
pub use database::{DatabaseFault, DatabaseFaultKind};
pub use fault::{Fault, Outage, OutageKind, RetryAfterForm, Trickle, Window};
pub use latency::{Distribution, Empirical, Latency};
pub use millis::{BadMillis, Millis};
pub use recording::{Recorded, Recording};
pub use rule::{RawEvent, RawResponse, RawRule, Route, Rule, When};

use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What Claude does in a scenario (`claude:`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct ClaudeScript {
    /// How long answers take.
    pub latency: Latency,
    /// The rules; the first that matches is followed.
    pub script: Vec<Rule>,
    /// What goes wrong.
    pub faults: Vec<Fault>,
    /// When nobody answers at all.
    pub outages: Vec<Outage>,
    /// What each key may ask for in a minute, for each model.
    pub rate_limits: RateLimits,
    /// After what time a batch ends by itself.
    pub batch_time: Millis,
    /// A recorded conversation that is replayed: JSON lines of `{"request": {…}, "response": {…}}`, beside the scenario.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub recording: Option<Recording>,
}

impl Default for ClaudeScript {
    fn default() -> Self {
        Self {
            latency: Latency::of(Distribution::Lognormal {
                p50: Millis(Duration::from_millis(40)),
                p99: Millis(Duration::from_millis(90)),
            }),
            script: Vec::new(),
            faults: Vec::new(),
            outages: Vec::new(),
            rate_limits: RateLimits::default(),
            batch_time: Millis(Duration::from_millis(500)),
            recording: None,
        }
    }
}

impl ClaudeScript {
    /// Reads the files that the script names; `read` finds the text of a file beside the scenario.
    pub fn load(&mut self, read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let rules = self.script.iter_mut();
        let latencies = rules.filter_map(|rule| rule.latency.as_mut());
        for latency in latencies.chain([&mut self.latency]) {
            latency.load(read)?;
        }
        match &mut self.recording {
            Some(recording) => recording.load(read),
            None if self.latency.is_recorded() => {
                Err("`latency: recorded` needs a `recording`".to_owned())
            }
            None => Ok(()),
        }
    }
}

/// Limits of one key and model; the buckets refill evenly.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimits {
    /// Requests a minute.
    pub requests_per_minute: u64,
    /// Input tokens a minute: uncached and written to the cache; what is read from it does not count.
    pub input_tokens_per_minute: u64,
    /// Output tokens a minute.
    pub output_tokens_per_minute: u64,
}

impl Default for RateLimits {
    /// More than any load on one machine.
    fn default() -> Self {
        Self {
            requests_per_minute: 10_000_000,
            input_tokens_per_minute: 10_000_000_000,
            output_tokens_per_minute: 2_000_000_000,
        }
    }
}
