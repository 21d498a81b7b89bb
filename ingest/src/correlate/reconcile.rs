//! The application's own audit rows held against what the edge saw.
//!
//! A row is a claim. It is confirmed by an event that was seen at the edge itself and not an echo of the application's own
//! server: of the same action, and on the same entity or, if the row names none, by the same actor. Claims are decided
//! once, after the window has passed, so that the nearest event is known. One event may confirm several rows: some acts
//! are written down twice.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};
use shared::event::{Event, JsonText, Severity, TenantId};
use shared::redact::shorten_bytes;
use tokio::sync::watch;
use uuid::Uuid;

use super::feed::Page;
use crate::clock::Clock;
use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::app_audit::{self, Claim};
use crate::store::{self, Store, StoreError, events};

/// How far apart a claim and its event may be, and how long a claim waits.
pub const WINDOW: TimeDelta = TimeDelta::seconds(60);

const EVERY: Duration = Duration::from_secs(1);
/// Claims that are decided in one go.
const TOGETHER: i64 = 100;
/// Rows of one event that are looked at.
const MAX_ROWS: usize = 1_000;
/// Bytes of a claim's words.
const MAX_WORD_LEN: usize = 200;
/// Events of one act and its echoes.
const CANDIDATES: i64 = 20;
/// A row's own time is believed if it was written down within so long.
const BELIEVED: TimeDelta = TimeDelta::days(1);

/// Figures of one action.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Figures {
    /// Claims that wait.
    pub pending: i64,
    /// Claims that an event confirms.
    pub confirmed: i64,
    /// Claims that none confirms.
    pub only_theirs: i64,
    /// Events without a claim.
    pub only_ours: i64,
}

/// Takes claims in and decides on them.
#[derive(Debug, Clone)]
pub struct Reconciler {
    store: Store,
    recorder: Recorder,
    clock: Clock,
}

impl Reconciler {
    /// Prepares it.
    pub fn new(store: Store, recorder: Recorder, clock: Clock) -> Self {
        Self { store, recorder, clock }
    }

