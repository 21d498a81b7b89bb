//! Whether a rule fires for some events of which it found one or more.
//!
//! Nothing is counted in memory: what lies around the events is asked of the store, so that a restart forgets nothing and
//! events that arrive in another order count as well.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
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

/// How often a rule may speak of a group.
#[derive(Debug)]
struct Pace {
    quiet_until: Option<DateTime<Utc>>,
    cool_down: TimeDelta,
}

impl Pace {
    /// Whether it may speak of what was last at a time; if so it does.
    fn speaks(&mut self, last_at: DateTime<Utc>) -> bool {
        let speaks = self.quiet_until.is_none_or(|until| last_at > until);
        if speaks {
            self.quiet_until = Some(last_at + self.cool_down);
        }
        speaks
    }
}

/// Each time that the rule fires, oldest first. Until a time it would only say what it said before.
pub(super) async fn judge(
    connection: &mut PgConnection,
    rule: &Rule,
    group: &Group<'_>,
    quiet_until: Option<DateTime<Utc>>,
) -> Result<Vec<Fired>, StoreError> {
    let mut pace = Pace { quiet_until, cool_down: rule.cool_down };
    Ok(match &rule.fires {
        Fires::Each => single(group.hits.iter().copied(), &mut pace),
        Fires::Outside { from, to, offset } => {
            let is_outside = |hit: &&Hit| {
                let time = hit.filed_at.with_timezone(offset).time();
                let is_work =
                    if from <= to { time >= *from && time < *to } else { time >= *from || time < *to };
                !is_work
            };
            single(group.hits.iter().copied().filter(is_outside), &mut pace)
        }
        Fires::Count { at_least, within } => {
            let events = around(connection, &rule.wanted(), group, *within, *within, None).await?;
            windows(group, &events, *within, Enough::Events(*at_least as usize), &mut pace)
        }
        Fires::Distinct { of, at_least, within } => {
            let mut events = around(connection, &rule.wanted(), group, *within, *within, Some(*of)).await?;
            events.retain(|event| event.value.is_some());
            windows(group, &events, *within, Enough::Values(*at_least as usize), &mut pace)
        }
        Fires::After { first, at_least, within } => {
            let wanted = Wanted { query: first, on_oneself: false };
            let earlier = around(connection, &wanted, group, *within, TimeDelta::zero(), None).await?;
            preceded(group, &earlier, *within, *at_least as usize, &mut pace)
        }
        Fires::New { of, history } => {
            let unseen = unseen(connection, group, *of, *history).await?;
            single(unseen.into_iter(), &mut pace)
        }
    })
}

