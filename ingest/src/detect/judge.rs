//! Whether a rule fires for some events of which it found one or more.
//!
//! Nothing is counted in memory: what lies around the events is asked of the store, so that a restart forgets nothing and
//! events that arrive in another order count as well. It is asked for all groups of a rule at once, so that a page of many
//! accounts costs a few statements and not some for each.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use sqlx::PgConnection;
use uuid::Uuid;

use super::baseline::{self, LAST};
use super::opened;
use super::rule::{Fires, Mark, Rule};
use super::travel;
use crate::store::StoreError;
use crate::store::alerts::{self, Said};
use crate::store::search::{Alike, Hit, Likeness, Most, Question, Reading, Wanted, alike};

/// Events around one that are looked at: the newest, where there are more.
const AROUND: Most = Most(50_000);
/// Events of somebody of which the devices are looked at: the newest.
const DEVICES: Most = Most(1_000);
/// How far back runs are a baseline.
const BASELINE: TimeDelta = TimeDelta::days(90);
/// Events that an alert names.
pub(super) const EVIDENCE: u32 = 20;

/// Found events of one tenant that a rule looks at together.
#[derive(Debug, Clone)]
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
            evidence: events.iter().rev().take(EVIDENCE as usize).map(|event| event.id).collect(),
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
pub(super) struct Pace {
    /// The newest events of what it said before.
    said: Vec<DateTime<Utc>>,
    cool_down: TimeDelta,
}

impl Pace {
    /// What a rule said of a group before; events that come late are judged by what was said of their time.
    pub(super) fn of(rule: &Rule, tenant: &str, key: &[(Likeness, String)], said: &Said) -> Self {
        let values = key.iter().map(|(_, value)| value.clone()).collect();
        Self { said: said.of(tenant, values), cool_down: rule.cool_down }
    }

    /// Whether it may speak of what was last at a time; if so it does.
    pub(super) fn speaks(&mut self, last_at: DateTime<Utc>) -> bool {
        let speaks = self.said.iter().all(|said| (last_at - *said).abs() > self.cool_down);
        if speaks {
            self.said.push(last_at);
        }
        speaks
    }
}

