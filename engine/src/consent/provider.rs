//! The provider at which a person consents: where it is asked, and what it gives for a code or a refresh token. Keeps
//! nothing.

use crate::claude::retry_after;
use crate::store::now;
use crate::tools::web::{Payload, Web, read};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use fact_guard::url::AllowedUrl;
use fact_guard::{Refusal, Rule};
use fact_wire::{ClientAuthentication, OAuthClient};
use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, HeaderMap, HeaderValue};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use std::time::Duration;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded::{Serializer, byte_serialize};

const MOST_SCOPES: usize = 64;
const LONGEST_SCOPE: usize = 256;
const LONGEST_CLIENT_ID: usize = 512;
const LONGEST_SECRET: usize = 4_096;
/// Of what it answers, and of a token in it.
const MOST_BYTES: u64 = 64 * 1024;
const LONGEST_TOKEN: usize = 16 * 1024;

/// A provider, checked.
#[derive(Debug, Clone)]
pub(crate) struct Provider {
    authorization_url: Url,
    token_url: String,
    client_id: String,
    client_secret: Option<SecretString>,
    authentication: ClientAuthentication,
    scopes: Vec<String>,
    redirect_uri: Option<String>,
    /// What persons consent to: another provider, client, scope or receiver of the token is another consent.
    digest: String,
}

/// What a person's consent gives.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Tokens {
    pub(super) access_token: String,
    pub(super) refresh_token: Option<String>,
    /// Seconds since 1970.
    pub(super) expires_at: Option<i64>,
}

/// Why a provider gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum ProviderError {
    /// The code or the refresh token is good no more, or never was.
    #[error("the provider refuses")]
    Refused,
    /// It does not take the engine for its client.
    #[error("the provider does not know the tool's `client_id` with its secret")]
    Client,
    /// It cannot be reached, or does not answer as OAuth has it.
    #[error("the provider cannot be reached")]
    Down {
        /// From now.
        retry_after: Duration,
    },
}

const DOWN: ProviderError = ProviderError::Down {
    retry_after: Duration::from_secs(1),
};

impl Provider {
    /// Whether people can be sent there; its URLs are judged elsewhere. `receiver`: the URL that is given the token.
    pub(crate) fn read(asked: &OAuthClient, receiver: &str) -> Result<Self, (String, String)> {
        let wrong = |field: &str, message: &str| Err((format!("/{field}"), message.to_owned()));
        let Ok(authorization_url) = Url::parse(&asked.authorization_url) else {
            return wrong("authorization_url", "is not a URL");
        };
        if authorization_url.fragment().is_some() {
            return wrong("authorization_url", "has a fragment");
        }
        match Url::parse(&asked.token_url) {
            Err(_) => return wrong("token_url", "is not a URL"),
            Ok(url) if url.fragment().is_some() => return wrong("token_url", "has a fragment"),
            Ok(_) => {}
        }
        let printable = |text: &str| !text.is_empty() && !text.chars().any(char::is_control);
        if !printable(&asked.client_id) || asked.client_id.len() > LONGEST_CLIENT_ID {
            return wrong("client_id", "is blank, too long, or cannot be sent");
        }
        let secret = asked.client_secret.as_deref();
        if secret.is_some_and(|secret| !printable(secret) || secret.len() > LONGEST_SECRET) {
            return wrong("client_secret", "is blank, too long, or cannot be sent");
        }
        // RFC 6749, 3.3.
        let is_scope = |scope: &String| {
            (1..=LONGEST_SCOPE).contains(&scope.len())
                && scope
                    .bytes()
                    .all(|byte| byte.is_ascii_graphic() && byte != b'"' && byte != b'\\')
        };
        if asked.scopes.len() > MOST_SCOPES || !asked.scopes.iter().all(is_scope) {
            return wrong("scopes", "has too many entries, or one that is no scope");
        }
        let absolute = |uri: &String| Url::parse(uri).is_ok_and(|uri| uri.fragment().is_none());
        if !asked.redirect_uri.iter().all(absolute) {
            return wrong("redirect_uri", "is not a URL without a fragment");
        }
        let origin = Url::parse(receiver).map_or_else(
            |_| receiver.to_owned(),
            |url| url.origin().ascii_serialization(),
        );
        let consented = serde_json::json!([
            asked.authorization_url,
            asked.token_url,
            asked.client_id,
            asked.scopes,
            origin,
        ]);
        Ok(Self {
            authorization_url,
            token_url: asked.token_url.clone(),
            client_id: asked.client_id.clone(),
            client_secret: asked.client_secret.clone().map(SecretString::from),
            authentication: asked.token_endpoint_auth_method.unwrap_or_default(),
            scopes: asked.scopes.clone(),
            redirect_uri: asked.redirect_uri.clone(),
            digest: URL_SAFE_NO_PAD.encode(Sha256::digest(consented.to_string())),
        })
    }

