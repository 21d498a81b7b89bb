//! What did not happen: hours with too few events, against the same hour of the weeks before.
//!
//! An hour is compared with the hour of the same time of the week, and the ones beside it, in each of some weeks: nights,
//! weekends and a change of clocks are usual then. It is asked about a while after it is over, so that what is late is there,
//! and only if the backend was here from its beginning until then: silence would be its own otherwise.

use std::collections::{BTreeSet, HashMap};

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use sqlx::PgConnection;

use super::baseline::Fewer;
use super::judge::{Fired, Pace};
use super::rule::{Fires, Rule};
use crate::store::StoreError;
use crate::store::alerts::Said;
use crate::store::search::{Likeness, Most, Question, Reading, alike, hours};

const HOUR: TimeDelta = TimeDelta::hours(1);
/// How long late events are waited for.
const GRACE: TimeDelta = TimeDelta::minutes(15);
/// Where the events that an alert names are looked for: the last that came.
const LAST_SEEN: TimeDelta = TimeDelta::days(7);

/// The last hour that is over for long enough.
pub(super) fn last_whole(now: DateTime<Utc>) -> DateTime<Utc> {
    floor(now - GRACE) - HOUR
}

/// The beginning of an hour.
fn floor(at: DateTime<Utc>) -> DateTime<Utc> {
    at.duration_trunc(HOUR).unwrap_or(at)
}

/// When the backend was here, oldest first.
#[derive(Debug)]
pub(super) struct Presence(pub(super) Vec<(DateTime<Utc>, DateTime<Utc>)>);

impl Presence {
    /// Whether an hour can be judged: the backend was here, or it is not known whether it was.
    fn allows(&self, hour: DateTime<Utc>) -> bool {
        let is_here =
            |(from, to): &(DateTime<Utc>, DateTime<Utc>)| *from <= hour && *to >= hour + HOUR + GRACE;
        self.0.first().is_none_or(|(from, _)| hour < *from) || self.0.iter().any(is_here)
    }

    /// The whole hours between two times that can be judged.
    pub(super) fn hours(&self, (from, to): (DateTime<Utc>, DateTime<Utc>)) -> Vec<DateTime<Utc>> {
        let first = floor(from + HOUR - TimeDelta::microseconds(1));
        let all = std::iter::successors(Some(first), |hour| Some(*hour + HOUR));
        all.take_while(|hour| *hour <= last_whole(to)).filter(|hour| self.allows(*hour)).collect()
    }
}

/// The time that what is said of an hour is said of.
pub(super) fn told_of(rule: &Rule, hour: DateTime<Utc>) -> (DateTime<Utc>, DateTime<Utc>) {
    (hour + HOUR - rule.cool_down, hour + HOUR + rule.cool_down)
}

/// Events by what they have in common and by hour.
type Counts = HashMap<(Vec<String>, DateTime<Utc>), i64>;
/// What the events have in common, or would have.
type Key = Vec<(Likeness, String)>;

/// Each of some hours, oldest first, in which a tenant had too few events of a rule; with what they would have had in common.
pub(super) async fn judge(
    connection: &mut PgConnection,
    tenant: &str,
    rule: &Rule,
    judged: &[DateTime<Utc>],
    said: &Said,
) -> Result<Vec<(Key, Fired)>, StoreError> {
    let Fires::Fewer { below_percent, usually, weeks } = rule.fires else { return Ok(Vec::new()) };
    let counted = hours(connection, tenant, &rule.wanted(), &rule.by, &spans(judged, weeks)).await?;
    let keys: BTreeSet<Vec<String>> = counted.iter().map(|count| count.key.clone()).collect();
    let counts: Counts = counted.into_iter().map(|count| ((count.key, count.hour), count.events)).collect();
    let fewer = Fewer { below_percent, usually };
    let mut found = Vec::new();
    for values in keys {
        let key: Key = rule.by.iter().copied().zip(values.iter().cloned()).collect();
        let mut pace = Pace::of(rule, tenant, &key, said);
        let events = |hour| counts.get(&(values.clone(), hour)).copied().unwrap_or(0);
        for hour in judged {
            let before: Vec<i64> = like(*hour, weeks).map(events).collect();
            let now = events(*hour);
            if fewer.are(now, &before) && pace.speaks(*hour + HOUR) {
                found.push((key.clone(), *hour, now));
            }
        }
    }
    named(connection, tenant, rule, found).await
}

