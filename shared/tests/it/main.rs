//! The behaviour of `shared` as its callers and independent implementations see it.
//!
//! The vectors beside this folder are written by Python that shares no code with the crate; proofs, notes and
//! checkpoints are held against `tlog_tiles` and `signed_note`.

mod arbitrary;
mod batch;
mod bundle;
mod canary;
mod checkpoint;
mod edge;
mod event;
mod hostile;
mod leaf;
mod note;
mod packs;
mod peers;
mod problem;
mod properties;
mod recorded;
mod recording;
mod schema;
mod search;
mod supabase;
mod tile;
mod tree;
mod untrusted;
mod vectors;
mod verify;
