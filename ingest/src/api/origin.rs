//! Whether a browser's request comes from a page of this server.

use axum::http::{HeaderMap, header};
use reqwest::Url;
use shared::problem::Problem;

use super::{Answer, State};

/// Refuses what another site's page sends. A browser says with everything but a GET where it comes from.
pub(super) fn check(state: &State, headers: &HeaderMap) -> Result<(), Answer> {
    let text = |name| headers.get(name).and_then(|value: &header::HeaderValue| value.to_str().ok());
    let is_ours = match (text(header::ORIGIN), &state.access.public_url) {
        (None, _) => false,
        (Some(origin), Some(ours)) => origin == ours.origin().ascii_serialization(),
        (Some(origin), None) => host(origin).is_some_and(|host| text(header::HOST) == Some(host.as_str())),
    };
    if is_ours {
        Ok(())
    } else {
        Err(Answer(Problem::new(403, "foreign-origin", "The request comes from another site")))
    }
}

/// The host of an origin, with the port where it is not the usual one.
fn host(origin: &str) -> Option<String> {
    let url: Url = origin.parse().ok()?;
    let host = url.host_str()?;
    Some(url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}")))
}
