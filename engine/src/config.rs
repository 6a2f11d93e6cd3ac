//! What the environment means: read once, checked whole, all mistakes in one message.

pub use crate::consent::EncryptionKey;
pub use crate::tools::web::WebConfig;
use fact_guard::url::Pair;
use secrecy::SecretString;
use std::collections::BTreeSet;
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
    /// The file that holds it.
    pub encryption_key_file: Option<PathBuf>,
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
        let mut reader = Reader {
            get,
            mistakes: Vec::new(),
        };
        let config = Self {
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
            audit_keep: None,
            encryption_key: reader.encryption_key(),
            encryption_key_file: reader.value("FACT_ENCRYPTION_KEY_FILE").map(PathBuf::from),
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
            cache_trace: reader.value("FACT_CACHE_TRACE").map(PathBuf::from),
            request_timeout: reader.seconds("FACT_REQUEST_TIMEOUT_SECONDS", 30),
            tool_timeout: reader.seconds("FACT_TOOL_TIMEOUT_SECONDS", 10),
            token_ttl: reader.seconds("FACT_TOKEN_TTL_SECONDS", 3600),
            token_format: reader.token_format(),
            signing_key_lives: reader.days("FACT_SIGNING_KEY_DAYS", 30),
            max_turns: reader.parsed("FACT_MAX_TURNS", "8", "a number of turns"),
        };
        if reader.mistakes.is_empty() {
            Ok(config)
        } else {
            Err(Mistakes(reader.mistakes))
        }
    }
}

struct Reader<G> {
    get: G,
    mistakes: Vec<String>,
}

impl<G: Fn(&str) -> Option<String>> Reader<G> {
    fn value(&self, name: &str) -> Option<String> {
        (self.get)(name).filter(|value| !value.trim().is_empty())
    }

    fn text(&self, name: &str, default: &str) -> String {
        self.value(name).unwrap_or_else(|| default.to_owned())
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
        Duration::from_secs(self.parsed(name, &default.to_string(), "a whole number of seconds"))
    }

    fn days(&mut self, name: &str, default: u64) -> Duration {
        let days: u64 = self.parsed(name, &default.to_string(), "a whole number of days");
        Duration::from_secs(days.saturating_mul(24 * 3600))
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

    /// From its variable, or else from the file that another one names.
    fn encryption_key(&mut self) -> Option<EncryptionKey> {
        const WANTED: &str = "base64 of 32 random bytes, such as `openssl rand -base64 32` prints";
        let (text, file) = (
            self.value("FACT_ENCRYPTION_KEY"),
            self.value("FACT_ENCRYPTION_KEY_FILE"),
        );
        let (name, text) = match (text, file) {
            (None, None) => return None,
            (Some(_), Some(_)) => {
                self.mistakes.push("`FACT_ENCRYPTION_KEY` and `FACT_ENCRYPTION_KEY_FILE` are both set: one of them is enough".into());
                return None;
            }
            (Some(text), None) => ("FACT_ENCRYPTION_KEY", Ok(text)),
            (None, Some(path)) => ("FACT_ENCRYPTION_KEY_FILE", std::fs::read_to_string(path)),
        };
        match text.map(|text| EncryptionKey::read(&text)) {
            Ok(Some(key)) => return Some(key),
            // What is wrong with a secret is not shown.
            Ok(None) => self
                .mistakes
                .push(format!("`{name}` cannot be read: it takes {WANTED}")),
            Err(reason) => self.mistakes.push(format!(
                "`{name}` names a file that cannot be read: {reason}"
            )),
        }
        None
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
        text.split(':')
            .filter(|part| !part.is_empty())
            .map(PathBuf::from)
            .collect()
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
            if client.rate_per_minute == Some(0) {
                self.mistakes.push(format!(
                    "`FACT_CLIENTS` gives the client `{}` a `rate_per_minute` of 0: it takes 1 or more",
                    client.id
                ));
            }
            client.rate_per_minute = client.rate_per_minute.or(rate_of_all);
        }
        clients
    }

    fn clients(&mut self) -> Vec<Client> {
        let path = self.required(
            "FACT_CLIENTS",
            "the path of a file `{\"clients\":[{\"id\",\"secret\",\"tenant\",\"scopes\":[]}]}`",
        );
        if path.is_empty() {
            return Vec::new();
        }
        let read = std::fs::read_to_string(&path).map_err(|error| error.to_string());
        let file = read.and_then(|text| {
            serde_json::from_str::<ClientsFile>(&text).map_err(|error| error.to_string())
        });
        match file {
            Ok(file) => {
                let mut seen = BTreeSet::new();
                for client in &file.clients {
                    if !seen.insert(client.id.clone()) {
                        self.mistakes.push(format!(
                            "`FACT_CLIENTS` names the client `{}` twice",
                            client.id
                        ));
                    }
                }
                file.clients
            }
            Err(reason) => {
                self.mistakes.push(format!(
                    "`FACT_CLIENTS` names `{path}`, which cannot be used: {reason}"
                ));
                Vec::new()
            }
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_mistakes_are_named_at_once() {
        let environment = |name: &str| match name {
            "FACT_LISTEN" => Some("nowhere".to_owned()),
            "DATABASE_URL" => Some("mysql://x".to_owned()),
            "FACT_CLIENTS" => Some("no-such-file.json".to_owned()),
            _ => None,
        };
        let mistakes = Config::from_environment(environment).unwrap_err().0;
        for name in [
            "FACT_LISTEN",
            "ANTHROPIC_API_KEY",
            "DATABASE_URL",
            "FACT_CLIENTS",
        ] {
            assert!(
                mistakes.iter().any(|mistake| mistake.contains(name)),
                "{name}: {mistakes:?}"
            );
        }
    }

    #[test]
    fn a_key_is_read_from_one_place_and_never_shown() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("key");
        std::fs::write(&file, "tooshort\n").unwrap();
        let file = file.display().to_string();
        let mistakes = |set: &[(&str, &str)]| {
            let get = |name: &str| {
                let found = set.iter().find(|(known, _)| *known == name);
                found.map(|(_, value)| (*value).to_owned())
            };
            let mistakes = Config::from_environment(get).unwrap_err().0;
            let of_keys = mistakes
                .into_iter()
                .filter(|mistake| mistake.contains("ENCRYPTION"));
            of_keys.collect::<Vec<_>>()
        };
        let good = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
        let (key, key_file) = ("FACT_ENCRYPTION_KEY", "FACT_ENCRYPTION_KEY_FILE");
        assert!(mistakes(&[(key, good)]).is_empty());
        for wrong in [
            vec![(key, "tooshort")],
            vec![(key_file, file.as_str())],
            vec![(key_file, "no-such-file")],
            vec![(key, good), (key_file, file.as_str())],
        ] {
            let found = mistakes(&wrong);
            assert_eq!(found.len(), 1, "{found:?}");
            assert!(!found[0].contains("tooshort") && !found[0].contains(good));
        }
    }
}
