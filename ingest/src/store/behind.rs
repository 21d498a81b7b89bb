//! Connections of those who follow the events, to a server on this machine: its processes give way there.
//!
//! What follows an event (runs, rules, sums, links, streams) takes the database more time than storing it does. Where there is not
//! enough of the machine for both, batches and readers go first and followers fall behind. They catch up; whoever waits
//! for an answer does not.

use std::fs;

use rustix::process::{Pid, setpriority_process};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{PgConnection, PgPool};

use super::{ACQUIRE_WITHIN, become_everyday};

/// A tenth of the share of a process that does not give way.
const NICENESS: i32 = 10;
/// Connections of all followers together: the server takes a hundred in all.
const MAX_CONNECTIONS: u32 = 20;

/// A pool of such connections.
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
