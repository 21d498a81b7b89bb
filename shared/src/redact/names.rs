//! Names under which secrets stand.

use serde_json::Value;

/// Parts of a name, without case and separators, that mark a secret of any type.
const ALWAYS: &[&str] = &[
    "password",
    "passwd",
    "passphrase",
    "secret",
    "apikey",
    "credential",
    "privatekey",
    "authorization",
    "cookie",
    "codeverifier",
    "authcode",
    "actionlink",
    "onetimecode",
    "servicerole",
    "keyhash",
    "recoverycode",
];

/// Whole names that mark a secret of any type.
const WHOLE: &[&str] =
    &["otp", "pin", "cvv", "cvc", "nonce", "jwt", "pwd", "pass", "auth", "emailotp", "qrcode"];

/// Parts that mark a secret only where the value is text: `tokens_used: 12` is none.
const TEXT: &[&str] = &["token", "signature"];

/// Whether a value under this name may be a secret.
pub fn is_secret_name(name: &str) -> bool {
    let plain = plain(name);
    ALWAYS.iter().chain(TEXT).any(|part| plain.contains(part)) || WHOLE.contains(&plain.as_str())
}

/// Whether this value under that secret name is masked: numbers and flags under a name of [`TEXT`] are not.
pub(super) fn masks(name: &str, value: &Value) -> bool {
    let plain = plain(name);
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => {
            ALWAYS.iter().any(|part| plain.contains(part)) && !value.is_boolean()
                || WHOLE.contains(&plain.as_str())
        }
        Value::String(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

fn plain(name: &str) -> String {
    name.chars().filter(|char| char.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn spelling_does_not_hide_a_secret() {
        for name in
            ["newPassword", "API-KEY", "client_secret", "refresh_token", "Set-Cookie", "totp_secret", "OTP"]
        {
            assert!(is_secret_name(name), "{name}");
        }
        for name in ["agent_name", "status", "email", "plugins_required", "compass", "opinion", "author"] {
            assert!(!is_secret_name(name), "{name}");
        }
    }

    #[test]
    fn counts_of_tokens_are_not_tokens() {
        assert!(!masks("tokens_used", &json!(120)));
        assert!(masks("access_token", &json!("abc")));
        assert!(masks("otp", &json!(123_456)));
        assert!(!masks("has_password", &json!(true)));
    }
}
