//! The worlds that prompt caching is put through: few texts and tools, so that prefixes collide.

use proptest::collection::vec;
use proptest::option::weighted;
use proptest::prelude::*;
use proptest::sample::Index;
use serde_json::{Value, json};

use super::{FIVE_MINUTES, HOUR, SECOND, is_cacheable};

/// One request of a world.
#[derive(Debug, Clone)]
pub(in super::super) struct Request {
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
pub(in super::super) fn bodies() -> impl Strategy<Value = Vec<Request>> {
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
pub(super) fn image() -> Value {
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
