//! What every request has in common: a trace, and a place in the metrics until the last byte of its answer is gone.

use super::failure::whole_seconds;
use super::serve::HeadRead;
use super::{Engine, Trace, fresh_trace, trace_of};
use crate::overhead;
use axum::body::{Body, Bytes, HttpBody};
use axum::extract::{MatchedPath, Request, State};
use axum::http::HeaderValue;
use axum::middleware::Next;
use axum::response::Response;
use fact_wire::ErrorCode;
use hyper::body::{Frame, SizeHint};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll};
use std::time::Instant;
use tracing::Instrument as _;

/// Continues the caller's trace or begins one, names it in the answer, and counts.
pub(super) async fn name_and_count(
    State(engine): State<Engine>,
    mut request: Request,
    next: Next,
) -> Response {
    let metrics = &engine.answering.metrics;
    let began = request
        .extensions()
        .get::<HeadRead>()
        .map_or_else(Instant::now, HeadRead::at);
    let under_way = UnderWay(overhead::Request::new(metrics.clone(), began));
    let given = request
        .headers()
        .get("traceparent")
        .and_then(|value| value.to_str().ok())
        .and_then(trace_of);
    let trace = Trace::new(given.unwrap_or_else(fresh_trace));
    request.extensions_mut().insert(trace.clone());
    let method = request.method().clone();
    let route = request.extensions().get::<MatchedPath>().cloned();
    let span = tracing::info_span!("request", trace_id = trace.0);
    let mut response = overhead::within(under_way.0.clone(), next.run(request))
        .instrument(span)
        .await;
    let status = response.status();
    let route = route.as_ref().map_or("none", MatchedPath::as_str);
    let method = match method.as_str() {
        known @ ("GET" | "HEAD" | "POST" | "PUT" | "PATCH" | "DELETE" | "OPTIONS") => known,
        _ => "other",
    };
    metrics.requests.add([route, method, status.as_str()], 1);
    match response.extensions().get::<ErrorCode>() {
        Some(code) => metrics.count_error(*code),
        None if status.as_u16() >= 400 => {
            metrics.errors.fetch_add(1, Relaxed);
        }
        None => {}
    }
    let span = format!("00-{}-{:016x}-01", trace.0, rand::random::<u64>());
    for (name, value) in [
        ("x-request-id", trace.0.as_str()),
        ("traceparent", span.as_str()),
    ] {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    if let Some(allowance) = trace.1.get() {
        let reset = whole_seconds(allowance.full_after);
        for (name, value) in [
            ("x-ratelimit-limit", u64::from(allowance.limit)),
            ("x-ratelimit-remaining", u64::from(allowance.remaining)),
            ("x-ratelimit-reset", reset),
        ] {
            response
                .headers_mut()
                .insert(name, HeaderValue::from(value));
        }
    }
    response.map(|body| {
        Body::new(Measured {
            body,
            _under_way: under_way,
        })
    })
}

/// Counts the request once its answer is handed over, or given up.
struct UnderWay(Arc<overhead::Request>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.finish();
    }
}

/// A body that is dropped with the request.
struct Measured {
    body: Body,
    _under_way: UnderWay,
}

impl HttpBody for Measured {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
