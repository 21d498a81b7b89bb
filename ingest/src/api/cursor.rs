//! Where a reader goes on: opaque, and good for the search and the tenant that it was given for and for nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::DateTime;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shared::event::{TenantId, Timestamp};
use uuid::Uuid;

use crate::store::search::Position;

/// Bytes of the signature that are kept.
const TAG_LEN: usize = 16;

/// Signs cursors and reads them.
#[derive(Clone)]
pub struct Cursors(Hmac<Sha256>);

impl std::fmt::Debug for Cursors {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cursors(..)")
    }
}

/// What a cursor says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cursor {
    /// The time of the first page, from which relative times count on every page.
    pub(super) now: Timestamp,
    /// The last event that was given.
    pub(super) after: Position,
}

impl Cursors {
    /// Cursors under a key of this server.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// The cursor as text. `of` is what it is good for: the endpoint and the canonical search.
    pub(super) fn sign(&self, tenant: &TenantId, of: &str, cursor: Cursor) -> String {
        let mut bytes = cursor.now.millis().to_be_bytes().to_vec();
        bytes.extend_from_slice(&cursor.after.filed_at.timestamp_micros().to_be_bytes());
        bytes.extend_from_slice(cursor.after.id.as_bytes());
        let tag = self.mac(tenant, of, &bytes).finalize().into_bytes();
        bytes.extend_from_slice(&tag[..TAG_LEN]);
        URL_SAFE_NO_PAD.encode(bytes)
    }

    /// What a text says, if it was signed for this.
    pub(super) fn read(&self, tenant: &TenantId, of: &str, text: &str) -> Option<Cursor> {
        let bytes = URL_SAFE_NO_PAD.decode(text).ok()?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_LEN)?)?;
        self.mac(tenant, of, signed).verify_truncated_left(tag).ok()?;
        let (now, rest) = signed.split_first_chunk::<8>()?;
        let (micros, id) = rest.split_first_chunk::<8>()?;
        Some(Cursor {
            now: Timestamp::try_from(u64::from_be_bytes(*now)).ok()?,
            after: Position {
                filed_at: DateTime::from_timestamp_micros(i64::from_be_bytes(*micros))?,
                id: Uuid::from_slice(id).ok()?,
            },
        })
    }

    fn mac(&self, tenant: &TenantId, of: &str, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        // Neither a slug nor a search holds a NUL.
        for part in [tenant.as_str(), of] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        mac.update(signed);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_is_good_for_its_own_search_and_tenant_alone() {
        let cursors = Cursors::new(&[7; 32]);
        let tenant = |slug: &str| slug.parse::<TenantId>().expect("a slug");
        let filed_at = DateTime::from_timestamp_micros(1_795_400_000_123_456).expect("a time");
        let cursor = Cursor {
            now: Timestamp::try_from(5).expect("a time"),
            after: Position { filed_at, id: Uuid::from_u128(7) },
        };
        let text = cursors.sign(&tenant("demo"), "events x", cursor);
        assert_eq!(cursors.read(&tenant("demo"), "events x", &text), Some(cursor));
        assert_eq!(cursors.read(&tenant("other"), "events x", &text), None);
        assert_eq!(cursors.read(&tenant("demo"), "events y", &text), None);
        assert_eq!(Cursors::new(&[8; 32]).read(&tenant("demo"), "events x", &text), None);
        for at in 0..text.len() {
            let mut changed = text.clone().into_bytes();
            changed[at] = if changed[at] == b'A' { b'B' } else { b'A' };
            let changed = String::from_utf8(changed).expect("ASCII");
            assert_eq!(cursors.read(&tenant("demo"), "events x", &changed), None, "{at}");
        }
        for text in ["", "x", "AAAA", &"A".repeat(64), "é"] {
            assert_eq!(cursors.read(&tenant("demo"), "events x", text), None);
        }
    }
}
