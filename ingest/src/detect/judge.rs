//! Whether a rule fires for some events of which it found one or more.
//!
//! Nothing is counted in memory: what lies around the events is asked of the store, so that a restart forgets nothing and
//! events that arrive in another order count as well.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Timelike as _, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::rule::{Fires, Rule};
use crate::store::StoreError;
use crate::store::search::{Alike, Hit, Likeness, Wanted, alike};

/// Events around one that are looked at: the newest, where there are more.
const AROUND: i64 = 10_000;
/// Events that an alert names.
const EVIDENCE: usize = 20;

/// Found events of one tenant that a rule looks at together.
#[derive(Debug)]
pub(super) struct Group<'a> {
    pub(super) tenant: &'a str,
    /// What they have in common.
    pub(super) key: Vec<(Likeness, String)>,
    /// Oldest first; never empty.
    pub(super) hits: Vec<&'a Hit>,
}

/// A rule that fired.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fired {
    /// How many events it took.
    pub events: usize,
    /// The oldest of them.
    pub first_at: DateTime<Utc>,
    /// The newest of them.
    pub last_at: DateTime<Utc>,
    /// The newest of their ids.
    pub evidence: Vec<Uuid>,
}

impl Fired {
    fn of(events: &[&Alike]) -> Option<Self> {
        let (first, last) = (events.first()?, events.last()?);
        Some(Self {
            events: events.len(),
            first_at: first.filed_at,
            last_at: last.filed_at,
            evidence: events.iter().rev().take(EVIDENCE).map(|event| event.id).collect(),
        })
    }
}

/// The hits by what the rule wants them to have in common; those without it are left out.
pub(super) fn groups<'a>(rule: &Rule, at: usize, hits: &'a [Hit]) -> Vec<Group<'a>> {
    let mut groups: Vec<Group<'a>> = Vec::new();
    let mut places = HashMap::new();
    for hit in hits.iter().filter(|hit| hit.found.get(at) == Some(&true)) {
        let values: Option<Vec<&str>> = rule.by.iter().map(|likeness| hit.value(*likeness)).collect();
        let Some(values) = values else { continue };
        let key = || rule.by.iter().copied().zip(values.iter().map(|value| (*value).to_owned())).collect();
        let place = *places.entry((hit.tenant_id.as_str(), values.clone())).or_insert_with(|| {
            groups.push(Group { tenant: &hit.tenant_id, key: key(), hits: Vec::new() });
            groups.len() - 1
        });
        groups[place].hits.push(hit);
    }
    groups
}

/// Each time that the rule fires, oldest first. Until a time it would only say what it said before.
pub(super) async fn judge(
    connection: &mut PgConnection,
    rule: &Rule,
    group: &Group<'_>,
    quiet_until: Option<DateTime<Utc>>,
) -> Result<Vec<Fired>, StoreError> {
    let candidates = match &rule.fires {
        Fires::Each => group.hits.iter().filter_map(|hit| Fired::of(&[&itself(hit)])).collect(),
        Fires::Outside { from, to, offset } => {
            let is_outside = |hit: &&&Hit| {
                let time = hit.filed_at.with_timezone(offset).time().with_nanosecond(0);
                time.is_none_or(|time| {
                    if from <= to { time < *from || time >= *to } else { time < *from && time >= *to }
                })
            };
            group.hits.iter().filter(is_outside).filter_map(|hit| Fired::of(&[&itself(hit)])).collect()
        }
        Fires::Count { at_least, within } => {
            let events = around(connection, &rule.wanted(), group, *within, *within, None).await?;
            windows(group, &events, *within, |window| window.len() >= *at_least as usize)
        }
        Fires::Distinct { of, at_least, within } => {
            let events = around(connection, &rule.wanted(), group, *within, *within, Some(*of)).await?;
            let known: Vec<Alike> = events.into_iter().filter(|event| event.value.is_some()).collect();
            windows(group, &known, *within, |window| {
                let values: HashSet<_> = window.iter().map(|event| &event.value).collect();
                values.len() >= *at_least as usize
            })
        }
        Fires::After { first, at_least, within } => {
            let wanted = Wanted { query: first, on_oneself: false };
            let earlier = around(connection, &wanted, group, *within, TimeDelta::zero(), None).await?;
            let fired = group.hits.iter().filter_map(|hit| {
                let own = itself(hit);
                let range = hit.filed_at - *within..=hit.filed_at;
                let mut events: Vec<&Alike> = earlier
                    .iter()
                    .filter(|event| range.contains(&event.filed_at) && event.id != hit.id)
                    .collect();
                let enough = events.len() >= *at_least as usize;
                events.push(&own);
                enough.then(|| Fired::of(&events)).flatten()
            });
            fired.collect()
        }
        Fires::New { of, history } => unseen(connection, group, *of, *history).await?,
    };
    let mut quiet_until = quiet_until;
    Ok(candidates
        .into_iter()
        .filter(|fired: &Fired| {
            let speaks = quiet_until.is_none_or(|until| fired.last_at > until);
            if speaks {
                quiet_until = Some(fired.last_at + rule.cool_down);
            }
            speaks
        })
        .collect())
}

