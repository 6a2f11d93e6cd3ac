//! An answer as a stream of events, read as the contract writes it: `event:` line, one `data:` line of JSON, blank line.

use serde_json::Value;

/// One event.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `progress`, `delta`, `done` or `error`.
    pub name: String,
    /// What it says.
    pub data: Value,
    /// When its last byte was there.
    pub at_ns: u64,
}

/// What was read of a stream, and what is wrong with the rest.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Events {
    /// In their order.
    pub all: Vec<Event>,
    /// What is no event of the contract.
    pub wrong: Option<String>,
}

impl Events {
    /// Reads a stream; `times` says up to which byte it had come, and when.
    pub fn read(raw: &[u8], times: &[(usize, u64)]) -> Self {
        let mut events = Self::default();
        let mut from = 0;
        while from < raw.len() {
            let rest = &raw[from..];
            let Some(length) = rest.windows(2).position(|pair| pair == b"\n\n") else {
                events.wrong = Some(format!("it ends within an event: {}", shown(rest)));
                return events;
            };
            from += length + 2;
            let at_ns = times
                .iter()
                .find(|(bytes, _)| *bytes >= from)
                .map_or(0, |(_, at_ns)| *at_ns);
            match event(&rest[..length]) {
                Ok((name, data)) => events.all.push(Event { name, data, at_ns }),
                Err(why) => {
                    events.wrong = Some(why);
                    return events;
                }
            }
        }
        events.wrong = events.out_of_order();
        events
    }

    /// Only the last event is the end, and there is one.
    fn out_of_order(&self) -> Option<String> {
        let is_end = |event: &Event| matches!(event.name.as_str(), "done" | "error");
        match self.all.iter().position(is_end) {
            None => Some("neither `done` nor `error` came".into()),
            Some(at) if at + 1 < self.all.len() => Some(format!(
                "`{}` came after `{}`",
                self.all[at + 1].name,
                self.all[at].name
            )),
            Some(_) => None,
        }
    }

    /// What the answer would be as JSON: the data of the last event.
    pub fn end(&self) -> Option<&Value> {
        let last = self.all.last()?;
        matches!(last.name.as_str(), "done" | "error").then_some(&last.data)
    }

    /// The events of a name.
    pub fn named<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a Event> {
        self.all.iter().filter(move |event| event.name == name)
    }

    /// The text of the last turn.
    pub fn text(&self) -> String {
        let last = self.named("delta").last().map(|event| &event.data["turn"]);
        self.named("delta")
            .filter(|event| Some(&event.data["turn"]) == last)
            .filter_map(|event| event.data["text"].as_str())
            .collect()
    }
}

fn event(bytes: &[u8]) -> Result<(String, Value), String> {
    let text = std::str::from_utf8(bytes).map_err(|_| "an event is not UTF-8".to_owned())?;
    let wrong = |why: &str| format!("{why}: {}", shown(bytes));
    let mut lines = text.split('\n');
    let name = lines
        .next()
        .and_then(|line| line.strip_prefix("event: "))
        .ok_or_else(|| wrong("an event does not begin with `event: `"))?;
    let data = lines
        .next()
        .and_then(|line| line.strip_prefix("data: "))
        .ok_or_else(|| wrong("its second line is not `data: `"))?;
    if lines.next().is_some() {
        return Err(wrong("an event has more than two lines"));
    }
    let data: Value = serde_json::from_str(data).map_err(|_| wrong("its data is not JSON"))?;
    let has = |field: &str| data[field].is_string();
    let fits = match name {
        "progress" => has("step"),
        "delta" => has("text"),
        "done" | "error" => data.is_object(),
        _ => return Err(wrong("the contract has no such event")),
    };
    if fits {
        Ok((name.to_owned(), data))
    } else {
        Err(wrong("its data lacks what the contract asks for"))
    }
}

fn shown(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).chars().take(200).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_is_read_as_it_is_written() {
        let raw = "event: progress\ndata: {\"step\":\"model\"}\n\nevent: delta\ndata: {\"text\":\"I look\",\"turn\":1}\n\n\
            event: delta\ndata: {\"text\":\"There \",\"turn\":2}\n\nevent: delta\ndata: {\"text\":\"are 3.\",\"turn\":2}\n\n\
            event: done\ndata: {\"response\":\"There are 3.\"}\n\n";
        let events = Events::read(raw.as_bytes(), &[(40, 7), (raw.len(), 9)]);
        assert_eq!(events.wrong, None);
        assert_eq!(events.text(), "There are 3.");
        assert_eq!((events.all[0].at_ns, events.all[4].at_ns), (7, 9));
        assert_eq!(
            events.end().map(|end| end["response"].clone()),
            Some("There are 3.".into())
        );
    }

    #[test]
    fn what_the_contract_does_not_write_is_named() {
        for (raw, why) in [
            ("", "neither"),
            ("event: delta\ndata: {\"text\":\"a\"}\n\n", "neither"),
            ("event: done\ndata: {}", "within an event"),
            ("data: {}\n\n", "does not begin"),
            ("event: done\ndata: {\ndata: }\n\n", "more than two lines"),
            ("event: done\ndata: x\n\n", "not JSON"),
            ("event: delta\ndata: {}\n\n", "lacks"),
            ("event: chunk\ndata: {}\n\n", "no such event"),
            (
                "event: done\ndata: {}\n\nevent: done\ndata: {}\n\n",
                "came after",
            ),
        ] {
            let wrong = Events::read(raw.as_bytes(), &[]).wrong.unwrap_or_default();
            assert!(wrong.contains(why), "{raw:?}: {wrong}");
        }
    }
}
