//! JSON Web Tokens (RFC 7519) in the compact form (RFC 7515, section 3.1). Read, never verified here.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Serialize;
use sha2::{Digest as _, Sha256};

use super::Check;
use crate::event::Timestamp;
use crate::redact::{clean, shorten_bytes};

/// The longest token that is read, in bytes; cookies end at 4 KiB a chunk and tokens with large metadata near 3 KiB.
const MAX_TOKEN_LEN: usize = 16 * 1024;

/// The longest claim that is kept, in bytes.
const MAX_CLAIM_LEN: usize = 320;

/// Signature algorithms that can be checked (RFC 7518, section 3.1).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Algorithm {
    /// HMAC with SHA-256, under the project's shared secret.
    #[serde(rename = "HS256")]
    Hs256,
    /// ECDSA on P-256 with SHA-256.
    #[serde(rename = "ES256")]
    Es256,
    /// RSASSA-PKCS1-v1_5 with SHA-256.
    #[serde(rename = "RS256")]
    Rs256,
    /// `none`, or one that is not checked here; such a token proves nothing.
    #[serde(rename = "other")]
    Other,
}

impl Algorithm {
    fn named(name: &str) -> Self {
        match name {
            "HS256" => Self::Hs256,
            "ES256" => Self::Es256,
            "RS256" => Self::Rs256,
            _ => Self::Other,
        }
    }
}

/// What a token says. Nothing of it is proven.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Claims {
    /// Subject.
    pub sub: Option<String>,
    /// Issuer.
    pub iss: Option<String>,
    /// Audiences.
    pub aud: Vec<String>,
    /// End of validity, seconds since 1970.
    pub exp: Option<u64>,
    /// Begin of validity, seconds since 1970.
    pub nbf: Option<u64>,
    /// Email address.
    pub email: Option<String>,
    /// `authenticated`, `anon` or `service_role`.
    pub role: Option<String>,
    /// Authenticator assurance level.
    pub aal: Option<String>,
    /// The first `amr` method.
    pub method: Option<String>,
    /// Session id; survives a refresh.
    pub session_id: Option<String>,
}

impl Claims {
    /// Whether the token is valid at this time, to the second; without `exp` it never is.
    pub fn is_current(&self, at: Timestamp) -> bool {
        let seconds = at.millis() / 1000;
        self.exp.is_some_and(|exp| exp > seconds) && self.nbf.is_none_or(|nbf| nbf <= seconds)
    }

    /// Whether the issuer is the wanted one; none is wanted of a mount that names none.
    pub fn is_from(&self, issuer: Option<&str>) -> bool {
        issuer.is_none_or(|issuer| self.iss.as_deref() == Some(issuer))
    }

    /// Whether the audience is among the token's.
    pub fn is_for(&self, audience: Option<&str>) -> bool {
        audience.is_none_or(|audience| self.aud.iter().any(|aud| aud == audience))
    }
}

/// A token as read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Jwt {
    /// The algorithm its header names.
    pub algorithm: Algorithm,
    /// Its claims.
    pub claims: Claims,
    /// What to check; none if nothing could prove it.
    pub check: Option<Check>,
}

