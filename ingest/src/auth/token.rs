//! Tokens that prove who somebody is: read by [`shared::identity`], checked here.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Url};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde_json::Value;
use sha2::Sha256;
use shared::event::{Timestamp, Trust};
use shared::identity::{Algorithm, Check, Claims, Issuer, Jwt, Verdict, judge, select_key};
use tokio::sync::Mutex;

use crate::config::{AppTokens, TokenKey};

/// A set of keys is read again after this time.
const FRESH_FOR: Duration = Duration::from_mins(10);
/// A key that is not in the set makes it be read again, though not more often than this.
const ASK_AGAIN_AFTER: Duration = Duration::from_secs(30);
/// Of an answer that is a document of keys or of an identity provider.
pub(super) const MAX_ANSWER: usize = 256 * 1024;
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);

/// Why a token proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TokenError {
    /// It is none, or nothing can check it.
    #[error("this is not a token that can be checked")]
    Form,
    /// The signature, the issuer, the audience or the time is wrong.
    #[error("the token is not valid here, or not any more")]
    Invalid,
    /// The keys could not be read.
    #[error("the keys to check it with cannot be read now: {0}")]
    Keys(String),
}

/// Checks the tokens of one issuer.
#[derive(Debug)]
pub struct Verifier {
    issuer: Issuer,
    key: Key,
}

enum Key {
    Secret(String),
    Set(KeySet),
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Key(..)")
    }
}

impl Verifier {
    /// A verifier of the application's tokens.
    pub fn of_app(config: &AppTokens) -> Self {
        let key = match &config.key {
            TokenKey::Secret(secret) => Key::Secret(secret.clone()),
            TokenKey::Set(url) => Key::Set(KeySet::new(url.clone())),
        };
        Self { issuer: issuer(&config.issuer, &config.audience), key }
    }

    /// A verifier of an identity provider's tokens for one client.
    pub(super) fn of_provider(name: &str, client_id: &str, keys: Url) -> Self {
        Self { issuer: issuer(name, client_id), key: Key::Set(KeySet::new(keys)) }
    }

    /// What a token says, once it is proven at a time.
    ///
    /// # Errors
    /// [`TokenError`] if it is not.
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        let jwt = Jwt::parse(token).ok_or(TokenError::Form)?;
        let check = jwt.check.as_ref().ok_or(TokenError::Form)?;
        let verdict = match (&self.key, check.alg) {
            (Key::Secret(secret), Algorithm::Hs256) => by_secret(secret, check),
            (Key::Set(set), Algorithm::Es256 | Algorithm::Rs256) => set.check(check).await?,
            // A public key as an HMAC secret is an old trick.
            (Key::Secret(_) | Key::Set(_), _) => Verdict::Invalid,
        };
        let identity = judge(&jwt.claims, jwt.algorithm, verdict, &self.issuer, now);
        if identity.trust == Trust::Verified { Ok(jwt.claims) } else { Err(TokenError::Invalid) }
    }
}

fn issuer(issuer: &str, audience: &str) -> Issuer {
    Issuer { issuer: Some(issuer.to_owned()), audience: Some(audience.to_owned()), ..Issuer::default() }
}

fn verdict(is_valid: bool) -> Verdict {
    if is_valid { Verdict::Valid } else { Verdict::Invalid }
}

fn by_secret(secret: &str, check: &Check) -> Verdict {
    let Ok(signature) = URL_SAFE_NO_PAD.decode(&check.signature) else { return Verdict::Invalid };
    let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("HMAC takes keys of any length");
    mac.update(check.data.as_bytes());
    verdict(mac.verify_slice(&signature).is_ok())
}

/// A key set that is fetched when it is needed.
#[derive(Debug)]
struct KeySet {
    url: Url,
    client: Client,
    cached: Mutex<Option<(Instant, String)>>,
}

impl KeySet {
    fn new(url: Url) -> Self {
        Self { url, client: client(), cached: Mutex::default() }
    }

    async fn check(&self, check: &Check) -> Result<Verdict, TokenError> {
        let mut cached = self.cached.lock().await;
        let fresh = |age: Duration| move |(at, _): &&(Instant, String)| at.elapsed() < age;
        if let Some((_, set)) = cached.as_ref().filter(fresh(FRESH_FOR))
            && let Some(key) = select_key(set, check.alg, check.kid.as_deref())
        {
            return Ok(by_key(&key, check));
        }
        if cached.as_ref().filter(fresh(ASK_AGAIN_AFTER)).is_some() {
            return Ok(Verdict::Invalid);
        }
        let set = text(self.client.get(self.url.clone())).await.map_err(TokenError::Keys)?;
        let (_, set) = cached.insert((Instant::now(), set));
        let key = select_key(set, check.alg, check.kid.as_deref());
        Ok(key.map_or(Verdict::Invalid, |key| by_key(&key, check)))
    }
}

/// Checks a signature with a key of a set.
fn by_key(jwk: &str, check: &Check) -> Verdict {
    let jwk: Value = serde_json::from_str(jwk).unwrap_or_default();
    let part = |name: &str| URL_SAFE_NO_PAD.decode(jwk.get(name)?.as_str()?).ok();
    let Ok(signature) = URL_SAFE_NO_PAD.decode(&check.signature) else { return Verdict::Invalid };
    let data = check.data.as_bytes();
    let is_valid = match check.alg {
        Algorithm::Es256 => part("x").zip(part("y")).is_some_and(|(x, y)| {
            let point = [&[4], x.as_slice(), y.as_slice()].concat();
            UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(data, &signature).is_ok()
        }),
        Algorithm::Rs256 => part("n").zip(part("e")).is_some_and(|(n, e)| {
            let key = RsaPublicKeyComponents { n, e };
            key.verify(&RSA_PKCS1_2048_8192_SHA256, data, &signature).is_ok()
        }),
        Algorithm::Hs256 | Algorithm::Other => false,
    };
    verdict(is_valid)
}

