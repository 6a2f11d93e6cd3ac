//! The document that is checked in is the one that the messages make.

use std::path::Path;

#[test]
fn the_document_is_what_the_messages_say() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../openapi.json");
    let made = format!("{:#}\n", fact_wire::openapi::document());
    if std::env::var_os("UPDATE_OPENAPI").is_some() {
        std::fs::write(&path, &made).expect("it can be written");
    }
    let kept = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        kept == made,
        "engine/openapi.json is not what fact-wire makes; renew it with `UPDATE_OPENAPI=1 cargo test -p fact-wire`, and read the difference"
    );
}

#[test]
fn every_reference_leads_somewhere() {
    let document = fact_wire::openapi::document();
    let text = document.to_string();
    for reference in text.split("\"$ref\":\"").skip(1) {
        let reference = reference.split('"').next().unwrap_or_default();
        let pointer = reference.strip_prefix('#').unwrap_or_default();
        assert!(document.pointer(pointer).is_some(), "{reference}");
    }
    assert!(
        document["paths"]
            .as_object()
            .is_some_and(|paths| paths.len() > 15)
    );
}
