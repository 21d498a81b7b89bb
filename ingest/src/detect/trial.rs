//! What a rule would have found in the events that are stored.

use chrono::{DateTime, Utc};
use shared::event::TenantId;

use super::judge::{self, Fired};
use super::rule::Rule;
use crate::store::search::{Among, Likeness, hits};
use crate::store::{Store, StoreError};

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
    /// Events that the rule finds.
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
    let mut transaction = store.begin().await?;
    let among = Among::Filed(tenant.as_str(), span);
    let found = hits(&mut transaction, among, &[rule.wanted()], FOUND).await?;
    let mut said = Vec::new();
    for group in judge::groups(rule, 0, &found) {
        let fired = judge::judge(&mut transaction, rule, &group, None).await?;
        said.extend(fired.into_iter().map(|fired| Said { alike: group.key.clone(), fired }));
    }
    said.sort_by(|a, b| b.fired.last_at.cmp(&a.fired.last_at));
    let is_cut = i64::try_from(found.len()).is_ok_and(|found| found >= FOUND);
    Ok(Trial { found: found.len(), is_cut, said })
}
