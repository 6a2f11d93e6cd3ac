//! A slow and obvious model of prompt caching, to hold the real one against.
//!
//! It follows section 6 ("Prompt caching") of the facts about the Messages API line by line: every prefix is kept in
//! full as a list of lines, every search looks at every entry, and nothing is ever thrown away.
//!
//! Below it are the worlds that both are put through, and below those an example for each sentence of the section.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;
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

/// One request of a world.
#[derive(Debug, Clone)]
pub(super) struct Request {
    /// Of two.
    pub workspace: String,
    /// Of two.
    pub model: String,
    /// What is sent.
    pub body: Value,
    /// How long after the start of the request before it this one starts.
    pub wait_ns: u64,
    /// How long after its start its answer begins: maybe after the next one has started.
    pub answer_ns: u64,
}

/// A prompt without breakpoints and settings.
#[derive(Debug, Clone)]
struct Conversation {
    tools: Vec<Value>,
    system: Vec<Value>,
    messages: Vec<Message>,
}

/// A message of a conversation.
#[derive(Debug, Clone)]
struct Message {
    role: &'static str,
    blocks: Vec<Value>,
}

/// A message of a user.
fn by_user(blocks: Vec<Value>) -> Message {
    let role = "user";
    Message { role, blocks }
}

/// A message of an assistant.
fn by_assistant(blocks: Vec<Value>) -> Message {
    let role = "assistant";
    Message { role, blocks }
}

/// How the next request differs from one before it.
#[derive(Debug, Clone)]
enum Edit {
    /// Not at all.
    Same,
    /// It goes on.
    Longer(Vec<Message>),
    /// It goes on from one of its messages, without what came after.
    Branched(Index, Vec<Message>),
    /// One block of its messages is another.
    Changed(Index, Value),
    /// One of its messages has lost its last block.
    Removed(Index),
    /// One of its messages has the other role.
    Turned(Index),
    /// One of its messages is two, the first of them with so many blocks.
    Split(Index, Index),
    /// It has other tools.
    Tools(Vec<Value>),
    /// It has another system prompt.
    System(Vec<Value>),
    /// It is another conversation.
    Other(Conversation),
}

/// Where a breakpoint is.
#[derive(Debug, Clone)]
enum Place {
    /// So many blocks after the first one.
    FromStart(usize),
    /// So many blocks before the last one.
    FromEnd(usize),
    /// Somewhere.
    Anywhere(Index),
}

/// The breakpoints of a request.
#[derive(Debug, Clone)]
struct Marks {
    places: Vec<Place>,
    /// How many of them, from the first on, have a TTL of an hour.
    hours: usize,
    /// The last ones have the TTL of an hour instead, which is an error.
    is_backwards: bool,
    /// They may be on thinking and on empty text, which is an error.
    is_careless: bool,
    /// Whether a TTL of five minutes is spelled out.
    is_spelled_out: bool,
    /// The automatic one.
    automatic: Option<Value>,
}

/// A setting that some requests of a world have in another way than the rest.
#[derive(Debug, Clone)]
struct Setting {
    name: &'static str,
    /// Its value in most requests, if it is there.
    usual: Option<Value>,
    /// Its value in the others.
    unusual: Option<Value>,
}

/// One request, as far as it is known without those before it.
#[derive(Debug, Clone)]
struct Step {
    workspace: &'static str,
    model: &'static str,
    /// Which of the conversations before it is edited; the last one if none is said.
    from: Option<Index>,
    edit: Edit,
    marks: Marks,
    /// Whether its settings are not the usual ones.
    is_unusual: bool,
    /// Whether contents of one block of text are sent as strings.
    as_strings: bool,
    wait_ns: u64,
    answer_ns: u64,
}

/// How many blocks a prompt has at most.
const MOST_BLOCKS: usize = 60;

/// Small worlds in which prompts have much in common: the requests of one, in the order of their starts.
pub(super) fn bodies() -> impl Strategy<Value = Vec<Request>> {
    (conversation(), settings(), vec(step(), 1..=16))
        .prop_map(|(first, settings, steps)| requests(first, &settings, &steps))
}

/// What the steps make of the first conversation.
fn requests(first: Conversation, settings: &[Setting], steps: &[Step]) -> Vec<Request> {
    let mut conversations = vec![first];
    let mut requests = Vec::new();
    for step in steps {
        let last = conversations.len() - 1;
        let from = step
            .from
            .map_or(last, |from| from.index(conversations.len()));
        let conversation = edited(conversations[from].clone(), &step.edit);
        requests.push(Request {
            workspace: step.workspace.to_owned(),
            model: step.model.to_owned(),
            body: body(conversation.clone(), settings, step),
            wait_ns: step.wait_ns,
            answer_ns: step.answer_ns,
        });
        conversations.push(conversation);
    }
    requests
}

