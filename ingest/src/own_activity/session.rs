//! Sessions of people who look at their own activity in a browser.
//!
//! A session of this kind is a signed cookie, not a row: the store learns nothing of it, and it lasts no longer than the token that
//! it was given for, an hour at most. It has a name, a key and a form of its own, so it can never pass for a session of those who
//! read a tenant's log, nor the other way round.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit as _, Mac as _};
use sha2::Sha256;
use shared::event::{TenantId, Timestamp};
use subtle::ConstantTimeEq as _;

use crate::clock::random;

/// The cookie's name; the prefix binds it to this very host, over TLS.
pub(crate) const COOKIE: &str = "__Host-edgetrail-me";
/// The longest a session lasts, in milliseconds.
const LONGEST: u64 = 60 * 60 * 1_000;
const TAG_LEN: usize = 32;

/// Somebody whom the application's token proved.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Person {
    /// The token's `sub`.
    pub(crate) subject: String,
    /// The token's address, for a page to greet them by; it opens nothing.
    pub(crate) email: Option<String>,
}

/// Makes sessions and reads them.
pub(crate) struct Sessions(Hmac<Sha256>);

impl fmt::Debug for Sessions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sessions(..)")
    }
}

/// A session as its browser has it: a secret.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Session(String);

impl fmt::Debug for Session {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Session(..)")
    }
}

impl Session {
    /// The session in a `Cookie` header, if there is exactly one.
    pub(crate) fn from_cookies(header: &str) -> Option<Self> {
        let mut found = header
            .split(';')
            .filter_map(|pair| pair.trim().split_once('='))
            .filter(|(name, _)| *name == COOKIE)
            .map(|(_, value)| value);
        let value = found.next()?;
        if found.next().is_some() { None } else { Some(Self(value.to_owned())) }
    }

    /// The `Set-Cookie` that hands it out. It ends with the browser; what it says ends it earlier.
    pub(crate) fn cookie(&self) -> String {
        format!("{COOKIE}={}; Path=/; Secure; HttpOnly; SameSite=Lax", self.0)
    }

    /// The `Set-Cookie` that takes it away.
    pub(crate) fn cookie_gone() -> String {
        format!("{COOKIE}=; Path=/; Secure; HttpOnly; SameSite=Lax; Max-Age=0")
    }
}

impl Sessions {
    /// Sessions under a key of this server.
    pub(crate) fn new(key: &[u8; 32]) -> Self {
        Self(Hmac::new_from_slice(key).expect("HMAC takes keys of any length"))
    }

    /// A new session, until the token's own end in seconds since 1970.
    pub(crate) fn begin(
        &self,
        tenant: &TenantId,
        person: &Person,
        token_ends: u64,
        now: Timestamp,
    ) -> Session {
        let until = token_ends.saturating_mul(1_000).min(now.millis().saturating_add(LONGEST));
        let mut bytes = until.to_be_bytes().to_vec();
        bytes.extend(random::<16>());
        let subject = person.subject.as_bytes();
        bytes.extend(u32::try_from(subject.len()).unwrap_or(0).to_be_bytes());
        bytes.extend(subject);
        bytes.extend(person.email.as_deref().unwrap_or_default().as_bytes());
        let tag = self.mac("session", tenant, &bytes).finalize().into_bytes();
        bytes.extend(tag);
        Session(URL_SAFE_NO_PAD.encode(bytes))
    }

