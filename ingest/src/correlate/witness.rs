//! The third witness: reads the outbox that `ingest/witness/install.sql` makes in a customer's database, and settles
//! what it says against the events.
//!
//! Lines are stored first and deleted there afterwards, so a stop in between repeats a line and never loses one. They
//! are taken by delete, not by "newer than the last seen": numbers commit out of order. Any number of processes may do
//! this; a lock of the tenant keeps two from spending the same event.
//!
//! A write that nothing tells is an event of its own, recorded before the write is marked as reported.

use std::collections::BTreeMap;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::batch::MAX_TEXT_LEN;
use shared::event::{EntityType, RetentionClass, Severity, TenantId, Timestamp};
use sqlx::postgres::{PgPool, PgPoolOptions};

use super::matching::{self, Act, Patience};
use crate::clock::Clock;
use crate::config;
use crate::own::{OwnError, OwnEvent, Recorder};
use crate::store::writes::Unreported;
use crate::store::{self, Doing as _, Store, StoreError, writes};
use crate::view::time;

/// Lines of one reading, and writes of one page.
const PAGE: i64 = 500;
/// A slow customer database must not keep us from settling what is stored.
const READ_WITHIN: Duration = Duration::from_secs(10);
/// Writes that are reported in one batch.
const REPORTED_TOGETHER: i64 = 100;
/// As whom Supabase's API works in the database: such a write came by HTTP, and not through the edge.
const API_ROLES: [&str; 3] = ["anon", "authenticated", "service_role"];
/// What the rule `origin-bypass` looks for.
const PAST_THE_EDGE: &str = "past_the_edge";
/// Writes of a page lie within this, so that its events do too.
const PAGE_SPAN: TimeDelta = TimeDelta::seconds(60);

/// One watched database.
#[derive(Debug)]
pub struct Witness {
    tenant: TenantId,
    tables: BTreeMap<String, EntityType>,
    patience: Patience,
    poll: Duration,
    customer: PgPool,
    store: Store,
    recorder: Recorder,
    clock: Clock,
}

impl Witness {
    /// Prepares it; connections are made when first used.
    pub fn new(config: config::Witness, store: Store, recorder: Recorder, clock: Clock) -> Self {
        // No prepared statements and no session settings: a pooler may stand between.
        let customer = PgPoolOptions::new()
            .max_connections(1)
            .min_connections(0)
            .acquire_timeout(Duration::from_secs(5))
            .connect_lazy_with(
                config.database.application_name("edgetrail witness").statement_cache_capacity(0),
            );
        Self {
            tenant: config.tenant,
            tables: config.tables,
            patience: Patience { window: config.match_window, hold: config.hold },
            poll: config.poll,
            customer,
            store,
            recorder,
            clock,
        }
    }

    /// Reads and settles for ever.
    pub async fn run(self) {
        loop {
            let full = match self.pass().await {
                Ok(full) => full,
                Err(error) => {
                    tracing::warn!(%error, tenant = self.tenant.as_str(), "the witness is not heard");
                    metrics::counter!("edgetrail_witness_errors_total").increment(1);
                    false
                }
            };
            if !full {
                tokio::time::sleep(self.poll).await;
            }
        }
    }

    /// One reading of the outbox, and one look at everything that is pending. Whether there is more to read.
    ///
    /// # Errors
    /// If either database refuses, or our own log; the next pass takes up where this one stopped.
    pub async fn pass(&self) -> Result<bool, OwnError> {
        let late = |_| sqlx::Error::Io(std::io::ErrorKind::TimedOut.into());
        let full = tokio::time::timeout(READ_WITHIN, self.read_outbox())
            .await
            .map_err(late)
            .doing("waiting for a witness")
            .flatten();
        // What is stored is settled also while the customer's database does not answer.
        self.settle().await?;
        while self.report_page().await? {}
        Ok(full?)
    }

    async fn read_outbox(&self) -> Result<bool, StoreError> {
        // Not checked at compile time: the table is in the customer's database. Below the horizon nothing is under way.
        let rows: Vec<writes::OutboxRow> = sqlx::query_as(
            "select seq, at, table_name, key, op, txid::text::bigint as txid, row_hash, uid, role, application_name
             from edgetrail_witness.outbox where txid < pg_snapshot_xmin(pg_current_snapshot())
             order by seq limit $1",
        )
        .bind(PAGE)
        .fetch_all(&self.customer)
        .await
        .doing("reading a witness's outbox")?;
        if rows.is_empty() {
            return Ok(false);
        }
        let seqs: Vec<i64> = rows.iter().map(|row| row.seq).collect();
        let rows: Vec<_> = rows
            .into_iter()
            .map(|row| {
                let kind = self.tables.get(&row.table_name).map(EntityType::as_str);
                (row, kind)
            })
            .collect();
        writes::insert(&self.store, self.tenant.as_str(), self.clock.now().to_utc(), &rows).await?;
        sqlx::query("delete from edgetrail_witness.outbox where seq = any($1)")
            .bind(&seqs)
            .execute(&self.customer)
            .await
            .doing("clearing a witness's outbox")?;
        metrics::counter!("edgetrail_witnessed_writes_total").increment(seqs.len() as u64);
        Ok(i64::try_from(seqs.len()) == Ok(PAGE))
    }

