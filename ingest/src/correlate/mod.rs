//! Holding what was recorded against what others saw: a third witness beside the edge and the application itself.
//!
//! [`witness`] reads what a watched database says was written; [`matching`] decides which event tells why. [`follow`]
//! looks for the act behind a write of the application's own server ([`links`]), and for the end of a run whose answer did
//! not say it ([`completion`]).

pub(crate) mod completion;
pub mod follow;
mod links;
pub mod matching;
pub mod witness;

pub use follow::Follow;
pub use witness::Witness;
