//! The key by which the edge tells a secret without saying it (`EDGETRAIL_HASH_KEY`): with it, whoever holds a value finds out
//! where it was used.

use std::fmt;
use std::path::Path;

/// Why there is no key.
#[derive(Debug, thiserror::Error)]
pub enum FingerprintKeyError {
    /// The file cannot be read.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// It holds nothing.
    #[error("the file is empty")]
    Empty,
}

/// The key.
#[derive(Clone)]
pub struct FingerprintKey(Vec<u8>);

impl fmt::Debug for FingerprintKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FingerprintKey(..)")
    }
}

impl FingerprintKey {
    /// Reads the key: the text that the Worker has.
    ///
    /// # Errors
    /// [`FingerprintKeyError`]
    pub fn load(path: &Path) -> Result<Self, FingerprintKeyError> {
        let text = std::fs::read_to_string(path)?;
        let text = text.trim();
        if text.is_empty() { Err(FingerprintKeyError::Empty) } else { Ok(Self(text.as_bytes().to_vec())) }
    }

    /// The fingerprint of a value, as the edge makes it.
    pub fn of(&self, value: &str) -> String {
        shared::capture::fingerprint(&self.0, value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_text_of_the_file_and_never_shown() {
        let dir = tempfile::tempdir().expect("a directory");
        let path = dir.path().join("hash.key");
        std::fs::write(&path, "edge key\n").expect("written");
        let key = FingerprintKey::load(&path).expect("a key");
        assert_eq!(key.of("token"), shared::capture::fingerprint(b"edge key", "token"));
        assert_eq!(format!("{key:?}"), "FingerprintKey(..)");
        std::fs::write(&path, "\n").expect("written");
        assert!(matches!(FingerprintKey::load(&path), Err(FingerprintKeyError::Empty)));
    }
}
