//! Latencies as they come in reality, of which the true quantile is known: independent, correlated, with heavy tails,
//! and with bursts of foreign load on top.

use rand::{RngExt as _, SeedableRng as _};
use rand_chacha::ChaCha12Rng;

/// How latencies come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Each for itself; log-normal.
    Independent,
    /// Each like the one before: an autoregression with a coefficient of 0.8 behind log-normal latencies.
    Correlated,
    /// Each for itself; Pareto, whose variance is infinite.
    HeavyTailed,
    /// Independent, while something else takes the machine now and then, from our own clients too.
    Bursts,
}

pub(super) const KINDS: [(Kind, &str); 4] = [
    (Kind::Independent, "independent"),
    (Kind::Correlated, "correlated"),
    (Kind::HeavyTailed, "heavy tails"),
    (Kind::Bursts, "bursts of foreign load"),
];

/// A machine: everything that happens on it at the same time.
#[derive(Debug)]
pub(super) struct Machine {
    random: ChaCha12Rng,
    state: f64,
    /// How many requests the burst still lasts.
    burst: u32,
}

/// One request, and what a request that costs nothing took at that moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Request {
    pub(super) ns: u64,
    pub(super) noise_ns: u64,
}

/// What a request that costs nothing takes on a quiet machine.
const FLOOR_NS: f64 = 200_000.0;
/// A burst adds so much to every request, on average.
const BURST_NS: f64 = 60_000_000.0;
const BURST_LENGTH: u32 = 60;
/// So that bursts take about a tenth of the time.
const BURST_BEGINS: f64 = 0.0019;

impl Machine {
    pub(super) fn new(seed: u64, run: u32) -> Self {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        random.set_stream(run.into());
        let mut machine = Self {
            random,
            state: 0.0,
            burst: 0,
        };
        machine.state = machine.normal();
        machine
    }

    /// The next request of a kind whose true quantile `point` is `true_ns` without foreign load.
    pub(super) fn request(&mut self, kind: Kind, point: f64, true_ns: f64) -> Request {
        let at_point = normal_quantile(point);
        let ns = match kind {
            Kind::Independent | Kind::Bursts => {
                true_ns * (SPREAD * (self.normal() - at_point)).exp()
            }
            Kind::Correlated => {
                self.state = COEFFICIENT * self.state
                    + (1.0 - COEFFICIENT * COEFFICIENT).sqrt() * self.normal();
                true_ns * (SPREAD * (self.state - at_point)).exp()
            }
            Kind::HeavyTailed => {
                let share = 1.0 - self.random.random::<f64>();
                true_ns * ((1.0 - point) / share).powf(1.0 / TAIL)
            }
        };
        let foreign = if kind == Kind::Bursts {
            self.foreign()
        } else {
            0.0
        };
        Request {
            ns: to_ns(ns + foreign),
            noise_ns: to_ns(FLOOR_NS + foreign),
        }
    }

    fn foreign(&mut self) -> f64 {
        if self.burst == 0 && self.random.random::<f64>() < BURST_BEGINS {
            self.burst = BURST_LENGTH;
        }
        if self.burst == 0 {
            return 0.0;
        }
        self.burst -= 1;
        BURST_NS * (0.5 + self.random.random::<f64>())
    }

    /// Box and Muller's.
    pub(super) fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.random.random::<f64>()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.random.random::<f64>()).cos()
    }
}

/// The standard deviation of the logarithms.
const SPREAD: f64 = 0.5;
const COEFFICIENT: f64 = 0.8;
/// Pareto's exponent.
const TAIL: f64 = 1.8;

/// The few that are needed.
fn normal_quantile(point: f64) -> f64 {
    if point > 0.9 { 1.644_854 } else { 0.0 }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "simulated latencies are far below 2^52 ns"
)]
fn to_ns(ns: f64) -> u64 {
    ns as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_true_quantile_is_what_it_is_said_to_be() {
        for (kind, name) in KINDS {
            if kind == Kind::Bursts {
                continue;
            }
            for point in [0.5, 0.95] {
                let mut machine = Machine::new(1, 0);
                let above = (0..200_000)
                    .filter(|_| machine.request(kind, point, 1e7).ns > 10_000_000)
                    .count();
                let expected = (1.0 - point) * 200_000.0;
                #[expect(clippy::cast_precision_loss, reason = "a count")]
                let off = (above as f64 / expected - 1.0).abs();
                assert!(off < 0.05, "{name} {point}: {above}");
            }
        }
    }
}
