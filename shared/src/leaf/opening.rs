//! The opening of an event: its seed and field values, in the exact bytes that are committed to.
//!
//! ```text
//! opening = 0x01 | seed[32] | n u8 | n x (tag u16be | type u8 | len u32be | value)
//! ```

use super::{Seed, Tag};

/// A field's value and how to read it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Field {
    /// Which field.
    pub tag: Tag,
    /// How to read the value.
    pub kind: FieldKind,
    /// The committed bytes.
    pub value: Vec<u8>,
}

/// How a field's value is to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldKind {
    /// UTF-8 text.
    Text,
    /// JSON text, serialised once by the producer.
    Json,
    /// A record of tagged parts.
    Record,
}

impl FieldKind {
    /// The type byte inside the commitment.
    pub fn byte(self) -> u8 {
        match self {
            Self::Text => 1,
            Self::Json => 2,
            Self::Record => 3,
        }
    }

    pub(super) fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Self::Text),
            2 => Some(Self::Json),
            3 => Some(Self::Record),
            _ => None,
        }
    }
}

/// Why bytes are not an opening.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OpeningError {
    /// The bytes end inside `part`.
    #[error("event ends inside its {0}")]
    Cut(&'static str),
    /// Bytes follow the last field.
    #[error("{0} bytes follow the last field")]
    Trailing(usize),
    /// A version this build does not know.
    #[error("opening version {0} is unknown")]
    Version(u8),
    /// A type byte this build does not know.
    #[error("field {tag:#06x} has unknown type {kind}")]
    Kind {
        /// The field.
        tag: u16,
        /// Its type byte.
        kind: u8,
    },
    /// Tags are not strictly ascending.
    #[error("field {0:#06x} is out of order or repeated")]
    Order(u16),
}

/// The seed and fields of an event, tags strictly ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Opening {
    seed: Seed,
    fields: Vec<Field>,
}

const VERSION: u8 = 1;

impl Opening {
    /// An opening from fields in any order.
    ///
    /// # Panics
    /// If a tag repeats or there are more than 255 fields: both are mistakes of the program, not of input.
    pub fn new(seed: Seed, mut fields: Vec<Field>) -> Self {
        fields.sort_by_key(|field| field.tag);
        assert!(fields.windows(2).all(|pair| pair[0].tag < pair[1].tag), "a tag repeats");
        assert!(fields.len() <= 255, "an event has about ten fields");
        Self { seed, fields }
    }

    /// The seed.
    pub fn seed(&self) -> &Seed {
        &self.seed
    }

    /// The fields, tags ascending.
    pub fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// The field with this tag.
    pub fn field(&self, tag: Tag) -> Option<&Field> {
        self.fields.binary_search_by_key(&tag, |field| field.tag).ok().map(|at| &self.fields[at])
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let values: usize = self.fields.iter().map(|field| 7 + field.value.len()).sum();
        let mut bytes = Vec::with_capacity(34 + values);
        bytes.push(VERSION);
        bytes.extend_from_slice(&self.seed.0);
        bytes.push(u8::try_from(self.fields.len()).expect("checked when built"));
        for field in &self.fields {
            let len = u32::try_from(field.value.len()).expect("fields are capped far below 4 GiB");
            bytes.extend_from_slice(&field.tag.number().to_be_bytes());
            bytes.push(field.kind.byte());
            bytes.extend_from_slice(&len.to_be_bytes());
            bytes.extend_from_slice(&field.value);
        }
        bytes
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`OpeningError`] says what is wrong with them.
    pub fn decode(bytes: &[u8]) -> Result<Self, OpeningError> {
        let mut rest = bytes;
        let version = take::<1>(&mut rest, "version")?[0];
        if version != VERSION {
            return Err(OpeningError::Version(version));
        }
        let seed = Seed(take::<32>(&mut rest, "seed")?);
        let count = take::<1>(&mut rest, "field count")?[0];
        let mut fields: Vec<Field> = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let tag = Tag::from_number(u16::from_be_bytes(take(&mut rest, "tag")?));
            if fields.last().is_some_and(|last| last.tag >= tag) {
                return Err(OpeningError::Order(tag.number()));
            }
            let kind = take::<1>(&mut rest, "type")?[0];
            let kind = FieldKind::from_byte(kind).ok_or(OpeningError::Kind { tag: tag.number(), kind })?;
            let len = u32::from_be_bytes(take(&mut rest, "length")?);
            let len = usize::try_from(len).map_err(|_| OpeningError::Cut("value"))?;
            let (value, after) = rest.split_at_checked(len).ok_or(OpeningError::Cut("value"))?;
            rest = after;
            fields.push(Field { tag, kind, value: value.to_vec() });
        }
        if rest.is_empty() { Ok(Self { seed, fields }) } else { Err(OpeningError::Trailing(rest.len())) }
    }
}

pub(super) fn take<const N: usize>(rest: &mut &[u8], part: &'static str) -> Result<[u8; N], OpeningError> {
    let (head, after) = rest.split_first_chunk::<N>().ok_or(OpeningError::Cut(part))?;
    *rest = after;
    Ok(*head)
}
