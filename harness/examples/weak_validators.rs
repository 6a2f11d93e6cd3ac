//! Four validators that look reasonable and are not, to hunt: `fact fuzz sql -- target/release/examples/weak_validators prefix`.
//! Reads `{"statement"}` a line and answers `{"verdict"}` a line.

#[path = "weak_validators/decide.rs"]
mod decide;

use std::io::{BufRead as _, Write as _};

fn main() -> std::io::Result<()> {
    let name = std::env::args().nth(1).unwrap_or_default();
    let Some(decide) = decide::by_name(&name) else {
        let names: Vec<&str> = decide::ALL.iter().map(|(name, _)| *name).collect();
        return Err(std::io::Error::other(format!(
            "name one of {}",
            names.join(", ")
        )));
    };
    let mut out = std::io::stdout().lock();
    for line in std::io::stdin().lock().lines() {
        let case: serde_json::Value =
            serde_json::from_str(&line?).map_err(std::io::Error::other)?;
        let accepted = decide(case["statement"].as_str().unwrap_or_default());
        let verdict = if accepted { "accept" } else { "refuse" };
        writeln!(
            out,
            "{}",
            serde_json::json!({ "id": case["id"], "verdict": verdict })
        )?;
        out.flush()?;
    }
    Ok(())
}
