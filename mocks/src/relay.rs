//! A relay before the real Postgres: bytes pass unchanged, every statement that runs is journalled with its time.

mod protocol;
mod statement;

pub use statement::names_relation;

use crate::journal::{Entry, InFlight, Journal, Upstream as Kind};
use protocol::{Frames, Heard, Ran, Statements};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

/// What the server still owes an answer for, in the order in which the client asked.
#[derive(Debug)]
enum Owed {
    Statement(Box<Statement>),
    /// That it is ready again.
    Ready,
}

#[derive(Debug)]
struct Statement {
    ran: Ran,
    /// In the simple protocol one text may hold several statements: it has ended when the server is ready.
    ends_with_ready: bool,
    arrived_ns: u64,
    preparing_ns: u64,
    first_byte_ns: Option<u64>,
    ended: Option<(u16, u64)>,
    _in_flight: InFlight,
}

/// The statements of one connection that are under way. Dropped, it journals them as failed: however the connection ends.
#[derive(Debug)]
struct UnderWay {
    journal: Journal,
    application: Option<String>,
    owed: Mutex<VecDeque<Owed>>,
    busy: Mutex<Busy>,
}

/// How long the server has been at work on this connection since it was last outside a transaction.
#[derive(Debug, Default)]
struct Busy {
    since_ns: Option<u64>,
    total_ns: u64,
}

impl Busy {
    fn ready(&mut self, now: u64, outside_a_transaction: bool) {
        self.total_ns += self
            .since_ns
            .take()
            .map_or(0, |since| now.saturating_sub(since));
        if outside_a_transaction {
            self.total_ns = 0;
        }
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let now = self.journal.clock().now_ns();
        while self.end_until_ready(now) {}
    }
}

impl UnderWay {
    fn owed(&self) -> MutexGuard<'_, VecDeque<Owed>> {
        self.owed.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn busy(&self) -> MutexGuard<'_, Busy> {
        self.busy.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self, heard: Heard, now: u64) {
        let preparing_ns = {
            let mut busy = self.busy();
            busy.since_ns.get_or_insert(now);
            busy.total_ns
        };
        let statement = |ran, ends_with_ready| {
            Owed::Statement(Box::new(Statement {
                ran,
                ends_with_ready,
                arrived_ns: now,
                preparing_ns,
                first_byte_ns: None,
                ended: None,
                _in_flight: self.journal.enter(),
            }))
        };
        match heard {
            Heard::Query(ran) => self.owed().extend([statement(ran, true), Owed::Ready]),
            Heard::Execute(ran) => self.owed().push_back(statement(ran, false)),
            Heard::Sync => self.owed().push_back(Owed::Ready),
            Heard::Other => {}
        }
    }

    fn answered(&self, kind: u8, body: &[u8], now: u64) {
        match kind {
            // The description of the rows, or a row. One that only answers a question for the description finds no statement.
            b'T' | b'D' => {
                if let Some(Owed::Statement(statement)) = self.owed().front_mut() {
                    statement.first_byte_ns.get_or_insert(now);
                }
            }
            // Complete, empty, suspended.
            b'C' | b'I' | b's' => self.end_one(200, now),
            b'E' => self.end_one(500, now),
            b'Z' => {
                self.busy().ready(now, body.first() == Some(&b'I'));
                self.end_until_ready(now);
            }
            _ => {}
        }
    }

    fn end_one(&self, status: u16, now: u64) {
        let mut owed = self.owed();
        let Some(Owed::Statement(statement)) = owed.front_mut() else {
            return;
        };
        statement.ended = Some((status, now));
        if !statement.ends_with_ready
            && let Some(Owed::Statement(statement)) = owed.pop_front()
        {
            self.record(*statement, now);
        }
    }

    /// What has not ended before the server is ready again was skipped after an error. Says whether any was owed.
    fn end_until_ready(&self, now: u64) -> bool {
        let mut owed = self.owed();
        while let Some(first) = owed.pop_front() {
            match first {
                Owed::Statement(statement) => self.record(*statement, now),
                Owed::Ready => return true,
            }
        }
        false
    }

    fn record(&self, statement: Statement, now: u64) {
        let (status, ended_ns) = statement.ended.unwrap_or((500, now));
        self.journal.record(Entry {
            nonce: statement.ran.nonce,
            application: self.application.clone(),
            status,
            first_byte_ns: statement.first_byte_ns.unwrap_or(ended_ns),
            ended_ns,
            preparing_ns: statement.preparing_ns,
            ..Entry::new(Kind::Database, statement.ran.text, statement.arrived_ns)
        });
    }
}

async fn connection(
    mut client: TcpStream,
    server: SocketAddr,
    journal: Journal,
) -> std::io::Result<()> {
    client.set_nodelay(true)?;
    let start = protocol::start(&mut client).await?;
    let mut server = TcpStream::connect(server).await?;
    server.set_nodelay(true)?;
    server.write_all(&start).await?;
    let clock = journal.clock();
    let under_way = UnderWay {
        application: protocol::application(&start),
        journal,
        // The server says that it is ready when it has let the client in.
        owed: Mutex::new(VecDeque::from([Owed::Ready])),
        busy: Mutex::default(),
    };
    let (mut from_client, mut to_client) = client.split();
    let (mut from_server, mut to_server) = server.split();
    let asking = async {
        let mut frames = Frames::default();
        let mut statements = Statements::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_client.read(&mut buffer).await?;
            if read == 0 {
                return to_server.shutdown().await;
            }
            // Journalled as under way before it is passed on, so that no statement runs unseen.
            let now = clock.now_ns();
            frames.push(&buffer[..read], |kind, body| {
                under_way.asked(statements.heard(kind, body), now);
            });
            to_server.write_all(&buffer[..read]).await?;
        }
    };
    let answering = async {
        let mut frames = Frames::default();
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = from_server.read(&mut buffer).await?;
            if read == 0 {
                return to_client.shutdown().await;
            }
            let now = clock.now_ns();
            to_client.write_all(&buffer[..read]).await?;
            frames.push(&buffer[..read], |kind, body| {
                under_way.answered(kind, body, now);
            });
        }
    };
    tokio::select! { asked = asking => asked, answered = answering => answered }
}

#[cfg(test)]
mod tests;
