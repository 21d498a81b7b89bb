//! The configuration: a TOML file, overlaid by `EDGETRAIL__SECTION__KEY`, with `DATABASE_URL` as everybody spells it.
//!
//! Everything is read and checked before anything runs. Unknown keys are refused, every error names its key, and no
//! error shows a secret.

mod access;
mod connections;
mod detection;
mod own_activity;
mod publication;
mod reader;
mod search;
mod secrets;
mod sinks;
mod storage;

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::Deserialize;
use shared::batch::MAX_REQUEST_LEN;
use shared::event::{EntityType, TenantId};
use shared::note::{KeyName, VerifierKey};
use sqlx::postgres::PgConnectOptions;

use crate::auth::{Role, Tenure, person};
use crate::unquoted;
pub use access::{Access, AppTokens, Oidc, TokenKey};
pub use connections::Connections;
pub use detection::Detection;
pub use own_activity::OwnActivity;
pub use publication::{CosignerEntry, Publication};
use reader::Reader;
pub use search::Search;
pub use secrets::holds_secrets;
pub use sinks::Sinks;
pub use storage::Storage;

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or is not TOML.
    #[error("{path}: {reason}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// One key is wrong.
    #[error("{key}: {reason}")]
    Key {
        /// The key with its section, such as `http.listen`.
        key: String,
        /// What is wrong with it.
        reason: String,
    },
}

/// Whoever stops processes waits no longer.
const LONGEST_DRAIN: Duration = Duration::from_mins(5);

/// The whole configuration.
#[derive(Debug, Clone)]
pub struct Config {
    /// The listener.
    pub http: Http,
    /// The store.
    pub database: Database,
    /// The Merkle logs.
    pub log: Log,
    /// What is missing when.
    pub accounting: Accounting,
    /// How much may arrive.
    pub limits: Limits,
    /// Signing keys that are registered at start.
    pub signers: Vec<Signer>,
    /// API keys that are registered at start.
    pub api_keys: Vec<ApiKey>,
    /// Served policies.
    pub policy: Policy,
    /// Keys that sign policies offline.
    pub policy_keys: Vec<Signer>,
    /// Databases that report their writes.
    pub witnesses: Vec<Witness>,
    /// People's data.
    pub privacy: Privacy,
    /// What goes when its time is over.
    pub retention: Retention,
    /// What a log's head needs before it is served.
    pub publication: Publication,
    /// When logs are verified.
    pub integrity: Integrity,
    /// Where events go before they are dropped.
    pub archive: Option<Archive>,
    /// How people sign in, and what of their reading is recorded.
    pub access: Access,
    /// Which rules look at the events.
    pub detection: Detection,
    /// What people see of themselves.
    pub own_activity: OwnActivity,
    /// What is done for searches.
    pub search: Search,
    /// How events are forwarded.
    pub sinks: Sinks,
    /// The file with the edge's `EDGETRAIL_HASH_KEY`, by which a value can be looked for that was never stored.
    pub hash_key_file: Option<PathBuf>,
}

/// Section `archive`.
#[derive(Debug, Clone)]
pub struct Archive {
    /// Where it lies. Erasure changes it, so it must not be storage that keeps what was deleted.
    pub storage: Storage,
    /// After how many days from their arrival archived events go as well; never without it.
    pub keep_days: Option<u32>,
}

/// Section `privacy`.
#[derive(Debug, Clone)]
pub struct Privacy {
    /// How long an approved erasure can still be cancelled.
    pub cool_off: Duration,
    /// Where certificates of erasures are kept, outside the database.
    pub certificates: PathBuf,
    /// How often what is due, or arrived late, is looked for.
    pub sweep: Duration,
}

/// An entry of `witness`: a database in which `ingest/witness/install.sql` was run.
#[derive(Clone)]
pub struct Witness {
    /// Whose writes they are.
    pub tenant: TenantId,
    /// How its outbox is read. It may hold a password.
    pub database: PgConnectOptions,
    /// How often.
    pub poll: Duration,
    /// What the rows of a table are as entities.
    pub tables: BTreeMap<String, EntityType>,
    /// How far apart a write and the event that tells it may be.
    pub match_window: Duration,
    /// How long a write waits for its event before it counts as nobody's.
    pub hold: Duration,
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness")
            .field("tenant", &self.tenant)
            .field("tables", &self.tables)
            .finish_non_exhaustive()
    }
}

