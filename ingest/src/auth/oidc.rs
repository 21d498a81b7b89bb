//! Sign-in at the organisation's identity provider: OpenID Connect Core 1.0, authorization code flow with PKCE (RFC 7636).
//!
//! Between the two requests of a sign-in nothing is kept here: what must come back unchanged is in a signed cookie of the
//! browser that began, which also binds the answer to it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use reqwest::{Client, Url};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::{Digest as _, Sha256};
use shared::event::Timestamp;
use tokio::sync::Mutex;

use super::token::{self, TokenError, Verifier};
use crate::clock::random;
use crate::config;

/// The cookie of a sign-in under way.
pub const JOURNEY: &str = "__Host-edgetrail-sign-in";
/// How long somebody may take at the provider, in seconds.
const JOURNEY_SECONDS: u64 = 600;
/// What the provider says of itself is read again after this time.
const FRESH_FOR: Duration = Duration::from_hours(1);

/// Why nobody is signed in.
#[derive(Debug, thiserror::Error)]
pub enum OidcError {
    /// The provider does not answer as it should.
    #[error("the identity provider does not answer as it should: {0}")]
    Provider(String),
    /// The answer does not belong to a sign-in of this browser.
    #[error("this answer does not belong to a sign-in that was begun here, or comes too late")]
    Journey,
    /// The provider's token.
    #[error(transparent)]
    Token(#[from] TokenError),
}

/// Whom the provider named.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Named {
    /// Their subject there.
    pub subject: String,
    /// Their address, where the provider says that it is theirs.
    pub email: Option<String>,
    /// The tenant that was asked for at the start.
    pub tenant: Option<String>,
}

/// The client of a provider.
#[derive(Debug)]
pub struct Provider {
    config: config::Oidc,
    redirect: Url,
    key: [u8; 32],
    client: Client,
    known: Mutex<Option<(Instant, Arc<Endpoints>)>>,
}

#[derive(Debug)]
struct Endpoints {
    authorization: Url,
    token: Url,
    verifier: Verifier,
}

#[derive(Deserialize)]
struct Discovery {
    issuer: String,
    authorization_endpoint: String,
    token_endpoint: String,
    jwks_uri: String,
}

#[derive(Serialize, Deserialize)]
struct Journey {
    state: String,
    nonce: String,
    verifier: String,
    tenant: Option<String>,
    until: u64,
}

impl Provider {
    /// A client that sends people back to `/sign-in/callback` of a public URL; `key` signs its cookies.
    pub fn new(config: &config::Oidc, public_url: &Url, key: [u8; 32]) -> Self {
        let redirect = public_url.join("/sign-in/callback").expect("a path of our own");
        Self { config: config.clone(), redirect, key, client: token::client(), known: Mutex::default() }
    }

