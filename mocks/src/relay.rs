//! A relay before the real Postgres: bytes pass unchanged, every statement that runs is journalled with its time.

mod protocol;

use crate::journal::{Entry, InFlight, Journal, Upstream as Kind, nonce_in};
use protocol::{Frames, Statements};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// Where the database is.
#[derive(Debug, Clone, Copy)]
pub enum Upstream {
    /// A TCP address.
    Tcp(SocketAddr),
}

/// A running relay.
#[derive(Debug)]
pub struct Relay {
    /// Where the target finds the database.
    pub address: SocketAddr,
    stop: CancellationToken,
    cut: Arc<Mutex<CancellationToken>>,
    tasks: TaskTracker,
}

impl Relay {
    /// Drops every connection; new ones are taken.
    pub fn cut_all(&self) {
        let mut cut = self.cut.lock().unwrap_or_else(PoisonError::into_inner);
        cut.cancel();
        *cut = self.stop.child_token();
    }

    /// Ends the relay and its connections.
    pub async fn shutdown(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

/// Starts a relay.
pub async fn start(
    listen: SocketAddr,
    upstream: Upstream,
    journal: Journal,
) -> Result<Relay, std::io::Error> {
    let Upstream::Tcp(server) = upstream;
    let listener = TcpListener::bind(listen).await?;
    let address = listener.local_addr()?;
    let stop = CancellationToken::new();
    let cut = Arc::new(Mutex::new(stop.child_token()));
    let tasks = TaskTracker::new();
    let (stopped, cutting, connections) = (stop.clone(), cut.clone(), tasks.clone());
    tasks.spawn(async move {
        loop {
            let client = tokio::select! {
                () = stopped.cancelled() => return,
                accepted = listener.accept() => match accepted { Ok((client, _)) => client, Err(_) => continue },
            };
            let ended = cutting.lock().unwrap_or_else(PoisonError::into_inner).clone();
            let journal = journal.clone();
            connections.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    _ = connection(client, server, journal) => {}
                }
            });
        }
    });
    Ok(Relay {
        address,
        stop,
        cut,
        tasks,
    })
}

/// A statement that was sent and has not come back yet.
struct Pending {
    what: String,
    nonce: Option<String>,
    arrived_ns: u64,
    _in_flight: InFlight,
}

#[derive(Default)]
struct Shared {
    pending: VecDeque<Pending>,
    application: Option<String>,
}

async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    journal: Journal,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    let shared: Arc<Mutex<Shared>> = Arc::default();
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let lock = |shared: &Arc<Mutex<Shared>>| -> Arc<Mutex<Shared>> { shared.clone() };
    let (asked, answered) = (lock(&shared), lock(&shared));
    let asking = async {
        let mut frames = Frames::of_client();
        let mut statements = Statements::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            let now = journal.clock().now_ns();
            for (kind, body) in frames.push(&buffer[..read]) {
                if kind == 0 {
                    asked
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .application = protocol::application(&body);
                } else if let Some(ran) = statements.heard(kind, &body) {
                    let nonce = nonce_in(&ran.text).map(ToOwned::to_owned).or(ran.nonce);
                    let pending = Pending {
                        what: ran.text,
                        nonce,
                        arrived_ns: now,
                        _in_flight: journal.enter(),
                    };
                    asked
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .pending
                        .push_back(pending);
                }
            }
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let answering = async {
        let mut frames = Frames::of_server();
        let mut buffer = vec![0; 64 * 1024];
        let mut first_byte_ns = None;
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            let now = journal.clock().now_ns();
            let messages = frames.push(&buffer[..read]);
            to_client.write_all(&buffer[..read]).await?;
            for (kind, _) in messages {
                match kind {
                    b'T' | b'D' => first_byte_ns = first_byte_ns.or(Some(now)),
                    // A statement's end: complete, empty, suspended; an error drops all up to the next sync.
                    b'C' | b'I' | b's' => {
                        finish(&answered, &journal, 200, first_byte_ns.take(), now, 1);
                    }
                    b'E' => finish(&answered, &journal, 500, first_byte_ns.take(), now, 1),
                    b'Z' => finish(&answered, &journal, 500, None, now, usize::MAX),
                    _ => {}
                }
            }
        }
    };
    let outcome: std::io::Result<()> =
        tokio::select! { asked = asking => asked, answered = answering => answered };
    finish(
        &shared,
        &journal,
        500,
        None,
        journal.clock().now_ns(),
        usize::MAX,
    );
    outcome
}

