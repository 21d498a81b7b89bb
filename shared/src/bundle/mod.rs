//! Bundles: logs, openings and lists of absences as files, enough to verify them where there is no network.
//!
//! A bundle is a directory, or the same as one uncompressed tar:
//!
//! ```text
//! manifest.json                    what is here, and under which keys
//! logs/{log_id}/checkpoint         the signed head
//! logs/{log_id}/previous           the signed head of the log before, as leaf 0 names it
//! logs/{log_id}/tile/entries/…     entry bundles, logs/{log_id}/tile/{L}/… hash tiles, paths as in c2sp.org/tlog-tiles
//! openings.ndjson                  one opening a line, ascending by (log, index)
//! absences/{record_id}             the list that a record in the log commits to
//! ```
//!
//! Kind `log` holds whole logs. Kind `selection` holds single events, each line with its entry and its proof, and no tiles.
//! Kind `archive` holds whole logs, and of the events those whose time in the database is over, in Parquet files beside the
//! openings, which are of the records only; see the backend's archive.
//! Everything here reads bytes that anybody may have made.

mod line;
mod proof;
pub mod tar;

pub use line::{LineError, MAX_LINE_LEN, OpeningLine};
pub use proof::{MAX_PROOF_LEN, ProofFile, ProofFileError};

use core::fmt;
use core::str::FromStr;
use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::event::TenantId;
use crate::leaf::ENTRY_LEN;
use crate::note::VerifierKey;
use crate::tree::{TILE_WIDTH, TileRef};

/// The first words of a manifest.
pub const FORMAT: &str = "edgetrail-bundle/v1";
/// The path of the manifest.
pub const MANIFEST: &str = "manifest.json";
/// The path of the openings.
pub const OPENINGS: &str = "openings.ndjson";
/// The folder of the lists.
pub const ABSENCES: &str = "absences";
/// The largest manifest that is read: a log takes some 400 bytes, and there is one a year.
pub const MAX_MANIFEST_LEN: usize = 1 << 20;
/// The largest list of absences that is read, in bytes: two million runs.
pub const MAX_ABSENCES_LEN: usize = 64 << 20;
/// The largest checkpoint that is read, with its cosignatures.
pub const MAX_CHECKPOINT_LEN: usize = 64 << 10;
/// An entry bundle or a tile: 256 entries of 44 bytes, or 256 hashes.
pub const MAX_TILE_LEN: usize = 256 * (2 + ENTRY_LEN);

/// Why a manifest was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ManifestError {
    /// Over [`MAX_MANIFEST_LEN`].
    #[error("manifest of {0} bytes is over the limit")]
    TooLong(usize),
    /// Not JSON of this shape.
    #[error("manifest: {0}")]
    Json(String),
    /// Another format.
    #[error("manifest: format {0:?} is not {FORMAT:?}")]
    Format(String),
    /// A log that is named twice.
    #[error("manifest: log {0} is named twice")]
    Twice(LogId),
    /// A key of another log.
    #[error("manifest: the key of log {0} is not named as its origin")]
    Key(LogId),
    /// A log that follows one that is named after it, or itself.
    #[error("manifest: log {0} does not stand after the one it follows")]
    Order(LogId),
}

/// The opaque id of a log: sixteen bytes, in lower-case hex.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct LogId(pub [u8; 16]);

impl fmt::Display for LogId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl FromStr for LogId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, &'static str> {
        let mut id = [0; 16];
        let plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte.is_ascii_lowercase());
        match hex::decode_to_slice(text, &mut id) {
            Ok(()) if plain => Ok(Self(id)),
            _ => Err("a log's id is 32 lower-case hex digits"),
        }
    }
}

impl TryFrom<String> for LogId {
    type Error = &'static str;

    fn try_from(text: String) -> Result<Self, &'static str> {
        text.parse()
    }
}

impl From<LogId> for String {
    fn from(id: LogId) -> Self {
        id.to_string()
    }
}

/// What a bundle holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// Whole logs.
    Log,
    /// Single events with their proofs.
    Selection,
    /// Whole logs, and the events that the database does not hold any more.
    Archive,
}

/// One log of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogItem {
    /// Its id.
    pub log_id: LogId,
    /// Its origin, the first line of its checkpoints.
    pub origin: String,
    /// The key that signs them, as whoever made the bundle says.
    pub key: VerifierKey,
    /// Further keys that the log names, of a rotation.
    pub others: Vec<VerifierKey>,
    /// How many entries of it are here.
    pub size: u64,
    /// The log of the year before, if this one follows another.
    pub previous: Option<LogId>,
}

/// The first file of a bundle.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manifest {
    /// What it holds.
    pub kind: Kind,
    /// Whose logs.
    pub tenant: TenantId,
    /// When it was made, RFC 3339.
    pub made_at: String,
    /// The logs, the oldest first.
    pub logs: Vec<LogItem>,
}

#[derive(Serialize, Deserialize)]
struct Written {
    format: String,
    kind: Kind,
    tenant: TenantId,
    made_at: String,
    logs: Vec<WrittenLog>,
}

