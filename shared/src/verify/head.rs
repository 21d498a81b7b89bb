//! Signed heads: whose signature, and does it hold.

use ed25519_dalek::{Signature, VerifyingKey};

use super::report::Kind;
use crate::bundle::{LogItem, MAX_CHECKPOINT_LEN};
use crate::note::{Checkpoint, Note, VerifierKey};

/// A head that somebody kept: what the log must continue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KnownHead {
    /// Where it comes from, for messages.
    pub name: String,
    /// The head.
    pub checkpoint: Checkpoint,
    note: Note,
}

impl KnownHead {
    /// Reads a signed checkpoint. Whoever kept it vouches for it: its signature is not needed to believe it.
    ///
    /// # Errors
    /// In words.
    pub fn read(name: &str, bytes: &[u8]) -> Result<Self, String> {
        let (note, checkpoint) = read(bytes)?;
        Ok(Self { name: name.to_owned(), checkpoint, note })
    }

    /// What a tree is that is another one at this size, and in words.
    pub(super) fn other_tree(&self, item: &LogItem) -> (Kind, String) {
        let words =
            format!("its first {} entries are not those that {} signs", self.checkpoint.size, self.name);
        if self.is_signed_by(item) {
            (Kind::Forked, words)
        } else {
            (Kind::ReChained, format!("{words}, and the key is another: all of it was made anew"))
        }
    }

    /// Whether a key that the log names signed it.
    pub fn is_signed_by(&self, item: &LogItem) -> bool {
        item.keys().any(|key| signature(&self.note, key) == Signed::Holds)
    }
}

/// What a verifier trusts besides the bundle itself.
#[derive(Debug, Clone, Default)]
pub struct Trust {
    /// Keys of logs. Without any, the key in the bundle is taken at its word.
    pub keys: Vec<VerifierKey>,
    /// Heads seen before.
    pub heads: Vec<KnownHead>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Signed {
    Holds,
    Fails,
    Absent,
}

pub(super) fn read(bytes: &[u8]) -> Result<(Note, Checkpoint), String> {
    let note = Note::parse_within(bytes, MAX_CHECKPOINT_LEN).map_err(|error| error.to_string())?;
    let checkpoint = note.text().parse().map_err(|error: crate::note::CheckpointError| error.to_string())?;
    Ok((note, checkpoint))
}

fn signature(note: &Note, key: &VerifierKey) -> Signed {
    let id = key.id();
    let mut found = Signed::Absent;
    for line in note.signatures().iter().filter(|line| line.name == key.name && line.key_id == id) {
        let holds = VerifyingKey::from_bytes(&key.public).ok().zip(Signature::from_slice(&line.bytes).ok());
        match holds.map(|(public, signature)| public.verify_strict(note.text().as_bytes(), &signature)) {
            Some(Ok(())) => return Signed::Holds,
            _ => found = Signed::Fails,
        }
    }
    found
}

/// Whether a head is signed by a key that the bundle names, and by a trusted one if some are given.
pub(super) fn signed(note: &Note, item: &LogItem, trust: &Trust) -> Result<(), (Kind, String)> {
    let by: Vec<String> =
        note.signatures().iter().map(|line| format!("{} {}", line.name, line.key_id)).collect();
    let by = by.join(", ");
    let signatures: Vec<Signed> = item.keys().map(|key| signature(note, key)).collect();
    // Of several keys each that signs must have signed this.
    if signatures.contains(&Signed::Fails) {
        return Err((Kind::BadSignature, format!("the signature by {} does not hold", item.origin)));
    }
    if !signatures.contains(&Signed::Holds) {
        let named: Vec<String> = item.keys().map(|key| key.id().to_string()).collect();
        let detail = format!("the head is signed by {by}, not by {} {}", item.origin, named.join(" or "));
        return Err((Kind::UnknownKey, detail));
    }
    let trusted = |key: &VerifierKey| key.name == item.key.name && signature(note, key) == Signed::Holds;
    if trust.keys.is_empty() || trust.keys.iter().any(trusted) {
        return Ok(());
    }
    Err((Kind::UnknownKey, format!("the head is signed by {by}, and none of that is a trusted key")))
}

/// The note as the log itself signed it: without the cosignatures of others.
pub(super) fn own_part(note: &Note, bytes: &[u8], origin: &str) -> Vec<u8> {
    let Some(lines) = bytes.get(note.text().len() + 1..) else { return bytes.to_vec() };
    let mut own = bytes[..=note.text().len()].to_vec();
    let lines = lines.split_inclusive(|byte| *byte == b'\n');
    for (line, signature) in lines.zip(note.signatures()) {
        if signature.name.as_str() == origin {
            own.extend_from_slice(line);
        }
    }
    own
}
