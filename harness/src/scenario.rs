//! What is asked of an implementation, as people write it. Reads files; runs nothing.

pub mod expect;
pub mod load;
mod read;
mod rows;
pub mod step;
mod validate;
pub mod values;

use fact_mocks::script::{ArcadeScript, ClaudeScript};
use indexmap::IndexMap;
use schemars::JsonSchema;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// One file: functional test, snapshot, load profile and mock programme at once.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scenario {
    /// Its name, unique, such as `cache.hit-is-silent`.
    pub id: String,
    /// What holds, in one sentence.
    pub title: String,
    /// Why it matters.
    #[serde(default)]
    pub why: Option<String>,
    /// How binding it is, and for whom.
    pub requirement: Requirement,
    /// Overrides the run's seed.
    #[serde(default)]
    pub seed: Option<u64>,
    /// The data behind the target.
    #[serde(default)]
    pub database: DatabaseName,
    /// What the scenario cannot be judged without.
    #[serde(default)]
    pub needs: Vec<Need>,
    /// Further environment variables of the contract for the target; an empty value takes one away.
    #[serde(default)]
    pub target: BTreeMap<String, String>,
    /// Files below the target's file root.
    #[serde(default)]
    pub files: IndexMap<String, String>,
    /// What is no ordinary file, below the target's file root.
    #[serde(default)]
    pub specials: IndexMap<String, Special>,
    /// Symbolic links below the target's file root, and what they point to.
    #[serde(default)]
    pub links: IndexMap<String, String>,
    /// What Claude does.
    #[serde(default)]
    pub claude: ClaudeScript,
    /// What Arcade does.
    #[serde(default)]
    pub arcade: ArcadeScript,
    /// What the web tool finds: pages on an address that it may reach, and names.
    #[serde(default)]
    pub web: Option<Web>,
    /// Repeats all steps for every row; `{{ row.FIELD }}` stands for the row's value.
    #[serde(default)]
    pub for_each: Option<ForEach>,
    /// What is done, in order, and what must be seen.
    #[serde(default)]
    pub steps: Vec<step::Step>,
    /// A load that is sent after the steps.
    #[serde(default)]
    pub load: Option<load::Load>,
    /// What is done after the load.
    #[serde(default)]
    pub then: Vec<step::Step>,
    /// Limits that the load is held against, such as `hit.p95: "<= 50ms"`.
    #[serde(default)]
    pub gates: IndexMap<String, crate::gates::Written>,
    /// Where it was read.
    #[serde(skip)]
    pub origin: Origin,
}

impl Scenario {
    /// Whether it can be shown on a database of this kind.
    pub fn fits(&self, database: &str) -> bool {
        let sqlite = database == "sqlite";
        let lacks = |need: &Need| (*need == Need::Sqlite) != sqlite;
        !self.needs.iter().any(lacks)
    }
}

/// How binding a scenario is, and for whom.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Requirement {
    /// How binding it is.
    pub level: Level,
    /// The profile of the contract that it belongs to.
    pub profile: String,
}

/// How binding a requirement is (RFC 2119).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "UPPERCASE")]
pub enum Level {
    /// Every implementation has to.
    Must,
    /// A good one does.
    Should,
    /// It may.
    May,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Must => "MUST",
            Self::Should => "SHOULD",
            Self::May => "MAY",
        })
    }
}

/// The data that can stand behind a target.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DatabaseName {
    /// Companies, quarterly records, tenants: `scenarios/data/finance.sql`.
    #[default]
    Finance,
}

/// What a scenario cannot be judged without.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Need {
    /// A Postgres behind the target.
    Postgres,
    /// A `SQLite` behind the target.
    Sqlite,
}

/// What lies in folders besides files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Special {
    /// A named pipe that nobody writes to.
    Fifo,
    /// Ten gigabytes that take no room.
    Sparse,
    /// A socket that nobody listens on.
    Socket,
    /// A file with a second name.
    Twice,
}

/// What the web tool finds. Canaries listen where it may not look: on 127.0.0.1, 127.0.0.2 and `::1`, port `{{ canary }}`.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Web {
    /// By path, on the one address that the target may reach, `{{ web }}`.
    pub pages: IndexMap<String, fact_mocks::site::Page>,
    /// Names and their addresses: those of the first time that they are asked for, of the second, … and of any later time.
    #[schemars(with = "BTreeMap<String, Vec<Vec<String>>>")]
    pub names: fact_mocks::dns::Names,
}

