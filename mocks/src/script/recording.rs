//! A recorded conversation: what was asked, what was answered, and how long it took.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// A file of JSON lines, replayed: a request is answered as the one with the same messages was.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(from = "String", into = "String")]
#[schemars(with = "String")]
pub struct Recording {
    /// The file, beside the scenario.
    pub file: String,
    /// Its lines.
    pub lines: Arc<Vec<Recorded>>,
}

/// One exchange of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// The request's body; its `messages` are what later requests are held against.
    pub request: Value,
    /// The message that was answered.
    pub response: Value,
    /// How long the first byte took, in milliseconds.
    #[serde(default)]
    pub first_byte_ms: f64,
    /// How long all of it took, in milliseconds.
    #[serde(default)]
    pub total_ms: Option<f64>,
}

impl From<String> for Recording {
    fn from(file: String) -> Self {
        Self {
            file,
            lines: Arc::default(),
        }
    }
}

impl From<Recording> for String {
    fn from(recording: Recording) -> Self {
        recording.file
    }
}

impl Recording {
    pub(crate) fn load(&mut self, read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let file = &self.file;
        let text = read(file).ok_or_else(|| format!("`{file}` cannot be read: the recording"))?;
        let lines = text.lines().enumerate();
        let lines = lines
            .filter(|(_, line)| !line.trim().is_empty())
            .map(|(index, line)| {
                let recorded: Recorded = serde_json::from_str(line)
                    .map_err(|error| format!("`{file}`, line {}: {error}", index + 1))?;
                if recorded.request["messages"].is_array() && recorded.response["content"].is_array()
                {
                    Ok(recorded)
                } else {
                    Err(format!(
                        "`{file}`, line {}: `request.messages` and `response.content` must be lists",
                        index + 1
                    ))
                }
            })
            .collect::<Result<Vec<_>, _>>()?;
        self.lines = Arc::new(lines);
        Ok(())
    }
}
