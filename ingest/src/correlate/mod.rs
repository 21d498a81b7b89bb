//! Holding what was recorded against what others saw: a third witness beside the edge and the application itself.
//!
//! [`witness`] reads what a watched database says was written; [`matching`] decides which event tells why.
//! [`inference`] holds an update against what was last seen of its entity; [`reconcile`] holds the application's own
//! audit against the events. Both follow the stored events through [`feed`]. [`follow`] looks for the act behind a write of
//! the application's own server ([`links`]), and for the end of a run whose answer did not say it ([`completion`]). [`state`]
//! tells what is known of an entity at a time.

pub(crate) mod completion;
pub mod feed;
pub mod follow;
pub mod inference;
mod links;
pub mod matching;
pub mod memory;
pub mod reconcile;
pub mod state;
pub mod witness;

pub use follow::Follow;
pub use reconcile::Reconciler;
pub use witness::Witness;