/// A table of cases: exactly one of its fields is given.
#[derive(Debug, Clone, Default, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ForEach {
    /// JSON lines, beside the scenario or in a folder above it.
    #[serde(default)]
    pub file: Option<String>,
    /// The rows themselves.
    #[serde(default)]
    pub rows: Option<Vec<BTreeMap<String, serde_json::Value>>>,
}

/// Where a scenario was read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// The file, as the user named it, or its path below `scenarios/`.
    pub name: String,
    /// True when it came out of the executable.
    pub shipped: bool,
}

impl Origin {
    /// The text of a file beside the scenario, if it is there.
    pub fn beside(&self, relative: &str) -> Option<String> {
        let path = self.path_of(relative);
        if self.shipped {
            let name = path.to_str()?;
            shipped_files()
                .iter()
                .find(|(known, _)| *known == name)
                .map(|(_, text)| (*text).to_owned())
        } else {
            std::fs::read_to_string(path).ok()
        }
    }

    /// Where a file beside the scenario lies.
    pub fn path_of(&self, relative: &str) -> PathBuf {
        Path::new(&self.name)
            .parent()
            .unwrap_or(Path::new(""))
            .join(relative)
    }
}

/// Why scenarios cannot be read; the text points at the place.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// A file or folder that cannot be read.
    #[error("{path}: cannot be read: {source}")]
    Unreadable {
        /// Which one.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A folder without scenarios.
    #[error("{0}: there is no scenario in it (no file ends in `.yaml`)")]
    Empty(String),
    /// A file that is no scenario: place, source line, caret and hint.
    #[error("{0}")]
    Bad(String),
}

/// Every file under `scenarios/`, by its path there.
pub fn shipped() -> Vec<(String, &'static str)> {
    shipped_files()
        .iter()
        .map(|(name, text)| ((*name).to_owned(), *text))
        .collect()
}

fn shipped_files() -> &'static [(&'static str, &'static str)] {
    include!(concat!(env!("OUT_DIR"), "/shipped.rs"))
}

/// Reads and checks one file.
pub fn check(path: &Path) -> Result<Scenario, ScenarioError> {
    let (text, origin) = text_of(path)?;
    read::scenario(&text, origin)
}

/// What the mocks do, when they are by themselves.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Mocks {
    /// What Claude does.
    pub claude: ClaudeScript,
    /// What Arcade does.
    pub arcade: ArcadeScript,
}

/// Reads what the mocks do: a scenario, of which nothing else is looked at, or a file that has nothing else.
pub fn mocks(path: &Path) -> Result<Mocks, ScenarioError> {
    let (text, origin) = text_of(path)?;
    read::mocks(&text, origin)
}

fn text_of(path: &Path) -> Result<(String, Origin), ScenarioError> {
    let name = path.display().to_string();
    let text = std::fs::read_to_string(path).map_err(|source| ScenarioError::Unreadable {
        path: name.clone(),
        source,
    })?;
    let shipped = false;
    Ok((text, Origin { name, shipped }))
}

/// Reads all scenarios of these files and folders; without any, those in the executable.
pub fn load_all(paths: &[PathBuf]) -> Result<Vec<Scenario>, ScenarioError> {
    let scenarios = if paths.is_empty() {
        let yaml = shipped_files()
            .iter()
            .filter(|(name, _)| has_yaml_ending(Path::new(name)));
        let read = |(name, text): &(&str, &str)| {
            read::scenario(
                text,
                Origin {
                    name: (*name).to_owned(),
                    shipped: true,
                },
            )
        };
        yaml.map(read).collect::<Result<Vec<_>, _>>()?
    } else {
        let mut scenarios = Vec::new();
        for path in paths {
            for file in files_of(path)? {
                scenarios.push(check(&file)?);
            }
        }
        scenarios
    };
    validate::unique_ids(&scenarios)?;
    Ok(scenarios)
}

/// The JSON Schema of a scenario file.
pub fn schema() -> serde_json::Value {
    schemars::schema_for!(Scenario).to_value()
}

fn files_of(path: &Path) -> Result<Vec<PathBuf>, ScenarioError> {
    let unreadable = |source| ScenarioError::Unreadable {
        path: path.display().to_string(),
        source,
    };
    if !std::fs::metadata(path).map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    walk(path, &mut files).map_err(unreadable)?;
    files.sort();
    if files.is_empty() {
        return Err(ScenarioError::Empty(path.display().to_string()));
    }
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            walk(&path, files)?;
        } else if has_yaml_ending(&path) {
            files.push(path);
        }
    }
    Ok(())
}

fn has_yaml_ending(path: &Path) -> bool {
    path.extension().is_some_and(|ending| ending == "yaml")
}

#[cfg(test)]
mod tests;
