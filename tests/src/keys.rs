//! An issuer like a Supabase project's: HS256 secret, ES256 and RS256 keys, JWKS, tokens, and tokens that must not pass.
//!
//! All keys come from a seed, so that a run can be repeated and a kept session survives a restart; only the RSA key,
//! which takes seconds to make, is the one in `fixtures/rs256-test-key.pem`. None of them is a secret, and nothing
//! outside of tests and development may trust them.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as B64;
use hmac::{Hmac, KeyInit as _, Mac as _};
use p256::ecdsa::signature::{Signer as _, Verifier as _};
use rsa::pkcs8::DecodePrivateKey as _;
use rsa::signature::SignatureEncoding as _;
use rsa::traits::PublicKeyParts as _;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The issuer of the recordings and of the demo application.
pub const ISSUER: &str = "http://127.0.0.1:54321/auth/v1";

/// How long a token is good for, in seconds: what the recordings have.
pub const LIFETIME: u64 = 3600;

const RS256_PEM: &str = include_str!("../fixtures/rs256-test-key.pem");

/// Why a token was not accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// Not three parts of base64url JSON.
    #[error("not a JSON web token")]
    Form,
    /// An algorithm or key id that is not ours.
    #[error("token is signed with an unknown key")]
    Key,
    /// The signature is not good.
    #[error("token has a bad signature")]
    Signature,
    /// Its time is over.
    #[error("token has expired")]
    Expired,
}

/// A signature algorithm.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Alg {
    /// The project's shared secret; no `kid`.
    Hs256,
    /// P-256, the default of new projects.
    Es256,
    /// RSA.
    Rs256,
}

impl Alg {
    /// Reads the `alg` of a token header.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "ES256" => Some(Self::Es256),
            "RS256" => Some(Self::Rs256),
            _ => None,
        }
    }
}

/// The keys of one issuer.
#[derive(Clone)]
pub struct Keys {
    hs256: String,
    es256: p256::ecdsa::SigningKey,
    es256_kid: String,
    rs256: rsa::pkcs1v15::SigningKey<Sha256>,
    rs256_public: rsa::PublicKey,
    rs256_kid: String,
}

impl Keys {
    /// The keys that this seed gives.
    pub fn from_seed(seed: &str) -> Self {
        let derive = |what: &str| Sha256::digest(format!("edgetrail test {what}\n{seed}"));
        let kid = |what: &str| {
            let mut bytes = [0; 16];
            bytes.copy_from_slice(&derive(what)[..16]);
            uuid::Builder::from_random_bytes(bytes).into_uuid().to_string()
        };
        let rsa =
            rsa::PrivateKey::from_pkcs8_pem(RS256_PEM).expect("the committed test key is a PKCS#8 RSA key");
        Self {
            hs256: hex::encode(derive("hs256")),
            es256: p256::ecdsa::SigningKey::from_slice(&derive("es256"))
                .expect("32 bytes of SHA-256 are a P-256 scalar but for one in 2^32"),
            es256_kid: kid("es256 kid"),
            rs256_public: rsa.to_public_key(),
            rs256: rsa::pkcs1v15::SigningKey::new(rsa),
            rs256_kid: kid("rs256 kid"),
        }
    }

    /// Keys of their own.
    pub fn generate() -> Self {
        Self::from_seed(&uuid::Uuid::from_bytes(random()).to_string())
    }

    /// The project's JWT secret.
    pub fn hs256_secret(&self) -> &str {
        &self.hs256
    }

    /// What `/auth/v1/.well-known/jwks.json` answers; a shared secret is never in it.
    pub fn jwks(&self) -> Value {
        let point = self.es256.verifying_key().to_sec1_point(false);
        let (x, y) = (&point.as_bytes()[1..33], &point.as_bytes()[33..]);
        json!({ "keys": [
            { "alg": "ES256", "kty": "EC", "x": B64.encode(x), "y": B64.encode(y), "crv": "P-256", "ext": true,
              "key_ops": ["verify"], "kid": self.es256_kid, "use": "sig" },
            { "alg": "RS256", "kty": "RSA", "n": B64.encode(self.rs256_public.n_bytes()),
              "e": B64.encode(self.rs256_public.e_bytes()), "ext": true, "key_ops": ["verify"], "kid": self.rs256_kid,
              "use": "sig" },
        ]})
    }

