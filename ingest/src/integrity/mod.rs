//! Continuous verification: the backend checks its own logs by the clock, keeps what it finds, and raises an alarm.
//!
//! | kind | what is checked |
//! |---|---|
//! | `head` | the newest head is signed and is the root of the stored tree |
//! | `openings` | the openings of leaves since the last look are what the entries commit to |
//! | `heartbeat` | nothing: an entry that says how deep the queue is and where each stream stands, also in an idle hour |
//! | `tree` | entries, tiles and root of the log that grows |
//! | `everything` | all of it for every log; whatever is missing stands in a list that a record commits to, and went in time |
//!
//! What is held of leaves is judged by [`shared::verify`], as an auditor's bundle is.
//!
//! Of several processes one looks at a time. A look is a row in `integrity_results`. This catches what happens to the
//! database; that we do not lie ourselves is for witnesses and for `edgetrail verify`, which share none of it.

mod openings;
mod tree;

use std::time::Duration;

use chrono::{DateTime, Utc};
use serde_json::{Value, json};
use shared::event::{Outcome, RetentionClass, Severity, TenantId, Timestamp, Trust};
use tokio::sync::watch;

pub use openings::Tally;

use crate::clock::Clock;
use crate::config::Integrity;
use crate::own::{OwnError, OwnEvent, Recorder, outbox};
use crate::store::integrity::{self, ResultRow};
use crate::store::log::{self, LogRow};
use crate::store::{Store, StoreError, commit, publications, streams};

const RULE: &str = "ingest/integrity";
/// A head that is sound is noted this often, not at every look.
const NOTED: chrono::TimeDelta = chrono::TimeDelta::hours(1);
/// Streams that a heartbeat tells of; more would not fit an event.
const TOLD: i64 = 200;
/// How long a head may wait for its quorum before an event says so.
const STALLED: chrono::TimeDelta = chrono::TimeDelta::minutes(10);

/// The schedules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// The newest head.
    Head,
    /// The openings of new leaves.
    Openings,
    /// A sign of life in the log.
    Heartbeat,
    /// The open log from its entries.
    Tree,
    /// All logs, all openings.
    Everything,
}

impl Kind {
    /// All of them, in the order in which they are looked at.
    pub const ALL: [Self; 5] = [Self::Head, Self::Openings, Self::Heartbeat, Self::Tree, Self::Everything];

    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Self::Head => "head",
            Self::Openings => "openings",
            Self::Heartbeat => "heartbeat",
            Self::Tree => "tree",
            Self::Everything => "everything",
        }
    }

    /// How often it looks.
    pub fn every(self, config: &Integrity) -> Duration {
        match self {
            Self::Head => config.heads,
            Self::Openings => config.openings,
            Self::Heartbeat => config.heartbeat,
            Self::Tree => config.tree,
            Self::Everything => config.everything,
        }
    }
}

/// Verifies the logs by the clock.
#[derive(Debug, Clone)]
pub struct Watch {
    store: Store,
    recorder: Recorder,
    clock: Clock,
    config: Integrity,
}

impl Watch {
    /// Over a store, with alarms going to a recorder.
    pub fn new(store: Store, recorder: Recorder, clock: Clock, config: Integrity) -> Self {
        Self { store, recorder, clock, config }
    }

    /// Works until it is stopped.
    pub async fn run(self, mut stop: watch::Receiver<bool>) {
        let tick = Kind::ALL.iter().map(|kind| kind.every(&self.config)).min().unwrap_or(self.config.heads);
        loop {
            tokio::select! {
                passed = self.pass() => if let Err(error) = passed {
                    tracing::warn!(%error, "logs are not verified, trying again");
                },
                _ = stop.wait_for(|stop| *stop) => return,
            }
            tokio::select! {
                () = tokio::time::sleep(tick) => {}
                _ = stop.wait_for(|stop| *stop) => return,
            }
        }
    }

