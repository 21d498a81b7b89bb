//! An Ed25519 key of the installation, in a file of its own. Checkpoints are signed under each log's own name.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shared::note::{KeyId, KeyName, SignerKey, VerifierKey, assemble};

use crate::clock::random;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum KeyFileError {
    /// The file system said no.
    #[error("{setting}: {}: {source}", path.display())]
    Io {
        /// The key of the configuration that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What it said.
        source: std::io::Error,
    },
    /// The file holds something else.
    #[error("{setting}: {}: {reason}", path.display())]
    Form {
        /// The key of the configuration that names the file.
        setting: &'static str,
        /// The file.
        path: PathBuf,
        /// What is wrong.
        reason: String,
    },
}

/// The signing key.
#[derive(Clone)]
pub struct LogKey(SigningKey);

impl std::fmt::Debug for LogKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("LogKey(..)")
    }
}

impl LogKey {
    /// A key from its seed.
    pub fn from_seed(seed: &[u8; 32]) -> Self {
        Self(SigningKey::from_bytes(seed))
    }

    /// Reads the key, or makes it at the first start, readable by its owner alone.
    ///
    /// # Errors
    /// If the file cannot be read, made, or holds no key.
    pub fn load_or_create(setting: &'static str, path: &Path, host: &KeyName) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { setting, path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => text.parse::<SignerKey>().map(|key| Self::from_seed(&key.seed)).map_err(|error| {
                KeyFileError::Form { setting, path: path.to_owned(), reason: error.to_string() }
            }),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let key = Self::from_seed(&random());
                let text = key.signer(host);
                if let Some(parent) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
                    fs::create_dir_all(parent).map_err(io)?;
                }
                // `create_new`: of two first starts one wins and the other reads its key at the next try.
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
                writeln!(file, "{}", text.reveal()).map_err(io)?;
                file.sync_all().map_err(io)?;
                Ok(key)
            }
            Err(error) => Err(io(error)),
        }
    }

    /// The public key.
    pub fn public(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// A secret of another purpose, that says nothing about the key.
    pub fn derive(&self, purpose: &str) -> [u8; 32] {
        let mut mac =
            Hmac::<Sha256>::new_from_slice(self.0.as_bytes()).expect("HMAC takes keys of any length");
        mac.update(purpose.as_bytes());
        mac.finalize().into_bytes().into()
    }

    /// The key as its file holds it.
    pub(super) fn signer(&self, name: &KeyName) -> SignerKey {
        SignerKey { name: name.clone(), id: KeyId::of(name, &self.public()), seed: self.0.to_bytes() }
    }

    /// The signature of a text.
    pub(super) fn signature(&self, text: &str) -> [u8; 64] {
        self.0.sign(text.as_bytes()).to_bytes()
    }

    /// A signed note of this text under a name.
    pub fn sign_note(&self, text: &str, name: &KeyName) -> String {
        assemble(text, name, KeyId::of(name, &self.public()), &self.signature(text))
    }
}

/// The verifier key of a log.
pub fn verifier(origin: &str, public: &[u8]) -> Option<VerifierKey> {
    Some(VerifierKey { name: KeyName::try_from(origin.to_owned()).ok()?, public: public.try_into().ok()? })
}
