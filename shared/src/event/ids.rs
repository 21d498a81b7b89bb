//! Identifiers and time, as newtypes that cannot hold a wrong value.

use core::fmt;
use core::str::FromStr;

use chrono::{DateTime, SecondsFormat, Utc};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Why an identifier was refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a tenant slug.
    #[error("tenant {0:?} is not 1 to 63 of a-z, 0-9 and '-', starting with a letter or digit")]
    Tenant(String),
    /// Not a UUID of version 7.
    #[error("event id {0} is not a UUID of version 7")]
    NotV7(Uuid),
    /// Outside the years 1970 to 9999.
    #[error("timestamp {0} ms is outside the years 1970 to 9999")]
    Timestamp(u64),
}

/// A tenant's slug: 1 to 63 of `a-z`, `0-9` and `-`, starting with a letter or digit.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TenantId(String);

impl TenantId {
    /// The slug.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TenantId {
    type Error = IdError;

    fn try_from(slug: String) -> Result<Self, IdError> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let bytes = slug.as_bytes();
        let well_formed = (1..=63).contains(&bytes.len())
            && plain(bytes[0])
            && bytes.iter().all(|&byte| plain(byte) || byte == b'-');
        if well_formed { Ok(Self(slug)) } else { Err(IdError::Tenant(slug)) }
    }
}

impl FromStr for TenantId {
    type Err = IdError;

    fn from_str(slug: &str) -> Result<Self, IdError> {
        Self::try_from(slug.to_owned())
    }
}

impl From<TenantId> for String {
    fn from(tenant: TenantId) -> Self {
        tenant.0
    }
}

impl fmt::Display for TenantId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An event's id: a UUID of version 7 (RFC 9562), minted at the edge.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct EventId(Uuid);

impl EventId {
    /// Mints an id from the time and ten random bytes.
    pub fn mint(at: Timestamp, random: &[u8; 10]) -> Self {
        Self(uuid::Builder::from_unix_timestamp_millis(at.millis(), random).into_uuid())
    }

    /// The id as a UUID.
    pub fn uuid(self) -> Uuid {
        self.0
    }

    /// The sixteen bytes of the id.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }
}

impl TryFrom<Uuid> for EventId {
    type Error = IdError;

    fn try_from(uuid: Uuid) -> Result<Self, IdError> {
        if uuid.get_version_num() == 7 { Ok(Self(uuid)) } else { Err(IdError::NotV7(uuid)) }
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// A point in time in whole milliseconds since 1970-01-01T00:00:00Z, at most the end of the year 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Timestamp(u64);

impl Timestamp {
    const MAX: u64 = 253_402_300_799_999;

    /// Milliseconds since the epoch.
    pub fn millis(self) -> u64 {
        self.0
    }

    /// The same point as a `chrono` value.
    pub fn to_utc(self) -> DateTime<Utc> {
        let millis = i64::try_from(self.0).expect("bounded by Timestamp::MAX");
        DateTime::from_timestamp_millis(millis).expect("bounded by Timestamp::MAX")
    }
}

impl TryFrom<u64> for Timestamp {
    type Error = IdError;

    fn try_from(millis: u64) -> Result<Self, IdError> {
        if millis <= Self::MAX { Ok(Self(millis)) } else { Err(IdError::Timestamp(millis)) }
    }
}

impl From<Timestamp> for u64 {
    fn from(at: Timestamp) -> Self {
        at.0
    }
}

impl From<DateTime<Utc>> for Timestamp {
    /// Times before 1970 become 1970, times after 9999 the end of it.
    fn from(at: DateTime<Utc>) -> Self {
        Self(u64::try_from(at.timestamp_millis()).unwrap_or(0).min(Self::MAX))
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.to_utc().to_rfc3339_opts(SecondsFormat::Millis, true))
    }
}
