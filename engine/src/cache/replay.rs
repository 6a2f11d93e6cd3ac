//! What another size or another way of choosing whom to evict would have saved: a recorded trace is replayed offline.
//! The engine writes one line for each question that may be cached; nothing here touches the running cache.

use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, HashMap};

/// One question of a trace.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Asked {
    /// Milliseconds since 1970.
    pub at_ms: i64,
    /// Stands for the question in its circumstances; the question itself is not in the trace.
    pub key: String,
    /// What its answer takes in memory.
    pub bytes: u64,
    /// Dollars that making the answer costs.
    pub cost_usd: f64,
    /// Milliseconds that making the answer takes.
    pub made_in_ms: f64,
}

/// Who has to go when there is no room.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Eviction {
    /// Whoever was not asked for longest.
    Lru,
    /// As LRU, but a newcomer is only let in where it is asked for more often than the one it would replace.
    TinyLfu,
    /// Whoever saves the fewest dollars for its bytes, aged by what went before it (`GreedyDual`-Size).
    CostSaved,
}

/// All of them.
pub const EVICTIONS: [Eviction; 3] = [Eviction::Lru, Eviction::TinyLfu, Eviction::CostSaved];

/// What a strategy would have done with a trace.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outcome {
    /// Who had to go.
    pub strategy: Eviction,
    /// Bytes that there were.
    pub max_bytes: u64,
    /// Questions in the trace.
    pub asked: u64,
    /// Answered from the cache.
    pub hits: u64,
    /// Dollars that the hits did not cost.
    pub saved_usd: f64,
    /// Milliseconds that the hits did not take.
    pub saved_ms: f64,
    /// Entries that had to make room.
    pub evicted: u64,
    /// Most bytes at once.
    pub peak_bytes: u64,
}

struct Entry {
    bytes: u64,
    expires_ms: i64,
    rank: (u64, u64),
}

struct Replay {
    strategy: Eviction,
    max_bytes: u64,
    ttl_ms: i64,
    entries: HashMap<String, Entry>,
    /// The first has to go first.
    order: BTreeMap<(u64, u64), String>,
    bytes: u64,
    clock: u64,
    /// Of `GreedyDual`: the value of the last one that had to go.
    inflation: f64,
    frequencies: HashMap<String, u32>,
    counted: u32,
}

/// After so many questions all frequencies are halved.
const AGED_AFTER: u32 = 100_000;

impl Replay {
    fn rank(&mut self, asked: &Asked) -> (u64, u64) {
        self.clock += 1;
        match self.strategy {
            Eviction::Lru | Eviction::TinyLfu => (0, self.clock),
            Eviction::CostSaved => {
                #[expect(clippy::cast_precision_loss, reason = "bytes are far below 2^52")]
                let value = self.inflation + asked.cost_usd / asked.bytes.max(1) as f64;
                // The bits of floats that are not negative are in the order of the floats.
                (value.max(0.0).to_bits(), self.clock)
            }
        }
    }

    fn count(&mut self, key: &str) {
        if self.strategy != Eviction::TinyLfu {
            return;
        }
        match self.frequencies.get_mut(key) {
            Some(frequency) => *frequency += 1,
            None => drop(self.frequencies.insert(key.to_owned(), 1)),
        }
        self.counted += 1;
        if self.counted >= AGED_AFTER {
            self.counted = 0;
            self.frequencies.retain(|_, frequency| {
                *frequency /= 2;
                *frequency > 0
            });
        }
    }

    fn frequency(&self, key: &str) -> u32 {
        self.frequencies.get(key).copied().unwrap_or(0)
    }

    fn remove(&mut self, key: &str) {
        if let Some(entry) = self.entries.remove(key) {
            self.order.remove(&entry.rank);
            self.bytes -= entry.bytes;
        }
    }

    /// Whether it was there.
    fn ask(&mut self, asked: &Asked, outcome: &mut Outcome) -> bool {
        self.count(&asked.key);
        if let Some(entry) = self.entries.get(&asked.key)
            && entry.expires_ms > asked.at_ms
        {
            let old = entry.rank;
            let rank = self.rank(asked);
            self.order.remove(&old);
            self.order.insert(rank, asked.key.clone());
            if let Some(entry) = self.entries.get_mut(&asked.key) {
                entry.rank = rank;
            }
            return true;
        }
        self.remove(&asked.key);
        if asked.bytes > self.max_bytes {
            return false;
        }
        while self.bytes + asked.bytes > self.max_bytes {
            let Some((rank, victim)) = self
                .order
                .first_key_value()
                .map(|(rank, key)| (*rank, key.clone()))
            else {
                break;
            };
            if self.strategy == Eviction::TinyLfu
                && self.frequency(&asked.key) <= self.frequency(&victim)
            {
                return false;
            }
            if self.strategy == Eviction::CostSaved {
                self.inflation = f64::from_bits(rank.0);
            }
            self.remove(&victim);
            outcome.evicted += 1;
        }
        let rank = self.rank(asked);
        self.order.insert(rank, asked.key.clone());
        self.bytes += asked.bytes;
        outcome.peak_bytes = outcome.peak_bytes.max(self.bytes);
        let entry = Entry {
            bytes: asked.bytes,
            expires_ms: asked.at_ms.saturating_add(self.ttl_ms),
            rank,
        };
        self.entries.insert(asked.key.clone(), entry);
        false
    }
}

