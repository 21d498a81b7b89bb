//! Delivery: a task for each sink, which tries until the receiver has what follows.
//!
//! A sink that fails waits longer from attempt to attempt, with chance in it so that several do not meet. It counts as failing after a
//! while, or at once where the receiver will not have what it is sent; then an event says so, once, and another when it recovers. It
//! is never given up: what follows stays in the log, and an admin sees how much.

use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use serde_json::json;
use shared::event::{RetentionClass, Severity, Timestamp};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::admin::limit;
use super::destination::{Destination, Item, Parcel};
use super::feed::{self, Damaged, Page, Place};
use super::send::SendError;
use super::settings::Settings;
use super::shelf::KEPT;
use super::{Sinks, tenant_of};
use crate::clock::random;
use crate::own::{OwnEvent, outbox};
use crate::store::sinks::{self, Failure, SinkRow};
use crate::store::{self, StoreError, Transaction};
use crate::view::time;

/// Between two looks of a sink that has nothing to do.
const EVERY: Duration = Duration::from_millis(500);
/// What reading and moving the place takes beside the attempt itself.
const LEASE_SLACK: Duration = Duration::from_secs(20);
/// Refusals in a row after which a sink counts as failing.
const REFUSALS: i32 = 5;
/// Skipped events that one event about them names; all are counted.
const SKIPPED_NAMED: usize = 20;
/// The longest wait that a receiver may ask for.
const MAX_RETRY_AFTER: Duration = Duration::from_secs(3_600);

/// What a sink's task does next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// There may be more.
    GoOn,
    /// It waits.
    Wait,
    /// The sink is paused or gone.
    End,
}

/// What was read for a sink, and is not delivered yet.
struct Rest {
    page: Page,
    /// Of the sink that it was read for.
    version: i64,
}

impl Sinks {
    /// Delivers until it is stopped. Nothing under way is lost: it is delivered again.
    pub async fn run(self: Arc<Self>, mut stop: watch::Receiver<bool>) {
        let mut tasks: HashMap<(String, Uuid), JoinHandle<()>> = HashMap::new();
        loop {
            tasks.retain(|_, task| !task.is_finished());
            self.shelf.sweep();
            match sinks::running(&self.store).await {
                Ok(running) => {
                    for (tenant, id) in running {
                        tasks
                            .entry((tenant.clone(), id))
                            .or_insert_with(|| tokio::spawn(Arc::clone(&self).follow(tenant, id)));
                    }
                }
                Err(error) => tracing::warn!(%error, "sinks are not looked for, trying again"),
            }
            tokio::select! {
                () = tokio::time::sleep(EVERY) => {}
                () = self.changed.notified() => {}
                _ = stop.wait_for(|stop| *stop) => break,
            }
        }
        for task in tasks.values() {
            task.abort();
        }
        if let Err(error) = sinks::release(&self.store, self.me).await {
            tracing::warn!(%error, "leases of sinks end by themselves");
        }
    }

    async fn follow(self: Arc<Self>, tenant: String, id: Uuid) {
        let mut rest = None;
        loop {
            self.store.in_turn().await;
            let next = match self.step(&tenant, id, &mut rest).await {
                Ok(next) => next,
                Err(error) => {
                    tracing::warn!(%error, sink = %id, "a sink is not told, trying again");
                    Next::Wait
                }
            };
            match next {
                Next::GoOn => {}
                Next::Wait => tokio::select! {
                    () = tokio::time::sleep(EVERY) => {}
                    () = self.changed.notified() => {}
                },
                Next::End => return,
            }
        }
    }

    /// One delivery, if there is something to deliver and it is time.
    async fn step(&self, tenant: &str, id: Uuid, rest: &mut Option<Rest>) -> Result<Next, StoreError> {
        let kept = rest.take();
        if kept.is_none()
            && let Some(next) = self.before_reading(tenant, id).await?
        {
            return Ok(next);
        }
        let lease = (self.config.timeout + LEASE_SLACK).as_secs_f64();
        let Some(sink) = sinks::lease(&self.store, tenant, id, self.me, lease).await? else {
            return Ok(Next::Wait);
        };
        let began = self.clock.now();
        let read = match self.read(&sink, kept, began).await {
            // It is seen where the sink's health is: nothing that follows is sent before it.
            Err(error @ StoreError::Damaged(_)) => {
                self.failed(&sink, began.to_utc(), &SendError::Unusable(error.to_string())).await?;
                return Ok(Next::Wait);
            }
            read => read?,
        };
        let Some(Rest { page, version }) = read else { return Ok(Next::Wait) };
        let (next, page) = self.turn(&sink, page, began.to_utc()).await?;
        let is_kept = next == Next::GoOn && !page.events.is_empty();
        *rest = is_kept.then_some(Rest { page, version });
        Ok(next)
    }

