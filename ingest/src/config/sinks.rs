//! Section `sinks`: how events are forwarded.

use std::path::PathBuf;
use std::time::Duration;

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

use super::reader::Reader;
use super::{ConfigError, milliseconds};

/// Section `sinks`.
#[derive(Debug, Clone)]
pub struct Sinks {
    /// The key that secrets are sealed under, made at the first start; without it no sink can have one.
    pub key_file: Option<PathBuf>,
    /// Whether events may go to this network and machine, and into directories of it.
    pub allow_private: bool,
    /// Certificates of authorities that receivers are trusted by, beside the system's.
    pub ca: Vec<CertificateDer<'static>>,
    /// How long an attempt may take.
    pub timeout: Duration,
    /// How long to wait after the first failure.
    pub retry: Duration,
    /// How long to wait at most.
    pub max_retry: Duration,
    /// How long attempts fail before an event says so.
    pub failing_after: Duration,
}

impl Sinks {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        let ca = match keys.optional::<PathBuf>("sinks.ca_file")? {
            None => Vec::new(),
            Some(file) => {
                let wrong = |reason: String| {
                    ConfigError::key("sinks.ca_file", format!("{}: {reason}", file.display()))
                };
                let found: Result<Vec<_>, _> = CertificateDer::pem_file_iter(&file)
                    .and_then(Iterator::collect::<Result<Vec<_>, _>>)
                    .map_err(|error| wrong(error.to_string()));
                found.and_then(|found| {
                    if found.is_empty() { Err(wrong("holds no certificate".to_owned())) } else { Ok(found) }
                })?
            }
        };
        Ok(Self {
            key_file: keys.optional("sinks.key_file")?,
            allow_private: keys.or("sinks.allow_private", false)?,
            ca,
            timeout: milliseconds(keys, "sinks.timeout_ms", 10_000)?,
            retry: milliseconds(keys, "sinks.retry_ms", 1_000)?,
            max_retry: milliseconds(keys, "sinks.max_retry_ms", 300_000)?,
            failing_after: milliseconds(keys, "sinks.failing_after_ms", 60_000)?,
        })
    }
}
