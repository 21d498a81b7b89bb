//! What a rule would have found in the events that are stored.

use chrono::{DateTime, Utc};
use shared::event::TenantId;

use super::hours::{self, Presence};
use super::judge::{self, Fired};
use super::rule::Rule;
use crate::store::alerts::Said as Nothing;
use crate::store::search::{Among, Likeness, hits};
use crate::store::{Store, StoreError, detection_hours};

/// Finds that are looked at; a rule that finds more is told so.
const FOUND: i64 = 50_000;

/// What a rule would have said.
#[derive(Debug, Clone)]
pub struct Said {
    /// What the events have in common.
    pub alike: Vec<(Likeness, String)>,
    /// Each time that it would have fired.
    pub fired: Fired,
}

/// The outcome of a trial.
#[derive(Debug, Clone)]
pub struct Trial {
    /// Events that the rule finds; of a rule that the clock asks, hours that it looks at.
    pub found: usize,
    /// Whether there are more than were looked at.
    pub is_cut: bool,
    /// Newest first.
    pub said: Vec<Said>,
}

/// Tries a rule on a tenant's events that are filed between two times.
///
/// # Errors
/// If the database refuses.
pub async fn run(
    store: &Store,
    tenant: &TenantId,
    rule: &Rule,
    span: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Trial, StoreError> {
    let mut trial = if rule.is_by_clock() {
        of_hours(store, tenant, rule, span).await?
    } else {
        of_events(store, tenant, rule, span).await?
    };
    trial.said.sort_by_key(|one| std::cmp::Reverse(one.fired.last_at));
    Ok(trial)
}

async fn of_events(
    store: &Store,
    tenant: &TenantId,
    rule: &Rule,
    span: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Trial, StoreError> {
    let mut transaction = store.begin().await?;
    let among = Among::Filed(tenant.as_str(), span);
    let found = hits(&mut transaction, among, &[rule.wanted()], FOUND).await?;
    let groups = judge::groups(rule, 0, &found);
    let fired = judge::judge(&mut transaction, rule, &groups, &Nothing::default()).await?;
    let said = groups
        .iter()
        .zip(fired)
        .flat_map(|(group, fired)| fired.into_iter().map(|fired| Said { alike: group.key.clone(), fired }));
    let is_cut = i64::try_from(found.len()).is_ok_and(|found| found >= FOUND);
    Ok(Trial { found: found.len(), is_cut, said: said.collect() })
}

async fn of_hours(
    store: &Store,
    tenant: &TenantId,
    rule: &Rule,
    span: (DateTime<Utc>, DateTime<Utc>),
) -> Result<Trial, StoreError> {
    let mut transaction = store.begin().await?;
    let judged = Presence(detection_hours::all(&mut transaction).await?).hours(span);
    let fired = hours::judge(&mut transaction, tenant.as_str(), rule, &judged, &Nothing::default()).await?;
    let said = fired.into_iter().map(|(alike, fired)| Said { alike, fired }).collect();
    Ok(Trial { found: judged.len(), is_cut: false, said })
}
