//! A streaming copy of the database that answers searches, so that they take nothing from those who write.
//!
//! A copy is behind, and how far is measured by what it has replayed, not by its clock: the position of the primary's log is
//! noted with the time, and once the copy has passed it, everything that was committed before that time can be read there. A
//! copy that is too far behind, does not answer or is no copy any more is not asked.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use metrics::gauge;
use shared::event::Timestamp;
use sqlx::postgres::{PgConnectOptions, PgPool};
use tokio::sync::watch;

use super::{Doing as _, Store, StoreError, everyday_pool};
use crate::clock::Clock;

/// How often it is looked how far the copy is.
const EVERY: Duration = Duration::from_millis(500);
/// A look that takes longer is none.
const WITHIN: Duration = Duration::from_secs(3);
/// Positions that are remembered: ten minutes of them.
const REMEMBERED: usize = 1_200;

/// The copy. Clones share what is known of it.
#[derive(Debug, Clone)]
pub(super) struct Replica {
    pub(super) pool: PgPool,
    /// A copy that is further behind is not asked.
    max_lag: Duration,
    progress: Arc<Mutex<Progress>>,
}

/// A store to read from, and from when its answers are if not from now.
#[derive(Debug, Clone)]
pub struct Reading {
    /// Where to read.
    pub store: Store,
    /// Everything that was committed before this time is in the answers; none where they are from now.
    pub as_of: Option<Timestamp>,
}

/// How far a copy has come.
#[derive(Debug, Default)]
struct Progress {
    /// Positions of the primary and when each was its newest, the oldest first.
    marks: VecDeque<(i64, Timestamp)>,
    /// Up to when the copy has everything.
    as_of: Option<Timestamp>,
    /// Whether the last look found it.
    is_there: bool,
}

impl Progress {
    /// Everything that was committed before `at` lies below `position`.
    fn mark(&mut self, position: i64, at: Timestamp) {
        if self.marks.len() == REMEMBERED {
            self.marks.pop_front();
        }
        self.marks.push_back((position, at));
    }

    /// The copy has replayed up to `position`.
    fn replayed(&mut self, position: i64) {
        while let Some((_, at)) = self.marks.pop_front_if(|(mark, _)| *mark <= position) {
            self.as_of = Some(at);
        }
    }

    /// How far behind it is in milliseconds, if that is known.
    fn lag(&self, now: Timestamp) -> Option<u64> {
        Some(now.millis().saturating_sub(self.as_of.filter(|_| self.is_there)?.millis()))
    }
}

