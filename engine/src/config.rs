//! What flags, environment and file mean: read once, checked whole, all mistakes in one message.

mod settings;
mod sources;
#[cfg(test)]
mod tests;

pub use crate::consent::EncryptionKey;
pub use crate::tools::web::WebConfig;
pub use settings::{SETTINGS, Setting, Takes, schema};
pub use sources::{Origin, Sources};

use fact_guard::url::Pair;
use secrecy::SecretString;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
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

    fn read(reader: &mut Reader<'_>) -> Self {
        Self {
            listen: reader.parsed(
                "FACT_LISTEN",
                "127.0.0.1:18080",
                "an address such as `127.0.0.1:18080`",
            ),
            anthropic_url: reader.url("ANTHROPIC_BASE_URL", "https://api.anthropic.com"),
            anthropic_key: reader
                .required("ANTHROPIC_API_KEY", "the key for Claude")
                .into(),
            model: reader.text("FACT_MODEL", "claude-sonnet-5-5"),
            arcade: reader.arcade(),
            database_url: reader.database(),
            role_check: reader.role_check(),
            state_dir: PathBuf::from(reader.text("FACT_STATE_DIR", "fact-state")),
            state_url: reader.state_url(),
            audit_keep: reader.days("FACT_AUDIT_KEEP_DAYS"),
            encryption_key: reader.encryption_key(),
            secret_files: reader.sources.secret_files.clone(),
            oauth_redirect_url: reader.oauth_redirect_url(),
            file_roots: reader.roots(),
            web: WebConfig {
                listed: reader.web_allow(),
                resolver: reader.web_resolver(),
            },
            web_after_data: reader.web_after_data(),
            clients: reader.limited_clients(),
            clients_file: PathBuf::from(reader.text("FACT_CLIENTS", "")),
            cache_ttl: reader.seconds("FACT_CACHE_TTL_SECONDS", 3600),
            stale: reader.seconds("FACT_STALE_SECONDS", 0),
            cache_max_bytes: reader.parsed(
                "FACT_CACHE_MAX_BYTES",
                "268435456",
                "a number of bytes",
            ),
            samples: reader.samples(),
            cache_trace: reader.value("FACT_CACHE_TRACE").map(PathBuf::from),
            request_timeout: reader.some_seconds("FACT_REQUEST_TIMEOUT_SECONDS", 30),
            tool_timeout: reader.some_seconds("FACT_TOOL_TIMEOUT_SECONDS", 10),
            token_ttl: reader.some_seconds("FACT_TOKEN_TTL_SECONDS", 3600),
            token_format: reader.token_format(),
            signing_key_lives: reader.key_days(),
            max_turns: reader.turns(),
            log_format: reader.log_format(),
        }
    }
}

/// No time is longer than ten years.
const MOST_SECONDS: u64 = 315_360_000;
/// Requests to Claude for one question.
const MOST_TURNS: u32 = 1_000;

struct Reader<'a> {
    sources: &'a Sources,
    mistakes: Vec<String>,
    /// Of all settings that were asked for; empty where there is none.
    defaults: RefCell<BTreeMap<String, String>>,
}

impl<'a> Reader<'a> {
    fn new(sources: &'a Sources) -> Self {
        Self {
            sources,
            mistakes: sources.mistakes.clone(),
            defaults: RefCell::default(),
        }
    }

    fn value(&self, name: &str) -> Option<String> {
        self.defaults
            .borrow_mut()
            .entry(name.to_owned())
            .or_default();
        self.sources.get(name).map(|(value, _)| value.to_owned())
    }

    fn text(&self, name: &str, default: &str) -> String {
        let value = self.value(name).unwrap_or_else(|| default.to_owned());
        self.defaults
            .borrow_mut()
            .insert(name.to_owned(), default.to_owned());
        value
    }

    fn required(&mut self, name: &str, what: &str) -> String {
        self.value(name).unwrap_or_else(|| {
            self.mistakes
                .push(format!("`{name}` is not set: it takes {what}"));
            String::new()
        })
    }

