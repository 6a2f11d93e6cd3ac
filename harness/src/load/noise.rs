//! What the machine did to the measurement: threads that were not woken in time, processor time that a hypervisor took,
//! and time that a container's limit took.

use fact_reports::run::{Histogram, Noise};
use hdrhistogram::Histogram as Hdr;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// How long the meter's thread sleeps: what it oversleeps is a hiccup.
const NAP: Duration = Duration::from_millis(1);
const LONGEST_NS: u64 = 60_000_000_000;

/// Runs until it is dropped.
#[derive(Debug)]
pub(super) struct Meter {
    hiccups: Arc<Mutex<Hdr<u64>>>,
    stop: Arc<AtomicBool>,
    before: Taken,
}

impl Meter {
    pub(super) fn start() -> std::io::Result<Self> {
        let hiccups = Hdr::new_with_bounds(1, LONGEST_NS, 3).map_err(std::io::Error::other)?;
        let meter = Self {
            hiccups: Arc::new(Mutex::new(hiccups)),
            stop: Arc::default(),
            before: Taken::now(),
        };
        let (hiccups, stop) = (meter.hiccups.clone(), meter.stop.clone());
        std::thread::Builder::new()
            .name("hiccups".into())
            .spawn(move || {
                while !stop.load(Relaxed) {
                    let began = Instant::now();
                    nap();
                    let over = began.elapsed().saturating_sub(NAP).as_nanos();
                    let mut hiccups = hiccups.lock().unwrap_or_else(PoisonError::into_inner);
                    hiccups.saturating_record(u64::try_from(over).unwrap_or(LONGEST_NS));
                }
            })?;
        Ok(meter)
    }

    /// Since the start; the floor is measured elsewhere.
    pub(super) fn so_far(&self) -> Noise {
        let hiccups = self.hiccups.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Taken::now();
        Noise {
            floor: Histogram::default(),
            hiccups: Histogram::from_hdr(&hiccups),
            stolen_percent: now.stolen_percent(&self.before),
            throttled_ms: now
                .throttled_ms
                .zip(self.before.throttled_ms)
                .map(|(now, before)| now - before),
        }
    }
}

#[expect(
    clippy::disallowed_methods,
    reason = "sleeping too long is what is measured"
)]
fn nap() {
    std::thread::sleep(NAP);
}

impl Drop for Meter {
    fn drop(&mut self) {
        self.stop.store(true, Relaxed);
    }
}

/// What was taken since the machine or the container began; none where the system does not say.
#[derive(Debug, Clone, Copy)]
struct Taken {
    /// Ticks of all processors: those stolen, and all.
    ticks: Option<(f64, f64)>,
    throttled_ms: Option<f64>,
}

impl Taken {
    fn now() -> Self {
        let read = |path: &str| std::fs::read_to_string(path).ok();
        Self {
            ticks: read("/proc/stat").and_then(|text| ticks(&text)),
            throttled_ms: read("/sys/fs/cgroup/cpu.stat").and_then(|text| throttled_ms(&text)),
        }
    }

    fn stolen_percent(&self, before: &Self) -> Option<f64> {
        let ((stolen, all), (stolen_before, all_before)) = self.ticks.zip(before.ticks)?;
        (all > all_before).then(|| (stolen - stolen_before) / (all - all_before) * 100.0)
    }
}

/// `cpu user nice system idle iowait irq softirq steal …`.
fn ticks(stat: &str) -> Option<(f64, f64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line
        .split_whitespace()
        .take(8)
        .map_while(|ticks| ticks.parse().ok())
        .collect();
    Some((*ticks.get(7)?, ticks.iter().sum()))
}

fn throttled_ms(stat: &str) -> Option<f64> {
    let microseconds: f64 = stat
        .lines()
        .find_map(|line| line.strip_prefix("throttled_usec "))?
        .trim()
        .parse()
        .ok()?;
    Some(microseconds / 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_stolen_and_throttled_is_read() {
        let before = Taken {
            ticks: ticks("cpu  10 0 10 70 5 0 0 5 0 0\ncpu0 1 2 3\n"),
            throttled_ms: throttled_ms("nr_throttled 1\nthrottled_usec 2000\n"),
        };
        let after = Taken {
            ticks: ticks("cpu  50 0 30 100 5 0 0 15 0 0\n"),
            throttled_ms: None,
        };
        assert_eq!(before.throttled_ms, Some(2.0));
        assert_eq!(after.stolen_percent(&before), Some(10.0));
        assert_eq!((ticks("cpu 1 2\n"), throttled_ms("")), (None, None));
    }
}
