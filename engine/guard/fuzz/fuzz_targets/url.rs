//! Any text gets a decision; what is accepted is http(s), names no user, and its literal address may be asked.
#![no_main]

use fact_guard::url;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    for text in [text.to_owned(), format!("http://{text}")] {
        let Ok(allowed) = url::check(&text, &[]) else {
            continue;
        };
        let url = allowed.url();
        assert!(matches!(url.scheme(), "http" | "https"), "{text:?}");
        assert!(url.username().is_empty() && url.password().is_none(), "{text:?}");
        let host = url.host_str().expect("a host");
        if let Ok(address) = host.trim_matches(['[', ']']).parse() {
            assert!(url::check_address(address).is_ok(), "{text:?}");
        }
    }
});
