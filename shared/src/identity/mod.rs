//! Who is asking, as far as the request's token says.
//!
//! The token is found and read here; its signature is checked by whoever has a crypto engine (the Worker: the
//! platform's own), and [`judge`] turns that verdict into [`Trust`]. A token is never kept, nor a piece of one: what
//! leaves this module are [`Claims`] and, towards the verifier, a [`Check`].

mod cookie;
mod jwks;
mod jwt;

pub use cookie::session_token;
pub(crate) use cookie::{escaped, percent_decode};
pub use jwks::select_key;
pub use jwt::{Algorithm, Claims, Jwt};

use serde::{Deserialize, Serialize};

use crate::event::{Actor, Timestamp, Trust};

/// How a mount's tokens are judged.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Issuer {
    /// The `iss` that a token must have. Supabase: `https://<ref>.supabase.co/auth/v1`.
    #[serde(default)]
    pub issuer: Option<String>,
    /// The `aud` that a token must have, usually `authenticated`.
    #[serde(default)]
    pub audience: Option<String>,
    /// Where the public keys are.
    #[serde(default)]
    pub jwks_url: Option<String>,
    /// The name of the binding that holds the HS256 secret, if the project signs with one.
    #[serde(default)]
    pub hs256_secret: Option<String>,
}

/// A signature to check.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// SHA-256 of the token in hex: under this the verdict is cached.
    pub key: String,
    /// The algorithm to check with; the key must be of its kind.
    pub alg: Algorithm,
    /// The key's id, where the token names one.
    pub kid: Option<String>,
    /// What was signed.
    pub data: String,
    /// The signature in base64url.
    pub signature: String,
}

/// What the crypto engine says of a [`Check`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// The signature is the key's.
    Valid,
    /// It is not.
    Invalid,
    /// It could not be checked: no key, or no answer from where the keys are.
    Unavailable,
}

/// A person or service as named by a token, and how sure we are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// How sure we are.
    pub trust: Trust,
    /// Who; none for anonymous.
    pub actor: Option<Actor>,
    /// The token's session.
    pub session: Option<String>,
}

impl Identity {
    /// Nobody was named.
    pub fn anonymous() -> Self {
        Self { trust: Trust::Anonymous, actor: None, session: None }
    }
}

/// Judges a token as of the request's arrival.
///
/// Verified needs a valid signature, an `exp` after the arrival, and the issuer and audience that the mount names.
/// Legacy API keys of Supabase (`iss: supabase`, no `sub`) are HS256 tokens of another issuer and have no audience:
/// they prove a role, nobody's identity. Anything else that names somebody is asserted.
pub fn judge(
    claims: &Claims,
    algorithm: Algorithm,
    verdict: Verdict,
    issuer: &Issuer,
    arrived: Timestamp,
) -> Identity {
    let role = claims.role.as_deref();
    let api_key =
        claims.sub.is_none() && claims.iss.as_deref() == Some("supabase") && algorithm == Algorithm::Hs256;
    let proven = verdict == Verdict::Valid
        && claims.is_current(arrived)
        && (api_key
            || (claims.is_from(issuer.issuer.as_deref()) && claims.is_for(issuer.audience.as_deref())));
    let actor = || Actor {
        id: claims.sub.clone().or_else(|| claims.role.clone()).unwrap_or_default(),
        email: claims.email.clone(),
        role: claims.role.clone(),
        aal: claims.aal.clone(),
        method: claims.method.clone(),
    };
    match (proven, role, claims.sub.is_some()) {
        (_, Some("anon") | None, false) => Identity::anonymous(),
        (true, Some("service_role"), _) => {
            Identity { trust: Trust::Service, actor: Some(actor()), session: claims.session_id.clone() }
        }
        (true, _, true) => {
            Identity { trust: Trust::Verified, actor: Some(actor()), session: claims.session_id.clone() }
        }
        (_, _, _) => {
            Identity { trust: Trust::Asserted, actor: Some(actor()), session: claims.session_id.clone() }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_795_400_000_000;

    fn person() -> Claims {
        Claims {
            sub: Some("u1".to_owned()),
            iss: Some("https://ref.example/auth/v1".to_owned()),
            aud: vec!["authenticated".to_owned()],
            role: Some("authenticated".to_owned()),
            exp: Some(NOW / 1000 + 60),
            session_id: Some("s1".to_owned()),
            ..Claims::default()
        }
    }

    fn issuer() -> Issuer {
        Issuer {
            issuer: Some("https://ref.example/auth/v1".to_owned()),
            audience: Some("authenticated".to_owned()),
            ..Issuer::default()
        }
    }

    fn trust(claims: &Claims, verdict: Verdict) -> Trust {
        let arrived = Timestamp::try_from(NOW).expect("in range");
        judge(claims, Algorithm::Es256, verdict, &issuer(), arrived).trust
    }

    #[test]
    fn only_a_valid_current_token_of_the_right_issuer_and_audience_is_verified() {
        assert_eq!(trust(&person(), Verdict::Valid), Trust::Verified);
        assert_eq!(trust(&person(), Verdict::Invalid), Trust::Asserted);
        assert_eq!(trust(&person(), Verdict::Unavailable), Trust::Asserted);
        let expired = Claims { exp: Some(NOW / 1000), ..person() };
        assert_eq!(trust(&expired, Verdict::Valid), Trust::Asserted);
        let endless = Claims { exp: None, ..person() };
        assert_eq!(trust(&endless, Verdict::Valid), Trust::Asserted);
        let early = Claims { nbf: Some(NOW / 1000 + 60), ..person() };
        assert_eq!(trust(&early, Verdict::Valid), Trust::Asserted);
        let foreign = Claims { iss: Some("https://evil.example".to_owned()), ..person() };
        assert_eq!(trust(&foreign, Verdict::Valid), Trust::Asserted);
        let other = Claims { aud: vec!["other".to_owned()], ..person() };
        assert_eq!(trust(&other, Verdict::Valid), Trust::Asserted);
    }

    #[test]
    fn an_api_key_proves_a_role_and_nobody() {
        let arrived = Timestamp::try_from(NOW).expect("in range");
        let key = |role: &str| Claims {
            iss: Some("supabase".to_owned()),
            role: Some(role.to_owned()),
            exp: Some(NOW / 1000 + 60),
            ..Claims::default()
        };
        let judged = |claims: &Claims, alg, verdict| judge(claims, alg, verdict, &issuer(), arrived);
        assert_eq!(judged(&key("anon"), Algorithm::Hs256, Verdict::Valid), Identity::anonymous());
        assert_eq!(judged(&key("anon"), Algorithm::Hs256, Verdict::Invalid), Identity::anonymous());
        assert_eq!(judged(&key("service_role"), Algorithm::Hs256, Verdict::Valid).trust, Trust::Service);
        assert_eq!(
            judged(&key("service_role"), Algorithm::Hs256, Verdict::Unavailable).trust,
            Trust::Asserted
        );
        // A public key never signs API keys: whoever holds one cannot make a service of himself.
        assert_eq!(judged(&key("service_role"), Algorithm::Es256, Verdict::Valid).trust, Trust::Asserted);
    }
}
