//! A line of `openings.ndjson`: what is held of one event, at its place in the log.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::LogId;
use crate::leaf::ENTRY_LEN;

/// The longest line that is read: an opening of 64 KiB in base64, its proof, and room for names.
pub const MAX_LINE_LEN: usize = 256 << 10;

/// Why a line was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LineError {
    /// Over [`MAX_LINE_LEN`].
    #[error("line of {0} bytes is over the limit")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("not an opening's line: {0}")]
    Json(String),
    /// Not canonical base64.
    #[error("{0} is not canonical base64")]
    Base64(&'static str),
    /// An entry of another length.
    #[error("entry of {0} bytes")]
    Entry(usize),
}

/// One line.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OpeningLine {
    /// The log and the leaf's index in it; none while the event waits for its place.
    pub place: Option<(LogId, u64)>,
    /// The event's id; none for what was never stored as an event.
    pub id: Option<Uuid>,
    /// The stored opening, or what arrived in its place; none if nothing is left.
    pub opening: Option<Vec<u8>>,
    /// Why it was set aside instead of being stored as an event.
    pub set_aside: Option<String>,
    /// Columns of the store that do not say what the opening says: what they say instead.
    pub columns: BTreeMap<String, Option<String>>,
    /// The log entry, in a selection.
    pub entry: Option<[u8; ENTRY_LEN]>,
    /// The proof (c2sp.org/tlog-proof), in a selection.
    pub proof: Option<String>,
}

#[derive(Serialize, Deserialize)]
struct Written<'a> {
    log: Option<LogId>,
    index: Option<u64>,
    id: Option<Uuid>,
    #[serde(borrow)]
    opening: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    set_aside: Option<String>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    columns: BTreeMap<String, Option<String>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    entry: Option<Cow<'a, str>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    proof: Option<String>,
}

impl OpeningLine {
    /// Reads a line.
    ///
    /// # Errors
    /// [`LineError`] says what is wrong with it.
    pub fn parse(line: &[u8]) -> Result<Self, LineError> {
        if line.len() > MAX_LINE_LEN {
            return Err(LineError::TooLong(line.len()));
        }
        let written: Written<'_> =
            serde_json::from_slice(line).map_err(|error| LineError::Json(error.to_string()))?;
        let decode = |what, text: Option<Cow<'_, str>>| {
            text.map(|text| BASE64.decode(text.as_bytes()).map_err(|_| LineError::Base64(what))).transpose()
        };
        let place = match (written.log, written.index) {
            (Some(log), Some(index)) => Some((log, index)),
            (None, None) => None,
            _ => return Err(LineError::Json("log and index go together".to_owned())),
        };
        let entry = decode("entry", written.entry)?
            .map(|entry| <[u8; ENTRY_LEN]>::try_from(entry).map_err(|entry| LineError::Entry(entry.len())))
            .transpose()?;
        Ok(Self {
            place,
            id: written.id,
            opening: decode("opening", written.opening)?,
            set_aside: written.set_aside,
            columns: written.columns,
            entry,
            proof: written.proof,
        })
    }

    /// The line, with its newline.
    pub fn to_json(&self) -> String {
        let written = Written {
            log: self.place.map(|(log, _)| log),
            index: self.place.map(|(_, index)| index),
            id: self.id,
            opening: self.opening.as_ref().map(|opening| BASE64.encode(opening).into()),
            set_aside: self.set_aside.clone(),
            columns: self.columns.clone(),
            entry: self.entry.as_ref().map(|entry| BASE64.encode(entry).into()),
            proof: self.proof.clone(),
        };
        let mut line = serde_json::to_string(&written).unwrap_or_default();
        line.push('\n');
        line
    }
}
