//! A stored opening read in place: its digest, and what a verifier looks at, without a copy of any value.
//!
//! Whoever verifies a log does this for every event of seven years. The salts' keyed states are worked out once for each
//! event and every hash runs over whole blocks, which is twice as fast as [`StoredOpening::decode`](super::StoredOpening)
//! and [`digest`](super::digest) and gives the same.

use sha2::block_api::compress256;

use super::opening::{FieldKind, OpeningError, take};
use super::{EVENT_DOMAIN, FIELD_DOMAIN, Hash, Tag};

type Block = [u8; 64];

const INITIAL: [u32; 8] =
    [0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19];
const WHOLE: u8 = 1;
const REMNANT: u8 = 2;
const ERASED: u8 = 0;
/// Domain, tag, salt, type and length before a value.
const FIELD_HEAD: usize = 15 + 2 + 16 + 1 + 4;

/// What a look at a stored opening shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Glance<'a> {
    /// The event's digest.
    pub digest: Hash,
    /// The fields whose values are there, tags ascending.
    pub present: Vec<Tag>,
    /// The fields that were erased, tags ascending.
    pub erased: Vec<Tag>,
    structure: Option<&'a [u8]>,
}

impl<'a> Glance<'a> {
    /// Looks at either form of a stored opening.
    ///
    /// # Errors
    /// [`OpeningError`], the same as reading it.
    pub fn at(bytes: &'a [u8]) -> Result<Self, OpeningError> {
        let mut rest = bytes;
        let version = take::<1>(&mut rest, "version")?[0];
        let salts = match version {
            WHOLE => Some(KeyedStates::of(&take::<32>(&mut rest, "seed")?)),
            REMNANT => None,
            _ => return Err(OpeningError::Version(version)),
        };
        let count = take::<1>(&mut rest, "field count")?[0];
        let mut glance =
            Self { digest: [0; 32], present: Vec::with_capacity(12), erased: Vec::new(), structure: None };
        let mut preimage = Vec::with_capacity(17 + 34 * usize::from(count));
        preimage.extend_from_slice(EVENT_DOMAIN);
        preimage.extend_from_slice(&u16::from(count).to_be_bytes());
        let mut last = None;
        for _ in 0..count {
            let tag = Tag::from_number(u16::from_be_bytes(take(&mut rest, "tag")?));
            if last.is_some_and(|last| last >= tag) {
                return Err(OpeningError::Order(tag.number()));
            }
            last = Some(tag);
            let kind = take::<1>(&mut rest, "type")?[0];
            let commitment = if kind == ERASED && salts.is_none() {
                glance.erased.push(tag);
                take(&mut rest, "commitment")?
            } else {
                FieldKind::from_byte(kind).ok_or(OpeningError::Kind { tag: tag.number(), kind })?;
                let salt = match &salts {
                    Some(states) => states.salt(tag),
                    None => take(&mut rest, "salt")?,
                };
                let len = take(&mut rest, "length")?;
                let wanted =
                    usize::try_from(u32::from_be_bytes(len)).map_err(|_| OpeningError::Cut("value"))?;
                let (value, after) = rest.split_at_checked(wanted).ok_or(OpeningError::Cut("value"))?;
                rest = after;
                if tag == Tag::STRUCTURE {
                    glance.structure = Some(value);
                }
                glance.present.push(tag);
                commitment(tag, &salt, kind, len, value)
            };
            preimage.extend_from_slice(&tag.number().to_be_bytes());
            preimage.extend_from_slice(&commitment);
        }
        if !rest.is_empty() {
            return Err(OpeningError::Trailing(rest.len()));
        }
        glance.digest = sha256(&[], &preimage);
        Ok(glance)
    }

    /// A part of the structural record, by its number in the table of [`crate::event`]'s records.
    pub fn structural(&self, number: u8) -> Option<&'a [u8]> {
        let mut rest = self.structure?;
        loop {
            let ([part, high, low], after) = rest.split_first_chunk::<3>()?;
            let (value, after) = after.split_at_checked(usize::from(u16::from_be_bytes([*high, *low])))?;
            if *part == number {
                return Some(value);
            }
            rest = after;
        }
    }
}

fn commitment(tag: Tag, salt: &[u8; 16], kind: u8, len: [u8; 4], value: &[u8]) -> Hash {
    let mut head = [0; FIELD_HEAD];
    head[..15].copy_from_slice(FIELD_DOMAIN);
    head[15..17].copy_from_slice(&tag.number().to_be_bytes());
    head[17..33].copy_from_slice(salt);
    head[33] = kind;
    head[34..].copy_from_slice(&len);
    sha256(&head, value)
}

/// The two states of HMAC after its key.
struct KeyedStates {
    inner: [u32; 8],
    outer: [u32; 8],
}

