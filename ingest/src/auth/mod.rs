//! Who may send and who may read: signing keys of producers, API keys of readers.

mod api_key;
mod signers;

pub use api_key::{ApiKey, ApiKeyText, Role};
pub use signers::{Signer, SignerLookup, Signers};
