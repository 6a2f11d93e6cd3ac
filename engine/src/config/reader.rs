//! From what was given to what it means, one setting after another; what is wrong with each is kept for the one message.

use super::{
    Client, ClientsFile, Config, EncryptionKey, LogFormat, RoleCheck, Sources, TokenFormat,
    WebAfterData, WebConfig,
};
use fact_guard::url::Pair;
use secrecy::SecretString;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

impl Config {
    pub(super) fn read(reader: &mut Reader<'_>) -> Self {
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

/// Reads one value after another, and goes on after a mistake.
pub(super) struct Reader<'a> {
    sources: &'a Sources,
    pub(super) mistakes: Vec<String>,
    /// Of all settings that were asked for; empty where there is none.
    pub(super) defaults: RefCell<BTreeMap<String, String>>,
}

impl<'a> Reader<'a> {
    pub(super) fn new(sources: &'a Sources) -> Self {
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
