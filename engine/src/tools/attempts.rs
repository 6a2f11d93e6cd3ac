//! Several attempts at one call of a tool: as long as the failure allows another, and the time.

use super::outcome::ToolError;
use std::time::Duration;
use tokio::time::Instant;

const MOST_ATTEMPTS: u32 = 3;
const FIRST_BACKOFF: Duration = Duration::from_millis(100);

/// An attempt that failed.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: ToolError,
    pub(super) again: Again,
}

/// Whether another attempt may be made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Again {
    Never,
    Soon,
    /// What the other side asked for.
    After(Duration),
}

impl Again {
    /// Whether, and when the other side asked for it.
    pub(super) fn when(allowed: bool, retry_after: Option<Duration>) -> Self {
        match retry_after {
            _ if !allowed => Self::Never,
            None => Self::Soon,
            Some(wait) => Self::After(wait),
        }
    }
}

impl Failed {
    /// For good.
    pub(super) fn never(error: ToolError) -> Self {
        Self {
            error,
            again: Again::Never,
        }
    }
}

/// Attempts it up to three times, with a pause between that doubles and is drawn by lot.
pub(super) async fn attempts<T, F>(
    deadline: Instant,
    mut once: impl FnMut() -> F,
) -> Result<T, ToolError>
where
    F: Future<Output = Result<T, Failed>>,
{
    for attempt in 1.. {
        let Failed { error, again } = match once().await {
            Ok(done) => return Ok(done),
            Err(failed) => failed,
        };
        let wait = match again {
            Again::Never => return Err(error),
            Again::Soon => backoff(attempt),
            Again::After(wait) => wait,
        };
        if attempt == MOST_ATTEMPTS || Instant::now() + wait >= deadline {
            return Err(error);
        }
        tokio::time::sleep(wait).await;
    }
    Err(ToolError::Timeout)
}

fn backoff(attempt: u32) -> Duration {
    let whole = FIRST_BACKOFF.saturating_mul(1 << (attempt - 1).min(10));
    whole.mul_f64(0.5 + rand::random::<f64>() / 2.0)
}
