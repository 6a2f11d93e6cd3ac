//! A connection that can be told to write its next head slowly, or to end with a reset.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Sleep, sleep};

/// What a connection is told by who answers its requests.
#[derive(Debug, Default)]
pub(crate) struct Orders {
    reset: AtomicBool,
    /// The time between two bytes of the next head, in nanoseconds.
    slow_head: AtomicU64,
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
}

#[derive(Debug)]
pub(super) struct Wire {
    stream: TcpStream,
    orders: Arc<Orders>,
    /// The pause after the last byte of a slow head.
    pause: Option<Pin<Box<Sleep>>>,
    /// The last four bytes of a slow head.
    tail: [u8; 4],
}

impl Wire {
    pub(super) fn new(stream: TcpStream, orders: Arc<Orders>) -> Self {
        Self {
            stream,
            orders,
            pause: None,
            tail: [0; 4],
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
        let written = ready!(Pin::new(&mut self.stream).poll_write(context, &[*byte]))?;
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
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Wire {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.orders.slow_head.load(Ordering::SeqCst) {
            0 => Pin::new(&mut self.stream).poll_write(context, buffer),
            between => self.poll_write_head(context, buffer, between),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.orders.slow_head.load(Ordering::SeqCst) {
            0 => Pin::new(&mut self.stream).poll_write_vectored(context, buffers),
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

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.orders.reset.load(Ordering::SeqCst) {
            return Poll::Ready(Ok(()));
        }
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
