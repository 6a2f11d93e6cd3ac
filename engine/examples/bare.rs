//! What a hit is measured against: a bare axum handler that reads the body and returns the bytes of the file that it is
//! given, until it is killed. Its address is the first line that it prints.

#![expect(clippy::print_stdout, reason = "its address is what it has to say")]

use axum::body::Bytes;
use axum::routing::post;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let usage = || std::io::Error::other("give the file that holds the answer");
    let file = std::env::args().nth(1).ok_or_else(usage)?;
    let answer = Bytes::from(std::fs::read(file)?);
    let answer = move |_: Bytes| async move { ([("content-type", "application/json")], answer) };
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
    println!("http://{}", listener.local_addr()?);
    axum::serve(
        listener,
        axum::Router::new().route("/api/v1/query", post(answer)),
    )
    .await
}
