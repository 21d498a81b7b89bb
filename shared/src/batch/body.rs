//! The body of a batch: every digest first, then every event.
//!
//! ```text
//! body = count u16be | count x digest[32] | count x (len u32be | opening)
//! ```

use super::limits::{MAX_EVENT_LEN, MAX_EVENTS_PER_BATCH};
use crate::leaf::Hash;

/// Why bytes are not a batch body.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum BodyError {
    /// The bytes end inside the list of digests.
    #[error("body ends inside its digests")]
    Cut,
    /// Over the limit.
    #[error("body announces {0} events, over the limit of {MAX_EVENTS_PER_BATCH}")]
    TooMany(usize),
}

/// A body as read. The digests are claims until the events are hashed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Body<'a> {
    /// The digest each event is announced with.
    pub digests: Vec<Hash>,
    /// Each event's bytes; none where the body ends before it, or its length is over [`MAX_EVENT_LEN`].
    pub events: Vec<Option<&'a [u8]>>,
}

/// Writes a body of events and their digests.
///
/// # Panics
/// With over [`MAX_EVENTS_PER_BATCH`] events: the producer splits before.
pub fn encode_body<'a>(events: impl ExactSizeIterator<Item = (&'a Hash, &'a [u8])> + Clone) -> Vec<u8> {
    assert!(events.len() <= MAX_EVENTS_PER_BATCH, "split before encoding");
    let count = u16::try_from(events.len()).expect("checked");
    let mut body = Vec::new();
    body.extend_from_slice(&count.to_be_bytes());
    for (digest, _) in events.clone() {
        body.extend_from_slice(digest);
    }
    for (_, event) in events {
        let len = u32::try_from(event.len()).expect("events are capped");
        body.extend_from_slice(&len.to_be_bytes());
        body.extend_from_slice(event);
    }
    body
}

impl<'a> Body<'a> {
    /// Reads a body. Bytes after the last event are ignored: no digest covers them and nothing reads them.
    ///
    /// # Errors
    /// [`BodyError`] if the digests cannot be read. Damage after them costs only the events it touches.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, BodyError> {
        let (count, mut rest) = bytes.split_first_chunk::<2>().ok_or(BodyError::Cut)?;
        let count = usize::from(u16::from_be_bytes(*count));
        if count > MAX_EVENTS_PER_BATCH {
            return Err(BodyError::TooMany(count));
        }
        let mut digests = Vec::with_capacity(count);
        for _ in 0..count {
            let (digest, after) = rest.split_first_chunk::<32>().ok_or(BodyError::Cut)?;
            digests.push(*digest);
            rest = after;
        }
        let mut events = Vec::with_capacity(count);
        for _ in 0..count {
            events.push(take_event(&mut rest));
        }
        Ok(Self { digests, events })
    }
}

fn take_event<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (len, after) = rest.split_first_chunk::<4>()?;
    let len = usize::try_from(u32::from_be_bytes(*len)).ok()?;
    let (event, after) = after.split_at_checked(len)?;
    *rest = after;
    (len <= MAX_EVENT_LEN).then_some(event)
}
