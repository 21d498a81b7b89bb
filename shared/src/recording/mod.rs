//! Recordings of real traffic, in two forms that [`parse_any`] tells apart by their content.
//!
//! The own form is one exchange a line, as JSON:
//!
//! ```json
//! {"label": "client-to-app", "n": 1, "name": "login.ok", "at": "2026-11-23T03:21:56.964Z", "ms": 41,
//!  "request": {"method": "POST", "url": "/path", "headers": [["host", "…"]], "body": "…"},
//!  "response": {"status": 200, "headers": [["content-type", "application/json"]], "body": "…"}}
//! ```
//!
//! A body is text, or null where there was none. The other form is HAR 1.2, as the tools of every browser save it.

mod har;

use serde::{Deserialize, Serialize};

/// Why a text is not a recording.
#[derive(Debug, thiserror::Error)]
#[error("line {line}, column {column}: {reason}")]
pub struct RecordingError {
    /// The line, from 1.
    pub line: usize,
    /// The column, from 1.
    pub column: usize,
    /// What is wrong with it.
    pub reason: String,
}

/// One recorded exchange.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exchange {
    /// Which pair of parties talked.
    pub label: String,
    /// The number within the recording.
    pub n: u32,
    /// What the client was doing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// When the request was seen, RFC 3339.
    pub at: String,
    /// Milliseconds until the response ended.
    #[serde(default)]
    pub ms: u64,
    /// The request.
    pub request: RecordedRequest,
    /// The response.
    pub response: RecordedResponse,
}

/// A recorded request.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedRequest {
    /// The method.
    pub method: String,
    /// Path and query.
    pub url: String,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether there was a body, or more of it, that the recording does not hold.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub cut: bool,
}

/// A recorded response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedResponse {
    /// The status; 0 if there was no answer.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: Option<String>,
    /// Whether there was a body, or more of it, that the recording does not hold.
    #[serde(default, skip_serializing_if = "core::ops::Not::not")]
    pub cut: bool,
}

/// Reads a recording of either form: HAR is one object whose first member is `log`.
///
/// # Errors
/// [`RecordingError`] with the line and column of what is wrong.
pub fn parse_any(text: &str) -> Result<Vec<Exchange>, RecordingError> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    if har::is_har(text) { har::parse(text) } else { parse(text) }
}

/// Reads a recording of one exchange a line; empty lines are skipped.
///
/// # Errors
/// [`RecordingError`] with the line and column of the first line that is not an exchange.
pub fn parse(text: &str) -> Result<Vec<Exchange>, RecordingError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            serde_json::from_str(line)
                .map_err(|error| RecordingError { line: at + 1, ..RecordingError::of(&error) })
        })
        .collect()
}

impl RecordingError {
    /// The parser's own words, without the place that it repeats at their end.
    fn of(error: &serde_json::Error) -> Self {
        let reason = error.to_string();
        let place = format!(" at line {} column {}", error.line(), error.column());
        let reason = reason.strip_suffix(&place).unwrap_or(&reason).to_owned();
        Self { line: error.line().max(1), column: error.column().max(1), reason }
    }
}