    /// Where to send a browser, and the cookie that it takes along.
    ///
    /// # Errors
    /// If the provider does not say where.
    pub async fn begin(&self, tenant: Option<String>, now: Timestamp) -> Result<(Url, String), OidcError> {
        let endpoints = self.endpoints().await?;
        let word = || URL_SAFE_NO_PAD.encode(random::<32>());
        let until = now.millis() / 1000 + JOURNEY_SECONDS;
        let journey = Journey { state: word(), nonce: word(), verifier: word(), tenant, until };
        let mut url = endpoints.authorization.clone();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &self.config.client_id)
            .append_pair("redirect_uri", self.redirect.as_str())
            .append_pair("scope", "openid email")
            .append_pair("state", &journey.state)
            .append_pair("nonce", &journey.nonce)
            .append_pair("code_challenge", &URL_SAFE_NO_PAD.encode(Sha256::digest(&journey.verifier)))
            .append_pair("code_challenge_method", "S256");
        let cookie = format!(
            "{JOURNEY}={}; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age={JOURNEY_SECONDS}",
            self.seal(&journey)
        );
        Ok((url, cookie))
    }

    /// Whom the provider names to a browser that came back with a code.
    ///
    /// # Errors
    /// [`OidcError`] if the answer is not one to a sign-in of this browser, or its token proves nothing.
    pub async fn finish(
        &self,
        cookie: &str,
        state: &str,
        code: &str,
        now: Timestamp,
    ) -> Result<Named, OidcError> {
        let journey = self.open(cookie).ok_or(OidcError::Journey)?;
        if journey.state != state || journey.until <= now.millis() / 1000 {
            return Err(OidcError::Journey);
        }
        let endpoints = self.endpoints().await?;
        let mut fields = vec![
            ("grant_type", "authorization_code"),
            ("code", code),
            ("redirect_uri", self.redirect.as_str()),
            ("client_id", &self.config.client_id),
            ("code_verifier", &journey.verifier),
        ];
        fields.extend(self.config.client_secret.as_deref().map(|secret| ("client_secret", secret)));
        let request = self
            .client
            .post(endpoints.token.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .header("accept", "application/json")
            .body(form(&fields));
        let answer = token::text(request).await.map_err(OidcError::Provider)?;
        let answer: Value = serde_json::from_str(&answer).map_err(unreadable)?;
        let text =
            answer.get("id_token").and_then(Value::as_str).ok_or(OidcError::Token(TokenError::Form))?;
        let claims = endpoints.verifier.verify(text, now).await?;
        let payload = payload(text).ok_or(OidcError::Token(TokenError::Form))?;
        let says = |name: &str| payload.get(name).and_then(Value::as_str);
        let is_for_us = says("azp").is_none_or(|party| party == self.config.client_id);
        if says("nonce") != Some(journey.nonce.as_str()) || !is_for_us {
            return Err(OidcError::Token(TokenError::Invalid));
        }
        let is_verified = payload.get("email_verified").and_then(Value::as_bool) == Some(true);
        Ok(Named {
            subject: claims.sub.unwrap_or_default(),
            email: claims.email.filter(|_| is_verified),
            tenant: journey.tenant,
        })
    }

    async fn endpoints(&self) -> Result<Arc<Endpoints>, OidcError> {
        let mut known = self.known.lock().await;
        if let Some((at, endpoints)) = known.as_ref()
            && at.elapsed() < FRESH_FOR
        {
            return Ok(Arc::clone(endpoints));
        }
        let issuer = self.config.issuer.as_str().trim_end_matches('/');
        let request = self.client.get(format!("{issuer}/.well-known/openid-configuration"));
        let text = token::text(request).await.map_err(OidcError::Provider)?;
        let found: Discovery = serde_json::from_str(&text).map_err(unreadable)?;
        if found.issuer.trim_end_matches('/') != issuer {
            return Err(OidcError::Provider("it names another issuer".to_owned()));
        }
        let url = |text: &str| {
            text.parse::<Url>().map_err(|_| OidcError::Provider(format!("{text:?} is not a URL")))
        };
        let authorization = url(&found.authorization_endpoint)?;
        let token = url(&found.token_endpoint)?;
        let keys = url(&found.jwks_uri)?;
        let is_safe = |url: &Url| url.scheme() == "https" || url.origin() == self.config.issuer.origin();
        if ![&authorization, &token, &keys].into_iter().all(is_safe) {
            return Err(OidcError::Provider("an endpoint is without TLS".to_owned()));
        }
        let verifier = Verifier::of_provider(&found.issuer, &self.config.client_id, keys);
        let endpoints = Arc::new(Endpoints { authorization, token, verifier });
        *known = Some((Instant::now(), Arc::clone(&endpoints)));
        Ok(endpoints)
    }

    fn seal(&self, journey: &Journey) -> String {
        let text = serde_json::to_string(journey).expect("a journey is JSON");
        let body = URL_SAFE_NO_PAD.encode(text);
        let tag = URL_SAFE_NO_PAD.encode(self.mac(&body).finalize().into_bytes());
        format!("{body}.{tag}")
    }

    fn open(&self, sealed: &str) -> Option<Journey> {
        let (body, tag) = sealed.split_once('.')?;
        self.mac(body).verify_slice(&URL_SAFE_NO_PAD.decode(tag).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
    }

    fn mac(&self, body: &str) -> Hmac<Sha256> {
        let mut mac = Hmac::<Sha256>::new_from_slice(&self.key).expect("HMAC takes keys of any length");
        mac.update(body.as_bytes());
        mac
    }
}

fn unreadable(error: serde_json::Error) -> OidcError {
    OidcError::Provider(error.to_string())
}

/// Fields as a form sends them.
fn form(fields: &[(&str, &str)]) -> String {
    let mut url: Url = "http://form".parse().expect("a URL");
    url.query_pairs_mut().extend_pairs(fields);
    url.query().unwrap_or_default().to_owned()
}

/// What a token says beyond the claims that everybody reads. It was verified.
fn payload(token: &str) -> Option<Value> {
    let body = token.split('.').nth(1)?;
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(body).ok()?).ok()
}
