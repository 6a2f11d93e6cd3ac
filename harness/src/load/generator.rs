//! Sends prepared requests at their due times. A thread of its own keeps the schedule, so that a busy runtime
//! shows as lag in the figures instead of silently thinning the load.

use crate::plan::Planned;
use bytes::Bytes;
use fact_mocks::clock::Clock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use tokio::sync::mpsc;

/// A request that only waits for its due time.
#[derive(Debug, Clone)]
pub struct Prepared {
    /// Its place in the plan.
    pub planned: Planned,
    /// Where it goes.
    pub url: String,
    /// What it says.
    pub body: Bytes,
    /// Who asks.
    pub token: String,
}

/// A request that was sent. Times are on the clock of the journal.
#[derive(Debug, Clone)]
pub struct Sent {
    /// Its place in the plan.
    pub planned: Planned,
    /// When it should have been sent.
    pub due_ns: u64,
    /// When it was.
    pub sent_ns: u64,
    /// When the head of its answer was there.
    pub first_byte_ns: u64,
    /// When the last byte of its answer was there.
    pub done_ns: u64,
    /// The status and body, or why there is none.
    pub answer: Result<(u16, Bytes), String>,
}

/// No answer takes longer: then it is a failure.
pub const TIMEOUT: Duration = Duration::from_mins(1);

/// How long before a due time the thread stops sleeping and spins.
const SPIN: Duration = Duration::from_micros(150);

/// Sends all requests, `start_ns` on the clock being the plan's zero, and waits for every answer.
pub async fn send_all(
    http: &reqwest::Client,
    clock: Clock,
    start_ns: u64,
    requests: Vec<Prepared>,
) -> std::io::Result<Vec<Sent>> {
    let number = requests.len();
    let (landed, mut landing) = mpsc::unbounded_channel();
    let stop = StopOnDrop::default();
    let stopped = stop.flag();
    let runtime = tokio::runtime::Handle::current();
    let http = http.clone();
    // Straight from this thread into the runtime: every hop between would show as lag.
    let keeper = std::thread::Builder::new()
        .name("schedule".into())
        .spawn(move || {
            for request in requests {
                wait_until(clock.instant(start_ns + request.planned.due_ns));
                if stopped.load(Relaxed) {
                    return;
                }
                let (http, landed) = (http.clone(), landed.clone());
                runtime
                    .spawn(async move { landed.send(send(&http, clock, start_ns, request).await) });
            }
        })?;
    let mut sent = Vec::with_capacity(number);
    while let Some(flight) = landing.recv().await {
        sent.push(flight);
    }
    drop(stop);
    drop(keeper.join());
    sent.sort_by_key(|sent| (sent.due_ns, sent.sent_ns));
    Ok(sent)
}

/// Ends the schedule's thread when the load is abandoned, by Ctrl-C for example.
#[derive(Debug, Default)]
struct StopOnDrop(std::sync::Arc<std::sync::atomic::AtomicBool>);

impl StopOnDrop {
    fn flag(&self) -> std::sync::Arc<std::sync::atomic::AtomicBool> {
        self.0.clone()
    }
}

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Relaxed);
    }
}

fn wait_until(instant: Instant) {
    loop {
        let left = instant.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return;
        }
        if left > SPIN {
            std::thread::park_timeout(left.saturating_sub(SPIN));
        } else {
            std::hint::spin_loop();
        }
    }
}

async fn send(http: &reqwest::Client, clock: Clock, start_ns: u64, request: Prepared) -> Sent {
    let due_ns = start_ns + request.planned.due_ns;
    let sent_ns = clock.now_ns();
    let mut first_byte_ns = 0;
    let exchange = async {
        let response = http
            .post(&request.url)
            .bearer_auth(&request.token)
            .header("content-type", "application/json")
            .body(request.body)
            .send()
            .await
            .map_err(|error| reason(&error))?;
        first_byte_ns = clock.now_ns();
        let status = response.status().as_u16();
        let body = response.bytes().await.map_err(|error| reason(&error))?;
        Ok((status, body))
    };
    let answer = match tokio::time::timeout(TIMEOUT, exchange).await {
        Ok(answer) => answer,
        Err(_) => Err(format!("no answer within {} s", TIMEOUT.as_secs())),
    };
    Sent {
        planned: request.planned,
        due_ns,
        sent_ns,
        first_byte_ns,
        done_ns: clock.now_ns(),
        answer,
    }
}

/// The innermost cause, without addresses, so that equal failures count as one kind.
fn reason(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(inner) = cause.source() {
        cause = inner;
    }
    cause.to_string()
}
