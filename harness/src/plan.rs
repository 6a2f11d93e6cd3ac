//! Every request of a load, with its due time, before the first is sent. A pure function of scenario and seed.

use crate::scenario::load::{Arrivals, Load};
use rand::{Rng, RngExt, SeedableRng};
use rand_chacha::ChaCha12Rng;

/// One request that will be sent.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Planned {
    /// When it is due, in nanoseconds from the start of the load.
    pub due_ns: u64,
    /// What it is hoped to become: `hit`, `miss` or `tool`.
    pub class: String,
    /// Names it in every place that it leaves a trace: `nonce-` and 16 hex digits.
    pub nonce: String,
    /// False for the warm-up.
    pub measured: bool,
}

/// The plan of a load: the same for the same load, scenario and seed. Part 0 begins with the warm-up; further parts go
/// on where it was not enough.
pub fn plan(load: &Load, scenario: &str, seed: u64, part: u32) -> Vec<Planned> {
    let mut random = generator(scenario, seed);
    random.set_stream(part.into());
    let warm_up = if part == 0 {
        load.warm_up_seconds()
    } else {
        0.0
    };
    let warm_up_ns = nanoseconds(warm_up);
    let end_ns = warm_up_ns + nanoseconds(load.open.for_seconds());
    let rate = load.open.rate_per_second();
    let mut due_seconds = 0.0;
    let mut number = 0.0;
    let mut planned = Vec::new();
    loop {
        number += 1.0;
        due_seconds = match load.open.arrivals {
            Arrivals::Constant => number / rate,
            Arrivals::Poisson => due_seconds - (1.0 - random.random::<f64>()).ln() / rate,
        };
        let due_ns = nanoseconds(due_seconds);
        if due_ns >= end_ns {
            return planned;
        }
        let class = draw(load, random.random::<f64>());
        let nonce = format!("nonce-{:016x}", random.next_u64());
        planned.push(Planned {
            due_ns,
            class,
            nonce,
            measured: due_ns >= warm_up_ns,
        });
    }
}

fn generator(scenario: &str, seed: u64) -> ChaCha12Rng {
    let mut hasher = blake3::Hasher::new_derive_key("fact plan 1");
    hasher.update(&seed.to_le_bytes());
    hasher.update(scenario.as_bytes());
    ChaCha12Rng::from_seed(*hasher.finalize().as_bytes())
}

fn draw(load: &Load, point: f64) -> String {
    let mut reached = 0.0;
    for (class, share) in load.shares() {
        reached += share;
        if point < reached {
            return class.to_owned();
        }
    }
    load.shares()
        .last()
        .map(|(class, _)| class.to_owned())
        .unwrap_or_default()
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a load lasts hours, not centuries"
)]
fn nanoseconds(seconds: f64) -> u64 {
    (seconds * 1e9) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(arrivals: &str) -> Load {
        serde_json::from_value(serde_json::json!({
            "open": { "rate": "200/s", "arrivals": arrivals, "for": "5s" }, "warm_up": "1s",
            "mix": { "hit": "80%", "miss": "15%", "tool": "5%" },
        }))
        .unwrap()
    }

    #[test]
    fn the_same_seed_gives_the_same_plan_and_another_seed_another() {
        let load = load("poisson");
        assert_eq!(plan(&load, "a", 7, 0), plan(&load, "a", 7, 0));
        assert_ne!(plan(&load, "a", 7, 0), plan(&load, "a", 8, 0));
        assert_ne!(plan(&load, "a", 7, 0), plan(&load, "b", 7, 0));
    }

    #[test]
    fn a_further_part_has_questions_of_its_own_and_no_warm_up() {
        let load = load("poisson");
        let nonces = |part| -> std::collections::BTreeSet<String> {
            let plan = plan(&load, "a", 7, part);
            plan.into_iter().map(|planned| planned.nonce).collect()
        };
        assert!(nonces(0).is_disjoint(&nonces(1)));
        assert!(
            plan(&load, "a", 7, 1)
                .iter()
                .all(|planned| planned.measured)
        );
    }

    #[test]
    fn a_constant_rate_is_constant_and_poisson_arrivals_have_the_rate_on_average() {
        let constant = plan(&load("constant"), "a", 1, 0);
        assert_eq!(constant.len(), 1199);
        assert!(
            constant
                .windows(2)
                .all(|pair| pair[1].due_ns - pair[0].due_ns <= 5_000_001)
        );
        let poisson = plan(&load("poisson"), "a", 1, 0).len();
        assert!((1050..1350).contains(&poisson), "{poisson}");
    }

    proptest::proptest! {
        #[test]
        fn due_times_never_go_back_and_warm_up_comes_first(seed: u64) {
            let plan = plan(&load("poisson"), "a", seed, 0);
            proptest::prop_assert!(plan.windows(2).all(|pair| pair[0].due_ns <= pair[1].due_ns));
            proptest::prop_assert!(plan.iter().all(|planned| planned.measured == (planned.due_ns >= 1_000_000_000)));
            let nonces: std::collections::BTreeSet<_> = plan.iter().map(|planned| &planned.nonce).collect();
            proptest::prop_assert_eq!(nonces.len(), plan.len());
        }
    }
}
