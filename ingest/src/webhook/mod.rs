//! Telling somebody else's server that something happened, the way of Standard Webhooks (standardwebhooks.com).
//!
//! [`signature`] lets the receiver know that a message is ours, [`target`] keeps a message from going where no message should,
//! and [`send`] is one attempt. Whoever sends keeps what is to be sent until it has arrived.

pub mod signature;
pub mod target;

use std::time::Duration;

use chrono::{DateTime, Utc};
use reqwest::header::CONTENT_TYPE;

pub use signature::{Secret, SecretError};
pub use target::{Target, TargetError};

/// How long one attempt may take, from looking the name up to the status of the answer.
const WITHIN: Duration = Duration::from_secs(10);

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Message {
    /// The same on every attempt: by it a receiver knows a message that it has already.
    pub id: String,
    /// When this attempt is made.
    pub at: DateTime<Utc>,
    /// JSON.
    pub body: String,
}

/// Why an attempt failed.
#[derive(Debug, thiserror::Error)]
pub enum SendError {
    /// The target is none, now.
    #[error(transparent)]
    Target(#[from] TargetError),
    /// No answer.
    #[error("no answer: {0}")]
    Transport(String),
    /// It took too long.
    #[error("no answer within {} seconds", WITHIN.as_secs())]
    Late,
    /// An answer that is not of the kind 2xx.
    #[error("status {0}")]
    Status(u16),
}

/// One attempt. The answer's body is not read.
///
/// # Errors
/// [`SendError`]; trying again is for the caller.
pub async fn send(target: &Target, secret: &Secret, message: &Message) -> Result<(), SendError> {
    let attempt = async {
        let client = target.client().await?;
        let timestamp = message.at.timestamp();
        let request = client
            .post(target.url().clone())
            .header(CONTENT_TYPE, "application/json")
            .header("webhook-id", &message.id)
            .header("webhook-timestamp", timestamp)
            .header("webhook-signature", secret.sign(&message.id, timestamp, message.body.as_bytes()))
            .body(message.body.clone());
        let answer = request.send().await.map_err(|error| {
            // The address of a webhook may hold a secret of its receiver.
            SendError::Transport(error.without_url().to_string())
        })?;
        let status = answer.status();
        if status.is_success() { Ok(()) } else { Err(SendError::Status(status.as_u16())) }
    };
    tokio::time::timeout(WITHIN, attempt).await.unwrap_or(Err(SendError::Late))
}
