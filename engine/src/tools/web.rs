//! `Web.HttpRequest`: names are looked up here and their addresses judged, each hop anew; what comes back is cut and timed.

use super::outcome::{ToolError, ToolOutput};
use super::tool::too_long;
use base64::Engine as _;
use fact_guard::url::{self, AllowedUrl, Pair};
use fact_guard::{Refusal, Rule};
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{
    LookupIpStrategy, NameServerConfigGroup, ResolveHosts, ResolverConfig,
};
use hickory_resolver::name_server::TokioConnectionProvider;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::header::{self, HeaderMap};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde_json::{Map, Value, json};
use std::collections::BTreeSet;
use std::error::Error;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::Instant;

const LONGEST: Duration = Duration::from_secs(10);
const CONNECTING: Duration = Duration::from_secs(3);
const MOST_BODY_BYTES: usize = 1 << 20;
const MOST_HEAD_BYTES: usize = 32 * 1024;

/// What the web tool may do beyond public addresses.
#[derive(Debug, Clone, Default)]
pub struct WebConfig {
    /// `host:port` pairs that may be reached although they are private.
    pub listed: Vec<Pair>,
    /// The DNS server; the system's without it.
    pub resolver: Option<SocketAddr>,
}

/// Which hosts a request may reach.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reach {
    /// Any that the guard allows.
    Anywhere,
    /// Those that the operator lists, and these.
    Only(BTreeSet<String>),
}

impl Reach {
    /// Those that the operator lists, and those that stand in a text.
    pub fn hosts_in(text: &str) -> Self {
        let apart = |c: char| c.is_whitespace() || "<>\"'`()[]{},;|“”‘’«»、。".contains(c);
        let host = |word: &str| {
            let word = word.trim_matches(|c: char| ".:!?*_~".contains(c));
            let url = if word.contains("://") {
                word.to_owned()
            } else {
                format!("http://{word}")
            };
            let host = ::url::Url::parse(&url).ok()?.host_str()?.to_owned();
            Some(host.trim_end_matches('.').to_owned())
        };
        Self::Only(text.split(apart).filter_map(host).collect())
    }

    fn judge(&self, url: &AllowedUrl) -> Result<(), Refusal> {
        let Self::Only(hosts) = self else {
            return Ok(());
        };
        let host = url.url().host_str().unwrap_or_default();
        if url.is_listed() || hosts.contains(host.trim_end_matches('.')) {
            Ok(())
        } else {
            Err(Refusal::of(Rule::WebAfterData))
        }
    }
}

/// The web tool.
#[derive(Debug, Clone)]
pub struct Web {
    listed: Arc<[Pair]>,
    /// For all that is public.
    public: reqwest::Client,
    /// For pairs that the operator listed.
    nearby: reqwest::Client,
}

impl Web {
    /// Builds both clients; they are kept, for building one takes milliseconds.
    pub fn new(config: &WebConfig) -> Result<Self, reqwest::Error> {
        Ok(Self {
            listed: config.listed.clone().into(),
            public: client(Names::new(config.resolver, false))?,
            nearby: client(Names::new(config.resolver, true))?,
        })
    }

    /// `Web.HttpRequest`.
    pub async fn request(&self, arguments: &Value, reach: &Reach) -> Result<ToolOutput, ToolError> {
        let asked = Asked::read(arguments)?;
        // Free text of the model's own is no way out either.
        let free = |name: &str| !name.to_ascii_lowercase().starts_with("accept");
        if *reach != Reach::Anywhere && asked.headers.iter().any(|(name, _)| free(name)) {
            return Err(ToolError::refused(Rule::WebAfterData));
        }
        let mut url = url::check(asked.url, &self.listed)?;
        reach.judge(&url)?;
        for hop in 1.. {
            let response = self.send(&asked, &url).await?;
            let location = match leads(&response) {
                Leads::Nowhere => return told(response, asked.deadline).await,
                Leads::To(location) => location,
                Leads::Astray => return Err(ToolError::refused(Rule::WebRedirectRefused)),
            };
            url = url::check_redirect(&url, &location, hop, &self.listed)?;
            reach.judge(&url)?;
        }
        Err(ToolError::Failed("the request was given up".into()))
    }

