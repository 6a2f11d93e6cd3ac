//! Every setting: its variable, its key in the configuration file, and what it takes. The schema of the file is made of it.

use serde_json::{Map, Value, json};

/// What a setting takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// A text.
    Text,
    /// One of these.
    OneOf(&'static [&'static str]),
    /// A whole number.
    Number,
    /// A path; in the file relative to the file's folder.
    Path,
    /// Several paths.
    Paths,
    /// Several texts.
    Texts,
    /// What is never shown. `…_FILE` and `…_file` name a file that holds it.
    Secret,
    /// A URL that may hold a password. `…_FILE` and `…_file` name a file that holds it.
    SecretUrl,
}

/// One setting.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// In the environment.
    pub variable: &'static str,
    /// In the file, with dots between tables.
    pub key: &'static str,
    /// What it takes.
    pub takes: Takes,
    /// For people.
    pub help: &'static str,
}

impl Setting {
    /// For people: without what is secret.
    pub fn masked(self, value: &str) -> String {
        match self.takes {
            Takes::Secret => MASK.to_owned(),
            Takes::SecretUrl => masked_url(value),
            _ => value.to_owned(),
        }
    }

    /// Whether a file may hold its value.
    pub fn is_secret(self) -> bool {
        matches!(self.takes, Takes::Secret | Takes::SecretUrl)
    }
}

const MASK: &str = "***";

/// Passwords stand before `@`, or among the parameters.
fn masked_url(value: &str) -> String {
    let Ok(mut url) = url::Url::parse(value) else {
        return MASK.to_owned();
    };
    let hidden = url.password().is_none() || url.set_password(Some(MASK)).is_ok();
    if !hidden {
        return MASK.to_owned();
    }
    if url.query().is_some() {
        url.set_query(Some(MASK));
    }
    url.to_string()
}

const fn setting(
    variable: &'static str,
    key: &'static str,
    takes: Takes,
    help: &'static str,
) -> Setting {
    Setting {
        variable,
        key,
        takes,
        help,
    }
}

