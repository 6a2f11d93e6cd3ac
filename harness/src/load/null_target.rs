//! A target that answers at once, asked by the same client during the load: what it takes is the machine's noise.

use super::generator::Prepared;
use crate::plan::Planned;
use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// The class of its requests, which no scenario can have.
pub(super) const CLASS: &str = "null";
/// Between two of them.
const EVERY_NS: u64 = 40_000_000;
/// So many bytes are surely a whole request.
const LONGEST: usize = 16 * 1024;

/// It answers until it is dropped.
#[derive(Debug)]
pub(super) struct NullTarget {
    url: String,
    task: JoinHandle<()>,
}

impl NullTarget {
    pub(super) async fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let url = format!("http://{}/", listener.local_addr()?);
        let task = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream));
            }
        });
        Ok(Self { url, task })
    }

    /// Requests to it, evenly over the time of a plan.
    pub(super) fn probes(&self, plan: &[Planned]) -> Vec<Prepared> {
        let end = plan.last().map_or(0, |planned| planned.due_ns);
        let probe = |due_ns| Prepared {
            planned: Planned {
                due_ns,
                class: CLASS.to_owned(),
                nonce: String::new(),
                measured: false,
            },
            url: self.url.clone(),
            body: Bytes::from_static(b"{}"),
            token: String::new(),
        };
        (0..end / EVERY_NS).map(|at| probe(at * EVERY_NS)).collect()
    }
}

impl Drop for NullTarget {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Answers every request of a connection; each is two bytes behind its head.
async fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    const ANSWER: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n{}";
    stream.set_nodelay(true)?;
    let mut request = Vec::with_capacity(LONGEST);
    while stream.read_buf(&mut request).await? > 0 && request.len() < LONGEST {
        if request.ends_with(b"\r\n\r\n{}") {
            request.clear();
            stream.write_all(ANSWER).await?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_answers_again_and_again_on_one_connection() {
        let null = NullTarget::start().await.unwrap();
        let http = reqwest::Client::builder().no_proxy().build().unwrap();
        for _ in 0..3 {
            let answer = http.post(&null.url).body("{}").send().await.unwrap();
            assert_eq!(answer.text().await.unwrap(), "{}");
        }
    }
}
