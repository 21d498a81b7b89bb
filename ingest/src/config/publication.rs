//! Who has to have seen a head before it is served: `cosigners`, `worm` and `publication`.

use std::time::Duration;

use serde::Deserialize;
use shared::note::CosignerKey;

use super::reader::Reader;
use super::storage::{self, Storage};
use super::{ConfigError, entries};

/// What a head needs before it is served. Nothing by default: then every head is served at once.
#[derive(Debug, Clone, Default)]
pub struct Publication {
    /// How many witnesses must have cosigned it; 0 if there are none.
    pub quorum: usize,
    /// How often heads are published.
    pub interval: Duration,
    /// The witnesses.
    pub cosigners: Vec<CosignerEntry>,
    /// Where heads are copied to: storage that neither overwrites nor deletes.
    pub worm: Option<Storage>,
}

impl Publication {
    /// Whether heads wait for anything.
    pub fn waits(&self) -> bool {
        !self.cosigners.is_empty() || self.worm.is_some()
    }
}

/// An entry of `cosigners`: a witness of the log (c2sp.org/tlog-witness).
#[derive(Debug, Clone)]
pub struct CosignerEntry {
    /// Its public key.
    pub key: CosignerKey,
    /// Its submission prefix, without a slash at the end.
    pub url: String,
    /// Its monitoring prefix; the submission prefix if it has no other.
    pub monitoring_url: String,
}

impl Publication {
    pub(super) fn read(keys: &mut Reader) -> Result<Self, ConfigError> {
        let cosigners = entries::<Entry, _>(keys, "cosigners", Entry::check)?;
        let quorum = keys.or("publication.quorum", cosigners.len())?;
        if quorum > cosigners.len() || (quorum == 0 && !cosigners.is_empty()) {
            return Err(ConfigError::key("publication.quorum", "must be 1 to the number of cosigners"));
        }
        let interval: u64 = keys.or("publication.interval_ms", 1000)?;
        if !(10..=3_600_000).contains(&interval) {
            return Err(ConfigError::key("publication.interval_ms", "must be 10 to 3600000"));
        }
        let worm = Storage::read(keys, &storage::WORM)?;
        Ok(Self { quorum, interval: Duration::from_millis(interval), cosigners, worm })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    key: String,
    url: String,
    monitoring_url: Option<String>,
}

impl Entry {
    fn check(self) -> Result<CosignerEntry, (&'static str, String)> {
        let prefix = |key: &'static str, url: &str| {
            if url.starts_with("https://") || url.starts_with("http://") {
                Ok(url.trim_end_matches('/').to_owned())
            } else {
                Err((key, "is not an http:// or https:// URL".to_owned()))
            }
        };
        Ok(CosignerEntry {
            key: self.key.parse().map_err(|error: shared::note::KeyError| ("key", error.to_string()))?,
            monitoring_url: prefix("monitoring_url", self.monitoring_url.as_deref().unwrap_or(&self.url))?,
            url: prefix("url", &self.url)?,
        })
    }
}