    fn parsed<T>(&mut self, name: &str, default: &str, what: &str) -> T
    where
        T: std::str::FromStr + Fallback,
    {
        let text = self.text(name, default);
        text.trim().parse().unwrap_or_else(|_| {
            self.mistakes
                .push(format!("`{name}` is `{text}`: it takes {what}"));
            T::fallback()
        })
    }

    fn seconds(&mut self, name: &str, default: u64) -> Duration {
        let seconds = self.parsed(name, &default.to_string(), "a whole number of seconds");
        if seconds > MOST_SECONDS {
            self.mistakes.push(format!(
                "`{name}` is `{seconds}`: it takes at most ten years, {MOST_SECONDS}"
            ));
            return Duration::ZERO;
        }
        Duration::from_secs(seconds)
    }

    /// More than none.
    fn some_seconds(&mut self, name: &str, default: u64) -> Duration {
        let before = self.mistakes.len();
        let seconds = self.seconds(name, default);
        if seconds.is_zero() && self.mistakes.len() == before {
            self.mistakes
                .push(format!("`{name}` is `0`: it takes at least one second"));
        }
        seconds
    }

    fn days(&mut self, name: &str) -> Option<Duration> {
        let text = self.value(name)?;
        let days = text.trim().parse::<u64>().ok();
        let seconds = days
            .filter(|days| *days > 0)
            .and_then(|days| days.checked_mul(86_400));
        if seconds.is_none() {
            self.mistakes.push(format!(
                "`{name}` is `{text}`: it takes a whole number of days, at least one"
            ));
        }
        // Longer than that is for ever.
        seconds
            .filter(|seconds| *seconds <= MOST_SECONDS * 10)
            .map(Duration::from_secs)
    }

    fn turns(&mut self) -> u32 {
        let what = "a number of turns";
        let before = self.mistakes.len();
        let turns = self.parsed("FACT_MAX_TURNS", "8", what);
        if !(1..=MOST_TURNS).contains(&turns) && self.mistakes.len() == before {
            self.mistakes.push(format!(
                "`FACT_MAX_TURNS` is `{turns}`: it takes {what} from 1 to {MOST_TURNS}"
            ));
        }
        turns
    }

    fn log_format(&mut self) -> LogFormat {
        match self.text("FACT_LOG_FORMAT", "text").as_str() {
            "text" => LogFormat::Text,
            "json" => LogFormat::Json,
            other => {
                self.mistakes.push(format!(
                    "`FACT_LOG_FORMAT` is `{other}`: it takes `text` or `json`"
                ));
                LogFormat::Text
            }
        }
    }

    fn key_days(&mut self) -> Duration {
        let what = "a whole number of days";
        let before = self.mistakes.len();
        let days: u64 = self.parsed("FACT_SIGNING_KEY_DAYS", "30", what);
        if !(1..=MOST_SECONDS / 86_400).contains(&days) && self.mistakes.len() == before {
            self.mistakes.push(format!(
                "`FACT_SIGNING_KEY_DAYS` is `{days}`: it takes {what} from 1 to {}",
                MOST_SECONDS / 86_400
            ));
            return Duration::ZERO;
        }
        Duration::from_secs(days.saturating_mul(86_400))
    }

    fn rate_per_minute(&mut self) -> Option<u32> {
        self.value("FACT_RATE_PER_MINUTE")?;
        let rate: u32 = self.parsed("FACT_RATE_PER_MINUTE", "", "a number of requests");
        (rate > 0).then_some(rate)
    }

    fn token_format(&mut self) -> TokenFormat {
        match self.text("FACT_TOKEN_FORMAT", "jwt").as_str() {
            "jwt" => TokenFormat::Jwt,
            "opaque" => TokenFormat::Opaque,
            other => {
                self.mistakes.push(format!(
                    "`FACT_TOKEN_FORMAT` is `{other}`: it takes `jwt` or `opaque`"
                ));
                TokenFormat::Jwt
            }
        }
    }

