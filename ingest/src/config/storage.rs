//! Object storage: where copies of heads (`worm`) and dropped months (`archive`) lie.

use std::fmt;

use super::ConfigError;
use super::reader::Reader;

/// A place in object storage and how to get in.
#[derive(Clone)]
pub struct Storage {
    /// `s3://bucket/prefix` or `file:///directory`.
    pub url: String,
    /// The S3 endpoint, unless it is Amazon's own.
    pub endpoint: Option<String>,
    /// The region.
    pub region: Option<String>,
    /// The access key's id.
    pub access_key_id: Option<String>,
    /// The access key.
    pub secret_access_key: Option<String>,
}

impl fmt::Debug for Storage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Storage").field("url", &self.url).finish_non_exhaustive()
    }
}

/// The keys of a section that names object storage.
pub(super) struct Keys {
    url: &'static str,
    endpoint: &'static str,
    region: &'static str,
    access_key_id: &'static str,
    secret_access_key: &'static str,
}

/// Section `worm`.
pub(super) const WORM: Keys = Keys {
    url: "worm.url",
    endpoint: "worm.endpoint",
    region: "worm.region",
    access_key_id: "worm.access_key_id",
    secret_access_key: "worm.secret_access_key",
};

/// Section `archive`.
pub(super) const ARCHIVE: Keys = Keys {
    url: "archive.url",
    endpoint: "archive.endpoint",
    region: "archive.region",
    access_key_id: "archive.access_key_id",
    secret_access_key: "archive.secret_access_key",
};

impl Storage {
    pub(super) fn read(keys: &mut Reader, names: &Keys) -> Result<Option<Self>, ConfigError> {
        let url = keys.optional::<String>(names.url)?;
        let endpoint = keys.optional(names.endpoint)?;
        let region = keys.optional(names.region)?;
        let access_key_id = keys.optional(names.access_key_id)?;
        let secret_access_key = keys.optional(names.secret_access_key)?;
        match url {
            Some(url) if url.starts_with("s3://") || url.starts_with("file:///") => {
                Ok(Some(Self { url, endpoint, region, access_key_id, secret_access_key }))
            }
            Some(_) => Err(ConfigError::key(names.url, "is not s3://bucket/prefix or file:///directory")),
            None if endpoint.is_some() || access_key_id.is_some() || secret_access_key.is_some() => {
                Err(ConfigError::key(names.url, "is missing"))
            }
            None => Ok(None),
        }
    }
}
