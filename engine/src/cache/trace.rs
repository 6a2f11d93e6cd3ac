//! Writes what is asked to a file, for `fact cache replay`: one line a question, no text of it.

use super::replay::Asked;
use std::fs::File;
use std::io::{BufWriter, Write as _};
use std::path::Path;
use std::sync::mpsc::{RecvTimeoutError, SyncSender, sync_channel};
use std::time::Duration;

/// Lines that wait to be written; the engine does not wait for the disk, and what is too much is left out.
const MOST_WAITING: usize = 65_536;
const FLUSH_EVERY: Duration = Duration::from_secs(1);

/// Where a trace is written.
#[derive(Debug, Clone)]
pub struct Trace(SyncSender<Asked>);

impl Trace {
    /// Appends to this file.
    pub fn open(path: &Path) -> std::io::Result<Self> {
        let file = File::options().create(true).append(true).open(path)?;
        let (sender, lines) = sync_channel::<Asked>(MOST_WAITING);
        std::thread::Builder::new()
            .name("cache-trace".into())
            .spawn(move || {
                let mut file = BufWriter::new(file);
                loop {
                    let written = match lines.recv_timeout(FLUSH_EVERY) {
                        Ok(asked) => serde_json::to_vec(&asked)
                            .map_err(std::io::Error::from)
                            .and_then(|mut line| {
                                line.push(b'\n');
                                file.write_all(&line)
                            }),
                        Err(RecvTimeoutError::Timeout) => file.flush(),
                        Err(RecvTimeoutError::Disconnected) => break,
                    };
                    if let Err(error) = written {
                        tracing::error!(%error, "the cache's trace cannot be written any more");
                        return;
                    }
                }
                drop(file.flush());
            })?;
        Ok(Self(sender))
    }

    /// Adds a question.
    pub fn add(&self, asked: Asked) {
        drop(self.0.try_send(asked));
    }
}
