//! What both mocks do with a request before they look at it: they journal it, read it, and obey their script.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Query, Request};
use axum::http::request::Parts;
use axum::response::Response;
use bytes::{Bytes, BytesMut};
use futures_util::StreamExt as _;

use crate::body::{Answer, Recording};
use crate::faults;
use crate::raw;
use crate::script::{Fault, OutageKind, RawResponse};
use crate::stage::Stage;

/// How much of a body that is too large is read away, so that the refusal can be read.
const DRAINED: usize = 512 * 1024 * 1024;
/// How long the control plane waits for answers under way.
const SETTLING: Duration = Duration::from_millis(250);

/// A request that is there.
#[derive(Debug)]
pub(crate) struct Arrived {
    pub(crate) parts: Parts,
    /// From `/v1/`, `/_mock/` or `/oauth/` on: whatever stands before is a prefix of the client's.
    pub(crate) path: String,
    /// None when there are more than may be.
    pub(crate) body: Option<Bytes>,
    pub(crate) recording: Recording,
}

impl Arrived {
    /// Where this mock is, for the client that asks: its prefix included.
    pub(crate) fn base(&self) -> String {
        let host = self.header("host").unwrap_or("localhost");
        let path = self.parts.uri.path();
        format!(
            "http://{host}{}",
            path.strip_suffix(&self.path).unwrap_or_default()
        )
    }

    /// A header as text.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.parts.headers.get(name)?.to_str().ok()
    }

    /// The pairs of the query, decoded.
    pub(crate) fn query(&self) -> Vec<(String, String)> {
        Query::try_from_uri(&self.parts.uri).map_or_else(|_| Vec::new(), |Query(pairs)| pairs)
    }

    /// The fault that the client asks for with `x-mock-scenario`, while it has not tried too often.
    pub(crate) fn wanted_fault(&self, stage: &Stage) -> Result<Option<Fault>, String> {
        let Some(name) = self.header("x-mock-scenario") else {
            return Ok(None);
        };
        let (fault, times) = faults::named(name, |name| stage.named_fault(name))?;
        let retries = self.header("x-stainless-retry-count");
        let retries: u32 = retries.and_then(|it| it.parse().ok()).unwrap_or_default();
        Ok((retries < times).then_some(fault))
    }
}

/// The part of a path that the mock knows.
pub(crate) fn known_path(path: &str) -> &str {
    let known = ["/v1/", "/_mock/", "/oauth/"];
    let at = known.iter().filter_map(|known| path.find(known)).min();
    at.map_or(path, |at| &path[at..])
}

/// Journals and reads a request; without one, the outage has been played.
pub(crate) async fn arrive(stage: &Arc<Stage>, request: Request, limit: usize) -> Option<Arrived> {
    let (parts, body) = request.into_parts();
    let mut recording = Recording::start(stage, &parts);
    match stage.outage(recording.entry.arrived_ns) {
        Some(OutageKind::Reset) => {
            recording.entry.fault = Some("outage: reset".to_owned());
            Answer::reset(&recording);
            return None;
        }
        Some(OutageKind::HalfOpen) => {
            recording.entry.fault = Some("outage: half open".to_owned());
            std::future::pending::<()>().await;
        }
        _ => {}
    }
    let body = read(body, limit).await?;
    recording.body(body.as_deref().unwrap_or_default());
    Some(Arrived {
        path: known_path(parts.uri.path()).to_owned(),
        parts,
        body,
        recording,
    })
}

/// A body of at most so many bytes; `Some(None)` is a larger one, `None` one that broke off.
pub(crate) async fn read(body: Body, limit: usize) -> Option<Option<Bytes>> {
    let mut stream = body.into_data_stream();
    let mut whole = BytesMut::new();
    let mut first: Option<Bytes> = None;
    let mut length = 0;
    while let Some(chunk) = stream.next().await {
        let chunk = chunk.ok()?;
        length += chunk.len();
        if length > DRAINED {
            break;
        }
        if length > limit {
            (whole, first) = (BytesMut::new(), None);
            continue;
        }
        match first.take() {
            None if whole.is_empty() => first = Some(chunk),
            None => whole.extend_from_slice(&chunk),
            Some(before) => {
                whole.extend_from_slice(&before);
                whole.extend_from_slice(&chunk);
            }
        }
    }
    Some((length <= limit).then(|| first.unwrap_or_else(|| whole.freeze())))
}

/// Gives an answer byte for byte.
pub(crate) async fn play(
    stage: &Stage,
    response: &RawResponse,
    mut recording: Recording,
    request_id: Option<String>,
) -> Option<Response> {
    let taken = stage.since(recording.entry.arrived_ns);
    let (mut answer, due) = raw::answer(response, taken);
    if let Some(id) = request_id
        && !answer.headers.contains_key("request-id")
    {
        answer = answer.header("request-id", &id);
    }
    recording.entry.fault = Some("scripted answer".to_owned());
    if !due.is_zero() {
        stage
            .until(stage.instant(recording.entry.arrived_ns, due))
            .await;
    }
    Some(answer.into_response(recording))
}

/// Waits until the journal is complete, unless an answer under way takes too long.
pub(crate) async fn settle(stage: &Stage) {
    let until = tokio::time::Instant::now() + SETTLING;
    while stage.journal.in_flight() > 0 && tokio::time::Instant::now() < until {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_is_the_clients_own() {
        assert_eq!(known_path("/anthropic/v1/messages"), "/v1/messages");
        assert_eq!(known_path("/v1/models/v1/x"), "/v1/models/v1/x");
        assert_eq!(known_path("/elsewhere"), "/elsewhere");
    }

    #[tokio::test]
    async fn a_body_is_whole_or_too_large() {
        let chunks = |sizes: &[usize]| {
            let chunks: Vec<Result<Bytes, std::io::Error>> = sizes
                .iter()
                .map(|size| Ok(Bytes::from(vec![b'x'; *size])))
                .collect();
            Body::from_stream(futures_util::stream::iter(chunks))
        };
        for (sizes, expected) in [
            (&[][..], Some(0)),
            (&[3], Some(3)),
            (&[3, 4, 2], Some(9)),
            (&[5, 5], Some(10)),
            (&[5, 6], None),
        ] {
            let body = read(chunks(sizes), 10).await.unwrap();
            assert_eq!(body.map(|body| body.len()), expected, "{sizes:?}");
        }
    }
}
