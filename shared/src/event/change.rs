//! What changed, and how well we know it.

use super::outcome::closed_set;
use super::words::JsonText;
use core::fmt;
use core::str::FromStr;

use serde::{Deserialize, Serialize};

closed_set! {
    /// How well the old side of a change is known. A `from` is never invented.
    Quality {
        /// Both sides were seen: read right before, or both in the traffic.
        Exact = 1 => "exact",
        /// The old side is the last representation that was seen.
        Inferred = 2 => "inferred",
        /// Only the new side is known.
        Partial = 3 => "partial",
        /// Something changed, and neither side is known.
        Unavailable = 4 => "unavailable",
    }
}

/// The changed fields, `{"path": {"from": …, "to": …}}` or `{"path": {"added": […], "removed": […]}}`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangeSet {
    /// How well the old side is known.
    pub quality: Quality,
    /// The fields, redacted.
    pub fields: JsonText,
}
