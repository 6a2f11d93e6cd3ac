//! Pages for the web tool on one address that it may reach, and canaries on addresses that it may not.

use crate::script::Millis;
use crate::server::{Server, Service};
use axum::body::Body;
use axum::extract::Request;
use axum::response::Response;
use bytes::Bytes;
use futures_util::StreamExt as _;
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use std::io::Write as _;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What is served at a path.
#[derive(Debug, Clone, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Page {
    /// 200 without it.
    #[serde(default = "ok")]
    pub status: u16,
    /// Headers by name.
    #[serde(default)]
    pub headers: IndexMap<String, String>,
    /// The body.
    #[serde(default)]
    pub body: String,
    /// How many times the body is sent.
    #[serde(default = "once")]
    pub times: u32,
    /// Compressed, whatever is asked for.
    #[serde(default)]
    pub gzip: bool,
    /// One byte after each such time.
    #[serde(default)]
    pub drip: Option<Millis>,
}

fn ok() -> u16 {
    200
}

fn once() -> u32 {
    1
}

/// The pages and the canaries; they end when this is shut down.
#[derive(Debug)]
pub struct Site {
    /// Where the pages are.
    pub address: SocketAddr,
    /// The canaries' port, the same on every address.
    pub canary_port: u16,
    server: Server,
    pages: Arc<RwLock<IndexMap<String, Page>>>,
    canaries: Vec<JoinHandle<()>>,
    touched: Arc<AtomicU64>,
}

/// Addresses that nobody may reach through the web tool; those that this machine has.
const FORBIDDEN: [IpAddr; 3] = [
    IpAddr::V4(Ipv4Addr::LOCALHOST),
    IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)),
    IpAddr::V6(Ipv6Addr::LOCALHOST),
];

/// The pages as a service.
struct Served(Arc<RwLock<IndexMap<String, Page>>>);

impl Service for Served {
    async fn serve(self: Arc<Self>, request: Request) -> Option<Response> {
        let pages = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let page = pages.get(request.uri().path()).cloned();
        drop(pages);
        Some(page.map_or_else(missing, |page| serve(&page)))
    }
}

impl Site {
    /// Serves these pages. Their texts may hold `{{ web }}` (this site's address) and `{{ canary }}` (the canaries' port).
    pub async fn start(pages: IndexMap<String, Page>, secret: &str) -> std::io::Result<Self> {
        let touched: Arc<AtomicU64> = Arc::default();
        let (canary_port, canaries) = canaries(secret, &touched).await?;
        // The address is known once it is bound, and stands in the pages then.
        let listener = std::net::TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        drop(listener);
        let fill = |text: &str| {
            text.replace("{{ web }}", &address.to_string())
                .replace("{{ canary }}", &canary_port.to_string())
        };
        let pages = pages.into_iter().map(|(path, mut page)| {
            page.body = fill(&page.body);
            for value in page.headers.values_mut() {
                *value = fill(value);
            }
            (path, page)
        });
        let pages: Arc<RwLock<IndexMap<String, Page>>> = Arc::new(RwLock::new(pages.collect()));
        let served = Arc::new(Served(pages.clone()));
        Ok(Self {
            address,
            canary_port,
            server: Server::start(address, served, Vec::new()).await?,
            pages,
            canaries,
            touched,
        })
    }

    /// From now on this text is served there.
    pub fn write(&self, path: &str, body: &str) {
        let page = Page {
            status: ok(),
            headers: IndexMap::new(),
            body: body.to_owned(),
            times: once(),
            gzip: false,
            drip: None,
        };
        let mut pages = self.pages.write().unwrap_or_else(PoisonError::into_inner);
        pages.insert(path.to_owned(), page);
    }

    /// How often a canary was connected to.
    pub fn touched(&self) -> u64 {
        self.touched.load(Relaxed)
    }

    /// Stops listening.
    pub async fn shutdown(self) {
        for canary in self.canaries {
            canary.abort();
        }
        self.server.shutdown().await;
    }
}

/// Listeners on one port of every forbidden address, each shown to notice a connection.
async fn canaries(
    secret: &str,
    touched: &Arc<AtomicU64>,
) -> std::io::Result<(u16, Vec<JoinHandle<()>>)> {
    let mut port = 0;
    let mut tasks = Vec::new();
    for address in FORBIDDEN {
        let listener = match TcpListener::bind((address, port)).await {
            Ok(listener) => listener,
            // Not every machine has IPv6.
            Err(error) if error.kind() == std::io::ErrorKind::AddrNotAvailable => continue,
            Err(error) => return Err(error),
        };
        port = listener.local_addr()?.port();
        let (secret, touched) = (secret.to_owned(), touched.clone());
        tasks.push(tokio::spawn(watch(listener, secret, touched)));
        let mut answer = String::new();
        let mut connection = tokio::net::TcpStream::connect((address, port)).await?;
        connection.write_all(b"GET / HTTP/1.1\r\n\r\n").await?;
        connection.read_to_string(&mut answer).await?;
    }
    let expected = u64::try_from(tasks.len()).unwrap_or(u64::MAX);
    if touched.swap(0, Relaxed) != expected {
        return Err(std::io::Error::other(
            "a canary did not notice a connection",
        ));
    }
    Ok((port, tasks))
}

async fn watch(listener: TcpListener, secret: String, touched: Arc<AtomicU64>) {
    while let Ok((mut connection, _)) = listener.accept().await {
        touched.fetch_add(1, Relaxed);
        let answer = format!(
            "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{secret}",
            secret.len()
        );
        tokio::spawn(async move {
            let mut request = [0; 1024];
            let _ = connection.read(&mut request).await;
            let _ = connection.write_all(answer.as_bytes()).await;
        });
    }
}

fn missing() -> Response {
    let mut response = Response::new(Body::from("no such page"));
    *response.status_mut() = axum::http::StatusCode::NOT_FOUND;
    response
}

fn serve(page: &Page) -> Response {
    let mut response = Response::builder().status(page.status);
    for (name, value) in &page.headers {
        response = response.header(name, value);
    }
    if page.gzip {
        response = response.header("content-encoding", "gzip");
    }
    response.body(body(page)).unwrap_or_else(|_| missing())
}

fn body(page: &Page) -> Body {
    let once = Bytes::from(page.body.clone());
    if page.gzip {
        return Body::from(compressed(&once, page.times));
    }
    let times = usize::try_from(page.times).unwrap_or(usize::MAX);
    let Some(pause) = page.drip else {
        let chunks = futures_util::stream::iter(std::iter::repeat_n(once, times));
        return Body::from_stream(chunks.map(Ok::<_, std::convert::Infallible>));
    };
    let bytes = page.body.clone().into_bytes().repeat(times);
    let drops = futures_util::stream::iter(bytes).then(move |byte| async move {
        tokio::time::sleep(pause.0).await;
        Ok::<_, std::convert::Infallible>(Bytes::from(vec![byte]))
    });
    Body::from_stream(drops)
}

fn compressed(once: &[u8], times: u32) -> Vec<u8> {
    const BLOCK_BYTES: usize = 1 << 20;
    let in_a_block = u32::try_from(BLOCK_BYTES / once.len().max(1))
        .unwrap_or(1)
        .max(1);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    let many = once.repeat(usize::try_from(in_a_block).unwrap_or(1));
    let blocks = (0..times / in_a_block).map(|_| many.as_slice());
    let rest = (0..times % in_a_block).map(|_| once);
    for part in blocks.chain(rest) {
        if encoder.write_all(part).is_err() {
            break;
        }
    }
    encoder.finish().unwrap_or_default()
}
