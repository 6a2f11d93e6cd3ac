//! `fact ask`: one question, or a prompt for many, to a running implementation.

use super::{Failure, code};
use crate::args::{AskArgs, Format};
use crate::console;
use crate::remote::{Credentials, Remote, told};
use reqwest::{Method, Response};
use rustyline::error::ReadlineError;
use rustyline::history::FileHistory;
use serde_json::{Value, json};
use std::io::Write as _;
use std::path::PathBuf;

const HELP: &str = "\
:tools     the tools that may be used
:schema    the tables that may be read
:samples   example questions
:metrics   what the implementation counted
:quit      ends; so does Ctrl-D";

struct Asking {
    remote: Remote,
    stream: bool,
    session: Option<String>,
    format: Format,
}

pub(crate) async fn ask(args: AskArgs) -> Result<u8, Failure> {
    let credentials = Credentials {
        client: &args.client,
        secret: args.secret.as_deref(),
        clients: args.clients.as_deref(),
        variable: "FACT_ASK_SECRET",
    };
    let asking = Asking {
        remote: Remote::log_in(&args.url, &credentials).await?,
        stream: args.stream,
        session: args.session,
        format: args.format,
    };
    match args.question {
        Some(question) => asking.question(&question).await?,
        None => asking.converse().await?,
    }
    Ok(0)
}

impl Asking {
    /// Reads lines until there are no more. What goes wrong with one of them does not end it.
    async fn converse(&self) -> Result<(), Failure> {
        let broken = |error: ReadlineError| Failure::new(code::DEFECT, error);
        let mut editor = rustyline::Editor::<(), FileHistory>::new().map_err(broken)?;
        let history = history();
        if let Some(path) = &history {
            drop(editor.load_history(path));
        }
        console::note("Ask a question, or `:help`.");
        loop {
            let reading = tokio::task::spawn_blocking(move || {
                let line = editor.readline("fact> ");
                (editor, line)
            });
            let (back, line) = reading
                .await
                .map_err(|error| Failure::new(code::DEFECT, error))?;
            editor = back;
            let line = match line {
                Ok(line) => line,
                Err(ReadlineError::Interrupted) => continue,
                Err(ReadlineError::Eof) => return Ok(()),
                Err(error) => return Err(broken(error)),
            };
            let line = line.trim();
            if line.is_empty() {
                continue;
            }
            drop(editor.add_history_entry(line));
            if let Some(path) = &history {
                drop(editor.save_history(path));
            }
            let done = match line {
                ":quit" | ":q" => return Ok(()),
                ":help" => {
                    console::note(HELP);
                    Ok(())
                }
                ":tools" => self.tools().await,
                ":schema" => self.execute("SQL.GetSchema").await,
                ":samples" => self.execute("SQL.GetSampleQueries").await,
                ":metrics" => self.show("/api/v1/metrics").await,
                command if command.starts_with(':') => {
                    console::note(&format!(
                        "there is no `{command}`; `:help` lists what there is"
                    ));
                    Ok(())
                }
                question => self.question(question).await,
            };
            if let Err(failure) = done {
                console::note(&failure.text);
            }
        }
    }

    async fn tools(&self) -> Result<(), Failure> {
        let answer = self.remote.get("/api/v1/tools").await?;
        if self.format == Format::Json {
            return pretty(&answer);
        }
        for tool in answer["tools"].as_array().into_iter().flatten() {
            let text = |name: &str| tool[name].as_str().unwrap_or_default().to_owned();
            console::data(&format!("{:<28} {}", text("name"), text("description")));
        }
        Ok(())
    }

    async fn execute(&self, tool: &str) -> Result<(), Failure> {
        let path = format!("/api/v1/tools/{tool}/execute");
        let request = self
            .remote
            .request(Method::POST, &path)
            .json(&json!({ "arguments": {} }));
        pretty(&self.remote.json(request).await?["result"])
    }

    async fn show(&self, path: &str) -> Result<(), Failure> {
        pretty(&self.remote.get(path).await?)
    }

    async fn question(&self, question: &str) -> Result<(), Failure> {
        let mut body = json!({ "query": question });
        if let Some(session) = &self.session {
            body["context"] = json!({ "session_id": session });
        }
        let request = self
            .remote
            .request(Method::POST, "/api/v1/query")
            .json(&body);
        if self.stream {
            let response = self
                .remote
                .send(request.header("accept", "text/event-stream"))
                .await?;
            return self.follow(response).await;
        }
        let answer = self.remote.json(request).await?;
        match self.format {
            Format::Json => {
                console::data(&json!({ "schema_version": 1, "answer": answer }).to_string());
            }
            Format::Text => {
                console::data(answer["response"].as_str().unwrap_or_default());
                console::note(&in_short(&answer));
            }
        }
        Ok(())
    }

