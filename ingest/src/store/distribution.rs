//! Which table stands where once the database is a Citus cluster: the one list that `edgetrail migrate --citus` works by and
//! that the tests hold against the catalogue, so that a new table cannot be forgotten.
//!
//! What grows with the events is spread: by tenant, so that a tenant's search, its batches and what is derived from them meet
//! on one node with their places in the log, and the tiles of a log by the log. Heads of logs and what people
//! decide stay on the coordinator: much of it is looked up without a tenant, and queues of it are taken with `skip locked`.

use sqlx::{AssertSqlSafe, Executor as _};

use super::{Doing as _, Store, StoreError};

/// Where a table stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Spread {
    /// On every node, by `tenant_id`, a tenant's rows of all such tables together.
    ByTenant,
    /// On every node, by `log_id`, a log's rows of all such tables together.
    ByLog,
    /// On the coordinator alone.
    Coordinator,
}

impl Spread {
    /// The column that says on which node a row stands; none for a table that is on one node.
    pub fn column(self) -> Option<&'static str> {
        match self {
            Self::ByTenant => Some("tenant_id"),
            Self::ByLog => Some("log_id"),
            Self::Coordinator => None,
        }
    }

    /// The table with which the others of its kind stand together.
    fn leader(self) -> &'static str {
        match self {
            Self::ByTenant | Self::Coordinator => "events",
            Self::ByLog => "log_tiles",
        }
    }
}

/// Every table that migrations make. A leader stands before what stands with it.
pub const TABLES: &[(&str, Spread)] = &[
    ("events", Spread::ByTenant),
    ("absence_lists", Spread::ByTenant),
    ("alerts", Spread::ByTenant),
    ("app_audit_rows", Spread::ByTenant),
    ("batches", Spread::ByTenant),
    ("coverage", Spread::ByTenant),
    ("credit_reports", Spread::ByTenant),
    ("echo_links", Spread::ByTenant),
    ("entity_states", Spread::ByTenant),
    ("equivocations", Spread::ByTenant),
    ("execution_metrics", Spread::ByTenant),
    ("execution_reports", Spread::ByTenant),
    ("executions", Spread::ByTenant),
    ("filed_batches", Spread::ByTenant),
    ("intents", Spread::ByTenant),
    ("legal_holds", Spread::ByTenant),
    ("log_pending", Spread::ByTenant),
    ("log_rounds", Spread::ByTenant),
    ("open_runs", Spread::ByTenant),
    ("quarantine", Spread::ByTenant),
    ("stream_drops", Spread::ByTenant),
    ("stream_gaps", Spread::ByTenant),
    ("streams", Spread::ByTenant),
    ("tallies", Spread::ByTenant),
    ("tally_deltas", Spread::ByTenant),
    ("unmapped_routes", Spread::ByTenant),
    ("witness_writes", Spread::ByTenant),
    ("log_tiles", Spread::ByLog),
    ("accepted_rules", Spread::Coordinator),
    ("access_grants", Spread::Coordinator),
    ("access_sessions", Spread::Coordinator),
    ("activity_disowned", Spread::Coordinator),
    ("api_keys", Spread::Coordinator),
    ("archive_shipments", Spread::Coordinator),
    ("asking_people", Spread::Coordinator),
    ("correlate_cursors", Spread::Coordinator),
    ("detection_hours", Spread::Coordinator),
    ("detection_presence", Spread::Coordinator),
    ("erased_names", Spread::Coordinator),
    ("erasure_certificates", Spread::Coordinator),
    ("erasure_passes", Spread::Coordinator),
    ("erasure_requests", Spread::Coordinator),
    ("event_touches", Spread::Coordinator),
    ("exports", Spread::Coordinator),
    ("integrity_results", Spread::Coordinator),
    ("log_checkpoints", Spread::Coordinator),
    ("log_copies", Spread::Coordinator),
    ("log_cosignatures", Spread::Coordinator),
    ("log_keys", Spread::Coordinator),
    ("log_publications", Spread::Coordinator),
    ("log_successions", Spread::Coordinator),
    ("logs", Spread::Coordinator),
    ("own_events_waiting", Spread::Coordinator),
    ("policies", Spread::Coordinator),
    ("retention_policies", Spread::Coordinator),
    ("retention_runs", Spread::Coordinator),
    ("saved_searches", Spread::Coordinator),
    ("signing_keys", Spread::Coordinator),
    ("sinks", Spread::Coordinator),
    ("tally_stale", Spread::Coordinator),
];

/// Why the tables were not spread.
#[derive(Debug, thiserror::Error)]
pub enum DistributionError {
    /// It is a PostgreSQL like any other.
    #[error("the database has no extension citus: create it on every node, name the nodes, then try again")]
    NoCitus,
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Spreads the tables of a migrated database over the cluster that it belongs to, and gives the names of those that were not
/// spread before, or by another column. To do it again does nothing. Rows that are there move, and nothing may be written meanwhile.
///
/// # Errors
/// [`DistributionError`]; what was spread until then stays so, and the next attempt goes on from there.
pub async fn spread(store: &Store) -> Result<Vec<&'static str>, DistributionError> {
    let doing = "spreading tables";
    let mut connection = store.owner_pool().acquire().await.doing(doing)?;
    // Nothing here is checked at compile time: no build has Citus.
    let known: bool = sqlx::query_scalar("select exists (select from pg_extension where extname = 'citus')")
        .fetch_one(&mut *connection)
        .await
        .doing(doing)?;
    if !known {
        return Err(DistributionError::NoCitus);
    }
    connection.execute(AssertSqlSafe(SETTINGS)).await.doing(doing)?;
    let there: Vec<(String, String)> = sqlx::query_as(
        "select logicalrelid::text, column_to_column_name(logicalrelid, partkey) from pg_dist_partition where partkey is not null",
    )
    .fetch_all(&mut *connection)
    .await
    .doing(doing)?;
    let mut spread = Vec::new();
    for (name, kind) in TABLES {
        let Some(column) = kind.column() else { continue };
        let statement = match there.iter().find(|(known, _)| known == name) {
            Some((_, by)) if by == column => continue,
            Some(_) => {
                "select alter_distributed_table($1::regclass, distribution_column => $2, colocate_with => $3)"
            }
            None => "select create_distributed_table($1::regclass, $2, colocate_with => $3)",
        };
        let leader = kind.leader();
        let with = if *name == leader { "none" } else { leader };
        sqlx::query(statement)
            .bind(name)
            .bind(column)
            .bind(with)
            .execute(&mut *connection)
            .await
            .doing(doing)?;
        sqlx::query("select truncate_local_data_after_distributing_table($1::regclass)")
            .bind(name)
            .execute(&mut *connection)
            .await
            .doing(doing)?;
        spread.push(*name);
    }
    Ok(spread)
}

/// Nodes connect to each other as the role that runs a statement. One that changes rows of several tenants goes to one node
/// after the other, since what comes later in its transaction must find the same connections.
const SETTINGS: &str = "
do $$
begin
    if exists (select from pg_roles where rolname = 'edgetrail_app' and not rolcanlogin) then
        alter role edgetrail_app login;
    end if;
    execute format('alter database %I set citus.multi_shard_modify_mode = ''sequential''', current_database());
end
$$";
