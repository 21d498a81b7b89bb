//! The body of a request, read whole and within its limit.

use axum::extract::Request;
use serde::de::DeserializeOwned;
use shared::policy::served::MAX_POLICY_LEN;
use shared::problem::Problem;

use super::{Answer, Shared, batches};
use crate::unquoted;

/// The body as text.
pub(super) async fn text(state: &Shared, request: Request) -> Result<String, Answer> {
    let limit = state.http.max_request_bytes.min(2 * MAX_POLICY_LEN);
    let bytes = batches::read(request.into_body(), limit).await?;
    String::from_utf8(bytes)
        .ok()
        .filter(|text| !text.contains('\0'))
        .ok_or_else(|| Answer(Problem::new(400, "unreadable-request", "The request is not plain text")))
}

/// The body as a JSON object.
pub(super) async fn object<T: DeserializeOwned>(state: &Shared, request: Request) -> Result<T, Answer> {
    read(&text(state, request).await?, unreadable())
}

/// A JSON object out of a text; `problem` says what it should have been.
pub(super) fn read<T: DeserializeOwned>(text: &str, problem: Problem) -> Result<T, Answer> {
    // A derived reader takes an array for an object as well, its items for the members in their order.
    if text.trim_start().starts_with('[') {
        return Err(Answer(problem.detail("it is an array and not an object").at(1, 1)));
    }
    serde_json::from_str(text)
        .map_err(|error| Answer(problem.detail(unquoted::json(&error)).at(error.line(), error.column())))
}

/// A request that cannot be read.
pub(super) fn unreadable() -> Problem {
    Problem::new(400, "unreadable-request", "The request is not the JSON it should be")
}
