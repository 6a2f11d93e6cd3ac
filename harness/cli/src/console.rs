//! Where words go: data to stdout, words for people to stderr. A closed pipe is no error.

use std::io::{IsTerminal as _, Write as _};

/// Data, one line.
pub(crate) fn data(text: &str) {
    drop(writeln!(std::io::stdout().lock(), "{text}"));
}

/// Words for people, one line.
pub(crate) fn note(text: &str) {
    drop(writeln!(std::io::stderr().lock(), "{text}"));
}

/// Overwrites one line while something is going on; nothing unless a person watches.
pub(crate) fn progress(text: &str) {
    let mut stderr = std::io::stderr().lock();
    if stderr.is_terminal() {
        drop(write!(stderr, "\r\x1b[2K{text}"));
        drop(stderr.flush());
    }
}
