//! Problem details for HTTP APIs (RFC 9457).

use serde::{Deserialize, Serialize};

use crate::redact;

/// The media type.
pub const CONTENT_TYPE: &str = "application/problem+json";

/// An error as a client sees it. Never holds a secret or a stored value.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Problem {
    /// A relative reference that names the kind of problem: `/problems/bad-signature`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The kind in words; the same for every occurrence.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// This occurrence in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
    /// The limit that was passed, in the unit the title names.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<u64>,
    /// Where in the document that was sent, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// From 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
}

impl Problem {
    /// A problem of a kind: `slug` completes `/problems/…`.
    pub fn new(status: u16, slug: &str, title: &str) -> Self {
        Self {
            kind: format!("/problems/{slug}"),
            title: title.to_owned(),
            status,
            detail: None,
            limit: None,
            line: None,
            column: None,
        }
    }

    /// With words for this occurrence. What they quote of a request may be a key in the wrong place.
    #[must_use]
    pub fn detail(mut self, detail: impl ToString) -> Self {
        self.detail = Some(redact::scrub(&detail.to_string()).into_owned());
        self
    }

    /// With the limit that was passed.
    #[must_use]
    pub fn limit(mut self, limit: usize) -> Self {
        self.limit = u64::try_from(limit).ok();
        self
    }

    /// With the place in the document that was sent.
    #[must_use]
    pub fn at(mut self, line: usize, column: usize) -> Self {
        self.line = u32::try_from(line).ok();
        self.column = u32::try_from(column).ok();
        self
    }
}
