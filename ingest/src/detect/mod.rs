//! Detection: rules look at every event as it is stored, and what they find is an alert and an event of our own.
//!
//! A rule is a search and what must lie around its finds ([`rule`]); the store counts ([`judge`]). The task follows the stored
//! events through [`crate::correlate::feed`]: its place, the alerts and their events are one transaction, so that each find
//! raises one alert, whatever stops in between. What does not happen is no event: the clock asks about each hour ([`hours`]).
//! [`trial`] tells what a rule would have found.

mod baseline;
mod hours;
mod judge;
mod opened;
pub mod rule;
mod travel;
pub mod trial;

use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::event::{RetentionClass, TenantId};
use sqlx::PgConnection;
use tokio::sync::watch;

pub use judge::Fired;
pub use rule::{Rule, RuleError};

use crate::clock::Clock;
use crate::correlate::feed::{PAGE, Page};
use crate::own::{OwnEvent, outbox};
use crate::privacy::new_id;
use crate::store::alerts::{self, Alert};
use crate::store::search::{Among, Likeness, SECURITY_ALERT_RAISED, hits};
use crate::store::{Store, StoreError, Transaction, commit, cursors, detection_hours, retention};

/// The rules that come along.
pub const SHIPPED: &str = include_str!("rules.toml");

const TASK: &str = "detection";
const EVERY: Duration = Duration::from_secs(1);
/// How often is noted that we are here, and looked for an hour that is over.
const HOURS_EVERY: Duration = Duration::from_secs(5);
/// Events of a page that rules may find: as many as a page of batches can hold.
const FOUND: i64 = 10_000;

/// Looks for what rules look for, until it is stopped.
pub async fn run(store: Store, rules: Arc<[Rule]>, clock: Clock, mut stop: watch::Receiver<bool>) {
    let mut is_begun = false;
    let mut hours_looked_at: Option<Instant> = None;
    let mut batches = PAGE;
    loop {
        let looked = async {
            if !is_begun {
                cursors::begin_at_newest(&store, TASK).await?;
                is_begun = true;
            }
            if hours_looked_at.is_none_or(|at| at.elapsed() >= HOURS_EVERY) {
                hour(&store, &rules, &clock).await?;
                hours_looked_at = Some(Instant::now());
            }
            page(&store, &rules, &clock, batches).await
        };
        let more = match looked.await {
            Ok(more) => {
                batches = PAGE.min(batches * 2);
                more
            }
            Err(error) => {
                // A page that takes longer than a statement may would do so again.
                batches = (batches / 4).max(1);
                tracing::warn!(%error, batches, "rules do not look at events, trying again");
                false
            }
        };
        let pause = if more { Duration::ZERO } else { EVERY };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

/// Looks at a page of events; whether there was one.
async fn page(store: &Store, rules: &[Rule], clock: &Clock, batches: i64) -> Result<bool, StoreError> {
    let Some(mut page) = Page::next_of(store, TASK, batches).await? else { return Ok(false) };
    let rules: Vec<&Rule> = rules.iter().filter(|rule| !rule.is_by_clock()).collect();
    let wanted: Vec<_> = rules.iter().map(|rule| rule.wanted()).collect();
    let among = Among::Batches(&page.batches);
    let found = hits(&mut page.transaction, among, &wanted, FOUND).await?;
    for (at, rule) in rules.into_iter().enumerate() {
        let groups = judge::groups(rule, at, &found);
        let said = judge::said(&mut page.transaction, rule, &groups).await?;
        let fired = judge::judge(&mut page.transaction, rule, &groups, &said).await?;
        for (group, fired) in groups.iter().zip(fired) {
            for fired in fired {
                raise(&mut page.transaction, group.tenant, rule, &group.key, fired, clock).await?;
            }
        }
    }
    page.finish().await?;
    Ok(true)
}

/// Notes that we are here, and asks about the last whole hour, if nobody has and we were here all the while.
async fn hour(store: &Store, rules: &[Rule], clock: &Clock) -> Result<(), StoreError> {
    let now = clock.now().to_utc();
    let hour = hours::last_whole(now);
    let mut transaction = store.begin().await?;
    detection_hours::here(&mut transaction, now).await?;
    let here = detection_hours::here_since(&mut transaction, now).await?;
    let is_due =
        here.is_some_and(|since| since <= hour) && detection_hours::take(&mut transaction, hour, now).await?;
    if is_due {
        for tenant in retention::tenants(&mut transaction).await? {
            for rule in rules.iter().filter(|rule| rule.is_by_clock()) {
                silent(&mut transaction, &tenant, rule, hour, clock).await?;
            }
        }
    }
    commit(transaction).await
}

async fn silent(
    transaction: &mut Transaction,
    tenant: &str,
    rule: &Rule,
    hour: DateTime<Utc>,
    clock: &Clock,
) -> Result<(), StoreError> {
    let said = alerts::said(transaction, &[tenant.to_owned()], &rule.id, hours::told_of(rule, hour)).await?;
    for (key, fired) in hours::judge(transaction, tenant, rule, &[hour], &said).await? {
        raise(transaction, tenant, rule, &key, fired, clock).await?;
    }
    Ok(())
}

async fn raise(
    connection: &mut PgConnection,
    tenant: &str,
    rule: &Rule,
    key: &[(Likeness, String)],
    fired: Fired,
    clock: &Clock,
) -> Result<(), StoreError> {
    let tenant: TenantId = tenant.parse().map_err(|_| StoreError::Damaged("tenant"))?;
    let now = clock.now();
    let alert = Alert {
        tenant_id: tenant.to_string(),
        alert_id: new_id(now.to_utc()),
        rule: rule.id.clone(),
        title: rule.title.clone(),
        severity: i16::from(rule.severity.byte()),
        alike_in: key.iter().map(|(likeness, _)| likeness.name().to_owned()).collect(),
        alike: Some(key.iter().map(|(_, value)| value.clone()).collect()),
        events: i64::try_from(fired.events).unwrap_or(i64::MAX),
        first_at: fired.first_at,
        last_at: fired.last_at,
        evidence: fired.evidence,
        raised_at: now.to_utc(),
        state: "open".to_owned(),
        closed_by: None,
        closed_at: None,
        note: None,
    };
    let alike: serde_json::Map<_, _> =
        key.iter().map(|(likeness, value)| (likeness.name().to_owned(), json!(value))).collect();
    let id = alert.alert_id.to_string();
    let event = OwnEvent {
        severity: rule.severity,
        class: RetentionClass::from(rule.severity),
        details: Some(json!({
            "rule": rule.id, "title": rule.title, "alike": alike, "events": alert.events,
            "first_at": crate::view::time(alert.first_at), "last_at": crate::view::time(alert.last_at),
            "evidence": alert.evidence,
        })),
        ..OwnEvent::new(&tenant, SECURITY_ALERT_RAISED, "ingest/detection", now, "alert", &id)
    };
    alerts::raise(connection, &alert).await?;
    metrics::counter!("edgetrail_alerts_total", "rule" => rule.id.clone()).increment(1);
    outbox::keep(connection, &event).await
}
