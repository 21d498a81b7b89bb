//! From a captured exchange to an event, in two synchronous steps.
//!
//! [`Draft::from_exchange`] looks at everything once and keeps what may be kept: outcome, entity, details and changes,
//! redacted, and the [`Check`](crate::identity::Check)s that somebody with a crypto engine must run.
//! [`Draft::into_events`] takes the verdicts and random bytes and gives the event, and where the request named another user
//! than its token proves, one more beside it. A caller
//! that must survive this code being torn down in between keeps the exchange, and looks at it once more.

mod before;
mod changes;
mod coalesced;
mod draft;
mod exchange;
mod extract;
mod headers;
mod mount;
mod scanner;
mod traffic;

pub use before::{PreRead, pre_read};
pub use coalesced::Coalesced;
pub use draft::{Draft, Verdicts};
pub use exchange::{Body, Exchange, Intent, REQUEST_HEADERS, RESPONSE_HEADERS, fingerprint};
pub use headers::Headers;
pub use mount::{Mount, Platform, Supabase};
pub use scanner::Scanner;
pub use traffic::Traffic;

#[cfg(test)]
mod tests;
