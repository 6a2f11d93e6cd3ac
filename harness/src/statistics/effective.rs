//! How many correlated samples are worth one: slow requests come in clusters, and a cluster is one piece of evidence.

use super::as_f64;
use super::special::student_over_normal;

/// Fewer batches than this say nothing about how much batches differ.
const FEWEST_BATCHES: usize = 10;

/// How many of these events, in the order in which they might have happened, are worth one independent one: the
/// variance of the means of batches over what it would be without correlation. At least 1; and 1 where the difference
/// may well be chance.
///
/// Batches of several lengths are looked at, since those that are shorter than the clusters do not see them.
pub fn design_effect(happened: &[bool]) -> f64 {
    let n = happened.len();
    let share = mean(happened);
    if share <= 0.0 || share >= 1.0 {
        return 1.0;
    }
    let root = n.isqrt().max(1);
    let lengths = [root / 2, root, 2 * root, 4 * root];
    let effects = lengths
        .into_iter()
        .filter(|length| *length > 1 && n / length >= FEWEST_BATCHES)
        .map(|length| of_batches(happened, length, share));
    effects.fold(1.0, f64::max)
}

fn of_batches(happened: &[bool], length: usize, share: f64) -> f64 {
    let means: Vec<f64> = happened.chunks_exact(length).map(mean).collect();
    let degrees = as_f64(means.len()) - 1.0;
    let squares: f64 = means.iter().map(|mean| (mean - share).powi(2)).sum();
    let effect = squares / degrees * as_f64(length) / (share * (1.0 - share));
    // Without correlation its standard deviation is about the root of 2 / degrees.
    let by_chance = 1.0 + 2.0 * (2.0 / degrees).sqrt();
    if effect <= by_chance {
        1.0
    } else {
        // The variance is an estimate itself.
        effect * student_over_normal(degrees).powi(2)
    }
}

fn mean(happened: &[bool]) -> f64 {
    let count = happened.iter().filter(|happened| **happened).count();
    as_f64(count) / as_f64(happened.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::{RngExt as _, SeedableRng as _};
    use rand_chacha::ChaCha12Rng;

    #[test]
    fn clusters_of_ten_are_worth_about_one_sample_each() {
        let mut random = ChaCha12Rng::seed_from_u64(1);
        let clustered: Vec<bool> = (0..200)
            .flat_map(|_| [random.random::<f64>() < 0.05; 10])
            .collect();
        let effect = design_effect(&clustered);
        assert!((6.0..20.0).contains(&effect), "{effect}");
    }

    #[test]
    fn independent_samples_are_mostly_worth_what_they_are() {
        let alone = (0..200).filter(|seed| {
            let mut random = ChaCha12Rng::seed_from_u64(*seed);
            let events: Vec<bool> = (0..1000).map(|_| random.random::<f64>() < 0.05).collect();
            design_effect(&events) <= 1.0
        });
        assert!(alone.count() > 160);
    }

    #[test]
    fn what_always_or_never_happens_is_not_correlated() {
        for events in [vec![true; 500], vec![false; 500], vec![], vec![true]] {
            assert!((design_effect(&events) - 1.0).abs() < f64::EPSILON);
        }
    }
}