    async fn send(&self, asked: &Asked<'_>, url: &AllowedUrl) -> Result<Response, ToolError> {
        let mut request = self.request_to(asked.method.clone(), url);
        for (name, value) in &asked.headers {
            request = request.header(*name, *value);
        }
        let sent = dispatch(request, url, asked.deadline).await;
        sent.map_err(|undone| undone.error)
    }

    fn request_to(&self, method: Method, url: &AllowedUrl) -> RequestBuilder {
        let client = if url.is_listed() {
            &self.nearby
        } else {
            &self.public
        };
        client.request(method, url.url().clone())
    }

    /// Whether an endpoint may be asked at all, by its text.
    pub(crate) fn judge(&self, url: &str) -> Result<AllowedUrl, Refusal> {
        url::check(url, &self.listed)
    }

    /// Asks an endpoint that an administrator registered. Redirects are not followed.
    pub(crate) async fn call(
        &self,
        method: Method,
        url: &str,
        headers: HeaderMap,
        payload: Payload<'_>,
        deadline: Instant,
    ) -> Result<Response, Undone> {
        let url = self.judge(url).map_err(|refusal| Undone {
            error: refusal.into(),
            never_made: true,
        })?;
        let mut request = self.request_to(method, &url).headers(headers);
        match payload {
            Payload::Nothing => {}
            Payload::Json(body) => request = request.json(body),
            Payload::Form(body) => {
                request = request
                    .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                    .body(body);
            }
        }
        let response = dispatch(request, &url, deadline).await?;
        match leads(&response) {
            Leads::Nowhere => Ok(response),
            Leads::To(_) | Leads::Astray => Err(Undone {
                error: ToolError::refused(Rule::WebRedirectRefused),
                never_made: false,
            }),
        }
    }
}

/// What an endpoint is sent.
pub(crate) enum Payload<'a> {
    Nothing,
    Json(&'a Value),
    /// Encoded already.
    Form(String),
}

/// A request without an answer.
#[derive(Debug)]
pub(crate) struct Undone {
    pub(crate) error: ToolError,
    /// Whether nobody can have heard of it.
    pub(crate) never_made: bool,
}

/// The body of an endpoint's answer, if it is no longer than that.
pub(crate) async fn read(
    response: &mut Response,
    most_bytes: u64,
    deadline: Instant,
) -> Result<Vec<u8>, ToolError> {
    let most = usize::try_from(most_bytes).unwrap_or(usize::MAX);
    let mut bytes = Vec::new();
    loop {
        let chunk = tokio::time::timeout_at(deadline, response.chunk()).await;
        let chunk = chunk.map_err(|_| ToolError::Timeout)?;
        let broken = |error: reqwest::Error| {
            if error.is_timeout() {
                ToolError::Timeout
            } else {
                ToolError::Unavailable("the endpoint's answer broke off".into())
            }
        };
        let Some(chunk) = chunk.map_err(broken)? else {
            return Ok(bytes);
        };
        if bytes.len() + chunk.len() > most {
            return Err(too_long(most_bytes));
        }
        bytes.extend_from_slice(&chunk);
    }
}

/// Sends a request, and judges who answers and how much they say before the body.
async fn dispatch(
    request: RequestBuilder,
    url: &AllowedUrl,
    deadline: Instant,
) -> Result<Response, Undone> {
    let refused = |refusal: Refusal| Undone {
        error: refusal.into(),
        never_made: false,
    };
    let left = deadline.saturating_duration_since(Instant::now());
    let sent = request.timeout(left).send().await;
    let response = sent.map_err(|error| Undone {
        error: failure(&error),
        never_made: error.is_connect(),
    })?;
    // Whoever answers has to be one of those that may be asked.
    let there = response.remote_addr().map(|address| address.ip());
    match there.map(|address| judge_address(address.to_canonical(), url.is_listed())) {
        Some(judged) => judged.map_err(refused)?,
        None => return Err(refused(Refusal::of(Rule::WebPrivateAddress))),
    }
    let head: usize = response
        .headers()
        .iter()
        .map(|(name, value)| name.as_str().len() + value.len() + 4)
        .sum();
    if head > MOST_HEAD_BYTES {
        return Err(refused(Refusal::of(Rule::WebTooLarge)));
    }
    Ok(response)
}

