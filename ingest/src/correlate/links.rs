//! Which act made the application's own server write.
//!
//! The surest sign is the entity: the same type and id, or the same id where an echo only knows a row. Without one, the
//! same person has to have done exactly one thing nearby, which is known once the window has passed. Two people on both
//! sides do not belong together. An echo without an act stays visible: it may be a write that only claims to be the
//! server's.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::event::{TenantId, Trust};
use uuid::Uuid;

use super::Follow;
use crate::own::{OwnError, OwnEvent};
use crate::store::links::{self, PendingEcho, PossibleAct};
use crate::store::{self, StoreError, Transaction};

const ECHO_LINKED: &str = "ECHO_LINKED";
/// How far apart an echo and its act may be.
const WINDOW: TimeDelta = TimeDelta::seconds(10);
/// After which an echo without an act stays so.
const HOLD: TimeDelta = TimeDelta::seconds(60);
/// Echoes in one go.
const PAGE: i64 = 100;
/// Echoes of a page lie within this, so that their acts do too.
const PAGE_SPAN: TimeDelta = TimeDelta::seconds(60);
/// Entities of echoes that know which one was written and not what it is.
const ANY_TYPE: [&str; 2] = ["row", "app_audit"];

/// One look at the page of pending echoes after a place; the place of its last one, or none at the end or if another process
/// is at it.
pub(super) async fn page(
    follow: &Follow,
    after: (DateTime<Utc>, Uuid),
) -> Result<Option<(DateTime<Utc>, Uuid)>, OwnError> {
    follow.store.in_turn().await;
    let mut transaction = follow.store.begin().await?;
    if !links::try_lock(&mut transaction).await? {
        return Ok(None);
    }
    let mut page = links::pending(&mut transaction, after, PAGE).await?;
    let Some(first) = page.first().map(|echo| echo.filed_at) else {
        // A transaction that is only dropped keeps the lock for a while.
        store::commit(transaction).await?;
        return Ok(None);
    };
    page.retain(|echo| echo.filed_at - first <= PAGE_SPAN);
    let last = page.last().map(|echo| (echo.filed_at, echo.id));
    let mut by_tenant: BTreeMap<String, Vec<PendingEcho>> = BTreeMap::new();
    for echo in page {
        by_tenant.entry(echo.tenant_id.clone()).or_default().push(echo);
    }
    for (tenant, echoes) in by_tenant {
        link(follow, &mut transaction, &tenant, &echoes).await?;
    }
    store::commit(transaction).await?;
    Ok(last)
}

async fn link(
    follow: &Follow,
    transaction: &mut Transaction,
    tenant: &str,
    echoes: &[PendingEcho],
) -> Result<(), OwnError> {
    let owner =
        TenantId::try_from(tenant.to_owned()).map_err(|_| StoreError::Damaged("tenant of an echo"))?;
    let filed = echoes.iter().map(|echo| echo.filed_at);
    let (Some(first), Some(last)) = (filed.clone().min(), filed.max()) else { return Ok(()) };
    let arrived = echoes.iter().map(|echo| echo.received_at).min().unwrap_or(first);
    let ids: Vec<_> = echoes.iter().map(|echo| echo.id).collect();
    // A stop may have come between an annotation and its mark. Clocks of two processes may differ.
    let known: HashMap<Uuid, Uuid> =
        links::annotated(transaction, tenant, ECHO_LINKED, &ids, arrived.min(first) - HOLD)
            .await?
            .into_iter()
            .filter_map(|(echo, details)| Some((echo, details["act"].as_str()?.parse().ok()?)))
            .collect();
    let entities: Vec<_> = echoes.iter().filter_map(|echo| echo.entity_id.as_deref()).collect();
    let people: Vec<_> = echoes.iter().flat_map(people_of_echo).collect();
    let acts = links::acts(transaction, tenant, (first - WINDOW, last + WINDOW), &entities, &people).await?;

    let now = follow.clock.now();
    let mut settled = Vec::new();
    let mut annotations = Vec::new();
    for echo in echoes {
        let waited = now.to_utc() - echo.received_at;
        if let Some(act) = known.get(&echo.id) {
            settled.push((echo.id, Some(*act)));
        } else if let Some(act) = choose(echo, &acts, waited >= WINDOW) {
            settled.push((echo.id, Some(act)));
            annotations.push(OwnEvent {
                details: Some(json!({"act": act})),
                ..OwnEvent::new(&owner, ECHO_LINKED, "ingest/links", now, "event", &echo.id.to_string())
            });
        } else if waited >= HOLD {
            settled.push((echo.id, None));
        }
    }
    if !annotations.is_empty() {
        follow.recorder.record(annotations).await?;
    }
    if !settled.is_empty() {
        links::settle(transaction, tenant, &settled).await?;
    }
    Ok(())
}

/// The act of an echo, if it is clear.
fn choose(echo: &PendingEcho, acts: &[PossibleAct], window_passed: bool) -> Option<Uuid> {
    let apart = |act: &PossibleAct| (echo.filed_at - act.filed_at).abs();
    let by_same =
        |act: &PossibleAct| people_of_echo(echo).any(|it| people_of_act(act).any(|that| it == that));
    let near = || acts.iter().filter(|act| act.host != echo.host && apart(act) <= WINDOW);
    let somebody = people_of_echo(echo).next().is_some();
    let on_same = near()
        .filter(|act| same_entity(echo, act))
        .filter(|act| !somebody || people_of_act(act).next().is_none() || by_same(act))
        .min_by_key(|act| (!by_same(act), apart(act), act.id));
    if on_same.is_some() || !window_passed {
        return on_same.map(|act| act.id);
    }
    let mut by_person = near().filter(|act| by_same(act) && !matches!(act.method.as_str(), "GET" | "HEAD"));
    match (by_person.next(), by_person.next()) {
        (Some(act), None) => Some(act.id),
        _ => None,
    }
}

fn same_entity(echo: &PendingEcho, act: &PossibleAct) -> bool {
    let any_type = echo.entity_type.as_deref().is_some_and(|kind| ANY_TYPE.contains(&kind));
    echo.entity_id.is_some()
        && echo.entity_id == act.entity_id
        && (any_type || echo.entity_type == act.entity_type)
}

/// Whom an echo names. The server's own key is nobody.
fn people_of_echo(echo: &PendingEcho) -> impl Iterator<Item = &str> {
    let by_system = [Trust::System, Trust::Service].iter().any(|it| i16::from(it.byte()) == echo.trust);
    let actor = echo.actor_id.as_deref().filter(|_| !by_system);
    actor.into_iter().chain(echo.claimed_user.as_deref())
}

fn people_of_act(act: &PossibleAct) -> impl Iterator<Item = &str> {
    act.actor_id.as_deref().into_iter().chain(act.claimed_user.as_deref())
}