/// A client for documents: it follows no redirects, so that a document is from where it was asked for.
pub(super) fn client() -> Client {
    crate::tls::use_ring();
    Client::builder()
        .timeout(ANSWERS_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .expect("a client of rustls and ring")
}

/// The body of a good answer.
pub(super) async fn text(request: reqwest::RequestBuilder) -> Result<String, String> {
    let no_url = |error: reqwest::Error| error.without_url().to_string();
    let mut answer = request.send().await.map_err(no_url)?;
    if !answer.status().is_success() {
        return Err(format!("status {}", answer.status().as_u16()));
    }
    let mut body = Vec::new();
    while let Some(piece) = answer.chunk().await.map_err(no_url)? {
        body.extend_from_slice(&piece);
        if body.len() > MAX_ANSWER {
            return Err(format!("is longer than {MAX_ANSWER} bytes"));
        }
    }
    String::from_utf8(body).map_err(|_| "is not UTF-8".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECRET: &str = "a secret of the project, 32 bytes or more";
    const NOW: u64 = 1_795_400_000_000;

    fn verifier() -> Verifier {
        Verifier::of_app(&AppTokens {
            issuer: "https://ref.example/auth/v1".to_owned(),
            audience: "authenticated".to_owned(),
            key: TokenKey::Secret(SECRET.to_owned()),
        })
    }

    fn signed(header: &str, payload: &Value, secret: &str) -> String {
        let data =
            format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(payload.to_string()));
        let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).expect("any length");
        mac.update(data.as_bytes());
        format!("{data}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn payload() -> Value {
        serde_json::json!({
            "iss": "https://ref.example/auth/v1", "aud": "authenticated", "sub": "u-1",
            "email": "alice@example.com", "role": "authenticated", "exp": NOW / 1000 + 60,
        })
    }

    #[tokio::test]
    async fn a_token_of_the_app_proves_its_user() {
        let now = Timestamp::try_from(NOW).expect("a time");
        let token = signed(r#"{"alg":"HS256"}"#, &payload(), SECRET);
        let claims = verifier().verify(&token, now).await.expect("proven");
        assert_eq!(claims.email.as_deref(), Some("alice@example.com"));
    }

    #[tokio::test]
    async fn a_token_that_is_wrong_in_any_part_proves_nothing() {
        let now = Timestamp::try_from(NOW).expect("a time");
        let hs256 = r#"{"alg":"HS256"}"#;
        let with = |name: &str, value: Value| {
            let mut changed = payload();
            changed[name] = value;
            signed(hs256, &changed, SECRET)
        };
        for token in [
            signed(hs256, &payload(), "another secret of 32 bytes or even more"),
            with("iss", "https://evil.example".into()),
            with("aud", "other".into()),
            with("exp", (NOW / 1000).into()),
            with("sub", Value::Null),
            with("role", "service_role".into()),
            signed(r#"{"alg":"ES256"}"#, &payload(), SECRET),
        ] {
            assert_eq!(verifier().verify(&token, now).await.map(|_| ()), Err(TokenError::Invalid), "{token}");
        }
        for token in ["", "a.b.c", &signed(r#"{"alg":"none"}"#, &payload(), SECRET)] {
            assert_eq!(verifier().verify(token, now).await.map(|_| ()), Err(TokenError::Form));
        }
    }

    /// A set of keys that is published, and changed by the test.
    async fn publishing(set: &'static str) -> (KeySet, std::sync::Arc<std::sync::Mutex<&'static str>>) {
        let published = std::sync::Arc::new(std::sync::Mutex::new(set));
        let served = std::sync::Arc::clone(&published);
        let keys = axum::routing::get(async move || *served.lock().expect("no panic"));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("http://{}/", listener.local_addr().expect("an address"));
        let router = axum::Router::new().route("/", keys);
        tokio::spawn(async move { axum::serve(listener, router).await });
        (KeySet::new(url.parse().expect("a URL")), published)
    }

    #[tokio::test]
    async fn a_key_that_is_not_known_makes_the_set_be_read_again_though_not_at_once() {
        // The keys and signatures of RFC 7515, A.3 (P-256), under two names.
        const OLD: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"old",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        const NEW: &str = r#"{"keys":[{"kty":"EC","crv":"P-256","kid":"new",
            "x":"f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU","y":"x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0"}]}"#;
        let check = |kid: &str| {
            Check {
            key: String::new(),
            alg: Algorithm::Es256,
            kid: Some(kid.to_owned()),
            data: "eyJhbGciOiJFUzI1NiJ9.eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ".to_owned(),
            signature: "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djxLa8ISlSApmWQxfKTUJqPP3-Kg6NU1Q".to_owned(),
        }
        };
        let (set, published) = publishing(OLD).await;
        assert_eq!(set.check(&check("old")).await, Ok(Verdict::Valid));
        *published.lock().expect("no panic") = NEW;
        assert_eq!(set.check(&check("new")).await, Ok(Verdict::Invalid), "it was read just now");
        assert_eq!(set.check(&check("old")).await, Ok(Verdict::Valid), "what was read is kept");
        let read_at = Instant::now().checked_sub(ASK_AGAIN_AFTER).expect("the clock is older");
        if let Some((at, _)) = set.cached.lock().await.as_mut() {
            *at = read_at;
        }
        assert_eq!(set.check(&check("new")).await, Ok(Verdict::Valid), "it was read again");
        assert_eq!(set.check(&check("old")).await, Ok(Verdict::Invalid), "the old key has gone");
    }
}
