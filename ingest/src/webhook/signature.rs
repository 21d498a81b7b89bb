//! Signatures of Standard Webhooks: HMAC-SHA256 over the id, the time and the body, version `v1`.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;

/// What stands before a secret in text.
const PREFIX: &str = "whsec_";
/// Bytes of a secret.
const LENGTH: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a text is no secret. It never shows the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("is not whsec_ and 24 to 64 bytes in base64")]
pub struct SecretError;

/// The secret that a sender and a receiver share.
#[derive(Clone, PartialEq, Eq)]
pub struct Secret(Vec<u8>);

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}

impl FromStr for Secret {
    type Err = SecretError;

    fn from_str(text: &str) -> Result<Self, SecretError> {
        let bytes = text.strip_prefix(PREFIX).and_then(|encoded| STANDARD.decode(encoded).ok());
        bytes.filter(|bytes| LENGTH.contains(&bytes.len())).map(Self).ok_or(SecretError)
    }
}

impl Secret {
    /// The value of `webhook-signature` for a message that is sent at a time in seconds since 1970.
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.0).expect("HMAC takes keys of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_vectors_of_standard_webhooks_hold() {
        // The example of the specification, and the vector of its libraries.
        for (secret, id, at, body, expected) in [
            (
                "whsec_plJ3nmyCDGBKInavdOK15jsl",
                "msg_loFOjxBNrRLzqYUf",
                1_731_705_121,
                r#"{"event_type":"ping","data":{"success":true}}"#,
                "v1,rAvfW3dJ/X/qxhsaXPOyyCGmRKsaKWcsNccKXlIktD0=",
            ),
            (
                "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
                "msg_p5jXN8AQM9LWM0D4loKWxJek",
                1_614_265_330,
                r#"{"test": 2432232314}"#,
                "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
            ),
        ] {
            // The first one's key has 18 bytes: shorter than the specification wants, so no configuration may have it.
            let key = STANDARD.decode(secret.trim_start_matches(PREFIX)).expect("base64");
            assert_eq!(Secret(key).sign(id, at, body.as_bytes()), expected);
        }
    }

    #[test]
    fn a_secret_has_a_prefix_and_a_length_and_is_never_shown() {
        let secret: Secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw".parse().expect("a secret");
        assert_eq!(format!("{secret:?}"), "Secret(..)");
        for bad in [
            "",
            "whsec_",
            "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
            "whsec_plJ3nmyCDGBKInavdOK15jsl",
            "whsec_not base64",
        ] {
            assert_eq!(bad.parse::<Secret>(), Err(SecretError), "{bad}");
        }
    }
}
