//! The web tool against pages, names and canaries of our own: what is public by name and private by address, what leads
//! away, what never ends.

use fact_engine::tools::outcome::ToolError;
use fact_engine::tools::web::{Reach, Web, WebConfig};
use fact_guard::url::Pair;
use fact_mocks::dns::Dns;
use fact_mocks::script::Millis;
use fact_mocks::site::{Page, Site};
use serde_json::{Value, json};
use std::time::{Duration, Instant};

struct World {
    site: Site,
    dns: Dns,
    web: Web,
}

fn page(body: &str) -> Page {
    serde_json::from_value(json!({ "body": body })).expect("a page")
}

fn leading(location: &str) -> Page {
    Page {
        status: 302,
        headers: [("location".to_owned(), location.to_owned())].into(),
        ..page("")
    }
}

impl World {
    async fn new() -> Self {
        let pages = [
            ("/page", page("hello")),
            (
                "/broken",
                Page {
                    status: 500,
                    ..page("broken")
                },
            ),
            ("/hop", leading("/page")),
            ("/loop", leading("/loop")),
            ("/private", leading("http://127.0.0.2:{{ canary }}/")),
            ("/named", leading("http://near.test:{{ canary }}/")),
            ("/file", leading("file:///etc/passwd")),
            (
                "/long",
                Page {
                    times: 3_000,
                    ..page(&"x".repeat(1_000))
                },
            ),
            (
                "/bomb",
                Page {
                    times: 64,
                    gzip: true,
                    ..page(&"0".repeat(1 << 20))
                },
            ),
            (
                "/drip",
                Page {
                    times: 100,
                    drip: Some(Millis(Duration::from_secs(1))),
                    ..page("x")
                },
            ),
            (
                "/head",
                Page {
                    headers: [("x-long".to_owned(), "x".repeat(40_000))].into(),
                    ..page("")
                },
            ),
            (
                "/huge",
                Page {
                    headers: [("x-long".to_owned(), "x".repeat(1 << 20))].into(),
                    ..page("")
                },
            ),
        ];
        let pages = pages
            .into_iter()
            .map(|(path, page)| (path.to_owned(), page))
            .collect();
        let site = Site::start(pages, "canary").await.expect("a site");
        let names = json!({
            "near.test": [["127.0.0.1"]],
            "both.test": [["93.184.216.34", "127.0.0.2"]],
            "six.test": [["::1"]],
            "meta.test": [["169.254.169.254"]],
            "rebind.test": [["127.0.0.1"], ["93.184.216.34"], ["127.0.0.1"]],
        });
        let dns = Dns::start(serde_json::from_value(names).expect("names"))
            .await
            .expect("a server");
        let mut listed = vec![Pair::read(&site.address.to_string()).expect("a pair")];
        listed.extend(Pair::read(&format!("near.test:{}", site.address.port())));
        let web = Web::new(&WebConfig {
            listed,
            resolver: Some(dns.address),
        })
        .expect("a client");
        Self { site, dns, web }
    }

    async fn get(&self, url: &str) -> Result<Value, ToolError> {
        self.ask(json!({ "url": self.fill(url) }), &Reach::Anywhere)
            .await
    }

    async fn ask(&self, arguments: Value, reach: &Reach) -> Result<Value, ToolError> {
        self.web
            .request(&arguments, reach)
            .await
            .map(|output| output.result)
    }

    async fn rule(&self, url: &str) -> Option<&'static str> {
        match self.get(url).await {
            Err(ToolError::Refused { rule, .. }) => Some(rule),
            _ => None,
        }
    }

    fn fill(&self, url: &str) -> String {
        url.replace("WEB", &self.site.address.to_string())
            .replace("PORT", &self.site.address.port().to_string())
            .replace("CANARY", &self.site.canary_port.to_string())
    }
}