/// Section `http`.
#[derive(Debug, Clone)]
pub struct Http {
    /// Address to listen on; port 0 takes a free one.
    pub listen: SocketAddr,
    /// The largest request body in bytes.
    pub max_request_bytes: usize,
    /// How long a request may take.
    pub timeout: Duration,
    /// Bytes of batches that may be under way at one time; what comes beyond is answered with 429.
    pub max_backlog_bytes: usize,
    /// How long this process goes on taking connections after it was told to stop, while it says that it is not ready.
    pub drain: Duration,
    /// What connections may take.
    pub connections: Connections,
}

/// Section `database`.
#[derive(Debug, Clone)]
pub struct Database {
    /// A PostgreSQL of the operator's; without it a private one is started.
    pub url: Option<DatabaseUrl>,
    /// A streaming copy of it, which searches are read from.
    pub read_url: Option<DatabaseUrl>,
    /// A copy that is further behind is not asked.
    pub read_max_lag: Duration,
    /// Where the private one keeps its files.
    pub data_dir: PathBuf,
    /// Connections of the pool.
    pub max_connections: u32,
    /// Memory that the private one shares for pages, in MB.
    pub shared_buffers_mb: u32,
}

/// Section `log`.
#[derive(Debug, Clone)]
pub struct Log {
    /// The host part of log origins, such as `audit.example.com`.
    pub origin: KeyName,
    /// The Ed25519 key that signs checkpoints; made at first start.
    pub key_file: PathBuf,
    /// How often pending entries are sequenced.
    pub interval: Duration,
    /// Whether tiles are served without a key. Checkpoints always are.
    pub public: bool,
}

/// Section `policy`.
#[derive(Debug, Clone)]
pub struct Policy {
    /// The Ed25519 key that signs what two admins agreed on; made at first start.
    pub key_file: PathBuf,
    /// Whether a served rule may refuse requests while the audit trail is away.
    pub allow_closed: bool,
}

/// Section `accounting`.
#[derive(Debug, Clone, Copy)]
pub struct Accounting {
    /// How old a hole in a stream is before it is recorded.
    pub gap_after: Duration,
    /// How long a stream is silent before it counts as ended.
    pub ended_after: Duration,
    /// How long an intent waits for its act.
    pub intent_after: Duration,
    /// How often all of it is looked at.
    pub sweep: Duration,
}

/// Section `retention`. The periods themselves are each tenant's, agreed on by its admins.
#[derive(Debug, Clone, Copy)]
pub struct Retention {
    /// Whether what is due goes by itself; else only by `edgetrail retention run`.
    pub automatic: bool,
    /// How often is looked.
    pub interval: Duration,
}

/// Section `integrity`: how often logs are verified by the backend itself.
#[derive(Debug, Clone, Copy)]
pub struct Integrity {
    /// Heads against their trees and signatures.
    pub heads: Duration,
    /// The openings of new leaves against their entries.
    pub openings: Duration,
    /// A heartbeat with the depth of the queue and the place of each stream.
    pub heartbeat: Duration,
    /// Entries, tiles and root of the open log.
    pub tree: Duration,
    /// Every opening of every log.
    pub everything: Duration,
}

/// Section `limits`: events or requests in a second, 0 for no limit.
#[derive(Debug, Clone, Copy, Default)]
pub struct Limits {
    /// Of a tenant.
    pub tenant: u32,
    /// Of a stream.
    pub source: u32,
    /// Requests of a key or a person that reads.
    pub reader: u32,
}

/// An entry of `signers` or `policy_keys`.
#[derive(Debug, Clone)]
pub struct Signer {
    /// The public key.
    pub key: VerifierKey,
    /// The tenants it may sign for.
    pub tenants: Vec<TenantId>,
}

