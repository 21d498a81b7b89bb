//! How long what is kept, in days, within bounds that no admin can leave.

use chrono::{DateTime, TimeDelta, Utc};
use serde::{Deserialize, Serialize};

use crate::store::retention::PeriodsRow;

const DAY_MS: i64 = 86_400_000;

/// A tenant's periods. Defaults: a year, seven years (with their leap days), a quarter.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Periods {
    /// Of standard events.
    pub standard_days: u32,
    /// Of critical events.
    pub critical_days: u32,
    /// Of addresses, user agents, sessions and places, in events of any class.
    pub context_days: u32,
}

/// Why periods are refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PeriodsError {
    /// Too short or too long.
    #[error("{name}: {days} days are not {least} to {most}")]
    Bounds {
        /// Which.
        name: &'static str,
        /// How many.
        days: u32,
        /// At least.
        least: u32,
        /// At most.
        most: u32,
    },
    /// Critical events matter more.
    #[error("critical_days: critical events are kept at least as long as standard ones")]
    Critical,
    /// Context goes no later than its event.
    #[error("context_days: personal context is kept at most as long as standard events")]
    Context,
}

impl Default for Periods {
    fn default() -> Self {
        Self { standard_days: 365, critical_days: 2557, context_days: 90 }
    }
}

impl From<&PeriodsRow> for Periods {
    fn from(row: &PeriodsRow) -> Self {
        // The table's checks keep them positive.
        let days = i32::unsigned_abs;
        Self {
            standard_days: days(row.standard_days),
            critical_days: days(row.critical_days),
            context_days: days(row.context_days),
        }
    }
}

impl Periods {
    /// The same, if they are within the bounds.
    ///
    /// # Errors
    /// [`PeriodsError`] names the first that is not.
    pub fn checked(self) -> Result<Self, PeriodsError> {
        for (name, days, least, most) in [
            ("standard_days", self.standard_days, 30, 3653),
            ("critical_days", self.critical_days, 365, 7305),
            ("context_days", self.context_days, 7, 3653),
        ] {
            if !(least..=most).contains(&days) {
                return Err(PeriodsError::Bounds { name, days, least, most });
            }
        }
        if self.critical_days < self.standard_days {
            return Err(PeriodsError::Critical);
        }
        if self.context_days > self.standard_days {
            return Err(PeriodsError::Context);
        }
        Ok(self)
    }

    /// Whether something goes earlier than it would by the other periods.
    pub fn shortens(self, other: Self) -> bool {
        self.standard_days < other.standard_days
            || self.critical_days < other.critical_days
            || self.context_days < other.context_days
    }
}

/// What arrived at this time or before is older than the period at `now`.
pub(super) fn cutoff(now: DateTime<Utc>, days: u32) -> DateTime<Utc> {
    now - TimeDelta::milliseconds(i64::from(days) * DAY_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_usual_is_within_the_bounds_and_what_would_hide_acts_is_not() {
        let usual = Periods::default();
        assert_eq!(usual.checked(), Ok(usual));
        for (periods, words) in [
            (Periods { standard_days: 29, ..usual }, "standard_days: 29 days are not 30 to 3653"),
            (Periods { critical_days: 364, ..usual }, "critical_days: 364 days are not 365 to 7305"),
            (Periods { context_days: 6, ..usual }, "context_days: 6 days are not 7 to 3653"),
            (Periods { standard_days: 400, critical_days: 399, ..usual }, "critical_days: critical events"),
            (Periods { context_days: 366, ..usual }, "context_days: personal context"),
        ] {
            let error = periods.checked().expect_err(words).to_string();
            assert!(error.starts_with(words), "{error}");
        }
        assert!(Periods { context_days: 89, ..usual }.shortens(usual));
        assert!(!Periods { context_days: 91, ..usual }.shortens(usual));
    }
}