    async fn settle(&self) -> Result<(), StoreError> {
        let mut after = (DateTime::<Utc>::UNIX_EPOCH, 0);
        while let Some(next) = self.settle_page(after).await? {
            after = next;
        }
        Ok(())
    }

    /// Records the next writes that nothing told; whether there may be more.
    async fn report_page(&self) -> Result<bool, OwnError> {
        let tenant = self.tenant.as_str();
        let mut transaction = self.store.begin().await?;
        if !writes::try_lock(&mut transaction, tenant).await? {
            return Ok(false);
        }
        let page = writes::unreported(&mut transaction, tenant, REPORTED_TOGETHER).await?;
        if page.is_empty() {
            store::commit(transaction).await?;
            return Ok(false);
        }
        let now = self.clock.now();
        self.recorder.record(page.iter().map(|write| self.report(write, now)).collect()).await?;
        writes::mark_reported(&mut transaction, tenant, &page, now.to_utc()).await?;
        store::commit(transaction).await?;
        Ok(i64::try_from(page.len()) == Ok(REPORTED_TOGETHER))
    }

    fn report(&self, write: &Unreported, now: Timestamp) -> OwnEvent {
        let kind = write.entity_type.as_deref().unwrap_or("row");
        let mut event = OwnEvent::new(&self.tenant, "WRITE_UNATTRIBUTED", "ingest/witness", now, kind, "");
        if let Some(entity) = &mut event.entity {
            entity.id = write.key.as_deref().map(|key| short(key).to_owned());
        }
        OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Critical,
            details: Some(json!({
                "table": write.table_name,
                "op": write.op,
                "txid": write.txid.to_string(),
                "at": time(write.at),
                "uid": write.uid.as_deref().map(short),
                "way": if API_ROLES.contains(&write.role_name.as_str()) { PAST_THE_EDGE } else { "in_the_database" },
            })),
            ..event
        }
    }

    /// Settles the page after a place; the place of its last write, or none at the end or if another process is at it.
    async fn settle_page(
        &self,
        after: (DateTime<Utc>, i64),
    ) -> Result<Option<(DateTime<Utc>, i64)>, StoreError> {
        let tenant = self.tenant.as_str();
        let mut transaction = self.store.begin().await?;
        if !writes::try_lock(&mut transaction, tenant).await? {
            return Ok(None);
        }
        let mut page = writes::pending(&mut transaction, tenant, after, PAGE).await?;
        let Some(first) = page.first().map(|write| write.at) else {
            // A transaction that is only dropped keeps the lock for a while.
            store::commit(transaction).await?;
            return Ok(None);
        };
        page.retain(|write| write.at - first <= PAGE_SPAN);
        let Some(last) = page.last().map(|write| (write.at, write.seq)) else { return Ok(None) };

        let window = TimeDelta::from_std(self.patience.window).unwrap_or(PAGE_SPAN);
        let keys: Vec<&str> = page.iter().filter_map(|write| write.key.as_deref()).collect();
        let span = (first - window, last.0 + window);
        let read = |candidate| Act::read(candidate).filter(|act| act.concerns(&page));
        let acts = writes::candidates(&mut transaction, tenant, span, &keys, read).await?;
        let ids: Vec<_> = acts.iter().flat_map(Act::ids).collect();
        let spent = writes::spent(&mut transaction, tenant, &ids).await?;
        let settled = matching::settle(&page, &acts, &spent, self.patience, self.clock.now().to_utc());
        if !settled.is_empty() {
            writes::settle(&mut transaction, tenant, &settled).await?;
        }
        store::commit(transaction).await?;
        for it in &settled {
            metrics::counter!("edgetrail_settled_writes_total", "state" => it.state).increment(1);
        }
        Ok(Some(last))
    }
}

/// As much of a text as an event may hold: a customer's keys know no limit, and the event must not fail on one.
fn short(text: &str) -> &str {
    &text[..text.floor_char_boundary(MAX_TEXT_LEN)]
}