    /// Shows a stream as it comes.
    async fn follow(&self, mut response: Response) -> Result<(), Failure> {
        let mut events = Events::default();
        let mut shown = Shown::default();
        while let Some(bytes) = response
            .chunk()
            .await
            .map_err(|error| self.remote.lost(&error))?
        {
            for (event, data) in events.push(&bytes) {
                if self.format == Format::Json {
                    console::data(
                        &json!({ "schema_version": 1, "event": event, "data": data }).to_string(),
                    );
                }
                match event.as_str() {
                    "error" => {
                        return Err(Failure::new(code::FAILED, told(&data).unwrap_or(event)));
                    }
                    "done" if self.format == Format::Json => return Ok(()),
                    "done" => {
                        console::data("");
                        console::note(&in_short(&data));
                        return Ok(());
                    }
                    "delta" if self.format == Format::Text => shown.delta(&data),
                    "progress" if self.format == Format::Text => {
                        if let Some(tool) = data["tool"].as_str() {
                            shown.end_turn();
                            console::note(&format!("… {tool}"));
                        }
                    }
                    _ => {}
                }
            }
        }
        Err(Failure::new(
            code::FAILED,
            "the stream ended before the answer was whole",
        ))
    }
}

/// What stands on the terminal of a stream.
#[derive(Default)]
struct Shown {
    turn: Option<u64>,
    within_line: bool,
}

impl Shown {
    fn delta(&mut self, data: &Value) {
        let turn = data["turn"].as_u64();
        if turn != self.turn {
            self.end_turn();
            self.turn = turn;
        }
        let text = data["text"].as_str().unwrap_or_default();
        let mut stdout = std::io::stdout().lock();
        drop(
            stdout
                .write_all(text.as_bytes())
                .and_then(|()| stdout.flush()),
        );
        self.within_line |= !text.is_empty();
    }

    fn end_turn(&mut self) {
        if std::mem::take(&mut self.within_line) {
            console::data("");
        }
    }
}

/// Server-sent events from bytes that may be cut anywhere.
#[derive(Default)]
struct Events {
    held: Vec<u8>,
    event: String,
    data: String,
}

impl Events {
    fn push(&mut self, bytes: &[u8]) -> Vec<(String, Value)> {
        self.held.extend_from_slice(bytes);
        let mut events = Vec::new();
        while let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.held.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line);
            let line = line.trim_end_matches(['\r', '\n']);
            if line.is_empty() {
                let (event, data) = (
                    std::mem::take(&mut self.event),
                    std::mem::take(&mut self.data),
                );
                if let Ok(data) = serde_json::from_str(&data) {
                    events.push((event, data));
                }
                continue;
            }
            let (name, value) = line.split_once(':').unwrap_or((line, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match name {
                "event" => value.clone_into(&mut self.event),
                "data" => self.data.push_str(value),
                _ => {}
            }
        }
        events
    }
}

/// How an answer came about, in a line.
fn in_short(answer: &Value) -> String {
    let metadata = &answer["metadata"];
    let mut parts = vec![
        metadata["cache_status"].as_str().unwrap_or("?").to_owned(),
        format!(
            "{:.0} ms",
            metadata["latency_ms"].as_f64().unwrap_or_default()
        ),
        format!("${:.4}", metadata["cost_usd"].as_f64().unwrap_or_default()),
    ];
    for source in answer["sources"].as_array().into_iter().flatten() {
        let tables: Vec<&str> = source["tables"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_str)
            .collect();
        let tool = source["tool"].as_str().unwrap_or_default();
        parts.push(if tables.is_empty() {
            tool.to_owned()
        } else {
            format!("{tool} of {}", tables.join(", "))
        });
    }
    format!("({})", parts.join(" · "))
}

fn pretty(value: &Value) -> Result<(), Failure> {
    let text =
        serde_json::to_string_pretty(value).map_err(|error| Failure::new(code::DEFECT, error))?;
    console::data(&text);
    Ok(())
}

/// Where the prompt's history lasts.
fn history() -> Option<PathBuf> {
    let folder = std::env::var_os("XDG_STATE_HOME")
        .map(PathBuf::from)
        .filter(|folder| folder.is_absolute())
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".local/state")))?
        .join("fact");
    std::fs::create_dir_all(&folder).ok()?;
    Some(folder.join("history"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_whole_wherever_the_bytes_are_cut() {
        let stream = "event: delta\ndata: {\"text\":\"größer\"}\n\n: comment\r\nevent: done\r\ndata: {\"a\":1}\r\n\r\n";
        for size in 1..stream.len() {
            let mut events = Events::default();
            let seen: Vec<(String, Value)> = stream
                .as_bytes()
                .chunks(size)
                .flat_map(|bytes| events.push(bytes))
                .collect();
            let expected = [
                ("delta".to_owned(), json!({ "text": "größer" })),
                ("done".to_owned(), json!({ "a": 1 })),
            ];
            assert_eq!(seen, expected, "{size}");
        }
    }
}