/// A conversation after an edit.
fn edited(mut conversation: Conversation, edit: &Edit) -> Conversation {
    match edit {
        Edit::Same => {}
        Edit::Longer(messages) => conversation.messages.extend(messages.clone()),
        Edit::Branched(at, messages) => {
            conversation
                .messages
                .truncate(at.index(conversation.messages.len() + 1));
            conversation.messages.extend(messages.clone());
        }
        Edit::Changed(at, block) => {
            let mut blocks: Vec<_> = conversation
                .messages
                .iter_mut()
                .flat_map(|message| &mut message.blocks)
                .collect();
            if !blocks.is_empty() {
                let at = at.index(blocks.len());
                *blocks[at] = block.clone();
            }
        }
        Edit::Removed(at) => {
            if !conversation.messages.is_empty() {
                let at = at.index(conversation.messages.len());
                conversation.messages[at].blocks.pop();
            }
        }
        Edit::Turned(at) => {
            if !conversation.messages.is_empty() {
                let at = at.index(conversation.messages.len());
                let role = conversation.messages[at].role;
                conversation.messages[at].role = if role == "user" { "assistant" } else { "user" };
            }
        }
        Edit::Split(at, blocks) => {
            if !conversation.messages.is_empty() {
                let at = at.index(conversation.messages.len());
                let message = &mut conversation.messages[at];
                let rest = message.blocks.split_off(blocks.index(message.blocks.len()));
                let role = message.role;
                conversation
                    .messages
                    .insert(at + 1, Message { role, blocks: rest });
            }
        }
        Edit::Tools(tools) => conversation.tools.clone_from(tools),
        Edit::System(system) => conversation.system.clone_from(system),
        Edit::Other(other) => conversation = other.clone(),
    }
    conversation
        .messages
        .retain(|message| !message.blocks.is_empty());
    while every_block(&mut conversation).len() > MOST_BLOCKS {
        conversation.messages.pop();
    }
    conversation
}

/// The blocks of a conversation in the order of its prefixes.
fn every_block(conversation: &mut Conversation) -> Vec<&mut Value> {
    let messages = conversation
        .messages
        .iter_mut()
        .flat_map(|message| &mut message.blocks);
    conversation
        .tools
        .iter_mut()
        .chain(&mut conversation.system)
        .chain(messages)
        .collect()
}

/// The body of a request: a conversation with breakpoints and settings.
fn body(mut conversation: Conversation, settings: &[Setting], step: &Step) -> Value {
    mark(&mut conversation, &step.marks);
    let mut body = json!({"max_tokens": 16, "model": step.model});
    if !conversation.tools.is_empty() {
        body["tools"] = json!(conversation.tools);
    }
    if !conversation.system.is_empty() {
        body["system"] = sent(conversation.system, step.as_strings);
    }
    body["messages"] = json!([]);
    for message in conversation.messages {
        let message =
            json!({"role": message.role, "content": sent(message.blocks, step.as_strings)});
        body["messages"]
            .as_array_mut()
            .expect("it was made an array")
            .push(message);
    }
    let mut fields = vec![("cache_control", &step.marks.automatic)];
    for setting in settings {
        let value = if step.is_unusual {
            &setting.unusual
        } else {
            &setting.usual
        };
        fields.push((setting.name, value));
    }
    for (name, value) in fields {
        if let Some(value) = value {
            body[name] = value.clone();
        }
    }
    body
}

/// Sets the breakpoints of a conversation.
fn mark(conversation: &mut Conversation, marks: &Marks) {
    let mut blocks = every_block(conversation);
    if blocks.is_empty() {
        return;
    }
    let count = blocks.len();
    let mut places: Vec<usize> = Vec::new();
    for place in &marks.places {
        places.push(match place {
            Place::FromStart(blocks) => (*blocks).min(count - 1),
            Place::FromEnd(blocks) => (count - 1).saturating_sub(*blocks),
            Place::Anywhere(at) => at.index(count),
        });
    }
    places.retain(|&at| marks.is_careless || is_cacheable(blocks[at]));
    places.sort_unstable();
    places.dedup();
    for (number, &at) in places.iter().enumerate() {
        let is_hour = (number < marks.hours) != marks.is_backwards;
        blocks[at]["cache_control"] = match (is_hour, marks.is_spelled_out) {
            (true, _) => json!({"type": "ephemeral", "ttl": "1h"}),
            (false, true) => json!({"type": "ephemeral", "ttl": "5m"}),
            (false, false) => json!({"type": "ephemeral"}),
        };
    }
}

/// Blocks as a content: a string if they are but one text without a breakpoint, and strings are wanted.
fn sent(blocks: Vec<Value>, as_strings: bool) -> Value {
    match blocks.as_slice() {
        [block]
            if as_strings && block["type"] == "text" && block.get("cache_control").is_none() =>
        {
            block["text"].clone()
        }
        _ => Value::Array(blocks),
    }
}

/// A step.
fn step() -> impl Strategy<Value = Step> {
    let workspace = prop_oneof![16 => Just("one"), 1 => Just("two")];
    let model = prop_oneof![16 => Just("claude-opus-5-5"), 1 => Just("claude-sonnet-5")];
    let which = (workspace, model, weighted(0.2, any::<Index>()));
    let how = (edit(), marks(), prop::bool::weighted(0.3), any::<bool>());
    (which, how, wait_ns(), answer_ns()).prop_map(|(which, how, wait_ns, answer_ns)| {
        let (workspace, model, from) = which;
        let (edit, marks, is_unusual, as_strings) = how;
        Step {
            workspace,
            model,
            from,
            edit,
            marks,
            is_unusual,
            as_strings,
            wait_ns,
            answer_ns,
        }
    })
}

