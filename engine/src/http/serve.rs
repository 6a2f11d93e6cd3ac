//! Connections: accepted, given a time within which a request has to be read, and drained at the end.

use axum::Router;
use axum::extract::ConnectInfo;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
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
                let connection = http.serve_connection(
                    TokioIo::new(prompt(stream)),
                    TowerToHyperService::new(from(address, routes.clone())),
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

/// Requests know where they come from.
fn from(
    address: SocketAddr,
    routes: Router,
) -> impl tower::Service<
    hyper::Request<hyper::body::Incoming>,
    Response = axum::response::Response,
    Error = std::convert::Infallible,
    Future: Send,
> + Clone {
    routes.map_request(move |mut request: hyper::Request<hyper::body::Incoming>| {
        request.extensions_mut().insert(ConnectInfo(address));
        request
    })
}
