//! Any text gets a decision; what is accepted prints and parses to the same statement, and gets the same decision again.
#![no_main]

use fact_guard::sql::{self, Relation, Schema};
use libfuzzer_sys::fuzz_target;
use pg_query::{DeparseOptions, ParserOptions};
use std::sync::LazyLock;

static SCHEMA: LazyLock<Schema> = LazyLock::new(|| {
    let columns = ["id", "name", "day"].map(ToOwned::to_owned).to_vec();
    let relation = |name: &str| Relation {
        schema: "public".into(),
        name: name.into(),
        columns: columns.clone(),
    };
    Schema::new(vec![relation("t"), relation("companies")])
});

fuzz_target!(|text: &str| {
    let Ok(safe) = sql::check(text, &SCHEMA) else {
        return;
    };
    let parsed = pg_query::parse(text, ParserOptions::default()).expect("what is accepted parses");
    assert_eq!(parsed.protobuf.stmts.len(), 1, "what is accepted is one statement");
    let printed = parsed.deparse(DeparseOptions::default()).expect("what is accepted prints");
    let again = pg_query::parse(&printed, ParserOptions::default()).expect("what is printed parses");
    let twice = again.deparse(DeparseOptions::default()).expect("what is printed prints");
    assert_eq!(printed, twice, "and to the same");
    assert!(safe.bare().len() <= text.len());
});
