//! Who may be the second person. One person may hold several keys and grants, and an admin may appoint others: neither makes
//! two people of one.

use chrono::{DateTime, TimeDelta, Utc};
use shared::event::TenantId;

use crate::view::time;

/// Who granted what was granted by the server's own command line; no person is called so.
pub const COMMAND_LINE: &str = "command line";

/// An admin whom another admin appointed counts as a second person after this time: as long as an admin who is alone waits.
pub const APPOINTED_COUNTS_AFTER: TimeDelta = TimeDelta::days(7);

/// Which person somebody is, as far as their key or sign-in shows it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Standing {
    names: Vec<String>,
    counts_from: DateTime<Utc>,
}

/// An admin who asks for something, or decides on it.
#[derive(Debug, Clone, Copy)]
pub struct Admin<'a> {
    /// Where.
    pub tenant: &'a TenantId,
    /// The id of the key, or the person.
    pub key: &'a str,
    /// Who that is.
    pub standing: &'a Standing,
}

/// Why somebody cannot ask for, or agree to, what takes two people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SecondPersonError {
    /// A key without a person.
    #[error(
        "this key belongs to nobody; what takes two people is asked for by a person: sign in, or use a key with one"
    )]
    Nobody,
    /// The person who asked.
    #[error("whoever asked for it cannot agree to it; another person must")]
    SamePerson,
    /// It was asked for by nobody that is known.
    #[error("who asked for it is not known as a person; it has to be asked for again")]
    Unknown,
    /// They were appointed a short time ago.
    #[error("this admin was appointed by another one; as a second person they count from {} on", time(*.0))]
    Appointed(DateTime<Utc>),
}

impl Standing {
    /// Of somebody of these names, empty for nobody, by a role granted by `by` at a time.
    pub fn new(names: Vec<String>, by: &str, at: DateTime<Utc>) -> Self {
        let counts_from = if by == COMMAND_LINE { at } else { at + APPOINTED_COUNTS_AFTER };
        Self { names, counts_from }
    }

    /// Every name that is known of them.
    ///
    /// # Errors
    /// [`SecondPersonError::Nobody`] if there is none.
    pub fn person(&self) -> Result<&[String], SecondPersonError> {
        if self.names.is_empty() { Err(SecondPersonError::Nobody) } else { Ok(&self.names) }
    }

    /// Whether they may agree to what a person asked for.
    ///
    /// # Errors
    /// [`SecondPersonError`] if not.
    pub fn agree(&self, asked: &[String], now: DateTime<Utc>) -> Result<(), SecondPersonError> {
        self.person()?;
        match () {
            () if asked.is_empty() => Err(SecondPersonError::Unknown),
            () if self.names.iter().any(|name| asked.contains(name)) => Err(SecondPersonError::SamePerson),
            () if now < self.counts_from => Err(SecondPersonError::Appointed(self.counts_from)),
            () => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> Vec<String> {
        names.iter().map(|name| (*name).to_owned()).collect()
    }

    #[test]
    fn a_person_with_two_names_is_one_person() {
        let now = DateTime::from_timestamp(2_000_000, 0).expect("a time");
        let alice = Standing::new(names(&["s-1", "alice@example.com"]), COMMAND_LINE, now);
        assert_eq!(alice.agree(&names(&["alice@example.com"]), now), Err(SecondPersonError::SamePerson));
        assert_eq!(alice.agree(&names(&["s-1", "old@example.com"]), now), Err(SecondPersonError::SamePerson));
        assert_eq!(alice.agree(&names(&["bob@example.com"]), now), Ok(()));
    }

    #[test]
    fn nobody_is_no_second_person() {
        let now = DateTime::from_timestamp(2_000_000, 0).expect("a time");
        let machine = Standing::new(Vec::new(), COMMAND_LINE, now);
        assert_eq!(machine.agree(&names(&["bob@example.com"]), now), Err(SecondPersonError::Nobody));
        assert_eq!(machine.person(), Err(SecondPersonError::Nobody));
        let alice = Standing::new(names(&["alice@example.com"]), COMMAND_LINE, now);
        assert_eq!(alice.agree(&[], now), Err(SecondPersonError::Unknown));
    }

    #[test]
    fn whom_an_admin_appointed_counts_after_as_long_as_an_admin_alone_would_wait() {
        let now = DateTime::from_timestamp(2_000_000, 0).expect("a time");
        let bob = Standing::new(names(&["bob@example.com"]), "alice@example.com", now);
        let counts_from = now + TimeDelta::days(7);
        let asked = names(&["alice@example.com"]);
        let just_before = counts_from - TimeDelta::milliseconds(1);
        assert_eq!(bob.agree(&asked, just_before), Err(SecondPersonError::Appointed(counts_from)));
        assert_eq!(bob.agree(&asked, counts_from), Ok(()));
    }
}