    fn url(&mut self, name: &str, default: &str) -> String {
        let text = self.text(name, default);
        if url::Url::parse(&text)
            .is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        {
            return text.trim_end_matches('/').to_owned();
        }
        self.mistakes.push(format!(
            "`{name}` is `{text}`: it takes an `http://` or `https://` address"
        ));
        String::new()
    }

    fn arcade(&mut self) -> Option<(String, SecretString)> {
        self.value("ARCADE_BASE_URL")?;
        let url = self.url("ARCADE_BASE_URL", "");
        let key = self.required("ARCADE_API_KEY", "the key for Arcade");
        Some((url, key.into()))
    }

    fn database(&mut self) -> String {
        let url = self.required(
            "DATABASE_URL",
            "`postgres://…` of a role that may only read, or `sqlite:PATH`",
        );
        let known = ["postgres://", "postgresql://", "sqlite:"]
            .iter()
            .any(|scheme| url.starts_with(scheme));
        if !url.is_empty() && !known {
            self.mistakes.push("`DATABASE_URL` cannot be read: it takes `postgres://USER:PASSWORD@HOST:PORT/NAME` or `sqlite:PATH`".into());
        }
        url
    }

    fn state_url(&mut self) -> Option<SecretString> {
        let url = self.value("FACT_STATE_URL")?;
        if !url.starts_with("postgres://") && !url.starts_with("postgresql://") {
            self.mistakes.push(
                "`FACT_STATE_URL` cannot be read: it takes `postgres://USER:PASSWORD@HOST:PORT/NAME`"
                    .into(),
            );
        }
        Some(url.into())
    }

    fn encryption_key(&mut self) -> Option<EncryptionKey> {
        let text = self.value("FACT_ENCRYPTION_KEY")?;
        let key = EncryptionKey::read(&text);
        if key.is_none() {
            // What is wrong with a secret is not shown.
            self.mistakes.push("`FACT_ENCRYPTION_KEY` cannot be read: it takes base64 of 32 random bytes, such as `openssl rand -base64 32` prints".into());
        }
        key
    }

    fn oauth_redirect_url(&mut self) -> String {
        let listen = self.text("FACT_LISTEN", "127.0.0.1:18080");
        let own = format!("http://{}/api/v1/auth/tools/callback", listen.trim());
        let Some(text) = self.value("FACT_OAUTH_REDIRECT_URL") else {
            return own;
        };
        if !url::Url::parse(&text).is_ok_and(|url| url.fragment().is_none()) {
            self.mistakes.push(format!(
                "`FACT_OAUTH_REDIRECT_URL` is `{text}`: it takes the URL, without a fragment, that providers send people back to"
            ));
        }
        text
    }

    fn role_check(&mut self) -> RoleCheck {
        match self.text("FACT_ROLE_CHECK", "refuse").as_str() {
            "refuse" => RoleCheck::Refuse,
            "warn" => RoleCheck::Warn,
            other => {
                self.mistakes.push(format!(
                    "`FACT_ROLE_CHECK` is `{other}`: it takes `refuse` or `warn`"
                ));
                RoleCheck::Refuse
            }
        }
    }

    fn roots(&mut self) -> Vec<PathBuf> {
        let text = self.value("FACT_FILE_ROOTS").unwrap_or_default();
        let roots: Vec<PathBuf> = text
            .split(':')
            .filter(|part| !part.is_empty())
            .map(PathBuf::from)
            .collect();
        for root in roots.iter().filter(|root| !root.is_dir()) {
            self.mistakes.push(format!(
                "`FACT_FILE_ROOTS` names `{}`, which is no folder",
                root.display()
            ));
        }
        roots
    }

    fn web_allow(&mut self) -> Vec<Pair> {
        let text = self.value("FACT_WEB_ALLOW").unwrap_or_default();
        let mut pairs = Vec::new();
        for part in text.split([',', ' ']).filter(|part| !part.is_empty()) {
            match Pair::read(part) {
                Some(pair) => pairs.push(pair),
                None => self.mistakes.push(format!(
                    "`FACT_WEB_ALLOW` names `{part}`: it takes `HOST:PORT`, several with commas between them"
                )),
            }
        }
        pairs
    }

