//! What is due: decided by month, told in words and counts before anything is done.

use std::collections::BTreeMap;

use chrono::{DateTime, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::TenantId;

use super::periods::cutoff;
use super::{Periods, Retention, RetentionError};
use crate::store::retention::RunRow;
use crate::store::swap::{self, Counted, Limits};
use crate::store::{holds, partitions};
use crate::view::time;

/// A month that was looked at is left alone so long, whatever arrives for it late.
const LOOK_AGAIN: TimeDelta = TimeDelta::days(30);
const CLASSES: [&str; 3] = ["standard", "critical", "permanent"];

/// Something of a month that a period is over for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Look {
    /// `events` or `context`.
    pub(super) what: &'static str,
    /// Of the events; -1 for context.
    pub(super) class: i16,
    /// The period.
    pub(super) days: u32,
    /// What arrived then or before goes.
    pub(super) cutoff: DateTime<Utc>,
}

impl Look {
    /// The class in the words of a record.
    pub(super) fn class_word(self) -> &'static str {
        match self.class {
            0 => "standard",
            1 => "critical",
            _ => "any",
        }
    }

    /// Whether it was looked at after `since`, and not long ago.
    pub(super) fn was_done(self, month: NaiveDate, runs: &[RunRow], since: Option<DateTime<Utc>>) -> bool {
        runs.iter().any(|run| {
            run.month == month
                && run.what == self.what
                && run.class == self.class
                && since.is_none_or(|since| run.ran_at > since)
        })
    }
}

/// What of a month may be due: the month is over, and the period after it.
pub(super) fn looks(periods: Periods, month: NaiveDate, now: DateTime<Utc>) -> Vec<Look> {
    let kinds = [
        ("events", 0, periods.standard_days),
        ("events", 1, periods.critical_days),
        ("context", -1, periods.context_days),
    ];
    kinds
        .into_iter()
        .map(|(what, class, days)| Look { what, class, days, cutoff: cutoff(now, days) })
        .filter(|look| end_of(month) <= look.cutoff)
        .collect()
}

/// The limits that these looks set.
pub(super) fn limits(tenant: &str, looks: &[Look]) -> Limits {
    let of = |class| looks.iter().find(|look| look.class == class).map(|look| look.cutoff);
    Limits { tenant: tenant.to_owned(), standard: of(0), critical: of(1), context: of(-1) }
}

/// Since when looks at a tenant's months count.
pub(super) fn since(now: DateTime<Utc>) -> DateTime<Utc> {
    now - LOOK_AGAIN
}

pub(super) fn end_of(month: NaiveDate) -> DateTime<Utc> {
    (month + Months::new(1)).and_time(NaiveTime::MIN).and_utc()
}

/// What retention would do to a tenant's events now.
#[derive(Debug, Clone)]
pub struct Preview {
    at: DateTime<Utc>,
    periods: Periods,
    holds: usize,
    months: BTreeMap<NaiveDate, Vec<Counted>>,
    next: Option<(NaiveDate, DateTime<Utc>)>,
    archived: bool,
}

impl Retention {
    /// What would go now, and what would stay for a hold: by the periods in force, or by others that are thought of.
    ///
    /// # Errors
    /// If the periods are out of bounds, or the database refuses.
    pub async fn preview(
        &self,
        tenant: &TenantId,
        others: Option<Periods>,
    ) -> Result<Preview, RetentionError> {
        let now = self.now();
        let others = others.map(Periods::checked).transpose()?;
        let mut transaction = self.store.begin_as_keeper().await?;
        let periods = match others {
            Some(others) => others,
            None => self.in_force(&mut transaction, tenant.as_str()).await?,
        };
        let holds = holds::active(&mut transaction, tenant.as_str()).await?.len();
        let there = partitions::months(&mut transaction).await?;
        let shortest = periods.context_days.min(periods.standard_days);
        let mut begun = there.iter().copied().filter(|month| end_of(*month) <= cutoff(now, shortest));
        let mut months = BTreeMap::new();
        if let Some(last) = begun.next_back() {
            let all = [
                Look { what: "events", class: 0, days: 0, cutoff: cutoff(now, periods.standard_days) },
                Look { what: "events", class: 1, days: 0, cutoff: cutoff(now, periods.critical_days) },
                Look { what: "context", class: -1, days: 0, cutoff: cutoff(now, periods.context_days) },
            ];
            let limits = limits(tenant.as_str(), &all);
            for mut counted in swap::count(&mut transaction, &limits, end_of(last)).await? {
                let looks = looks(periods, counted.month, now);
                // A month is due as a whole, not day by day.
                if !looks.iter().any(|look| look.class == counted.class) {
                    (counted.due, counted.held) = (0, 0);
                }
                if !looks.iter().any(|look| look.what == "context") {
                    (counted.context, counted.context_held) = (0, 0);
                }
                months.entry(counted.month).or_insert_with(Vec::new).push(counted);
            }
        }
        months.retain(|_, classes| {
            classes.iter().any(|it| it.due + it.held + it.context + it.context_held > 0)
        });
        let shortest_on = |month: NaiveDate| end_of(month) + TimeDelta::days(i64::from(shortest));
        let next = there.into_iter().map(|month| (month, shortest_on(month))).find(|(_, on)| *on > now);
        Ok(Preview { at: now, periods, holds, months, next, archived: self.archive.is_some() })
    }
}

