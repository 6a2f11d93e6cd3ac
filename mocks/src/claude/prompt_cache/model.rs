//! A slow and obvious model of prompt caching, to hold the real one against.
//!
//! It follows section 6 ("Prompt caching") of the facts about the Messages API line by line: every prefix is kept in
//! full as a list of lines, every search looks at every entry, and nothing is ever thrown away.
//!
//! In `worlds` is what both are put through, in `tests` an example for each sentence of the section.

mod tests;
mod worlds;

pub(super) use worlds::{Request, bodies};

use serde_json::{Value, json};

/// A second in nanoseconds.
const SECOND: u64 = 1_000_000_000;

/// How long an entry of `5m` lives.
const FIVE_MINUTES: u64 = 300 * SECOND;

/// How long an entry of `1h` lives.
const HOUR: u64 = 3600 * SECOND;

/// "Max 4": how many breakpoints a request may have.
const MOST_BREAKPOINTS: usize = 4;

/// "At most 20 positions including the breakpoint itself": how far a read looks back.
const MOST_POSITIONS: usize = 20;

/// Where the tokens of one request went.
#[derive(Debug, PartialEq, Eq, Clone, Copy, Default)]
pub(super) struct Counters {
    /// Read from the cache.
    pub read: u64,
    /// Written for five minutes.
    pub write_5m: u64,
    /// Written for an hour.
    pub write_1h: u64,
    /// Neither: what `input_tokens` says.
    pub uncached: u64,
}

/// What has been written so far.
#[derive(Debug, Default)]
pub(super) struct Model {
    /// Every entry that was ever written, the dead ones too.
    entries: Vec<Entry>,
}

/// What one breakpoint wrote.
#[derive(Debug)]
struct Entry {
    workspace: String,
    model: String,
    /// The whole prefix up to the breakpoint.
    prefix: Vec<String>,
    /// Its own TTL.
    ttl: u64,
    /// When the answer of the request that wrote it began: requests that start at or after this see it.
    readable: u64,
    /// Its end: requests that start before this see it.
    end: u64,
}

/// One block of a prompt.
#[derive(Debug)]
struct Block {
    /// As it was sent.
    value: Value,
    /// The whole prefix up to and including it.
    prefix: Vec<String>,
    /// How many tokens that prefix has.
    tokens: u64,
}

/// A block up to which the prompt is to be cached.
#[derive(Debug)]
struct Breakpoint {
    /// The block, by its place in the prompt.
    at: usize,
    /// For how long.
    ttl: u64,
}

impl Model {
    /// What the cache does for one request: where its tokens went, or the text of its 400.
    ///
    /// `start_ns` is when the request starts and `ready_ns` when its answer begins: what it writes can be read by
    /// requests that start at or after that. Requests are asked in the order of their starts.
    pub(super) fn ask(
        &mut self,
        workspace: &str,
        model: &str,
        minimum: u64,
        body: &Value,
        start_ns: u64,
        ready_ns: u64,
    ) -> Result<Counters, String> {
        let blocks = blocks(body);
        let mut breakpoints = breakpoints(body, &blocks)?;

        // "Minimum prefix (else silently uncached, both counters 0)".
        breakpoints.retain(|breakpoint| blocks[breakpoint.at].tokens >= minimum);

        // "A read refreshes for free with the entry's own TTL", "counted from the START of the request that reads".
        let hit = self.find(workspace, model, &blocks, &breakpoints, start_ns);
        if let Some(hit) = hit {
            for entry in &mut self.entries {
                if entry.is_seen(workspace, model, &blocks[hit].prefix, start_ns) {
                    entry.end = start_ns + entry.ttl;
                }
            }
        }

        // "Exactly one entry per breakpoint", unless there is one already.
        for breakpoint in &breakpoints {
            let prefix = &blocks[breakpoint.at].prefix;
            if !self.sees(workspace, model, prefix, start_ns) {
                self.entries.push(Entry {
                    workspace: workspace.to_owned(),
                    model: model.to_owned(),
                    prefix: prefix.clone(),
                    ttl: breakpoint.ttl,
                    readable: ready_ns,
                    end: start_ns + breakpoint.ttl,
                });
            }
        }

        // "A = tokens at highest hit, B = tokens at last 1h breakpoint after A (else A), C = tokens at last
        // breakpoint: read A, write-1h B-A, write-5m C-B, uncached total-C".
        let mut a = 0;
        if let Some(hit) = hit {
            a = blocks[hit].tokens;
        }
        let mut b = a;
        let mut c = a;
        for breakpoint in &breakpoints {
            let tokens = blocks[breakpoint.at].tokens;
            if tokens > a && breakpoint.ttl == HOUR {
                b = tokens;
            }
            if tokens > a {
                c = tokens;
            }
        }
        let total = blocks.last().map_or(0, |block| block.tokens);
        Ok(Counters {
            read: a,
            write_1h: b - a,
            write_5m: c - b,
            uncached: total - c,
        })
    }

