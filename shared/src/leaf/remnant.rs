//! What is left of an opening once fields are erased: the leaf stands as it was, the values are gone.
//!
//! ```text
//! remnant = 0x02 | n u8 | n x part                                            tags strictly ascending
//! part    = tag u16be | 0x00 | commitment[32]                                 erased
//!         | tag u16be | type u8 | salt[16] | len u32be | value                kept
//! ```
//!
//! The seed goes with the first erased field: salts derive from it, and with the salt of an erased field its value could
//! be guessed against the commitment that stays. Kept fields carry their salts instead.

use super::opening::{OpeningError, take};
use super::{Field, FieldKind, Hash, Opening, Salts, Tag, commit, digest_of_commitments};

/// One field of a [`Remnant`].
#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    Kept(Field, [u8; 16]),
    Erased(Tag, Hash),
}

impl Part {
    fn tag(&self) -> Tag {
        match self {
            Self::Kept(field, _) => field.tag,
            Self::Erased(tag, _) => *tag,
        }
    }

    fn commitment(&self) -> Hash {
        match self {
            Self::Kept(field, salt) => commit(salt, field),
            Self::Erased(_, commitment) => *commitment,
        }
    }

    fn erased(&self) -> Self {
        Self::Erased(self.tag(), self.commitment())
    }
}

/// An opening of which some fields are erased. Its digest is the one that the event always had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Remnant {
    parts: Vec<Part>,
}

const VERSION: u8 = 2;
const ERASED: u8 = 0;

impl Remnant {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = vec![VERSION, u8::try_from(self.parts.len()).expect("no more than the opening had")];
        for part in &self.parts {
            bytes.extend_from_slice(&part.tag().number().to_be_bytes());
            match part {
                Part::Erased(_, commitment) => {
                    bytes.push(ERASED);
                    bytes.extend_from_slice(commitment);
                }
                Part::Kept(field, salt) => {
                    let len = u32::try_from(field.value.len()).expect("fields are capped far below 4 GiB");
                    bytes.push(field.kind.byte());
                    bytes.extend_from_slice(salt);
                    bytes.extend_from_slice(&len.to_be_bytes());
                    bytes.extend_from_slice(&field.value);
                }
            }
        }
        bytes
    }

    fn decode(bytes: &[u8]) -> Result<Self, OpeningError> {
        let mut rest = bytes.get(1..).ok_or(OpeningError::Cut("version"))?;
        let count = take::<1>(&mut rest, "field count")?[0];
        let mut parts: Vec<Part> = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let tag = Tag::from_number(u16::from_be_bytes(take(&mut rest, "tag")?));
            if parts.last().is_some_and(|last| last.tag() >= tag) {
                return Err(OpeningError::Order(tag.number()));
            }
            let kind = take::<1>(&mut rest, "type")?[0];
            if kind == ERASED {
                parts.push(Part::Erased(tag, take(&mut rest, "commitment")?));
                continue;
            }
            let kind = FieldKind::from_byte(kind).ok_or(OpeningError::Kind { tag: tag.number(), kind })?;
            let salt = take(&mut rest, "salt")?;
            let len = u32::from_be_bytes(take(&mut rest, "length")?);
            let len = usize::try_from(len).map_err(|_| OpeningError::Cut("value"))?;
            let (value, after) = rest.split_at_checked(len).ok_or(OpeningError::Cut("value"))?;
            rest = after;
            parts.push(Part::Kept(Field { tag, kind, value: value.to_vec() }, salt));
        }
        if rest.is_empty() { Ok(Self { parts }) } else { Err(OpeningError::Trailing(rest.len())) }
    }
}

/// What a store holds of an event: all of it, or what erasure left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoredOpening {
    /// As it came.
    Whole(Opening),
    /// With fields erased.
    Remnant(Remnant),
}

impl StoredOpening {
    /// Reads either form.
    ///
    /// # Errors
    /// [`OpeningError`] says what is wrong with the bytes.
    pub fn decode(bytes: &[u8]) -> Result<Self, OpeningError> {
        match bytes.first() {
            Some(&VERSION) => Remnant::decode(bytes).map(Self::Remnant),
            _ => Opening::decode(bytes).map(Self::Whole),
        }
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        match self {
            Self::Whole(opening) => opening.encode(),
            Self::Remnant(remnant) => remnant.encode(),
        }
    }

    /// The event's digest; erasure does not change it.
    pub fn digest(&self) -> Hash {
        match self {
            Self::Whole(opening) => super::digest(opening),
            Self::Remnant(remnant) => {
                let parts = remnant.parts.iter();
                digest_of_commitments(&parts.map(|part| (part.tag(), part.commitment())).collect::<Vec<_>>())
            }
        }
    }

    /// The fields that are there, tags ascending.
    pub fn fields(&self) -> Vec<&Field> {
        match self {
            Self::Whole(opening) => opening.fields().iter().collect(),
            Self::Remnant(remnant) => remnant
                .parts
                .iter()
                .filter_map(|part| match part {
                    Part::Kept(field, _) => Some(field),
                    Part::Erased(..) => None,
                })
                .collect(),
        }
    }

    /// The fields that were erased, tags ascending.
    pub fn erased(&self) -> Vec<Tag> {
        match self {
            Self::Whole(_) => Vec::new(),
            Self::Remnant(remnant) => {
                let erased = remnant.parts.iter().filter(|part| matches!(part, Part::Erased(..)));
                erased.map(Part::tag).collect()
            }
        }
    }

    /// The same with these fields erased: value, salt and seed are gone. Structural fields stay whatever is asked for.
    /// None if there is nothing to erase.
    pub fn erase(&self, tags: &[Tag]) -> Option<Remnant> {
        let wanted = |tag: Tag| tag.is_erasable() && tags.contains(&tag);
        if !self.fields().iter().any(|field| wanted(field.tag)) {
            return None;
        }
        let parts: Vec<Part> = match self {
            Self::Whole(opening) => {
                let salts = Salts::of(opening.seed());
                let fields = opening.fields().iter();
                fields.map(|field| Part::Kept(field.clone(), salts.salt(field.tag))).collect()
            }
            Self::Remnant(remnant) => remnant.parts.clone(),
        };
        let parts = parts.into_iter().map(|part| if wanted(part.tag()) { part.erased() } else { part });
        Some(Remnant { parts: parts.collect() })
    }
}