/// Each of some events by itself.
fn single<'a>(hits: impl Iterator<Item = &'a Hit>, pace: &mut Pace) -> Vec<Fired> {
    hits.filter(|hit| pace.speaks(hit.filed_at)).filter_map(|hit| Fired::of(&[&itself(hit)])).collect()
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

/// What is enough in a window.
#[derive(Debug, Clone, Copy)]
enum Enough {
    /// So many events.
    Events(usize),
    /// So many different values.
    Values(usize),
}

/// The windows that are enough and hold one of the hits at least. Events are walked through once.
fn windows(
    group: &Group<'_>,
    events: &[Alike],
    within: TimeDelta,
    enough: Enough,
    pace: &mut Pace,
) -> Vec<Fired> {
    let hits: HashSet<Uuid> = group.hits.iter().map(|hit| hit.id).collect();
    let (mut first, mut hits_within) = (0, 0);
    let mut values: HashMap<Option<&str>, usize> = HashMap::new();
    let mut fired = Vec::new();
    for (last, event) in events.iter().enumerate() {
        hits_within += usize::from(hits.contains(&event.id));
        *values.entry(event.value.as_deref()).or_default() += 1;
        while event.filed_at - events[first].filed_at > within {
            hits_within -= usize::from(hits.contains(&events[first].id));
            if let Entry::Occupied(mut known) = values.entry(events[first].value.as_deref()) {
                *known.get_mut() -= 1;
                if *known.get() == 0 {
                    known.remove();
                }
            }
            first += 1;
        }
        let is_enough = match enough {
            Enough::Events(least) => last + 1 - first >= least,
            Enough::Values(least) => values.len() >= least,
        };
        if hits_within > 0 && is_enough && pace.speaks(event.filed_at) {
            fired.extend(Fired::of(&events[first..=last].iter().collect::<Vec<_>>()));
        }
    }
    fired
}

/// The hits before which so many others lie within a time.
fn preceded(
    group: &Group<'_>,
    earlier: &[Alike],
    within: TimeDelta,
    at_least: usize,
    pace: &mut Pace,
) -> Vec<Fired> {
    let (mut first, mut after_last) = (0, 0);
    let mut fired = Vec::new();
    for hit in &group.hits {
        while earlier.get(after_last).is_some_and(|event| event.filed_at <= hit.filed_at) {
            after_last += 1;
        }
        while first < after_last && hit.filed_at - earlier[first].filed_at > within {
            first += 1;
        }
        // A hit may be one of what both searches find.
        let others: Vec<&Alike> =
            earlier[first..after_last].iter().filter(|event| event.id != hit.id).collect();
        if others.len() >= at_least && pace.speaks(hit.filed_at) {
            let own = itself(hit);
            fired.extend(Fired::of(&[others, vec![&own]].concat()));
        }
    }
    fired
}

/// The first event of each value that somebody who was seen before was not seen with.
async fn unseen<'a>(
    connection: &mut PgConnection,
    group: &Group<'a>,
    of: Likeness,
    history: TimeDelta,
) -> Result<Vec<&'a Hit>, StoreError> {
    let mut found = Vec::new();
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
            found.push(*hit);
        }
    }
    Ok(found)
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

    fn pace() -> Pace {
        Pace { quiet_until: None, cool_down: TimeDelta::hours(1) }
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
        let fired = windows(&group, &events, TimeDelta::seconds(20), Enough::Events(3), &mut pace());
        assert_eq!(fired.len(), 1);
        assert_eq!((fired[0].events, fired[0].evidence[0]), (3, Uuid::from_u128(55)));
        assert!(windows(&group, &events, TimeDelta::seconds(9), Enough::Events(3), &mut pace()).is_empty());
    }

    #[test]
    fn values_that_left_the_window_do_not_count() {
        let hit = hit(100);
        let group = Group { tenant: "demo", key: Vec::new(), hits: vec![&hit] };
        let events = [(0, "DE"), (80, "FR"), (90, "FR"), (100, "US")];
        let events: Vec<Alike> = events.map(|(second, value)| event(second, Some(value))).into();
        let fired = |within, least| {
            windows(&group, &events, TimeDelta::seconds(within), Enough::Values(least), &mut pace()).len()
        };
        assert_eq!((fired(100, 3), fired(50, 3), fired(50, 2)), (1, 0, 1));
    }

    #[test]
    fn all_of_a_long_window_are_counted_and_told_once() {
        let hit = hit(9_999);
        let group = Group { tenant: "demo", key: Vec::new(), hits: vec![&hit] };
        let events: Vec<Alike> = (0..10_000).map(|second| event(second, Some("DE"))).collect();
        let fired = windows(&group, &events, TimeDelta::days(7), Enough::Events(10), &mut pace());
        assert_eq!((fired.len(), fired[0].events), (1, 10_000));
    }

    #[test]
    fn a_window_without_a_hit_was_judged_when_it_came() {
        let hit = hit(500);
        let group = Group { tenant: "demo", key: Vec::new(), hits: vec![&hit] };
        let events: Vec<Alike> = [0, 1, 2, 500].map(|second| event(second, None)).into();
        assert!(windows(&group, &events, TimeDelta::seconds(20), Enough::Events(3), &mut pace()).is_empty());
    }
}