    pub(super) fn digest(&self) -> &str {
        &self.digest
    }

    /// Where the provider sends people back to, where the tool says so.
    pub(super) fn redirect_uri(&self) -> Option<&str> {
        self.redirect_uri.as_deref()
    }

    /// For administrators: without the secret.
    pub(crate) fn shown(&self) -> Value {
        let mut shown = serde_json::json!({
            "authorization_url": self.authorization_url.as_str(),
            "token_url": self.token_url,
            "client_id": self.client_id,
            "scopes": self.scopes,
        });
        if let Some(uri) = &self.redirect_uri {
            shown["redirect_uri"] = uri.as_str().into();
        }
        shown
    }

    /// Whether both URLs may be given to anybody, by their text.
    pub(crate) fn judge(&self, web: &Web) -> Result<(), Refusal> {
        judge(web, self.authorization_url.as_str())?;
        judge(web, &self.token_url).map(drop)
    }

    /// Where a person consents (RFC 6749, 4.1.1; RFC 7636, 4.3).
    pub(super) fn authorization_url(
        &self,
        redirect_uri: &str,
        state: &str,
        verifier: &str,
    ) -> String {
        let mut url = self.authorization_url.clone();
        {
            let mut pairs = url.query_pairs_mut();
            pairs
                .append_pair("response_type", "code")
                .append_pair("client_id", &self.client_id)
                .append_pair("redirect_uri", redirect_uri);
            if !self.scopes.is_empty() {
                pairs.append_pair("scope", &self.scopes.join(" "));
            }
            pairs
                .append_pair("state", state)
                .append_pair("code_challenge", &challenge(verifier))
                .append_pair("code_challenge_method", "S256");
        }
        url.into()
    }

    /// Trades a code.
    pub(super) async fn exchange(
        &self,
        web: &Web,
        (code, verifier, redirect_uri): (&str, &str, &str),
        deadline: Instant,
    ) -> Result<Tokens, ProviderError> {
        let fields = [
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", redirect_uri),
            ("code_verifier", verifier),
        ];
        self.ask(web, &fields, deadline).await
    }

    /// Trades a refresh token; it stays good where no other is given for it.
    pub(super) async fn refresh(
        &self,
        web: &Web,
        refresh_token: &str,
        deadline: Instant,
    ) -> Result<Tokens, ProviderError> {
        let fields = [
            ("grant_type", "refresh_token"),
            ("refresh_token", refresh_token),
        ];
        let mut tokens = self.ask(web, &fields, deadline).await?;
        tokens
            .refresh_token
            .get_or_insert_with(|| refresh_token.to_owned());
        Ok(tokens)
    }

    /// Headers and body.
    fn request(&self, fields: &[(&str, &str)]) -> Result<(HeaderMap, String), ProviderError> {
        let mut form = Serializer::new(String::new());
        form.extend_pairs(fields);
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
        let secret = self.client_secret.as_ref().map(SecretString::expose_secret);
        match (secret, self.authentication) {
            (Some(secret), ClientAuthentication::Basic) => {
                let basic = basic(&self.client_id, secret).ok_or(ProviderError::Client)?;
                headers.insert(AUTHORIZATION, basic);
            }
            (Some(secret), ClientAuthentication::Body) => {
                form.append_pair("client_id", &self.client_id)
                    .append_pair("client_secret", secret);
            }
            (None, _) => {
                form.append_pair("client_id", &self.client_id);
            }
        }
        Ok((headers, form.finish()))
    }

