//! How sure a share or a quantile is: exact binomial bounds, with no assumption on the distribution of latencies.

/// The lower and upper one-sided 95 % Clopper-Pearson bounds of a share: `count` of `total`.
pub fn share_bounds(count: u64, total: u64) -> (f64, f64) {
    const ALPHA: f64 = 0.05;
    let (k, n) = (as_f64(count), as_f64(total));
    let lower = if count == 0 {
        0.0
    } else {
        bisect(|p| incomplete_beta(p, k, n - k + 1.0), ALPHA)
    };
    let upper = if count >= total {
        1.0
    } else {
        bisect(|p| incomplete_beta(p, k + 1.0, n - k), 1.0 - ALPHA)
    };
    (lower, upper)
}

/// A two-sided 90 % interval of a quantile from ordered samples: the order statistics that bracket it.
/// The upper end is `None` where the sample is too small to bound it from above.
pub fn quantile_interval(ordered: &[u64], quantile: f64) -> (Option<u64>, Option<u64>) {
    let n = u64::try_from(ordered.len()).unwrap_or(u64::MAX);
    // The k-th smallest lies below the quantile unless fewer than k samples do: P(Bin(n, q) < k).
    let below = |k: u64| {
        if k == 0 {
            0.0
        } else {
            1.0 - incomplete_beta(quantile, as_f64(k), as_f64(n - k + 1))
        }
    };
    let lower = partition(n, |k| below(k) <= 0.05);
    let upper = partition(n, |k| below(k) < 0.95) + 1;
    let at = |k: u64| {
        k.checked_sub(1)
            .and_then(|k| usize::try_from(k).ok())
            .and_then(|k| ordered.get(k).copied())
    };
    (at(lower), at(upper))
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

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of samples are far below 2^52"
)]
fn as_f64(count: u64) -> f64 {
    count as f64
}

/// The regularised incomplete beta function, by Lentz's continued fraction (Numerical Recipes, 6.4).
fn incomplete_beta(x: f64, a: f64, b: f64) -> f64 {
    if x <= 0.0 {
        return 0.0;
    }
    if x >= 1.0 {
        return 1.0;
    }
    let front = (ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b) + a * x.ln() + b * (-x).ln_1p()).exp();
    if x < (a + 1.0) / (a + b + 2.0) {
        front * beta_fraction(x, a, b) / a
    } else {
        1.0 - front * beta_fraction(1.0 - x, b, a) / b
    }
}

#[expect(
    clippy::many_single_char_names,
    reason = "the names of the published algorithm"
)]
fn beta_fraction(x: f64, a: f64, b: f64) -> f64 {
    const TINY: f64 = 1e-300;
    let guard = |value: f64| if value.abs() < TINY { TINY } else { value };
    let mut c = 1.0;
    let mut d = 1.0 / guard(1.0 - (a + b) * x / (a + 1.0));
    let mut h = d;
    let mut m = 1.0;
    while m < 10_000.0 {
        let even = m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m));
        d = 1.0 / guard(1.0 + even * d);
        c = guard(1.0 + even / c);
        h *= d * c;
        let odd = -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0));
        d = 1.0 / guard(1.0 + odd * d);
        c = guard(1.0 + odd / c);
        let step = d * c;
        h *= step;
        if (step - 1.0).abs() < 1e-14 {
            break;
        }
        m += 1.0;
    }
    h
}

/// Lanczos' approximation with g = 7 and nine terms, good to 15 digits for positive arguments.
fn ln_gamma(x: f64) -> f64 {
    const TERMS: [f64; 8] = [
        676.520_368_121_885_1,
        -1_259.139_216_722_402_8,
        771.323_428_777_653_1,
        -176.615_029_162_140_6,
        12.507_343_278_686_905,
        -0.138_571_095_265_720_12,
        9.984_369_578_019_572e-6,
        1.505_632_735_149_311_6e-7,
    ];
    let x = x - 1.0;
    let mut divisor = x;
    let mut sum = 0.999_999_999_999_809_9;
    for term in TERMS {
        divisor += 1.0;
        sum += term / divisor;
    }
    let t = x + 7.5;
    0.5 * (2.0 * std::f64::consts::PI).ln() + (x + 0.5) * t.ln() - t + sum.ln()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reference values: the closed forms 1-0.05^(1/n) and 0.05^(1/n), and published tables for 5 of 100.
    #[test]
    fn bounds_of_a_share_agree_with_published_values() {
        let (lower, upper) = share_bounds(0, 59);
        assert!(
            lower.abs() < 1e-12 && (upper - (1.0 - 0.05_f64.powf(1.0 / 59.0))).abs() < 1e-9,
            "{upper}"
        );
        let (lower, upper) = share_bounds(10, 10);
        assert!((lower - 0.05_f64.powf(0.1)).abs() < 1e-9 && (upper - 1.0).abs() < 1e-12);
        let (lower, upper) = share_bounds(5, 100);
        assert!(
            (lower - 0.019_91).abs() < 1e-4 && (upper - 0.102_25).abs() < 1e-4,
            "{lower} {upper}"
        );
    }

    #[test]
    fn fifty_nine_samples_are_the_fewest_that_can_pass_a_95th_percentile() {
        assert!(share_bounds(0, 59).1 <= 0.05);
        assert!(share_bounds(0, 58).1 > 0.05);
    }

    #[test]
    fn a_quantile_lies_within_its_interval_and_small_samples_have_no_upper_end() {
        let samples: Vec<u64> = (1..=1000).collect();
        let (lower, upper) = quantile_interval(&samples, 0.95);
        assert_eq!(quantile(&samples, 0.95), Some(950));
        assert!(lower.unwrap() < 950 && lower.unwrap() > 930, "{lower:?}");
        assert!(upper.unwrap() > 950 && upper.unwrap() < 970, "{upper:?}");
        assert_eq!(quantile_interval(&samples[..20], 0.95).1, None);
        assert_eq!(quantile(&[], 0.5), None);
    }

    proptest::proptest! {
        #[test]
        fn the_bounds_enclose_the_share(total in 1u64..5000, part in 0.0f64..=1.0) {
            #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a count")]
            let count = (as_f64(total) * part) as u64;
            let (lower, upper) = share_bounds(count, total);
            let share = as_f64(count) / as_f64(total);
            proptest::prop_assert!(lower <= share + 1e-9 && share <= upper + 1e-9);
        }
    }
}
