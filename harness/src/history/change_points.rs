//! Where a series changed its level: E-divisive means (Matteson and James), which divides it again and again where both
//! sides differ most, as long as chance divides a shuffled one seldom that well.

use crate::statistics::as_f64;
use rand::SeedableRng as _;
use rand::seq::SliceRandom as _;
use rand_chacha::ChaCha12Rng;
use serde::Serialize;

/// A change between two runs.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct ChangePoint {
    /// The first run after it.
    pub at: usize,
    /// The mean from the change before to this one.
    pub before: f64,
    /// The mean from here to the next change.
    pub after: f64,
    /// How seldom chance divides as well.
    pub p: f64,
}

/// Fewer runs show no level.
const SHORTEST: usize = 4;
const SHUFFLES: u32 = 199;
/// What chance does more often is no change.
const SELDOM: f64 = 0.01;

/// The changes of a series, in order; the same for the same series.
pub fn change_points(series: &[f64]) -> Vec<ChangePoint> {
    let mut random = ChaCha12Rng::seed_from_u64(0);
    let mut found: Vec<(usize, f64)> = Vec::new();
    divide(series, 0, &mut random, &mut found);
    found.sort_by_key(|(at, _)| *at);
    let edges: Vec<usize> = std::iter::once(0)
        .chain(found.iter().map(|(at, _)| *at))
        .chain([series.len()])
        .collect();
    let levels: Vec<f64> = edges
        .windows(2)
        .map(|edge| mean(&series[edge[0]..edge[1]]))
        .collect();
    let points = found.iter().zip(levels.windows(2));
    points
        .map(|((at, p), level)| ChangePoint {
            at: *at,
            before: level[0],
            after: level[1],
            p: *p,
        })
        .collect()
}

fn divide(series: &[f64], offset: usize, random: &mut ChaCha12Rng, found: &mut Vec<(usize, f64)>) {
    let Some((at, divergence)) = best(series) else {
        return;
    };
    let mut shuffled = series.to_vec();
    let mut as_good = 0;
    for _ in 0..SHUFFLES {
        shuffled.shuffle(random);
        as_good += u32::from(best(&shuffled).is_some_and(|(_, by_chance)| by_chance >= divergence));
    }
    let p = f64::from(as_good + 1) / f64::from(SHUFFLES + 1);
    if p > SELDOM {
        return;
    }
    found.push((offset + at, p));
    divide(&series[..at], offset, random, found);
    divide(&series[at..], offset + at, random, found);
}

/// Where both sides differ most, and by how much.
fn best(series: &[f64]) -> Option<(usize, f64)> {
    let n = series.len();
    if n < 2 * SHORTEST {
        return None;
    }
    let distance = |one: usize, other: usize| (series[one] - series[other]).abs();
    let to = |at: usize, others: std::ops::Range<usize>| -> f64 {
        others.map(|other| distance(at, other)).sum()
    };
    // Sums of distances within the left side, within the right, and between them.
    let (mut left, mut between) = (0.0, 0.0);
    let mut right: f64 = (0..n).map(|at| to(at, at + 1..n)).sum();
    let mut best: Option<(usize, f64)> = None;
    for at in 1..n {
        let moved = at - 1;
        let (to_left, to_right) = (to(moved, 0..moved), to(moved, at..n));
        left += to_left;
        right -= to_right;
        between += to_right - to_left;
        if at < SHORTEST || n - at < SHORTEST {
            continue;
        }
        let (a, b) = (as_f64(at), as_f64(n - at));
        let pairs = |count: f64| count * (count - 1.0) / 2.0;
        let energy = 2.0 * between / (a * b) - left / pairs(a) - right / pairs(b);
        let divergence = energy * a * b / (a + b);
        if best.is_none_or(|(_, most)| divergence > most) {
            best = Some((at, divergence));
        }
    }
    best.filter(|(_, divergence)| *divergence > 0.0)
}

fn mean(series: &[f64]) -> f64 {
    series.iter().sum::<f64>() / as_f64(series.len().max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::RngExt as _;

    fn series(levels: &[(usize, f64)], seed: u64) -> Vec<f64> {
        let mut random = ChaCha12Rng::seed_from_u64(seed);
        levels
            .iter()
            .flat_map(|(number, level)| vec![*level; *number])
            .map(|level| level * (1.0 + 0.1 * (random.random::<f64>() - 0.5)))
            .collect()
    }

    #[test]
    fn each_change_of_level_is_found_where_it_is() {
        let points = change_points(&series(&[(20, 1.0), (15, 1.3), (20, 0.9)], 3));
        let places: Vec<usize> = points.iter().map(|point| point.at).collect();
        assert_eq!(places, [20, 35]);
        assert!((points[0].before - 1.0).abs() < 0.05 && (points[0].after - 1.3).abs() < 0.05);
    }

    #[test]
    fn noise_has_a_change_as_seldom_as_it_is_said() {
        let changed =
            (0..100).filter(|seed| !change_points(&series(&[(30, 1.0)], *seed)).is_empty());
        assert!(changed.count() <= 4);
    }

    #[test]
    fn few_or_equal_runs_have_none() {
        for series in [
            vec![],
            vec![1.0],
            vec![1.0; 50],
            vec![1.0, 2.0, 3.0, 9.0, 9.0],
        ] {
            assert_eq!(change_points(&series), []);
        }
    }
}