    async fn ask(
        &self,
        web: &Web,
        fields: &[(&str, &str)],
        deadline: Instant,
    ) -> Result<Tokens, ProviderError> {
        // What was listed when the tool was registered need not be so any more.
        judge(web, &self.token_url).map_err(|_| DOWN)?;
        let (headers, form) = self.request(fields)?;
        let payload = Payload::Form(form);
        let asked = web.call(Method::POST, &self.token_url, headers, payload, deadline);
        let mut response = asked.await.map_err(|_| DOWN)?;
        let status = response.status().as_u16();
        let wait = retry_after(response.headers());
        let bytes = read(&mut response, MOST_BYTES, deadline).await;
        let body: Value = bytes
            .ok()
            .and_then(|bytes| serde_json::from_slice(&bytes).ok())
            .unwrap_or_default();
        match (status, body["error"].as_str()) {
            (408 | 429 | 500.., _) => Err(ProviderError::Down {
                retry_after: wait.unwrap_or(Duration::from_secs(1)),
            }),
            (_, Some("temporarily_unavailable" | "server_error")) => Err(DOWN),
            (_, Some("invalid_client")) => Err(ProviderError::Client),
            // Some providers refuse with 200.
            (400..500, _) | (_, Some(_)) => Err(ProviderError::Refused),
            (200, None) => tokens(&body).ok_or(DOWN),
            _ => Err(DOWN),
        }
    }
}

/// Only what is public and encrypted, or listed by the operator.
fn judge(web: &Web, url: &str) -> Result<AllowedUrl, Refusal> {
    let allowed = web.judge(url)?;
    if allowed.url().scheme() != "https" && !allowed.is_listed() {
        return Err(Refusal {
            why: "a provider's URL begins with https://".into(),
            ..Refusal::of(Rule::WebScheme)
        });
    }
    Ok(allowed)
}

/// S256 of a code verifier.
fn challenge(verifier: &str) -> String {
    URL_SAFE_NO_PAD.encode(Sha256::digest(verifier))
}

/// RFC 6749, 2.3.1: both are form-encoded first.
fn basic(client_id: &str, secret: &str) -> Option<HeaderValue> {
    let encoded = |text: &str| byte_serialize(text.as_bytes()).collect::<String>();
    let pair = format!("{}:{}", encoded(client_id), encoded(secret));
    sensitive(&format!("Basic {}", STANDARD.encode(pair)))
}

