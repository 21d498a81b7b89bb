//! Those who follow the events give way to batches and readers.
//!
//! What follows an event (runs, rules, sums, links, streams) takes the database more time than storing it does. Where there is not
//! enough for both, batches and readers go first and followers fall behind. They catch up; whoever waits for an answer does
//! not. So they begin nothing in a [`Rush`], and on a server on this machine their connections' processes have less of it.

use std::fs;

use rustix::process::{Pid, setpriority_process};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};
use tokio::sync::watch;

use super::{ACQUIRE_WITHIN, become_everyday};
use crate::followers::NICENESS;

/// Connections of all followers together: the server takes a hundred in all.
const MAX_CONNECTIONS: u32 = 20;

/// Whether batches arrive as fast as they can be written. Clones tell the same.
#[derive(Debug, Clone)]
pub struct Rush(watch::Receiver<bool>);

impl Rush {
    /// As the writer tells it.
    pub fn new(told: watch::Receiver<bool>) -> Self {
        Self(told)
    }

    /// Waits until there is none. Where nobody tells any more, there is none.
    pub async fn over(&self) {
        let _ = self.0.clone().wait_for(|is_rush| !is_rush).await;
    }
}

/// A pool of connections that have less of the machine.
pub(super) fn pool(options: &PgConnectOptions) -> PgPool {
    PgPoolOptions::new()
        .max_connections(MAX_CONNECTIONS)
        .acquire_timeout(ACQUIRE_WITHIN)
        .after_connect(|connection, _| {
            Box::pin(async move {
                become_everyday(connection).await?;
                give_way(connection).await
            })
        })
        .connect_lazy_with(options.clone())
}

async fn give_way(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let process: i32 = sqlx::query_scalar("select pg_backend_pid()").fetch_one(connection).await?;
    let Some(pid) = Pid::from_raw(process) else { return Ok(()) };
    if let Err(error) = setpriority_process(Some(pid), NICENESS) {
        tracing::warn!(%error, "followers do not give way to batches");
    }
    // Each process of PostgreSQL is a session of its own: where the system shares itself out among sessions (sched(7),
    // "The autogroup feature"), the niceness of a process counts for nothing beside that of its session.
    let _ = fs::write(format!("/proc/{process}/autogroup"), NICENESS.to_string());
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::Store;
    use super::*;

    #[tokio::test]
    async fn in_a_rush_followers_begin_nothing_and_others_do() {
        let (tell, told) = watch::channel(true);
        let store = Store::open(&PgConnectOptions::new_without_pgpass(), 1);
        let followers = store.of_followers(Rush::new(told));
        let a_moment = Duration::from_millis(50);
        store.in_turn().await;
        assert!(tokio::time::timeout(a_moment, followers.in_turn()).await.is_err(), "it is a rush");
        let waiting = tokio::spawn({
            let followers = followers.clone();
            async move { followers.in_turn().await }
        });
        tell.send_replace(false);
        waiting.await.expect("it is over");
        tell.send_replace(true);
        drop(tell);
        followers.in_turn().await;
    }
}
