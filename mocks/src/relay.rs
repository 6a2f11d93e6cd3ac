//! A relay before the real Postgres: bytes pass unchanged, every statement that runs is journalled with its time.

mod protocol;
mod statement;
mod weather;

pub use statement::names_relation;

use crate::journal::{Entry, InFlight, Journal, Upstream as Kind};
use crate::script::DatabaseFault;
use protocol::{Frames, Heard, Ran, Statements};
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use weather::{TICK, Weather};

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
    cut: Cut,
    tasks: TaskTracker,
    weather: Arc<Weather>,
}

/// Ends the connections that are open now.
#[derive(Debug, Clone)]
struct Cut {
    stop: CancellationToken,
    current: Arc<Mutex<CancellationToken>>,
}

impl Cut {
    fn current(&self) -> MutexGuard<'_, CancellationToken> {
        self.current.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) {
        let mut current = self.current();
        current.cancel();
        *current = self.stop.child_token();
    }
}

impl Relay {
    /// Drops every connection; new ones are taken.
    pub fn cut_all(&self) {
        self.cut.all();
    }

    /// From now on this goes wrong, and nothing else.
    pub fn set_faults(&self, faults: Vec<DatabaseFault>) {
        self.weather.set(faults);
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
    let cut = Cut {
        stop: stop.clone(),
        current: Arc::new(Mutex::new(stop.child_token())),
    };
    let weather = Arc::new(Weather::fair(journal.clock()));
    let tasks = TaskTracker::new();
    tasks.spawn(watch(stop.clone(), cut.clone(), weather.clone()));
    let (stopped, cutting, connections) = (stop.clone(), cut.clone(), tasks.clone());
    let sky = weather.clone();
    tasks.spawn(async move {
        loop {
            let client = tokio::select! {
                () = stopped.cancelled() => return,
                accepted = listener.accept() => match accepted { Ok((client, _)) => client, Err(_) => continue },
            };
            if sky.is_down() {
                continue;
            }
            let ended = cutting.current().clone();
            let (journal, sky) = (journal.clone(), sky.clone());
            connections.spawn(async move {
                tokio::select! {
                    () = ended.cancelled() => {}
                    _ = connection(client, server, journal, &sky) => {}
                }
            });
        }
    });
    Ok(Relay {
        address,
        stop,
        cut,
        tasks,
        weather,
    })
}

/// Throws everybody out while the database is down.
async fn watch(stop: CancellationToken, cut: Cut, weather: Arc<Weather>) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(TICK) => {}
        }
        if weather.is_down() {
            cut.all();
        }
    }
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
    weather: &Weather,
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
            weather.hold_answer().await;
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