    /// A token with these claims.
    pub fn sign(&self, claims: &Value, alg: Alg) -> String {
        self.sign_text(&claims.to_string(), alg)
    }

    /// A token with these claims, to the byte.
    pub fn sign_text(&self, claims: &str, alg: Alg) -> String {
        let header = match alg {
            Alg::Hs256 => r#"{"alg":"HS256","typ":"JWT"}"#.to_owned(),
            Alg::Es256 => self.header("ES256", &self.es256_kid),
            Alg::Rs256 => self.header("RS256", &self.rs256_kid),
        };
        self.sign_parts(&header, claims, alg)
    }

    /// A token that was signed by somebody else, under our key id.
    pub fn forged(&self, claims: &Value, alg: Alg) -> String {
        let mut other = Self::from_seed("a forger");
        other.es256_kid.clone_from(&self.es256_kid);
        other.rs256_kid.clone_from(&self.rs256_kid);
        let token = other.sign(claims, alg);
        if alg != Alg::Rs256 {
            return token;
        }
        // There is one RSA key: spoil the signature instead.
        let (signed, signature) = token.rsplit_once('.').unwrap_or((&token, ""));
        let mut bytes = B64.decode(signature).unwrap_or_default();
        if let Some(last) = bytes.last_mut() {
            *last ^= 1;
        }
        format!("{signed}.{}", B64.encode(bytes))
    }

    /// A token that was good until a minute before `now`.
    pub fn expired(&self, claims: &Value, alg: Alg, now: u64) -> String {
        self.sign(&with_times(claims, now - LIFETIME - 60), alg)
    }