impl Replica {
    pub(super) fn open(options: &PgConnectOptions, max_connections: u32, max_lag: Duration) -> Self {
        Self { pool: everyday_pool(options, max_connections), max_lag, progress: Arc::default() }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// From when its answers are, if it may be asked.
    fn as_of(&self, now: Timestamp) -> Option<Timestamp> {
        let progress = self.progress();
        let fresh = Duration::from_millis(progress.lag(now)?) <= self.max_lag;
        progress.as_of.filter(|_| fresh)
    }

    async fn look(&self, primary: &PgPool, clock: &Clock) -> Result<(), StoreError> {
        let doing = "looking how far the copy is";
        // The time first: what is committed between the two lies below the position as well.
        let now = clock.now();
        let newest =
            sqlx::query_scalar!(r#"select pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint as "at!""#)
                .fetch_one(primary)
                .await
                .doing(doing)?;
        self.progress().mark(newest, now);
        let replayed = sqlx::query_scalar!(
            r#"select case when pg_is_in_recovery()
                   then pg_wal_lsn_diff(pg_last_wal_replay_lsn(), '0/0')::bigint end as at"#
        )
        .fetch_one(&self.pool)
        .await
        .doing(doing)?;
        let mut progress = self.progress();
        progress.is_there = replayed.is_some();
        if let Some(position) = replayed {
            progress.replayed(position);
        }
        Ok(())
    }
}

impl Store {
    /// Where searches are read: the copy if there is one that is not too far behind.
    pub fn reading(&self, now: Timestamp) -> Reading {
        let asked = self.replica.as_ref().and_then(|replica| Some((replica, replica.as_of(now)?)));
        match asked {
            Some((replica, as_of)) => Reading { store: self.over(replica), as_of: Some(as_of) },
            None => Reading { store: self.clone(), as_of: None },
        }
    }

    /// Where to read what must be complete up to a time: the copy once it has everything until then, which is waited for a
    /// moment.
    pub async fn reading_whole(&self, until: Timestamp, clock: &Clock) -> Store {
        for _ in 0..4 {
            match self.reading(clock.now()) {
                Reading { as_of: Some(as_of), store } if as_of >= until => return store,
                Reading { as_of: None, .. } => break,
                Reading { .. } => tokio::time::sleep(EVERY).await,
            }
        }
        self.clone()
    }

    /// How far the copy is behind: none if there is no copy, `Err` if it does not answer or is no copy.
    pub fn replica_lag(&self, now: Timestamp) -> Option<Result<Duration, NoReplica>> {
        let replica = self.replica.as_ref()?;
        Some(replica.progress().lag(now).map(Duration::from_millis).ok_or(NoReplica))
    }

    /// Looks once how far the copy is.
    ///
    /// # Errors
    /// If one of the two databases does not answer.
    pub async fn look_at_replica(&self, clock: &Clock) -> Result<(), StoreError> {
        let Some(replica) = &self.replica else { return Ok(()) };
        let looked = tokio::time::timeout(WITHIN, replica.look(&self.app, clock)).await;
        let looked = looked.map_err(|_| sqlx::Error::PoolTimedOut).doing("looking how far the copy is");
        let looked = looked.and_then(|looked| looked);
        if looked.is_err() {
            replica.progress().is_there = false;
        }
        looked
    }

    fn over(&self, replica: &Replica) -> Self {
        Self { app: replica.pool.clone(), replica: None, ..self.clone() }
    }
}

/// The copy does not answer, or it takes writes and so is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the copy does not answer, or is none")]
pub struct NoReplica;

/// Keeps looking how far the copy is until it is stopped.
pub async fn follow(store: Store, clock: Clock, mut stop: watch::Receiver<bool>) {
    if store.replica.is_none() {
        return;
    }
    let mut was_there = true;
    loop {
        let looked = store.look_at_replica(&clock).await;
        let now = clock.now();
        let lag = store.replica_lag(now).and_then(Result::ok);
        gauge!("edgetrail_replica_in_use").set(if store.reading(now).as_of.is_some() { 1.0 } else { 0.0 });
        if let Some(lag) = lag {
            gauge!("edgetrail_replica_lag_seconds").set(lag.as_secs_f64());
        }
        if lag.is_none() && was_there {
            let error = looked.err().map(|error| error.to_string());
            tracing::warn!(error, "the copy is not there, searches go to the primary");
        }
        was_there = lag.is_some();
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|stop| *stop) => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::try_from(1_700_000_000_000 + millis).expect("a time")
    }

    #[test]
    fn a_copy_has_what_was_committed_before_the_newest_position_that_it_passed() {
        let mut progress = Progress { is_there: true, ..Progress::default() };
        assert_eq!(progress.lag(at(0)), None, "nothing is known yet");
        progress.mark(100, at(0));
        progress.mark(200, at(500));
        progress.mark(300, at(1_000));
        progress.replayed(99);
        assert_eq!(progress.as_of, None);
        progress.replayed(250);
        assert_eq!(progress.as_of, Some(at(500)));
        assert_eq!(progress.lag(at(1_200)), Some(700));
        progress.is_there = false;
        assert_eq!(progress.lag(at(1_200)), None);
    }

    #[test]
    fn a_primary_that_rests_makes_no_lag() {
        let mut progress = Progress { is_there: true, ..Progress::default() };
        for step in 0..10 {
            progress.mark(100, at(step * 500));
            progress.replayed(100);
        }
        assert_eq!(progress.lag(at(4_500)), Some(0));
    }

    #[test]
    fn a_copy_that_stands_still_takes_no_memory() {
        let mut progress = Progress::default();
        (0..10_000).for_each(|step| progress.mark(100 + i64::try_from(step).unwrap_or(0), at(step * 500)));
        assert_eq!(progress.marks.len(), REMEMBERED);
        progress.replayed(100);
        assert_eq!(progress.as_of, None);
        progress.replayed(10_099);
        assert_eq!(progress.as_of, Some(at(9_999 * 500)));
    }
}
