//! One attempt to hand something over, by each way there is.

mod http;
mod objects;
mod tls;

use std::time::Duration;

pub(super) use http::{post, read_answer};
pub(super) use objects::Bucket;
pub(super) use tls::{Peer, client_config};

use crate::webhook::TargetError;

/// Characters of what a receiver or a library said.
const MAX_WORDS: usize = 200;

/// Why an attempt failed. Nothing in it is a secret, or was recorded.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum SendError {
    /// Nothing may go there, now.
    #[error("the address {0}")]
    Target(#[from] TargetError),
    /// No connection, or it broke.
    #[error("no answer: {0}")]
    Transport(String),
    /// It took too long.
    #[error("no answer within {} ms", .0.as_millis())]
    Late(Duration),
    /// An answer that is not of the kind 2xx, and when it asks to be tried again.
    #[error("status {code}")]
    Status {
        /// The status.
        code: u16,
        /// `Retry-After`.
        retry_after: Option<Duration>,
    },
    /// Some of it was turned down.
    #[error("turned down: {0}")]
    Rejected(String),
    /// It is not configured as it was when it was made.
    #[error("{0}")]
    Unusable(String),
}

impl SendError {
    /// A failure of a connection, in short words.
    fn transport(error: &dyn std::error::Error) -> Self {
        let mut innermost = error;
        while let Some(source) = innermost.source() {
            innermost = source;
        }
        Self::Transport(words(&innermost.to_string()))
    }

    /// Whether the receiver will not have it: trying again soon is of no use.
    pub(super) fn is_refusal(&self) -> bool {
        match self {
            Self::Status { code, .. } => matches!(code, 400..=499) && ![408, 425, 429].contains(code),
            Self::Rejected(_) | Self::Unusable(_) => true,
            Self::Target(_) | Self::Transport(_) | Self::Late(_) => false,
        }
    }

    /// Whether the receiver says that it is there no more.
    pub(super) fn is_gone(&self) -> bool {
        matches!(self, Self::Status { code: 410, .. })
    }

    /// When the receiver asks to be tried again.
    pub(super) fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

/// The beginning of a text, on one line and without what looks like a secret.
fn words(text: &str) -> String {
    let line: String = text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).collect();
    shared::redact::text(line.trim(), MAX_WORDS)
}