    /// "From each breakpoint walk back", the last one first: the place of the first block found with an entry.
    fn find(
        &self,
        workspace: &str,
        model: &str,
        blocks: &[Block],
        breakpoints: &[Breakpoint],
        start: u64,
    ) -> Option<usize> {
        for breakpoint in breakpoints.iter().rev() {
            let mut at = breakpoint.at;
            let mut position = 1;
            while position <= MOST_POSITIONS {
                if self.sees(workspace, model, &blocks[at].prefix, start) {
                    return Some(at);
                }
                if at == 0 {
                    break;
                }
                if !are_of_one_run(&blocks[at - 1].value, &blocks[at].value) {
                    position += 1;
                }
                at -= 1;
            }
        }
        None
    }

    /// Whether a request that starts now sees an entry with this prefix.
    fn sees(&self, workspace: &str, model: &str, prefix: &[String], start: u64) -> bool {
        self.entries
            .iter()
            .any(|entry| entry.is_seen(workspace, model, prefix, start))
    }
}

impl Entry {
    /// Whether this is the entry of the prefix ("keyed per workspace and model"), for a request that starts now.
    fn is_seen(&self, workspace: &str, model: &str, prefix: &[String], start: u64) -> bool {
        self.workspace == workspace
            && self.model == model
            && self.prefix == prefix
            && self.readable <= start
            && start < self.end
    }
}

/// "A run of consecutive `tool_use` blocks counts as 1 position, likewise `tool_result`".
fn are_of_one_run(earlier: &Value, later: &Value) -> bool {
    (earlier["type"] == "tool_use" && later["type"] == "tool_use")
        || (earlier["type"] == "tool_result" && later["type"] == "tool_result")
}

/// "Prefix order: tools -> system -> messages": every block of a prompt, in that order.
fn blocks(body: &Value) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut prefix = Vec::new();
    for tool in content(&body["tools"]) {
        add(&mut blocks, &mut prefix, "tool", tool);
    }
    prefix.push(system_settings(body));
    for block in content(&body["system"]) {
        add(&mut blocks, &mut prefix, "system", block);
    }
    prefix.push(message_settings(body));
    for message in content(&body["messages"]) {
        for block in content(&message["content"]) {
            add(
                &mut blocks,
                &mut prefix,
                message["role"].as_str().unwrap_or_default(),
                block,
            );
        }
    }
    blocks
}

/// The next block of a prompt, and with it the next line of the prefix: whose it is, and its JSON.
fn add(blocks: &mut Vec<Block>, prefix: &mut Vec<String>, whose: &str, value: Value) {
    let json = json_without_cache_control(&value);
    let before = blocks.last().map_or(0, |block: &Block| block.tokens);
    let tokens = before + json.len().div_ceil(4) as u64;
    prefix.push(format!("{whose}: {json}"));
    blocks.push(Block {
        value,
        prefix: prefix.clone(),
        tokens,
    });
}

/// The blocks of a content: a string is one block of text.
fn content(content: &Value) -> Vec<Value> {
    match content {
        Value::String(text) => vec![json!({"type": "text", "text": text})],
        Value::Array(blocks) => blocks.clone(),
        _ => vec![],
    }
}