    /// A token that says it needs no signature.
    pub fn unsigned(&self, claims: &Value) -> String {
        let header = B64.encode(r#"{"alg":"none","typ":"JWT"}"#);
        format!("{header}.{}.", B64.encode(claims.to_string()))
    }

    /// A well-signed token whose `kid` nobody knows.
    pub fn wrong_kid(&self, claims: &Value) -> String {
        let header = self.header("ES256", "00000000-0000-4000-8000-000000000000");
        self.sign_parts(&header, &claims.to_string(), Alg::Es256)
    }

    /// A legacy API key: `anon` or `service_role`.
    pub fn api_key(&self, role: &str) -> String {
        let claims = format!(
            r#"{{"iss":"supabase","ref":"local","role":"{role}","iat":1700000000,"exp":2015000000}}"#
        );
        self.sign_text(&claims, Alg::Hs256)
    }

    /// The claims of a token that is good at `now`.
    ///
    /// # Errors
    /// [`TokenError`], in the order form, key, signature, time.
    pub fn verify(&self, token: &str, now: u64) -> Result<Value, TokenError> {
        let parts = Parts::of(token).ok_or(TokenError::Form)?;
        let signature = B64.decode(parts.signature).map_err(|_| TokenError::Signature)?;
        let kid = parts.header["kid"].as_str();
        match (parts.header["alg"].as_str().and_then(Alg::of), kid) {
            (Some(Alg::Hs256), _) => {
                self.mac(parts.signed).verify_slice(&signature).map_err(|_| TokenError::Signature)?;
            }
            (Some(Alg::Es256), Some(kid)) if kid == self.es256_kid => {
                let signature =
                    p256::ecdsa::Signature::from_slice(&signature).map_err(|_| TokenError::Signature)?;
                self.es256
                    .verifying_key()
                    .verify(parts.signed.as_bytes(), &signature)
                    .map_err(|_| TokenError::Signature)?;
            }
            (Some(Alg::Rs256), Some(kid)) if kid == self.rs256_kid => {
                let signature = rsa::pkcs1v15::Signature::try_from(signature.as_slice())
                    .map_err(|_| TokenError::Signature)?;
                rsa::pkcs1v15::VerifyingKey::<Sha256>::new(self.rs256_public.clone())
                    .verify(parts.signed.as_bytes(), &signature)
                    .map_err(|_| TokenError::Signature)?;
            }
            _ => return Err(TokenError::Key),
        }
        let claims: Value = serde_json::from_str(&parts.claims).map_err(|_| TokenError::Form)?;
        match claims["exp"].as_u64() {
            Some(exp) if exp > now => Ok(claims),
            _ => Err(TokenError::Expired),
        }
    }

    fn header(&self, alg: &str, kid: &str) -> String {
        format!(r#"{{"alg":"{alg}","kid":"{kid}","typ":"JWT"}}"#)
    }

    fn sign_parts(&self, header: &str, claims: &str, alg: Alg) -> String {
        let signed = format!("{}.{}", B64.encode(header), B64.encode(claims));
        let signature = match alg {
            Alg::Hs256 => self.mac(&signed).finalize().into_bytes().to_vec(),
            Alg::Es256 => {
                let signature: p256::ecdsa::Signature = self.es256.sign(signed.as_bytes());
                signature.to_bytes().to_vec()
            }
            Alg::Rs256 => self.rs256.sign(signed.as_bytes()).to_vec(),
        };
        format!("{signed}.{}", B64.encode(signature))
    }

    fn mac(&self, signed: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(self.hs256.as_bytes()).expect("HMAC takes any key");
        mac.update(signed.as_bytes());
        mac
    }
}

/// A token taken apart, nothing verified.
#[derive(Debug)]
pub struct Parts<'a> {
    /// The header.
    pub header: Value,
    /// The claims as text, so that their order can be kept.
    pub claims: String,
    /// What the signature covers.
    pub signed: &'a str,
    /// The signature, base64url.
    pub signature: &'a str,
}

impl<'a> Parts<'a> {
    /// Takes a token apart, or says that it is none.
    pub fn of(token: &'a str) -> Option<Self> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (header, claims) = signed.split_once('.')?;
        let header: Value = serde_json::from_slice(&B64.decode(header).ok()?).ok()?;
        header.get("alg")?;
        let claims = String::from_utf8(B64.decode(claims).ok()?).ok()?;
        claims.starts_with('{').then_some(Self { header, claims, signed, signature })
    }
}

/// The claims, issued at `now`.
pub fn with_times(claims: &Value, now: u64) -> Value {
    let mut claims = claims.clone();
    claims["iat"] = now.into();
    claims["exp"] = (now + LIFETIME).into();
    claims
}

/// Bytes from the system.
pub fn random<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).expect("the system has randomness");
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_500_000;

    fn claims() -> Value {
        with_times(&json!({ "iss": ISSUER, "sub": "alice" }), NOW)
    }

    #[test]
    fn good_tokens_pass() {
        let keys = Keys::from_seed("test");
        for alg in [Alg::Hs256, Alg::Es256, Alg::Rs256] {
            assert_eq!(keys.verify(&keys.sign(&claims(), alg), NOW), Ok(claims()));
        }
        let anon = keys.verify(&keys.api_key("anon"), NOW).expect("the key is good");
        assert_eq!(anon["role"], "anon");
    }

    #[test]
    fn the_others_do_not() {
        let keys = Keys::from_seed("test");
        for alg in [Alg::Hs256, Alg::Es256, Alg::Rs256] {
            assert_eq!(keys.verify(&keys.forged(&claims(), alg), NOW), Err(TokenError::Signature));
            assert_eq!(keys.verify(&keys.expired(&claims(), alg, NOW), NOW), Err(TokenError::Expired));
        }
        assert_eq!(keys.verify(&keys.unsigned(&claims()), NOW), Err(TokenError::Key));
        assert_eq!(keys.verify(&keys.wrong_kid(&claims()), NOW), Err(TokenError::Key));
        assert_eq!(keys.verify("a.b", NOW), Err(TokenError::Form));
    }

    #[test]
    fn the_published_keys_are_those_of_the_seed() {
        let keys = Keys::from_seed("test").jwks();
        assert_eq!(keys, Keys::from_seed("test").jwks());
        assert_ne!(keys, Keys::generate().jwks());
        assert_eq!(keys["keys"][0]["x"].as_str().map(str::len), Some(43));
        assert_eq!(keys["keys"][1]["e"], "AQAB");
    }
}