/// Journals the oldest statements that are under way.
fn finish(
    shared: &Arc<Mutex<Shared>>,
    journal: &Journal,
    status: u16,
    first_byte_ns: Option<u64>,
    now: u64,
    most: usize,
) {
    let mut shared = shared.lock().unwrap_or_else(PoisonError::into_inner);
    let number = shared.pending.len().min(most);
    let application = shared.application.clone();
    for pending in shared.pending.drain(..number) {
        journal.record(Entry {
            sequence: 0,
            upstream: Kind::Database,
            what: pending.what,
            question: None,
            nonce: pending.nonce,
            application: application.clone(),
            status,
            fault: None,
            arrived_ns: pending.arrived_ns,
            first_byte_ns: first_byte_ns.unwrap_or(now),
            ended_ns: now,
            scheduled_ns: 0,
            usage: None,
            cost_usd: 0.0,
            uncached_usd: 0.0,
            request: None,
        });
    }
}

/// Whether a statement touches a relation of the user's: not what only opens or closes a transaction, sets, explains,
/// or reads the system's own catalogues.
pub fn names_relation(statement: &str) -> bool {
    let folded = statement.trim_start().to_ascii_lowercase();
    let words: Vec<&str> = folded
        .split(|c: char| !(c.is_alphanumeric() || "_.\"".contains(c)))
        .filter(|word| !word.is_empty())
        .collect();
    if words.first().is_none_or(|first| {
        [
            "begin", "rollback", "commit", "set", "explain", "listen", "start",
        ]
        .contains(first)
    }) {
        return false;
    }
    let relation = |word: &&str| {
        !(word.starts_with("pg_")
            || word.starts_with("information_schema")
            || ["select", "values", "lateral"].contains(word))
    };
    words.windows(2).any(|pair| {
        ["from", "join", "table", "into", "update"].contains(&pair[0]) && relation(&pair[1])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    #[test]
    fn a_statement_on_a_relation_is_told_from_the_driver_s_own() {
        assert!(names_relation("SELECT sum(revenue) FROM financial_records"));
        assert!(names_relation("DELETE FROM companies") && names_relation("DROP TABLE companies"));
        assert!(
            !names_relation("BEGIN READ ONLY")
                && !names_relation("SELECT oid FROM pg_catalog.pg_type")
                && !names_relation("SELECT 1")
        );
    }

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
        bytes.extend(body);
        bytes
    }

    #[tokio::test]
    async fn a_statement_is_journalled_from_its_arrival_to_its_completion() {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let server = backend.local_addr().unwrap();
        let serving = tokio::spawn(async move {
            let (mut stream, _) = backend.accept().await.unwrap();
            let mut buffer = vec![0; 1024];
            let mut seen: Vec<u8> = Vec::new();
            while !seen.windows(4).any(|window| window == b"TEST") {
                let read = stream.read(&mut buffer).await.unwrap();
                seen.extend(&buffer[..read]);
            }
            stream
                .write_all(&[message(b'C', b"SELECT 1\0"), message(b'Z', b"I")].concat())
                .await
                .unwrap();
            drop(stream.read(&mut buffer).await);
        });
        let journal = Journal::new(Clock::start());
        let relay = start(
            "127.0.0.1:0".parse().unwrap(),
            Upstream::Tcp(server),
            journal.clone(),
        )
        .await
        .unwrap();
        let mut client = TcpStream::connect(relay.address).await.unwrap();
        let startup = [&[0, 3, 0, 0][..], b"user\0me\0application_name\0fact\0\0"].concat();
        let mut bytes = u32::try_from(startup.len() + 4)
            .unwrap()
            .to_be_bytes()
            .to_vec();
        bytes.extend(startup);
        bytes.extend(message(
            b'Q',
            b"SELECT 'nonce-0123456789abcdef' FROM TEST\0",
        ));
        client.write_all(&bytes).await.unwrap();
        let mut answer = vec![0; 1024];
        assert!(client.read(&mut answer).await.unwrap() > 0);
        while journal.in_flight() > 0 || journal.is_empty() {
            tokio::task::yield_now().await;
        }
        let entry = journal.since(0).remove(0);
        assert_eq!(
            (entry.what.as_str(), entry.status),
            ("SELECT 'nonce-0123456789abcdef' FROM TEST", 200)
        );
        assert_eq!(
            (entry.nonce.as_deref(), entry.application.as_deref()),
            (Some("nonce-0123456789abcdef"), Some("fact"))
        );
        drop(client);
        relay.shutdown().await;
        serving.await.unwrap();
    }
}
