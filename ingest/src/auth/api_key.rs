//! API keys: `etk_<id>_<secret>`. The store holds only the SHA-256 of the text, which is enough for a secret of 256
//! random bits.

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256};
use shared::event::TenantId;
use subtle::ConstantTimeEq as _;

use super::Tenure;

/// A key as the store knows it.
#[derive(Debug, Clone)]
pub struct ApiKey {
    /// The part of the text between the underscores.
    pub id: String,
    /// Whose events it reads.
    pub tenant: TenantId,
    /// What it may do, and until when.
    pub tenure: Tenure,
    /// Who answers for it; none for a machine's.
    pub person: Option<String>,
    /// SHA-256 of the text.
    pub sha256: Vec<u8>,
}

impl ApiKey {
    /// Whether this text is the key's, in constant time.
    pub fn matches(&self, text: &ApiKeyText) -> bool {
        text.sha256().ct_eq(self.sha256.as_slice()).into()
    }
}

/// The text of a key: a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct ApiKeyText {
    text: String,
    id_len: usize,
}

const PREFIX: &str = "etk_";

impl ApiKeyText {
    /// A new key from random bytes.
    pub fn mint(id: [u8; 6], secret: [u8; 32]) -> Self {
        let id = hex::encode(id);
        Self { id_len: id.len(), text: format!("{PREFIX}{id}_{}", hex::encode(secret)) }
    }

    /// The id inside the text.
    pub fn id(&self) -> &str {
        &self.text[PREFIX.len()..PREFIX.len() + self.id_len]
    }

    /// What the store keeps.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(&self.text).into()
    }

    /// The text itself: print it once, to whoever asked for a new key.
    pub fn reveal(&self) -> &str {
        &self.text
    }
}

impl FromStr for ApiKeyText {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let (id, secret) = text.strip_prefix(PREFIX).and_then(|rest| rest.split_once('_')).ok_or(())?;
        let plain = |text: &str| text.bytes().all(|byte| byte.is_ascii_alphanumeric());
        let sized = (1..=32).contains(&id.len()) && (32..=128).contains(&secret.len());
        if sized && plain(id) && plain(secret) {
            Ok(Self { id_len: id.len(), text: text.to_owned() })
        } else {
            Err(())
        }
    }
}

impl fmt::Debug for ApiKeyText {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeyText({}, ..)", self.id())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_minted_key_reads_back_and_hides_its_secret() {
        let key = ApiKeyText::mint([0xab; 6], [7; 32]);
        assert_eq!(key.id(), "abababababab");
        assert_eq!(key.reveal().parse(), Ok(key.clone()));
        assert!(!format!("{key:?}").contains("0707"));
    }

    #[test]
    fn texts_of_another_shape_are_no_keys() {
        for text in ["", "etk_", "etk_a", "etk_a_b", "xyz_a_b", "etk__0000"] {
            assert!(text.parse::<ApiKeyText>().is_err(), "{text}");
        }
    }
}
