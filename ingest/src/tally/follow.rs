//! The task that keeps sums: it folds what was stored into them, and counts hours again in which events changed or went.
//!
//! One process does it at a time, whoever comes first; a round is a transaction, so a stop at any point loses nothing.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::watch;

use super::{DAY_MS, HOUR_MS};
use crate::clock::Clock;
use crate::store::tallies::{self, Stale};
use crate::store::{Store, StoreError};

/// How often what was stored is folded: a question reads what was not.
const EVERY: Duration = Duration::from_secs(2);
/// How often days that are over are looked for.
const DAYS_EVERY: TimeDelta = TimeDelta::hours(1);
/// How far back days are made that are over and had no late event; further back an hour tells as much.
const DAYS_BACK: TimeDelta = TimeDelta::days(40);
/// Days before the last that are counted again in one transaction.
const DAYS_TOGETHER: TimeDelta = TimeDelta::days(3);
/// While another process works on the sums.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What one round found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Round {
    /// There is more to do.
    More,
    /// Nothing is left.
    Done,
    /// Another process does it.
    Elsewhere,
}

/// Keeps the sums until it is stopped.
pub async fn run(store: Store, clock: Clock, mut stop: watch::Receiver<bool>) {
    let mut looked_for_days = None;
    loop {
        tokio::select! {
            passed = pass(&store, &clock, &mut looked_for_days) => if let Err(error) = passed {
                tracing::warn!(%error, "tallies are not kept, counting goes on without them");
            },
            _ = stop.wait_for(|stop| *stop) => return,
        }
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

async fn pass(
    store: &Store,
    clock: &Clock,
    looked_for_days: &mut Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    loop {
        store.in_turn().await;
        if round(store, clock.now().to_utc()).await? != Round::More {
            break;
        }
    }
    let now = clock.now().to_utc();
    if looked_for_days.is_none_or(|at| now - at >= DAYS_EVERY) {
        let today = floored(now, DAY_MS);
        for (tenant, day) in tallies::days_to_make(store, today - DAYS_BACK, today).await? {
            let mut transaction = tallies::begin(store).await?;
            if tallies::lock(&mut transaction).await? {
                tallies::make_day(&mut transaction, &tenant, day).await?;
            }
            crate::store::commit(transaction).await?;
        }
        *looked_for_days = Some(now);
    }
    Ok(())
}

/// Counts what is stale of a tenant until nothing is: after an erasure no sum tells what was erased.
///
/// # Errors
/// If the database refuses.
pub async fn settle(store: &Store, clock: &Clock, tenant: &str) -> Result<(), StoreError> {
    while tallies::is_stale(store, tenant).await? {
        match round(store, clock.now().to_utc()).await {
            Ok(Round::More) => {}
            Ok(Round::Done | Round::Elsewhere) => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) if error.is_passing() => tokio::time::sleep(LOOK_AGAIN).await,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// One transaction: some of a tenant's days that are stale, or what was stored.
async fn round(store: &Store, now: DateTime<Utc>) -> Result<Round, StoreError> {
    let mut transaction = tallies::begin(store).await?;
    if !tallies::lock(&mut transaction).await? {
        return Ok(Round::Elsewhere);
    }
    let found = match tallies::newest_stale(&mut transaction).await? {
        Some(Stale { id, tenant: None, from, to }) => {
            // A month at a time, and of it each tenant by itself.
            let begin = from.max(month_of(to - TimeDelta::microseconds(1)));
            tallies::split(&mut transaction, begin, to).await?;
            tallies::shorten(&mut transaction, id, begin).await?;
            Round::More
        }
        Some(Stale { tenant: Some(tenant), from, to, .. }) => {
            let last = floored(to - TimeDelta::microseconds(1), DAY_MS);
            let begin = from.max(last - DAYS_TOGETHER);
            tallies::recount(&mut transaction, &tenant, begin, to).await?;
            tallies::shorten_within(&mut transaction, &tenant, begin, to).await?;
            let mut day = floored(begin, DAY_MS);
            while day + TimeDelta::days(1) <= now && day <= last {
                tallies::make_day(&mut transaction, &tenant, day).await?;
                day += TimeDelta::days(1);
            }
            Round::More
        }
        None if tallies::fold(&mut transaction, floored(now, DAY_MS)).await? => Round::More,
        None => Round::Done,
    };
    crate::store::commit(transaction).await?;
    Ok(found)
}

fn month_of(at: DateTime<Utc>) -> DateTime<Utc> {
    use chrono::Datelike as _;
    let day = at.date_naive();
    day.with_day(1).unwrap_or(day).and_time(chrono::NaiveTime::MIN).and_utc()
}

/// The beginning of the hour or day of a time.
pub fn floored(at: DateTime<Utc>, length_ms: i64) -> DateTime<Utc> {
    let millis = at.timestamp_millis().div_euclid(length_ms) * length_ms;
    DateTime::from_timestamp_millis(millis).unwrap_or(at)
}

/// The beginning of the next hour, or the time itself where one begins.
pub fn hour_from(at: DateTime<Utc>) -> DateTime<Utc> {
    let begun = floored(at, HOUR_MS);
    if begun == at { at } else { begun + TimeDelta::milliseconds(HOUR_MS) }
}
