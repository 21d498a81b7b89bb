//! The part of section `http` that is about connections: what a client may take before it has asked for anything.

use std::time::Duration;

use super::ConfigError;
use super::reader::Reader;

/// What connections may take.
#[derive(Debug, Clone, Copy)]
pub struct Connections {
    /// How many are open at one time, 1 to 100,000; each takes a file descriptor.
    pub max: usize,
    /// How long the head of a request may take, the time until it begins included.
    pub head_within: Duration,
    /// How long the body of a request may stand still.
    pub body_within: Duration,
    /// How long an answer may stand still because nobody reads it.
    pub answer_within: Duration,
    /// Header fields of a request.
    pub max_headers: usize,
    /// Bytes of a request's head: its target, and names and values of its fields.
    pub max_head_bytes: usize,
}

impl Connections {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        let read = Self {
            max: keys.or("http.max_connections", 512)?,
            head_within: within_an_hour(keys, "http.head_timeout_ms", 30_000)?,
            body_within: within_an_hour(keys, "http.body_timeout_ms", 10_000)?,
            answer_within: within_an_hour(keys, "http.answer_timeout_ms", 30_000)?,
            max_headers: keys.or("http.max_headers", 100)?,
            max_head_bytes: keys.or("http.max_head_bytes", 32 << 10)?,
        };
        let wrong = |key, range| Err(ConfigError::key(key, format!("must be {range}")));
        match read {
            Self { max: 0 | 100_001.., .. } => wrong("http.max_connections", "1 to 100000"),
            Self { max_headers: ..=15 | 10_001.., .. } => wrong("http.max_headers", "16 to 10000"),
            Self { max_head_bytes: ..=4_095 | 1_048_577.., .. } => {
                wrong("http.max_head_bytes", "4096 to 1048576")
            }
            _ => Ok(read),
        }
    }
}

fn within_an_hour(keys: &mut Reader, key: &'static str, default: u64) -> Result<Duration, ConfigError> {
    let millis = keys.or(key, default)?;
    if !(1..=3_600_000).contains(&millis) {
        return Err(ConfigError::key(key, "must be 1 to 3600000"));
    }
    Ok(Duration::from_millis(millis))
}
