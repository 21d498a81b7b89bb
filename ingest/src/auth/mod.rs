//! Who may send and who may read: signing keys of producers; API keys, people, roles and sessions of readers; and what they
//! read, as events.

mod api_key;
mod attempts;
mod fingerprint;
mod mask;
mod notice;
mod oidc;
pub mod reads;
mod role;
mod second;
mod session;
mod signers;
mod token;

pub use api_key::{ApiKey, ApiKeyText};
pub use attempts::{Attempts, Origin};
pub use fingerprint::{FingerprintKey, FingerprintKeyError};
pub use mask::{MASKED, mask, mask_field, mask_text};
pub use notice::Notice;
pub use oidc::{JOURNEY, Named, OidcError, Provider};
pub use reads::{Read, ReadKind, Reads};
pub use role::{Capability, EndlessAuditor, Role, Tenure, person};
pub use second::{APPOINTED_COUNTS_AFTER, Admin, COMMAND_LINE, SecondPersonError, Standing};
pub use session::{ABSOLUTE, COOKIE, IDLE, Means, SessionToken};
pub use signers::{Signer, SignerLookup, Signers};
pub use token::{TokenError, Verifier};
