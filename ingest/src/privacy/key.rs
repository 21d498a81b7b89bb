//! The key under which an erased person is known again: `privacy.key` beside the log's key, in no database and no backup
//! of one. Without it the hashes in the database say nothing.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shared::event::TenantId;
use shared::leaf::Hash;

use crate::clock::random;
use crate::ledger::key::KeyFileError;

const SETTING: &str = "privacy.key";
const DOMAIN: &[u8] = b"audit/subject/v1\0";

/// The key.
#[derive(Clone)]
pub struct SubjectKey(Hmac<Sha256>);

impl std::fmt::Debug for SubjectKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("SubjectKey(..)")
    }
}

impl SubjectKey {
    /// A key from its bytes.
    pub fn new(bytes: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(bytes).expect("HMAC takes keys of any length"))
    }

    /// Reads the key, or makes it at the first start, readable by its owner alone.
    ///
    /// # Errors
    /// If the file cannot be read, made, or holds no key.
    pub fn load_or_create(path: &Path) -> Result<Self, KeyFileError> {
        let io = |source| KeyFileError::Io { setting: SETTING, path: path.to_owned(), source };
        match fs::read_to_string(path) {
            Ok(text) => {
                let mut bytes = [0; 32];
                hex::decode_to_slice(text.trim(), &mut bytes).map_err(|_| KeyFileError::Form {
                    setting: SETTING,
                    path: path.to_owned(),
                    reason: "is not 32 bytes in hex".to_owned(),
                })?;
                Ok(Self::new(&bytes))
            }
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                let bytes: [u8; 32] = random();
                let mut file =
                    fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path).map_err(io)?;
                writeln!(file, "{}", hex::encode(bytes)).map_err(io)?;
                file.sync_all().map_err(io)?;
                Ok(Self::new(&bytes))
            }
            Err(error) => Err(io(error)),
        }
    }

    /// The hash of a folded text within a tenant.
    pub fn hash(&self, tenant: &TenantId, folded: &str) -> Hash {
        let mut mac = self.0.clone();
        mac.update(DOMAIN);
        mac.update(&[u8::try_from(tenant.as_str().len()).unwrap_or(u8::MAX)]);
        mac.update(tenant.as_str().as_bytes());
        mac.update(folded.as_bytes());
        mac.finalize().into_bytes().into()
    }
}
