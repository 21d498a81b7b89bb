//! The Merkle logs: [`sequencer`] appends stored batches and signs heads, [`publication`] has them seen by others before
//! they are served, [`startup`] decides whether a log may be signed, [`tiles`] serves what heads cover.

pub mod consistency;
pub mod cosign;
pub mod inclusion;
pub mod key;
pub mod keyring;
pub mod openings;
pub mod prover;
pub mod publication;
pub mod sequencer;
pub mod startup;
pub mod tiles;
pub mod worm;