/// A request as it was asked for, its method and headers judged.
struct Asked<'a> {
    url: &'a str,
    method: Method,
    headers: Vec<(&'a str, &'a str)>,
    deadline: Instant,
}

impl<'a> Asked<'a> {
    fn read(arguments: &'a Value) -> Result<Self, ToolError> {
        let method = arguments["method"].as_str().unwrap_or("GET");
        url::check_method(method)?;
        let mut headers = Vec::new();
        for (name, value) in arguments["headers"].as_object().into_iter().flatten() {
            let value = value.as_str().ok_or_else(|| {
                ToolError::argument(&format!("/headers/{name}"), "is not of type string")
            })?;
            url::check_header(name, value)?;
            headers.push((name.as_str(), value));
        }
        let seconds = arguments["timeout_seconds"].as_f64();
        let allowed = seconds.map_or(LONGEST, |seconds| {
            Duration::try_from_secs_f64(seconds).map_or(LONGEST, |asked| asked.min(LONGEST))
        });
        Ok(Self {
            url: arguments["url"].as_str().unwrap_or_default(),
            method: if method == "HEAD" {
                Method::HEAD
            } else {
                Method::GET
            },
            headers,
            deadline: Instant::now() + allowed,
        })
    }
}

/// Where an answer leads.
enum Leads {
    Nowhere,
    To(String),
    /// To what is no text.
    Astray,
}

fn leads(response: &Response) -> Leads {
    let redirects = matches!(
        response.status(),
        StatusCode::MOVED_PERMANENTLY
            | StatusCode::FOUND
            | StatusCode::SEE_OTHER
            | StatusCode::TEMPORARY_REDIRECT
            | StatusCode::PERMANENT_REDIRECT
    );
    let location = response.headers().get(header::LOCATION);
    match location
        .filter(|_| redirects)
        .map(|location| std::str::from_utf8(location.as_bytes()))
    {
        None => Leads::Nowhere,
        Some(Ok(location)) => Leads::To(location.to_owned()),
        Some(Err(_)) => Leads::Astray,
    }
}

async fn told(mut response: Response, deadline: Instant) -> Result<ToolOutput, ToolError> {
    let mut headers: Map<String, Value> = Map::new();
    for (name, value) in response.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        match headers.get_mut(name.as_str()) {
            Some(Value::String(known)) => {
                known.push_str(", ");
                known.push_str(&value);
            }
            _ => drop(headers.insert(name.to_string(), value.into())),
        }
    }
    let status = response.status().as_u16();
    let url = response.url().to_string();
    let mut bytes = Vec::new();
    let mut truncated = false;
    while let Some(chunk) = tokio::time::timeout_at(deadline, response.chunk())
        .await
        .map_err(|_| ToolError::Timeout)?
        .map_err(|error| failure(&error))?
    {
        let room = MOST_BODY_BYTES - bytes.len();
        truncated = chunk.len() > room;
        bytes.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if truncated {
            break;
        }
    }
    let mut result = json!({
        "status_code": status,
        "url": url,
        "headers": headers,
        "truncated": truncated,
    });
    if let Some(text) = text_of(&bytes, truncated) {
        result["body"] = text.into();
    } else {
        result["body"] = base64::engine::general_purpose::STANDARD
            .encode(&bytes)
            .into();
        result["encoding"] = "base64".into();
    }
    Ok(ToolOutput::plain(result))
}