#[tokio::test]
async fn pages_are_fetched_and_what_leads_to_private_addresses_is_not() {
    let world = World::new().await;
    for (url, status, body) in [
        ("http://WEB/page", 200, "hello"),
        ("http://WEB/hop", 200, "hello"),
        ("http://near.test:PORT/page", 200, "hello"),
        ("http://WEB/broken", 500, "broken"),
        ("http://WEB/nowhere", 404, "no such page"),
    ] {
        let told = world.get(url).await.expect(url);
        assert_eq!(
            (told["status_code"].as_u64(), told["body"].as_str()),
            (Some(status), Some(body)),
            "{url}"
        );
    }
    for (url, rule) in [
        ("http://127.0.0.1:CANARY/", "web.private-address"),
        ("http://near.test:CANARY/", "web.private-address"),
        ("http://both.test:CANARY/", "web.private-address"),
        ("http://six.test:CANARY/", "web.private-address"),
        ("http://rebind.test:CANARY/", "web.private-address"),
        ("http://meta.test/", "web.metadata"),
        ("http://WEB/private", "web.redirect-refused"),
        ("http://WEB/named", "web.private-address"),
        ("http://WEB/file", "web.redirect-refused"),
        ("http://WEB/loop", "web.redirect-refused"),
        ("http://WEB/head", "web.too-large"),
        ("http://WEB/huge", "web.too-large"),
    ] {
        assert_eq!(
            world.rule(url).await,
            Some(rule),
            "{url}: {:?}",
            world.get(url).await
        );
    }
    assert!(matches!(
        world.get("http://unknown.test/").await,
        Err(ToolError::NotFound(_))
    ));
    assert_eq!(world.site.touched(), 0);
    assert!(world.dns.asked().contains(&"both.test".to_owned()));
}

#[tokio::test]
async fn a_name_that_changes_its_mind_never_reaches_a_canary() {
    let world = World::new().await;
    for _ in 0..3 {
        // The second answer is public: it is tried, and nothing of loopback is.
        let asked =
            json!({ "url": world.fill("http://rebind.test:CANARY/"), "timeout_seconds": 0.3 });
        let _ = world.ask(asked, &Reach::Anywhere).await;
    }
    assert_eq!(world.site.touched(), 0);
}

#[tokio::test]
async fn what_is_long_is_cut_and_what_is_slow_is_given_up() {
    let world = World::new().await;
    for url in ["http://WEB/long", "http://WEB/bomb"] {
        let told = world.get(url).await.expect(url);
        assert_eq!(told["truncated"], true, "{url}");
        assert_eq!(told["body"].as_str().map(str::len), Some(1 << 20), "{url}");
    }
    let began = Instant::now();
    let asked = json!({ "url": world.fill("http://WEB/drip"), "timeout_seconds": 1 });
    assert_eq!(
        world.ask(asked, &Reach::Anywhere).await,
        Err(ToolError::Timeout)
    );
    assert!(began.elapsed() < Duration::from_secs(5));
}

#[tokio::test]
async fn after_data_only_named_hosts_are_reached_and_no_text_of_the_models_own_is_sent() {
    let world = World::new().await;
    let reach =
        Reach::hosts_in("Compare this with https://example.com/x, please; see (bücher.example).");
    let rule = async |arguments: Value| match world.ask(arguments, &reach).await {
        Err(ToolError::Refused { rule, .. }) => Some(rule),
        _ => None,
    };
    let quick = |url: &str| json!({ "url": world.fill(url), "timeout_seconds": 0.2 });
    assert_eq!(
        rule(quick("https://evil.example/?d=4711")).await,
        Some("web.after-data")
    );
    assert_eq!(
        rule(quick("https://example.com.evil.example/")).await,
        Some("web.after-data")
    );
    for url in [
        "https://example.com/y",
        "https://xn--bcher-kva.example/",
        "http://WEB/page",
    ] {
        assert_eq!(rule(quick(url)).await, None, "{url}");
    }
    let header =
        json!({ "url": world.fill("http://WEB/page"), "headers": { "User-Agent": "4711" } });
    assert_eq!(rule(header).await, Some("web.after-data"));
}
