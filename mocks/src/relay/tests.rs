//! The relay before a server that speaks Postgres' bytes by a script.

use super::*;
use crate::clock::Clock;

const NONCE: &str = "nonce-0123456789abcdef";

fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend(u32::try_from(body.len() + 4).unwrap().to_be_bytes());
    bytes.extend(body);
    bytes
}

fn start_message() -> Vec<u8> {
    let body = [&[0, 3, 0, 0][..], b"user\0me\0application_name\0fact\0\0"].concat();
    let mut bytes = u32::try_from(body.len() + 4)
        .unwrap()
        .to_be_bytes()
        .to_vec();
    bytes.extend(body);
    bytes
}

/// A relay, and both ends of one connection through it, let in.
struct Line {
    relay: Relay,
    journal: Journal,
    client: TcpStream,
    server: TcpStream,
}

impl Line {
    async fn open(before_start: &[u8]) -> Self {
        let backend = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let journal = Journal::new(Clock::start());
        let upstream = Upstream::Tcp(backend.local_addr().unwrap());
        let relay = start("127.0.0.1:0".parse().unwrap(), upstream, journal.clone())
            .await
            .unwrap();
        let mut client = TcpStream::connect(relay.address).await.unwrap();
        if !before_start.is_empty() {
            client.write_all(before_start).await.unwrap();
            assert_eq!(client.read_u8().await.unwrap(), b'N');
        }
        client.write_all(&start_message()).await.unwrap();
        let (server, _) = backend.accept().await.unwrap();
        let mut line = Self {
            relay,
            journal,
            client,
            server,
        };
        line.hears(&start_message()).await;
        line.answers(&[message(b'R', &[0; 4]), message(b'Z', b"I")])
            .await;
        line
    }

    /// The server reads exactly these bytes.
    async fn hears(&mut self, bytes: &[u8]) {
        let mut seen = vec![0; bytes.len()];
        self.server.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, bytes);
    }

    async fn asks(&mut self, messages: &[Vec<u8>]) {
        self.client.write_all(&messages.concat()).await.unwrap();
        self.hears(&messages.concat()).await;
    }

    /// The server answers, and the client reads exactly that.
    async fn answers(&mut self, messages: &[Vec<u8>]) {
        let bytes = messages.concat();
        self.server.write_all(&bytes).await.unwrap();
        let mut seen = vec![0; bytes.len()];
        self.client.read_exact(&mut seen).await.unwrap();
        assert_eq!(seen, bytes);
    }

    async fn entries(&self, number: usize) -> Vec<Entry> {
        while self.journal.len() < number || self.journal.in_flight() > 0 {
            tokio::task::yield_now().await;
        }
        self.journal.since(0)
    }
}

fn prepare(text: &str) -> Vec<Vec<u8>> {
    let parse = [b"s\0", text.as_bytes(), b"\0\0\0"].concat();
    vec![
        message(b'P', &parse),
        message(b'D', b"Ss\0"),
        message(b'S', b""),
    ]
}

fn run(parameter: &str) -> Vec<Vec<u8>> {
    let bind = [b"\0s\0\0\0\0\x01\0\0\0\x16", parameter.as_bytes(), b"\0\0"].concat();
    vec![
        message(b'B', &bind),
        message(b'E', b"\0\0\0\0\0"),
        message(b'S', b""),
    ]
}

