//! As much of Postgres' protocol, version 3, as it takes to know which statement runs.

use crate::journal::nonce_in;
use std::collections::HashMap;

/// No message that matters is longer; of longer ones the beginning is looked at.
const LOOKED_AT: usize = 1 << 20;

/// Cuts a stream into messages: `(kind, body)`, kind 0 for the client's start.
#[derive(Debug)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    starting: bool,
    skip: usize,
}

impl Frames {
    pub(super) fn of_client() -> Self {
        Self {
            buffer: Vec::new(),
            starting: true,
            skip: 0,
        }
    }

    pub(super) fn of_server() -> Self {
        Self {
            buffer: Vec::new(),
            starting: false,
            skip: 0,
        }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) -> Vec<(u8, Vec<u8>)> {
        let skipped = self.skip.min(bytes.len());
        self.skip -= skipped;
        self.buffer.extend_from_slice(&bytes[skipped..]);
        let mut messages = Vec::new();
        let mut at = 0;
        loop {
            let head = if self.starting { 4 } else { 5 };
            let Some(header) = self.buffer.get(at..at + head) else {
                break;
            };
            let kind = if self.starting { 0 } else { header[0] };
            let length = &header[head - 4..];
            let length = u32::from_be_bytes([length[0], length[1], length[2], length[3]]) as usize;
            let whole = head - 4 + length.max(4);
            let present = self.buffer.len() - at;
            if present < whole && whole < LOOKED_AT {
                break;
            }
            let end = at + whole.min(present);
            messages.push((kind, self.buffer[at + head..end].to_vec()));
            self.skip = whole.saturating_sub(present);
            if self.starting {
                // A request for encryption has its own number and is answered with one byte; the start follows.
                let number = self.buffer.get(at + 4..at + 8).unwrap_or_default();
                self.starting = matches!(number, [4, 210, 22, 47 | 48]);
            }
            at = end;
            if self.skip > 0 {
                break;
            }
        }
        self.buffer.drain(..at);
        messages
    }
}

/// The `application_name` of a start message.
pub(super) fn application(start: &[u8]) -> Option<String> {
    let mut texts = start
        .get(4..)?
        .split(|byte| *byte == 0)
        .map(|text| String::from_utf8_lossy(text).into_owned());
    while let (Some(name), Some(value)) = (texts.next(), texts.next()) {
        if name == "application_name" {
            return Some(value);
        }
    }
    None
}

/// A statement that is run.
#[derive(Debug)]
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
    /// Takes a message; says when it runs a statement.
    pub(super) fn heard(&mut self, kind: u8, body: &[u8]) -> Option<Ran> {
        let mut texts = body.splitn(3, |byte| *byte == 0);
        let first = texts.next()?.to_vec();
        match kind {
            b'Q' => Some(Ran {
                text: String::from_utf8_lossy(&first).into_owned(),
                nonce: None,
            }),
            b'P' => {
                let text = String::from_utf8_lossy(texts.next()?).into_owned();
                self.prepared.insert(first, text);
                None
            }
            b'B' => {
                let text = self
                    .prepared
                    .get(texts.next()?)
                    .cloned()
                    .unwrap_or_default();
                let nonce = nonce_in(&String::from_utf8_lossy(body)).map(ToOwned::to_owned);
                self.bound.insert(first, (text, nonce));
                None
            }
            b'E' => {
                let (text, nonce) = self.bound.get(&first)?.clone();
                Some(Ran { text, nonce })
            }
            _ => None,
        }
    }
}
