//! The Merkle logs: [`sequencer`] appends stored batches and signs heads, [`tiles`] serves what they cover.

pub mod key;
pub mod sequencer;
pub mod tiles;
