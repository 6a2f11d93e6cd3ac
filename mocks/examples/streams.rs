//! Load for the timing report: `streams ADDRESS COUNT` opens so many streams and reads them to their ends;
//! `streams ADDRESS RATE SECONDS` asks so often a second for so long. What `/_mock/timing` then says is what it is about.

#![expect(clippy::print_stdout, reason = "its figures are what it has to say")]

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

async fn ask(address: String, question: usize, stream: bool) -> std::io::Result<usize> {
    let body = format!(
        r#"{{"model":"claude-sonnet-4-6","max_tokens":100000,"stream":{stream},"messages":[{{"role":"user","content":"question {question}"}}]}}"#
    );
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: mock\r\nconnection: close\r\nx-api-key: sk-ant-load\r\nanthropic-version: 2026-10-21\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = TcpStream::connect(address).await?;
    connection.write_all(request.as_bytes()).await?;
    let mut buffer = [0; 4096];
    let mut bytes = 0;
    loop {
        match connection.read(&mut buffer).await? {
            0 => return Ok(bytes),
            more => bytes += more,
        }
    }
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|it| it.parse::<usize>().ok());
    let (Some(address), Some(count)) = (arguments.first(), number(1)) else {
        println!("usage: streams ADDRESS COUNT | streams ADDRESS RATE SECONDS");
        return;
    };
    let seconds = number(2);
    let began = Instant::now();
    let mut tasks = tokio::task::JoinSet::new();
    for question in 0..seconds.map_or(count, |seconds| count * seconds) {
        // Streams begin within a second, so that their events do not all fall due at once.
        let due = Duration::from_secs(1) * u32::try_from(question).unwrap_or(u32::MAX)
            / u32::try_from(count).unwrap_or(1);
        tokio::time::sleep_until((began + due).into()).await;
        tasks.spawn(ask(address.clone(), question, seconds.is_none()));
    }
    let (mut answered, mut failed, mut bytes) = (0, 0, 0);
    while let Some(done) = tasks.join_next().await {
        match done {
            Ok(Ok(more)) => (answered, bytes) = (answered + 1, bytes + more),
            _ => failed += 1,
        }
    }
    println!(
        "{answered} answered, {failed} failed, {bytes} bytes in {:?}",
        began.elapsed()
    );
}
