//! Reads events of the log backwards, from the disk: nothing of it is kept in memory.

use super::log::Readable;
use super::{AuditError, Page, Wanted};
use fact_wire::AuditEvent;
use std::fs::File;
use std::os::unix::fs::FileExt as _;

/// Read at once; a longer line takes more.
const BLOCK: usize = 64 << 10;
/// Looked at for one page. Where few of them are wanted, the page is short and the next one goes on.
const MOST_LOOKED_AT: usize = 50_000;

/// The newest events that are wanted, newest first.
pub(super) fn page(readable: &Readable, wanted: &Wanted) -> Result<Page, AuditError> {
    let mut page = Page::default();
    let mut looked_at = 0;
    let before = wanted.before.unwrap_or(u64::MAX);
    let mut files: Vec<(Option<u64>, &std::path::Path)> = vec![(None, std::path::Path::new(""))];
    files.extend(
        readable
            .older
            .iter()
            .rev()
            .map(|(first, path)| (Some(*first), path.as_path())),
    );
    for (first, path) in files {
        if first.is_some_and(|first| first >= before) {
            continue;
        }
        let opened;
        let (file, length) = if first.is_none() {
            (&*readable.current, readable.length)
        } else {
            opened = match File::open(path) {
                Ok(file) => file,
                // Its time was over meanwhile.
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => break,
                Err(error) => return Err(error.into()),
            };
            (&opened, opened.metadata()?.len())
        };
        let end = if before == u64::MAX {
            length
        } else {
            offset_of(file, length, before)?
        };
        let mut lines = Backwards::new(file, end);
        while let Some(line) = lines.next()? {
            let event: AuditEvent = serde_json::from_slice(&line).map_err(|_| AuditError::Torn)?;
            if wanted
                .since
                .as_ref()
                .is_some_and(|since| older(&event, *since))
            {
                return Ok(page);
            }
            let sequence = event.sequence;
            looked_at += 1;
            if wanted.takes(&event) {
                page.events.push(event);
            }
            let full = page.events.len() >= wanted.limit || looked_at >= MOST_LOOKED_AT;
            if full {
                let more = lines.at > 0
                    || readable
                        .older
                        .first()
                        .is_some_and(|(first, _)| *first < sequence);
                page.next = more.then_some(sequence);
                return Ok(page);
            }
        }
    }
    Ok(page)
}

/// Events are written in the order of their times, so that nothing before one of them is newer.
fn older(event: &AuditEvent, since: jiff::Timestamp) -> bool {
    event
        .at
        .parse::<jiff::Timestamp>()
        .is_ok_and(|at| at < since)
}

/// The first event.
pub(super) fn first(file: &File, length: u64) -> Result<Option<AuditEvent>, AuditError> {
    let end = line_end(file, 0, length)?;
    if end == 0 {
        return Ok(None);
    }
    event_between(file, 0, end).map(Some)
}

/// The last event.
pub(super) fn last(file: &File, length: u64) -> Result<Option<AuditEvent>, AuditError> {
    let line = Backwards::new(file, length).next()?;
    line.map(|line| serde_json::from_slice(&line).map_err(|_| AuditError::Torn))
        .transpose()
}

/// Behind the last line that is whole.
pub(super) fn end_of_last_line(file: &File, length: u64) -> std::io::Result<u64> {
    let mut end = length;
    let mut block = vec![0; BLOCK];
    while end > 0 {
        let start = end.saturating_sub(as_u64(BLOCK));
        let part = &mut block[..as_usize(end - start)];
        file.read_exact_at(part, start)?;
        if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
            return Ok(start + as_u64(at) + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Where the first event stands whose number is not below `sequence`.
fn offset_of(file: &File, length: u64, sequence: u64) -> Result<u64, AuditError> {
    // `low` is always the start of a line, or the end; everything before it is below.
    let (mut low, mut high) = (0, length);
    while low < high {
        let middle = low + (high - low) / 2;
        let start = end_of_last_line(file, middle)?.max(low);
        let end = line_end(file, start, length)?;
        if event_between(file, start, end)?.sequence < sequence {
            low = end;
        } else {
            high = start;
        }
    }
    Ok(low)
}

/// Behind the line that begins at `start`.
fn line_end(file: &File, start: u64, length: u64) -> std::io::Result<u64> {
    let mut at = start;
    let mut block = vec![0; 4 << 10];
    while at < length {
        let most = as_usize((length - at).min(as_u64(block.len())));
        file.read_exact_at(&mut block[..most], at)?;
        if let Some(found) = block[..most].iter().position(|byte| *byte == b'\n') {
            return Ok(at + as_u64(found) + 1);
        }
        at += as_u64(most);
    }
    Ok(length)
}

fn event_between(file: &File, start: u64, end: u64) -> Result<AuditEvent, AuditError> {
    let mut line = vec![0; as_usize(end - start)];
    file.read_exact_at(&mut line, start)?;
    serde_json::from_slice(&line).map_err(|_| AuditError::Torn)
}

/// The lines of a file, last first.
struct Backwards<'a> {
    file: &'a File,
    /// Where `held` begins in the file.
    held_from: u64,
    held: Vec<u8>,
    /// Behind the next line.
    at: u64,
}

impl<'a> Backwards<'a> {
    fn new(file: &'a File, end: u64) -> Self {
        Self {
            file,
            held_from: end,
            held: Vec::new(),
            at: end,
        }
    }

    fn next(&mut self) -> std::io::Result<Option<Vec<u8>>> {
        if self.at == 0 {
            return Ok(None);
        }
        loop {
            // Without the newline at its own end.
            let text = &self.held[..as_usize(self.at - self.held_from).saturating_sub(1)];
            let found = text
                .iter()
                .rposition(|byte| *byte == b'\n')
                .map(|at| at + 1);
            if let Some(start) = found.or((self.held_from == 0).then_some(0)) {
                let line = text[start..].to_vec();
                self.at = self.held_from + as_u64(start);
                return Ok(Some(line));
            }
            let from = self.held_from.saturating_sub(as_u64(BLOCK));
            let mut block = vec![0; as_usize(self.held_from - from)];
            self.file.read_exact_at(&mut block, from)?;
            self.held.truncate(as_usize(self.at - self.held_from));
            block.append(&mut self.held);
            self.held = block;
            self.held_from = from;
        }
    }
}

fn as_u64(number: usize) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}
