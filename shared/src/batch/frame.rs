//! Framing: how a batch stands in a queue message, and several in one request.
//!
//! ```text
//! frame   = note_len u32be | note | body_len u32be | body
//! request = 1 to 100 frames
//! ```

use super::limits::{MAX_BATCH_LEN, MAX_BATCHES_PER_REQUEST};

/// Why bytes are not framed batches.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The bytes end inside a frame.
    #[error("request ends inside frame {0}")]
    Cut(usize),
    /// No frame.
    #[error("request holds no batch")]
    Empty,
    /// Over the limit.
    #[error("request holds over {MAX_BATCHES_PER_REQUEST} batches")]
    TooMany,
}

/// A framed batch, not yet read further.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Framed<'a> {
    /// The signed note.
    pub note: &'a [u8],
    /// The body.
    pub body: &'a [u8],
}

impl Framed<'_> {
    /// Whether the batch is over [`MAX_BATCH_LEN`].
    pub fn is_oversized(&self) -> bool {
        8 + self.note.len() + self.body.len() > MAX_BATCH_LEN
    }
}

/// Writes one frame.
pub fn frame(note: &str, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(8 + note.len() + body.len());
    for part in [note.as_bytes(), body] {
        let len = u32::try_from(part.len()).expect("batches are capped");
        bytes.extend_from_slice(&len.to_be_bytes());
        bytes.extend_from_slice(part);
    }
    bytes
}

/// Reads the frames of a request.
///
/// # Errors
/// [`FrameError`] if the request as a whole is unreadable.
pub fn unframe(mut bytes: &[u8]) -> Result<Vec<Framed<'_>>, FrameError> {
    let mut frames = Vec::new();
    while !bytes.is_empty() {
        if frames.len() == MAX_BATCHES_PER_REQUEST {
            return Err(FrameError::TooMany);
        }
        let cut = FrameError::Cut(frames.len() + 1);
        let note = take_part(&mut bytes).ok_or(cut.clone())?;
        let body = take_part(&mut bytes).ok_or(cut)?;
        frames.push(Framed { note, body });
    }
    if frames.is_empty() { Err(FrameError::Empty) } else { Ok(frames) }
}

fn take_part<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, rest) = bytes.split_first_chunk::<4>()?;
    let (part, rest) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*len)).ok()?)?;
    *bytes = rest;
    Some(part)
}