    fn web_resolver(&mut self) -> Option<SocketAddr> {
        let text = self.value("FACT_WEB_RESOLVER")?;
        let read = text.trim().parse().ok();
        if read.is_none() {
            self.mistakes.push(format!(
                "`FACT_WEB_RESOLVER` is `{text}`: it takes the address and port of a DNS server, such as `127.0.0.1:53`"
            ));
        }
        read
    }

    fn web_after_data(&mut self) -> WebAfterData {
        match self.text("FACT_WEB_AFTER_DATA", "named").as_str() {
            "named" => WebAfterData::Named,
            "anywhere" => WebAfterData::Anywhere,
            other => {
                self.mistakes.push(format!(
                    "`FACT_WEB_AFTER_DATA` is `{other}`: it takes `named` or `anywhere`"
                ));
                WebAfterData::Named
            }
        }
    }

    /// Clients without a limit of their own have that of all.
    fn limited_clients(&mut self) -> Vec<Client> {
        let rate_of_all = self.rate_per_minute();
        let mut clients = self.clients();
        for client in &mut clients {
            client.rate_per_minute = client.rate_per_minute.or(rate_of_all);
        }
        clients
    }

    fn samples(&mut self) -> Vec<serde_json::Value> {
        #[derive(serde::Deserialize)]
        #[serde(deny_unknown_fields)]
        struct File {
            samples: Vec<Sample>,
        }
        #[derive(serde::Deserialize, serde::Serialize)]
        #[serde(deny_unknown_fields)]
        struct Sample {
            question: String,
            statement: String,
        }
        let Some(path) = self.value("FACT_SAMPLE_QUERIES") else {
            return Vec::new();
        };
        let file: Option<File> = self.json("FACT_SAMPLE_QUERIES", &path);
        let samples = file.map(|file| file.samples).unwrap_or_default();
        samples
            .iter()
            .filter_map(|sample| serde_json::to_value(sample).ok())
            .collect()
    }

    /// What the file at `path` says, which the setting `name` names.
    fn json<T: serde::de::DeserializeOwned>(&mut self, name: &str, path: &str) -> Option<T> {
        let read = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let file =
            read.and_then(|text| serde_json::from_str(&text).map_err(|error| error.to_string()));
        file.map_err(|reason| {
            self.mistakes.push(format!(
                "`{name}` names `{path}`, which cannot be used: {reason}"
            ));
        })
        .ok()
    }

    fn clients(&mut self) -> Vec<Client> {
        let path = self.required(
            "FACT_CLIENTS",
            "the path of a file `{\"clients\":[{\"id\",\"secret\",\"tenant\",\"scopes\":[]}]}`",
        );
        if path.is_empty() {
            return Vec::new();
        }
        let Some(ClientsFile { clients }) = self.json("FACT_CLIENTS", &path) else {
            return Vec::new();
        };
        let mut seen = BTreeSet::new();
        for client in &clients {
            if !seen.insert(client.id.clone()) {
                self.mistakes.push(format!(
                    "`FACT_CLIENTS` names the client `{}` twice",
                    client.id
                ));
            }
            let wrong = client.mistakes();
            self.mistakes.extend(wrong.into_iter().map(|wrong| {
                format!(
                    "`FACT_CLIENTS`, client `{}`: {wrong}",
                    client.id.escape_debug()
                )
            }));
        }
        if clients.is_empty() {
            self.mistakes
                .push("`FACT_CLIENTS` names no client: nobody could ask".into());
        }
        clients
    }
}

/// Stands in for a value that could not be read, so that reading goes on to the next mistake.
trait Fallback {
    fn fallback() -> Self;
}

impl Fallback for SocketAddr {
    fn fallback() -> Self {
        Self::from(([127, 0, 0, 1], 0))
    }
}

impl Fallback for u64 {
    fn fallback() -> Self {
        0
    }
}

impl Fallback for u32 {
    fn fallback() -> Self {
        0
    }
}