fn sensitive(text: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::from_str(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl Tokens {
    /// As an endpoint is given it.
    pub(super) fn header(&self) -> Option<HeaderValue> {
        sensitive(&format!("Bearer {}", self.access_token))
    }
}

/// Those of an answer (RFC 6749, 5.1).
fn tokens(body: &Value) -> Option<Tokens> {
    let token = |name: &str| {
        let token = body[name].as_str()?;
        let sendable = token.bytes().all(|byte| byte.is_ascii_graphic());
        (sendable && (1..=LONGEST_TOKEN).contains(&token.len())).then(|| token.to_owned())
    };
    let bearer = |kind: &str| kind.eq_ignore_ascii_case("bearer");
    if !body["token_type"].as_str().is_none_or(bearer) {
        return None;
    }
    let seconds = match &body["expires_in"] {
        Value::String(text) => text.parse().ok(),
        number => number.as_i64(),
    };
    Some(Tokens {
        access_token: token("access_token")?,
        refresh_token: token("refresh_token"),
        expires_at: seconds.map(|seconds: i64| now().saturating_add(seconds)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn asked(value: &Value) -> OAuthClient {
        let mut asked = json!({
            "authorization_url": "https://id.example/authorize?tenant=t",
            "token_url": "https://id.example/token",
            "client_id": "fact", "client_secret": "hunter2", "scopes": ["mail.read", "profile"],
        });
        for (name, value) in value.as_object().unwrap() {
            asked[name] = value.clone();
        }
        serde_json::from_value(asked).unwrap()
    }

    fn provider(value: &Value) -> Result<Provider, (String, String)> {
        Provider::read(&asked(value), "https://api.example/mail?key=k")
    }

    #[test]
    fn the_challenge_is_that_of_the_standard() {
        // RFC 7636, appendix B.
        assert_eq!(
            challenge("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"),
            "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"
        );
    }

    #[test]
    fn a_person_is_sent_with_everything_that_the_flow_needs() {
        let provider = provider(&json!({})).unwrap();
        let url = provider.authorization_url("https://app.example/back", "s-t", "verifier");
        let url = Url::parse(&url).unwrap();
        let pairs: Vec<(String, String)> = url.query_pairs().into_owned().collect();
        let challenge = challenge("verifier");
        let expected = [
            ("tenant", "t"),
            ("response_type", "code"),
            ("client_id", "fact"),
            ("redirect_uri", "https://app.example/back"),
            ("scope", "mail.read profile"),
            ("state", "s-t"),
            ("code_challenge", challenge.as_str()),
            ("code_challenge_method", "S256"),
        ];
        let expected = expected.map(|(name, value)| (name.to_owned(), value.to_owned()));
        assert_eq!(pairs, expected);
        assert!(!url.as_str().contains("hunter2"));
        assert!(!format!("{provider:?} {}", provider.shown()).contains("hunter2"));
    }

    #[test]
    fn mistakes_are_named_by_their_field() {
        for (value, field) in [
            (
                json!({ "authorization_url": "nowhere" }),
                "/authorization_url",
            ),
            (
                json!({ "token_url": "https://id.example/token#x" }),
                "/token_url",
            ),
            (json!({ "client_id": "" }), "/client_id"),
            (json!({ "client_secret": "a\r\nb" }), "/client_secret"),
            (json!({ "scopes": ["a b"] }), "/scopes"),
            (json!({ "scopes": vec!["a"; MOST_SCOPES + 1] }), "/scopes"),
            (json!({ "redirect_uri": "/back" }), "/redirect_uri"),
        ] {
            assert_eq!(provider(&value).unwrap_err().0, field);
        }
    }

    #[test]
    fn another_place_for_the_token_is_another_consent() {
        let digest = |value: Value, receiver: &str| {
            let provider = Provider::read(&asked(&value), receiver).unwrap();
            provider.digest
        };
        let own = digest(json!({}), "https://api.example/mail");
        assert_eq!(own, digest(json!({}), "https://api.example/other?a=b"));
        assert_eq!(
            own,
            digest(json!({ "client_secret": "new" }), "https://api.example/")
        );
        assert_ne!(own, digest(json!({}), "https://evil.example/mail"));
        assert_ne!(own, digest(json!({}), "http://api.example/mail"));
        assert_ne!(
            own,
            digest(json!({ "scopes": [] }), "https://api.example/mail")
        );
        let elsewhere = json!({ "token_url": "https://evil.example/token" });
        assert_ne!(own, digest(elsewhere, "https://api.example/mail"));
    }

    #[test]
    fn tokens_are_taken_only_where_they_can_be_used() {
        let good = tokens(
            &json!({ "access_token": "at", "token_type": "bearer", "expires_in": "60", "refresh_token": "rt" }),
        );
        let good = good.unwrap();
        assert_eq!(good.refresh_token.as_deref(), Some("rt"));
        assert!(
            good.expires_at
                .is_some_and(|at| at > now() && at <= now() + 60)
        );
        assert!(good.header().unwrap().is_sensitive());
        for bad in [
            json!({}),
            json!({ "access_token": "" }),
            json!({ "access_token": "a\r\nx: y" }),
            json!({ "access_token": "x".repeat(LONGEST_TOKEN + 1) }),
            json!({ "access_token": "at", "token_type": "mac" }),
        ] {
            assert!(tokens(&bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn a_secret_with_odd_characters_is_sent_as_the_standard_has_it() {
        let header = basic("a:b", "p w/ä").unwrap();
        let encoded = header.to_str().unwrap().strip_prefix("Basic ").unwrap();
        let plain = STANDARD.decode(encoded).unwrap();
        assert_eq!(plain, b"a%3Ab:p+w%2F%C3%A4");
    }

    #[test]
    fn only_https_or_what_is_listed_is_a_provider() {
        let config = crate::config::WebConfig {
            listed: vec![fact_guard::url::Pair::read("127.0.0.1:8080").unwrap()],
            resolver: None,
        };
        let web = Web::new(&config).unwrap();
        let rule = |url: &str| {
            let provider = provider(&json!({ "token_url": url })).unwrap();
            provider.judge(&web).map_err(|refusal| refusal.rule)
        };
        assert_eq!(rule("https://id.example/token"), Ok(()));
        assert_eq!(rule("http://127.0.0.1:8080/token"), Ok(()));
        assert_eq!(rule("http://id.example/token"), Err(Rule::WebScheme));
        assert_eq!(
            rule("http://127.0.0.1:8081/token"),
            Err(Rule::WebPrivateAddress)
        );
        assert_eq!(rule("https://10.0.0.1/token"), Err(Rule::WebPrivateAddress));
        let other = json!({ "authorization_url": "http://id.example/authorize" });
        assert!(provider(&other).unwrap().judge(&web).is_err());
    }
}
