//! The key that signs checkpoints: one Ed25519 key for an installation, under each log's own name.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use ed25519_dalek::{Signer as _, SigningKey};
use shared::note::{Checkpoint, KeyId, KeyName, SignerKey, VerifierKey, assemble};

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
                let text = SignerKey {
                    name: host.clone(),
                    id: KeyId::of(host, &key.public()),
                    seed: key.0.to_bytes(),
                };
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

    /// The signed note of a checkpoint. The key's name is the log's origin (c2sp.org/tlog-checkpoint).
    pub fn sign(&self, checkpoint: &Checkpoint, origin: &KeyName) -> String {
        self.sign_note(&checkpoint.to_string(), origin)
    }

    /// A signed note of this text under a name.
    pub fn sign_note(&self, text: &str, name: &KeyName) -> String {
        let signature = self.0.sign(text.as_bytes()).to_bytes();
        assemble(text, name, KeyId::of(name, &self.public()), &signature)
    }
}

/// The verifier key of a log.
pub fn verifier(origin: &str, public: &[u8]) -> Option<VerifierKey> {
    Some(VerifierKey { name: KeyName::try_from(origin.to_owned()).ok()?, public: public.try_into().ok()? })
}