    /// Does everything that is due.
    ///
    /// # Errors
    /// If the store refuses; the rest waits for the next pass.
    pub async fn pass(&self) -> Result<(), OwnError> {
        outbox::record(&self.store, &self.recorder).await?;
        self.stalled().await?;
        let mut tenant = None;
        for log in log::list(&self.store, None).await? {
            let grows = tenant.as_ref() != Some(&log.tenant_id);
            tenant = Some(log.tenant_id.clone());
            for kind in Kind::ALL {
                if grows || kind == Kind::Everything {
                    self.look(&log, kind).await?;
                }
            }
        }
        Ok(())
    }

    /// One look at a log, if it is due and no other process is at it.
    async fn look(&self, log: &LogRow, kind: Kind) -> Result<(), OwnError> {
        let mut transaction = self.store.begin().await?;
        if !integrity::try_lead(&mut transaction, &format!("{} {}", kind.word(), log.log_id)).await? {
            return Ok(());
        }
        let before = integrity::newest(&mut transaction, &log.log_id, kind.word()).await?;
        let started_at = self.clock.now().to_utc();
        if !self.is_due(&mut transaction, log, kind, before.as_ref(), started_at).await? {
            return Ok(());
        }
        let from_index = match (kind, &before) {
            (Kind::Openings, Some(before)) => before.size,
            _ => 0,
        };
        let (size, tally) = self.verify(&mut transaction, log, kind, from_index).await?;
        let row = ResultRow {
            tenant_id: log.tenant_id.clone(),
            log_id: log.log_id.clone(),
            kind: kind.word().to_owned(),
            started_at,
            finished_at: self.clock.now().to_utc(),
            from_index,
            size,
            open: tally.open,
            erased: tally.erased,
            dropped: tally.dropped,
            unexplained: tally.unexplained,
            mismatched: tally.mismatched,
            finding: tally.finding,
        };
        let known = before.as_ref().is_some_and(|before| before.finding == row.finding);
        let noted = before.is_some_and(|before| row.finished_at - before.finished_at < NOTED);
        if kind == Kind::Head && known && noted {
            return Ok(());
        }
        // Before the row: what crashes in between is told twice, never not at all.
        if let Some(finding) = &row.finding {
            metrics::counter!("edgetrail_integrity_failures_total", "kind" => kind.word()).increment(1);
            tracing::error!(log_id = row.log_id, kind = row.kind, finding, "a log does not verify");
            if !known {
                self.alarm(&row, finding).await?;
            }
        }
        integrity::insert(&mut transaction, &row).await?;
        commit(transaction).await?;
        metrics::gauge!("edgetrail_integrity_unexplained", "kind" => kind.word(), "log" => row.log_id)
            .set((row.unexplained + row.mismatched) as f64);
        Ok(())
    }

    async fn is_due(
        &self,
        transaction: &mut sqlx::PgConnection,
        log: &LogRow,
        kind: Kind,
        before: Option<&ResultRow>,
        now: DateTime<Utc>,
    ) -> Result<bool, StoreError> {
        // At every pass: heads are noted less often than they are looked at.
        if kind == Kind::Head {
            return Ok(true);
        }
        let since = match before {
            Some(before) => before.finished_at,
            None => integrity::opened_at(transaction, &log.log_id).await?,
        };
        let every = chrono::TimeDelta::from_std(kind.every(&self.config)).unwrap_or(chrono::TimeDelta::MAX);
        Ok(now - since >= every)
    }

    async fn verify(
        &self,
        connection: &mut sqlx::PgConnection,
        log: &LogRow,
        kind: Kind,
        from: i64,
    ) -> Result<(i64, Tally), OwnError> {
        let head = log::newest_checkpoint(connection, &log.log_id).await?;
        let size = head.map_or(0, |head| head.size);
        let mut tally = Tally::default();
        match kind {
            Kind::Head => {
                let (size, finding) = tree::head(connection, log).await?;
                let mismatched = i64::from(finding.is_some());
                return Ok((size, Tally { mismatched, finding, ..Tally::default() }));
            }
            Kind::Heartbeat => self.heartbeat(connection, log, size).await?,
            Kind::Openings => {
                tally = openings::compare(&self.store, connection, log, (from.min(size), size)).await?;
            }
            Kind::Tree | Kind::Everything => {
                if kind == Kind::Everything {
                    tally = openings::compare(&self.store, connection, log, (0, size)).await?;
                }
                let (wrong, finding) = tree::recompute(connection, log, size).await?;
                tally.mismatched += wrong;
                tally.finding = tally.finding.or(finding);
            }
        }
        Ok((size, tally))
    }

