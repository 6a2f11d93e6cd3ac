//! Between HDR histograms and their place in a run.

use crate::run::Histogram;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hdrhistogram::Histogram as Hdr;
use hdrhistogram::serialization::{Deserializer, Serializer as _, V2Serializer};

impl Histogram {
    /// Keeps an HDR histogram of nanoseconds.
    #[expect(
        clippy::cast_precision_loss,
        reason = "latencies are far below 2^52 ns"
    )]
    pub fn from_hdr(hdr: &Hdr<u64>) -> Self {
        let mut bytes = Vec::new();
        // Writing to memory fails only for histograms that are larger than memory.
        drop(V2Serializer::new().serialize(hdr, &mut bytes));
        let at = |quantile: f64| hdr.value_at_quantile(quantile) as f64 / 1e6;
        Self {
            hdr: STANDARD.encode(bytes),
            count: hdr.len(),
            mean_ms: hdr.mean() / 1e6,
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p95_ms: at(0.95),
            p99_ms: at(0.99),
            max_ms: hdr.max() as f64 / 1e6,
        }
    }

    /// The HDR histogram again; `None` where it was damaged.
    pub fn to_hdr(&self) -> Option<Hdr<u64>> {
        let bytes = STANDARD.decode(&self.hdr).ok()?;
        Deserializer::new().deserialize(&mut bytes.as_slice()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_histogram_survives_the_file() {
        let mut hdr = Hdr::<u64>::new(3).unwrap();
        (1..=1000).for_each(|value| hdr.record(value * 1_000_000).unwrap());
        let kept = Histogram::from_hdr(&hdr);
        assert_eq!(kept.to_hdr().unwrap(), hdr);
        assert!((kept.p95_ms - 950.0).abs() < 1.0, "{}", kept.p95_ms);
    }
}
