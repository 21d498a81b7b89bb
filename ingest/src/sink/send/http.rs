//! HTTP: one request, and what its answer says.

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::{HeaderMap, RETRY_AFTER};
use reqwest::{RequestBuilder, Response};

use super::SendError;
use crate::webhook::Target;

/// Bytes of an answer that are read.
const MAX_ANSWER: usize = 64 << 10;

/// Sends a request to a target; `with` gives it headers and a body. An answer that is not of the kind 2xx is an error.
pub(in super::super) async fn post(
    target: &Target,
    at: DateTime<Utc>,
    with: impl FnOnce(RequestBuilder) -> RequestBuilder,
) -> Result<Response, SendError> {
    let client = target.client().await?;
    let sent = with(client.post(target.url().clone())).send().await;
    // The address may hold a secret of its receiver.
    let answer = sent.map_err(|error| SendError::transport(&error.without_url()))?;
    let status = answer.status();
    if status.is_success() {
        return Ok(answer);
    }
    Err(SendError::Status { code: status.as_u16(), retry_after: retry_after(answer.headers(), at) })
}

/// The beginning of an answer.
pub(in super::super) async fn read_answer(mut answer: Response) -> Vec<u8> {
    let mut body = Vec::new();
    while let Ok(Some(piece)) = answer.chunk().await {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER {
            break;
        }
    }
    body
}

/// The header as a time from now: it gives seconds or a date.
fn retry_after(headers: &HeaderMap, now: DateTime<Utc>) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    match text.parse() {
        Ok(seconds) => Some(Duration::from_secs(seconds)),
        Err(_) => (DateTime::parse_from_rfc2822(text).ok()?.to_utc() - now).to_std().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_read_as_seconds_or_as_a_date() {
        let now = DateTime::from_timestamp(1_790_000_000, 0).expect("a time");
        let read = |text: &str| {
            retry_after(&HeaderMap::from_iter([(RETRY_AFTER, text.parse().expect("a value"))]), now)
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        let date = (now + chrono::TimeDelta::seconds(30)).format("%a, %d %b %Y %H:%M:%S GMT").to_string();
        assert_eq!(read(&date), Some(Duration::from_secs(30)));
        for text in ["-1", "soon", "Thu, 01 Jan 1970 00:00:00 GMT"] {
            assert_eq!(read(text), None, "{text}");
        }
    }
}
