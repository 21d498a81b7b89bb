//! Proofs that stand alone (c2sp.org/tlog-proof): index, hashes, and the signed checkpoint that they lead to.

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use super::MAX_CHECKPOINT_LEN;
use crate::leaf::Hash;
use crate::note::{Checkpoint, CheckpointError, Note, NoteError};
use crate::tree::{ProofError, verify_inclusion};

/// The largest proof file that is read: 64 hashes, the checkpoint, and extra data that nobody here looks at.
pub const MAX_PROOF_LEN: usize = MAX_CHECKPOINT_LEN + 8 * 1024;

const HEAD: &str = "c2sp.org/tlog-proof@v1";
/// A tree of 2^64 leaves is that high.
const MAX_HASHES: usize = 64;

/// Why a text is not a proof file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProofFileError {
    /// Over [`MAX_PROOF_LEN`].
    #[error("proof of {0} bytes is over the limit")]
    TooLong(usize),
    /// Another format.
    #[error("the first line is not {HEAD}")]
    Head,
    /// A line that is not what it should be.
    #[error("line {0} is malformed")]
    Line(usize),
    /// The checkpoint's note.
    #[error("checkpoint: {0}")]
    Note(#[from] NoteError),
    /// The checkpoint's text.
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
}

/// A proof file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProofFile {
    /// Application data that no signature covers.
    pub extra: Option<Vec<u8>>,
    /// The leaf's index.
    pub index: u64,
    /// From the leaf's sibling up.
    pub hashes: Vec<Hash>,
    /// The signed checkpoint, verbatim.
    pub checkpoint: String,
}

impl ProofFile {
    /// The checkpoint as a note.
    ///
    /// # Errors
    /// If it is none.
    pub fn note(&self) -> Result<Note, NoteError> {
        Note::parse_within(self.checkpoint.as_bytes(), MAX_CHECKPOINT_LEN)
    }

    /// Checks that the entry is the proven leaf of the tree that the checkpoint signs. The signature is another matter.
    ///
    /// # Errors
    /// [`ProofError`] says why it does not hold.
    pub fn verify(&self, entry: &[u8], head: &Checkpoint) -> Result<(), ProofError> {
        verify_inclusion(entry, self.index, head.size, &self.hashes, &head.root)
    }
}

impl fmt::Display for ProofFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{HEAD}")?;
        if let Some(extra) = &self.extra {
            writeln!(f, "extra {}", BASE64.encode(extra))?;
        }
        writeln!(f, "index {}", self.index)?;
        for hash in &self.hashes {
            writeln!(f, "{}", BASE64.encode(hash))?;
        }
        write!(f, "\n{}", self.checkpoint)
    }
}

impl FromStr for ProofFile {
    type Err = ProofFileError;

    fn from_str(text: &str) -> Result<Self, ProofFileError> {
        if text.len() > MAX_PROOF_LEN {
            return Err(ProofFileError::TooLong(text.len()));
        }
        let mut rest =
            text.strip_prefix(HEAD).and_then(|rest| rest.strip_prefix('\n')).ok_or(ProofFileError::Head)?;
        let mut number = 1;
        let mut next = |rest: &mut &str| {
            number += 1;
            let (line, after) = rest.split_once('\n').ok_or(ProofFileError::Line(number))?;
            let line = line.to_owned();
            *rest = &rest[rest.len() - after.len()..];
            Ok::<_, ProofFileError>((line, number))
        };
        let (mut line, mut at) = next(&mut rest)?;
        let mut extra = None;
        if let Some(data) = line.strip_prefix("extra ") {
            extra = Some(BASE64.decode(data).map_err(|_| ProofFileError::Line(at))?);
            (line, at) = next(&mut rest)?;
        }
        let index = line
            .strip_prefix("index ")
            .and_then(|text| text.parse::<u64>().ok().filter(|index| index.to_string() == text))
            .ok_or(ProofFileError::Line(at))?;
        let mut hashes = Vec::new();
        loop {
            let (line, at) = next(&mut rest)?;
            if line.is_empty() {
                break;
            }
            let hash = BASE64.decode(&line).ok().and_then(|hash| Hash::try_from(hash).ok());
            hashes.push(hash.filter(|_| hashes.len() < MAX_HASHES).ok_or(ProofFileError::Line(at))?);
        }
        let proof = Self { extra, index, hashes, checkpoint: rest.to_owned() };
        proof.note()?.text().parse::<Checkpoint>()?;
        Ok(proof)
    }
}