    /// Whose session it is; none if it was not made here for this tenant, or is over.
    pub(crate) fn read(&self, tenant: &TenantId, session: &Session, now: Timestamp) -> Option<Person> {
        let bytes = URL_SAFE_NO_PAD.decode(&session.0).ok()?;
        let (signed, tag) = bytes.split_at_checked(bytes.len().checked_sub(TAG_LEN)?)?;
        self.mac("session", tenant, signed).verify_slice(tag).ok()?;
        let (until, rest) = signed.split_first_chunk::<8>()?;
        if u64::from_be_bytes(*until) <= now.millis() {
            return None;
        }
        let (_, rest) = rest.split_first_chunk::<16>()?;
        let (length, rest) = rest.split_first_chunk::<4>()?;
        let (subject, email) = rest.split_at_checked(usize::try_from(u32::from_be_bytes(*length)).ok()?)?;
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).ok();
        Some(Person { subject: text(subject)?, email: text(email).filter(|email| !email.is_empty()) })
    }

    /// What every form of a session's pages brings along: it cannot be told without the cookie.
    pub(crate) fn csrf(&self, tenant: &TenantId, session: &Session) -> String {
        URL_SAFE_NO_PAD.encode(self.mac("csrf", tenant, session.0.as_bytes()).finalize().into_bytes())
    }

    /// Whether a text is a session's, in constant time.
    pub(crate) fn is_csrf(&self, tenant: &TenantId, session: &Session, text: &str) -> bool {
        self.csrf(tenant, session).as_bytes().ct_eq(text.as_bytes()).into()
    }

    fn mac(&self, of: &str, tenant: &TenantId, signed: &[u8]) -> Hmac<Sha256> {
        let mut mac = self.0.clone();
        for part in [of, tenant.as_str()] {
            mac.update(part.as_bytes());
            mac.update(&[0]);
        }
        mac.update(signed);
        mac
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::try_from(1_795_400_000_000 + seconds * 1_000).expect("a time")
    }

    fn begun(sessions: &Sessions, ends: u64) -> (TenantId, Person, Session) {
        let tenant: TenantId = "demo".parse().expect("a slug");
        let person = Person { subject: "u-1".to_owned(), email: Some("ü@example.com".to_owned()) };
        let session = sessions.begin(&tenant, &person, 1_795_400_000 + ends, at(0));
        (tenant, person, session)
    }

    #[test]
    fn a_session_ends_with_its_token_and_within_an_hour() {
        let sessions = Sessions::new(&[7; 32]);
        let (tenant, person, session) = begun(&sessions, 60);
        assert_eq!(sessions.read(&tenant, &session, at(59)), Some(person));
        assert_eq!(sessions.read(&tenant, &session, at(60)), None);
        let (tenant, _, session) = begun(&sessions, 1_000_000);
        assert!(sessions.read(&tenant, &session, at(3_599)).is_some());
        assert_eq!(sessions.read(&tenant, &session, at(3_600)), None);
    }

    #[test]
    fn a_session_that_was_not_made_here_is_none() {
        let sessions = Sessions::new(&[7; 32]);
        let (tenant, _, session) = begun(&sessions, 60);
        assert_eq!(Sessions::new(&[8; 32]).read(&tenant, &session, at(0)), None);
        assert_eq!(sessions.read(&"other".parse().expect("a slug"), &session, at(0)), None);
        for place in 0..session.0.len() {
            let mut changed = session.0.clone().into_bytes();
            changed[place] = if changed[place] == b'A' { b'B' } else { b'A' };
            let changed = Session(String::from_utf8(changed).expect("ASCII"));
            assert_eq!(sessions.read(&tenant, &changed, at(0)), None, "{place}");
        }
        for text in ["", "AAAA", "é", &"A".repeat(200)] {
            assert_eq!(sessions.read(&tenant, &Session(text.to_owned()), at(0)), None, "{text}");
        }
    }

    #[test]
    fn each_session_has_a_word_of_its_own_for_forms() {
        let sessions = Sessions::new(&[7; 32]);
        let ((tenant, _, one), (_, _, other)) = (begun(&sessions, 60), begun(&sessions, 60));
        assert_ne!(one, other);
        assert!(sessions.is_csrf(&tenant, &one, &sessions.csrf(&tenant, &one)));
        assert!(!sessions.is_csrf(&tenant, &one, &sessions.csrf(&tenant, &other)));
        assert!(!sessions.is_csrf(&tenant, &one, ""));
        let cookie = one.cookie();
        let (pair, attributes) = cookie.split_once(';').expect("attributes");
        assert_eq!(attributes, " Path=/; Secure; HttpOnly; SameSite=Lax");
        assert_eq!(Session::from_cookies(&format!("a=b; {pair}")), Some(one.clone()));
        assert_eq!(Session::from_cookies(&format!("{pair}; {pair}")), None);
    }
}
