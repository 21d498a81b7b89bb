//! `POST /v1/batches`: framed batches in, one answer for each out, in their order.

use axum::Json;
use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::Request;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use futures_util::StreamExt as _;
use serde_json::{Value, json};
use shared::batch::{CONTENT_TYPE, unframe};
use shared::problem::Problem;
use tracing::Instrument as _;

use super::{Answer, Shared, State};
use crate::receive::Receipt;
use crate::receive::backlog::{Full, Held};

pub(super) async fn receive(state: Shared, request: Request) -> Result<Response, Answer> {
    let content_type = request
        .headers()
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .and_then(|value| value.split(';').next());
    if content_type.map(str::trim) != Some(CONTENT_TYPE) {
        return Err(Answer(
            Problem::new(415, "unsupported-media-type", "The media type is not supported")
                .detail(format_args!("send {CONTENT_TYPE}")),
        ));
    }
    let Some((bytes, held)) = read_within(request.into_body(), &state).await? else {
        return Ok(come_again());
    };
    let frames = unframe(&bytes).map_err(|error| {
        Answer(Problem::new(400, "unreadable-request", "The request is not framed batches").detail(error))
    })?;
    // All are queued before the first is waited for, so that one request is one transaction of each lane.
    let mut accepted = Vec::with_capacity(frames.len());
    for framed in frames {
        let span = tracing::info_span!("batch", bytes = framed.body.len(), status = tracing::field::Empty);
        let queued = state.receiver.accept_within_limits(framed, &held).instrument(span.clone()).await;
        accepted.push((span, queued));
    }
    let mut statuses = Vec::with_capacity(accepted.len());
    let mut items = Vec::with_capacity(accepted.len());
    for (span, batch) in accepted {
        let (status, item) = match batch.receipt().instrument(span.clone()).await {
            Ok(receipt) => (200, stored(&receipt)),
            Err(problem) => {
                metrics::counter!("edgetrail_refused_batches_total", "status" => problem.status.to_string())
                    .increment(1);
                (problem.status, json!({"status": problem.status, "problem": problem}))
            }
        };
        span.record("status", status);
        statuses.push(status);
        items.push(item);
    }
    let status = overall(&statuses);
    let mut response = (status, Json(items)).into_response();
    // Of several reasons the one that lasts longest. The buckets fill every moment.
    let waits = [(503, "5"), (429, "1")];
    if let Some((_, seconds)) = waits.into_iter().find(|(status, _)| statuses.contains(status)) {
        response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static(seconds));
    }
    Ok(response)
}

/// The body, as far as there is room for it. Without room it is read all the same and kept nowhere: a sender whose connection
/// ends in the middle of a request does not hear why.
async fn read_within(body: Body, state: &State) -> Result<Option<(Vec<u8>, Held)>, Answer> {
    let limit = state.http.max_request_bytes;
    let mut arriving = Some((Vec::new(), state.receiver.backlog.begin()));
    let mut chunks = Chunks::of(body, limit);
    while let Some(chunk) = chunks.next().await? {
        if let Some((bytes, room)) = &mut arriving {
            match room.take(chunk.len()) {
                Ok(()) => bytes.extend_from_slice(&chunk),
                Err(Full) => arriving = None,
            }
        }
    }
    metrics::gauge!("edgetrail_backlog_bytes").set(state.receiver.backlog.taken() as f64);
    Ok(arriving.map(|(bytes, room)| (bytes, room.hold())))
}

/// There is no room for a request. It is over sooner than a commit that stands still.
fn come_again() -> Response {
    let problem = Problem::new(429, "backlog-full", "More arrives than can be stored at this time")
        .detail("send the same bytes again later");
    let mut response = Answer(problem).into_response();
    response.headers_mut().insert(header::RETRY_AFTER, header::HeaderValue::from_static("2"));
    metrics::counter!("edgetrail_refused_batches_total", "status" => "429").increment(1);
    response
}

fn stored(receipt: &Receipt) -> Value {
    let quarantined: Vec<Value> = receipt
        .quarantined
        .iter()
        .map(|(position, reason)| json!({"position": position, "reason": reason}))
        .collect();
    json!({
        "status": 200,
        "stream": receipt.stream,
        "seq": receipt.seq,
        "stored": receipt.stored,
        "quarantined": quarantined,
        "duplicate": receipt.duplicate,
    })
}

/// 200 if any batch was taken; what all of them got if they got the same; else 207.
fn overall(statuses: &[u16]) -> StatusCode {
    let first = statuses.first().copied().unwrap_or(200);
    let status = if statuses.contains(&200) {
        200
    } else if statuses.iter().all(|status| *status == first) {
        first
    } else {
        207
    };
    StatusCode::from_u16(status).unwrap_or(StatusCode::MULTI_STATUS)
}

/// A whole body.
pub(super) async fn read(body: Body, limit: usize) -> Result<Vec<u8>, Answer> {
    let mut bytes = Vec::new();
    let mut chunks = Chunks::of(body, limit);
    while let Some(chunk) = chunks.next().await? {
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

/// A body, counted while it arrives: a wrong or missing Content-Length changes nothing.
struct Chunks {
    stream: BodyDataStream,
    limit: usize,
    read: usize,
}

impl Chunks {
    fn of(body: Body, limit: usize) -> Self {
        Self { stream: body.into_data_stream(), limit, read: 0 }
    }

    async fn next(&mut self) -> Result<Option<Bytes>, Answer> {
        let Some(chunk) = self.stream.next().await else { return Ok(None) };
        let chunk = chunk.map_err(|_| Answer(Problem::new(400, "cut-request", "The request ended early")))?;
        self.read += chunk.len();
        if self.read > self.limit {
            return Err(Answer(
                Problem::new(413, "request-too-large", "The request is over the limit of bytes")
                    .limit(self.limit),
            ));
        }
        Ok(Some(chunk))
    }
}

#[cfg(test)]
mod tests {
    use super::overall;

    #[test]
    fn one_status_stands_for_all_batches() {
        for (statuses, status) in [
            (&[200, 200][..], 200),
            (&[401, 200], 200),
            (&[401, 401], 401),
            (&[429, 429], 429),
            (&[401, 503], 207),
        ] {
            assert_eq!(overall(statuses).as_u16(), status, "{statuses:?}");
        }
    }
}