/// All of them.
pub const SETTINGS: &[Setting] = &[
    setting(
        "FACT_LISTEN",
        "listen",
        Takes::Text,
        "Where the engine listens, `ADDRESS:PORT`.",
    ),
    setting(
        "ANTHROPIC_BASE_URL",
        "claude.url",
        Takes::Text,
        "The Claude endpoint.",
    ),
    setting(
        "ANTHROPIC_API_KEY",
        "claude.api_key",
        Takes::Secret,
        "The key for it.",
    ),
    setting("FACT_MODEL", "claude.model", Takes::Text, "The model."),
    setting(
        "ARCADE_BASE_URL",
        "arcade.url",
        Takes::Text,
        "The Arcade endpoint; absent: no Arcade.",
    ),
    setting(
        "ARCADE_API_KEY",
        "arcade.api_key",
        Takes::Secret,
        "The key for it.",
    ),
    setting(
        "DATABASE_URL",
        "database.url",
        Takes::SecretUrl,
        "Behind the SQL tools: `postgres://…` of a role that may only read, or `sqlite:PATH`.",
    ),
    setting(
        "FACT_ROLE_CHECK",
        "database.role_check",
        Takes::OneOf(&["refuse", "warn"]),
        "What to do about a role that may do more than read.",
    ),
    setting(
        "FACT_STATE_DIR",
        "state.dir",
        Takes::Path,
        "Where the audit log lasts, and the rest unless `state.url` is given.",
    ),
    setting(
        "FACT_STATE_URL",
        "state.url",
        Takes::SecretUrl,
        "A Postgres database for everything but the audit log.",
    ),
    setting(
        "FACT_ENCRYPTION_KEY",
        "state.encryption_key",
        Takes::Secret,
        "Encrypts what persons and administrators entrust, base64 of 32 bytes; made in `state.dir` by default.",
    ),
    setting(
        "FACT_OAUTH_REDIRECT_URL",
        "tokens.oauth_redirect_url",
        Takes::Text,
        "Where providers send people back to after they have consented; the engine's own callback by default.",
    ),
    setting(
        "FACT_AUDIT_KEEP_DAYS",
        "audit.keep_days",
        Takes::Number,
        "How long audit events are kept; for ever by default.",
    ),
    setting(
        "FACT_FILE_ROOTS",
        "files.roots",
        Takes::Paths,
        "Folders that the file tools may read.",
    ),
    setting(
        "FACT_WEB_ALLOW",
        "web.allow",
        Takes::Texts,
        "`HOST:PORT` that the web tool may reach although it is private.",
    ),
    setting(
        "FACT_WEB_RESOLVER",
        "web.resolver",
        Takes::Text,
        "The DNS server that the web tool asks, `ADDRESS:PORT`.",
    ),
    setting(
        "FACT_WEB_AFTER_DATA",
        "web.after_data",
        Takes::OneOf(&["named", "anywhere"]),
        "Which hosts a question may reach once it has read data.",
    ),
    setting(
        "FACT_CLIENTS",
        "clients.file",
        Takes::Path,
        "The file that says who may ask.",
    ),
    setting(
        "FACT_CACHE_TTL_SECONDS",
        "cache.ttl_seconds",
        Takes::Number,
        "How long an answer is kept; 0 switches the cache off.",
    ),
    setting(
        "FACT_CACHE_MAX_BYTES",
        "cache.max_bytes",
        Takes::Number,
        "How much memory answers may take; 0 switches the cache off.",
    ),
    setting(
        "FACT_STALE_SECONDS",
        "cache.stale_seconds",
        Takes::Number,
        "How long an expired answer may still be given, marked as stale.",
    ),
    setting(
        "FACT_REQUEST_TIMEOUT_SECONDS",
        "limits.request_timeout_seconds",
        Takes::Number,
        "For a whole question.",
    ),
    setting(
        "FACT_TOOL_TIMEOUT_SECONDS",
        "limits.tool_timeout_seconds",
        Takes::Number,
        "For one tool call.",
    ),
    setting(
        "FACT_MAX_TURNS",
        "limits.max_turns",
        Takes::Number,
        "Requests to Claude for one question.",
    ),
    setting(
        "FACT_TOKEN_TTL_SECONDS",
        "tokens.ttl_seconds",
        Takes::Number,
        "How long a token is good.",
    ),
    setting(
        "FACT_SAMPLE_QUERIES",
        "database.sample_queries",
        Takes::Path,
        "A file `{\"samples\":[{\"question\",\"statement\"}]}` of examples for `SQL.GetSampleQueries`.",
    ),
    setting(
        "FACT_CACHE_TRACE",
        "cache.trace",
        Takes::Path,
        "Where questions are written down for `fact cache replay`.",
    ),
    setting(
        "FACT_RATE_PER_MINUTE",
        "limits.rate_per_minute",
        Takes::Number,
        "Requests of a client that has no limit of its own; none by default.",
    ),
    setting(
        "FACT_TOKEN_FORMAT",
        "tokens.format",
        Takes::OneOf(&["jwt", "opaque"]),
        "What tokens look like.",
    ),
    setting(
        "FACT_SIGNING_KEY_DAYS",
        "tokens.signing_key_days",
        Takes::Number,
        "A key that signs tokens is replaced after so long.",
    ),
    setting(
        "FACT_LOG_FORMAT",
        "log.format",
        Takes::OneOf(&["text", "json"]),
        "How the log is written to stderr.",
    ),
];

/// Every key that the file may have, those for files of secrets among them.
pub(super) fn keys() -> Vec<String> {
    let mut keys = Vec::new();
    for setting in SETTINGS {
        keys.push(setting.key.to_owned());
        if setting.is_secret() {
            keys.push(format!("{}_file", setting.key));
        }
    }
    keys
}

/// The JSON Schema of the file.
pub fn schema() -> Value {
    let mut root = Map::new();
    for setting in SETTINGS {
        let mut held = match setting.takes {
            Takes::Number => json!({ "type": "integer", "minimum": 0 }),
            Takes::Paths | Takes::Texts => {
                json!({ "type": "array", "items": { "type": "string" } })
            }
            Takes::OneOf(values) => json!({ "type": "string", "enum": values }),
            _ => json!({ "type": "string" }),
        };
        held["description"] = format!(
            "{} The variable `{}` comes before it.",
            setting.help, setting.variable
        )
        .into();
        place(&mut root, setting.key, held);
        if setting.is_secret() {
            let file = json!({ "type": "string", "description": format!("A file that holds `{}`.", setting.key) });
            place(&mut root, &format!("{}_file", setting.key), file);
        }
    }
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "The configuration file of `fact serve`",
        "description": "TOML. Flags come before variables, variables before this file. Paths are relative to its folder.",
        "type": "object", "additionalProperties": false, "properties": root,
    })
}

fn place(root: &mut Map<String, Value>, key: &str, held: Value) {
    let Some((table, name)) = key.split_once('.') else {
        root.insert(key.to_owned(), held);
        return;
    };
    let table = root.entry(table).or_insert_with(
        || json!({ "type": "object", "additionalProperties": false, "properties": {} }),
    );
    table["properties"][name] = held;
}
