//! Gives a recording fresh tokens: the same claims, issued now, signed with the test keys.
//!
//! Texts are edited, not parsed and written again: everything around a token stays as it was recorded, to the byte.
//! The same old token always becomes the same new one. Legacy API keys keep their times (they are good until 2033)
//! and only change their signature. A recorded JWKS becomes that of the test keys.

use std::collections::BTreeMap;

use shared::recording::Exchange;

use super::cookie::{SessionCookie, header, sessions};
use super::secret::{Secret, SecretKind, Secrets};
use crate::keys::{Alg, Keys, LIFETIME, Parts};

/// A recording that can be played now.
#[derive(Debug)]
pub struct Resigned {
    /// The exchanges, in the order of the recording.
    pub exchanges: Vec<Exchange>,
    /// Every secret that playing them puts on the wire.
    pub secrets: Vec<Secret>,
}

/// Replaces every token of a recording.
pub fn resign(recording: &[Exchange], keys: &Keys, now: u64) -> Resigned {
    let mut signer = Resigner { keys, now, seen: BTreeMap::new(), secrets: Secrets::default() };
    let exchanges = recording.iter().map(|old| signer.exchange(old)).collect();
    Resigned { exchanges, secrets: signer.secrets.into_vec() }
}

struct Resigner<'a> {
    keys: &'a Keys,
    now: u64,
    /// Old token → new token and the expiry that it replaced.
    seen: BTreeMap<String, (String, Option<u64>)>,
    secrets: Secrets,
}

impl Resigner<'_> {
    fn exchange(&mut self, old: &Exchange) -> Exchange {
        let mut new = old.clone();
        new.request.url = self.text(&old.request.url);
        for (name, value) in &mut new.request.headers {
            *value = if name.eq_ignore_ascii_case("cookie") { self.cookies(value) } else { self.text(value) };
        }
        for (_, value) in &mut new.response.headers {
            *value = self.text(value);
        }
        new.request.body = old.request.body.as_deref().map(|body| self.body(body));
        new.response.body = old.response.body.as_deref().map(|body| self.body(body));
        if old.request.url.ends_with("/.well-known/jwks.json") && old.response.status == 200 {
            new.response.body = Some(self.keys.jwks().to_string());
        }
        new
    }

    fn body(&mut self, text: &str) -> String {
        let text = self.text(text);
        self.secrets.add_json(&text);
        text
    }

    fn cookies(&mut self, old: &str) -> String {
        let mut cookies = sessions(old);
        for cookie in &mut cookies {
            match cookie {
                SessionCookie::Other(pair) => *pair = self.text(pair),
                SessionCookie::Session(session) => {
                    session.json = self.body(&session.json);
                    self.secrets.add(SecretKind::Cookie, &session.value());
                    for (_, chunk) in session.cookies() {
                        self.secrets.add(SecretKind::Cookie, &chunk);
                    }
                }
            }
        }
        header(&cookies)
    }

    /// Replaces the tokens in a text, and the `expires_at` beside each.
    fn text(&mut self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut expiries = Vec::new();
        let mut rest = text;
        while let Some(at) = rest.find("eyJ") {
            out.push_str(&rest[..at]);
            rest = &rest[at..];
            let len = rest
                .find(|char: char| !(char.is_ascii_alphanumeric() || "-_.".contains(char)))
                .unwrap_or(rest.len());
            let (candidate, after) = rest.split_at(len);
            match self.token(candidate) {
                Some((new, expiry)) => {
                    out.push_str(&new);
                    expiries.extend(expiry);
                }
                None => out.push_str(candidate),
            }
            rest = after;
        }
        out.push_str(rest);
        for old in expiries {
            let new = self.now + LIFETIME;
            out = out.replace(&format!("\"expires_at\":{old}"), &format!("\"expires_at\":{new}"));
        }
        out
    }

    fn token(&mut self, old: &str) -> Option<(String, Option<u64>)> {
        if let Some(new) = self.seen.get(old) {
            return Some(new.clone());
        }
        let parts = Parts::of(old)?;
        let alg = Alg::of(parts.header["alg"].as_str()?)?;
        let claims: serde_json::Value = serde_json::from_str(&parts.claims).ok()?;
        let expiry = claims["exp"].as_u64().filter(|_| claims["iss"] != "supabase");
        let mut text = parts.claims;
        if let Some(exp) = expiry {
            text = put_time(&text, "exp", exp, self.now + LIFETIME);
            if let Some(iat) = claims["iat"].as_u64() {
                text = put_time(&text, "iat", iat, self.now);
            }
        }
        let new = self.keys.sign_text(&text, alg);
        self.secrets.add(SecretKind::Token, &new);
        self.seen.insert(old.to_owned(), (new.clone(), expiry));
        Some((new, expiry))
    }
}

