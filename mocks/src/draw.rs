//! Everything that is drawn: from the seed and from what is asked, so that the order of arrival changes nothing.

use std::time::Duration;

use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;

use crate::script::Distribution;

/// The 99th percentile of the standard normal distribution.
const Z99: f64 = 2.326_347_874_040_841;

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

/// A generator that depends on the seed and these parts only.
pub(crate) fn generator(seed: u64, parts: &[&str]) -> ChaCha8Rng {
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    for part in parts {
        hasher.update(&part.len().to_le_bytes());
        hasher.update(part.as_bytes());
    }
    ChaCha8Rng::from_seed(*hasher.finalize().as_bytes())
}

/// A number in `0.0..1.0`.
#[expect(
    clippy::cast_precision_loss,
    reason = "53 bits are what an f64 holds exactly"
)]
pub(crate) fn unit(generator: &mut ChaCha8Rng) -> f64 {
    (generator.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
}

/// A time from the distribution; a recorded one is not drawn.
pub(crate) fn time(
    distribution: &Distribution,
    generator: impl FnOnce() -> ChaCha8Rng,
) -> Option<Duration> {
    match distribution {
        Distribution::Constant(time) => Some(time.0),
        Distribution::Lognormal { p50, p99 } => {
            let (p50, p99) = (p50.0.as_secs_f64(), p99.0.as_secs_f64());
            if p50 <= 0.0 || p99 <= p50 {
                return Some(Duration::from_secs_f64(p50));
            }
            let mut generator = generator();
            let sigma = (p99 / p50).ln() / Z99;
            // Box and Muller; 1 - u lies in (0, 1], so that the logarithm is finite.
            let radius = (-2.0 * (1.0 - unit(&mut generator)).ln()).sqrt();
            let normal = radius * (std::f64::consts::TAU * unit(&mut generator)).cos();
            let time = Duration::try_from_secs_f64(p50 * (sigma * normal).exp());
            Some(time.unwrap_or(Duration::MAX))
        }
        Distribution::Empirical(empirical) => {
            let histogram = empirical.histogram.as_ref()?;
            let ns = histogram.value_at_quantile(unit(&mut generator()));
            Some(Duration::from_nanos(ns))
        }
        Distribution::Recorded => None,
    }
}

/// An id such as `msg_01` and 22 letters and digits.
pub(crate) fn id(prefix: &str, seed: u64, parts: &[&str]) -> String {
    let mut generator = generator(seed, parts);
    let mut id = String::from(prefix);
    for _ in 0..22 {
        let index = usize::try_from(generator.next_u32() % 62).unwrap_or_default();
        id.push(char::from(BASE62[index]));
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::script::Millis;

    #[test]
    fn a_seed_repeats_its_draws_and_meets_both_percentiles() {
        let distribution = Distribution::Lognormal {
            p50: Millis(Duration::from_millis(40)),
            p99: Millis(Duration::from_millis(90)),
        };
        let draw = |seed: u64| {
            (0..20_000)
                .map(|call| {
                    let call = format!("{call}");
                    time(&distribution, || generator(seed, &["question", &call])).unwrap()
                })
                .collect::<Vec<_>>()
        };
        let mut draws = draw(42);
        assert_eq!(draws, draw(42));
        assert_ne!(draws, draw(43));
        draws.sort_unstable();
        let millis = |index: usize| draws[index].as_secs_f64() * 1e3;
        assert!(
            (millis(10_000) - 40.0).abs() < 1.0,
            "p50 {}",
            millis(10_000)
        );
        assert!(
            (millis(19_800) - 90.0).abs() < 4.0,
            "p99 {}",
            millis(19_800)
        );
    }
}
