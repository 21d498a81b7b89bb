//! A client of ingest's API, as far as the tests need one.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::wire::{Answer, Call, WireError, send};

const POLL: Duration = Duration::from_millis(200);

/// Why events could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// No answer.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// An answer that is not 200.
    #[error("ingest answered {status}: {body}")]
    Status {
        /// The status.
        status: u16,
        /// The body.
        body: String,
    },
    /// Not as many events in time.
    #[error("{found} events after {seconds} s, not {wanted}")]
    TooFew {
        /// How many there are.
        found: usize,
        /// How many there should be.
        wanted: usize,
        /// How long was waited.
        seconds: u64,
    },
}

/// The API under one key.
#[derive(Debug, Clone)]
pub struct Api {
    address: SocketAddr,
    key: String,
}

impl Api {
    /// The API at an address.
    pub fn new(address: SocketAddr, key: &str) -> Self {
        Self { address, key: key.to_owned() }
    }

    /// Any GET.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn get(&self, url: &str) -> Result<Answer, WireError> {
        self.call(Call::new("GET", url)).await
    }

    /// Any call.
    ///
    /// # Errors
    /// [`WireError`].
    pub async fn call(&self, call: Call) -> Result<Answer, WireError> {
        let call = call.header("authorization", format!("Bearer {}", self.key));
        send(self.address, &self.address.to_string(), &call).await
    }

    /// The newest events, at most `limit`, newest first.
    ///
    /// # Errors
    /// [`ApiError`].
    pub async fn events(&self, limit: usize) -> Result<Vec<Value>, ApiError> {
        let answer = self.get(&format!("/v1/events?limit={limit}")).await?;
        if answer.status != 200 {
            return Err(ApiError::Status { status: answer.status, body: answer.text() });
        }
        let body = answer.json();
        // A page, or the bare list.
        let items = ["events", "items", "data"]
            .iter()
            .find_map(|name| body[name].as_array())
            .or_else(|| body.as_array());
        Ok(items.cloned().unwrap_or_default())
    }

    /// Waits until there are `wanted` events.
    ///
    /// # Errors
    /// [`ApiError::TooFew`], or the last answer's error.
    pub async fn wait_for_events(&self, wanted: usize, limit: Duration) -> Result<Vec<Value>, ApiError> {
        let start = Instant::now();
        loop {
            let result = self.events(wanted.max(100)).await;
            match result {
                Ok(events) if events.len() >= wanted => return Ok(events),
                Ok(events) if start.elapsed() > limit => {
                    return Err(ApiError::TooFew { found: events.len(), wanted, seconds: limit.as_secs() });
                }
                Err(error) if start.elapsed() > limit => return Err(error),
                _ => tokio::time::sleep(POLL).await,
            }
        }
    }
}