impl Jwt {
    /// Reads a token; none if it is not one.
    pub fn parse(token: &str) -> Option<Self> {
        if token.len() > MAX_TOKEN_LEN {
            return None;
        }
        let (data, signature) = token.rsplit_once('.')?;
        let (header, payload) = data.split_once('.')?;
        let header: serde_json::Value = serde_json::from_slice(&decode(header)?).ok()?;
        let payload: serde_json::Value = serde_json::from_slice(&decode(payload)?).ok()?;
        let payload = payload.as_object()?;
        let algorithm = Algorithm::named(header.get("alg")?.as_str()?);
        let check = (algorithm != Algorithm::Other && !signature.is_empty()).then(|| Check {
            key: hex::encode(Sha256::digest(token)),
            alg: algorithm,
            kid: header.get("kid").and_then(serde_json::Value::as_str).map(short),
            data: data.to_owned(),
            signature: signature.to_owned(),
        });
        let text = |name: &str| {
            payload.get(name).and_then(serde_json::Value::as_str).filter(|text| !text.is_empty()).map(short)
        };
        let seconds = |name: &str| payload.get(name).and_then(as_seconds);
        let claims = Claims {
            sub: text("sub"),
            iss: text("iss"),
            aud: match payload.get("aud") {
                Some(serde_json::Value::String(one)) => vec![short(one)],
                Some(serde_json::Value::Array(many)) => {
                    many.iter().take(8).filter_map(serde_json::Value::as_str).map(short).collect()
                }
                _ => Vec::new(),
            },
            exp: seconds("exp"),
            nbf: seconds("nbf"),
            email: text("email"),
            role: text("role"),
            aal: text("aal"),
            method: payload
                .get("amr")
                .and_then(|amr| amr.get(0))
                .and_then(|first| first.get("method").unwrap_or(first).as_str())
                .map(short),
            session_id: text("session_id"),
        };
        Some(Self { algorithm, claims, check })
    }
}

/// NumericDate may have a fraction (RFC 7519, section 2).
fn as_seconds(value: &serde_json::Value) -> Option<u64> {
    match value.as_u64() {
        Some(whole) => Some(whole),
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "checked to be within range"
        )]
        None => value.as_f64().filter(|seconds| (0.0..1e15).contains(seconds)).map(|seconds| seconds as u64),
    }
}

fn short(text: &str) -> String {
    shorten_bytes(clean(text), MAX_CLAIM_LEN)
}

fn decode(part: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(part).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn token(header: &str, payload: &str) -> String {
        format!("{}.{}.c2ln", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload))
    }

    #[test]
    fn claims_are_read_and_the_check_names_key_and_data() {
        let token = token(
            r#"{"alg":"ES256","kid":"k1","typ":"JWT"}"#,
            r#"{"sub":"u1","iss":"i","aud":"authenticated","exp":17.5,"role":"authenticated","aal":"aal2",
                "amr":[{"method":"password","timestamp":1}],"session_id":"s1","email":"a@b.c","phone":""}"#,
        );
        let jwt = Jwt::parse(&token).expect("a token");
        assert_eq!(jwt.claims.sub.as_deref(), Some("u1"));
        assert_eq!(jwt.claims.exp, Some(17));
        assert_eq!(jwt.claims.method.as_deref(), Some("password"));
        let check = jwt.check.expect("ES256 can be checked");
        assert_eq!((check.alg, check.kid.as_deref()), (Algorithm::Es256, Some("k1")));
        assert_eq!(format!("{}.{}", check.data, check.signature), token);
    }

    #[test]
    fn a_token_without_algorithm_or_signature_has_nothing_to_check() {
        for header in [r#"{"alg":"none"}"#, r#"{"alg":"None"}"#, r#"{"alg":"HS512"}"#] {
            let jwt = Jwt::parse(&token(header, r#"{"sub":"u1"}"#)).expect("a token");
            assert_eq!((jwt.algorithm, jwt.check), (Algorithm::Other, None), "{header}");
        }
        let unsigned = token(r#"{"alg":"HS256"}"#, r#"{"sub":"u1"}"#);
        let unsigned = unsigned.trim_end_matches("c2ln");
        assert_eq!(Jwt::parse(unsigned).expect("a token").check, None);
    }

    #[test]
    fn what_is_not_a_token_is_none() {
        for text in ["", "a.b", "a.b.c", "sb_secret_abc", "eyJ.eyJ.x", &"a.".repeat(20_000)] {
            assert_eq!(Jwt::parse(text), None);
        }
        assert_eq!(Jwt::parse(&token("[]", "{}")), None);
        assert_eq!(Jwt::parse(&token(r#"{"alg":"HS256"}"#, "[]")), None);
    }

    proptest! {
        #[test]
        fn no_text_breaks_the_reader(text in "[A-Za-z0-9_.-]{0,200}", header in ".{0,40}", payload in ".{0,80}") {
            let _ = Jwt::parse(&text);
            let _ = Jwt::parse(&token(&header, &payload));
        }
    }
}