/// As text, where it is; a cut may go through its last character.
fn text_of(bytes: &[u8], truncated: bool) -> Option<&str> {
    const LONGEST_CHARACTER: usize = 4;
    match std::str::from_utf8(bytes) {
        Ok(text) => Some(text),
        Err(error) if truncated && bytes.len() - error.valid_up_to() < LONGEST_CHARACTER => {
            std::str::from_utf8(&bytes[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

fn judge_address(address: IpAddr, listed: bool) -> Result<(), Refusal> {
    match url::check_address(address) {
        Err(refusal) if !listed || refusal.rule == Rule::WebMetadata => Err(refusal),
        _ => Ok(()),
    }
}

fn client(names: Names) -> Result<reqwest::Client, reqwest::Error> {
    reqwest::Client::builder()
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .referer(false)
        .timeout(LONGEST)
        .connect_timeout(CONNECTING)
        .pool_max_idle_per_host(0)
        .http1_only()
        .user_agent(concat!("fact/", env!("CARGO_PKG_VERSION")))
        .dns_resolver(Arc::new(names))
        .build()
}

/// Looks a name up once, and hands on what it was told, if all of it may be asked.
struct Names {
    /// Absent where the system says nothing about its DNS servers.
    dns: Option<TokioResolver>,
    listed: bool,
}

impl Names {
    fn new(server: Option<SocketAddr>, listed: bool) -> Self {
        let builder = match server {
            Some(server) => {
                let servers =
                    NameServerConfigGroup::from_ips_clear(&[server.ip()], server.port(), true);
                let config = ResolverConfig::from_parts(None, Vec::new(), servers);
                Some(TokioResolver::builder_with_config(
                    config,
                    TokioConnectionProvider::default(),
                ))
            }
            None => TokioResolver::builder_tokio().ok(),
        };
        let dns = builder.map(|mut builder| {
            let options = builder.options_mut();
            options.cache_size = 0;
            options.timeout = CONNECTING;
            options.attempts = 1;
            options.ip_strategy = LookupIpStrategy::Ipv4AndIpv6;
            // Only names that the operator wrote may mean what the operator's machine says.
            options.use_hosts_file = if listed {
                ResolveHosts::Always
            } else {
                ResolveHosts::Never
            };
            builder.build()
        });
        Self { dns, listed }
    }
}

impl Resolve for Names {
    fn resolve(&self, name: Name) -> Resolving {
        let (dns, listed) = (self.dns.clone(), self.listed);
        Box::pin(async move {
            let dns = dns.ok_or("no DNS server is known")?;
            // With its final dot a name is not tried in the machine's own domains.
            let name = format!("{}.", name.as_str().trim_end_matches('.'));
            let addresses: Vec<IpAddr> = dns.lookup_ip(name).await?.iter().collect();
            for address in &addresses {
                judge_address(*address, listed)?;
            }
            let addresses = addresses.into_iter().map(|ip| SocketAddr::new(ip, 0));
            Ok(Box::new(addresses) as Addrs)
        })
    }
}

/// A refusal of the resolver comes back within the client's error.
fn failure(error: &reqwest::Error) -> ToolError {
    let mut cause: Option<&dyn Error> = Some(error);
    while let Some(found) = cause {
        if let Some(refusal) = found.downcast_ref::<Refusal>() {
            return refusal.clone().into();
        }
        if let Some(unknown) = found.downcast_ref::<hickory_resolver::ResolveError>() {
            return if unknown.is_nx_domain() || unknown.is_no_records_found() {
                ToolError::NotFound("the name of the host is not known".into())
            } else {
                ToolError::Unavailable("the name of the host could not be looked up".into())
            };
        }
        if found.to_string().contains("message head is too large") {
            return ToolError::refused(Rule::WebTooLarge);
        }
        cause = found.source();
    }
    if error.is_timeout() {
        ToolError::Timeout
    } else if error.is_builder() {
        ToolError::argument("/headers", "cannot be sent")
    } else if error.is_connect() {
        ToolError::Unavailable("the host cannot be reached".into())
    } else {
        ToolError::Failed("the host did not answer as HTTP does".into())
    }
}
