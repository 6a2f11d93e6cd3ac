//! How sure a share or a quantile is: exact binomial bounds, with no assumption on the distribution of latencies, and
//! with fewer samples than there are where they come in clusters.

mod effective;
mod special;

pub use effective::design_effect;
use special::incomplete_beta;

/// The lower and upper one-sided Clopper-Pearson bounds of a share, `count` of `total`, each wrong with probability
/// `alpha` at most. Counts may be fractions: what correlated samples are worth.
pub fn share_bounds(count: f64, total: f64, alpha: f64) -> (f64, f64) {
    let lower = if count <= 0.0 {
        0.0
    } else {
        bisect(|p| incomplete_beta(p, count, total - count + 1.0), alpha)
    };
    let upper = if count >= total {
        1.0
    } else {
        bisect(
            |p| incomplete_beta(p, count + 1.0, total - count),
            1.0 - alpha,
        )
    };
    (lower, upper)
}

/// A two-sided 95 % interval of a quantile from ordered samples of which `effect` are worth one: the order statistics
/// that bracket it. An end is `None` where the samples are too few to bound it there.
pub fn quantile_interval(
    ordered: &[u64],
    quantile: f64,
    effect: f64,
) -> (Option<u64>, Option<u64>) {
    const EACH_SIDE: f64 = 0.025;
    let n = u64::try_from(ordered.len()).unwrap_or(u64::MAX);
    // The k-th smallest lies below the quantile unless fewer than k samples do: P(Bin(n, q) < k).
    let below = |k: u64| {
        if k == 0 {
            0.0
        } else {
            let (k, n) = (as_f64(k) / effect, as_f64(n) / effect);
            1.0 - incomplete_beta(quantile, k, n - k + 1.0)
        }
    };
    let lower = partition(n, |k| below(k) <= EACH_SIDE);
    let upper = partition(n, |k| below(k) < 1.0 - EACH_SIDE) + 1;
    let at = |k: u64| {
        k.checked_sub(1)
            .and_then(|k| usize::try_from(k).ok())
            .and_then(|k| ordered.get(k).copied())
    };
    (at(lower), at(upper))
}

/// What may be spent of `alpha` once the share `reached` of the evidence that there can ever be is there: Lan and
/// `DeMets`' function in the form of Pocock, which leaves the first look enough to decide by.
pub fn alpha_spent(alpha: f64, reached: f64) -> f64 {
    alpha * ((std::f64::consts::E - 1.0) * reached.clamp(0.0, 1.0)).ln_1p()
}

/// The `quantile` of ordered samples: the smallest sample that at least that share does not exceed.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a rank is a small positive number"
)]
pub fn quantile(ordered: &[u64], quantile: f64) -> Option<u64> {
    let rank =
        (quantile * as_f64(u64::try_from(ordered.len()).unwrap_or(u64::MAX))).ceil() as usize;
    ordered.get(rank.max(1) - 1).copied()
}

/// The largest `k` of `0..=n` for which `holds` is true, where it is true up to some point and false after.
fn partition(n: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut low, mut high) = (0, n + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        if holds(middle) {
            low = middle;
        } else {
            high = middle;
        }
    }
    low
}

/// Where an increasing function of `0..1` reaches `value`.
fn bisect(function: impl Fn(f64) -> f64, value: f64) -> f64 {
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let middle = f64::midpoint(low, high);
        if function(middle) < value {
            low = middle;
        } else {
            high = middle;
        }
    }
    f64::midpoint(low, high)
}

/// A count or nanoseconds, for reckoning.
#[expect(
    clippy::cast_precision_loss,
    reason = "counts and latencies are far below 2^52"
)]
pub fn as_f64(count: impl TryInto<u64>) -> f64 {
    count.try_into().unwrap_or(u64::MAX) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference values: the closed forms 1-0.05^(1/n) and 0.05^(1/n), and published tables for 5 of 100.
    #[test]
    fn bounds_of_a_share_agree_with_published_values() {
        let (lower, upper) = share_bounds(0.0, 59.0, 0.05);
        assert!(
            lower.abs() < 1e-12 && (upper - (1.0 - 0.05_f64.powf(1.0 / 59.0))).abs() < 1e-9,
            "{upper}"
        );
        let (lower, upper) = share_bounds(10.0, 10.0, 0.05);
        assert!((lower - 0.05_f64.powf(0.1)).abs() < 1e-9 && (upper - 1.0).abs() < 1e-12);
        let (lower, upper) = share_bounds(5.0, 100.0, 0.05);
        assert!(
            (lower - 0.019_91).abs() < 1e-4 && (upper - 0.102_25).abs() < 1e-4,
            "{lower} {upper}"
        );
    }

    #[test]
    fn fifty_nine_samples_are_the_fewest_that_can_pass_a_95th_percentile() {
        assert!(share_bounds(0.0, 59.0, 0.05).1 <= 0.05);
        assert!(share_bounds(0.0, 58.0, 0.05).1 > 0.05);
    }

    #[test]
    fn a_quantile_lies_within_its_interval_and_small_samples_have_no_upper_end() {
        let samples: Vec<u64> = (1..=1000).collect();
        let (lower, upper) = quantile_interval(&samples, 0.95, 1.0);
        assert_eq!(quantile(&samples, 0.95), Some(950));
        assert!(lower.unwrap() < 950 && lower.unwrap() > 930, "{lower:?}");
        assert!(upper.unwrap() > 950 && upper.unwrap() < 970, "{upper:?}");
        assert_eq!(quantile_interval(&samples[..20], 0.95, 1.0).1, None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn correlated_samples_have_a_wider_interval() {
        let samples: Vec<u64> = (1..=1000).collect();
        let (alone, four) = (
            quantile_interval(&samples, 0.95, 1.0),
            quantile_interval(&samples, 0.95, 4.0),
        );
        assert!(four.0 < alone.0 && four.1 > alone.1, "{alone:?} {four:?}");
    }

    #[test]
    fn all_looks_together_spend_alpha() {
        assert!((alpha_spent(0.05, 1.0) - 0.05).abs() < 1e-12);
        assert!(alpha_spent(0.05, 0.25) > 0.0125 && alpha_spent(0.05, 0.25) < 0.025);
        assert!(alpha_spent(0.05, 0.0).abs() < 1e-12);
    }

    proptest::proptest! {
        #[test]
        fn the_bounds_enclose_the_share(total in 1u64..5000, part in 0.0f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = (as_f64(total) * part) as u64;
            let (count, total) = (as_f64(count), as_f64(total));
            let (lower, upper) = share_bounds(count, total, 0.05);
            let share = count / total;
            proptest::prop_assert!(lower <= share + 1e-9 && share <= upper + 1e-9);
        }
    }
}
