//! What a hunt for holes in a validator found.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// Written into every saved hunt.
pub const SCHEMA_VERSION: u32 = 1;

/// A finished hunt.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hunt {
    /// Of this form.
    pub schema_version: u32,
    /// `sql`, `path` or `url`.
    pub subject: String,
    /// What was hunted.
    pub target: String,
    /// Repeats it.
    pub seed: u64,
    /// How long it took.
    pub seconds: f64,
    /// Texts that were asked about.
    pub asked: u64,
    /// Of those, accepted.
    pub accepted: u64,
    /// Accepted statements that were run to see what they do.
    pub executed: u64,
    /// Others that were slow.
    pub slow: u64,
    /// How long the runs took, and the looking for effects; without the slow ones.
    pub executing_seconds: f64,
    /// Different combinations of decision and construct that were met.
    pub shapes: u64,
    /// Where accepted statements were run.
    pub database: Option<String>,
    /// Worst first.
    pub findings: Vec<Finding>,
}

/// What is wrong with a validator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// It accepts what has an effect or shows what nobody may read.
    Bypass,
    /// It ends, or panics.
    Crash,
    /// It does not decide in time.
    Stall,
    /// It accepts what is no single reading statement to the database's own parser.
    Differential,
    /// It decides otherwise on the same meaning in other characters.
    Metamorphic,
    /// It refuses legitimate use.
    FalseRefusal,
}

impl Kind {
    /// Its name in files.
    pub fn id(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Crash => "crash",
            Self::Stall => "stall",
            Self::Differential => "differential",
            Self::Metamorphic => "metamorphic",
            Self::FalseRefusal => "false-refusal",
        }
    }

    /// For a person.
    pub fn sentence(self) -> &'static str {
        match self {
            Self::Bypass => "accepted, and it did what must not happen",
            Self::Crash => "the validator ended or gave no verdict",
            Self::Stall => "the validator took too long",
            Self::Differential => "accepted, but to Postgres it is no single reading statement",
            Self::Metamorphic => "the same meaning in other characters gets another verdict",
            Self::FalseRefusal => "legitimate, and refused",
        }
    }
}

/// One thing that is wrong, once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What is wrong.
    pub kind: Kind,
    /// What kind of text it was.
    pub family: String,
    /// What was seen, in words.
    pub effects: Vec<String>,
    /// The number in the Common Weakness Enumeration.
    pub cwe: u16,
    /// As small as it could be made.
    pub text: String,
    /// As it was found.
    pub original: String,
    /// The how-manieth text of the hunt it was.
    pub number: u64,
    /// How often the same was met.
    pub times: u64,
}

impl Finding {
    /// One paragraph.
    pub fn paragraph(&self) -> String {
        let effects = if self.effects.is_empty() {
            String::new()
        } else {
            format!(": {}", self.effects.join(", "))
        };
        format!(
            "{} ({}, CWE-{}): {}{effects}. Met {} times, first as number {}.",
            self.kind.id(),
            self.family,
            self.cwe,
            self.kind.sentence(),
            self.times,
            self.number,
        )
    }
}

impl Hunt {
    /// The findings and the figures, for a terminal.
    pub fn in_words(&self) -> String {
        let mut words = String::new();
        for finding in &self.findings {
            let _ = writeln!(
                words,
                "{}\n    {}\n",
                crate::escape::line(&finding.paragraph()),
                crate::escape::line(&finding.text)
            );
        }
        let share = |part: u64, whole: u64| {
            if whole == 0 {
                0.0
            } else {
                100.0 * as_f64(part) / as_f64(whole)
            }
        };
        let _ = write!(
            words,
            "{} in {:.1} s ({:.0} per second), {:.1} % accepted, {} run{}, {} shapes, seed {}",
            count(self.asked, "text"),
            self.seconds,
            as_f64(self.asked) / self.seconds.max(1e-9),
            share(self.accepted, self.asked),
            self.executed,
            if self.executed == 0 {
                String::new()
            } else {
                format!(
                    " ({:.0} per second, and {} slow)",
                    as_f64(self.executed) / self.executing_seconds.max(1e-9),
                    self.slow
                )
            },
            self.shapes,
            self.seed
        );
        words
    }

    /// SARIF 2.1.0, as code hosts read it.
    pub fn sarif(&self) -> serde_json::Value {
        use serde_json::json;
        let mut rules: Vec<serde_json::Value> = Vec::new();
        let mut results = Vec::new();
        for finding in &self.findings {
            let id = format!("{}/{}", finding.kind.id(), finding.family.replace(' ', "-"));
            if !rules.iter().any(|rule| rule["id"] == id.as_str()) {
                rules.push(json!({
                    "id": id,
                    "shortDescription": { "text": format!("{}: {}", finding.family, finding.kind.sentence()) },
                    "properties": { "tags": ["security", format!("external/cwe/cwe-{:03}", finding.cwe)] },
                }));
            }
            results.push(json!({
                "ruleId": id,
                "level": if finding.kind == Kind::FalseRefusal { "warning" } else { "error" },
                "message": { "text": format!("{}\n{}", finding.paragraph(), finding.text) },
                "locations": [{ "physicalLocation": { "artifactLocation": { "uri": "findings.json" } } }],
                "partialFingerprints": { "text": finding.text },
            }));
        }
        crate::sarif::log("fact fuzz", &rules, &results)
    }
}

fn as_f64(number: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "it is shown with few digits")]
    let number = number as f64;
    number
}

fn count(number: u64, what: &str) -> String {
    format!("{number} {what}{}", if number == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hunt_in_words_carries_no_escape_sequence_of_what_was_found() {
        let hunt = Hunt {
            schema_version: SCHEMA_VERSION,
            subject: "sql".into(),
            target: "a command".into(),
            seed: 7,
            seconds: 2.0,
            asked: 100,
            accepted: 25,
            executed: 10,
            slow: 1,
            executing_seconds: 0.1,
            shapes: 12,
            database: None,
            findings: vec![Finding {
                kind: Kind::Bypass,
                family: "write".into(),
                effects: vec!["rows of `t` changed".into()],
                cwe: 89,
                text: "DELETE FROM t \u{1b}[2J".into(),
                original: "x".into(),
                number: 4,
                times: 2,
            }],
        };
        insta::assert_snapshot!(hunt.in_words());
        assert_eq!(
            hunt.sarif()["runs"][0]["results"][0]["ruleId"],
            "bypass/write"
        );
    }
}
