//! Names, ids and encodings of Ed25519 note keys (c2sp.org/signed-note, "Signatures" and the key formats of
//! golang.org/x/mod/sumdb/note).

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use sha2::{Digest as _, Sha256};

const ED25519: u8 = 1;

/// Why a key was refused. Never holds key material.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// Empty, over 200 bytes, or with a space or `+`.
    #[error("key name is empty, over 200 bytes, or holds a space, a control character or '+'")]
    Name,
    /// Not of the expected form.
    #[error("key is not of the form {0}")]
    Form(&'static str),
    /// A key for another kind of signature than wanted: Ed25519 is 1, a witness's cosignature 4.
    #[error("key algorithm {0} is not {1} (Ed25519 is 1, a cosignature 4)")]
    Algorithm(u8, u8),
    /// The id inside the encoding is not the key's id.
    #[error("key id does not match name and key")]
    Id,
}

/// A key's name: a schema-less URL such as `edge.example.com/eu`, without spaces and `+`, at most 200 bytes.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyName(String);

impl KeyName {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for KeyName {
    type Error = KeyError;

    fn try_from(name: String) -> Result<Self, KeyError> {
        let plain = |char: char| !char.is_whitespace() && !char.is_control() && char != '+';
        if (1..=200).contains(&name.len()) && name.chars().all(plain) {
            Ok(Self(name))
        } else {
            Err(KeyError::Name)
        }
    }
}

impl fmt::Display for KeyName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The first four bytes of `SHA-256(name | 0x0A | 0x01 | public key)`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyId(pub [u8; 4]);

impl KeyId {
    /// The id of an Ed25519 key.
    pub fn of(name: &KeyName, public: &[u8; 32]) -> Self {
        key_id(name, ED25519, public)
    }
}

/// The first four bytes of `SHA-256(name | 0x0A | algorithm | public key)`.
pub(super) fn key_id(name: &KeyName, algorithm: u8, public: &[u8; 32]) -> KeyId {
    let mut hash = Sha256::new();
    hash.update(name.as_str());
    hash.update([b'\n', algorithm]);
    hash.update(public);
    let full = hash.finalize();
    KeyId([full[0], full[1], full[2], full[3]])
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

/// A public key that verifies notes: `name+hex(id)+base64(0x01 | key)`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    /// The key's name.
    pub name: KeyName,
    /// The public key.
    pub public: [u8; 32],
}

impl VerifierKey {
    /// The key's id.
    pub fn id(&self) -> KeyId {
        KeyId::of(&self.name, &self.public)
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{}+{}", self.name, self.id(), encode_key(ED25519, &self.public))
    }
}

impl FromStr for VerifierKey {
    type Err = KeyError;

    #[inline]
    fn from_str(text: &str) -> Result<Self, KeyError> {
        const FORM: &str = "name+id+base64";
        let mut parts = text.trim().splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(KeyError::Form(FORM));
        };
        let key = Self { name: KeyName::try_from(name.to_owned())?, public: decode_key(ED25519, key, FORM)? };
        if id == key.id().to_string() { Ok(key) } else { Err(KeyError::Id) }
    }
}

/// A private key that signs notes: `PRIVATE+KEY+name+hex(id)+base64(0x01 | seed)`.
///
/// The id can only be checked by whoever derives the public key, so it is kept as read.
#[derive(Clone, PartialEq, Eq)]
pub struct SignerKey {
    /// The key's name.
    pub name: KeyName,
    /// The key's id.
    pub id: KeyId,
    /// The Ed25519 seed (RFC 8032, section 5.1.5).
    pub seed: [u8; 32],
}

impl SignerKey {
    const FORM: &str = "PRIVATE+KEY+name+id+base64";

    /// The encoding. It is a secret: print it once, to whoever asked for a new key.
    pub fn reveal(&self) -> String {
        format!("PRIVATE+KEY+{}+{}+{}", self.name, self.id, encode_key(ED25519, &self.seed))
    }
}

impl fmt::Debug for SignerKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SignerKey({} {})", self.name, self.id)
    }
}

impl FromStr for SignerKey {
    type Err = KeyError;

    #[inline]
    fn from_str(text: &str) -> Result<Self, KeyError> {
        let form = KeyError::Form(Self::FORM);
        let mut parts = text.trim().strip_prefix("PRIVATE+KEY+").ok_or(form.clone())?.splitn(3, '+');
        let (Some(name), Some(id), Some(key)) = (parts.next(), parts.next(), parts.next()) else {
            return Err(form);
        };
        let mut key_id = [0; 4];
        hex::decode_to_slice(id, &mut key_id).map_err(|_| form)?;
        Ok(Self {
            name: KeyName::try_from(name.to_owned())?,
            id: KeyId(key_id),
            seed: decode_key(ED25519, key, Self::FORM)?,
        })
    }
}

pub(super) fn encode_key(algorithm: u8, key: &[u8; 32]) -> String {
    let mut bytes = [algorithm; 33];
    bytes[1..].copy_from_slice(key);
    BASE64.encode(bytes)
}

pub(super) fn decode_key(wanted: u8, text: &str, form: &'static str) -> Result<[u8; 32], KeyError> {
    let bytes = BASE64.decode(text).map_err(|_| KeyError::Form(form))?;
    match bytes.split_first() {
        Some((&algorithm, key)) if algorithm == wanted => key.try_into().map_err(|_| KeyError::Form(form)),
        Some((&algorithm, _)) => Err(KeyError::Algorithm(algorithm, wanted)),
        None => Err(KeyError::Form(form)),
    }
}