/// Times between the starts of requests: often as long as an entry lives, or a nanosecond off.
fn wait_ns() -> impl Strategy<Value = u64> {
    prop_oneof![
        6 => Just(0),
        6 => Just(SECOND),
        6 => 1..10 * SECOND,
        4 => Just(100 * SECOND),
        4 => Just(FIVE_MINUTES / 2),
        3 => FIVE_MINUTES - 1..=FIVE_MINUTES + 1,
        1 => FIVE_MINUTES - SECOND - 1..=FIVE_MINUTES - SECOND + 1,
        1 => HOUR - 1..=HOUR + 1,
        1 => Just(HOUR - FIVE_MINUTES),
        1 => 0..=4000 * SECOND,
    ]
}

/// Times until answers begin: often until the next request starts, or a nanosecond off.
fn answer_ns() -> impl Strategy<Value = u64> {
    prop_oneof![
        8 => Just(0),
        2 => SECOND - 1..=SECOND + 1,
        2 => 1..20 * SECOND,
        1 => FIVE_MINUTES - 1..=FIVE_MINUTES + 1,
        1 => 0..=4000 * SECOND,
    ]
}

/// An edit: most of them leave most of what there was.
fn edit() -> impl Strategy<Value = Edit> {
    prop_oneof![
        8 => Just(Edit::Same),
        8 => messages(0..=2).prop_map(Edit::Longer),
        6 => stretch().prop_map(Edit::Longer),
        2 => (any::<Index>(), messages(0..=2)).prop_map(|(at, more)| Edit::Branched(at, more)),
        2 => (any::<Index>(), text_block()).prop_map(|(at, block)| Edit::Changed(at, block)),
        1 => any::<Index>().prop_map(Edit::Removed),
        1 => any::<Index>().prop_map(Edit::Turned),
        1 => (any::<Index>(), any::<Index>()).prop_map(|(at, blocks)| Edit::Split(at, blocks)),
        1 => tools().prop_map(Edit::Tools),
        1 => system().prop_map(Edit::System),
        1 => conversation().prop_map(Edit::Other),
    ]
}

/// The breakpoints of a request: most of them near the end, or as far from it as a read looks back.
fn marks() -> impl Strategy<Value = Marks> {
    let place = prop_oneof![
        6 => Just(Place::FromEnd(0)),
        3 => (0..6_usize).prop_map(Place::FromStart),
        1 => (1..18_usize).prop_map(Place::FromEnd),
        1 => (18..24_usize).prop_map(Place::FromEnd),
        3 => any::<Index>().prop_map(Place::Anywhere),
    ];
    let places = prop_oneof![
        1 => vec(place.clone(), 0),
        16 => vec(place.clone(), 1..=4),
        1 => vec(place, 5),
    ];
    let hours = prop_oneof![4 => Just(0), 4 => 1..=4_usize];
    let is_backwards = prop::bool::weighted(0.03);
    let is_careless = prop::bool::weighted(0.1);
    let automatic = prop_oneof![
        24 => Just(None),
        2 => Just(Some(json!({"type": "ephemeral"}))),
        1 => Just(Some(json!({"type": "ephemeral", "ttl": "5m"}))),
        2 => Just(Some(json!({"type": "ephemeral", "ttl": "1h"}))),
    ];
    let ttls = (hours, is_backwards, any::<bool>());
    (places, ttls, is_careless, automatic).prop_map(|(places, ttls, is_careless, automatic)| {
        let (hours, is_backwards, is_spelled_out) = ttls;
        Marks {
            places,
            hours,
            is_backwards,
            is_careless,
            is_spelled_out,
            automatic,
        }
    })
}

/// The settings of a world.
fn settings() -> impl Strategy<Value = Vec<Setting>> {
    vec(setting(), 0..=2)
}

/// A setting that matters to the cache, or one that does not.
fn setting() -> impl Strategy<Value = Setting> {
    let automatic = json!({"type": "auto"});
    let automatic_alone = json!({"type": "auto", "disable_parallel_tool_use": true});
    let adaptive = json!({"type": "adaptive"});
    let adaptive_omitted = json!({"type": "adaptive", "display": "omitted"});
    let low = json!({"effort": "low"});
    let low_formatted = json!({"effort": "low", "format": {"type": "json_schema", "schema": {}}});
    let formatted = json!({"format": {"type": "json_schema", "schema": {}}});
    let values = vec![
        ("speed", vec![json!("standard"), json!("fast")]),
        (
            "tool_choice",
            vec![automatic, automatic_alone, json!({"type": "none"})],
        ),
        (
            "thinking",
            vec![adaptive, adaptive_omitted, json!({"type": "disabled"})],
        ),
        (
            "output_config",
            vec![low, low_formatted, formatted, json!({"effort": "high"})],
        ),
        ("stream", vec![json!(true), json!(false)]),
    ];
    prop::sample::select(values).prop_flat_map(|(name, values)| {
        let value = weighted(0.75, prop::sample::select(values));
        (value.clone(), value).prop_map(move |(usual, unusual)| Setting {
            name,
            usual,
            unusual,
        })
    })
}

/// A whole conversation.
fn conversation() -> impl Strategy<Value = Conversation> {
    (tools(), system(), messages(0..=4)).prop_map(|(tools, system, messages)| Conversation {
        tools,
        system,
        messages,
    })
}

