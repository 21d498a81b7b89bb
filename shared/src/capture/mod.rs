//! From a captured exchange to an event, in two synchronous steps.
//!
//! [`Draft::from_exchange`] looks at everything once and keeps what may be kept: outcome, entity, details and changes,
//! redacted, and the [`Check`](crate::identity::Check)s that somebody with a crypto engine must run.
//! [`Draft::into_events`] takes the verdicts and random bytes and gives the event, and where the request named another user
//! than its token proves, one more beside it. Between the two the draft is
//! plain text in the caller's hands, so nothing is lost when this code is torn down and started anew.

mod before;
mod changes;
mod draft;
mod exchange;
mod extract;
mod headers;
mod mount;
mod scanner;
mod traffic;

pub use before::{PreRead, pre_read};
pub use draft::{Draft, Verdicts};
pub use exchange::{Body, Exchange, Intent, REQUEST_HEADERS, RESPONSE_HEADERS};
pub use headers::Headers;
pub use mount::{Mount, Platform, Supabase};
pub use scanner::Scanner;
pub use traffic::Traffic;

#[cfg(test)]
mod tests;
