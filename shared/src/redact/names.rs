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
    holds(&plain, ALWAYS) || holds(&plain, TEXT) || WHOLE.contains(&plain.as_str())
}

/// Whether this value under that secret name is masked: numbers and flags under a name of [`TEXT`] are not.
pub(super) fn masks(name: &str, value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(_) | Value::Number(_) => {
            let plain = plain(name);
            holds(&plain, ALWAYS) && !value.is_boolean() || WHOLE.contains(&plain.as_str())
        }
        Value::String(_) | Value::Array(_) | Value::Object(_) => true,
    }
}

/// Whether any of the parts is in the name. Names are short and there are many of them: comparing where a letter begins any
/// part is faster than setting up a search for each part.
fn holds(plain: &str, parts: &[&str]) -> bool {
    let plain = plain.as_bytes();
    (0..plain.len()).any(|at| {
        begins_a_part(plain[at])
            && parts
                .iter()
                .any(|part| part.as_bytes()[0] == plain[at] && plain[at..].starts_with(part.as_bytes()))
    })
}

fn begins_a_part(letter: u8) -> bool {
    matches!(letter, b'a' | b'c' | b'k' | b'o' | b'p' | b'r' | b's' | b't')
}

fn plain(name: &str) -> String {
    if name.is_ascii() {
        let mut plain = String::with_capacity(name.len());
        let kept = name.bytes().filter(u8::is_ascii_alphanumeric);
        plain.extend(kept.map(|byte| char::from(byte.to_ascii_lowercase())));
        return plain;
    }
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
    fn every_part_is_looked_for() {
        for part in ALWAYS.iter().chain(TEXT) {
            assert!(is_secret_name(&format!("x{part}x")), "{part}");
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
