//! Holding what was recorded against what others saw: a third witness beside the edge and the application itself.
//!
//! [`witness`] reads what a watched database says was written; [`matching`] decides which event tells why.

pub mod matching;
pub mod witness;

pub use witness::Witness;
