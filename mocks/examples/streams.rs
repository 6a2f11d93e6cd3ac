//! Load for the timing report: `streams ADDRESS COUNT` opens so many streams and reads them to their ends;
//! `streams ADDRESS RATE SECONDS` asks so often a second for so long. What `/_mock/timing` then says is what it is about,
//! so this takes as little of the machine as it can: it looks at its connections now and then, and nothing wakes it.

#![expect(clippy::print_stdout, reason = "its figures are what it has to say")]

use std::collections::VecDeque;
use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

/// How often connections are opened.
const TICK: Duration = Duration::from_millis(1);
/// In how many ticks every connection is read once.
const ROUND: usize = 200;

fn ask(address: &str, question: usize, stream: bool) -> std::io::Result<TcpStream> {
    let body = format!(
        r#"{{"model":"claude-sonnet-4-6","max_tokens":100000,"stream":{stream},"messages":[{{"role":"user","content":"question {question}"}}]}}"#
    );
    let request = format!(
        "POST /v1/messages HTTP/1.1\r\nhost: mock\r\nconnection: close\r\nx-api-key: sk-ant-load\r\nanthropic-version: 2026-10-21\r\ncontent-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut connection = TcpStream::connect(address)?;
    connection.write_all(request.as_bytes())?;
    connection.set_nonblocking(true)?;
    Ok(connection)
}

/// Reads what is there; whether there will be more.
fn read(connection: &mut TcpStream, buffer: &mut [u8], bytes: &mut usize) -> std::io::Result<bool> {
    match connection.read(buffer) {
        Ok(0) => Ok(false),
        Ok(more) => {
            *bytes += more;
            Ok(true)
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(true),
        Err(error) => Err(error),
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let number = |index: usize| arguments.get(index).and_then(|it| it.parse::<usize>().ok());
    let (Some(address), Some(rate)) = (arguments.first(), number(1)) else {
        println!("usage: streams ADDRESS COUNT | streams ADDRESS RATE SECONDS");
        return;
    };
    let (count, stream) = match number(2) {
        Some(seconds) => (rate * seconds, false),
        None => (rate, true),
    };
    let began = Instant::now();
    let (mut asked, mut answered, mut failed, mut bytes) = (0, 0, 0, 0);
    let mut open = VecDeque::new();
    let mut buffer = vec![0; 1 << 20];
    while asked < count || !open.is_empty() {
        // Streams begin within a second, so that their events do not all fall due at once.
        let due = began.elapsed().as_secs_f64() * f64::from(u32::try_from(rate).unwrap_or(1));
        while asked < count && f64::from(u32::try_from(asked).unwrap_or(u32::MAX)) <= due {
            match ask(address, asked, stream) {
                Ok(connection) => open.push_back(connection),
                Err(_) => failed += 1,
            }
            asked += 1;
        }
        for _ in 0..open.len().div_ceil(ROUND) {
            let Some(mut connection) = open.pop_front() else {
                break;
            };
            match read(&mut connection, &mut buffer, &mut bytes) {
                Ok(true) => open.push_back(connection),
                Ok(false) => answered += 1,
                Err(_) => failed += 1,
            }
        }
        #[expect(clippy::disallowed_methods, reason = "it has no runtime to wait in")]
        std::thread::sleep(TICK);
    }
    println!(
        "{answered} answered, {failed} failed, {bytes} bytes in {:?}",
        began.elapsed()
    );
}