impl KeyedStates {
    fn of(key: &[u8; 32]) -> Self {
        let state = |pad: u8| {
            let mut block: Block = [pad; 64];
            for (byte, key) in block.iter_mut().zip(key) {
                *byte ^= key;
            }
            let mut state = INITIAL;
            compress256(&mut state, &[block]);
            state
        };
        Self { inner: state(0x36), outer: state(0x5c) }
    }

    fn salt(&self, tag: Tag) -> [u8; 16] {
        let mut inner = self.inner;
        compress256(&mut inner, &[last_block(&tag.number().to_be_bytes(), 64 + 2)]);
        let mut outer = self.outer;
        compress256(&mut outer, &[last_block(&to_bytes(&inner), 64 + 32)]);
        let full = to_bytes(&outer);
        let mut salt = [0; 16];
        salt.copy_from_slice(&full[..16]);
        salt
    }
}

/// SHA-256 of a head of less than a block and what follows it.
fn sha256(head: &[u8], tail: &[u8]) -> Hash {
    let total = head.len() + tail.len();
    let mut state = INITIAL;
    let mut tail = tail;
    let mut rest: &[u8] = head;
    let mut first: Block = [0; 64];
    if total >= 64 && !head.is_empty() {
        let (now, after) = tail.split_at(64 - head.len());
        first[..head.len()].copy_from_slice(head);
        first[head.len()..].copy_from_slice(now);
        compress256(&mut state, &[first]);
        (rest, tail) = (&[], after);
    }
    if rest.is_empty() {
        let (blocks, after) = tail.as_chunks::<64>();
        compress256(&mut state, blocks);
        tail = after;
    }
    let mut end = [0; 64];
    let len = rest.len() + tail.len();
    end[..rest.len()].copy_from_slice(rest);
    end[rest.len()..len].copy_from_slice(tail);
    if len < 56 {
        compress256(&mut state, &[last_block(&end[..len], total)]);
    } else {
        end[len] = 0x80;
        let mut padding: Block = [0; 64];
        padding[56..].copy_from_slice(&bits(total));
        compress256(&mut state, &[end, padding]);
    }
    to_bytes(&state)
}

/// The last bytes of a message of `total` bytes, under 56 of them, with the padding.
fn last_block(bytes: &[u8], total: usize) -> Block {
    let mut block = [0; 64];
    block[..bytes.len()].copy_from_slice(bytes);
    block[bytes.len()] = 0x80;
    block[56..].copy_from_slice(&bits(total));
    block
}

fn bits(bytes: usize) -> [u8; 8] {
    (bytes as u64 * 8).to_be_bytes()
}

fn to_bytes(state: &[u32; 8]) -> Hash {
    let mut bytes = [0; 32];
    for (four, word) in bytes.chunks_exact_mut(4).zip(state) {
        four.copy_from_slice(&word.to_be_bytes());
    }
    bytes
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;
    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::leaf::{Field, Opening, Salts, Seed, StoredOpening};

    proptest! {
        #[test]
        fn hashes_over_whole_blocks_are_those_of_sha256(head in vec(any::<u8>(), 0..56), tail in vec(any::<u8>(), 0..300)) {
            prop_assert_eq!(sha256(&head, &tail), <[u8; 32]>::from(Sha256::digest([head, tail].concat())));
        }

        #[test]
        fn salts_are_those_of_hmac(seed in any::<[u8; 32]>(), tag in any::<u16>()) {
            let tag = Tag::from_number(tag);
            prop_assert_eq!(KeyedStates::of(&seed).salt(tag), Salts::of(&Seed(seed)).salt(tag));
        }

        #[test]
        fn a_glance_shows_what_reading_shows(
            seed in any::<[u8; 32]>(),
            values in proptest::collection::btree_map(prop_oneof![Just(1_u16), 0x8001_u16..0x800c], vec(any::<u8>(), 0..200), 0..10),
            erase in vec(0x8001_u16..0x800c, 0..4), damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())),
        ) {
            let fields = values.into_iter().map(|(tag, value)| Field { tag: Tag::from_number(tag), kind: FieldKind::Text, value });
            let stored = StoredOpening::Whole(Opening::new(Seed(seed), fields.collect()));
            let tags: Vec<Tag> = erase.into_iter().map(Tag::from_number).collect();
            let stored = stored.erase(&tags).map_or(stored, StoredOpening::Remnant);
            let mut bytes = stored.encode();
            if let Some((at, to)) = damage {
                let at = at.index(bytes.len());
                bytes[at] = to;
            }
            match (StoredOpening::decode(&bytes), Glance::at(&bytes)) {
                (Ok(read), Ok(glance)) => {
                    prop_assert_eq!(glance.digest, read.digest());
                    prop_assert_eq!(glance.erased, read.erased());
                    let present: Vec<Tag> = read.fields().iter().map(|field| field.tag).collect();
                    prop_assert_eq!(glance.present, present);
                }
                (read, glance) => prop_assert_eq!(read.map(|_| ()), glance.map(|_| ())),
            }
        }
    }
}