/// Tools.
fn tools() -> impl Strategy<Value = Vec<Value>> {
    let tool = |name: &str, description: &str| {
        let schema = json!({"type": "object"});
        json!({"name": name, "description": description, "input_schema": schema})
    };
    let tool = prop_oneof![
        3 => Just(tool("look", "Looks.")),
        2 => Just(tool("find", "Finds.")),
        1 => Just(tool("look", "Looks again.")),
        1 => Just(tool("look", &"Looks long. ".repeat(180))),
    ];
    vec(tool, 0..=3)
}

/// A system prompt.
fn system() -> impl Strategy<Value = Vec<Value>> {
    vec(text_block(), 0..=3)
}

/// Messages, in no order of roles.
fn messages(count: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = Vec<Message>> {
    let user = user_blocks().prop_map(by_user);
    let assistant = assistant_blocks().prop_map(by_assistant);
    vec(prop_oneof![user, assistant], count)
}

/// Messages that make a prompt longer by about as much as a read looks back.
fn stretch() -> impl Strategy<Value = Vec<Message>> {
    let texts = vec(text_block(), 14..=20).prop_map(by_user);
    let calls = vec(call(), 1..=4).prop_map(by_assistant);
    let results = vec(result(), 1..=4).prop_map(by_user);
    let run = prop_oneof![calls, results].boxed();
    (vec(run.clone(), 0..=2), texts, vec(run, 0..=2))
        .prop_map(|(before, texts, after)| [before, vec![texts], after].concat())
}

/// What a user says.
fn user_blocks() -> impl Strategy<Value = Vec<Value>> {
    let results = (vec(result(), 1..=6), vec(text_block(), 0..=1));
    prop_oneof![
        8 => vec(text_block(), 1..=2),
        8 => results.prop_map(|(results, texts)| [results, texts].concat()),
        1 => Just(vec![image()]),
        1 => Just(vec![json!({"type": "text", "text": ""})]),
    ]
}

/// What an assistant says.
fn assistant_blocks() -> impl Strategy<Value = Vec<Value>> {
    let calls = (
        vec(thinking(), 0..=1),
        vec(text_block(), 0..=1),
        vec(call(), 1..=6),
    );
    prop_oneof![
        8 => vec(text_block(), 1..=2),
        1 => vec(thinking(), 1..=2),
        8 => calls.prop_map(|(thinking, texts, calls)| [thinking, texts, calls].concat()),
    ]
}

/// A thought.
fn thinking() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({"type": "thinking", "thinking": "Hm.", "signature": "s"})),
        1 => Just(json!({"type": "redacted_thinking", "data": "d"})),
    ]
}

/// A call of a tool.
fn call() -> impl Strategy<Value = Value> {
    prop_oneof![
        3 => Just(json!({"type": "tool_use", "id": "1", "name": "look", "input": {}})),
        1 => Just(json!({"type": "tool_use", "id": "2", "name": "find", "input": {"for": "a"}})),
    ]
}

/// The result of a tool.
fn result() -> impl Strategy<Value = Value> {
    let content = prop_oneof![
        24 => text().prop_map(|text| json!(text)),
        8 => text_block().prop_map(|block| json!([block])),
        1 => Just(json!([image()])),
    ];
    content
        .prop_map(|content| json!({"type": "tool_result", "tool_use_id": "1", "content": content}))
}

/// An image.
fn image() -> Value {
    let source = json!({"type": "base64", "media_type": "image/png", "data": "AAAA"});
    json!({"type": "image", "source": source})
}

/// A block of text.
fn text_block() -> impl Strategy<Value = Value> {
    text().prop_map(|text| json!({"type": "text", "text": text}))
}