/// What a rule said of the time around some groups' hits.
pub(super) async fn said(
    connection: &mut PgConnection,
    rule: &Rule,
    groups: &[Group<'_>],
) -> Result<Said, StoreError> {
    let times = || groups.iter().flat_map(|group| &group.hits).map(|hit| hit.filed_at);
    let Some((first, last)) = times().min().zip(times().max()) else { return Ok(Said::default()) };
    let tenants: BTreeSet<String> = groups.iter().map(|group| group.tenant.to_owned()).collect();
    let tenants: Vec<String> = tenants.into_iter().collect();
    // What fires is last at a hit, or within the rule's time after one.
    let after = rule.cool_down + rule.within();
    alerts::said(connection, &tenants, &rule.id, (first - rule.cool_down, last + after)).await
}

/// Each time that the rule fires, oldest first, for each of the groups. It does not say again what it said before.
pub(super) async fn judge(
    connection: &mut PgConnection,
    rule: &Rule,
    groups: &[Group<'_>],
    said: &Said,
) -> Result<Vec<Vec<Fired>>, StoreError> {
    let each = |fires: &dyn Fn(usize, &Group<'_>, &mut Pace) -> Vec<Fired>| {
        let paced = groups
            .iter()
            .enumerate()
            .map(|(at, group)| fires(at, group, &mut Pace::of(rule, group.tenant, &group.key, said)));
        Ok(paced.collect())
    };
    match &rule.fires {
        Fires::Each => each(&|_, group, pace| single(group.hits.iter().copied(), pace)),
        Fires::Outside { from, to, offset } => {
            let is_outside = |hit: &&Hit| {
                let time = hit.filed_at.with_timezone(offset).time();
                let is_work =
                    if from <= to { time >= *from && time < *to } else { time >= *from || time < *to };
                !is_work
            };
            each(&|_, group, pace| single(group.hits.iter().copied().filter(is_outside), pace))
        }
        Fires::Count { at_least, within } => {
            let around = around(connection, rule, groups, (*within, *within), Reading::Nothing).await?;
            let enough = Enough::Events(*at_least as usize);
            each(&|at, group, pace| windows(group, &around[at], *within, enough, pace))
        }
        Fires::Distinct { of, at_least, within } => {
            let around = around(connection, rule, groups, (*within, *within), Reading::Value(*of)).await?;
            let enough = Enough::Values(*at_least as usize);
            each(&|at, group, pace| windows(group, &around[at], *within, enough, pace))
        }
        Fires::After { first, at_least, within } => {
            let wanted = Wanted { query: first, on_oneself: false, reads_opening: false };
            let questions = questions(groups, *within, TimeDelta::zero());
            let earlier = alike(connection, &wanted, &rule.by, &questions, Reading::Nothing, AROUND).await?;
            each(&|at, group, pace| preceded(group, &earlier[at], *within, *at_least as usize, pace))
        }
        Fires::New { of: Mark::Likeness(of), history } => {
            let unseen = unseen(connection, rule, groups, *of, *history).await?;
            each(&|at, _, pace| single(unseen[at].iter().copied(), pace))
        }
        Fires::New { of: Mark::Device, history } => {
            let unseen = unseen_devices(connection, rule, groups, *history).await?;
            each(&|at, _, pace| single(unseen[at].iter().copied(), pace))
        }
        Fires::Travel { faster_than, farther_than } => {
            let reach = travel::reach(*faster_than);
            let reading = Reading::Value(Likeness::Country);
            let around = around(connection, rule, groups, (reach, reach), reading).await?;
            each(&|at, group, pace| travelled(group, &around[at], (*faster_than, *farther_than), pace))
        }
        Fires::AboveBaseline { of, at_least, spreads, runs } => {
            let is_much = |hit: &Hit| {
                let number = hit.opening.as_deref().and_then(|opening| opened::number(opening, of));
                number.is_some_and(|number| number >= f64::from(*at_least))
            };
            // The others cannot be far above anything, and a baseline of each agent is much to read.
            let asked: Vec<Group<'_>> =
                groups.iter().filter(|group| group.hits.iter().any(|hit| is_much(hit))).cloned().collect();
            let most = asked.iter().map(|group| group.hits.len()).max().unwrap_or(0) + LAST;
            let questions = questions(&asked, BASELINE, TimeDelta::zero());
            let most = Most(i64::try_from(most).unwrap_or(i64::MAX));
            let runs_of =
                alike(connection, &rule.wanted(), &rule.by, &questions, Reading::Opening, most).await?;
            let limits = baseline::Limits { at_least: *at_least, spreads: *spreads, runs: *runs as usize };
            let above: HashSet<Uuid> = runs_of
                .iter()
                .flat_map(|runs| {
                    let number = |run: &Alike| opened::number(run.opening.as_deref()?, of);
                    let numbers: Vec<_> = runs.iter().map(|run| (run.id, number(run))).collect();
                    baseline::above(&numbers, limits)
                })
                .collect();
            each(&|_, group, pace| {
                single(group.hits.iter().copied().filter(|hit| above.contains(&hit.id)), pace)
            })
        }
        // The clock asks it.
        Fires::Fewer { .. } => Ok(vec![Vec::new(); groups.len()]),
    }
}

/// Each of some events by itself.
fn single<'a>(hits: impl Iterator<Item = &'a Hit>, pace: &mut Pace) -> Vec<Fired> {
    hits.filter(|hit| pace.speaks(hit.filed_at)).filter_map(|hit| Fired::of(&[&itself(hit)])).collect()
}

fn itself(hit: &Hit) -> Alike {
    Alike { filed_at: hit.filed_at, id: hit.id, ..Alike::default() }
}

/// For each group, what lies so long before the first and after the last of its hits.
fn questions(groups: &[Group<'_>], before: TimeDelta, after: TimeDelta) -> Vec<Question> {
    let question = |group: &Group<'_>| {
        let times = || group.hits.iter().map(|hit| hit.filed_at);
        let (first, last) = (times().min().unwrap_or_default(), times().max().unwrap_or_default());
        Question {
            tenant: group.tenant.to_owned(),
            key: group.key.iter().map(|(_, value)| value.clone()).collect(),
            span: (first - before, last + after),
        }
    };
    groups.iter().map(question).collect()
}

/// What the rule finds around the hits.
async fn around(
    connection: &mut PgConnection,
    rule: &Rule,
    groups: &[Group<'_>],
    (before, after): (TimeDelta, TimeDelta),
    reading: Reading,
) -> Result<Vec<Vec<Alike>>, StoreError> {
    let questions = questions(groups, before, after);
    alike(connection, &rule.wanted(), &rule.by, &questions, reading, AROUND).await
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

/// The second of each two events between which nobody could have travelled, one of which is a hit.
fn travelled(
    group: &Group<'_>,
    events: &[Alike],
    (faster_than, farther_than): (u32, u32),
    pace: &mut Pace,
) -> Vec<Fired> {
    let hits: HashSet<Uuid> = group.hits.iter().map(|hit| hit.id).collect();
    let mut fired = Vec::new();
    for pair in events.windows(2) {
        let [from, to] = pair else { continue };
        let (Some(one), Some(other)) = (&from.value, &to.value) else { continue };
        let is_new = hits.contains(&from.id) || hits.contains(&to.id);
        let took = to.filed_at - from.filed_at;
        if is_new
            && travel::is_impossible((one, other), took, faster_than, farther_than)
            && pace.speaks(to.filed_at)
        {
            fired.extend(Fired::of(&[from, to]));
        }
    }
    fired
}

/// Whatever they did tells where they are and what they do, not only what the rule looks for.
fn anything() -> shared::search::Query {
    shared::search::Query::of(Vec::new())
}

/// The first hit with each value, by group.
fn firsts<'a, V: Clone + Eq + std::hash::Hash>(
    groups: &[Group<'a>],
    value: impl Fn(&'a Hit) -> Option<V>,
) -> Vec<(usize, &'a Hit, V)> {
    let mut firsts = Vec::new();
    for (at, group) in groups.iter().enumerate() {
        let mut looked_at = HashSet::new();
        for hit in &group.hits {
            let Some(value) = value(hit) else { continue };
            if looked_at.insert(value.clone()) {
                firsts.push((at, *hit, value));
            }
        }
    }
    firsts
}

/// What is asked of the time before a hit.
fn before(group: &Group<'_>, hit: &Hit, history: TimeDelta, more: Option<&str>) -> Question {
    let key = group.key.iter().map(|(_, value)| value.as_str()).chain(more).map(str::to_owned).collect();
    let span = (hit.filed_at - history, hit.filed_at - TimeDelta::microseconds(1));
    Question { tenant: group.tenant.to_owned(), key, span }
}

/// By group, the first event of each value that somebody who was seen before was not seen with.
async fn unseen<'a>(
    connection: &mut PgConnection,
    rule: &Rule,
    groups: &[Group<'a>],
    of: Likeness,
    history: TimeDelta,
) -> Result<Vec<Vec<&'a Hit>>, StoreError> {
    let anything = anything();
    let wanted = Wanted { query: &anything, on_oneself: false, reads_opening: false };
    let mut firsts = firsts(groups, |hit| hit.value(of));
    let with_value: Vec<_> =
        firsts.iter().map(|(at, hit, value)| before(&groups[*at], hit, history, Some(value))).collect();
    let by_value: Vec<Likeness> = rule.by.iter().copied().chain([of]).collect();
    let seen = alike(connection, &wanted, &by_value, &with_value, Reading::Nothing, Most(1)).await?;
    let mut seen = seen.iter();
    firsts.retain(|_| seen.next().is_some_and(Vec::is_empty));
    let of_them: Vec<_> =
        firsts.iter().map(|(at, hit, _)| before(&groups[*at], hit, history, None)).collect();
    let known = alike(connection, &wanted, &rule.by, &of_them, Reading::Value(of), Most(1)).await?;
    let mut found = vec![Vec::new(); groups.len()];
    for ((at, hit, _), known) in firsts.into_iter().zip(known) {
        if !known.is_empty() {
            found[at].push(hit);
        }
    }
    Ok(found)
}

/// By group, the first event with each device that somebody who was seen before was not seen with.
async fn unseen_devices<'a>(
    connection: &mut PgConnection,
    rule: &Rule,
    groups: &[Group<'a>],
    history: TimeDelta,
) -> Result<Vec<Vec<&'a Hit>>, StoreError> {
    let anything = anything();
    let wanted = Wanted { query: &anything, on_oneself: false, reads_opening: false };
    let firsts = firsts(groups, |hit| opened::device(hit.opening.as_deref()?));
    let of_them: Vec<_> =
        firsts.iter().map(|(at, hit, _)| before(&groups[*at], hit, history, None)).collect();
    let earlier = alike(connection, &wanted, &rule.by, &of_them, Reading::Opening, DEVICES).await?;
    let mut found = vec![Vec::new(); groups.len()];
    for ((at, hit, device), earlier) in firsts.into_iter().zip(earlier) {
        let devices = || earlier.iter().filter_map(|event| opened::device(event.opening.as_deref()?));
        if devices().next().is_some() && devices().all(|known| known != device) {
            found[at].push(hit);
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
            opening: None,
        }
    }

    fn pace() -> Pace {
        Pace { said: Vec::new(), cool_down: TimeDelta::hours(1) }
    }

    fn hit(second: i64) -> Hit {
        let Alike { filed_at, id, .. } = event(second, None);
        Hit {
            tenant_id: "demo".to_owned(),
            filed_at,
            id,
            values: Vec::new(),
            found: vec![true],
            opening: None,
        }
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

    #[test]
    fn a_journey_is_judged_by_the_events_next_to_each_other() {
        let hit = hit(7_200);
        let group = Group { tenant: "demo", key: Vec::new(), hits: vec![&hit] };
        let of = |events: [(i64, &str); 3]| {
            let events: Vec<Alike> = events.map(|(second, value)| event(second, Some(value))).into();
            travelled(&group, &events, (900, 500), &mut pace())
        };
        let fired = of([(0, "DE"), (3_600, "DE"), (7_200, "JP")]);
        assert_eq!((fired.len(), fired[0].events), (1, 2));
        assert_eq!(fired[0].evidence, [Uuid::from_u128(7_200), Uuid::from_u128(3_600)]);
        assert!(of([(0, "DE"), (3_600, "AT"), (7_200, "DE")]).is_empty(), "over a border and back");
        let far = of([(0, "JP"), (3_600, "DE"), (7_200, "DE")]);
        assert!(far.is_empty(), "the journey is not between the hit and another: {far:?}");
    }

    #[test]
    fn what_was_said_keeps_quiet_about_its_own_time_alone() {
        let day = |day: i64| DateTime::from_timestamp(86_400 * day, 0).expect("a time");
        let mut pace = Pace { said: vec![day(10)], cool_down: TimeDelta::hours(1) };
        assert!(!pace.speaks(day(10) + TimeDelta::minutes(50)));
        assert!(!pace.speaks(day(10) - TimeDelta::minutes(50)));
        assert!(pace.speaks(day(3)), "what comes late was not said");
        assert!(!pace.speaks(day(3)), "now it was");
        assert!(pace.speaks(day(11)));
    }
}