/// The compact JSON of a block: `cache_control` says what is to be done with it, and is no part of it.
fn json_without_cache_control(block: &Value) -> String {
    let mut block = block.clone();
    if let Some(fields) = block.as_object_mut() {
        fields.remove("cache_control");
    }
    block.to_string()
}

/// "Speed -> system+messages": what a prefix has before the first block of the system prompt.
fn system_settings(body: &Value) -> String {
    format!("speed: {:?}", body.get("speed"))
}

/// "`tool_choice`, images -> messages only; thinking config and effort -> messages": what a prefix has before the
/// first block of the messages.
fn message_settings(body: &Value) -> String {
    let tool_choice = body.get("tool_choice");
    let thinking = body.get("thinking");
    let effort = body
        .get("output_config")
        .and_then(|config| config.get("effort"));
    let images = has_image(body);
    format!(
        "tool_choice: {tool_choice:?}, thinking: {thinking:?}, effort: {effort:?}, images: {images}"
    )
}

/// Whether the messages have an image anywhere.
fn has_image(body: &Value) -> bool {
    for message in content(&body["messages"]) {
        for block in content(&message["content"]) {
            if block["type"] == "image" {
                return true;
            }
            if block["type"] == "tool_result"
                && content(&block["content"])
                    .iter()
                    .any(|part| part["type"] == "image")
            {
                return true;
            }
        }
    }
    false
}

/// The breakpoints of a prompt in its order, or what is wrong with them.
fn breakpoints(body: &Value, blocks: &[Block]) -> Result<Vec<Breakpoint>, String> {
    // "A breakpoint = a block with `cache_control`. Not allowed on thinking blocks or empty text".
    let mut breakpoints = Vec::new();
    for (at, block) in blocks.iter().enumerate() {
        if let Some(cache_control) = block.value.get("cache_control") {
            if !is_cacheable(&block.value) {
                return Err(
                    "cache_control cannot be set for thinking blocks or empty text".to_owned(),
                );
            }
            breakpoints.push(Breakpoint {
                at,
                ttl: ttl(cache_control),
            });
        }
    }

    // "Top-level `cache_control` = one automatic breakpoint on the last cacheable block: [...] no-op if the last block
    // already has the same TTL, 400 if different TTL". Nothing after the last cacheable block can be a breakpoint, so
    // the automatic one is the last.
    let last = blocks.iter().rposition(|block| is_cacheable(&block.value));
    if let (Some(cache_control), Some(last)) = (body.get("cache_control"), last) {
        let automatic = Breakpoint {
            at: last,
            ttl: ttl(cache_control),
        };
        match blocks[last].value.get("cache_control") {
            None => breakpoints.push(automatic),
            Some(explicit) if ttl(explicit) == automatic.ttl => {}
            Some(_) => return Err("cache_control: the last block has another ttl".to_owned()),
        }
    }

    // "Max 4"; the automatic one "uses one of the 4 slots".
    let found = breakpoints.len();
    if found > MOST_BREAKPOINTS {
        return Err(format!(
            "A maximum of 4 blocks with cache_control may be provided. Found {found}."
        ));
    }

    // "All 1h breakpoints must precede 5m ones".
    for pair in breakpoints.windows(2) {
        if pair[0].ttl == FIVE_MINUTES && pair[1].ttl == HOUR {
            return Err("a cache_control of ttl 1h must not come after one of ttl 5m".to_owned());
        }
    }
    Ok(breakpoints)
}

/// "TTL `5m` (default) or `1h`".
fn ttl(cache_control: &Value) -> u64 {
    if cache_control["ttl"] == "1h" {
        HOUR
    } else {
        FIVE_MINUTES
    }
}

/// Whether a block may be a breakpoint.
fn is_cacheable(block: &Value) -> bool {
    let is_thinking = block["type"] == "thinking" || block["type"] == "redacted_thinking";
    let is_empty_text = block["type"] == "text" && block["text"] == "";
    !is_thinking && !is_empty_text
}