fn itself(hit: &Hit) -> Alike {
    Alike { filed_at: hit.filed_at, id: hit.id, value: None }
}

/// What lies around the hits: so long before the first and after the last of them.
async fn around(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    group: &Group<'_>,
    before: TimeDelta,
    after: TimeDelta,
    of: Option<Likeness>,
) -> Result<Vec<Alike>, StoreError> {
    let (Some(first), Some(last)) = (group.hits.first(), group.hits.last()) else { return Ok(Vec::new()) };
    let span = (first.filed_at - before, last.filed_at + after);
    alike(connection, group.tenant, wanted, &group.key, span, of, AROUND).await
}

/// The windows that are enough and hold one of the hits at least, each as short as it can be.
fn windows(
    group: &Group<'_>,
    events: &[Alike],
    within: TimeDelta,
    is_enough: impl Fn(&[&Alike]) -> bool,
) -> Vec<Fired> {
    let hits: HashSet<Uuid> = group.hits.iter().map(|hit| hit.id).collect();
    let mut window: Vec<&Alike> = Vec::new();
    let mut fired = Vec::new();
    for event in events {
        window.push(event);
        window.retain(|other| event.filed_at - other.filed_at <= within);
        if window.iter().any(|event| hits.contains(&event.id)) && is_enough(&window) {
            fired.extend(Fired::of(&window));
        }
    }
    fired
}

/// The first event of each value that somebody who was seen before was not seen with.
async fn unseen(
    connection: &mut PgConnection,
    group: &Group<'_>,
    of: Likeness,
    history: TimeDelta,
) -> Result<Vec<Fired>, StoreError> {
    let mut fired = Vec::new();
    let mut looked_at = HashSet::new();
    // Whatever they did tells where they are and what they do, not only what the rule looks for.
    let anything = shared::search::Query::of(Vec::new());
    let wanted = Wanted { query: &anything, on_oneself: false };
    for hit in &group.hits {
        let Some(value) = hit.value(of).filter(|value| looked_at.insert(*value)) else { continue };
        let before = (hit.filed_at - history, hit.filed_at - TimeDelta::microseconds(1));
        let mut with_value = group.key.clone();
        with_value.push((of, value.to_owned()));
        let seen = alike(connection, group.tenant, &wanted, &with_value, before, None, 1).await?;
        if !seen.is_empty() {
            continue;
        }
        let known = alike(connection, group.tenant, &wanted, &group.key, before, Some(of), 100).await?;
        if known.iter().any(|event| event.value.is_some()) {
            fired.extend(Fired::of(&[&itself(hit)]));
        }
    }
    Ok(fired)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(second: i64, value: Option<&str>) -> Alike {
        Alike {
            filed_at: DateTime::from_timestamp(1_700_000_000 + second, 0).expect("a time"),
            id: Uuid::from_u128(second as u128),
            value: value.map(str::to_owned),
        }
    }

    fn hit(second: i64) -> Hit {
        let Alike { filed_at, id, .. } = event(second, None);
        Hit { tenant_id: "demo".to_owned(), filed_at, id, values: Vec::new(), found: vec![true] }
    }

    #[test]
    fn a_window_counts_what_came_before_and_after_the_hit() {
        let hit = hit(50);
        let group = Group { tenant: "demo", key: Vec::new(), hits: vec![&hit] };
        let events: Vec<Alike> = [0, 40, 50, 55, 200].map(|second| event(second, None)).into();
        let fired = windows(&group, &events, TimeDelta::seconds(20), |window| window.len() >= 3);
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].events, fired[0].evidence[0]), (3, Uuid::from_u128(55)));
        assert!(windows(&group, &events, TimeDelta::seconds(10), |window| window.len() >= 3).is_empty());
    }

    #[test]
    fn a_window_without_a_hit_was_judged_when_it_came() {
        let hit = hit(500);
        let group = Group { tenant: "demo", key: Vec::new(), hits: vec![&hit] };
        let events: Vec<Alike> = [0, 1, 2, 500].map(|second| event(second, None)).into();
        assert!(windows(&group, &events, TimeDelta::seconds(20), |window| window.len() >= 3).is_empty());
    }
}
