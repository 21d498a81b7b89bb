//! Sessions of people in a browser: a random token in a cookie, of which only the SHA-256 is stored.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A session that was not used for so long is over.
pub const IDLE: TimeDelta = TimeDelta::minutes(30);
/// A session that began so long ago is over.
pub const ABSOLUTE: TimeDelta = TimeDelta::hours(12);
/// The cookie's name. The prefix makes browsers insist on Secure, on the path `/` and on this very host.
pub const COOKIE: &str = "__Host-edgetrail";

/// How a reader proved who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Means {
    /// An API key.
    ApiKey,
    /// A token of the application's own sign-in.
    AppToken,
    /// The organisation's identity provider.
    Oidc,
}

impl Means {
    /// The word that stands for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::ApiKey => "api_key",
            Self::AppToken => "app_token",
            Self::Oidc => "oidc",
        }
    }

    /// The means of a word.
    pub fn of(word: &str) -> Option<Self> {
        [Self::ApiKey, Self::AppToken, Self::Oidc].into_iter().find(|means| means.word() == word)
    }
}

/// A session's token: a secret.
#[derive(Clone, PartialEq, Eq)]
pub struct SessionToken([u8; 32]);

impl SessionToken {
    /// A new one from random bytes.
    pub fn mint(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// The token in a `Cookie` header, if there is exactly one.
    pub fn from_cookies(header: &str) -> Option<Self> {
        let mut found = header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value);
        let text = found.next()?;
        if found.next().is_some() {
            return None;
        }
        URL_SAFE_NO_PAD.decode(text).ok()?.try_into().ok().map(Self)
    }

    /// What the store keeps.
    pub fn sha256(&self) -> [u8; 32] {
        Sha256::digest(self.0).into()
    }

    /// What every request that changes something must bring along: it cannot be told without the cookie, which other sites
    /// cannot read.
    pub fn csrf(&self) -> String {
        let mut hash = Sha256::new_with_prefix("edgetrail/csrf/v1");
        hash.update(self.0);
        URL_SAFE_NO_PAD.encode(hash.finalize())
    }

    /// Whether this is the token's, in constant time.
    pub fn is_csrf(&self, text: &str) -> bool {
        self.csrf().as_bytes().ct_eq(text.as_bytes()).into()
    }

    /// The `Set-Cookie` that hands it out. It ends with the browser; the server ends it earlier.
    pub fn cookie(&self) -> String {
        format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", URL_SAFE_NO_PAD.encode(self.0))
    }

    /// The `Set-Cookie` that takes it away.
    pub fn cookie_gone() -> String {
        format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
    }
}

impl fmt::Debug for SessionToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SessionToken(..)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_reads_back_from_the_cookie_it_was_handed_out_in() {
        let token = SessionToken::mint([7; 32]);
        let cookie = token.cookie();
        let (pair, attributes) = cookie.split_once(';').expect("attributes");
        assert_eq!(attributes, " Path=/; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(SessionToken::from_cookies(&format!("a=b; {pair}; c")), Some(token.clone()));
        assert_eq!(SessionToken::from_cookies(&format!("{pair}; {pair}")), None, "which of two is meant");
        assert!(!format!("{token:?}").contains("Bw"));
    }

    #[test]
    fn other_cookies_are_none() {
        for header in ["", "__Host-edgetrail", "__Host-edgetrail=", "__Host-edgetrail=AAAA", "edgetrail=AAAA"]
        {
            assert_eq!(SessionToken::from_cookies(header), None, "{header}");
        }
    }

    #[test]
    fn each_token_has_a_csrf_token_of_its_own() {
        let (one, other) = (SessionToken::mint([1; 32]), SessionToken::mint([2; 32]));
        assert!(one.is_csrf(&one.csrf()));
        assert!(!one.is_csrf(&other.csrf()));
        assert!(!one.is_csrf(""));
    }
}
