//! Which part of a prompt is read from the cache, which is written to it, and which is neither.

use std::collections::HashMap;

use super::prefix::{Block, Ttl};
use crate::mutant::Mutant;

/// What the algorithm is told.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Rules {
    /// How far back from a breakpoint an entry is looked for, the breakpoint included.
    look_back: u64,
    /// Entries are written to every block up to a breakpoint.
    writes_everywhere: bool,
    /// A prefix that is too short is cached all the same.
    ignores_minimum: bool,
}

impl Rules {
    /// The rules, or those that a mistake makes of them.
    pub(crate) fn with(mutant: Option<Mutant>) -> Self {
        Self {
            look_back: match mutant {
                Some(Mutant::CacheReadsOneTooFar) => 21,
                Some(Mutant::CacheReadsOneTooNear) => 19,
                _ => 20,
            },
            writes_everywhere: mutant == Some(Mutant::CacheWritesEverywhere),
            ignores_minimum: mutant == Some(Mutant::CacheIgnoresMinimum),
        }
    }
}

/// From so many entries on those whose time is over are looked for.
const SWEEP: usize = 50_000;

/// The entries of one mock.
#[derive(Debug, Default)]
pub(crate) struct PromptCache {
    entries: HashMap<[u8; 32], Stored>,
    /// How many entries there were after those whose time was over had been dropped.
    swept: usize,
}

/// A prefix: when it ends as written for five minutes and as written for an hour; 0 is never written. Requests that could
/// not yet see each other may have written both.
#[derive(Clone, Copy, Debug, Default)]
struct Stored {
    five_minutes: u64,
    one_hour: u64,
}

impl Stored {
    fn ends(&self) -> u64 {
        self.five_minutes.max(self.one_hour)
    }

    fn of(&mut self, ttl: Ttl) -> &mut u64 {
        match ttl {
            Ttl::FiveMinutes => &mut self.five_minutes,
            Ttl::OneHour => &mut self.one_hour,
        }
    }

    /// Whatever still lives, lives on for its own time to live.
    fn refresh(&mut self, now_ns: u64) {
        for ttl in [Ttl::FiveMinutes, Ttl::OneHour] {
            let ends = self.of(ttl);
            if *ends > now_ns {
                *ends = (*ends).max(now_ns + ttl.ns());
            }
        }
    }
}

/// How a request's input divides, and what it will write.
#[derive(Clone, Debug, Default)]
pub(crate) struct Plan {
    pub(crate) read: u64,
    pub(crate) write_1h: u64,
    pub(crate) write_5m: u64,
    pub(crate) uncached: u64,
    started_ns: u64,
    writes: Vec<([u8; 32], Ttl)>,
}

impl PromptCache {
    /// Looks the request up as of its start; an entry that is read lives on for its own time to live.
    pub(crate) fn plan(
        &mut self,
        blocks: &[Block],
        minimum: u64,
        started_ns: u64,
        rules: Rules,
    ) -> Plan {
        let minimum = if rules.ignores_minimum { 0 } else { minimum };
        let total = blocks.last().map_or(0, |block| block.tokens);
        let breakpoints: Vec<(usize, Ttl)> = blocks
            .iter()
            .enumerate()
            .filter(|(_, block)| block.tokens >= minimum)
            .filter_map(|(index, block)| Some((index, block.breakpoint?)))
            .collect();
        let hit = breakpoints
            .iter()
            .rev()
            .find_map(|(from, _)| self.look_back(&blocks[..=*from], started_ns, rules.look_back));
        let read = hit.map_or(0, |hit| blocks[hit].tokens);
        if let Some(stored) = hit.and_then(|hit| self.entries.get_mut(&blocks[hit].hash)) {
            stored.refresh(started_ns);
        }
        let last_1h = breakpoints
            .iter()
            .rfind(|(_, ttl)| *ttl == Ttl::OneHour)
            .map_or(read, |(index, _)| blocks[*index].tokens.max(read));
        let last = breakpoints
            .last()
            .map_or(read, |(index, _)| blocks[*index].tokens.max(read));
        Plan {
            read,
            write_1h: last_1h - read,
            write_5m: last - last_1h,
            uncached: total - last,
            started_ns,
            writes: if rules.writes_everywhere {
                let ttl = breakpoints.last().map_or(Ttl::FiveMinutes, |(_, ttl)| *ttl);
                let to = breakpoints.last().map_or(0, |(index, _)| index + 1);
                blocks[..to].iter().map(|block| (block.hash, ttl)).collect()
            } else {
                let living = |hash| {
                    let stored = self.entries.get(hash);
                    stored.is_some_and(|stored| stored.ends() > started_ns)
                };
                let own = breakpoints.iter();
                let own = own.filter(|(index, _)| !living(&blocks[*index].hash));
                own.map(|(index, ttl)| (blocks[*index].hash, *ttl))
                    .collect()
            },
        }
    }

    /// Makes the request's entries readable: called when its answer begins.
    pub(crate) fn commit(&mut self, plan: &Plan) {
        if self.entries.len() > SWEEP.max(2 * self.swept) {
            self.entries
                .retain(|_, stored| stored.ends() > plan.started_ns);
            self.swept = self.entries.len();
        }
        for (hash, ttl) in &plan.writes {
            let ends = self.entries.entry(*hash).or_default().of(*ttl);
            *ends = (*ends).max(plan.started_ns + ttl.ns());
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    fn look_back(&self, blocks: &[Block], now_ns: u64, positions: u64) -> Option<usize> {
        let from = blocks.last()?.position;
        blocks
            .iter()
            .enumerate()
            .rev()
            .take_while(|(_, block)| from - block.position < positions)
            .find(|(_, block)| {
                self.entries
                    .get(&block.hash)
                    .is_some_and(|stored| stored.ends() > now_ns)
            })
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;
