//! The domain of the audit trail, free of I/O, clock and randomness.
//!
//! Everything worth proving lives here and is used unchanged on both sides: the Worker builds events, commitments
//! and batches with it (wasm32), the backend verifies and stores them with it (native). Time and random bytes are
//! arguments. The modules follow a request: [`policy`] names what an exchange means, [`capture`] draws the event out
//! of it ([`identity`], [`diff`], [`redact`]), [`leaf`] commits to it, [`batch`] carries it under a signed [`note`],
//! [`tree`] holds it, and [`verify`] proves afterwards
//! that a [`bundle`] of it is whole. [`search`] is how people ask for it.

pub mod absence;
pub mod batch;
pub mod bundle;
pub mod capture;
pub mod diff;
pub mod event;
pub mod gather;
pub mod identity;
pub mod json;
pub mod leaf;
pub mod note;
pub mod policy;
pub mod problem;
pub mod recording;
pub mod redact;
pub mod search;
pub mod tree;
pub mod verify;
