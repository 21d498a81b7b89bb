//! The header of a batch: the text of a signed note.
//!
//! ```text
//! audit-batch/v1
//! tenant acme
//! stream 6f1c…           16 random bytes in hex, one per (isolate, tenant)
//! seq 41                 per stream, from 0
//! prev 9ab3…             SHA-256 of the previous header's text in hex, zeros at seq 0
//! sent 1795400000123     milliseconds since 1970
//! count 57               events in the body
//! dropped 0              events this stream had to discard since the last batch
//! events b64             SHA-256 over the events' digests in order
//! ```

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

use super::limits::MAX_EVENTS_PER_BATCH;
use crate::event::{TenantId, Timestamp};
use crate::leaf::Hash;

/// Why a text is not a batch header.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum HeaderError {
    /// The first line is not `audit-batch/v1`.
    #[error("header does not begin with audit-batch/v1")]
    Version,
    /// A line is missing or out of order.
    #[error("header has no line {0:?} where it belongs")]
    Line(&'static str),
    /// A line's value is malformed.
    #[error("header line {line:?} is malformed: {reason}")]
    Value {
        /// Which line.
        line: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// Lines follow the last one.
    #[error("header has lines after {0:?}")]
    Trailing(&'static str),
}

/// A producer's stream: sixteen random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId(pub [u8; 16]);

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// What a producer signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Header {
    /// Whose events these are.
    pub tenant: TenantId,
    /// The producer's stream.
    pub stream: StreamId,
    /// The batch's place in the stream, from 0.
    pub seq: u64,
    /// SHA-256 of the previous header's text; zeros at seq 0.
    pub prev: Hash,
    /// When the batch was sealed.
    pub sent: Timestamp,
    /// Events in the body, at most [`MAX_EVENTS_PER_BATCH`].
    pub count: u16,
    /// Events the stream had to discard since the last batch.
    pub dropped: u64,
    /// [`events_hash`] of the body's digests.
    pub events: Hash,
}

impl Header {
    /// SHA-256 of the header's text: the `prev` of the next header and the batch's identity.
    pub fn hash(&self) -> Hash {
        Sha256::digest(self.to_string()).into()
    }
}

/// SHA-256 over digests in order.
pub fn events_hash<'a>(digests: impl IntoIterator<Item = &'a Hash>) -> Hash {
    let mut hash = Sha256::new();
    for digest in digests {
        hash.update(digest);
    }
    hash.finalize().into()
}

const VERSION: &str = "audit-batch/v1";

impl fmt::Display for Header {
    /// The note's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{VERSION}")?;
        writeln!(f, "tenant {}", self.tenant)?;
        writeln!(f, "stream {}", self.stream)?;
        writeln!(f, "seq {}", self.seq)?;
        writeln!(f, "prev {}", hex::encode(self.prev))?;
        writeln!(f, "sent {}", self.sent.millis())?;
        writeln!(f, "count {}", self.count)?;
        writeln!(f, "dropped {}", self.dropped)?;
        writeln!(f, "events {}", BASE64.encode(self.events))
    }
}

impl FromStr for Header {
    type Err = HeaderError;

    fn from_str(text: &str) -> Result<Self, HeaderError> {
        let mut lines = text.split_terminator('\n');
        if lines.next() != Some(VERSION) {
            return Err(HeaderError::Version);
        }
        let mut value = |name: &'static str| {
            lines
                .next()
                .and_then(|line| line.strip_prefix(name)?.strip_prefix(' '))
                .ok_or(HeaderError::Line(name))
        };
        let header = Self {
            tenant: value("tenant")?.parse().map_err(|error| bad("tenant", error))?,
            stream: StreamId(hex_bytes("stream", value("stream")?)?),
            seq: number("seq", value("seq")?)?,
            prev: hex_bytes("prev", value("prev")?)?,
            sent: Timestamp::try_from(number::<u64>("sent", value("sent")?)?)
                .map_err(|error| bad("sent", error))?,
            count: number("count", value("count")?)?,
            dropped: number("dropped", value("dropped")?)?,
            events: BASE64
                .decode(value("events")?)
                .ok()
                .and_then(|bytes| bytes.try_into().ok())
                .ok_or_else(|| bad("events", "not 32 bytes in base64"))?,
        };
        if lines.next().is_some() {
            return Err(HeaderError::Trailing("events"));
        }
        if header.count == 0 || usize::from(header.count) > MAX_EVENTS_PER_BATCH {
            return Err(bad("count", format_args!("not 1 to {MAX_EVENTS_PER_BATCH}")));
        }
        if header.seq == 0 && header.prev != [0; 32] {
            return Err(bad("prev", "not zeros at seq 0"));
        }
        for (line, number) in [("seq", header.seq), ("dropped", header.dropped)] {
            i64::try_from(number).map_err(|_| bad(line, "not below 2^63"))?;
        }
        Ok(header)
    }
}

fn bad(line: &'static str, reason: impl ToString) -> HeaderError {
    HeaderError::Value { line, reason: reason.to_string() }
}

fn hex_bytes<const N: usize>(line: &'static str, text: &str) -> Result<[u8; N], HeaderError> {
    let mut bytes = [0; N];
    let lower = !text.bytes().any(|byte| byte.is_ascii_uppercase());
    match hex::decode_to_slice(text, &mut bytes) {
        Ok(()) if lower => Ok(bytes),
        _ => Err(bad(line, format_args!("not {N} bytes in lower-case hex"))),
    }
}

fn number<T: FromStr + ToString>(line: &'static str, text: &str) -> Result<T, HeaderError> {
    match text.parse::<T>() {
        Ok(number) if number.to_string() == text => Ok(number),
        _ => Err(bad(line, "not a plain decimal number in range")),
    }
}
