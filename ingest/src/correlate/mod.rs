//! Holding what was recorded against what others saw: a third witness beside the edge and the application itself.
//!
//! [`witness`] reads what a watched database says was written; [`matching`] decides which event tells why.
//! [`inference`] holds an update against what was last seen of its entity. Both that and later tasks follow the stored
//! events through [`feed`].

pub mod feed;
pub mod inference;
pub mod matching;
pub mod memory;
pub mod witness;

pub use witness::Witness;
