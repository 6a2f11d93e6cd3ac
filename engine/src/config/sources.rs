//! Where settings come from: flags, then variables, then the configuration file.

use super::settings::{SETTINGS, Setting, Takes, keys};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// From here on a name may have been meant for another.
const ALIKE: f64 = 0.8;
/// Longer secrets are none.
const LONGEST_SECRET: u64 = 64 << 10;

/// Where a value comes from.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum Origin {
    /// A flag of the command.
    Flag,
    /// A variable.
    Variable {
        /// Its name.
        name: String,
    },
    /// The configuration file.
    File {
        /// The key in it.
        key: String,
    },
    /// Nobody said anything.
    Default,
}

impl std::fmt::Display for Origin {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Flag => formatter.write_str("flag"),
            Self::Variable { name } => write!(formatter, "variable {name}"),
            Self::File { key } => write!(formatter, "file, {key}"),
            Self::Default => formatter.write_str("default"),
        }
    }
}

/// All values that somebody gave, and what is wrong with how they were given.
#[derive(Debug, Default)]
pub struct Sources {
    values: BTreeMap<&'static str, (String, Origin)>,
    pub(super) mistakes: Vec<String>,
    /// The files that secrets were read from: no tool may read them.
    pub(super) secret_files: Vec<PathBuf>,
}

