//! A request as prompt caching sees it: blocks in the order tools, system, messages, each with the hash of all up to it.
//!
//! Tokens are estimated, and the estimate is the same for ever: a block has a quarter of the bytes of its compact JSON
//! without `cache_control`, rounded up. Hashes are over the bytes as received, so the order of keys matters.

use indexmap::IndexMap;
use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;

/// How many breakpoints a request may have.
pub(crate) const MAX_BREAKPOINTS: usize = 4;

/// How long an entry lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ttl {
    FiveMinutes,
    OneHour,
}

impl Ttl {
    pub(crate) fn ns(self) -> u64 {
        match self {
            Self::FiveMinutes => 300 * 1_000_000_000,
            Self::OneHour => 3600 * 1_000_000_000,
        }
    }
}

/// Where a block belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Section {
    Tools,
    System,
    Messages,
}

/// One block of the prompt.
#[derive(Clone, Debug)]
pub(crate) struct Block {
    /// Of everything up to and including the block.
    pub(crate) hash: [u8; 32],
    /// Up to and including the block.
    pub(crate) tokens: u64,
    /// Where it stands; a run of `tool_use` or of `tool_result` blocks is one position.
    pub(crate) position: u64,
    pub(crate) breakpoint: Option<Ttl>,
    pub(crate) section: Section,
    cacheable: bool,
}

#[derive(Deserialize)]
struct Request<'a> {
    #[serde(borrow, default)]
    tools: Option<Vec<&'a RawValue>>,
    #[serde(borrow, default)]
    system: Option<&'a RawValue>,
    #[serde(borrow)]
    messages: Vec<Message<'a>>,
    #[serde(borrow, default)]
    tool_choice: Option<&'a RawValue>,
    #[serde(borrow, default)]
    thinking: Option<&'a RawValue>,
    #[serde(borrow, default)]
    output_config: Option<OutputConfig<'a>>,
    #[serde(borrow, default)]
    speed: Option<&'a RawValue>,
    #[serde(default)]
    cache_control: Option<Value>,
}

/// Of what is asked of the output, only the effort is in the prompt.
#[derive(Deserialize)]
struct OutputConfig<'a> {
    #[serde(borrow, default)]
    effort: Option<&'a RawValue>,
}

#[derive(Deserialize)]
struct Message<'a> {
    #[serde(borrow)]
    role: &'a RawValue,
    #[serde(borrow)]
    content: &'a RawValue,
}

type Fields<'a> = IndexMap<String, &'a RawValue>;

/// What invalidates a section by being anywhere in a request.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Toggles {
    images: bool,
    citations: bool,
}

impl Toggles {
    /// Looks for images and for documents that may be cited.
    pub(crate) fn of(body: &Value) -> Self {
        let mut toggles = Self::default();
        let messages = body["messages"].as_array().into_iter().flatten();
        messages.for_each(|message| toggles.look(&message["content"]));
        toggles
    }

    fn look(&mut self, content: &Value) {
        for block in content.as_array().into_iter().flatten() {
            self.images |= block["type"] == "image";
            self.citations |= block["citations"]["enabled"] == true;
            self.look(&block["content"]);
        }
    }
}

/// The blocks of a request's body, keyed by workspace (the API key) and model; the error is the text of a 400.
pub(crate) fn blocks(
    body: &[u8],
    toggles: Toggles,
    key: &str,
    model: &str,
) -> Result<Vec<Block>, String> {
    let request: Request<'_> = serde_json::from_slice(body).map_err(|error| error.to_string())?;
    let mut chain = Chain::new(key, model);
    for tool in request.tools.iter().flatten() {
        chain.push("tools", tool)?;
    }
    chain.mix("speed", request.speed.map(RawValue::get));
    chain.mix("citations", toggles.citations.then_some("enabled"));
    if let Some(system) = request.system {
        chain.push_content("system", system)?;
    }
    chain.mix("tool_choice", request.tool_choice.map(RawValue::get));
    chain.mix("thinking", request.thinking.map(RawValue::get));
    let effort = request.output_config.and_then(|config| config.effort);
    chain.mix("effort", effort.map(RawValue::get));
    chain.mix("images", toggles.images.then_some("some"));
    for message in &request.messages {
        chain.push_content(message.role.get(), message.content)?;
    }
    let mut blocks = chain.blocks;
    let explicit = blocks
        .iter()
        .filter(|block| block.breakpoint.is_some())
        .count();
    if let Some(ttl) = ttl(request.cache_control.as_ref(), "cache_control")? {
        let last = blocks.iter_mut().rev().find(|block| block.cacheable);
        match last {
            Some(block) if block.breakpoint.is_none() => {
                if explicit >= MAX_BREAKPOINTS {
                    return Err(too_many(explicit + 1));
                }
                block.breakpoint = Some(ttl);
            }
            Some(block) if block.breakpoint != Some(ttl) => {
                return Err(
                    "cache_control: the last block already has a cache_control with another ttl"
                        .to_owned(),
                );
            }
            _ => {}
        }
    }
    if explicit > MAX_BREAKPOINTS {
        return Err(too_many(explicit));
    }
    let mut seen_5m = false;
    for ttl in blocks.iter().filter_map(|block| block.breakpoint) {
        if seen_5m && ttl == Ttl::OneHour {
            return Err("a ttl='1h' cache_control block must not come after a ttl='5m' cache_control block. Note that blocks are processed in the following order: `tools`, `system`, `messages`.".to_owned());
        }
        seen_5m |= ttl == Ttl::FiveMinutes;
    }
    Ok(blocks)
}

