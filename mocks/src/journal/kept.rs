//! The entries themselves: the newest in memory, all others as JSON lines in a file that nobody else sees.

use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, BufRead as _, BufReader, Seek as _, SeekFrom, Write as _};

use super::Entry;

/// How many entries go to the disk at once.
const SPILL: usize = 16;
/// The place of every so manieth entry is remembered.
const MARK: usize = 1024;

#[derive(Debug)]
pub(super) struct Kept {
    recent: VecDeque<Entry>,
    /// What `recent` takes, and may take.
    bytes: usize,
    budget: usize,
    spilled: Spilled,
}

/// The file, its entries, and where some of them begin.
#[derive(Debug, Default)]
struct Spilled {
    file: Option<File>,
    entries: usize,
    end: u64,
    marks: Vec<u64>,
}

impl Kept {
    pub(super) fn within(budget: usize) -> Self {
        Self {
            recent: VecDeque::new(),
            bytes: 0,
            budget,
            spilled: Spilled::default(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.spilled.entries + self.recent.len()
    }

    pub(super) fn push(&mut self, mut entry: Entry) -> u64 {
        let sequence = u64::try_from(self.len()).unwrap_or(u64::MAX);
        entry.sequence = sequence;
        self.bytes += entry.size();
        self.recent.push_back(entry);
        if self.bytes > self.budget && self.recent.len() > SPILL {
            self.spill();
        }
        sequence
    }

    pub(super) fn page(&self, index: usize, limit: usize) -> Vec<Entry> {
        let mut entries = if index < self.spilled.entries {
            self.spilled.read(index, limit).unwrap_or_else(|error| {
                tracing::error!(%error, "the journal on disk cannot be read");
                Vec::new()
            })
        } else {
            Vec::new()
        };
        let skip = index.saturating_sub(self.spilled.entries);
        let left = limit - entries.len();
        entries.extend(self.recent.iter().skip(skip).take(left).cloned());
        entries
    }

    /// The oldest entries go to the disk. Those that cannot, stay.
    fn spill(&mut self) {
        match self.spilled.append(self.recent.iter().take(SPILL)) {
            Ok(()) => {
                for entry in self.recent.drain(..SPILL) {
                    self.bytes -= entry.size();
                }
            }
            Err(error) => {
                tracing::warn!(%error, "the journal stays in memory: it cannot be written to disk");
                self.budget = self.budget.saturating_mul(2);
            }
        }
    }
}

impl Spilled {
    fn append<'a>(&mut self, entries: impl Iterator<Item = &'a Entry>) -> io::Result<()> {
        if self.file.is_none() {
            self.file = Some(tempfile::tempfile()?);
        }
        let Some(file) = &mut self.file else {
            return Ok(());
        };
        let mut lines = Vec::new();
        let mut marks = Vec::new();
        let mut count = self.entries;
        for entry in entries {
            if count.is_multiple_of(MARK) {
                marks.push(self.end + u64::try_from(lines.len()).unwrap_or_default());
            }
            serde_json::to_writer(&mut lines, entry)?;
            lines.push(b'\n');
            count += 1;
        }
        file.seek(SeekFrom::Start(self.end))?;
        file.write_all(&lines)?;
        self.end += u64::try_from(lines.len()).unwrap_or_default();
        self.entries = count;
        self.marks.extend(marks);
        Ok(())
    }

    fn read(&self, index: usize, limit: usize) -> io::Result<Vec<Entry>> {
        let (Some(file), Some(start)) = (&self.file, self.marks.get(index / MARK)) else {
            return Ok(Vec::new());
        };
        let mut reader = BufReader::new(file);
        reader.seek(SeekFrom::Start(*start))?;
        let count = limit.min(self.entries - index);
        let lines = reader.lines().skip(index % MARK).take(count);
        lines
            .map(|line| serde_json::from_str(&line?).map_err(io::Error::from))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::journal::{Body, Upstream};

    #[test]
    fn what_went_to_the_disk_comes_back_as_it_was() {
        let (mut small, mut large) = (Kept::within(20_000), Kept::within(usize::MAX));
        for index in 0..3_000_u64 {
            let mut entry = Entry::new(Upstream::Claude, format!("POST {index}"), index);
            entry.request = Some(Body::copied(format!("{{\"a\": [{index}]}}").as_bytes()));
            entry.headers = "a: b\nc: \u{e9}".to_owned();
            assert_eq!(small.push(entry.clone()), index);
            large.push(entry);
        }
        assert!(small.recent.len() < 200 && small.bytes <= 20_000 + 1_000);
        let shown = |kept: &Kept, index, limit| -> Vec<_> {
            kept.page(index, limit)
                .into_iter()
                .map(|entry| {
                    let request = entry.request.as_ref().map(Body::json);
                    (entry.sequence, entry.what, request, entry.headers)
                })
                .collect()
        };
        for (index, limit) in [
            (0, usize::MAX),
            (1_023, 3),
            (2_000, 900),
            (2_999, 9),
            (4_000, 1),
        ] {
            assert_eq!(shown(&small, index, limit), shown(&large, index, limit));
        }
    }
}