fn put_time(claims: &str, name: &str, old: u64, new: u64) -> String {
    claims.replacen(&format!("\"{name}\":{old}"), &format!("\"{name}\":{new}"), 1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replay::fixture;
    use serde_json::Value;

    const NOW: u64 = 1_900_000_000;

    fn timeless(claims: &Value) -> Value {
        let mut claims = claims.clone();
        claims["iat"] = Value::Null;
        claims["exp"] = Value::Null;
        claims
    }

    fn claims_in(text: &str) -> Vec<Value> {
        text.split(|char: char| !(char.is_ascii_alphanumeric() || "-_.".contains(char)))
            .filter_map(Parts::of)
            .filter_map(|parts| serde_json::from_str(&parts.claims).ok())
            .collect()
    }

    #[test]
    fn every_token_is_fresh_and_says_the_same() {
        let keys = Keys::from_seed("resign");
        let old = fixture().expect("the fixture is good");
        let new = resign(&old, &keys, NOW).exchanges;
        let (mut sessions_seen, mut bearers, mut bodies) = (0, 0, 0);
        for (old, new) in old.iter().zip(&new) {
            for ((name, before), (_, after)) in old.request.headers.iter().zip(&new.request.headers) {
                let pairs: Vec<(String, String)> = match name.to_ascii_lowercase().as_str() {
                    "cookie" => sessions(before)
                        .into_iter()
                        .zip(sessions(after))
                        .filter_map(|pair| match pair {
                            (SessionCookie::Session(before), SessionCookie::Session(after)) => {
                                Some((before.json, after.json))
                            }
                            _ => None,
                        })
                        .collect(),
                    "authorization" | "apikey" => vec![(before.clone(), after.clone())],
                    _ => {
                        assert_eq!(before, after);
                        continue;
                    }
                };
                for (before, after) in pairs {
                    let (before, after_claims) = (claims_in(&before), claims_in(&after));
                    assert_eq!(before.len(), 1);
                    assert_eq!(timeless(&before[0]), timeless(&after_claims[0]));
                    let token = after
                        .split(['"', ' '])
                        .find(|part| part.starts_with("eyJ"))
                        .expect("there is a token");
                    let good = keys.verify(token, NOW).expect("the token is good");
                    if name.eq_ignore_ascii_case("cookie") {
                        sessions_seen += 1;
                        assert!(after.contains(&format!("\"expires_at\":{}", NOW + LIFETIME)));
                        assert_eq!(good["iat"], NOW);
                    } else {
                        bearers += 1;
                    }
                }
            }
            let tokens = claims_in(new.response.body.as_deref().unwrap_or_default());
            bodies += tokens.len();
            assert!(tokens.iter().all(|claims| claims["iat"] == NOW));
        }
        assert!(sessions_seen > 20 && bearers > 30 && bodies > 2);
    }

    #[test]
    fn secrets_are_those_on_the_wire() {
        let keys = Keys::from_seed("resign");
        let old = fixture().expect("the fixture is good");
        let new = resign(&old, &keys, NOW);
        let has =
            |kind, value: &str| new.secrets.iter().any(|secret| secret.kind == kind && secret.value == value);
        assert!(has(SecretKind::Password, "alice-password-2"));
        assert!(has(SecretKind::Token, &keys.api_key("anon")));
        assert!(has(SecretKind::Token, &keys.api_key("service_role")));
        let wire = serde_json::to_string(&new.exchanges).expect("exchanges are JSON");
        for secret in &new.secrets {
            let whole_of_chunks = secret.kind == SecretKind::Cookie && secret.value.len() > 3180;
            let inside_cookie = matches!(secret.kind, SecretKind::Token | SecretKind::RefreshToken);
            assert!(whole_of_chunks || inside_cookie || wire.contains(&secret.value), "{secret:?}");
        }
    }
}