#[tokio::test]
async fn a_simple_query_is_one_entry_from_its_arrival_to_its_last_completion() {
    let mut line = Line::open(&[]).await;
    let text = format!("BEGIN; SELECT '{NONCE}' FROM companies");
    line.asks(&[message(b'Q', format!("{text}\0").as_bytes())])
        .await;
    line.answers(&[message(b'C', b"BEGIN\0")]).await;
    assert_eq!((line.journal.len(), line.journal.in_flight()), (0, 1));
    line.answers(&[
        message(b'T', b"\0\0"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ])
    .await;
    let entry = line.entries(1).await.remove(0);
    assert_eq!((entry.what, entry.status), (text, 200));
    assert_eq!(entry.nonce.as_deref(), Some(NONCE));
    assert_eq!(entry.application.as_deref(), Some("fact"));
    assert!(entry.arrived_ns <= entry.first_byte_ns && entry.first_byte_ns <= entry.ended_ns);
    line.relay.shutdown().await;
}

#[tokio::test]
async fn a_prepared_statement_counts_when_it_runs_with_the_nonce_of_its_parameters() {
    let mut line = Line::open(&[]).await;
    line.asks(&prepare("SELECT name FROM companies WHERE name = $1"))
        .await;
    // The description comes before the statement is there: it is not its first byte.
    line.answers(&[
        message(b'1', b""),
        message(b'T', b"\0\0"),
        message(b'Z', b"I"),
    ])
    .await;
    assert!(line.journal.is_empty());
    line.asks(&run(NONCE)).await;
    line.answers(&[
        message(b'2', b""),
        message(b'D', b"\0\0"),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ])
    .await;
    let entry = line.entries(1).await.remove(0);
    assert_eq!(entry.what, "SELECT name FROM companies WHERE name = $1");
    assert_eq!((entry.status, entry.nonce.as_deref()), (200, Some(NONCE)));
    assert!(entry.arrived_ns <= entry.first_byte_ns);
    line.relay.shutdown().await;
}

#[tokio::test]
async fn an_error_fails_its_own_statement_and_not_the_next_that_is_sent_already() {
    let mut line = Line::open(&[]).await;
    line.asks(&prepare("SELECT $1")).await;
    line.answers(&[message(b'1', b""), message(b'Z', b"I")])
        .await;
    line.asks(&[run("a"), run("b")].concat()).await;
    line.answers(&[
        message(b'E', b"\0"),
        message(b'Z', b"I"),
        message(b'2', b""),
        message(b'C', b"SELECT 1\0"),
        message(b'Z', b"I"),
    ])
    .await;
    let statuses: Vec<u16> = line
        .entries(2)
        .await
        .iter()
        .map(|entry| entry.status)
        .collect();
    assert_eq!(statuses, [500, 200]);
    line.relay.shutdown().await;
}

#[tokio::test]
async fn encryption_is_declined_by_the_relay_and_statements_stay_visible() {
    let mut line = Line::open(&[0, 0, 0, 8, 4, 210, 22, 47]).await;
    line.asks(&[message(b'Q', b"SELECT 1\0")]).await;
    line.answers(&[message(b'C', b"SELECT 1\0"), message(b'Z', b"I")])
        .await;
    assert_eq!(line.entries(1).await[0].what, "SELECT 1");
    line.relay.shutdown().await;
}

#[tokio::test]
async fn a_statement_whose_connection_is_cut_is_journalled_as_failed() {
    let mut line = Line::open(&[]).await;
    line.asks(&[message(b'Q', b"SELECT 1 FROM companies\0")])
        .await;
    line.relay.cut_all();
    assert_eq!(line.client.read(&mut [0]).await.unwrap_or(0), 0);
    assert_eq!(line.entries(1).await[0].status, 500);
    let mut again = TcpStream::connect(line.relay.address).await.unwrap();
    again
        .write_all(&[0, 0, 0, 8, 4, 210, 22, 47])
        .await
        .unwrap();
    assert_eq!(again.read_u8().await.unwrap(), b'N');
    line.relay.shutdown().await;
}

#[tokio::test]
async fn what_opened_the_transaction_counts_for_the_statement_and_not_for_the_next_transaction() {
    let mut line = Line::open(&[]).await;
    line.asks(&[message(b'Q', b"BEGIN\0")]).await;
    line.answers(&[message(b'C', b"BEGIN\0"), message(b'Z', b"T")])
        .await;
    line.entries(1).await;
    line.asks(&[message(b'Q', b"SELECT 1 FROM companies\0")])
        .await;
    line.answers(&[message(b'C', b"SELECT 1\0"), message(b'Z', b"T")])
        .await;
    line.entries(2).await;
    line.asks(&[message(b'Q', b"ROLLBACK\0")]).await;
    line.answers(&[message(b'C', b"ROLLBACK\0"), message(b'Z', b"I")])
        .await;
    line.entries(3).await;
    line.asks(&[message(b'Q', b"SELECT 2 FROM companies\0")])
        .await;
    line.answers(&[message(b'C', b"SELECT 1\0"), message(b'Z', b"I")])
        .await;
    let preparing: Vec<bool> = line
        .entries(4)
        .await
        .iter()
        .map(|entry| entry.preparing_ns > 0)
        .collect();
    assert_eq!(preparing, [false, true, true, false]);
    line.relay.shutdown().await;
}
