//! Mistakes are named together, layers come in their order, secrets are not shown.

use super::*;
use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

/// What is needed at least, with a file of clients in `folder`.
fn needed(folder: &Path, clients: &str) -> BTreeMap<String, String> {
    let path = folder.join("clients.json");
    std::fs::write(&path, clients).unwrap();
    BTreeMap::from([
        ("ANTHROPIC_API_KEY".to_owned(), "sk-ant-x".to_owned()),
        (
            "DATABASE_URL".to_owned(),
            "postgres://app:hunter2@db:5432/x?sslpassword=hunter3".to_owned(),
        ),
        ("FACT_CLIENTS".to_owned(), path.display().to_string()),
    ])
}

const ALICE: &str = r#"{"clients":[{"id":"alice","secret":"s","tenant":"t","scopes":["query"]}]}"#;

fn mistakes(variables: &BTreeMap<String, String>, file: Option<(&Path, &str)>) -> Vec<String> {
    let sources = Sources::new(&[], |name| variables.get(name).cloned(), file);
    Config::from_sources(&sources).map_or_else(|mistakes| mistakes.0, |_| Vec::new())
}

#[test]
fn all_mistakes_are_named_at_once() {
    let environment = |name: &str| match name {
        "FACT_LISTEN" => Some("nowhere".to_owned()),
        "DATABASE_URL" => Some("mysql://x".to_owned()),
        "FACT_CLIENTS" => Some("no-such-file.json".to_owned()),
        "FACT_MAX_TURNS" | "FACT_TOOL_TIMEOUT_SECONDS" | "FACT_AUDIT_KEEP_DAYS" => {
            Some("0".to_owned())
        }
        "FACT_REQUEST_TIMEOUT_SECONDS" => Some(u64::MAX.to_string()),
        "FACT_FILE_ROOTS" => Some("/no/such/folder".to_owned()),
        _ => None,
    };
    let mistakes = Config::from_environment(environment).unwrap_err().0;
    let names = [
        "FACT_LISTEN",
        "ANTHROPIC_API_KEY",
        "DATABASE_URL",
        "FACT_CLIENTS",
        "FACT_MAX_TURNS",
        "FACT_TOOL_TIMEOUT_SECONDS",
        "FACT_AUDIT_KEEP_DAYS",
        "FACT_REQUEST_TIMEOUT_SECONDS",
        "FACT_FILE_ROOTS",
    ];
    for name in names {
        assert_eq!(
            mistakes
                .iter()
                .filter(|mistake| mistake.contains(name))
                .count(),
            1,
            "{name}: {mistakes:?}"
        );
    }
    assert_eq!(mistakes.len(), names.len(), "{mistakes:?}");
}