/// An entry of `api_keys`.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The part of the key between the underscores.
    pub id: String,
    /// Whose events it reads.
    pub tenant: TenantId,
    /// What it may do, and until when.
    pub tenure: Tenure,
    /// Who answers for it: an e-mail address, or the subject of their tokens; none for a machine's.
    pub person: Option<String>,
    /// SHA-256 of the key's whole text.
    pub sha256: [u8; 32],
}

/// A connection URL. It may hold a password, so it is never shown.
#[derive(Clone)]
pub struct DatabaseUrl(String);

impl DatabaseUrl {
    /// The URL itself, for connecting.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for DatabaseUrl {
    fn from(url: String) -> Self {
        Self(url)
    }
}

impl fmt::Debug for DatabaseUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("DatabaseUrl(..)")
    }
}

/// Where keys come from beside the file.
#[derive(Debug, Clone, Default)]
pub struct Environment {
    /// Variables, `EDGETRAIL__…` and `DATABASE_URL` among them.
    pub variables: Vec<(String, String)>,
}

impl Environment {
    /// The process's own. Variables that are not UTF-8 are none of ours.
    pub fn of_process() -> Self {
        let utf8 = |(name, value): (std::ffi::OsString, std::ffi::OsString)| {
            Some((name.into_string().ok()?, value.into_string().ok()?))
        };
        Self { variables: std::env::vars_os().filter_map(utf8).collect() }
    }
}

impl Config {
    /// Reads and checks the configuration.
    ///
    /// # Errors
    /// [`ConfigError`] names the file or the key.
    pub fn load(file: Option<&Path>, environment: &Environment) -> Result<Self, ConfigError> {
        let mut sources = config::Config::builder();
        if let Some(path) = file {
            let at_file = |reason: String| ConfigError::File { path: path.to_owned(), reason };
            let text = std::fs::read_to_string(path).map_err(|error| at_file(error.to_string()))?;
            let source = config::File::from_str(&text, config::FileFormat::Toml);
            // Parsed by itself first, so that a syntax error is told apart from a bad key and names its place.
            text.parse::<toml::Table>().map_err(|error| at_file(unquoted::toml(&text, &error)))?;
            sources = sources.add_source(source);
        }
        let named = |name: &str| {
            environment
                .variables
                .iter()
                .find(|(key, value)| key == name && !value.is_empty())
                .map(|(_, value)| value.clone())
        };
        let overlay = environment
            .variables
            .iter()
            .filter(|(name, _)| name.starts_with("EDGETRAIL__"))
            .cloned()
            .collect();
        let built = sources
            .add_source(
                config::Environment::with_prefix("EDGETRAIL")
                    .prefix_separator("__")
                    .separator("__")
                    .source(Some(overlay)),
            )
            .build()
            .map_err(|error| ConfigError::key("environment", one_line(&error.to_string())))?;
        Self::read(Reader::new(built), named("DATABASE_URL"))
    }

