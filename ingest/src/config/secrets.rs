//! Whether a configuration file is one that nobody else may read.

use std::path::Path;

/// The last parts of keys whose values are secrets.
const SECRETS: [&str; 4] = ["secret", "secret_access_key", "client_secret", "hs256_key"];

/// Whether a configuration file holds a secret: a key that is one, or a URL with a password.
pub fn holds_secrets(file: &Path) -> bool {
    let table = std::fs::read_to_string(file).ok().and_then(|text| text.parse::<toml::Table>().ok());
    table.is_some_and(|table| holds_secret("", &toml::Value::Table(table)))
}

fn holds_secret(name: &str, value: &toml::Value) -> bool {
    match value {
        toml::Value::Table(members) => members.iter().any(|(name, value)| holds_secret(name, value)),
        toml::Value::Array(items) => items.iter().any(|item| holds_secret(name, item)),
        toml::Value::String(text) if name.ends_with("url") => {
            // Of a URL only what stands before the host is one.
            let authority = text.split_once("://").and_then(|(_, rest)| rest.split(['/', '?']).next());
            authority.and_then(|it| it.rsplit_once('@')).is_some_and(|(user, _)| user.contains(':'))
        }
        _ => SECRETS.contains(&name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_with_a_password_or_a_secret_in_it_is_told_from_others() {
        let dir = tempfile::tempdir().expect("temp dir");
        let file = dir.path().join("edgetrail.toml");
        for (text, holds) in [
            ("[database]\nurl = 'postgres://u:pw@h/d'", true),
            ("[[witness]]\ndatabase_url = 'postgres://u:pw@h/d'", true),
            ("[archive]\nsecret_access_key = 'x'", true),
            ("[access.oidc]\nclient_secret = 'x'", true),
            ("[own_activity.webhook]\nsecret = 'x'", true),
            ("[database]\nurl = 'postgres://u@h:5432/d?a=b@c:d'", false),
            ("[archive]\nurl = 's3://bucket'", false),
            ("", false),
        ] {
            std::fs::write(&file, text).expect("written");
            assert_eq!(holds_secrets(&file), holds, "{text}");
        }
    }
}
