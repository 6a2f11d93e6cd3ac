//! A DNS server that says what the scenario says, each time the next answer of a list, and never to be remembered.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use tokio::net::UdpSocket;
use tokio::task::JoinHandle;

/// Names, and the addresses that they have when they are asked for the first, second … and any later time.
pub type Names = BTreeMap<String, Vec<Vec<IpAddr>>>;

const HEADER: usize = 12;
const A: u16 = 1;
const AAAA: u16 = 28;
const NO_SUCH_NAME: u8 = 3;

/// The server; it ends when this is dropped.
#[derive(Debug)]
pub struct Dns {
    /// Where it listens.
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<String>>>,
    task: JoinHandle<()>,
}

impl Dns {
    /// Listens on a free port of loopback.
    pub async fn start(names: Names) -> std::io::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0)).await?;
        let address = socket.local_addr()?;
        let asked: Arc<Mutex<Vec<String>>> = Arc::default();
        let journal = asked.clone();
        let task = tokio::spawn(async move {
            let mut times: BTreeMap<(String, u16), usize> = BTreeMap::new();
            let mut packet = [0; 1500];
            while let Ok((length, peer)) = socket.recv_from(&mut packet).await {
                let Some(question) = Question::read(&packet[..length]) else {
                    continue;
                };
                journal
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push(question.name.clone());
                let turn = times
                    .entry((question.name.clone(), question.kind))
                    .or_default();
                let answers = names.get(&question.name);
                let now = answers.and_then(|list| list.get(*turn).or(list.last()));
                *turn += 1;
                let answer = question.answer(now.map(Vec::as_slice));
                if let Err(error) = socket.send_to(&answer, peer).await {
                    tracing::debug!(%error, "a DNS answer was not sent");
                }
            }
        });
        Ok(Self {
            address,
            asked,
            task,
        })
    }

    /// Every name that was asked for, in order.
    pub fn asked(&self) -> Vec<String> {
        self.asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }
}

impl Drop for Dns {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// One question of a packet (RFC 1035, 4.1).
struct Question<'a> {
    packet: &'a [u8],
    end: usize,
    name: String,
    kind: u16,
}

impl<'a> Question<'a> {
    fn read(packet: &'a [u8]) -> Option<Self> {
        let mut at = HEADER;
        let mut labels = Vec::new();
        loop {
            let length = usize::from(*packet.get(at)?);
            if length == 0 {
                break;
            }
            let label = packet.get(at + 1..at + 1 + length)?;
            labels.push(String::from_utf8_lossy(label).to_lowercase());
            at += 1 + length;
        }
        let kind = packet.get(at + 1..at + 3)?;
        let end = at + 5;
        (packet.len() >= end).then(|| Self {
            packet,
            end,
            name: labels.join("."),
            kind: u16::from_be_bytes([kind[0], kind[1]]),
        })
    }

    fn answer(&self, addresses: Option<&[IpAddr]>) -> Vec<u8> {
        let code = if addresses.is_some() { 0 } else { NO_SUCH_NAME };
        let fitting = |address: &&IpAddr| match address {
            IpAddr::V4(_) => self.kind == A,
            IpAddr::V6(_) => self.kind == AAAA,
        };
        let fitting: Vec<&IpAddr> = addresses
            .unwrap_or_default()
            .iter()
            .filter(fitting)
            .collect();
        let number = u8::try_from(fitting.len()).unwrap_or(u8::MAX);
        let mut answer = self.packet[..2].to_vec();
        // An answer, recursion wanted and available; one question, so many answers.
        answer.extend([0x81, 0x80 | code, 0, 1, 0, number, 0, 0, 0, 0]);
        answer.extend(&self.packet[HEADER..self.end]);
        for address in fitting.into_iter().take(usize::from(number)) {
            // The question's name; class IN; no seconds to live.
            answer.extend([0xc0, 0x0c]);
            answer.extend(self.kind.to_be_bytes());
            answer.extend([0, 1, 0, 0, 0, 0]);
            let bytes = match address {
                IpAddr::V4(address) => address.octets().to_vec(),
                IpAddr::V6(address) => address.octets().to_vec(),
            };
            answer.extend([0, u8::try_from(bytes.len()).unwrap_or(0)]);
            answer.extend(bytes);
        }
        answer
    }
}