fn too_many(found: usize) -> String {
    format!("A maximum of 4 blocks with cache_control may be provided. Found {found}.")
}

fn ttl(control: Option<&Value>, place: &str) -> Result<Option<Ttl>, String> {
    let Some(control) = control.filter(|control| !control.is_null()) else {
        return Ok(None);
    };
    if control["type"] != "ephemeral" {
        return Err(format!("{place}.type: Input should be 'ephemeral'"));
    }
    match control.get("ttl").map(Value::as_str) {
        None | Some(Some("5m")) => Ok(Some(Ttl::FiveMinutes)),
        Some(Some("1h")) => Ok(Some(Ttl::OneHour)),
        Some(_) => Err(format!("{place}.ttl: Input should be '5m' or '1h'")),
    }
}

struct Chain {
    hash: blake3::Hasher,
    tokens: u64,
    position: u64,
    run: Option<String>,
    blocks: Vec<Block>,
}

impl Chain {
    fn new(key: &str, model: &str) -> Self {
        let mut hash = blake3::Hasher::new();
        add(&mut hash, key);
        add(&mut hash, model);
        Self {
            hash,
            tokens: 0,
            position: 0,
            run: None,
            blocks: Vec::new(),
        }
    }

    /// Settings that belong to what follows, but are no block.
    fn mix(&mut self, name: &str, setting: Option<&str>) {
        if let Some(setting) = setting {
            add(&mut self.hash, name);
            add(&mut self.hash, setting);
        }
    }

    fn push_content(&mut self, section: &str, content: &RawValue) -> Result<(), String> {
        if content.get().starts_with('"') {
            // A string is short for one text block.
            let kind = RawValue::from_string("\"text\"".to_owned()).map_err(|e| e.to_string())?;
            let fields = Fields::from([("type".to_owned(), &*kind), ("text".to_owned(), content)]);
            self.push_fields(section, &fields)
        } else {
            let blocks: Vec<&RawValue> =
                serde_json::from_str(content.get()).map_err(|error| error.to_string())?;
            blocks
                .iter()
                .try_for_each(|block| self.push(section, block))
        }
    }

    fn push(&mut self, section: &str, block: &RawValue) -> Result<(), String> {
        let fields: Fields<'_> =
            serde_json::from_str(block.get()).map_err(|error| error.to_string())?;
        self.push_fields(section, &fields)
    }

    fn push_fields(&mut self, section: &str, fields: &Fields<'_>) -> Result<(), String> {
        add(&mut self.hash, section);
        let mut bytes = 1;
        for (name, value) in fields.iter().filter(|(name, _)| *name != "cache_control") {
            add(&mut self.hash, name);
            add(&mut self.hash, value.get());
            // Two quotes, a colon, and a comma or the opening brace.
            bytes += name.len() + compact(value.get()) + 4;
        }
        self.tokens += u64::try_from(bytes.div_ceil(4)).unwrap_or(u64::MAX);
        let kind = (section != "tools")
            .then(|| fields.get("type").map(|kind| kind.get().trim_matches('"')))
            .flatten()
            .unwrap_or_default();
        let collapses = matches!(kind, "tool_use" | "tool_result");
        if !(collapses && self.run.as_deref() == Some(kind)) {
            self.position += 1;
        }
        self.run = collapses.then(|| kind.to_owned());
        let cacheable = !matches!(kind, "thinking" | "redacted_thinking")
            && fields.get("text").is_none_or(|text| text.get() != "\"\"");
        let control = fields
            .get("cache_control")
            .map(|control| serde_json::from_str::<Value>(control.get()))
            .transpose()
            .map_err(|error| error.to_string())?;
        let breakpoint = ttl(control.as_ref(), "cache_control")?;
        if breakpoint.is_some() && !cacheable {
            return Err(if kind == "text" {
                "cache_control cannot be set for empty text blocks".to_owned()
            } else {
                format!("cache_control: not permitted on `{kind}` blocks")
            });
        }
        self.blocks.push(Block {
            section: match section {
                "tools" => Section::Tools,
                "system" => Section::System,
                _ => Section::Messages,
            },
            hash: *self.hash.finalize().as_bytes(),
            tokens: self.tokens,
            position: self.position,
            breakpoint,
            cacheable,
        });
        Ok(())
    }
}

/// How many bytes JSON has without the white space between its parts.
fn compact(json: &str) -> usize {
    let (mut quoted, mut escaped) = (false, false);
    let counts = |byte: &u8| {
        let space = !quoted && byte.is_ascii_whitespace();
        quoted ^= *byte == b'"' && !escaped;
        escaped = *byte == b'\\' && !escaped;
        !space
    };
    json.as_bytes().iter().copied().filter(counts).count()
}

fn add(hash: &mut blake3::Hasher, text: &str) {
    hash.update(&text.len().to_le_bytes());
    hash.update(text.as_bytes());
}
