//! An answer as the cache holds it: a long one is compressed.

use super::Stored;
use flate2::Compression;
use flate2::read::ZlibDecoder;
use flate2::write::ZlibEncoder;
use std::io::{Read as _, Write as _};
use std::sync::Arc;

/// Shorter answers are kept as they are: a hit is to be fast.
const COMPRESSED_FROM: u64 = 8_192;

/// An answer as the cache holds it.
#[derive(Debug, Clone)]
pub struct Packed(Form);

#[derive(Debug, Clone)]
enum Form {
    Plain(Arc<Stored>, u64),
    Compressed(Arc<[u8]>),
}

impl Packed {
    pub(super) fn new(answer: Arc<Stored>) -> Self {
        let bytes = answer.bytes();
        if bytes < COMPRESSED_FROM {
            return Self(Form::Plain(answer, bytes));
        }
        Self(match compress(&answer) {
            Ok(compressed) => Form::Compressed(compressed),
            Err(_) => Form::Plain(answer, bytes),
        })
    }

    pub(super) fn bytes(&self) -> u64 {
        match &self.0 {
            Form::Plain(_, bytes) => *bytes,
            Form::Compressed(compressed) => u64::try_from(compressed.len()).unwrap_or(u64::MAX),
        }
    }

    /// The answer; nothing where it is not what was packed.
    pub fn unpack(&self) -> Option<Arc<Stored>> {
        match &self.0 {
            Form::Plain(answer, _) => Some(answer.clone()),
            Form::Compressed(compressed) => {
                let mut json = Vec::new();
                ZlibDecoder::new(compressed.as_ref())
                    .read_to_end(&mut json)
                    .ok()?;
                serde_json::from_slice(&json).ok().map(Arc::new)
            }
        }
    }
}

fn compress(answer: &Stored) -> std::io::Result<Arc<[u8]>> {
    let mut encoder = ZlibEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(&serde_json::to_vec(answer)?)?;
    Ok(encoder.finish()?.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use fact_wire::Tokens;

    #[test]
    fn a_long_answer_takes_less_and_comes_back_whole() {
        let answer = Arc::new(Stored {
            response: "the same again and ".repeat(1_000),
            sources: Vec::new(),
            tools_used: vec!["SQL.QueryReadonly".into()],
            tokens: Tokens::default(),
            cost_usd: 0.1,
            baseline_cost_usd: 0.3,
            tables: ["public.companies".to_owned()].into(),
            storable: true,
            degraded: false,
            made_in_ms: 80.0,
        });
        let packed = Packed::new(answer.clone());
        assert!(matches!(packed, Packed(Form::Compressed(_))) && packed.bytes() < 1_000);
        assert_eq!(packed.unpack(), Some(answer));
    }
}
