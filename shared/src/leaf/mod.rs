//! The leaf format: salted commitments to an event's fields, its digest, and the 42-byte log entry.
//!
//! ```text
//! commit = SHA256("audit/field/v1\0" | tag u16be | salt[16] | type u8 | len u32be | value)
//! digest = SHA256("audit/event/v1\0" | n u16be | n x (tag u16be | commit[32]))   tags strictly ascending
//! entry  = 0x01 | class u8 | received_ms u64be | digest[32]                      42 bytes
//! leaf   = SHA256(0x00 | entry)                                                  RFC 6962, section 2.1
//! salt   = HMAC-SHA256(seed[32], tag u16be)[..16]                                one random seed per event
//! ```
//!
//! The entry is public to witnesses and carries no personal data; the values and the seed, the [`Opening`], live
//! elsewhere and can be erased without touching the entry. All fields are salted, also those with few possible
//! values. Type and length stand inside the hash, so no two different fields share a preimage.

mod glance;
mod opening;
mod remnant;
mod tag;

pub use glance::Glance;
pub use opening::{Field, FieldKind, Opening, OpeningError};
pub use remnant::{Remnant, StoredOpening};
pub use tag::Tag;

use hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest as _, Sha256};

use crate::event::RetentionClass;

/// A SHA-256 value.
pub type Hash = [u8; 32];

/// The random seed of an event, from which the salts of its fields derive.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Seed(pub [u8; 32]);

impl core::fmt::Debug for Seed {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str("Seed(..)")
    }
}

/// The length of a log entry in bytes.
pub const ENTRY_LEN: usize = 42;

const FIELD_DOMAIN: &[u8] = b"audit/field/v1\0";
const EVENT_DOMAIN: &[u8] = b"audit/event/v1\0";
const ENTRY_VERSION: u8 = 1;

/// The salts of one event's fields: the seed is worked into the hash once for all of them.
#[derive(Debug)]
pub struct Salts(Hmac<Sha256>);

impl Salts {
    /// The salts that derive from a seed.
    pub fn of(seed: &Seed) -> Self {
        Self(Hmac::new_from_slice(&seed.0).expect("HMAC takes keys of any length"))
    }

    /// The salt of a field.
    pub fn salt(&self, tag: Tag) -> [u8; 16] {
        let mut mac = self.0.clone();
        mac.update(&tag.number().to_be_bytes());
        let full = mac.finalize().into_bytes();
        let mut salt = [0; 16];
        salt.copy_from_slice(&full[..16]);
        salt
    }
}

/// The commitment to one field.
pub fn commit(salt: &[u8; 16], field: &Field) -> Hash {
    let len = u32::try_from(field.value.len()).expect("fields are capped far below 4 GiB");
    let mut hash = Sha256::new();
    hash.update(FIELD_DOMAIN);
    hash.update(field.tag.number().to_be_bytes());
    hash.update(salt);
    hash.update([field.kind.byte()]);
    hash.update(len.to_be_bytes());
    hash.update(&field.value);
    hash.finalize().into()
}

/// The digest of an event from its fields' commitments, tags strictly ascending.
pub fn digest_of_commitments(commitments: &[(Tag, Hash)]) -> Hash {
    debug_assert!(commitments.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let count = u16::try_from(commitments.len()).expect("an event has about ten fields");
    let mut hash = Sha256::new();
    hash.update(EVENT_DOMAIN);
    hash.update(count.to_be_bytes());
    for (tag, commitment) in commitments {
        hash.update(tag.number().to_be_bytes());
        hash.update(commitment);
    }
    hash.finalize().into()
}

/// The digest of an event.
pub fn digest(opening: &Opening) -> Hash {
    let salts = Salts::of(opening.seed());
    let commitments: Vec<_> =
        opening.fields().iter().map(|field| (field.tag, commit(&salts.salt(field.tag), field))).collect();
    digest_of_commitments(&commitments)
}

/// The log entry of an event.
pub fn entry(class: RetentionClass, received_ms: u64, digest: &Hash) -> [u8; ENTRY_LEN] {
    let mut entry = [0; ENTRY_LEN];
    entry[0] = ENTRY_VERSION;
    entry[1] = class.byte();
    entry[2..10].copy_from_slice(&received_ms.to_be_bytes());
    entry[10..].copy_from_slice(digest);
    entry
}
