//! The latencies of a run as an HDR histogram log (V2), which the standard tools read: an interval for each class of
//! each load, tagged `scenario/class`, in nanoseconds.

use crate::run::Run;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{IntervalLogWriterBuilder, Tag};
use std::time::Duration;

/// The maxima beside the histograms are in milliseconds.
const MILLISECOND_NS: f64 = 1e6;

/// The log; empty but for its head where nothing was under load.
pub fn render(run: &Run) -> String {
    let mut bytes = Vec::new();
    // Writing to memory fails only for histograms that are larger than memory.
    drop(write(run, &mut bytes));
    String::from_utf8(bytes).unwrap_or_default()
}

fn write(run: &Run, bytes: &mut Vec<u8>) -> Result<(), Box<dyn std::error::Error>> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .add_comment("response times in nanoseconds, from the due time to the last byte")
        .add_comment(&format!("run of {}, seed {}", run.started_at, run.seed))
        .with_max_value_divisor(MILLISECOND_NS)
        .begin_log_with(bytes, &mut serializer)?;
    let mut began = Duration::ZERO;
    for scenario in &run.scenarios {
        let duration = Duration::try_from_secs_f64(scenario.duration_seconds).unwrap_or_default();
        for (class, times) in scenario.load.iter().flat_map(|load| &load.classes) {
            let tag = format!("{}/{class}", scenario.id);
            if let Some(hdr) = times.response.to_hdr() {
                log.write_histogram(&hdr, began, duration, Tag::new(&tag))
                    .map_err(|error| format!("{error:?}"))?;
            }
        }
        began += duration;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sample;
    use base64::Engine as _;
    use hdrhistogram::Histogram;
    use hdrhistogram::serialization::Deserializer;
    use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};

    #[test]
    fn each_class_is_read_again_as_it_was() {
        let run = sample::passed();
        let text = render(&run);
        let mut read = Vec::new();
        for entry in IntervalLogIterator::new(text.as_bytes()) {
            if let LogEntry::Interval(interval) = entry.unwrap() {
                let bytes = base64::engine::general_purpose::STANDARD
                    .decode(interval.encoded_histogram())
                    .unwrap();
                let hdr: Histogram<u64> = Deserializer::new()
                    .deserialize(&mut bytes.as_slice())
                    .unwrap();
                read.push((interval.tag().unwrap().as_str().to_owned(), hdr));
            }
        }
        let classes = &run.scenarios[1].load.as_ref().unwrap().classes;
        let kept: Vec<_> = classes
            .iter()
            .map(|(class, times)| {
                let tag = format!("load.standard/{class}");
                (tag, times.response.to_hdr().unwrap())
            })
            .collect();
        assert_eq!(read.len(), 2);
        assert_eq!(read, kept);
    }
}