    /// Works until it is stopped.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        loop {
            let more = match self.pass().await {
                Ok(more) => more,
                Err(error) => {
                    tracing::warn!(%error, "the application's audit is not reconciled, trying again");
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

    /// Takes in a page of events and decides on some of what is due; whether there may be more.
    ///
    /// # Errors
    /// If something is not stored; the next pass takes up where this one stopped.
    pub async fn pass(&self) -> Result<bool, OwnError> {
        let read = self.read().await?;
        let decided = self.decide().await?;
        Ok(read || decided)
    }

    async fn read(&self) -> Result<bool, StoreError> {
        let Some(mut page) = Page::next(&self.store, "reconcile").await? else { return Ok(false) };
        let mut all = Vec::new();
        for told in app_audit::writing_events(&mut page.transaction, &page.batches).await? {
            let event = events::read(&told.opening).ok_or(StoreError::Damaged("event"))?;
            all.extend(claims(&event, told.received_at));
        }
        if !all.is_empty() {
            app_audit::insert(&mut page.transaction, &all).await?;
        }
        page.finish().await?;
        Ok(true)
    }

    async fn decide(&self) -> Result<bool, OwnError> {
        let now = self.clock.now();
        let mut transaction = self.store.begin().await?;
        if !app_audit::try_lock(&mut transaction).await? {
            return Ok(false);
        }
        let due = app_audit::due(&mut transaction, now.to_utc() - WINDOW, TOGETHER).await?;
        let mut alone = Vec::new();
        for claim in &due {
            let near = app_audit::candidates(&mut transaction, claim, WINDOW, CANDIDATES).await?;
            let ours = near
                .into_iter()
                .find(|(_, opening)| events::read(opening).is_some_and(|event| !event.echo))
                .map(|(id, _)| id);
            if !app_audit::decide(&mut transaction, claim, ours).await? {
                // Whoever it was about was erased just now.
                continue;
            }
            let name = format!("{}/{}", claim.event_id, claim.n);
            if ours.is_none() && !app_audit::is_reported(&mut transaction, claim, &name).await? {
                let tenant = TenantId::try_from(claim.tenant_id.clone())
                    .map_err(|_| StoreError::Damaged("claim of an application"))?;
                let event =
                    OwnEvent::new(&tenant, "APP_AUDIT_ONLY", "ingest/reconcile", now, "app_audit", &name);
                alone.push(OwnEvent { severity: Severity::Warning, details: Some(details(claim)), ..event });
            }
        }
        if !alone.is_empty() {
            self.recorder.record(alone).await?;
        }
        store::commit(transaction).await?;
        Ok(i64::try_from(due.len()) == Ok(TOGETHER))
    }
}

/// How claims and events stand between two times, by action. Events count once their claim can no longer come.
///
/// # Errors
/// If the database refuses.
pub async fn figures(
    store: &Store,
    tenant: &TenantId,
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    now: DateTime<Utc>,
) -> Result<BTreeMap<String, Figures>, StoreError> {
    let mut by_action = BTreeMap::<String, Figures>::new();
    for row in app_audit::claimed(store, tenant.as_str(), from, to).await? {
        let figures = Figures {
            pending: row.pending,
            confirmed: row.confirmed,
            only_theirs: row.only_theirs,
            only_ours: 0,
        };
        by_action.insert(row.action, figures);
    }
    let span = (from, to.min(now - WINDOW));
    app_audit::unclaimed(store, tenant.as_str(), span, WINDOW, |action, opening| {
        if events::read(opening).is_some_and(|event| !event.echo) {
            by_action.entry(action).or_default().only_ours += 1;
        }
    })
    .await?;
    Ok(by_action)
}

fn details(claim: &Claim) -> Value {
    json!({
        "event": claim.event_id,
        "action": claim.action,
        "entity_type": claim.entity_type,
        "entity_id": claim.entity_id,
        "user_id": claim.user_id,
        "at": crate::view::time(claim.at),
    })
}

/// The rows that an event tells: of the table, or the arguments of the function that writes one.
fn claims(event: &Event, received_at: DateTime<Utc>) -> Vec<Claim> {
    let details = event.details.as_ref().map(JsonText::value).unwrap_or_default();
    let rows = match &details["rows"] {
        Value::Array(rows) => rows.as_slice(),
        row => std::slice::from_ref(row),
    };
    let id: Uuid = event.id.uuid();
    rows.iter()
        .take(MAX_ROWS)
        .zip(0..)
        .filter_map(|(row, n)| {
            let word = |name: &str| word(&row[name]).or_else(|| word(&row[format!("p_{name}")]));
            Some(Claim {
                tenant_id: event.tenant.as_str().to_owned(),
                event_id: id,
                n,
                action: word("action")?.to_uppercase(),
                entity_type: word("entity_type"),
                entity_id: word("entity_id"),
                user_id: word("user_id"),
                at: claimed_time(&row["created_at"], event.occurred_at.to_utc()),
                received_at,
            })
        })
        .collect()
}

fn word(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) if !text.is_empty() => text.replace('\0', ""),
        Value::Number(number) => number.to_string(),
        _ => return None,
    };
    Some(shorten_bytes(&text, MAX_WORD_LEN))
}

/// The row's own time if it can be, else when it was written.
fn claimed_time(value: &Value, written: DateTime<Utc>) -> DateTime<Utc> {
    let claimed = value.as_str().and_then(|text| DateTime::parse_from_rfc3339(text).ok());
    let can_be = |at: &DateTime<Utc>| *at >= written - BELIEVED && *at <= written + WINDOW;
    claimed.map(|at| at.to_utc()).filter(can_be).unwrap_or(written)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rows_own_time_is_believed_only_if_it_can_be() {
        let written = "2026-03-01T12:00:00Z".parse().expect("a time");
        let believed = |text: &str| claimed_time(&json!(text), written) != written;
        assert!(believed("2026-03-01T11:59:00Z") && believed("2026-03-01T13:00:30+01:00"));
        for text in ["2026-02-01T00:00:00Z", "2026-03-01T12:30:00Z", "yesterday", ""] {
            assert!(!believed(text), "{text}");
        }
    }

    #[test]
    fn words_of_any_kind_and_length_are_taken_without_harm() {
        assert_eq!(word(&json!(8)).as_deref(), Some("8"));
        assert_eq!(word(&json!("a\0b")).as_deref(), Some("ab"));
        assert_eq!(word(&json!("ä".repeat(500))).map(|text| text.len()), Some(MAX_WORD_LEN));
        assert_eq!([json!(null), json!(""), json!([1])].iter().find_map(word), None);
    }
}