impl Sources {
    /// From flags (by their variables), the environment, and the text of the file with its path.
    pub fn new(
        flags: &[(&'static str, String)],
        variable: impl Fn(&str) -> Option<String>,
        file: Option<(&Path, &str)>,
    ) -> Self {
        let mut sources = Self::default();
        if let Some((path, text)) = file {
            sources.read_file(path, text);
        }
        for setting in SETTINGS {
            let name = setting.variable;
            let given = |name: &str| variable(name).filter(|value| !value.trim().is_empty());
            let of_file = format!("{name}_FILE");
            let path = given(&of_file).filter(|_| setting.is_secret());
            match (given(name), path) {
                (Some(_), Some(_)) => sources.mistakes.push(format!(
                    "both `{name}` and `{of_file}` are set: one of them is enough"
                )),
                (Some(value), None) => sources.put(
                    setting,
                    value,
                    Origin::Variable {
                        name: name.to_owned(),
                    },
                ),
                (None, Some(path)) => {
                    if let Some(value) = sources.secret(&of_file, Path::new(&path)) {
                        sources.put(setting, value, Origin::Variable { name: of_file });
                    }
                }
                (None, None) => {}
            }
        }
        for (name, value) in flags {
            sources.values.insert(name, (value.clone(), Origin::Flag));
        }
        sources
    }

    /// What was given for a variable.
    pub fn get(&self, variable: &str) -> Option<(&str, &Origin)> {
        self.values
            .get(variable)
            .map(|(value, origin)| (value.as_str(), origin))
    }

    fn put(&mut self, setting: &Setting, value: String, origin: Origin) {
        if value.contains('\0') {
            self.mistakes.push(format!("{origin}: the value holds NUL"));
            return;
        }
        self.values.insert(setting.variable, (value, origin));
    }

    fn secret(&mut self, named_by: &str, path: &Path) -> Option<String> {
        let read = std::fs::metadata(path).and_then(|found| {
            if found.len() > LONGEST_SECRET {
                return Err(std::io::Error::other("it is too long for a secret"));
            }
            std::fs::read_to_string(path)
        });
        self.secret_files.push(path.to_owned());
        match read {
            Ok(text) if !text.trim().is_empty() => return Some(text.trim().to_owned()),
            Ok(_) => self.mistakes.push(format!(
                "`{named_by}` names `{}`, which is empty",
                path.display()
            )),
            Err(error) => self.mistakes.push(format!(
                "`{named_by}` names `{}`, which cannot be used: {error}",
                path.display()
            )),
        }
        None
    }

    fn read_file(&mut self, path: &Path, text: &str) {
        let table = match text.parse::<toml::Table>() {
            Ok(table) => table,
            Err(error) => {
                let text = error.to_string();
                let indented = text.trim_end().replace('\n', "\n    ");
                self.mistakes
                    .push(format!("`{}` is no TOML: {indented}", path.display()));
                return;
            }
        };
        let mut given = BTreeMap::new();
        flatten("", table, &mut given);
        let known = keys();
        let folder = path.parent().unwrap_or(Path::new(""));
        for (key, value) in given {
            let base = key.strip_suffix("_file").unwrap_or(&key);
            if !known.contains(&key) {
                self.mistakes.push(unknown(path, &key, &known));
            } else if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == key) {
                match text_of(setting, &value, folder) {
                    Ok(value) if value.trim().is_empty() => {}
                    Ok(_) if self.values.contains_key(setting.variable) => {
                        self.mistakes.push(format!(
                            "both `{key}` and `{key}_file` are in `{}`: one of them is enough",
                            path.display()
                        ));
                    }
                    Ok(value) => self.put(setting, value, Origin::File { key }),
                    Err(takes) => self
                        .mistakes
                        .push(format!("`{key}` in `{}` takes {takes}", path.display())),
                }
            } else if let Some(setting) = SETTINGS.iter().find(|setting| setting.key == base) {
                let Some(named) = value.as_str() else {
                    self.mistakes.push(format!(
                        "`{key}` in `{}` takes the path of a file",
                        path.display()
                    ));
                    continue;
                };
                if self.values.contains_key(setting.variable) {
                    self.mistakes.push(format!(
                        "both `{base}` and `{key}` are in `{}`: one of them is enough",
                        path.display()
                    ));
                } else if let Some(value) = self.secret(&key, &folder.join(named)) {
                    self.put(setting, value, Origin::File { key });
                }
            }
        }
    }
}

/// `{a: {b: 1}}` as `a.b`.
fn flatten(before: &str, table: toml::Table, into: &mut BTreeMap<String, toml::Value>) {
    for (name, value) in table {
        let key = if before.is_empty() {
            name
        } else {
            format!("{before}.{name}")
        };
        match value {
            toml::Value::Table(table) => flatten(&key, table, into),
            value => drop(into.insert(key, value)),
        }
    }
}

fn unknown(path: &Path, key: &str, known: &[String]) -> String {
    let nearest = known
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known))
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .filter(|(likeness, _)| *likeness >= ALIKE);
    let hint = nearest
        .map(|(_, known)| format!("; did you mean `{known}`?"))
        .unwrap_or_default();
    format!("`{}` has an unknown key `{key}`{hint}", path.display())
}

/// As the variable would have it; what it takes instead.
fn text_of(setting: &Setting, value: &toml::Value, folder: &Path) -> Result<String, String> {
    let within = |path: &str| folder.join(path).display().to_string();
    let texts =
        || -> Option<Vec<&str>> { value.as_array()?.iter().map(toml::Value::as_str).collect() };
    match setting.takes {
        Takes::Number => value
            .as_integer()
            .map(|number| number.to_string())
            .ok_or_else(|| "a whole number".to_owned()),
        Takes::Path => value
            .as_str()
            .map(within)
            .ok_or_else(|| "a path".to_owned()),
        Takes::Paths => {
            let paths = texts().ok_or("a list of paths")?;
            if paths.iter().any(|path| path.contains(':')) {
                return Err("paths without `:`".to_owned());
            }
            Ok(paths.into_iter().map(within).collect::<Vec<_>>().join(":"))
        }
        Takes::Texts => texts()
            .map(|texts| texts.join(","))
            .ok_or_else(|| "a list of texts".to_owned()),
        Takes::Text | Takes::OneOf(_) | Takes::Secret | Takes::SecretUrl => value
            .as_str()
            .map(str::to_owned)
            .ok_or_else(|| "a text".to_owned()),
    }
}
