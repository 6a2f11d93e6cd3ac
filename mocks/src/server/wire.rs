//! A connection that can be told to write its next head slowly, to hand its socket over, or to end with a reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

use super::paced::Prepared;

/// What a connection is told by who answers its requests.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    reset: AtomicBool,
    /// The time between two bytes of the next head, in nanoseconds.
    slow_head: AtomicU64,
    /// What is written at its times once all before it has been.
    paced: Mutex<Option<Prepared>>,
}

impl Orders {
    /// The connection ends with a reset instead of a close.
    pub(crate) fn reset(&self) {
        self.reset.store(true, Ordering::SeqCst);
    }

    /// The next head comes byte by byte.
    pub(crate) fn slow_head(&self, between: Duration) {
        let ns = u64::try_from(between.as_nanos()).unwrap_or(u64::MAX);
        self.slow_head.store(ns, Ordering::SeqCst);
    }

    /// From the next flush on, these pieces are written; the body waits for them.
    pub(crate) fn hand_over(&self, prepared: Prepared) {
        *self.paced.lock().unwrap_or_else(PoisonError::into_inner) = Some(prepared);
    }

    fn handed_over(&self) -> Option<Prepared> {
        self.paced
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take()
    }
}

#[derive(Debug)]
pub(super) struct Wire {
    stream: Arc<TcpStream>,
    orders: Arc<Orders>,
    /// The pause after the last byte of a slow head.
    pause: Option<Pin<Box<Sleep>>>,
    /// The last four bytes of a slow head.
    tail: [u8; 4],
}

impl Wire {
    pub(super) fn new(stream: TcpStream, orders: Arc<Orders>) -> Self {
        Self {
            stream: Arc::new(stream),
            orders,
            pause: None,
            tail: [0; 4],
        }
    }

    fn poll_write_now(
        &self,
        context: &mut Context<'_>,
        write: impl Fn(&TcpStream) -> io::Result<usize>,
    ) -> Poll<io::Result<usize>> {
        loop {
            ready!(self.stream.poll_write_ready(context))?;
            match write(&self.stream) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                written => return Poll::Ready(written),
            }
        }
    }

    fn poll_write_head(
        &mut self,
        context: &mut Context<'_>,
        buffer: &[u8],
        between: u64,
    ) -> Poll<io::Result<usize>> {
        if let Some(pause) = &mut self.pause {
            ready!(pause.as_mut().poll(context));
        }
        let Some(byte) = buffer.first() else {
            return Poll::Ready(Ok(0));
        };
        let written = ready!(self.poll_write_now(context, |stream| stream.try_write(&[*byte])))?;
        self.pause = Some(Box::pin(sleep(Duration::from_nanos(between))));
        self.tail.rotate_left(1);
        self.tail[3] = *byte;
        if self.tail == *b"\r\n\r\n" {
            self.orders.slow_head.store(0, Ordering::SeqCst);
            self.pause = None;
            self.tail = [0; 4];
        }
        Poll::Ready(Ok(written))
    }
}

impl Drop for Wire {
    fn drop(&mut self) {
        if self.orders.reset.load(Ordering::SeqCst)
            && let Err(error) = self.stream.set_zero_linger()
        {
            tracing::debug!(%error, "a connection closes instead of being reset");
        }
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        loop {
            ready!(self.stream.poll_read_ready(context))?;
            match self.stream.try_read_buf(buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                read => return Poll::Ready(read.map(|_| ())),
            }
        }
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.orders.slow_head.load(Ordering::SeqCst) {
            0 => self.poll_write_now(context, |stream| stream.try_write(buffer)),
            between => self.poll_write_head(context, buffer, between),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.orders.slow_head.load(Ordering::SeqCst) {
            0 => self.poll_write_now(context, |stream| stream.try_write_vectored(buffers)),
            between => {
                let first = buffers.iter().find(|buffer| !buffer.is_empty());
                let first = first.map_or(&[][..], |buffer| &**buffer);
                self.poll_write_head(context, first, between)
            }
        }
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        if let Some(prepared) = self.orders.handed_over() {
            prepared.begin(Arc::clone(&self.stream));
        }
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.orders.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        match Arc::get_mut(&mut self.stream) {
            Some(stream) => Pin::new(stream).poll_shutdown(context),
            // Closed when what is written has been.
            None => Poll::Ready(Ok(())),
        }
    }
}
