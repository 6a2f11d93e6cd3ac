//! The house has few doors: crates may depend only along the arrows that are drawn here.

use cargo_metadata::{DependencyKind, MetadataCommand};
use std::collections::BTreeSet;

/// `(from, to)`: `from` may use `to`.
const ARROWS: &[(&str, &str)] = &[
    ("fact-engine", "fact-wire"),
    ("fact-engine", "fact-guard"),
    ("fact-mocks", "fact-wire"),
    ("fact-harness", "fact-wire"),
    ("fact-harness", "fact-guard"),
    ("fact-harness", "fact-mocks"),
    ("fact-harness", "fact-reports"),
    ("fact", "fact-engine"),
    ("fact", "fact-wire"),
    ("fact", "fact-guard"),
    ("fact", "fact-mocks"),
    ("fact", "fact-harness"),
    ("fact", "fact-reports"),
];

const TOP_LEVEL: &[&str] = &[
    "Cargo.lock",
    "Cargo.toml",
    "README.md",
    "ci",
    "engine",
    "harness",
    "mocks",
    "reports",
    "scenarios",
];

fn arrows_of_the_workspace() -> BTreeSet<(String, String)> {
    let metadata = MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo metadata");
    let members: BTreeSet<String> = metadata
        .packages
        .iter()
        .map(|package| package.name.to_string())
        .collect();
    let mut arrows = BTreeSet::new();
    for package in &metadata.packages {
        for dependency in package
            .dependencies
            .iter()
            .filter(|dependency| dependency.kind == DependencyKind::Normal)
        {
            if members.contains(&dependency.name) {
                arrows.insert((package.name.to_string(), dependency.name.clone()));
            }
        }
    }
    arrows
}

fn forbidden(arrows: &BTreeSet<(String, String)>) -> Vec<String> {
    let drawn = |arrow: &&(String, String)| !ARROWS.contains(&(arrow.0.as_str(), arrow.1.as_str()));
    arrows
        .iter()
        .filter(drawn)
        .map(|(from, to)| format!("{from} uses {to}"))
        .collect()
}

#[test]
fn crates_depend_only_along_the_drawn_arrows() {
    let arrows = arrows_of_the_workspace();
    assert!(arrows.len() > 5, "the workspace was not read: {arrows:?}");
    assert_eq!(forbidden(&arrows), Vec::<String>::new());
}

#[test]
fn a_planted_arrow_is_found() {
    let mut arrows = arrows_of_the_workspace();
    arrows.insert(("fact-harness".into(), "fact-engine".into()));
    assert_eq!(forbidden(&arrows), ["fact-harness uses fact-engine"]);
}

#[test]
fn the_top_level_holds_what_was_agreed_and_nothing_else() {
    let root = MetadataCommand::new()
        .no_deps()
        .exec()
        .expect("cargo metadata")
        .workspace_root;
    let listed = std::process::Command::new("git")
        .args(["ls-files"])
        .current_dir(&root)
        .output()
        .expect("git");
    let listed = String::from_utf8(listed.stdout).expect("names are UTF-8");
    let top: BTreeSet<&str> = listed
        .lines()
        .filter_map(|path| path.split('/').next())
        .filter(|name| !name.starts_with('.'))
        .collect();
    assert_eq!(top.into_iter().collect::<Vec<_>>(), TOP_LEVEL);
}