/// A text: one of a few, most of them small. A block of text has 25 bytes besides, so that "a" has 7 tokens, and the
/// long ones have 512 and 505: with those, prefixes are often just as long as the least that is cached.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        8 => Just("a".to_owned()),
        4 => Just("b".to_owned()),
        1 => Just("\"\u{e4}\u{20ac}\"\n".to_owned()),
        2 => Just("c".repeat(512 * 4 - 25)),
        1 => Just("d".repeat(505 * 4 - 25)),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;

    /// A cache, asked for one workspace and one model, with answers that begin at once.
    #[derive(Default)]
    struct Cache(Model);

    impl Cache {
        /// Where the tokens of a request went.
        fn ask(&mut self, second: u64, body: &Value) -> Counters {
            let now = second * SECOND;
            let answer = self.0.ask("one", "m", 0, body, now, now);
            answer.expect("nothing is wrong with it")
        }

        /// How many tokens of a request were read.
        fn read(&mut self, second: u64, body: &Value) -> u64 {
            self.ask(second, body).read
        }
    }

    /// Where the tokens of a first request went.
    fn ask(body: &Value) -> Counters {
        Cache::default().ask(0, body)
    }

    /// What is wrong with a request.
    fn refusal(body: &Value) -> String {
        let answer = Model::default().ask("one", "m", 0, body, 0, 0);
        answer.expect_err("something is wrong with it")
    }

    /// The tokens read, written for an hour, written for five minutes, and neither.
    fn split(counters: Counters) -> [u64; 4] {
        let Counters {
            read,
            write_5m: short,
            write_1h: long,
            uncached,
        } = counters;
        [read, long, short, uncached]
    }

    /// A block as a breakpoint.
    fn marked(mut block: Value, ttl: &str) -> Value {
        block["cache_control"] = json!({"type": "ephemeral", "ttl": ttl});
        block
    }

    /// Texts of ten tokens each, by their letters; those with a TTL are breakpoints: `a b:1h c:5m`.
    fn tens(words: &str) -> Vec<Value> {
        let ten = |letter: &str| json!({"type": "text", "text": letter.repeat(15)});
        let block = |word: &str| match word.split_once(':') {
            Some((letter, ttl)) => marked(ten(letter), ttl),
            None => ten(word),
        };
        words.split_whitespace().map(block).collect()
    }

    /// A request of one message with these blocks.
    fn body(blocks: Vec<Value>) -> Value {
        json!({"messages": [{"role": "user", "content": Value::Array(blocks)}]})
    }

    /// A request of one message with these texts.
    fn user(words: &str) -> Value {
        body(tens(words))
    }

    /// A request with a system prompt of these texts, and one message with these blocks.
    fn with_system(system: &str, blocks: Vec<Value>) -> Value {
        let mut body = body(blocks);
        body["system"] = Value::Array(tens(system));
        body
    }

    /// A request with an automatic breakpoint, and one message with these blocks.
    fn automatic(ttl: &str, blocks: Vec<Value>) -> Value {
        marked(body(blocks), ttl)
    }

    /// A thought.
    fn thought() -> Value {
        json!({"type": "thinking", "thinking": "Hm.", "signature": "s"})
    }

    /// A text without a letter.
    fn empty() -> Value {
        json!({"type": "text", "text": ""})
    }

    /// So many different texts.
    fn texts(count: usize) -> Vec<Value> {
        let text = |number: usize| json!({"type": "text", "text": number.to_string()});
        (0..count).map(text).collect()
    }

    /// So many different calls of tools.
    fn calls(count: usize) -> Vec<Value> {
        let call = |number: usize| {
            let id = number.to_string();
            json!({"type": "tool_use", "id": id, "name": "look", "input": {}})
        };
        (0..count).map(call).collect()
    }

    /// So many different results of tools.
    fn results(count: usize) -> Vec<Value> {
        let result =
            |number: usize| json!({"type": "tool_result", "tool_use_id": number.to_string()});
        (0..count).map(result).collect()
    }

    /// Whether a breakpoint after these blocks reads what one before them wrote.
    fn reads_over(between: &[Vec<Value>]) -> bool {
        let mut cache = Cache::default();
        cache.ask(0, &user("a:5m"));
        let blocks = [tens("a"), between.concat(), tens("z:5m")].concat();
        cache.read(1, &body(blocks)) == 10
    }

    #[test]
    fn a_block_has_a_token_for_every_four_bytes_of_its_json_begun() {
        let tokens = |text: &str| ask(&body(vec![json!({"type": "text", "text": text})])).uncached;
        assert_eq!(empty().to_string().len(), 25);
        assert_eq!((tokens("aaa"), tokens("aaaa")), (7, 8));
        assert_eq!((tokens("\u{20ac}"), tokens("\u{20ac}a")), (7, 8), "bytes");
        assert_eq!((tokens("\"a"), tokens("\"\"")), (7, 8), "bytes of JSON");
        assert_eq!(ask(&user("a:5m")).write_5m, 10, "without `cache_control`");
    }

    #[test]
    fn the_order_of_a_prefix_is_tools_then_system_then_messages() {
        let tool = |name: &str| json!({"name": name, "input_schema": {"type": "object"}});
        let prompt = |tool: Value, system: &str, message: &str| {
            let mut body = with_system(system, tens(message));
            body["tools"] = json!([tool]);
            body
        };
        let mut cache = Cache::default();
        let all = cache
            .ask(0, &prompt(marked(tool("look"), "5m"), "s:5m", "m:5m"))
            .write_5m;
        assert_eq!(cache.read(1, &prompt(tool("look"), "s", "m:5m")), all);
        assert_eq!(cache.read(1, &prompt(tool("look"), "s", "n:5m")), all - 10);
        assert_eq!(cache.read(1, &prompt(tool("look"), "t", "m:5m")), all - 20);
        assert_eq!(cache.read(1, &prompt(tool("find"), "s", "m:5m")), 0);
    }

    #[test]
    fn a_prefix_is_byte_exact_per_block() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a b:5m"));
        assert_eq!(cache.read(1, &user("a b:5m")), 20);
        assert_eq!(cache.read(1, &user("A b:5m")), 0);
        assert_eq!(cache.read(1, &user("b a:5m")), 0);
        assert_eq!(cache.read(1, &user("ab:5m")), 0);
        let assistant = json!({"messages": [{"role": "assistant", "content": tens("a b:5m")}]});
        assert_eq!(cache.read(1, &assistant), 0, "another role, another block");
    }

    #[test]
    fn a_string_is_one_block_of_text_and_turns_of_one_role_are_merged() {
        let mut cache = Cache::default();
        cache.ask(0, &with_system("s", tens("a b:5m")));
        let strings = json!({"system": "s".repeat(15), "messages": [
            {"role": "user", "content": "a".repeat(15)},
            {"role": "user", "content": tens("b:5m")},
        ]});
        assert_eq!(cache.read(1, &strings), 30);
    }

    #[test]
    fn entries_are_keyed_per_workspace_and_model() {
        let mut cache = Model::default();
        let mut read = |workspace: &str, model: &str| {
            let answer = cache.ask(workspace, model, 0, &user("a:5m"), 0, 0);
            answer.map(|counters| counters.read)
        };
        assert_eq!(read("one", "m"), Ok(0));
        assert_eq!(read("two", "m"), Ok(0));
        assert_eq!(read("one", "n"), Ok(0));
        assert_eq!(read("one", "m"), Ok(10));
    }

    #[test]
    fn a_fifth_breakpoint_is_a_400() {
        ask(&user("a:5m b:5m c:5m d:5m e"));
        let text = "A maximum of 4 blocks with cache_control may be provided. Found 5.";
        assert_eq!(refusal(&user("a:5m b:5m c:5m d:5m e:5m")), text);
    }

    #[test]
    fn a_refused_request_leaves_the_cache_as_it_was() {
        let mut cache = Cache::default();
        let refused = cache.0.ask("one", "m", 0, &user("a:5m b:1h"), 0, 0);
        assert!(refused.is_err());
        assert_eq!(cache.read(1, &user("a:5m")), 0);
    }

    #[test]
    fn a_breakpoint_is_not_allowed_on_thinking_blocks_or_empty_text() {
        let redacted = json!({"type": "redacted_thinking", "data": "d"});
        for block in [thought(), redacted, empty()] {
            refusal(&body(vec![marked(block, "5m")]));
        }
    }

    #[test]
    fn a_top_level_cache_control_is_one_breakpoint_on_the_last_cacheable_block() {
        let mut cache = Cache::default();
        assert_eq!(
            split(cache.ask(0, &automatic("5m", tens("a b")))),
            [0, 0, 20, 0]
        );
        assert_eq!(
            split(cache.ask(1, &automatic("1h", tens("a b c")))),
            [20, 10, 0, 0]
        );

        let cannot = vec![thought(), empty()];
        let after = [tens("a"), cannot.clone()].concat();
        assert_eq!(ask(&automatic("5m", after)).write_5m, 10);
        assert_eq!(
            ask(&automatic("5m", cannot.clone())).write_5m,
            0,
            "there is none"
        );
        let in_system = marked(with_system("s", cannot), "5m");
        assert_eq!(
            ask(&in_system).write_5m,
            10,
            "there is none in the messages"
        );
    }

    #[test]
    fn a_top_level_cache_control_uses_one_of_the_four_slots() {
        ask(&automatic("5m", tens("a:5m b:5m c:5m d")));
        refusal(&automatic("5m", tens("a:5m b:5m c:5m d:5m e")));
        ask(&automatic("5m", tens("a:5m b:5m c:5m d:5m")));
    }

    #[test]
    fn a_top_level_cache_control_is_a_no_op_if_the_last_block_has_the_same_ttl() {
        assert_eq!(split(ask(&automatic("5m", tens("a:5m")))), [0, 0, 10, 0]);
        assert_eq!(split(ask(&automatic("1h", tens("a:1h")))), [0, 10, 0, 0]);
        let mut by_default = automatic("5m", tens("a:5m"));
        by_default["cache_control"] = json!({"type": "ephemeral"});
        assert_eq!(split(ask(&by_default)), [0, 0, 10, 0]);
    }

    #[test]
    fn a_top_level_cache_control_is_a_400_if_the_last_block_has_a_different_ttl() {
        refusal(&automatic("1h", tens("a:5m")));
        refusal(&automatic("5m", tens("a:1h")));
    }

    #[test]
    fn exactly_one_entry_is_written_per_breakpoint_and_none_elsewhere() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a b:5m c d:5m"));
        assert_eq!(cache.read(1, &user("a z:5m")), 0);
        assert_eq!(cache.read(1, &user("a b z:5m")), 20);
        assert_eq!(cache.read(1, &user("a b c z:5m")), 20);
        assert_eq!(cache.read(1, &user("a b c d z:5m")), 40);
    }

    #[test]
    fn a_breakpoint_before_the_hit_writes_its_entry_too() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a b:5m"));
        assert_eq!(split(cache.ask(1, &user("a:1h b:5m"))), [20, 0, 0, 0]);
        assert_eq!(cache.read(2000, &user("a z:5m")), 10);
    }

    #[test]
    fn a_living_entry_stays_as_it_is_when_another_is_hit() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a:5m b:5m"));
        assert_eq!(split(cache.ask(200, &user("a:1h b:5m"))), [20, 0, 0, 0]);
        assert_eq!(
            cache.read(300, &user("a z:5m")),
            0,
            "neither read nor written"
        );
        assert_eq!(cache.read(300, &user("a b:5m")), 20);
    }

    #[test]
    fn a_read_walks_back_at_most_20_positions_including_the_breakpoint_itself() {
        assert!(reads_over(&[texts(18)]));
        assert!(!reads_over(&[texts(19)]));
    }

    #[test]
    fn a_run_of_consecutive_tool_use_blocks_counts_as_1_position_likewise_tool_result() {
        for run in [calls(30), results(30)] {
            assert!(reads_over(&[texts(17), run.clone()]));
            assert!(!reads_over(&[texts(18), run]));
        }
        assert!(reads_over(&[texts(16), calls(9), results(9)]));
        assert!(!reads_over(&[texts(17), calls(9), results(9)]), "two runs");
        assert!(
            !reads_over(&[texts(16), calls(9), tens("x"), calls(9)]),
            "two runs"
        );
    }

    #[test]
    fn an_entry_within_a_run_is_found_even_at_the_twentieth_position() {
        let mut cache = Cache::default();
        let mut first = calls(3);
        first[2] = marked(first[2].clone(), "5m");
        let tokens = cache.ask(0, &body(first)).write_5m;
        let blocks = [calls(9), texts(18), tens("z:5m")].concat();
        assert_eq!(cache.read(1, &body(blocks)), tokens);
    }

    #[test]
    fn a_run_goes_on_over_the_border_of_a_message() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a:5m"));
        let before = [tens("a"), texts(17)].concat();
        let mut messages = vec![json!({"role": "user", "content": before})];
        for call in calls(9) {
            messages.push(json!({"role": "assistant", "content": [call]}));
        }
        messages.push(json!({"role": "user", "content": tens("z:5m")}));
        assert_eq!(cache.read(1, &json!({"messages": messages})), 10);
    }

    #[test]
    fn if_nothing_is_found_the_walk_continues_at_the_next_breakpoint() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a:5m"));
        let without = [tens("a x"), texts(30), tens("y:5m")].concat();
        assert_eq!(cache.read(1, &body(without)), 0);
        let with = [tens("a x:5m"), texts(30), tens("z:5m")].concat();
        assert_eq!(cache.read(1, &body(with)), 10);
    }

    #[test]
    fn a_prefix_below_the_minimum_is_silently_uncached() {
        let mut cache = Model::default();
        let mut ask = |words: &str| cache.ask("one", "m", 20, &user(words), 0, 0).map(split);
        assert_eq!(ask("a:5m"), Ok([0, 0, 0, 10]));
        assert_eq!(ask("a:5m"), Ok([0, 0, 0, 10]));
        assert_eq!(ask("a:1h b:5m"), Ok([0, 0, 20, 0]), "the first is as none");
        assert_eq!(ask("a:1h b:5m"), Ok([20, 0, 0, 0]));
        assert_eq!(ask("a:5m"), Ok([0, 0, 0, 10]));
    }

    #[test]
    fn a_lifetime_is_counted_from_the_start_of_the_request_that_writes() {
        for (words, lifetime) in [("a:5m", 300 * SECOND), ("a:1h", 3600 * SECOND)] {
            for (start, expected) in [(lifetime - 1, 10), (lifetime, 0)] {
                let mut cache = Model::default();
                let mut read = |start, ready| {
                    let answer = cache.ask("one", "m", 0, &user(words), start, ready);
                    answer.map(|counters| counters.read)
                };
                assert_eq!(read(0, 200 * SECOND), Ok(0));
                assert_eq!(read(start, start), Ok(expected));
            }
        }
    }

    #[test]
    fn a_read_refreshes_with_the_entrys_own_ttl() {
        let mut cache = Cache::default();
        cache.ask(0, &user("a:5m"));
        assert_eq!(cache.read(200, &user("a:1h")), 10);
        assert_eq!(cache.read(499, &user("a b z:5m")), 10);
        assert_eq!(cache.read(798, &user("a:1h")), 10);
        assert_eq!(cache.read(798 + 300, &user("a:1h")), 0);

        let mut cache = Cache::default();
        cache.ask(0, &user("a:1h"));
        assert_eq!(cache.read(3000, &user("a:5m")), 10);
        assert_eq!(cache.read(6000, &user("a:5m")), 10);
    }

    #[test]
    fn all_1h_breakpoints_must_precede_5m_ones() {
        assert_eq!(split(ask(&user("a:1h b:5m"))), [0, 10, 10, 0]);
        refusal(&user("a:5m b:1h"));
        refusal(&with_system("s:5m", tens("a:1h")));
        assert_eq!(split(ask(&automatic("5m", tens("a:1h b")))), [0, 10, 10, 0]);
        refusal(&automatic("1h", tens("a:5m b")));
    }

    #[test]
    fn an_entry_is_readable_once_the_first_response_has_begun() {
        let mut cache = Model::default();
        let mut read = |start, ready| {
            let answer = cache.ask("one", "m", 0, &user("a:5m"), start, ready);
            answer.map(|counters| counters.read)
        };
        assert_eq!(read(0, 10), Ok(0));
        assert_eq!(read(9, 100), Ok(0));
        assert_eq!(read(10, 100), Ok(10));
    }

    #[test]
    fn who_cannot_read_an_entry_yet_writes_one_of_its_own() {
        let mut cache = Model::default();
        let mut read = |start, ready| {
            let answer = cache.ask("one", "m", 0, &user("a:5m"), start * SECOND, ready * SECOND);
            answer.map(|counters| counters.read)
        };
        assert_eq!(read(0, 290), Ok(0));
        assert_eq!(read(100, 101), Ok(0));
        assert_eq!(
            read(101, 101),
            Ok(10),
            "since the second response has begun"
        );
        assert_eq!(read(400, 400), Ok(10), "300 seconds have not passed since");
    }

    #[test]
    fn mixed_ttls_are_billed_by_a_b_and_c() {
        let mut cache = Cache::default();
        let mut ask = |words: &str| split(cache.ask(0, &user(words)));
        assert_eq!(
            ask("a:1h b:1h c:5m d:5m e"),
            [0, 20, 20, 10],
            "A 0, B 20, C 40"
        );
        assert_eq!(
            ask("a:1h b:1h c:5m d:5m e"),
            [40, 0, 0, 10],
            "A 40, B 40, C 40"
        );
        assert_eq!(
            ask("a:1h b:1h c:5m x:5m e"),
            [30, 0, 10, 10],
            "A 30, B 30, C 40"
        );
        assert_eq!(
            ask("a:1h x:1h c:5m d:5m e"),
            [10, 10, 20, 10],
            "A 10, B 20, C 40"
        );
    }

    #[test]
    fn settings_invalidate_their_section_and_what_follows_it() {
        let tool = json!({"name": "look", "input_schema": {"type": "object"}});
        let tools = ask(&body(vec![tool.clone()])).uncached;
        let mut prompt = with_system("s:5m", tens("m:5m"));
        prompt["tools"] = json!([marked(tool, "5m")]);
        let format = json!({"type": "json_schema", "schema": {}});
        for (name, value, read) in [
            ("speed", json!("standard"), tools),
            ("system", json!(tens("t s:5m")), tools),
            ("system", json!(tens("s:5m t")), tools + 10),
            ("tool_choice", json!({"type": "auto"}), tools + 10),
            ("thinking", json!({"type": "disabled"}), tools + 10),
            ("output_config", json!({"effort": "high"}), tools + 10),
            ("output_config", json!({"format": format}), tools + 20),
            ("stream", json!(true), tools + 20),
        ] {
            let mut cache = Cache::default();
            cache.ask(0, &prompt);
            let mut changed = prompt.clone();
            changed[name] = value;
            assert_eq!(cache.read(1, &changed), read, "{name}");
            assert_eq!(cache.ask(2, &changed).write_5m, 0, "{name}");
        }
    }

    #[test]
    fn disable_parallel_tool_use_is_part_of_the_tool_choice() {
        let mut cache = Cache::default();
        let mut prompt = user("a:5m");
        prompt["tool_choice"] = json!({"type": "auto"});
        cache.ask(0, &prompt);
        prompt["tool_choice"] = json!({"type": "auto", "disable_parallel_tool_use": true});
        assert_eq!(cache.read(1, &prompt), 0);
    }

    #[test]
    fn images_invalidate_messages_only() {
        let result = json!({"type": "tool_result", "tool_use_id": "1", "content": [image()]});
        for block in [image(), result] {
            let mut cache = Cache::default();
            cache.ask(0, &with_system("s:5m", tens("a:5m")));
            let with_image = [tens("a"), vec![block, marked(image(), "5m")]].concat();
            assert_eq!(cache.read(1, &with_system("s", with_image.clone())), 10);
            let with_another = [with_image, vec![marked(image(), "5m")]].concat();
            assert!(cache.read(2, &with_system("s", with_another)) > 20);
        }
    }

    /// The requests of many worlds, each with what the model says to it.
    fn answers(minimum: u64) -> Vec<(Request, Result<Counters, String>)> {
        let mut runner = TestRunner::deterministic();
        let mut answers = Vec::new();
        for _ in 0..100 {
            let world = bodies().new_tree(&mut runner).expect("nothing is rejected");
            let mut cache = Model::default();
            let mut start = 0;
            for request in world.current() {
                let Request {
                    workspace,
                    model,
                    body,
                    wait_ns,
                    answer_ns,
                } = &request;
                start += wait_ns;
                let answer = cache.ask(workspace, model, minimum, body, start, start + answer_ns);
                answers.push((request, answer));
            }
        }
        answers
    }

    #[test]
    fn every_token_of_every_world_is_counted_once() {
        for (request, answer) in answers(512) {
            let total = blocks(&request.body).last().map_or(0, |block| block.tokens);
            if let Ok(counters) = answer {
                assert_eq!(split(counters).iter().sum::<u64>(), total);
            }
        }
    }

    #[test]
    fn the_worlds_have_every_kind_of_answer() {
        for minimum in [0, 512] {
            let answers = answers(minimum);
            let least = answers.len() / 50;
            let (fine, refused): (Vec<_>, Vec<_>) =
                answers.into_iter().partition(|(_, answer)| answer.is_ok());
            assert!(refused.len() > least);
            let fine: Vec<_> = fine.into_iter().flat_map(|(_, answer)| answer).collect();
            let count = |is: fn(&&Counters) -> bool| fine.iter().filter(is).count();
            assert!(count(|it| it.read == 0 && it.write_5m + it.write_1h == 0) > least);
            assert!(count(|it| it.read == 0 && it.write_5m + it.write_1h > 0) > least);
            assert!(count(|it| it.read > 0 && it.write_5m + it.write_1h == 0) > least);
            assert!(count(|it| it.read > 0 && it.write_5m + it.write_1h > 0) > least);
            assert!(count(|it| it.write_5m > 0 && it.write_1h > 0) > least);
        }
    }
}
