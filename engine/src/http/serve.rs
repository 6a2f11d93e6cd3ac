//! Connections: accepted, given a time within which a request has to be read, and drained at the end.

use super::unread::ReadToEnd;
use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tower::ServiceExt as _;

/// At the same time; who comes later waits to be accepted.
const MOST_CONNECTIONS: usize = 8_192;
/// For the head of a request, and between two of them.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// After an accept that failed, for want of file descriptors for example.
const PAUSE: Duration = Duration::from_millis(50);

/// Serves until `stop` resolves; returns once every request under way is answered.
pub(crate) async fn serve(listener: TcpListener, routes: Router, stop: impl Future<Output = ()>) {
    let drain = GracefulShutdown::new();
    let room = Arc::new(Semaphore::new(MOST_CONNECTIONS));
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .half_close(false);
    let mut stop = std::pin::pin!(stop);
    loop {
        let accepting = async {
            let place = room.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            accepted = accepting => accepted,
            () = &mut stop => break,
        };
        match accepted {
            Ok((stream, address)) => {
                let read = HeadRead::default();
                let connection = http.serve_connection(
                    TokioIo::new(Timed {
                        stream: prompt(stream),
                        read: read.clone(),
                    }),
                    TowerToHyperService::new(from(address, read, routes.clone())),
                );
                let connection = drain.watch(connection);
                tokio::spawn(async move {
                    if let Err(error) = connection.await {
                        tracing::debug!(%error, "a connection ended early");
                    }
                    drop(place);
                });
            }
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(PAUSE).await;
            }
        }
    }
    drop(listener);
    drain.shutdown().await;
}

/// Small answers do not wait for more.
fn prompt(stream: TcpStream) -> TcpStream {
    drop(stream.set_nodelay(true));
    stream
}

/// When something was last read of a connection: for a handler, when the head of its request was there.
#[derive(Debug, Clone)]
pub(super) struct HeadRead(Arc<Mutex<Instant>>);

impl Default for HeadRead {
    fn default() -> Self {
        Self(Arc::new(Mutex::new(Instant::now())))
    }
}

impl HeadRead {
    /// Asked before anything more is read.
    pub(super) fn at(&self) -> Instant {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A stream that notes when it is read.
struct Timed {
    stream: TcpStream,
    read: HeadRead,
}

impl AsyncRead for Timed {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        if buffer.filled().len() > before {
            *self.read.0.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
        }
        polled
    }
}

impl AsyncWrite for Timed {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, bytes)
    }
}

/// Requests know where they come from, and when their head was read.
fn from(
    address: SocketAddr,
    read: HeadRead,
    routes: Router,
) -> impl tower::Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    routes.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        request.extensions_mut().insert(read.clone());
        let waits = request.headers().contains_key(hyper::header::EXPECT);
        request.map(|body| {
            if waits {
                axum::body::Body::new(body)
            } else {
                axum::body::Body::new(ReadToEnd::new(body))
            }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    /// More than what lies in the buffers of a connection, so that an answer is there long before all is sent.
    const LONG: usize = 16 << 20;

    #[tokio::test]
    async fn who_sends_a_body_that_nobody_reads_gets_the_answer_whole() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let routes = Router::new().fallback(|| async { "nothing is here" });
        let server = tokio::spawn(serve(listener, routes, std::future::pending()));
        let mut client = TcpStream::connect(address).await.unwrap();
        for _ in 0..2 {
            let head = format!("POST / HTTP/1.1\r\nhost: x\r\ncontent-length: {LONG}\r\n\r\n");
            client.write_all(head.as_bytes()).await.unwrap();
            client.write_all(&vec![b'a'; LONG]).await.unwrap();
            let mut answer = vec![0; 4096];
            let mut length = 0;
            while !answer[..length].ends_with(b"nothing is here") {
                let read = client.read(&mut answer[length..]).await.unwrap();
                assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer[..length]));
                length += read;
            }
        }
        server.abort();
    }
}
