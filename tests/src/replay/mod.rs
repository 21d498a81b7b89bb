//! Recorded traffic, played again with fresh tokens.
//!
//! [`resign`] replaces the expired tokens of a recording, [`Origin`] answers from it, and [`play`] sends it, through
//! whatever stands between, and compares.

mod cookie;
mod driver;
mod origin;
mod resign;
mod secret;

pub use cookie::{Session, SessionCookie, sessions};
pub use driver::{Outcome, Target, play};
pub use origin::{Arrival, Origin};
pub use resign::{Resigned, resign};
pub use secret::{Secret, SecretKind};

use shared::recording::{Exchange, RecordingError, parse};

/// The committed recording.
pub const FIXTURE: &str = include_str!("../../fixtures/recording.jsonl");

/// The committed recording, parsed.
///
/// # Errors
/// [`RecordingError`] if the file was damaged.
pub fn fixture() -> Result<Vec<Exchange>, RecordingError> {
    parse(FIXTURE)
}

/// Which of the two hosts a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Side {
    /// The application.
    App,
    /// Its Supabase project.
    Supabase,
}

impl Side {
    /// The host of a recorded exchange: the label says who talked to whom.
    pub fn of(exchange: &Exchange) -> Self {
        if exchange.label == "client-to-app" { Self::App } else { Self::Supabase }
    }
}