impl Preview {
    /// Every sentence, for a person.
    pub fn words(&self) -> Vec<String> {
        let mut words: Vec<String> =
            self.months.iter().flat_map(|(month, classes)| self.month_words(*month, classes)).collect();
        if words.is_empty() {
            words.push("Nothing is due.".to_owned());
        }
        if let Some((month, on)) = self.next {
            let on = on.format("%Y-%m-%d");
            words.push(format!(
                "The next month that a period is over for is {}, on {on}.",
                month.format("%B %Y")
            ));
        }
        words
    }

    fn month_words(&self, month: NaiveDate, classes: &[Counted]) -> Vec<String> {
        let mut words = Vec::new();
        let name = month.format("%B %Y");
        for it in classes {
            let class = CLASSES.get(usize::try_from(it.class).unwrap_or(2)).copied().unwrap_or("other");
            let days = if it.class == 0 { self.periods.standard_days } else { self.periods.critical_days };
            if it.due > 0 {
                let of = grouped(it.events);
                let due = grouped(it.due);
                words.push(format!(
                    "{name}: {due} of {of} {class} events go; they arrived more than {days} days ago."
                ));
            }
            if it.held > 0 {
                let held = grouped(it.held);
                words.push(format!(
                    "{name}: {held} {class} events are due and stay, since a legal hold covers them."
                ));
            }
        }
        if self.archived && words.iter().any(|sentence| sentence.contains(" go;")) {
            words.push(format!("{name}: what goes lies in the archive first."));
        }
        let stay: i64 = classes.iter().map(|it| it.events - it.due).sum();
        if words.iter().any(|sentence| sentence.contains(" go;")) && stay > 0 {
            words.push(format!("{name}: {} events stay as they are or lose their context.", grouped(stay)));
        }
        let context: i64 = classes.iter().map(|it| it.context).sum();
        if context > 0 {
            words.push(format!(
                "{name}: {} events lose their address, user agent, session and place; they arrived more than {} days ago.",
                grouped(context),
                self.periods.context_days
            ));
        }
        let held: i64 = classes.iter().map(|it| it.context_held).sum();
        if held > 0 {
            words.push(format!(
                "{name}: {} events keep their context, since a legal hold covers them.",
                grouped(held)
            ));
        }
        words
    }

    /// Words and counts.
    pub fn to_json(&self) -> Value {
        let months: Vec<Value> = self
            .months
            .iter()
            .map(|(month, classes)| {
                let mut of: serde_json::Map<String, Value> = serde_json::Map::new();
                for it in classes {
                    let class =
                        CLASSES.get(usize::try_from(it.class).unwrap_or(2)).copied().unwrap_or("other");
                    let counts = json!({
                        "events": it.events, "drop": it.due, "held": it.held,
                        "context_drop": it.context, "context_held": it.context_held,
                    });
                    of.insert(class.to_owned(), counts);
                }
                json!({
                    "month": month.format("%Y-%m").to_string(), "classes": of,
                    "words": self.month_words(*month, classes),
                })
            })
            .collect();
        json!({
            "at": time(self.at),
            "periods": self.periods,
            "active_holds": self.holds,
            "archive": self.archived,
            "months": months,
            "next": self.next.map(|(month, on)| json!({"month": month.format("%Y-%m").to_string(), "on": time(on)})),
            "words": self.words(),
        })
    }
}

/// A count with its thousands apart.
fn grouped(count: i64) -> String {
    let digits = count.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn a_month_is_due_once_it_is_over_and_the_period_after_it() {
        let month = NaiveDate::from_ymd_opt(2025, 10, 1).expect("a date");
        let due = |now: &str| {
            looks(Periods::default(), month, at(now)).iter().map(|look| look.class).collect::<Vec<_>>()
        };
        assert_eq!(due("2026-01-29T23:59:59Z"), Vec::<i16>::new());
        assert_eq!(due("2026-01-30T00:00:00Z"), [-1]);
        assert_eq!(due("2026-10-31T23:59:59Z"), [-1]);
        assert_eq!(due("2026-11-01T00:00:00Z"), [0, -1]);
        assert_eq!(due("2032-11-01T00:00:00Z"), [0, 1, -1]);
    }

    #[test]
    fn counts_are_read_easily() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
