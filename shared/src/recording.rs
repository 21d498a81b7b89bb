//! Recordings of real traffic: one exchange a line, as JSON.
//!
//! ```json
//! {"label": "client-to-app", "n": 1, "name": "login.ok", "at": "2026-11-23T03:21:56.964Z", "ms": 41,
//!  "request": {"method": "POST", "url": "/path", "headers": [["host", "…"]], "body": "…"},
//!  "response": {"status": 200, "headers": [["content-type", "application/json"]], "body": "…"}}
//! ```
//!
//! A body is text, or null where there was none.

use serde::{Deserialize, Serialize};

/// Why a line is not a recorded exchange.
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
}

/// A recorded response.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RecordedResponse {
    /// The status.
    pub status: u16,
    /// Headers in order.
    pub headers: Vec<(String, String)>,
    /// The body.
    #[serde(default)]
    pub body: Option<String>,
}

/// Reads a recording; empty lines are skipped.
///
/// # Errors
/// [`RecordingError`] with the line and column of the first line that is not an exchange.
pub fn parse(text: &str) -> Result<Vec<Exchange>, RecordingError> {
    text.lines()
        .enumerate()
        .filter(|(_, line)| !line.trim().is_empty())
        .map(|(at, line)| {
            serde_json::from_str(line).map_err(|error| {
                // The parser's own place is within the line, and its line always 1.
                let place = format!(" at line 1 column {}", error.column());
                let reason = error.to_string();
                RecordingError {
                    line: at + 1,
                    column: error.column(),
                    reason: reason.strip_suffix(&place).unwrap_or(&reason).to_owned(),
                }
            })
        })
        .collect()
}