    fn read(mut keys: Reader, database_url: Option<String>) -> Result<Self, ConfigError> {
        let http = Http {
            listen: keys.parsed("http.listen", "127.0.0.1:9200", |text| {
                text.parse().map_err(|_| format!("{text:?} is not an address such as 127.0.0.1:9200"))
            })?,
            max_request_bytes: keys.or("http.max_request_bytes", MAX_REQUEST_LEN)?,
            timeout: Duration::from_millis(keys.or("http.timeout_ms", 30_000)?),
            max_backlog_bytes: keys.or("http.max_backlog_bytes", 64 << 20)?,
            drain: Duration::from_millis(keys.or("http.drain_ms", 0)?),
            connections: Connections::read(&mut keys)?,
        };
        if http.max_request_bytes == 0 || http.timeout.is_zero() {
            let key = if http.timeout.is_zero() { "http.timeout_ms" } else { "http.max_request_bytes" };
            return Err(ConfigError::key(key, "must be above 0"));
        }
        if http.max_backlog_bytes < http.max_request_bytes {
            return Err(ConfigError::key(
                "http.max_backlog_bytes",
                "must not be below http.max_request_bytes: such a request would never be taken",
            ));
        }
        if http.drain > LONGEST_DRAIN {
            return Err(ConfigError::key("http.drain_ms", "must be 0 to 300000"));
        }
        let database = Database {
            url: keys
                .optional::<String>("database.url")?
                .or(database_url)
                .map(|url| checked_url("database.url", url))
                .transpose()?,
            read_url: keys
                .optional::<String>("database.read_url")?
                .map(|url| checked_url("database.read_url", url))
                .transpose()?,
            read_max_lag: milliseconds(&mut keys, "database.read_max_lag_ms", 10_000)?,
            data_dir: keys.or("database.data_dir", PathBuf::from(".edgetrail/pg"))?,
            max_connections: keys.or("database.max_connections", 20)?,
            shared_buffers_mb: keys.or("database.shared_buffers_mb", 128)?,
        };
        // The sequencer, both lanes of the writer, the accountant and a reader each hold one connection at the same time.
        if !(5..=1000).contains(&database.max_connections) {
            return Err(ConfigError::key("database.max_connections", "must be 5 to 1000"));
        }
        if !(16..=1_000_000).contains(&database.shared_buffers_mb) {
            return Err(ConfigError::key("database.shared_buffers_mb", "must be 16 to 1000000"));
        }
        let interval: u64 = keys.or("log.interval_ms", 250)?;
        if !(1..=60_000).contains(&interval) {
            return Err(ConfigError::key("log.interval_ms", "must be 1 to 60000"));
        }
        let beside_data = database.data_dir.with_file_name("log.key");
        let log = Log {
            origin: keys.parsed("log.origin", "localhost", parse_origin)?,
            key_file: keys.or("log.key_file", beside_data)?,
            interval: Duration::from_millis(interval),
            public: keys.or("log.public", false)?,
        };
        let policy = Policy {
            key_file: keys.or("policy.key_file", database.data_dir.with_file_name("policy.key"))?,
            allow_closed: keys.or("policy.allow_closed", false)?,
        };
        let policy_keys = entries::<SignerEntry, _>(&mut keys, "policy_keys", SignerEntry::check)?;
        let accounting = Accounting {
            gap_after: milliseconds(&mut keys, "accounting.gap_after_ms", 600_000)?,
            ended_after: milliseconds(&mut keys, "accounting.ended_after_ms", 3_600_000)?,
            intent_after: milliseconds(&mut keys, "accounting.intent_after_ms", 600_000)?,
            sweep: milliseconds(&mut keys, "accounting.sweep_ms", 15_000)?,
        };
        let privacy = Privacy {
            cool_off: milliseconds(&mut keys, "privacy.cool_off_ms", 86_400_000)?,
            certificates: keys.or("privacy.certificates", log.key_file.with_file_name("erasures"))?,
            sweep: milliseconds(&mut keys, "privacy.sweep_ms", 10_000)?,
        };
        let archive =
            match (Storage::read(&mut keys, &storage::ARCHIVE)?, keys.optional("archive.keep_days")?) {
                (None, Some(_)) => return Err(ConfigError::key("archive.url", "is missing")),
                (_, Some(..30 | 36_501..)) => {
                    return Err(ConfigError::key("archive.keep_days", "must be 30 to 36500"));
                }
                (storage, keep_days) => storage.map(|storage| Archive { storage, keep_days }),
            };
        let retention = Retention {
            automatic: keys.or("retention.automatic", true)?,
            interval: milliseconds(&mut keys, "retention.interval_ms", 3_600_000)?,
        };
        let limits = Limits {
            tenant: keys.or("limits.tenant_events_per_second", 0)?,
            source: keys.or("limits.source_events_per_second", 0)?,
            reader: keys.or("limits.reader_requests_per_second", 50)?,
        };
        let signers = entries::<SignerEntry, _>(&mut keys, "signers", SignerEntry::check)?;
        let api_keys = entries::<ApiKeyEntry, _>(&mut keys, "api_keys", ApiKeyEntry::check)?;
        let witnesses = entries::<WitnessEntry, _>(&mut keys, "witness", WitnessEntry::check)?;
        let publication = Publication::read(&mut keys)?;
        let integrity = Integrity {
            heads: milliseconds(&mut keys, "integrity.heads_ms", 15_000)?,
            openings: milliseconds(&mut keys, "integrity.openings_ms", 300_000)?,
            heartbeat: milliseconds(&mut keys, "integrity.heartbeat_ms", 3_600_000)?,
            tree: milliseconds(&mut keys, "integrity.tree_ms", 86_400_000)?,
            everything: milliseconds(&mut keys, "integrity.everything_ms", 7 * 86_400_000)?,
        };
        let access = Access::read(&mut keys)?;
        let detection = Detection::read(&mut keys)?;
        let own_activity = OwnActivity::read(&mut keys)?;
        let search = Search::read(&mut keys)?;
        let sinks = Sinks::read(&mut keys)?;
        let hash_key_file = keys.optional("fingerprint.key_file")?;
        keys.finish()?;
        Ok(Self {
            http,
            database,
            log,
            accounting,
            limits,
            signers,
            api_keys,
            policy,
            policy_keys,
            witnesses,
            privacy,
            retention,
            archive,
            publication,
            integrity,
            access,
            detection,
            own_activity,
            search,
            sinks,
            hash_key_file,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignerEntry {
    key: String,
    tenants: Vec<String>,
}

impl SignerEntry {
    fn check(self) -> Result<Signer, (&'static str, String)> {
        let tenants: Vec<TenantId> = self
            .tenants
            .iter()
            .map(|tenant| tenant.parse::<TenantId>())
            .collect::<Result<_, _>>()
            .map_err(|error| ("tenants", error.to_string()))?;
        if tenants.is_empty() {
            return Err(("tenants", "names no tenant".to_owned()));
        }
        Ok(Signer {
            key: self.key.parse::<VerifierKey>().map_err(|error| ("key", error.to_string()))?,
            tenants,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct ApiKeyEntry {
    id: String,
    tenant: String,
    role: String,
    expires_at: Option<String>,
    person: Option<String>,
    sha256: String,
}

impl ApiKeyEntry {
    fn check(self) -> Result<ApiKey, (&'static str, String)> {
        let plain = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        if !(1..=32).contains(&self.id.len()) || !self.id.bytes().all(plain) {
            return Err(("id", "is not 1 to 32 of a-z and 0-9".to_owned()));
        }
        let mut sha256 = [0; 32];
        hex::decode_to_slice(&self.sha256, &mut sha256)
            .map_err(|_| ("sha256", "is not 32 bytes in hex".to_owned()))?;
        let role = self.role.parse::<Role>().map_err(|error| ("role", error))?;
        let until = self.expires_at.map(|text| {
            let end = chrono::DateTime::parse_from_rfc3339(&text).map(|end| end.to_utc());
            end.map_err(|_| ("expires_at", "is not a time such as 2026-01-31T12:00:00Z".to_owned()))
        });
        let tenure = Tenure::new(role, until.transpose()?);
        let person = self.person.map(|named| person(&named).map_err(|reason| ("person", reason.to_owned())));
        Ok(ApiKey {
            tenant: self.tenant.parse::<TenantId>().map_err(|error| ("tenant", error.to_string()))?,
            tenure: tenure.map_err(|error| ("expires_at", error.to_string()))?,
            id: self.id,
            person: person.transpose()?,
            sha256,
        })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct WitnessEntry {
    tenant: String,
    database_url: String,
    poll_ms: Option<u64>,
    tables: BTreeMap<String, String>,
    match_window_ms: Option<u64>,
    hold_ms: Option<u64>,
}

impl WitnessEntry {
    fn check(self) -> Result<Witness, (&'static str, String)> {
        let millis = |key: &'static str, given: Option<u64>, default: u64| {
            let given = given.unwrap_or(default);
            if (1..=3_600_000).contains(&given) {
                Ok(Duration::from_millis(given))
            } else {
                Err((key, "must be 1 to 3600000".to_owned()))
            }
        };
        let match_window = millis("match_window_ms", self.match_window_ms, 10_000)?;
        let hold = millis("hold_ms", self.hold_ms, 30_000)?;
        if hold < match_window {
            return Err(("hold_ms", "must not be below match_window_ms".to_owned()));
        }
        let tables = self
            .tables
            .into_iter()
            .map(|(table, kind)| Ok((table, EntityType::try_from(kind)?)))
            .collect::<Result<_, shared::event::WordError>>()
            .map_err(|error| ("tables", error.to_string()))?;
        // What the parser says may hold the password.
        let database = postgres_url(self.database_url)
            .and_then(|url| {
                let refused = |_| "is not a PostgreSQL URL (its value is not shown)".to_owned();
                url.reveal().parse::<PgConnectOptions>().map_err(refused)
            })
            .map_err(|reason| ("database_url", reason))?;
        Ok(Witness {
            tenant: self.tenant.parse::<TenantId>().map_err(|error| ("tenant", error.to_string()))?,
            database,
            poll: millis("poll_ms", self.poll_ms, 1000)?,
            tables,
            match_window,
            hold,
        })
    }
}

fn entries<E: for<'de> Deserialize<'de>, T>(
    keys: &mut Reader,
    section: &'static str,
    check: impl Fn(E) -> Result<T, (&'static str, String)>,
) -> Result<Vec<T>, ConfigError> {
    keys.or(section, Vec::<E>::new())?
        .into_iter()
        .enumerate()
        .map(|(at, entry)| {
            check(entry).map_err(|(key, reason)| ConfigError::key(&format!("{section}[{at}].{key}"), reason))
        })
        .collect()
}

/// A span of up to a year.
fn milliseconds(keys: &mut Reader, key: &'static str, default: u64) -> Result<Duration, ConfigError> {
    let millis = keys.or(key, default)?;
    if !(1..=366 * 86_400_000).contains(&millis) {
        return Err(ConfigError::key(key, "must be 1 to 31622400000"));
    }
    Ok(Duration::from_millis(millis))
}

fn parse_origin(text: &str) -> Result<KeyName, String> {
    // `/log/` and 32 hex digits follow, and a key's name ends at 200 bytes.
    if text.len() > 160 || text.contains('/') {
        return Err("is not a host of at most 160 bytes".to_owned());
    }
    KeyName::try_from(text.to_owned()).map_err(|error| error.to_string())
}

fn checked_url(key: &str, url: String) -> Result<DatabaseUrl, ConfigError> {
    postgres_url(url).map_err(|reason| ConfigError::key(key, reason))
}

fn postgres_url(url: String) -> Result<DatabaseUrl, String> {
    if url.starts_with("postgres://") || url.starts_with("postgresql://") {
        Ok(DatabaseUrl(url))
    } else {
        Err("does not begin with postgres:// (its value is not shown)".to_owned())
    }
}

fn one_line(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(toml: &str, variables: &[(&str, &str)]) -> Result<Config, String> {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("edgetrail.toml");
        std::fs::write(&file, toml).expect("written");
        let environment = Environment {
            variables: variables
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
        };
        Config::load(Some(&file), &environment).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_file_gives_the_defaults() {
        let config = load("", &[]).expect("valid");
        assert_eq!(config.http.listen.to_string(), "127.0.0.1:9200");
        assert_eq!(config.http.max_request_bytes, MAX_REQUEST_LEN);
        assert_eq!(config.log.key_file, Path::new(".edgetrail/log.key"));
        assert!(config.database.url.is_none());
    }

    #[test]
    fn the_environment_overlays_the_file() {
        let config = load(
            "[http]\nlisten = '127.0.0.1:1'\n[log]\npublic = false",
            &[
                ("EDGETRAIL__HTTP__LISTEN", "127.0.0.1:2"),
                ("EDGETRAIL__LOG__PUBLIC", "true"),
                ("EDGETRAIL__LOG__INTERVAL_MS", "10"),
                ("DATABASE_URL", "postgres://u:secret@h/d"),
            ],
        )
        .expect("valid");
        assert_eq!(config.http.listen.port(), 2);
        assert!(config.log.public);
        assert_eq!(config.log.interval, Duration::from_millis(10));
        assert!(!format!("{config:?}").contains("secret"));
    }

    #[test]
    fn every_error_names_its_key() {
        let cases = [
            ("[http]\nlisten = 'nowhere'", "http.listen: "),
            ("[http]\nlissten = 'x'", "http.lissten: unknown key"),
            ("[htpt]\nlisten = 'x'", "htpt.listen: unknown key"),
            ("surprise = 1", "surprise: unknown key"),
            ("[http]\nmax_request_bytes = 'many'", "http.max_request_bytes: "),
            ("[log]\ninterval_ms = 0", "log.interval_ms: "),
            ("[log]\norigin = 'a b'", "log.origin: "),
            ("[accounting]\nsweep_ms = 0", "accounting.sweep_ms: "),
            ("[limits]\ntenant_events_per_second = -1", "limits.tenant_events_per_second: "),
            ("[database]\nmax_connections = 1", "database.max_connections: "),
            ("[database]\nurl = 'mysql://u:secret@h'", "database.url: "),
            ("[database]\nread_url = 'mysql://u:secret@h'", "database.read_url: "),
            ("[database]\nread_max_lag_ms = 0", "database.read_max_lag_ms: "),
            ("[http]\nmax_backlog_bytes = 1", "http.max_backlog_bytes: "),
            ("[http]\ndrain_ms = 300001", "http.drain_ms: "),
            ("[http]\nmax_connections = 0", "http.max_connections: "),
            ("[http]\nhead_timeout_ms = 0", "http.head_timeout_ms: "),
            ("[http]\nbody_timeout_ms = 3600001", "http.body_timeout_ms: "),
            ("[http]\nanswer_timeout_ms = 'soon'", "http.answer_timeout_ms: "),
            ("[http]\nmax_headers = 15", "http.max_headers: "),
            ("[http]\nmax_head_bytes = 4095", "http.max_head_bytes: "),
            ("[[signers]]\nkey = 'x'\ntenants = ['demo']", "signers[0].key: "),
            ("[[signers]]\nkeys = 'x'", "signers: "),
            ("[[policy_keys]]\nkey = 'x'\ntenants = ['demo']", "policy_keys[0].key: "),
            ("[policy]\nallow_closed = 'maybe'", "policy.allow_closed: "),
            (
                "[[witness]]\ntenant='demo'\ndatabase_url='mysql://u:secret@h'\ntables={}",
                "witness[0].database_url: ",
            ),
            (
                "[[witness]]\ntenant='demo'\ndatabase_url='postgres://h/d'\ntables={a='B C'}",
                "witness[0].tables: ",
            ),
            (
                "[[witness]]\ntenant='demo'\ndatabase_url='postgres://h/d'\ntables={}\nhold_ms=1",
                "witness[0].hold_ms: ",
            ),
            ("[[cosigners]]\nkey='x'\nurl='https://w'", "cosigners[0].key: "),
            ("[publication]\nquorum = 1", "publication.quorum: "),
            ("[worm]\nurl = 'ftp://x'", "worm.url: "),
            ("[worm]\nsecret_access_key = 'secret'", "worm.url: is missing"),
            ("[archive]\nurl = 'archive'", "archive.url: "),
            ("[archive]\nkeep_days = 400", "archive.url: is missing"),
            ("[archive]\nurl = 's3://b'\nkeep_days = 1", "archive.keep_days: "),
            ("[integrity]\ntree_ms = 0", "integrity.tree_ms: "),
            ("[[api_keys]]\nid='a'\ntenant='T'\nrole='admin'\nsha256=''", "api_keys[0].sha256: "),
            ("[access]\npublic_url = 'http://audit.example.com'", "access.public_url: "),
            ("[access]\npublic_url = 'https://audit.example.com/x'", "access.public_url: "),
            ("[access]\nreads_window_ms = 1", "access.reads_window_ms: "),
            ("[access.app]\nissuer = 'x'", "access.app: "),
            ("[access.app]\nissuer = 'x'\nhs256_key = 'secret'", "access.app.hs256_key: "),
            ("[access.oidc]\nclient_id = 'x'", "access.oidc.issuer: "),
            ("[access.oidc]\nissuer = 'https://i'\nclient_id = 'x'", "access.public_url: "),
        ];
        for (toml, start) in cases {
            let error = load(toml, &[]).expect_err(toml);
            assert!(error.starts_with(start), "{toml:?} gave {error:?}");
            assert!(!error.contains("secret"), "{error:?} shows a secret");
            assert!(!error.contains('\n'), "{error:?} has several lines");
        }
    }
}
