//! Which part of a prompt is read from the cache, which is written to it, and which is neither.

use std::collections::HashMap;

use super::prefix::{Block, Ttl};

/// How far back from a breakpoint an entry is looked for, the breakpoint included.
const LOOK_BACK: u64 = 20;

/// The entries of one mock.
#[derive(Debug, Default)]
pub(crate) struct PromptCache {
    entries: HashMap<[u8; 32], Stored>,
}

#[derive(Clone, Copy, Debug)]
struct Stored {
    ttl: Ttl,
    expires_ns: u64,
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
    pub(crate) fn plan(&mut self, blocks: &[Block], minimum: u64, started_ns: u64) -> Plan {
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
            .find_map(|(from, _)| self.look_back(&blocks[..=*from], started_ns));
        let read = hit.map_or(0, |hit| blocks[hit].tokens);
        if let Some(stored) = hit.and_then(|hit| self.entries.get_mut(&blocks[hit].hash)) {
            stored.expires_ns = stored.expires_ns.max(started_ns + stored.ttl.ns());
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
            writes: breakpoints
                .iter()
                .filter(|(index, _)| Some(*index) != hit)
                .map(|(index, ttl)| (blocks[*index].hash, *ttl))
                .collect(),
        }
    }

    /// Makes the request's entries readable: called when its answer begins.
    pub(crate) fn commit(&mut self, plan: &Plan) {
        if self.entries.len() > 50_000 {
            self.entries
                .retain(|_, stored| stored.expires_ns > plan.started_ns);
        }
        for (hash, ttl) in &plan.writes {
            let fresh = Stored {
                ttl: *ttl,
                expires_ns: plan.started_ns + ttl.ns(),
            };
            let stored = self.entries.entry(*hash).or_insert(fresh);
            if stored.expires_ns <= plan.started_ns {
                *stored = fresh;
            }
        }
    }

    pub(crate) fn clear(&mut self) {
        self.entries.clear();
    }

    fn look_back(&self, blocks: &[Block], now_ns: u64) -> Option<usize> {
        let from = blocks.last()?.position;
        blocks
            .iter()
            .enumerate()
            .rev()
            .take_while(|(_, block)| from - block.position < LOOK_BACK)
            .find(|(_, block)| {
                self.entries
                    .get(&block.hash)
                    .is_some_and(|stored| stored.expires_ns > now_ns)
            })
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests;