#[derive(Serialize, Deserialize)]
struct WrittenLog {
    log_id: LogId,
    origin: String,
    verifier_key: String,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    verifier_keys: Vec<String>,
    size: u64,
    previous: Option<LogId>,
}

impl LogItem {
    /// Every key that the log names.
    pub fn keys(&self) -> impl Iterator<Item = &VerifierKey> {
        core::iter::once(&self.key).chain(&self.others)
    }
}

impl Manifest {
    /// Reads a manifest. Members it does not know are left aside.
    ///
    /// # Errors
    /// [`ManifestError`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, ManifestError> {
        if bytes.len() > MAX_MANIFEST_LEN {
            return Err(ManifestError::TooLong(bytes.len()));
        }
        let json = |error: &dyn fmt::Display| ManifestError::Json(error.to_string());
        let written: Written = serde_json::from_slice(bytes).map_err(|error| json(&error))?;
        if written.format != FORMAT {
            return Err(ManifestError::Format(written.format));
        }
        let mut seen = BTreeSet::new();
        let mut logs = Vec::with_capacity(written.logs.len());
        let all: BTreeSet<LogId> = written.logs.iter().map(|log| log.log_id).collect();
        for log in written.logs {
            let id = log.log_id;
            // A log that is not here at all is a finding for the verifier; one that comes later is nonsense.
            if log.previous.is_some_and(|previous| all.contains(&previous) && !seen.contains(&previous)) {
                return Err(ManifestError::Order(id));
            }
            if !seen.insert(id) {
                return Err(ManifestError::Twice(id));
            }
            let key: VerifierKey = log.verifier_key.parse().map_err(|error| json(&error))?;
            if key.name.as_str() != log.origin {
                return Err(ManifestError::Key(id));
            }
            let others =
                log.verifier_keys.iter().map(|key| key.parse()).collect::<Result<Vec<VerifierKey>, _>>();
            let others = others.map_err(|error| json(&error))?;
            if others.iter().any(|other| other.name != key.name) {
                return Err(ManifestError::Key(id));
            }
            let (size, previous) = (log.size, log.previous);
            logs.push(LogItem { log_id: id, origin: log.origin, key, others, size, previous });
        }
        Ok(Self { kind: written.kind, tenant: written.tenant, made_at: written.made_at, logs })
    }

    /// The file's text.
    pub fn to_json(&self) -> String {
        let logs = self.logs.iter().map(|log| WrittenLog {
            log_id: log.log_id,
            origin: log.origin.clone(),
            verifier_key: log.key.to_string(),
            verifier_keys: log.others.iter().map(ToString::to_string).collect(),
            size: log.size,
            previous: log.previous,
        });
        let written = Written {
            format: FORMAT.to_owned(),
            kind: self.kind,
            tenant: self.tenant.clone(),
            made_at: self.made_at.clone(),
            logs: logs.collect(),
        };
        let value = serde_json::to_value(written).unwrap_or_default();
        format!("{value:#}\n")
    }
}

/// The path of a log's checkpoint.
pub fn checkpoint_path(log: LogId) -> String {
    format!("logs/{log}/checkpoint")
}

/// The path of the head that leaf 0 of a log names, of the log before: after a restored backup it is larger than the one that
/// is left.
pub fn previous_path(log: LogId) -> String {
    format!("logs/{log}/previous")
}

/// The path of a log's tile or entry bundle.
pub fn tile_path(log: LogId, tile: TileRef) -> String {
    format!("logs/{log}/{tile}")
}

/// The path of the list that a record commits to.
pub fn absence_path(record: Uuid) -> String {
    format!("{ABSENCES}/{record}")
}

/// Every tile and entry bundle of a log of `size` entries: bundles first, then each level of hashes.
pub fn tiles_of(size: u64) -> impl Iterator<Item = TileRef> {
    let levels = core::iter::once(None).chain((0..8).map(Some));
    levels.flat_map(move |level: Option<u8>| {
        let hashes = size >> (8 * u32::from(level.unwrap_or(0)));
        (0..hashes.div_ceil(TILE_WIDTH)).map(move |index| {
            let tile = TileRef { level, index, width: 0 };
            TileRef { width: tile.width_at(size), ..tile }
        })
    })
}

/// The entries of an entry bundle; none if the bytes are not one of 42-byte entries, at most 256 of them.
pub fn entries_of(bundle: &[u8]) -> Option<Vec<&[u8; ENTRY_LEN]>> {
    let (chunks, rest) = bundle.as_chunks::<{ 2 + ENTRY_LEN }>();
    if !rest.is_empty() || chunks.len() as u64 > TILE_WIDTH {
        return None;
    }
    chunks
        .iter()
        .map(|chunk| {
            let (len, entry) = chunk.split_first_chunk::<2>()?;
            (usize::from(u16::from_be_bytes(*len)) == ENTRY_LEN).then_some(entry.first_chunk::<ENTRY_LEN>()?)
        })
        .collect()
}
