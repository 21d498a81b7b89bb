//! Secrets of sinks: sealed with AES-256-GCM under a key in a file, so that a copy of the database opens none of them.

use std::fmt;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use uuid::Uuid;

use crate::clock::random;
use crate::ledger::key::KeyFileError;

const SETTING: &str = "sinks.key_file";

/// What a receiver knows us by. It is never shown.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// A secret.
    pub fn new(text: String) -> Self {
        Self(text)
    }

    /// The text itself, for whoever it is meant for.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

/// Why a sealed secret does not open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the stored secret does not open with the key in {SETTING}")]
pub struct SealError;

/// The key.
pub struct Vault(LessSafeKey);

impl fmt::Debug for Vault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Vault(..)")
    }
}

impl Vault {
    /// A vault with a key of 32 bytes.
    pub fn new(key: &[u8; 32]) -> Self {
        Self(LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).expect("32 bytes are a key")))
    }

    /// Reads the key, 32 bytes in hex, or makes it at the first start, readable by its owner alone.
    ///
    /// # Errors
    /// If the file cannot be read, made, or holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { setting: SETTING, path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut key = [0; 32];
                hex::decode_to_slice(text.trim(), &mut key).map_err(|_| KeyFileError::Form {
                    setting: SETTING,
                    path: path.to_owned(),
                    reason: "is not 32 bytes in hex".to_owned(),
                })?;
                Ok(Self::new(&key))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key: [u8; 32] = random();
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
                writeln!(file, "{}", hex::encode(key)).map_err(io)?;
                file.sync_all().map_err(io)?;
                Ok(Self::new(&key))
            }
            Err(error) => Err(io(error)),
        }
    }

    /// Seals the secret of a sink: it opens for no other.
    ///
    /// # Panics
    /// If the secret is longer than 64 GiB.
    pub fn seal(&self, tenant: &str, sink: Uuid, secret: &Secret) -> Vec<u8> {
        let nonce: [u8; NONCE_LEN] = random();
        let mut sealed = secret.0.clone().into_bytes();
        self.0
            .seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), owner(tenant, sink), &mut sealed)
            .expect("a secret is short");
        [&nonce[..], &sealed].concat()
    }

    /// Opens what was sealed for a sink.
    ///
    /// # Errors
    /// [`SealError`] if it was sealed under another key, for another sink, or changed.
    pub fn open(&self, tenant: &str, sink: Uuid, sealed: &[u8]) -> Result<Secret, SealError> {
        let (nonce, sealed) = sealed.split_first_chunk::<NONCE_LEN>().ok_or(SealError)?;
        let mut sealed = sealed.to_vec();
        let opened = self
            .0
            .open_in_place(Nonce::assume_unique_for_key(*nonce), owner(tenant, sink), &mut sealed)
            .map_err(|_| SealError)?;
        String::from_utf8(opened.to_vec()).map(Secret).map_err(|_| SealError)
    }
}

fn owner(tenant: &str, sink: Uuid) -> Aad<Vec<u8>> {
    Aad::from(format!("edgetrail/sink/v1 {tenant} {sink}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_opens_with_its_key_for_its_sink_and_not_otherwise() {
        let (vault, sink, secret) = (Vault::new(&[7; 32]), Uuid::from_u128(1), Secret::new("s3cret".into()));
        let sealed = vault.seal("demo", sink, &secret);
        assert_eq!(vault.open("demo", sink, &sealed), Ok(secret.clone()));
        assert_ne!(sealed, vault.seal("demo", sink, &secret), "each time it looks different");
        assert_eq!(vault.open("other", sink, &sealed), Err(SealError));
        assert_eq!(vault.open("demo", Uuid::from_u128(2), &sealed), Err(SealError));
        assert_eq!(Vault::new(&[8; 32]).open("demo", sink, &sealed), Err(SealError));
        for cut in [0, NONCE_LEN, sealed.len() - 1] {
            assert_eq!(vault.open("demo", sink, &sealed[..cut]), Err(SealError));
        }
        assert_eq!(format!("{secret:?} {vault:?}"), "Secret(..) Vault(..)");
    }

    #[test]
    fn the_key_is_made_once_for_its_owner_alone() {
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("sinks.key");
        let sealed =
            Vault::load_or_create(&path).expect("made").seal("demo", Uuid::nil(), &Secret::new("x".into()));
        assert_eq!(fs::metadata(&path).expect("there").permissions().mode() & 0o777, 0o600);
        let again = Vault::load_or_create(&path).expect("read");
        assert_eq!(again.open("demo", Uuid::nil(), &sealed), Ok(Secret::new("x".into())));
        fs::write(&path, "no key").expect("written");
        let refused = Vault::load_or_create(&path).expect_err("no key").to_string();
        assert!(refused.starts_with(SETTING) && !refused.contains("no key"), "{refused}");
    }
}