/// With the last events that came.
async fn named(
    connection: &mut PgConnection,
    tenant: &str,
    rule: &Rule,
    found: Vec<(Key, DateTime<Utc>, i64)>,
) -> Result<Vec<(Key, Fired)>, StoreError> {
    let question = |(key, hour, _): &(Key, DateTime<Utc>, i64)| Question {
        tenant: tenant.to_owned(),
        key: key.iter().map(|(_, value)| value.clone()).collect(),
        span: (*hour - LAST_SEEN, *hour + HOUR - TimeDelta::microseconds(1)),
    };
    let questions: Vec<Question> = found.iter().map(question).collect();
    let most = Most(i64::from(super::judge::EVIDENCE));
    let last = alike(connection, &rule.wanted(), &rule.by, &questions, Reading::Nothing, most).await?;
    let named = found.into_iter().zip(last).map(|((key, hour, events), last)| {
        let fired = Fired {
            events: usize::try_from(events).unwrap_or(0),
            first_at: hour,
            last_at: hour + HOUR,
            evidence: last.iter().rev().map(|event| event.id).collect(),
        };
        (key, fired)
    });
    Ok(named.collect())
}

/// The hours that an hour is compared with.
fn like(hour: DateTime<Utc>, weeks: u32) -> impl Iterator<Item = DateTime<Utc>> {
    let beside = move |week| (-1..=1).map(move |by| hour - TimeDelta::weeks(week) + HOUR * by);
    (1..=i64::from(weeks)).flat_map(beside)
}

/// The spans in which events are counted: of few hours only those that are looked at.
fn spans(judged: &[DateTime<Utc>], weeks: u32) -> Vec<(DateTime<Utc>, DateTime<Utc>)> {
    match judged {
        [] => Vec::new(),
        [hour] => {
            let before = (1..=i64::from(weeks)).map(|week| *hour - TimeDelta::weeks(week));
            let mut spans: Vec<_> = before.map(|like| (like - HOUR, like + HOUR * 2)).collect();
            spans.push((*hour, *hour + HOUR));
            spans
        }
        [first, .., last] => vec![(*first - TimeDelta::weeks(i64::from(weeks)) - HOUR, *last + HOUR)],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().expect("a time")
    }

    #[test]
    fn an_hour_is_asked_about_a_quarter_after_it_is_over() {
        assert_eq!(last_whole(at("2026-03-02T10:14:59Z")), at("2026-03-02T08:00:00Z"));
        assert_eq!(last_whole(at("2026-03-02T10:15:00Z")), at("2026-03-02T09:00:00Z"));
    }

    #[test]
    fn an_hour_in_which_the_backend_was_not_here_is_not_judged() {
        let here = [
            ("2026-03-02T08:00:00Z", "2026-03-02T10:20:00Z"),
            ("2026-03-02T11:30:00Z", "2026-03-02T13:15:00Z"),
        ];
        let here = Presence(here.map(|(from, to)| (at(from), at(to))).into());
        let judged = here.hours((at("2026-03-02T06:30:00Z"), at("2026-03-02T14:20:00Z")));
        let expected =
            ["2026-03-02T07:00:00Z", "2026-03-02T08:00:00Z", "2026-03-02T09:00:00Z", "2026-03-02T12:00:00Z"];
        assert_eq!(judged, expected.map(at), "before the first it is not known");
        let never = Presence(Vec::new());
        assert_eq!(never.hours((at("2026-03-02T06:00:00Z"), at("2026-03-02T08:15:00Z"))).len(), 2);
    }

    #[test]
    fn an_hour_is_compared_with_its_time_of_the_week() {
        let hour = at("2026-03-30T09:00:00Z");
        let like: Vec<_> = like(hour, 2).collect();
        let expected = [
            "2026-03-23T08:00:00Z",
            "2026-03-23T09:00:00Z",
            "2026-03-23T10:00:00Z",
            "2026-03-16T08:00:00Z",
            "2026-03-16T09:00:00Z",
            "2026-03-16T10:00:00Z",
        ];
        assert_eq!(like, expected.map(at));
        let counted = spans(&[hour], 2);
        assert!(like.iter().all(|it| counted.iter().any(|(from, to)| from <= it && it < to)), "{counted:?}");
    }
}
