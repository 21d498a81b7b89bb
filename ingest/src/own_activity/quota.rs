//! How often somebody may do something: so many times within a stretch of time, each for himself.
//!
//! Kept in memory, each process for itself; a restart forgets it. It keeps one person's script from costing the others, it is no
//! wall against an attacker.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use shared::event::Timestamp;

/// People that are remembered before those who may go on anyway are forgotten.
const REMEMBERED: usize = 10_000;

/// A limit.
#[derive(Debug)]
pub(crate) struct Quota {
    times: usize,
    within: u64,
    taken: Mutex<HashMap<String, Vec<Timestamp>>>,
}

impl Quota {
    pub(crate) fn new(times: usize, within: Duration) -> Self {
        let within = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
        Self { times, within, taken: Mutex::default() }
    }

    /// Takes one, or says after how many seconds there is one again.
    pub(crate) fn take(&self, who: &str, now: Timestamp) -> Result<(), u64> {
        let left = |at: &Timestamp| at.millis().saturating_add(self.within).saturating_sub(now.millis());
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.len() >= REMEMBERED {
            taken.retain(|_, times| times.iter().any(|at| left(at) > 0));
        }
        let times = taken.entry(who.to_owned()).or_default();
        times.retain(|at| left(at) > 0);
        match times.first() {
            Some(first) if times.len() >= self.times => Err(left(first).div_ceil(1_000)),
            _ => {
                times.push(now);
                Ok(())
            }
        }
    }

    /// Gives back what was taken last: it came to nothing.
    pub(crate) fn give_back(&self, who: &str) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(times) = taken.get_mut(who) {
            times.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_may_so_often_and_then_has_to_wait() {
        let quota = Quota::new(2, Duration::from_secs(10));
        let at = |seconds: u64| Timestamp::try_from(1_795_400_000_000 + seconds * 1_000).expect("a time");
        assert_eq!(quota.take("a", at(0)), Ok(()));
        assert_eq!(quota.take("a", at(4)), Ok(()));
        assert_eq!(quota.take("a", at(5)), Err(5));
        assert_eq!(quota.take("b", at(5)), Ok(()));
        quota.give_back("a");
        assert_eq!(quota.take("a", at(6)), Ok(()));
        assert_eq!(quota.take("a", at(10)), Ok(()), "the first is over");
    }
}
