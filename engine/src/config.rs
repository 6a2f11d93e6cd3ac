//! What flags, environment and file mean: read once, checked whole, all mistakes in one message.

mod reader;
mod settings;
mod sources;
#[cfg(test)]
mod tests;

pub use crate::consent::EncryptionKey;
pub use crate::tools::web::WebConfig;
use reader::Reader;
pub use settings::{SETTINGS, Setting, Takes, schema};
pub use sources::{Origin, Sources};

use secrecy::SecretString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The engine, as its operator meant it.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where it listens.
    pub listen: SocketAddr,
    /// The Claude endpoint, without a final slash.
    pub anthropic_url: String,
    /// The key for it.
    pub anthropic_key: SecretString,
    /// The model.
    pub model: String,
    /// The Arcade endpoint and key, where there is one.
    pub arcade: Option<(String, SecretString)>,
    /// The database behind the SQL tools.
    pub database_url: String,
    /// Examples of questions and their statements, by the operator.
    pub samples: Vec<serde_json::Value>,
    /// Whether a role with more rights ends the start.
    pub role_check: RoleCheck,
    /// Where grants, sessions, audit events and the like last.
    pub state_dir: PathBuf,
    /// A Postgres database for all of them but the audit events.
    pub state_url: Option<SecretString>,
    /// How long audit events are kept; for ever by default.
    pub audit_keep: Option<Duration>,
    /// What encrypts consents and registered tools; made once and kept in `state_dir` without it.
    pub encryption_key: Option<EncryptionKey>,
    /// The files that secrets were read from.
    pub secret_files: Vec<PathBuf>,
    /// Where providers send people back to after they consented.
    pub oauth_redirect_url: String,
    /// What the file tools may read.
    pub file_roots: Vec<PathBuf>,
    /// What the web tool may reach beyond public addresses, and whom it asks for names.
    pub web: WebConfig,
    /// Whether a question that has read data may reach hosts that nobody named.
    pub web_after_data: WebAfterData,
    /// Who may ask.
    pub clients: Vec<Client>,
    /// The file that says so.
    pub clients_file: PathBuf,
    /// How long an answer is kept; zero switches the cache off.
    pub cache_ttl: Duration,
    /// How long an expired answer may still be given, marked as stale, while it is renewed.
    pub stale: Duration,
    /// How much memory answers may take; zero switches the cache off.
    pub cache_max_bytes: u64,
    /// Where questions are written down for `fact cache replay`.
    pub cache_trace: Option<PathBuf>,
    /// For a whole question.
    pub request_timeout: Duration,
    /// For one tool call.
    pub tool_timeout: Duration,
    /// How long a token is good.
    pub token_ttl: Duration,
    /// What tokens look like.
    pub token_format: TokenFormat,
    /// A key that signs tokens is replaced after so long.
    pub signing_key_lives: Duration,
    /// Requests to Claude for one question.
    pub max_turns: u32,
    /// How the log is written.
    pub log_format: LogFormat,
}

/// How the log is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One object a line.
    Json,
}

/// A setting as it is in force, for people: secrets are masked.
#[derive(Debug, Clone, serde::Serialize)]
pub struct Shown {
    /// In the file.
    pub key: &'static str,
    /// In the environment.
    pub variable: &'static str,
    /// Masked where it is secret; nothing where it is not set.
    pub value: Option<String>,
    /// Where it comes from.
    pub origin: Origin,
}

/// What to do about a database role that may do more than read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RoleCheck {
    /// End the start.
    Refuse,
    /// Say so and go on.
    Warn,
}

/// What tokens look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenFormat {
    /// Signed, and says itself what it is good for.
    Jwt,
    /// Random; what it is good for stands in the engine's state.
    Opaque,
}

/// Which hosts a question may reach once it has read rows or files.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebAfterData {
    /// Those that its asker or the operator named.
    Named,
    /// Any.
    Anywhere,
}

