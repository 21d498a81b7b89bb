//! How large the head of a request may be, how long its body may stand still, and how long all of it may take.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderValue, Uri, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};
use http_body::{Frame, SizeHint};
use shared::problem::Problem;
use tokio::time::Sleep;

use super::{Answer, Shared};
use crate::config::Connections;

/// Between a field's name and its value, and behind it.
const FIELD_MARKS: usize = 4;

/// Refuses a head over its limits. What is over twice of them never gets here: the listener ends the connection with a bare 431.
pub(super) async fn limit_head(state: Shared, request: Request, next: Next) -> Response {
    match over(&state.http.connections, request.uri(), request.headers()) {
        None => next.run(request).await,
        Some((what, limit)) => {
            let problem = Problem::new(431, "head-too-large", "The head of the request is over its limit")
                .detail(format_args!("{what} are over {limit}"))
                .limit(limit);
            closing(problem)
        }
    }
}

/// The limit that a head is over.
fn over(limits: &Connections, target: &Uri, headers: &HeaderMap) -> Option<(&'static str, usize)> {
    let fields = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + FIELD_MARKS);
    let path = target.path_and_query().map_or(0, |target| target.as_str().len());
    if headers.len() > limits.max_headers {
        Some(("its header fields", limits.max_headers))
    } else if path + fields.sum::<usize>() > limits.max_head_bytes {
        Some(("its bytes", limits.max_head_bytes))
    } else {
        None
    }
}

/// Ends a request that takes too long: with 408 while its body was still on its way, with 503 if the time was ours.
pub(super) async fn limit_time(state: Shared, request: Request, next: Next) -> Response {
    let arrival = Arrival::default();
    let within = state.http.connections.body_within;
    let watched = arrival.clone();
    let request = request.map(|body| Body::new(Arriving { body, within, stuck: None, arrival: watched }));
    let answered = tokio::time::timeout(state.http.timeout, next.run(request)).await;
    match (answered, arrival.state()) {
        // Whatever a handler made of a body that broke off: it did not break off, it stood still.
        (Ok(_), State::Stuck) | (Err(_), State::Underway | State::Stuck) => closing(
            Problem::new(408, "slow-request", "The request did not arrive in time")
                .detail("its body stood still for longer than http.body_timeout_ms, or took longer than http.timeout_ms"),
        ),
        (Ok(response), _) => response,
        (Err(_), State::Unread | State::Ended) => {
            Answer(Problem::new(503, "timeout", "The request took longer than is allowed")).into_response()
        }
    }
}

/// An answer after which the connection ends: the rest of the request is never read.
fn closing(problem: Problem) -> Response {
    let mut response = Answer(problem).into_response();
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// How far a body has come. Clones are the same.
#[derive(Debug, Clone, Default)]
struct Arrival(Arc<AtomicU8>);

#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum State {
    Unread,
    Underway,
    Ended,
    Stuck,
}

impl Arrival {
    fn set(&self, state: State) {
        self.0.store(state as u8, Ordering::Release);
    }

    fn state(&self) -> State {
        let states = [State::Unread, State::Underway, State::Ended, State::Stuck];
        states
            .into_iter()
            .find(|state| *state as u8 == self.0.load(Ordering::Acquire))
            .unwrap_or(State::Unread)
    }
}

/// A body that may not stand still for long once somebody reads it.
struct Arriving {
    body: Body,
    within: Duration,
    /// Runs while nothing comes.
    stuck: Option<Pin<Box<Sleep>>>,
    arrival: Arrival,
}

/// The body stood still.
#[derive(Debug, thiserror::Error)]
#[error("the body stands still")]
struct Stuck;

impl http_body::Body for Arriving {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let this = &mut *self;
        if let Poll::Ready(frame) = Pin::new(&mut this.body).poll_frame(cx) {
            this.stuck = None;
            let goes_on = matches!(frame, Some(Ok(_))) && !this.body.is_end_stream();
            this.arrival.set(if goes_on { State::Underway } else { State::Ended });
            return Poll::Ready(frame);
        }
        this.arrival.set(State::Underway);
        let stuck = this.stuck.get_or_insert_with(|| Box::pin(tokio::time::sleep(this.within)));
        ready!(stuck.as_mut().poll(cx));
        this.arrival.set(State::Stuck);
        Poll::Ready(Some(Err(axum::Error::new(Stuck))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
