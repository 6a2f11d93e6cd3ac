//! Serves a mock on a listener of its own until it is told to stop, and does not while there is an outage.

mod paced;
mod wire;

pub(crate) use paced::Paced;
pub(crate) use wire::Orders;

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::script::{Outage, OutageKind};
use wire::Wire;

/// How long answers under way may take once it is told to stop.
const GRACE: Duration = Duration::from_secs(2);
/// How long a client may take to send a request's head.
const HEAD: Duration = Duration::from_mins(1);

/// What answers. No response means that the connection is broken off.
pub(crate) trait Service: Send + Sync + 'static {
    fn serve(self: Arc<Self>, request: Request) -> impl Future<Output = Option<Response>> + Send;
}

/// A server in a task of its own.
#[derive(Debug)]
pub(crate) struct Server {
    address: SocketAddr,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Front<S> {
    service: Arc<S>,
    address: SocketAddr,
    outages: Vec<Outage>,
    began: Instant,
    stop: CancellationToken,
    connections: TaskTracker,
}

impl Server {
    pub(crate) async fn start<S: Service>(
        listen: SocketAddr,
        service: Arc<S>,
        outages: Vec<Outage>,
    ) -> Result<Self, io::Error> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        let stop = CancellationToken::new();
        let front = Front {
            service,
            address,
            outages,
            began: Instant::now(),
            stop: stop.clone(),
            connections: TaskTracker::new(),
        };
        Ok(Self {
            address,
            stop,
            task: tokio::spawn(front.run(listener)),
        })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) async fn shutdown(self) {
        self.stop.cancel();
        if let Err(error) = self.task.await {
            tracing::error!(%error, "a mock's server ended badly");
        }
    }
}

impl<S: Service> Front<S> {
    async fn run(self, first: TcpListener) {
        let mut listener = Some(first);
        // Ends the connections of the time before an outage.
        let mut open = CancellationToken::new();
        while !self.stop.is_cancelled() {
            let (refuses, change) = self.refusal();
            let change = async {
                match change {
                    Some(change) => tokio::time::sleep(change).await,
                    None => std::future::pending().await,
                }
            };
            if refuses {
                listener = None;
                std::mem::take(&mut open).cancel();
                tokio::select! {
                    () = change => {}
                    () = self.stop.cancelled() => {}
                }
                continue;
            }
            let Some(listening) = &listener else {
                match TcpListener::bind(self.address).await {
                    Ok(again) => listener = Some(again),
                    Err(error) => {
                        tracing::debug!(%error, "not yet free after an outage");
                        tokio::time::sleep(Duration::from_millis(1)).await;
                    }
                }
                continue;
            };
            tokio::select! {
                accepted = listening.accept() => match accepted {
                    Ok((stream, _)) => self.connection(stream, open.clone()),
                    // Out of file descriptors, mostly: some are closed soon.
                    Err(error) => {
                        tracing::warn!(%error, "a connection could not be accepted");
                        tokio::time::sleep(Duration::from_millis(10)).await;
                    }
                },
                () = change => {}
                () = self.stop.cancelled() => {}
            }
        }
        drop(listener);
        self.connections.close();
        self.connections.wait().await;
    }

    /// Whether connections are refused now, and when that may change.
    fn refusal(&self) -> (bool, Option<Duration>) {
        let refusing = self
            .outages
            .iter()
            .filter(|outage| outage.kind == OutageKind::Refuse);
        let now = u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX);
        let (mut refuses, mut change) = (false, None);
        for outage in refusing {
            refuses |= outage.window.is_open(now);
            let next = outage.window.next_change(now);
            change = change.into_iter().chain(next).min();
        }
        (refuses, change)
    }

    fn connection(&self, stream: TcpStream, open: CancellationToken) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "no TCP_NODELAY");
        }
        let orders = Arc::new(Orders::default());
        let wire = Wire::new(stream, Arc::clone(&orders));
        let service = Arc::clone(&self.service);
        let given = Arc::clone(&orders);
        let serve = service_fn(move |request: hyper::Request<hyper::body::Incoming>| {
            let service = Arc::clone(&service);
            let mut request = request.map(Body::new);
            request.extensions_mut().insert(Arc::clone(&given));
            async move {
                let response = service.serve(request).await;
                response.ok_or(io::Error::from(io::ErrorKind::ConnectionAborted))
            }
        });
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD)
            .serve_connection(TokioIo::new(wire), serve);
        let stop = self.stop.clone();
        self.connections.spawn(async move {
            let mut connection = std::pin::pin!(connection);
            tokio::select! {
                ended = connection.as_mut() => {
                    if let Err(error) = ended {
                        tracing::trace!(%error, "a connection broke");
                    }
                }
                () = open.cancelled() => orders.reset(),
                () = stop.cancelled() => {
                    connection.as_mut().graceful_shutdown();
                    // What stalls would never end.
                    if tokio::time::timeout(GRACE, connection).await.is_err() {
                        tracing::trace!("a connection was given up");
                    }
                }
            }
        });
    }
}
