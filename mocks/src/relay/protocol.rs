//! As much of Postgres' protocol, version 3, as it takes to know which statement runs.

use crate::journal::nonce_in;
use std::collections::HashMap;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// Of longer messages only the beginning is looked at.
const LOOKED_AT: usize = 1 << 20;
/// Postgres itself takes no longer start.
const LONGEST_START: usize = 10_000;
/// Requests for encryption, by TLS and by GSSAPI: the last four bytes before the start proper.
const ENCRYPTION: [[u8; 4]; 2] = [[4, 210, 22, 47], [4, 210, 22, 48]];

/// Reads a client's start (or its request to cancel) with its length; says no to encryption, which would hide the statements.
pub(super) async fn start(
    client: &mut (impl AsyncRead + AsyncWrite + Unpin),
) -> std::io::Result<Vec<u8>> {
    loop {
        let mut message = vec![0; 4];
        client.read_exact(&mut message).await?;
        let length = u32::from_be_bytes([message[0], message[1], message[2], message[3]]);
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        if !(8..=LONGEST_START).contains(&length) {
            return Err(std::io::ErrorKind::InvalidData.into());
        }
        message.resize(length, 0);
        client.read_exact(&mut message[4..]).await?;
        if !ENCRYPTION.iter().any(|number| message[4..] == *number) {
            return Ok(message);
        }
        client.write_all(b"N").await?;
    }
}

/// The `application_name` of a start.
pub(super) fn application(start: &[u8]) -> Option<String> {
    let mut texts = start
        .get(8..)?
        .split(|byte| *byte == 0)
        .map(String::from_utf8_lossy);
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        if name == "application_name" {
            return Some(value.into_owned());
        }
    }
    None
}

/// Cuts a stream into messages after the start.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    skip: usize,
}

impl Frames {
    /// Takes what was read; hands on every message that it completes, as kind and body.
    pub(super) fn push(&mut self, bytes: &[u8], mut message: impl FnMut(u8, &[u8])) {
        const HEAD: usize = 5;
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
        let mut at = 0;
        while let Some(&[kind, a, b, c, d]) = self.buffer.get(at..at + HEAD) {
            let length = usize::try_from(u32::from_be_bytes([a, b, c, d])).unwrap_or(usize::MAX);
            let whole = length.max(4).saturating_add(1);
            let present = self.buffer.len() - at;
            if present < whole.min(LOOKED_AT) {
                break;
            }
            let end = at + whole.min(present);
            message(kind, &self.buffer[at + HEAD..end]);
            self.skip = whole.saturating_sub(present);
            at = end;
        }
        self.buffer.drain(..at);
    }
}

/// What a client's message means for the journal.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// A statement in the simple protocol: runs, and the server is ready again after it.
    Query(Ran),
    /// A portal that is run.
    Execute(Ran),
    /// The server will say that it is ready again.
    Sync,
    /// Nothing.
    Other,
}

/// A statement that is run.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Ran {
    pub(super) text: String,
    pub(super) nonce: Option<String>,
}

/// What the client has prepared and bound.
#[derive(Debug, Default)]
pub(super) struct Statements {
    prepared: HashMap<Vec<u8>, String>,
    bound: HashMap<Vec<u8>, (String, Option<String>)>,
}

impl Statements {
    /// Takes a message of the client's.
    pub(super) fn heard(&mut self, kind: u8, body: &[u8]) -> Heard {
        let mut texts = body.splitn(3, |byte| *byte == 0);
        let first = texts.next().unwrap_or_default();
        let second = texts.next().unwrap_or_default();
        match kind {
            b'Q' => {
                let text = String::from_utf8_lossy(first).into_owned();
                let nonce = nonce_in(&text).map(ToOwned::to_owned);
                Heard::Query(Ran { text, nonce })
            }
            b'P' => {
                let text = String::from_utf8_lossy(second).into_owned();
                self.prepared.insert(first.to_vec(), text);
                Heard::Other
            }
            b'B' => {
                let text = self.prepared.get(second).cloned().unwrap_or_default();
                let parameters = String::from_utf8_lossy(body);
                let nonce = nonce_in(&text).or_else(|| nonce_in(&parameters));
                let nonce = nonce.map(ToOwned::to_owned);
                self.bound.insert(first.to_vec(), (text, nonce));
                Heard::Other
            }
            b'E' => {
                let (text, nonce) = self.bound.get(first).cloned().unwrap_or_default();
                Heard::Execute(Ran { text, nonce })
            }
            b'S' | b'F' => Heard::Sync,
            _ => Heard::Other,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_the_same_however_the_stream_is_cut() {
        let mut stream = vec![b'Q', 0, 0, 0, 6, b'x', 0, b'S', 0, 0, 0, 4];
        let long = LOOKED_AT + 7;
        stream.push(b'd');
        stream.extend(u32::try_from(long + 4).unwrap().to_be_bytes());
        stream.extend(vec![7; long]);
        stream.extend([b'Z', 0, 0, 0, 5, b'I']);
        for size in [1, 3, 4096, stream.len()] {
            let mut seen = Vec::new();
            let mut frames = Frames::default();
            for part in stream.chunks(size) {
                frames.push(part, |kind, _| seen.push(kind));
            }
            assert_eq!(seen, b"QSdZ", "in parts of {size} bytes");
        }
    }
}
