//! How the answer cache may be used, looked at, filled and emptied.

use crate::query::Progress;
use schemars::JsonSchema;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Number;

/// How the cache may be used for one question.
#[derive(Debug, Clone, Deserialize, Serialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CacheOptions {
    /// False: neither read nor written.
    #[serde(default = "yes")]
    pub use_cache: bool,
    /// Keeps answers of different prompts apart.
    #[schemars(
        regex(pattern = r"^[^\u0000-\u001f\u007f-\u009f]+$"),
        length(max = 256)
    )]
    #[serde(default = "default_prefix")]
    pub cache_prefix: String,
    /// Whether a stored answer may, must, or must not be used.
    #[serde(default)]
    pub mode: CacheMode,
    /// No older answer is wanted.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "whole"
    )]
    pub max_age_seconds: Option<u64>,
}

impl Default for CacheOptions {
    fn default() -> Self {
        Self {
            use_cache: true,
            cache_prefix: default_prefix(),
            mode: CacheMode::Default,
            max_age_seconds: None,
        }
    }
}

fn yes() -> bool {
    true
}

fn default_prefix() -> String {
    "fact_v1".to_owned()
}

/// Whether a stored answer may be used.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheMode {
    /// It may.
    #[default]
    Default,
    /// It must not, and is replaced.
    Refresh,
    /// It must.
    OnlyIfCached,
}

/// What the cache did for an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum CacheStatus {
    /// Answered from the cache.
    Hit,
    /// Made anew, and stored when it may be.
    Miss,
    /// The cache was not asked.
    Bypass,
    /// Made anew on demand.
    Refresh,
    /// Made anew for several askers at once.
    Collapsed,
    /// Answered from the cache although its time is over.
    Stale,
}

/// The body of `POST /api/v1/cache/warm`.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WarmRequest {
    /// Questions to ask: 1 to 1,000.
    #[schemars(
        length(min = 1, max = 1_000),
        inner(
            regex(pattern = r"^[^\u0000]*[^\u0000\s][^\u0000]*$"),
            length(min = 1, max = 8_000)
        )
    )]
    pub queries: Vec<String>,
}

/// How far a warming job is.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WarmingJob {
    /// Names the job.
    pub warming_job_id: String,
    /// How far it is.
    pub status: Progress,
    /// Questions in all.
    pub total_queries: usize,
    /// Questions that have an answer in the cache now.
    pub completed_queries: usize,
    /// Questions that could not be answered, or whose answer may not be stored.
    pub failed_queries: usize,
    /// Where this is told.
    pub progress_url: String,
    /// RFC 3339.
    pub started_at: String,
    /// RFC 3339; nothing while it runs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub finished_at: Option<String>,
}

/// What `GET /api/v1/cache/status` says of one's own tenant.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct CacheReport {
    /// Answers that are there.
    pub total_entries: usize,
    /// Questions that were answered from the cache.
    pub hits: u64,
    /// Questions that were not.
    pub misses: u64,
    /// Hits of both, 0 to 1.
    #[schemars(range(min = 0.0, max = 1.0))]
    pub hit_rate: f64,
    /// What they take.
    pub memory_usage: MemoryUsage,
}

/// What answers take.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
pub struct MemoryUsage {
    /// Of one's own tenant.
    pub current_bytes: u64,
    /// Of all tenants.
    pub max_bytes: u64,
}

/// The body of `DELETE /api/v1/cache/entries`; the same fields may stand in the query string.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InvalidateRequest {
    /// Some or all.
    pub invalidation_type: InvalidationType,
    /// Which, joined by and.
    #[serde(default)]
    pub criteria: Criteria,
}

/// Some or all answers of one's own tenant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum InvalidationType {
    /// Those that the criteria say; at least one of them is needed.
    Selective,
    /// All.
    All,
}

/// Which answers are dropped.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Criteria {
    /// To this question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// Read from this table, or from a view of it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table: Option<String>,
    /// Stored under this `cache_prefix`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub prefix: Option<String>,
    /// Older than that.
    #[serde(
        default,
        skip_serializing_if = "Option::is_none",
        deserialize_with = "whole"
    )]
    pub older_than_seconds: Option<u64>,
}

/// A whole number as JSON has them: `5.0` is one, and none is too large.
fn whole<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u64>, D::Error> {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "checked, and what is larger than any age counts as the largest"
    )]
    let whole = |number: f64| (number >= 0.0 && number.fract() == 0.0).then_some(number as u64);
    let Some(number) = Option::<Number>::deserialize(deserializer)? else {
        return Ok(None);
    };
    number
        .as_u64()
        .or_else(|| number.as_f64().and_then(whole))
        .map(Some)
        .ok_or_else(|| {
            D::Error::custom(format!(
                "`{number}` is no whole number of seconds, 0 or more"
            ))
        })
}

/// What became of an invalidation.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct Invalidated {
    /// Names it.
    pub invalidation_id: String,
    /// Answers that were dropped.
    pub entries_affected: usize,
    /// `completed`.
    pub status: String,
    /// RFC 3339.
    pub timestamp: String,
}
