//! Pieces of a chunked body that are written straight to the socket, each at its time.
//!
//! Waking a connection's task and going through the server costs three times what the write itself does. So the timer's
//! thread writes, while the server, which has sent all that comes before, waits for the body to go on.

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Wake, Waker, ready};
use std::time::Instant;

use bytes::Bytes;
use tokio::net::TcpStream;

use crate::timer::Timer;

/// Pieces of a body, from when the connection has [begun](Paced::begin) them until all are written or it is dropped.
#[derive(Debug)]
pub(crate) struct Paced {
    sending: Arc<Sending>,
    /// Not yet handed to the connection.
    prepared: Option<Prepared>,
}

#[derive(Debug)]
struct Sending {
    timer: Timer,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// There while pieces are written.
    socket: Option<Arc<TcpStream>>,
    /// The pieces as they go over the wire.
    bytes: Vec<u8>,
    written: usize,
    marks: Vec<Mark>,
    /// How many marks have been passed.
    passed: usize,
    /// Actual less scheduled times of the marks that were passed, in nanoseconds.
    lags: Vec<u64>,
    /// The socket takes no more for now.
    full: bool,
    ended: Option<Result<(), io::ErrorKind>>,
    /// Who waits for the end.
    waiting: Option<Waker>,
}

/// Where a piece ends, and when it is due.
#[derive(Debug)]
struct Mark {
    due: Instant,
    end: usize,
}

/// What is to be done after a write.
enum Next {
    At(Instant),
    Tell(Option<Waker>),
}

/// What the connection is told: from when on it may write these pieces.
#[derive(Debug)]
pub(crate) struct Prepared {
    sending: Arc<Sending>,
}

impl Paced {
    /// Pieces with their times, in order.
    pub(crate) fn new(timer: Timer, pieces: impl Iterator<Item = (Instant, Bytes)>) -> Self {
        let mut bytes = Vec::new();
        let mut marks: Vec<Mark> = Vec::with_capacity(pieces.size_hint().0);
        for (due, piece) in pieces {
            // An empty chunk would end the body.
            if !piece.is_empty() {
                bytes.extend_from_slice(format!("{:X}\r\n", piece.len()).as_bytes());
                bytes.extend_from_slice(&piece);
                bytes.extend_from_slice(b"\r\n");
            }
            let earliest = marks.last().map_or(due, |mark| mark.due);
            marks.push(Mark {
                due: due.max(earliest),
                end: bytes.len(),
            });
        }
        let state = State {
            socket: None,
            bytes,
            written: 0,
            lags: Vec::with_capacity(marks.len()),
            marks,
            passed: 0,
            full: false,
            ended: None,
            waiting: None,
        };
        let state = Mutex::new(state);
        let sending = Arc::new(Sending { timer, state });
        let prepared = Prepared {
            sending: Arc::clone(&sending),
        };
        Self {
            sending,
            prepared: Some(prepared),
        }
    }

    /// What the connection is told, once.
    pub(crate) fn prepared(&mut self) -> Option<Prepared> {
        self.prepared.take()
    }

    /// Ready when all has been written, or cannot be.
    pub(crate) fn poll(&self, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut state = self.sending.lock();
        if let Some(ended) = state.ended {
            return Poll::Ready(ended.map_err(io::Error::from));
        }
        let known = state.waiting.as_ref();
        if !known.is_some_and(|waker| waker.will_wake(context.waker())) {
            state.waiting = Some(context.waker().clone());
        }
        if state.full
            && let Some(socket) = &state.socket
        {
            ready!(socket.poll_write_ready(context))?;
            state.full = false;
            drop(state);
            self.sending
                .timer
                .wake_at(Instant::now(), Arc::clone(&self.sending).into());
        }
        Poll::Pending
    }

    /// How late the pieces were that have been written.
    pub(crate) fn lags(&self) -> Vec<u64> {
        std::mem::take(&mut self.sending.lock().lags)
    }
}

impl Drop for Paced {
    fn drop(&mut self) {
        let mut state = self.sending.lock();
        state.socket = None;
        // The timer may hold what is left of this for long.
        state.bytes = Vec::new();
        state.marks = Vec::new();
        state.waiting = None;
    }
}

impl Prepared {
    /// The pieces are written from now on; all that comes before them has been.
    pub(super) fn begin(self, socket: Arc<TcpStream>) {
        self.sending.lock().socket = Some(socket);
        self.sending.write();
    }
}

impl Sending {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes what is due, and comes again for what is not.
    fn write(self: Arc<Self>) {
        let next = self.lock().write();
        match next {
            Next::At(due) => {
                let timer = self.timer.clone();
                timer.wake_at(due, self.into());
            }
            Next::Tell(waiting) => waiting.into_iter().for_each(Waker::wake),
        }
    }
}

impl Wake for Sending {
    fn wake(self: Arc<Self>) {
        self.write();
    }
}

impl State {
    fn write(&mut self) -> Next {
        while let Some(socket) = &self.socket {
            let now = Instant::now();
            let left = &self.marks[self.passed..];
            let due = left.iter().take_while(|mark| mark.due <= now).last();
            let Some(end) = due.map(|mark| mark.end) else {
                match left.first() {
                    Some(mark) => return Next::At(mark.due),
                    None => self.end(Ok(())),
                }
                break;
            };
            // A mark may have nothing to write.
            if end > self.written {
                match socket.try_write(&self.bytes[self.written..end]) {
                    Ok(written) => self.written += written,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                        self.full = true;
                        break;
                    }
                    Err(error) => {
                        self.end(Err(error.kind()));
                        break;
                    }
                }
            }
            self.pass();
        }
        Next::Tell(self.waiting.take())
    }

    /// Passes the marks up to which all is written.
    fn pass(&mut self) {
        let now = Instant::now();
        while let Some(mark) = self.marks.get(self.passed)
            && mark.end <= self.written
            && mark.due <= now
        {
            let lag = now.saturating_duration_since(mark.due).as_nanos();
            self.lags.push(u64::try_from(lag).unwrap_or(u64::MAX));
            self.passed += 1;
        }
    }

    fn end(&mut self, ended: Result<(), io::ErrorKind>) {
        self.socket = None;
        self.ended = Some(ended);
    }
}