    /// What a sink does instead of reading: none if there is something to read and it is time.
    async fn before_reading(&self, tenant: &str, id: Uuid) -> Result<Option<Next>, StoreError> {
        let found = sinks::list(&self.store, tenant, Some(id)).await?;
        let Some(sink) = found.into_iter().next().filter(|sink| sink.state != "paused") else {
            measure(id, 0);
            return Ok(Some(Next::End));
        };
        let now = self.clock.now().to_utc();
        self.raise_if_overdue(&sink, now).await?;
        let oldest = self.waiting(&sink).await?.oldest;
        measure(id, oldest.map_or(0, |oldest| (now - oldest).num_seconds().max(0)));
        let has_to_wait = oldest.is_none() || sink.next_at.is_some_and(|next| next > now);
        Ok(has_to_wait.then_some(Next::Wait))
    }

    /// What follows a sink's place: what was kept of the last page, if the sink is still as it was, or another page.
    async fn read(
        &self,
        sink: &SinkRow,
        kept: Option<Rest>,
        now: Timestamp,
    ) -> Result<Option<Rest>, StoreError> {
        let place = sink.log_id.clone().map(|log_id| Place { log_id, leaf: sink.leaf });
        let still = |rest: &Rest| {
            rest.version == sink.version
                && place.as_ref() == Some(&rest.page.begin)
                && rest.page.read.elapsed() < KEPT
        };
        if let Some(rest) = kept.filter(still) {
            return Ok(Some(rest));
        }
        let Some((log, leaf)) = feed::ahead(&self.store, &sink.tenant_id, place.as_ref()).await? else {
            return Ok(None);
        };
        let text = sink.query.as_deref().ok_or(StoreError::Damaged("filter of a sink"))?;
        let page = feed::page(&self.store, &self.shelf, (&log, leaf), text, now).await?;
        Ok(Some(Rest { page, version: sink.version }))
    }

    /// One delivery of what begins a page; also what is left of the page.
    async fn turn(
        &self,
        sink: &SinkRow,
        mut page: Page,
        began: DateTime<Utc>,
    ) -> Result<(Next, Page), StoreError> {
        if page.events.is_empty() {
            page.begin.leaf = page.end;
            return Ok((self.moved(sink, &mut page, 0).await?, page));
        }
        let sent = match self.destination(sink).await? {
            Ok(destination) => {
                let from = (self.host.as_str(), limit(sink));
                let packed = pack(&destination, sink.tenant_id.clone(), from, &mut page);
                let count = packed.items.len();
                destination.deliver(packed, began, self.config.timeout).await.map(|()| count)
            }
            Err(error) => Err(error),
        };
        let id = sink.sink_id.to_string();
        let next = match sent {
            Ok(count) => {
                metrics::counter!("edgetrail_sink_sent_total", "sink" => id).increment(count as u64);
                self.moved(sink, &mut page, i64::try_from(count).unwrap_or(i64::MAX)).await?
            }
            Err(error) => {
                metrics::counter!("edgetrail_sink_failures_total", "sink" => id).increment(1);
                self.failed(sink, began, &error).await?;
                Next::Wait
            }
        };
        Ok((next, page))
    }

    /// The receiver has everything before a page. What could not be sent on the way there is told in the same transaction.
    async fn moved(&self, sink: &SinkRow, page: &mut Page, sent: i64) -> Result<Next, StoreError> {
        let at = self.clock.now();
        let (skipped, ahead): (Vec<Damaged>, _) =
            mem::take(&mut page.damaged).into_iter().partition(|event| event.leaf < page.begin.leaf);
        page.damaged = ahead;
        let mut transaction = self.store.begin().await?;
        let is_told = !skipped.is_empty() || sink.state == "failing";
        if !is_told {
            // A crash of the database moves it back by a moment, and what follows is delivered again.
            sinks::without_waiting_for_the_disk(&mut transaction).await?;
        }
        let to = (page.begin.log_id.as_str(), page.begin.leaf);
        let is_moved = sinks::advance(&mut transaction, sink, self.me, to, (sent, at.to_utc())).await?;
        if is_moved && sent > 0 && sink.state == "failing" {
            let since = sink.failing_since.map(time);
            self.tell_of(&mut transaction, "SINK_RECOVERED", sink, json!({"failing_since": since})).await?;
        }
        if is_moved && !skipped.is_empty() {
            let named: Vec<_> = skipped
                .iter()
                .take(SKIPPED_NAMED)
                .map(|event| json!({"id": event.id, "log_id": page.begin.log_id, "leaf": event.leaf}))
                .collect();
            let details = json!({"count": skipped.len(), "events": named});
            self.tell_of(&mut transaction, "SINK_EVENTS_SKIPPED", sink, details).await?;
        }
        store::commit(transaction).await?;
        if is_moved && !skipped.is_empty() {
            let id = sink.sink_id.to_string();
            metrics::counter!("edgetrail_sink_skipped_total", "sink" => id).increment(skipped.len() as u64);
        }
        Ok(Next::GoOn)
    }