/// What `strategy` would have done with the trace in `max_bytes`, with entries that live for `ttl_ms`.
pub fn replay(trace: &[Asked], strategy: Eviction, max_bytes: u64, ttl_ms: i64) -> Outcome {
    let mut outcome = Outcome {
        strategy,
        max_bytes,
        asked: 0,
        hits: 0,
        saved_usd: 0.0,
        saved_ms: 0.0,
        evicted: 0,
        peak_bytes: 0,
    };
    let mut replay = Replay {
        strategy,
        max_bytes,
        ttl_ms,
        entries: HashMap::new(),
        order: BTreeMap::new(),
        bytes: 0,
        clock: 0,
        inflation: 0.0,
        frequencies: HashMap::new(),
        counted: 0,
    };
    for asked in trace {
        outcome.asked += 1;
        if replay.ask(asked, &mut outcome) {
            outcome.hits += 1;
            outcome.saved_usd += asked.cost_usd;
            outcome.saved_ms += asked.made_in_ms;
        }
    }
    outcome
}

/// The size from which on more memory saves next to nothing: the smallest that saves 99 % of what no limit would.
pub fn enough(trace: &[Asked], strategy: Eviction, ttl_ms: i64) -> u64 {
    let whole: u64 = {
        let mut largest: HashMap<&str, u64> = HashMap::new();
        for asked in trace {
            let bytes = largest.entry(&asked.key).or_default();
            *bytes = asked.bytes.max(*bytes);
        }
        largest.values().sum()
    };
    let target = replay(trace, strategy, whole, ttl_ms).saved_usd * 0.99;
    let (mut too_small, mut enough) = (0, whole.max(1));
    while enough - too_small > (whole / 100).max(1) {
        let middle = too_small + (enough - too_small) / 2;
        if replay(trace, strategy, middle, ttl_ms).saved_usd >= target {
            enough = middle;
        } else {
            too_small = middle;
        }
    }
    enough
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn asked(at_ms: i64, key: &str, cost_usd: f64) -> Asked {
        Asked {
            at_ms,
            key: key.into(),
            bytes: 100,
            cost_usd,
            made_in_ms: 80.0,
        }
    }

    fn trace(keys: &str) -> Vec<Asked> {
        let cost = |key: char| if key.is_uppercase() { 1.0 } else { 0.01 };
        keys.chars()
            .zip(0..)
            .map(|(key, at)| asked(at, &key.to_string(), cost(key)))
            .collect()
    }

    #[test]
    fn each_strategy_keeps_what_it_says_that_it_keeps() {
        let hits = |keys, strategy| replay(&trace(keys), strategy, 200, 1_000).hits;
        // Two places. A scan of strangers drives out an old friend of LRU's, but not of TinyLFU's.
        assert_eq!(hits("aaabcdea", Eviction::Lru), 2);
        assert_eq!(hits("aaabcdea", Eviction::TinyLfu), 3);
        // Whatever cost a dollar stays.
        assert_eq!(hits("AbcdeA", Eviction::Lru), 0);
        assert_eq!(hits("AbcdeA", Eviction::CostSaved), 1);
    }

    #[test]
    fn what_has_expired_is_no_hit() {
        let trace = [
            asked(0, "a", 1.0),
            asked(999, "a", 1.0),
            asked(1_000, "a", 1.0),
        ];
        assert_eq!(replay(&trace, Eviction::Lru, 1_000, 1_000).hits, 1);
    }

    proptest! {
        #[test]
        fn no_strategy_takes_more_than_there_is_and_room_for_all_makes_them_equal(keys in "[a-jA-J]{0,200}", places in 1_u64..12) {
            let trace = trace(&keys);
            for strategy in EVICTIONS {
                prop_assert!(replay(&trace, strategy, places * 100, 10_000).peak_bytes <= places * 100);
            }
            let all = EVICTIONS.map(|strategy| replay(&trace, strategy, 2_000, 10_000).hits);
            prop_assert!(all.iter().all(|hits| *hits == all[0]), "{:?}", all);
        }
    }
}
