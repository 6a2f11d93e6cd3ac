//! How long answers take.

use std::sync::Arc;

use base64::Engine as _;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry, Tag};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Millis;

/// How long answers take.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Latency {
    /// Until the first byte.
    pub first_byte: Distribution,
    /// Until the last byte: events come evenly in between, an answer in one piece comes then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total: Option<Distribution>,
    /// How fast Claude speaks after the first byte, where `total` does not say it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tokens_per_second: Option<f64>,
}

impl Latency {
    /// First bytes of this distribution, and nothing slow after them.
    pub fn of(first_byte: Distribution) -> Self {
        Self {
            first_byte,
            total: None,
            tokens_per_second: None,
        }
    }

    pub(crate) fn is_recorded(&self) -> bool {
        [Some(&self.first_byte), self.total.as_ref()].contains(&Some(&Distribution::Recorded))
    }

    pub(crate) fn load(&mut self, read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        for distribution in [Some(&mut self.first_byte), self.total.as_mut()] {
            if let Some(Distribution::Empirical(empirical)) = distribution {
                empirical.load(read)?;
            }
        }
        if self
            .tokens_per_second
            .is_some_and(|speed| speed.is_nan() || speed <= 0.0)
        {
            return Err("`tokens_per_second` must be above 0".to_owned());
        }
        Ok(())
    }
}

/// A distribution of times.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Distribution {
    /// Always the same.
    Constant(Millis),
    /// Lognormal, given by two of its percentiles.
    Lognormal {
        /// The median.
        p50: Millis,
        /// The 99th percentile.
        p99: Millis,
    },
    /// As measured once.
    Empirical(Empirical),
    /// As the replayed recording says.
    Recorded,
}

/// Times from a log of HDR histograms (V2, nanoseconds), such as `fact run` writes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Empirical {
    /// The log, beside the scenario.
    pub log: String,
    /// The tag whose histograms are taken; all without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    #[serde(skip)]
    pub(crate) histogram: Option<Arc<Histogram<u64>>>,
}

impl PartialEq for Empirical {
    fn eq(&self, other: &Self) -> bool {
        (&self.log, &self.tag) == (&other.log, &other.tag)
    }
}

impl Empirical {
    fn load(&mut self, read: &dyn Fn(&str) -> Option<String>) -> Result<(), String> {
        let log = &self.log;
        let text =
            read(log).ok_or_else(|| format!("`{log}` cannot be read: the log of a latency"))?;
        let mut all = Histogram::<u64>::new(3).map_err(|error| error.to_string())?;
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            let entry = entry.map_err(|_| format!("`{log}` is no log of HDR histograms"))?;
            let LogEntry::Interval(interval) = entry else {
                continue;
            };
            let tag = interval.tag().as_ref().map(Tag::as_str);
            if self.tag.is_some() && tag != self.tag.as_deref() {
                tags.extend(tag.map(str::to_owned));
                continue;
            }
            let bytes = base64::prelude::BASE64_STANDARD
                .decode(interval.encoded_histogram())
                .map_err(|error| format!("`{log}`: {error}"))?;
            let part: Histogram<u64> = Deserializer::new()
                .deserialize(&mut bytes.as_slice())
                .map_err(|error| format!("`{log}`: {error}"))?;
            all.add(&part)
                .map_err(|error| format!("`{log}`: {error}"))?;
        }
        if all.is_empty() {
            let there = if tags.is_empty() {
                String::new()
            } else {
                tags.sort();
                tags.dedup();
                format!("; it has the tags {}", tags.join(", "))
            };
            return Err(format!("`{log}` has no times to draw from{there}"));
        }
        self.histogram = Some(Arc::new(all));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hdrhistogram::serialization::V2DeflateSerializer;
    use hdrhistogram::serialization::interval_log::IntervalLogWriterBuilder;
    use std::time::Duration;

    fn log() -> String {
        let mut histogram = Histogram::<u64>::new(3).unwrap();
        for millis in [10, 20, 30] {
            histogram.record(millis * 1_000_000).unwrap();
        }
        let mut bytes = Vec::new();
        let mut serializer = V2DeflateSerializer::new();
        let mut writer = IntervalLogWriterBuilder::new()
            .begin_log_with(&mut bytes, &mut serializer)
            .unwrap();
        let second = Duration::from_secs(1);
        let tag = Tag::new("miss").unwrap();
        writer
            .write_histogram(&histogram, second, second, Some(tag))
            .unwrap();
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_log_is_read_and_an_unknown_tag_names_those_that_are_there() {
        let text = log();
        let read = |name: &str| (name == "then.hlog").then(|| text.clone());
        let mut empirical = Empirical {
            log: "then.hlog".to_owned(),
            tag: Some("miss".to_owned()),
            histogram: None,
        };
        empirical.load(&read).unwrap();
        assert_eq!(empirical.histogram.as_ref().unwrap().len(), 3);
        empirical.tag = Some("hit".to_owned());
        let error = empirical.load(&read).unwrap_err();
        assert!(error.ends_with("it has the tags miss"), "{error}");
        empirical.log = "other".to_owned();
        assert!(
            empirical
                .load(&read)
                .unwrap_err()
                .contains("cannot be read")
        );
    }
}