/// One who may ask.
#[derive(Debug, Clone, serde::Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Client {
    /// Its name.
    pub id: String,
    /// Its secret.
    pub secret: SecretString,
    /// Its tenant.
    pub tenant: String,
    /// What it may do.
    pub scopes: Vec<String>,
    /// Whether it may ask for others.
    #[serde(default)]
    pub act_as: bool,
    /// Requests a minute.
    #[serde(default)]
    pub rate_per_minute: Option<u32>,
    /// The tables that it may read.
    #[serde(default)]
    pub tables: Option<Vec<String>>,
    /// The tools that it may use, `SQL.*` for a toolkit.
    #[serde(default)]
    pub tools: Option<Vec<String>>,
}

/// What a token may be for.
const SCOPES: [&str; 5] = ["query", "tools", "cache", "metrics", "admin"];

impl Client {
    /// What is wrong with it.
    fn mistakes(&self) -> Vec<String> {
        use secrecy::ExposeSecret as _;
        let mut wrong = Vec::new();
        for (name, value) in [
            ("id", self.id.as_str()),
            ("tenant", &self.tenant),
            ("secret", self.secret.expose_secret()),
        ] {
            if value.trim().is_empty() {
                wrong.push(format!("`{name}` is empty"));
            } else if value.chars().any(char::is_control) {
                wrong.push(format!("`{name}` holds a control character"));
            }
        }
        if self.scopes.is_empty() {
            wrong.push(format!("it has no scope; there are {}", SCOPES.join(", ")));
        }
        for scope in self
            .scopes
            .iter()
            .filter(|scope| !SCOPES.contains(&scope.as_str()))
        {
            wrong.push(format!(
                "there is no scope `{}`; there are {}",
                scope.escape_debug(),
                SCOPES.join(", ")
            ));
        }
        if self.rate_per_minute == Some(0) {
            wrong.push("`rate_per_minute` is 0; leave it out for no limit".to_owned());
        }
        for (name, list) in [("tables", &self.tables), ("tools", &self.tools)] {
            if list
                .iter()
                .flatten()
                .any(|entry| entry.trim().is_empty() || entry.contains('\0'))
            {
                wrong.push(format!("`{name}` has an empty entry"));
            }
        }
        wrong
    }
}

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct ClientsFile {
    clients: Vec<Client>,
}

/// Everything that is wrong with the environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistakes(pub Vec<String>);

impl std::fmt::Display for Mistakes {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(
            &self
                .0
                .iter()
                .map(|mistake| format!("  - {mistake}"))
                .collect::<Vec<_>>()
                .join("\n"),
        )
    }
}

impl std::error::Error for Mistakes {}

impl Config {
    /// Reads the contract's variables through `get`.
    pub fn from_environment(get: impl Fn(&str) -> Option<String>) -> Result<Self, Mistakes> {
        Self::from_sources(&Sources::new(&[], get, None))
    }

    /// Reads everything that was given.
    pub fn from_sources(sources: &Sources) -> Result<Self, Mistakes> {
        let mut reader = Reader::new(sources);
        let config = Self::read(&mut reader);
        if reader.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(reader.mistakes))
        }
    }

    /// Every setting as it is in force, also where something is wrong with it.
    pub fn show(sources: &Sources) -> Vec<Shown> {
        let mut reader = Reader::new(sources);
        Self::read(&mut reader);
        let defaults = reader.defaults.into_inner();
        let shown = |setting: &Setting| {
            let given = sources.get(setting.variable);
            let default = defaults.get(setting.variable).map(String::as_str);
            let value = given.map(|(value, _)| value).or(default);
            Shown {
                key: setting.key,
                variable: setting.variable,
                value: value
                    .filter(|value| !value.is_empty())
                    .map(|value| setting.masked(value)),
                origin: given.map_or(Origin::Default, |(_, origin)| origin.clone()),
            }
        };
        SETTINGS.iter().map(shown).collect()
    }
}