    async fn failed(
        &self,
        sink: &SinkRow,
        began_at: DateTime<Utc>,
        error: &SendError,
    ) -> Result<(), StoreError> {
        let at = self.clock.now().to_utc();
        let is_overdue = sink.failing_since.unwrap_or(began_at) + self.failing_after() <= at;
        let is_refused = error.is_gone() || error.is_refusal() && sink.attempts + 1 >= REFUSALS;
        let wait = if error.is_gone() {
            self.config.max_retry
        } else {
            let asked = error.retry_after().map(|asked| asked.min(MAX_RETRY_AFTER));
            self.back_off(sink.attempts).max(asked.unwrap_or_default())
        };
        let wait = TimeDelta::from_std(wait).unwrap_or(TimeDelta::MAX);
        let text = error.to_string();
        let failure =
            Failure { began_at, at, error: &text, next_at: at + wait, is_failing: is_overdue || is_refused };
        let mut transaction = self.store.begin().await?;
        let is_noted = sinks::fail(&mut transaction, sink, self.me, &failure).await?;
        if is_noted && failure.is_failing && sink.state != "failing" {
            let since = time(sink.failing_since.unwrap_or(began_at));
            let details = json!({"failing_since": since, "attempts": sink.attempts + 1, "error": text});
            self.tell_of(&mut transaction, "SINK_FAILING", sink, details).await?;
        }
        store::commit(transaction).await
    }

    /// Says that a sink has failed for too long, also while it waits for its next attempt.
    async fn raise_if_overdue(&self, sink: &SinkRow, now: DateTime<Utc>) -> Result<(), StoreError> {
        let since = now - self.failing_after();
        if sink.state != "active" || sink.failing_since.is_none_or(|began| began > since) {
            return Ok(());
        }
        let mut transaction = self.store.begin().await?;
        if sinks::call_failing(&mut transaction, sink, since).await? {
            let details = json!({
                "failing_since": sink.failing_since.map(time),
                "attempts": sink.attempts,
                "error": sink.last_error,
            });
            self.tell_of(&mut transaction, "SINK_FAILING", sink, details).await?;
        }
        store::commit(transaction).await
    }

    async fn tell_of(
        &self,
        transaction: &mut Transaction,
        action: &str,
        sink: &SinkRow,
        mut details: serde_json::Value,
    ) -> Result<(), StoreError> {
        let settings = Settings::of(sink)?;
        details["name"] = sink.name.as_str().into();
        details["kind"] = settings.kind().into();
        details["to"] = settings.place().into();
        let id = sink.sink_id.to_string();
        let event = OwnEvent {
            severity: Severity::Warning,
            class: RetentionClass::from(Severity::Critical),
            details: Some(details),
            ..OwnEvent::new(&tenant_of(sink)?, action, "ingest/sinks", self.clock.now(), "sink", &id)
        };
        outbox::keep(transaction, &event).await
    }

    fn failing_after(&self) -> TimeDelta {
        TimeDelta::from_std(self.config.failing_after).unwrap_or(TimeDelta::MAX)
    }

    /// How long to wait after so many failures and one more: twice as long each time up to the most, of that the second half by chance.
    fn back_off(&self, failures: i32) -> Duration {
        let doubled = u32::try_from(failures).ok().and_then(|failures| 2_u32.checked_pow(failures));
        let whole = doubled.and_then(|times| self.config.retry.checked_mul(times));
        let whole = whole.unwrap_or(self.config.max_retry).min(self.config.max_retry);
        let [chance]: [u8; 1] = random();
        whole / 2 + (whole / 2).mul_f64(f64::from(chance) / 255.0)
    }
}

/// As many events as go together, taken from the beginning of a page.
fn pack(destination: &Destination, tenant: String, (host, max): (&str, usize), page: &mut Page) -> Parcel {
    if let Some(cut) = page.cut.take().filter(|_| destination.takes_whole_batches()) {
        // A batch is shorter than a page, so others stand before the one that is cut.
        page.events.retain(|event| event.leaf < cut);
        page.end = cut;
    }
    let (mut items, mut len) = (Vec::new(), 0);
    while let Some(event) = page.events.front().filter(|_| destination.takes(items.len() + 1, len)) {
        let bytes = destination.write(&event.row, host, max);
        len += bytes.len();
        if !destination.takes(items.len() + 1, len) {
            break;
        }
        items.push(Item { id: event.row.event.id, batch: Some(event.batch), bytes });
        page.events.pop_front();
    }
    page.begin.leaf = page.events.front().map_or(page.end, |next| next.leaf);
    Parcel { tenant, log_id: page.begin.log_id.clone(), items }
}

fn measure(id: Uuid, seconds: i64) {
    // Far below what a float holds exactly.
    metrics::gauge!("edgetrail_sink_lag_seconds", "sink" => id.to_string()).set(seconds as f64);
}