#[test]
fn a_client_that_could_do_nothing_or_anything_is_a_mistake() {
    let folder = tempfile::tempdir().unwrap();
    assert_eq!(
        mistakes(&needed(folder.path(), ALICE), None),
        Vec::<String>::new()
    );
    for (client, word) in [
        (
            r#"{"id":"a","secret":"s","tenant":"t","scopes":[]}"#,
            "no scope",
        ),
        (
            r#"{"id":"a","secret":"s","tenant":"t","scopes":["quary"]}"#,
            "`quary`",
        ),
        (
            r#"{"id":"a","secret":"","tenant":"t","scopes":["query"]}"#,
            "`secret` is empty",
        ),
        (
            r#"{"id":"a\u0000","secret":"s","tenant":"t","scopes":["query"]}"#,
            "`id` holds",
        ),
        (
            r#"{"id":"a","secret":"s","tenant":" ","scopes":["query"]}"#,
            "`tenant` is empty",
        ),
        (
            r#"{"id":"a","secret":"s","tenant":"t","scopes":["query"],"rate_per_minute":0}"#,
            "rate_per_minute",
        ),
        (
            r#"{"id":"a","secret":"s","tenant":"t","scopes":["query"],"tools":[""]}"#,
            "`tools`",
        ),
    ] {
        let seen = mistakes(
            &needed(folder.path(), &format!("{{\"clients\":[{client}]}}")),
            None,
        );
        assert!(
            seen.len() == 1 && seen[0].contains(word),
            "{client}: {seen:?}"
        );
    }
    assert_eq!(
        mistakes(&needed(folder.path(), r#"{"clients":[]}"#), None).len(),
        1
    );
}

#[test]
fn a_flag_comes_before_a_variable_and_that_before_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fact.toml");
    std::fs::create_dir(folder.path().join("docs")).unwrap();
    std::fs::write(folder.path().join("key"), "sk-ant-file\n").unwrap();
    let text = "listen = '127.0.0.1:1'\n[claude]\nmodel = 'of-file'\napi_key_file = 'key'\n[files]\nroots = ['docs']\n[cache]\nttl_seconds = 5\n";
    let mut variables = needed(folder.path(), ALICE);
    variables.remove("ANTHROPIC_API_KEY");
    variables.insert("FACT_MODEL".into(), "of-variable".into());
    variables.insert("FACT_LISTEN".into(), "127.0.0.1:2".into());
    let flags = [("FACT_LISTEN", "127.0.0.1:3".to_owned())];
    let sources = Sources::new(
        &flags,
        |name| variables.get(name).cloned(),
        Some((&path, text)),
    );
    let config = Config::from_sources(&sources).unwrap();
    assert_eq!(
        (config.listen.port(), config.model.as_str()),
        (3, "of-variable")
    );
    assert_eq!(
        (config.cache_ttl, config.max_turns),
        (Duration::from_secs(5), 8)
    );
    assert_eq!(config.file_roots, [folder.path().join("docs")]);
    assert_eq!(
        secrecy::ExposeSecret::expose_secret(&config.anthropic_key),
        "sk-ant-file"
    );
    let shown = Config::show(&sources);
    let of = |key: &str| shown.iter().find(|shown| shown.key == key).unwrap();
    assert_eq!(of("listen").origin, Origin::Flag);
    assert_eq!(of("claude.model").origin.to_string(), "variable FACT_MODEL");
    assert_eq!(
        of("claude.api_key").origin.to_string(),
        "file, claude.api_key_file"
    );
    assert_eq!(
        (
            of("limits.max_turns").value.as_deref(),
            &of("limits.max_turns").origin
        ),
        (Some("8"), &Origin::Default)
    );
    let all = serde_json::to_string(&shown).unwrap();
    for secret in ["hunter", "sk-ant"] {
        assert!(!all.contains(secret), "{all}");
    }
    assert_eq!(
        of("database.url").value.as_deref(),
        Some("postgres://app:***@db:5432/x?***")
    );
}

#[test]
fn a_wrong_file_is_told_whole_with_the_nearest_name() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fact.toml");
    let variables = needed(folder.path(), ALICE);
    let text = "lisen = 'x'\n[cache]\nttl = 5\nmax_bytes = 'many'\n[claude]\napi_key = 'a'\napi_key_file = 'b'\n[zebra]\nstripes = 3\n";
    let seen = mistakes(&variables, Some((&path, text)));
    for words in [
        "did you mean `listen`",
        "did you mean `cache.ttl_seconds`",
        "`cache.max_bytes`",
        "both `claude.api_key`",
        "`zebra.stripes`",
    ] {
        assert_eq!(
            seen.iter()
                .filter(|mistake| mistake.contains(words))
                .count(),
            1,
            "{words}: {seen:?}"
        );
    }
    let seen = mistakes(&variables, Some((&path, "listen = \n")));
    assert!(seen.len() == 1 && seen[0].contains("line 1"), "{seen:?}");
}

#[test]
fn a_secret_comes_from_a_file_or_a_variable_and_not_from_both() {
    let folder = tempfile::tempdir().unwrap();
    let mut variables = needed(folder.path(), ALICE);
    let key = folder.path().join("key");
    std::fs::write(&key, "sk-ant-file\n").unwrap();
    variables.insert("ANTHROPIC_API_KEY_FILE".into(), key.display().to_string());
    assert!(mistakes(&variables, None)[0].contains("one of them is enough"));
    variables.remove("ANTHROPIC_API_KEY");
    assert_eq!(mistakes(&variables, None), Vec::<String>::new());
    std::fs::write(&key, "\n").unwrap();
    assert!(mistakes(&variables, None)[0].contains("empty"));
}

#[test]
fn the_list_holds_every_variable_that_is_read_and_no_other() {
    let sources = Sources::new(
        &[],
        |name| (name == "ARCADE_BASE_URL").then(|| "http://x".to_owned()),
        None,
    );
    let mut reader = Reader::new(&sources);
    Config::read(&mut reader);
    let read: BTreeSet<String> = reader.defaults.into_inner().into_keys().collect();
    let listed: BTreeSet<String> = SETTINGS
        .iter()
        .map(|setting| setting.variable.to_owned())
        .collect();
    assert_eq!(read, listed);
}

#[test]
fn a_key_for_encryption_is_read_from_one_place_and_never_shown() {
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
