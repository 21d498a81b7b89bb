//! Failed attempts to sign in, by address and by account: whoever fails too often waits.
//!
//! They are kept in memory. A restart forgets them, which gives an attacker a few more tries at 256 random bits.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex};

use shared::event::Timestamp;

/// How far back failures count, in milliseconds.
const WINDOW_MS: u64 = 15 * 60 * 1000;
/// Failures of one account.
const PER_ACCOUNT: usize = 5;
/// Failures from one address: an office shares one.
const PER_ADDRESS: usize = 20;
/// Addresses and accounts that are remembered, about 200 bytes each.
const REMEMBERED: usize = 50_000;

/// Whose failures.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Origin {
    /// An address; of IPv6 the network of a subscriber, 64 bits.
    Address(IpAddr),
    /// A key's id, or the person a token names.
    Account(String),
}

impl Origin {
    /// An address.
    pub fn address(address: IpAddr) -> Self {
        Self::Address(match address.to_canonical() {
            IpAddr::V6(address) => {
                let [a, b, c, d, ..] = address.segments();
                Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
            }
            IpAddr::V4(address) => address.into(),
        })
    }

    fn allowed(&self) -> usize {
        match self {
            Self::Address(_) => PER_ADDRESS,
            Self::Account(_) => PER_ACCOUNT,
        }
    }
}

/// The failures. Clones share them.
#[derive(Debug, Clone, Default)]
pub struct Attempts(Arc<Mutex<HashMap<Origin, Vec<Timestamp>>>>);

impl Attempts {
    /// How many seconds have to pass before any of these may try again; none if it may now.
    pub fn wait(&self, origins: &[Origin], now: Timestamp) -> Option<u64> {
        let failures = self.0.lock().expect("no panic while locked");
        let waits = origins.iter().filter_map(|origin| {
            let recent: Vec<u64> = failures.get(origin)?.iter().map(|at| left(*at, now)).collect();
            let recent: Vec<u64> = recent.into_iter().filter(|left| *left > 0).collect();
            // The oldest that still counts against them leaves first.
            let counted = recent.len().checked_sub(origin.allowed())?;
            recent.get(counted).map(|left| left.div_ceil(1000))
        });
        waits.max()
    }

    /// Counts a failure; whether any of these is locked out from here on.
    pub fn failed(&self, origins: &[Origin], now: Timestamp) -> bool {
        let mut failures = self.0.lock().expect("no panic while locked");
        if failures.len() >= REMEMBERED {
            failures.retain(|_, times| times.iter().any(|at| left(*at, now) > 0));
        }
        for origin in origins {
            // Rather forget than let memory grow without end.
            if failures.len() < REMEMBERED || failures.contains_key(origin) {
                let times = failures.entry(origin.clone()).or_default();
                times.retain(|at| left(*at, now) > 0);
                times.push(now);
            }
        }
        drop(failures);
        self.wait(origins, now).is_some()
    }

    /// Forgets an account's failures: it has proven itself. The address's stay, since anybody can have one good account.
    pub fn succeeded(&self, account: &str) {
        self.0.lock().expect("no panic while locked").remove(&Origin::Account(account.to_owned()));
    }
}

/// For how many milliseconds a failure still counts.
fn left(at: Timestamp, now: Timestamp) -> u64 {
    (at.millis() + WINDOW_MS).saturating_sub(now.millis())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> Timestamp {
        Timestamp::try_from(1_795_400_000_000 + seconds * 1000).expect("a time")
    }

    #[test]
    fn an_account_waits_after_five_failures_until_the_first_is_old() {
        let attempts = Attempts::default();
        let account = [Origin::Account("alice".to_owned())];
        for n in 0..4 {
            assert!(!attempts.failed(&account, at(n)), "{n}");
        }
        assert_eq!(attempts.wait(&account, at(4)), None);
        assert!(attempts.failed(&account, at(4)));
        assert_eq!(attempts.wait(&account, at(4)), Some(896));
        assert_eq!(attempts.wait(&account, at(899)), Some(1));
        assert_eq!(attempts.wait(&account, at(900)), None);
        assert_eq!(attempts.wait(&[Origin::Account("bob".to_owned())], at(4)), None);
    }

    #[test]
    fn success_forgets_the_account_and_not_the_address() {
        let attempts = Attempts::default();
        let address = Origin::address("203.0.113.7".parse().expect("an address"));
        let both = [address.clone(), Origin::Account("alice".to_owned())];
        (0..20).for_each(|n| {
            attempts.failed(&both, at(n));
        });
        attempts.succeeded("alice");
        assert_eq!(attempts.wait(&both[1..], at(20)), None);
        assert!(attempts.wait(&[address], at(20)).is_some());
    }

    #[test]
    fn a_network_of_ipv6_is_one_address() {
        let origin = |text: &str| Origin::address(text.parse().expect("an address"));
        assert_eq!(origin("2001:db8:1:2::7"), origin("2001:db8:1:2:ffff::"));
        assert_ne!(origin("2001:db8:1:2::7"), origin("2001:db8:1:3::7"));
        assert_eq!(origin("::ffff:203.0.113.7"), origin("203.0.113.7"));
    }
}
