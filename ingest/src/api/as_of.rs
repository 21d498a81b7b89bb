//! Where a search is read, and the header that says from when its answer is if it is not from now.

use std::cell::Cell;

use axum::extract::Request;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::Next;
use axum::response::Response;
use shared::event::Timestamp;

use super::State;
use crate::store::Store;
use crate::view::time;

/// Everything that was stored before this time is in the answer.
const AS_OF: HeaderName = HeaderName::from_static("edgetrail-as-of");

tokio::task_local! {
    /// The oldest copy that the request under way has read.
    static OLDEST: Cell<Option<Timestamp>>;
}

/// Where the request under way searches.
pub(super) fn reading(state: &State) -> Store {
    let reading = state.store.reading(state.clock.now());
    if let Some(as_of) = reading.as_of {
        // Work that outlives its request has no header to write.
        let _ = OLDEST.try_with(|oldest| {
            oldest.set(Some(oldest.get().map_or(as_of, |known| known.min(as_of))));
        });
    }
    reading.store
}

/// Adds the header.
pub(super) async fn tell(request: Request, next: Next) -> Response {
    OLDEST
        .scope(Cell::new(None), async {
            let mut response = next.run(request).await;
            let oldest = OLDEST.with(Cell::get).map(|at| time(at.to_utc()));
            if let Some(value) = oldest.and_then(|text| HeaderValue::from_str(&text).ok()) {
                response.headers_mut().insert(AS_OF, value);
            }
            response
        })
        .await
}