    /// An entry that is also there when nothing happens: so its absence tells something.
    async fn heartbeat(
        &self,
        connection: &mut sqlx::PgConnection,
        log: &LogRow,
        size: i64,
    ) -> Result<(), OwnError> {
        let tenant = tenant(log)?;
        let (entries, oldest) = integrity::pending(connection, &log.tenant_id).await?;
        let now = self.clock.now();
        let waiting_ms = oldest.map_or(0, |at| (now.to_utc() - at).num_milliseconds().max(0));
        let streams: Vec<Value> = streams::newest(&self.store, &log.tenant_id, TOLD)
            .await?
            .into_iter()
            .filter(|stream| stream.ended_at.is_none())
            .map(|stream| json!([hex::encode(stream.stream), stream.high_seq]))
            .collect();
        let event = OwnEvent::new(&tenant, "LOG_HEARTBEAT", RULE, now, "log", &log.log_id);
        let details = json!({
            "size": size, "pending_entries": entries, "waiting_ms": waiting_ms, "streams": streams,
        });
        self.recorder.record(vec![OwnEvent { details: Some(details), ..event }]).await?;
        Ok(())
    }

    async fn alarm(&self, row: &ResultRow, finding: &str) -> Result<(), OwnError> {
        let Ok(tenant) = TenantId::try_from(row.tenant_id.clone()) else { return Ok(()) };
        let now = self.clock.now();
        let event = OwnEvent::new(&tenant, "INTEGRITY_VIOLATED", RULE, now, "log", &row.log_id);
        let details = json!({
            "kind": row.kind, "finding": finding, "from": row.from_index, "size": row.size,
            "unexplained": row.unexplained, "mismatched": row.mismatched,
        });
        let event = OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Permanent,
            outcome: Outcome::Failure,
            details: Some(details),
            ..event
        };
        self.recorder.record(vec![event]).await?;
        Ok(())
    }

    /// Heads that wait too long for their quorum: told once for each head from which a log stands still.
    async fn stalled(&self) -> Result<(), OwnError> {
        let now = self.clock.now();
        for (tenant_id, log_id, since) in publications::stalled(&self.store, now.to_utc() - STALLED).await? {
            let mut transaction = self.store.begin().await?;
            if !integrity::try_lead(&mut transaction, &format!("stalled {log_id}")).await? {
                continue;
            }
            let before = integrity::newest(&mut transaction, &log_id, "publication").await?;
            if before.is_some_and(|before| before.started_at >= since) {
                continue;
            }
            let published = publications::published_size(&self.store, &log_id).await?.unwrap_or(0);
            let row = ResultRow {
                tenant_id,
                log_id,
                kind: "publication".to_owned(),
                started_at: since,
                finished_at: now.to_utc(),
                from_index: published,
                size: published,
                open: 0,
                erased: 0,
                dropped: 0,
                unexplained: 0,
                mismatched: 0,
                finding: Some(format!("no head after that of {published} entries has its quorum")),
            };
            metrics::counter!("edgetrail_integrity_failures_total", "kind" => "publication").increment(1);
            self.alarm(&row, row.finding.as_deref().unwrap_or_default()).await?;
            integrity::insert(&mut transaction, &row).await?;
            commit(transaction).await?;
        }
        Ok(())
    }
}

/// What a command did to a log, as an event.
pub fn done_to_log(
    tenant: &TenantId,
    action: &str,
    log_id: &str,
    by: &str,
    details: Value,
    now: Timestamp,
) -> OwnEvent {
    OwnEvent {
        severity: Severity::Critical,
        class: RetentionClass::Permanent,
        trust: Trust::System,
        details: Some(details),
        ..OwnEvent::new(tenant, action, RULE, now, "log", log_id).by(by)
    }
}

fn tenant(log: &LogRow) -> Result<TenantId, StoreError> {
    TenantId::try_from(log.tenant_id.clone()).map_err(|_| StoreError::Damaged("tenant"))
}
