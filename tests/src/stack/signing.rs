//! The Worker's signing key.

use shared::note::{KeyId, KeyName, SignerKey, VerifierKey};

use crate::keys::random;

/// An Ed25519 key pair in the encodings of both sides.
#[derive(Debug, Clone)]
pub struct SigningKey {
    /// For the Worker.
    pub signer: SignerKey,
    /// For ingest.
    pub verifier: VerifierKey,
}

impl SigningKey {
    /// A new key.
    pub fn generate() -> Self {
        Self::from_seed(random())
    }

    /// The key of this seed.
    pub fn from_seed(seed: [u8; 32]) -> Self {
        let name =
            KeyName::try_from("edge.localhost/dev".to_owned()).expect("the name has no space and no plus");
        let public = ed25519_dalek::SigningKey::from_bytes(&seed).verifying_key().to_bytes();
        Self {
            signer: SignerKey { id: KeyId::of(&name, &public), name: name.clone(), seed },
            verifier: VerifierKey { name, public },
        }
    }
}
