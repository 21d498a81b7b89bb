//! The keys that sign checkpoints, and their rotation with overlap.
//!
//! The key file holds one key a line, oldest first. The newest opens new logs. A log is signed by every key of the file
//! that it names and has not retired, so that during an overlap a checkpoint carries an old and a new signature.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use shared::note::{Checkpoint, KeyId, KeyName, SignerKey, signature_line};

use super::key::{KeyFileError, LogKey};
use crate::clock::random;
use crate::store::log_keys::NamedKey;

const SETTING: &str = "log.key_file";

/// The keys, oldest first; at least one.
#[derive(Debug, Clone)]
pub struct Keyring(Vec<LogKey>);

impl From<LogKey> for Keyring {
    fn from(key: LogKey) -> Self {
        Self(vec![key])
    }
}

impl Keyring {
    /// Reads the keys, or makes the first one at the first start.
    ///
    /// # Errors
    /// If the file cannot be read, made, or holds anything else.
    pub fn load_or_create(path: &Path, host: &KeyName) -> Result<Self, KeyFileError> {
        if !path.exists() {
            return LogKey::load_or_create(SETTING, path, host).map(Self::from);
        }
        Ok(Self(lines(path)?.iter().map(|key| LogKey::from_seed(&key.seed)).collect()))
    }

    /// The key that opens new logs.
    pub fn newest(&self) -> &LogKey {
        self.0.last().expect("a ring holds a key")
    }

    /// The keys that sign a log which names these.
    pub fn signing(&self, named: &[NamedKey]) -> Vec<&LogKey> {
        let signs = |key: &&LogKey| {
            named.iter().any(|named| named.retired_at.is_none() && named.public_key == key.public())
        };
        self.0.iter().filter(signs).collect()
    }
}

/// The signed note of a checkpoint with a signature of each key, under the log's origin (c2sp.org/tlog-checkpoint).
pub fn sign(keys: &[&LogKey], checkpoint: &Checkpoint, origin: &KeyName) -> String {
    let text = checkpoint.to_string();
    let lines: String = keys
        .iter()
        .map(|key| signature_line(origin, KeyId::of(origin, &key.public()), &key.signature(&text)))
        .collect();
    format!("{text}\n{lines}")
}

/// Adds a new key to the file and gives it. Running processes take it up at their next start.
///
/// # Errors
/// If the file cannot be read or written.
pub fn add(path: &Path, host: &KeyName) -> Result<LogKey, KeyFileError> {
    let mut keys = lines(path)?;
    let key = LogKey::from_seed(&random());
    keys.push(key.signer(host));
    write(path, &keys)?;
    Ok(key)
}

/// Takes every key but the newest out of the file.
///
/// # Errors
/// If the file cannot be read or written.
pub fn keep_newest(path: &Path) -> Result<(), KeyFileError> {
    let keys = lines(path)?;
    write(path, &keys[keys.len() - 1..])
}

fn lines(path: &Path) -> Result<Vec<SignerKey>, KeyFileError> {
    let text = fs::read_to_string(path).map_err(io(path))?;
    let form = |reason: String| KeyFileError::Form { setting: SETTING, path: path.to_owned(), reason };
    let keys: Vec<SignerKey> = text
        .lines()
        .filter(|line| !line.trim().is_empty())
        .map(str::parse)
        .collect::<Result<_, shared::note::KeyError>>()
        .map_err(|error| form(error.to_string()))?;
    if keys.is_empty() { Err(form("holds no key".to_owned())) } else { Ok(keys) }
}

/// Replaces the file as a whole, so that a crash leaves the old keys or the new ones.
fn write(path: &Path, keys: &[SignerKey]) -> Result<(), KeyFileError> {
    let mut fresh = path.as_os_str().to_owned();
    fresh.push(".new");
    let fresh = PathBuf::from(fresh);
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(&fresh)
        .map_err(io(&fresh))?;
    for key in keys {
        writeln!(file, "{}", key.reveal()).map_err(io(&fresh))?;
    }
    file.sync_all().map_err(io(&fresh))?;
    fs::rename(&fresh, path).map_err(io(path))
}

fn io(path: &Path) -> impl FnOnce(std::io::Error) -> KeyFileError {
    let path = path.to_owned();
    move |source| KeyFileError::Io { setting: SETTING, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_holds_old_and_new_keys_until_only_the_newest_is_kept() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("log.key");
        let host = KeyName::try_from("audit.example".to_owned()).expect("a name");
        let first = Keyring::load_or_create(&path, &host).expect("made");
        let added = add(&path, &host).expect("added");
        let both = Keyring::load_or_create(&path, &host).expect("read");
        assert_eq!(both.0.len(), 2);
        assert_eq!(both.0[0].public(), first.newest().public());
        assert_eq!(both.newest().public(), added.public());
        keep_newest(&path).expect("kept");
        let last = Keyring::load_or_create(&path, &host).expect("read");
        assert_eq!((last.0.len(), last.newest().public()), (1, added.public()));
        fs::write(&path, "\n").expect("written");
        assert!(Keyring::load_or_create(&path, &host).is_err());
    }
}
