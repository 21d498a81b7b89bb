//! Errors as RFC 9457 problems: the one place where they become responses.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use shared::problem::{self, Problem};

use crate::store::StoreError;
use crate::unquoted;

/// A problem as a response.
#[derive(Debug, Clone)]
pub struct Answer(pub Problem);

/// When to try again after a 503: a restart of the store is over by then.
const RETRY_AFTER: &str = "5";

impl Answer {
    /// A malformed parameter.
    pub fn parameter(name: &str, reason: impl std::fmt::Display) -> Self {
        let problem = Problem::new(400, "bad-parameter", "A parameter is not understood");
        let reason = unquoted::reason(&reason.to_string());
        Self(problem.detail(format_args!("{name}: {reason}")))
    }

    /// Nothing here.
    pub fn not_found(what: &str) -> Self {
        Self(Problem::new(404, "not-found", "There is no such thing").detail(what))
    }
}

impl From<StoreError> for Answer {
    fn from(error: StoreError) -> Self {
        tracing::error!(%error, "a request failed");
        Self(if error.is_passing() {
            Problem::new(503, "store-unavailable", "The store is not available")
        } else {
            Problem::new(500, "internal", "Something broke on our side")
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.0.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_string(&self.0).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(problem::CONTENT_TYPE));
        if status == StatusCode::SERVICE_UNAVAILABLE {
            headers.insert(header::RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"edgetrail\""));
        }
        response
    }
}
