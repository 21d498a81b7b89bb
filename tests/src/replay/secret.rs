//! What a recording puts on the wire that must be found nowhere afterwards.

use std::collections::BTreeSet;

use serde_json::Value;

/// What kind of secret it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SecretKind {
    /// A JSON web token, whole.
    Token,
    /// The value of a session cookie, or of a chunk of one.
    Cookie,
    /// A refresh token.
    RefreshToken,
    /// A password.
    Password,
    /// Another field that is named like a secret.
    Field,
}

/// One secret.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Secret {
    /// Its kind.
    pub kind: SecretKind,
    /// Its value.
    pub value: String,
}

/// Collects secrets, each once.
#[derive(Debug, Default)]
pub(super) struct Secrets(BTreeSet<Secret>);

impl Secrets {
    pub(super) fn add(&mut self, kind: SecretKind, value: &str) {
        self.0.insert(Secret { kind, value: value.to_owned() });
    }

    /// All that is named like a secret in a JSON text.
    pub(super) fn add_json(&mut self, text: &str) {
        if let Ok(value) = serde_json::from_str(text) {
            self.walk(&value);
        }
    }

    pub(super) fn into_vec(self) -> Vec<Secret> {
        self.0.into_iter().collect()
    }

    fn walk(&mut self, value: &Value) {
        match value {
            Value::Object(fields) => {
                for (name, value) in fields {
                    match (kind_of(name), value.as_str()) {
                        (Some(kind), Some(text)) if !text.is_empty() => self.add(kind, text),
                        _ => self.walk(value),
                    }
                }
            }
            Value::Array(items) => items.iter().for_each(|item| self.walk(item)),
            _ => {}
        }
    }
}

fn kind_of(field: &str) -> Option<SecretKind> {
    match field {
        "password" | "newPassword" | "currentPassword" | "current_password" => Some(SecretKind::Password),
        "refresh_token" => Some(SecretKind::RefreshToken),
        "access_token" => Some(SecretKind::Token),
        "apiKey"
        | "auth_code"
        | "code_challenge"
        | "code_verifier"
        | "email_otp"
        | "hashed_token"
        | "key_hash"
        | "nonce"
        | "provider_refresh_token"
        | "provider_token" => Some(SecretKind::Field),
        _ => None,
    }
}
