//! C2SP signed notes: text, an empty line, signature lines (c2sp.org/signed-note).
//!
//! ```text
//! text\n
//! \n
//! — <name> base64(key id[4] | signature)\n
//! ```
//!
//! Parsing, key ids and key encodings only; signing and verifying belong to whoever holds a key, so that the Worker
//! can use the platform's own.

mod checkpoint;
mod cosignature;
mod key;

pub use checkpoint::{Checkpoint, CheckpointError};
pub use cosignature::{Cosignature, CosignerKey};
pub use key::{KeyError, KeyId, KeyName, SignerKey, VerifierKey};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

/// The largest note that is read, in bytes. A batch header needs about 500.
pub const MAX_NOTE_LEN: usize = 4096;

const SIGNATURE_PREFIX: &str = "\u{2014} ";
const ED25519_LEN: usize = 64;

/// Why bytes are not a signed note.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    /// Over the limit, which is [`MAX_NOTE_LEN`] unless the reader says otherwise.
    #[error("note of {0} bytes is over the limit")]
    TooLong(usize),
    /// Not UTF-8, or it holds a control character other than newline.
    #[error("note is not plain UTF-8 text")]
    Text,
    /// No empty line before the signatures, or no signature.
    #[error("note has no signature")]
    Unsigned,
    /// A signature line is not `— name base64`.
    #[error("signature line {0} is malformed")]
    Signature(usize),
}

/// One signature line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Signature {
    /// Who signed.
    pub name: KeyName,
    /// With which key.
    pub key_id: KeyId,
    /// The signature over the text.
    pub bytes: Vec<u8>,
}

/// A note as read. Nothing is verified yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    text: String,
    signatures: Vec<Signature>,
}

impl Note {
    /// Reads a note.
    ///
    /// # Errors
    /// [`NoteError`] says what is wrong with it.
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        Self::parse_within(bytes, MAX_NOTE_LEN)
    }

    /// Reads a note of at most `limit` bytes.
    ///
    /// # Errors
    /// [`NoteError`] says what is wrong with it.
    #[inline]
    pub fn parse_within(bytes: &[u8], limit: usize) -> Result<Self, NoteError> {
        if bytes.len() > limit {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let note = core::str::from_utf8(bytes).map_err(|_| NoteError::Text)?;
        if note.chars().any(|char| char < ' ' && char != '\n') {
            return Err(NoteError::Text);
        }
        let split = note.rfind("\n\n").ok_or(NoteError::Unsigned)?;
        let (text, lines) = (&note[..=split], &note[split + 2..]);
        let lines = lines.strip_suffix('\n').ok_or(NoteError::Unsigned)?;
        let signatures = lines
            .split('\n')
            .enumerate()
            .map(|(at, line)| parse_signature(line).ok_or(NoteError::Signature(at + 1)))
            .collect::<Result<_, _>>()?;
        Ok(Self { text: text.to_owned(), signatures })
    }

    /// The signed text, with its last newline.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// The signatures, in order.
    pub fn signatures(&self) -> &[Signature] {
        &self.signatures
    }
}

/// A note of this text with one signature.
pub fn assemble(text: &str, name: &KeyName, key_id: KeyId, signature: &[u8; ED25519_LEN]) -> String {
    format!("{text}\n{}", signature_line(name, key_id, signature))
}

/// One signature line, as a note may carry several. A cosignature is longer than a signature of the log.
pub fn signature_line(name: &KeyName, key_id: KeyId, signature: &[u8]) -> String {
    let bytes = [&key_id.0, signature].concat();
    format!("{SIGNATURE_PREFIX}{name} {}\n", BASE64.encode(bytes))
}

fn parse_signature(line: &str) -> Option<Signature> {
    let (name, encoded) = line.strip_prefix(SIGNATURE_PREFIX)?.split_once(' ')?;
    let name = KeyName::try_from(name.to_owned()).ok()?;
    let bytes = BASE64.decode(encoded).ok()?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    (!signature.is_empty()).then(|| Signature { name, key_id: KeyId(*key_id), bytes: signature.to_vec() })
}
