//! A turn that comes in pieces: server-sent events are put together to the message that they spell.
//! A stream that ends before its last event, or says something else than the API does, is no turn.

use super::{Turn, Usage};
use serde_json::{Map, Value, json};

/// Why a stream is no turn.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Broken {
    /// It says so itself: the type of the error.
    Error(String),
    /// It is not what the API says.
    Malformed(&'static str),
}

/// Puts a turn together.
#[derive(Debug, Default)]
pub(super) struct Assembly {
    /// Bytes of a line that is not whole yet.
    line: Vec<u8>,
    data: Vec<u8>,
    blocks: Vec<Value>,
    /// JSON of a tool's input that is not whole yet.
    input: String,
    open: bool,
    usage: Map<String, Value>,
    stop_reason: Option<String>,
    began: bool,
    ended: bool,
}

/// No line of a stream is longer.
const LONGEST_LINE: usize = 4 << 20;

impl Assembly {
    /// Takes the next bytes; the text that they add.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<String, Broken> {
        let mut text = String::new();
        for piece in bytes.split_inclusive(|byte| *byte == b'\n') {
            self.line.extend_from_slice(piece);
            if self.line.len() > LONGEST_LINE {
                return Err(Broken::Malformed("a line without end"));
            }
            if self.line.last() != Some(&b'\n') {
                continue;
            }
            let mut line = std::mem::take(&mut self.line);
            while matches!(line.last(), Some(b'\n' | b'\r')) {
                line.pop();
            }
            if line.is_empty() {
                let data = std::mem::take(&mut self.data);
                if !data.is_empty() {
                    self.event(&data, &mut text)?;
                }
            } else if let Some(rest) = line.strip_prefix(b"data:") {
                self.data
                    .extend_from_slice(rest.strip_prefix(b" ").unwrap_or(rest));
            }
        }
        Ok(text)
    }

    fn event(&mut self, data: &[u8], text: &mut String) -> Result<(), Broken> {
        let event: Value =
            serde_json::from_slice(data).map_err(|_| Broken::Malformed("an event is no JSON"))?;
        match event["type"].as_str() {
            Some("message_start") if !self.began => {
                self.began = true;
                self.count(&event["message"]["usage"]);
            }
            Some("content_block_start")
                if self.began
                    && !self.open
                    && event["index"].as_u64() == u64::try_from(self.blocks.len()).ok() =>
            {
                self.open = true;
                self.blocks.push(event["content_block"].clone());
                if let Some(begun) = event["content_block"]["text"].as_str() {
                    text.push_str(begun);
                }
            }
            Some("content_block_delta") if self.open && self.is_last(&event) => {
                self.delta(&event["delta"], text)?;
            }
            Some("content_block_stop") if self.open && self.is_last(&event) => {
                self.open = false;
                let input = std::mem::take(&mut self.input);
                if let Some(block) = self.blocks.last_mut().filter(|_| !input.is_empty()) {
                    block["input"] = serde_json::from_str(&input)
                        .map_err(|_| Broken::Malformed("a tool's input is no JSON"))?;
                }
            }
            Some("message_delta") if self.began && !self.open => {
                self.stop_reason = event["delta"]["stop_reason"].as_str().map(str::to_owned);
                self.count(&event["usage"]);
            }
            Some("message_stop") if self.began && !self.open => self.ended = true,
            Some("error") => {
                let kind = event["error"]["type"].as_str().unwrap_or("unknown");
                return Err(Broken::Error(kind.to_owned()));
            }
            Some(
                "message_start"
                | "content_block_start"
                | "content_block_delta"
                | "content_block_stop"
                | "message_delta"
                | "message_stop",
            ) => return Err(Broken::Malformed("an event out of order")),
            // Pings, and what later versions of the API add.
            Some(_) => {}
            None => return Err(Broken::Malformed("an event without a type")),
        }
        Ok(())
    }

    fn is_last(&self, event: &Value) -> bool {
        event["index"].as_u64().map(|index| index + 1) == u64::try_from(self.blocks.len()).ok()
    }

    fn delta(&mut self, delta: &Value, text: &mut String) -> Result<(), Broken> {
        let Some(block) = self.blocks.last_mut() else {
            return Err(Broken::Malformed("a delta without its block"));
        };
        let mut append = |field: &str| {
            let more = delta[field].as_str()?;
            let so_far = block[field].as_str().unwrap_or_default();
            block[field] = format!("{so_far}{more}").into();
            Some(more.to_owned())
        };
        match delta["type"].as_str() {
            Some("text_delta") => text
                .push_str(&append("text").ok_or(Broken::Malformed("a text delta without text"))?),
            Some("thinking_delta") => drop(append("thinking")),
            Some("signature_delta") => block["signature"] = delta["signature"].clone(),
            Some("input_json_delta") => self
                .input
                .push_str(delta["partial_json"].as_str().unwrap_or_default()),
            Some("citations_delta") => match block["citations"].as_array_mut() {
                Some(citations) => citations.push(delta["citation"].clone()),
                None => block["citations"] = json!([delta["citation"]]),
            },
            _ => return Err(Broken::Malformed("a delta of an unknown kind")),
        }
        Ok(())
    }

    /// Later counts replace earlier ones.
    fn count(&mut self, usage: &Value) {
        for (name, value) in usage.as_object().into_iter().flatten() {
            if !value.is_null() {
                self.usage.insert(name.clone(), value.clone());
            }
        }
    }

    /// Whether the last event has come.
    pub(super) fn is_whole(&self) -> bool {
        self.ended
    }

    /// The turn, once the stream has said all of it.
    pub(super) fn finish(self) -> Result<Turn, Broken> {
        if !self.ended {
            return Err(Broken::Malformed("it broke off"));
        }
        let usage: Usage = serde_json::from_value(Value::Object(self.usage))
            .map_err(|_| Broken::Malformed("it does not say what it used"))?;
        Ok(Turn {
            content: self.blocks,
            stop_reason: self.stop_reason,
            usage,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const STREAM: &str = concat!(
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"usage\":{\"input_tokens\":7,\"output_tokens\":1,\"cache_read_input_tokens\":600}}}\n\n",
        "event: ping\ndata: {\"type\":\"ping\"}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":0,\"content_block\":{\"type\":\"text\",\"text\":\"\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\"Grüß\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":0,\"delta\":{\"type\":\"text_delta\",\"text\":\" dich\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":0}\n\n",
        "event: content_block_start\ndata: {\"type\":\"content_block_start\",\"index\":1,\"content_block\":{\"type\":\"tool_use\",\"id\":\"toolu_1\",\"name\":\"t\",\"input\":{}}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"{\\\"a\\\":\"}}\n\n",
        "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"index\":1,\"delta\":{\"type\":\"input_json_delta\",\"partial_json\":\"1}\"}}\n\n",
        "event: content_block_stop\ndata: {\"type\":\"content_block_stop\",\"index\":1}\n\n",
        "event: message_delta\ndata: {\"type\":\"message_delta\",\"delta\":{\"stop_reason\":\"tool_use\"},\"usage\":{\"output_tokens\":20}}\n\n",
        "event: message_stop\ndata: {\"type\":\"message_stop\"}\n\n",
    );

    fn assemble(pieces: &[&[u8]]) -> Result<(Turn, String), Broken> {
        let mut assembly = Assembly::default();
        let mut text = String::new();
        for piece in pieces {
            text.push_str(&assembly.push(piece)?);
        }
        Ok((assembly.finish()?, text))
    }

    proptest! {
        #[test]
        fn wherever_the_bytes_are_cut_the_turn_is_the_same(cuts in prop::collection::vec(0..STREAM.len(), 0..6)) {
            let mut cuts = cuts;
            cuts.extend([0, STREAM.len()]);
            cuts.sort_unstable();
            let pieces: Vec<&[u8]> = cuts.windows(2).map(|pair| &STREAM.as_bytes()[pair[0]..pair[1]]).collect();
            let (turn, text) = assemble(&pieces).unwrap();
            prop_assert_eq!(&text, "Grüß dich");
            prop_assert_eq!(turn.text(), text);
            prop_assert_eq!(&turn.content[1]["input"], &json!({ "a": 1 }));
            prop_assert_eq!(turn.tokens().output, 20);
            prop_assert_eq!(turn.tokens().cache_read, 600);
            prop_assert_eq!(turn.stop_reason.as_deref(), Some("tool_use"));
        }

        #[test]
        fn half_a_stream_is_no_turn(cut in 0..STREAM.len() - 1) {
            prop_assert!(assemble(&[&STREAM.as_bytes()[..cut]]).is_err());
        }
    }

    #[test]
    fn an_error_in_the_middle_is_told() {
        let cut = STREAM.find("event: content_block_stop").unwrap();
        let error = "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"overloaded_error\"}}\n\n";
        let broken = assemble(&[&STREAM.as_bytes()[..cut], error.as_bytes()]).unwrap_err();
        assert_eq!(broken, Broken::Error("overloaded_error".into()));
    }

    #[test]
    fn a_missing_event_is_no_turn() {
        let events: Vec<&str> = STREAM.split_inclusive("\n\n").collect();
        for missing in [0, 2, 5, 6, 9, 11] {
            let rest: String = events
                .iter()
                .enumerate()
                .filter(|(index, _)| *index != missing)
                .map(|(_, event)| *event)
                .collect();
            assert!(assemble(&[rest.as_bytes()]).is_err(), "without {missing}");
        }
    }
}
