//! Signed batches: what a producer sends, byte for byte.
//!
//! A batch is a signed note (its [`Header`]) and a [body](encode_body). The header binds the order and digests of the
//! events; the body carries each digest beside its event, so that one bad event never costs the others. Batches
//! travel [framed](frame), several to a request or one to a queue message.

mod body;
mod frame;
mod header;
mod limits;

pub use body::{Body, BodyError, encode_body};
pub use frame::{FrameError, Framed, frame, unframe};
pub use header::{Header, HeaderError, StreamId, events_hash};
pub use limits::{
    MAX_BATCH_LEN, MAX_BATCHES_PER_REQUEST, MAX_EVENT_LEN, MAX_EVENTS_PER_BATCH, MAX_REQUEST_LEN,
    MAX_TEXT_LEN,
};

/// The media type of framed batches.
pub const CONTENT_TYPE: &str = "application/vnd.edgetrail.batches";
