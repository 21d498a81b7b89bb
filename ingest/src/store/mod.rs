//! The store: every SQL statement of the project, one file per aggregate.
//!
//! Statements are checked against the migrated schema at compile time (`.sqlx`); only [`search`], [`executions`] and [`run_metrics`]
//! build some at run time, and [`distribution`], [`partitions`], [`swap`] and [`text_index`] name tables. Nothing above this module knows SQL.

pub mod absences;
pub mod accepted_rules;
pub mod access;
pub mod alerts;
pub mod api_keys;
pub mod app_audit;
pub mod asking_people;
pub mod batches;
mod behind;
pub mod compliance;
pub mod coverage;
pub mod cursors;
pub mod detection_hours;
pub mod distribution;
pub mod entity_states;
pub mod erasures;
pub mod events;
pub mod executions;
pub mod exports;
pub mod holds;
pub mod integrity;
pub mod intents;
pub mod links;
pub mod log;
pub mod log_keys;
pub mod openings;
pub mod own_activity;
pub mod own_events;
pub mod partitions;
pub mod policies;
pub mod publications;
pub mod quarantine;
pub mod replica;
pub mod retention;
pub mod run_metrics;
pub mod runs;
pub mod saved;
pub mod search;
pub mod shipments;
pub mod signing_keys;
pub mod sinks;
pub mod streams;
pub mod subjects;
pub mod swap;
pub mod tallies;
pub mod text_index;
pub mod vitals;
pub mod writes;

use std::time::Duration;

pub use behind::Rush;
use replica::Replica;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPool, PgPoolOptions};
use sqlx::{Connection as _, Executor as _, PgConnection, Postgres};

/// A transaction.
pub type Transaction = sqlx::Transaction<'static, Postgres>;

static MIGRATIONS: sqlx::migrate::Migrator = sqlx::migrate!("../migrations");

/// How long a caller waits for a connection.
const ACQUIRE_WITHIN: Duration = Duration::from_secs(5);
/// How long a look at the store's health waits.
const CHECK_WITHIN: Duration = Duration::from_secs(2);
/// Connections that may change the schema: the daily task and a start at the same time.
const OWNER_CONNECTIONS: u32 = 2;
/// Connections that remove values: retention holds two, an erasure one.
const KEEPER_CONNECTIONS: u32 = 3;
/// Beyond that a task is not done sooner: the database's own work is what is waited for.
const MAX_LANES: usize = 4;
const APP_ROLE: &str = "edgetrail_app";
const KEEPER_ROLE: &str = "edgetrail_keeper";
/// In a cluster a transaction reads nothing that another role changed in it, and the keeper's functions run as their owner: there
/// the keeper is the owner.
const BECOME_KEEPER: &str = "
do $$
begin
    if not exists (select from pg_extension where extname = 'citus') then
        set role edgetrail_keeper;
    end if;
end
$$";

/// Why the store did not do something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The database refused or did not answer.
    #[error("{doing}: {source}")]
    Database {
        /// What was being done.
        doing: &'static str,
        /// What the database said.
        source: sqlx::Error,
    },
    /// The schema could not be brought up to date.
    #[error("migrating: {0}")]
    Migrate(#[from] MigrateError),
    /// A stored value is not what this program wrote.
    #[error("stored {0} is damaged")]
    Damaged(&'static str),
}

impl StoreError {
    fn code(&self) -> Option<String> {
        match self {
            Self::Database { source, .. } => {
                let error = source.as_database_error()?;
                moved_code(error.message()).map(str::to_owned).or_else(|| Some(error.code()?.into_owned()))
            }
            Self::Migrate(_) | Self::Damaged(_) => None,
        }
    }

    /// Whether the data itself was refused: another attempt with the same data fails again.
    pub fn is_data(&self) -> bool {
        // 22 data exception, 23 integrity violation, 54 a limit such as the size of an index row.
        let classes = ["22", "23", "54"];
        self.code().is_some_and(|code| classes.iter().any(|class| code.starts_with(class)))
    }

    /// Whether something with the same key is there already.
    pub fn is_repeated(&self) -> bool {
        self.code().is_some_and(|code| code == "23505")
    }

    /// Whether the connection or the server went away, or two transactions met: another attempt may succeed.
    pub fn is_passing(&self) -> bool {
        // 08 connection, 40 rollback of a deadlock, 53 resources, 57 shutdown, crash and "cannot connect now".
        let classes = ["08", "40", "53", "57"];
        match self {
            Self::Database { source, .. } => match self.code() {
                Some(code) => classes.iter().any(|class| code.starts_with(class)),
                None => !matches!(source, sqlx::Error::RowNotFound),
            },
            Self::Migrate(_) | Self::Damaged(_) => false,
        }
    }
}

/// Why the store cannot do its work now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Unready {
    /// No connection, or no answer.
    #[error("the database does not answer")]
    Away,
    /// Work waits for a connection of the pool.
    #[error("every connection to the database is in use")]
    Exhausted,
    /// Migrations are missing.
    #[error("the database's schema is {found}, and this program needs {wanted}: run edgetrail migrate")]
    Behind {
        /// The newest migration there.
        found: i64,
        /// The newest of this program.
        wanted: i64,
    },
}

/// Names what was being done when the database failed.
pub(crate) trait Doing<T> {
    /// With these words.
    fn doing(self, doing: &'static str) -> Result<T, StoreError>;
}

impl<T> Doing<T> for Result<T, sqlx::Error> {
    fn doing(self, doing: &'static str) -> Result<T, StoreError> {
        self.map_err(|source| StoreError::Database { doing, source })
    }
}

/// The pools.
#[derive(Debug, Clone)]
pub struct Store {
    app: PgPool,
    keeper: PgPool,
    owner: PgPool,
    behind: Option<PgPool>,
    rush: Option<Rush>,
    replica: Option<Replica>,
}

impl Store {
    /// Prepares the pools; connections are made when first used.
    ///
    /// Everyday statements run under `edgetrail_app`, which can add rows and not change them; what removes values runs
    /// under `edgetrail_keeper`, which can do it by a few functions alone; DDL runs under the role that connects. Where
    /// the migrations could not make the two roles, everything runs under the one that connects ([`Self::check_roles`]).
    pub fn open(options: &PgConnectOptions, max_connections: u32) -> Self {
        let options = ours(options);
        let app = everyday_pool(&options, max_connections);
        let keeper = PgPoolOptions::new()
            .max_connections(KEEPER_CONNECTIONS)
            .min_connections(0)
            .idle_timeout(Duration::from_secs(60))
            .acquire_timeout(ACQUIRE_WITHIN)
            .after_connect(|connection, _| {
                Box::pin(become_role(
                    connection,
                    "set statement_timeout = '1h'; set idle_in_transaction_session_timeout = '10min'",
                    BECOME_KEEPER,
                ))
            })
            .connect_lazy_with(options.clone());
        let owner = PgPoolOptions::new()
            .max_connections(OWNER_CONNECTIONS)
            .min_connections(0)
            .idle_timeout(Duration::from_secs(60))
            .acquire_timeout(ACQUIRE_WITHIN)
            .connect_lazy_with(options);
        Self { app, keeper, owner, behind: None, rush: None, replica: None }
    }

    /// The same for a server on this machine that belongs to this process or to its owner: those who follow the events have
    /// connections of their own, whose processes give way to the others.
    #[must_use]
    pub fn on_this_machine(self, options: &PgConnectOptions) -> Self {
        Self { behind: Some(behind::pool(&ours(options))), ..self }
    }

    /// The store as those who follow the events use it.
    #[must_use]
    pub fn of_followers(&self, rush: Rush) -> Self {
        Self { app: self.behind.as_ref().unwrap_or(&self.app).clone(), rush: Some(rush), ..self.clone() }
    }

    /// Waits until whoever uses the store may begin something: at once, but for followers in a rush.
    pub async fn in_turn(&self) {
        if let Some(rush) = &self.rush {
            rush.over().await;
        }
    }

    /// The same with a copy that searches are read from while it is at most so far behind.
    #[must_use]
    pub fn with_replica(self, options: &PgConnectOptions, max_lag: Duration) -> Self {
        let max_connections = self.app.options().get_max_connections();
        Self { replica: Some(Replica::open(&ours(options), max_connections, max_lag)), ..self }
    }

    /// How many transactions one task may have under way at the same time and leave connections to the others.
    pub fn lanes(&self) -> usize {
        usize::try_from(self.app.options().get_max_connections() / 3)
            .unwrap_or(usize::MAX)
            .clamp(1, MAX_LANES)
    }

    /// Brings the schema up to date. Safe from several processes at once.
    ///
    /// # Errors
    /// If the database cannot be reached, or its schema is newer than this program.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        MIGRATIONS.run(&self.owner).await?;
        Ok(())
    }

    /// Whether the store can do its work: an everyday connection is free, the database answers, and every migration that
    /// this program knows is there. A newer schema is fine, since migrations expand before they contract.
    ///
    /// # Errors
    /// [`Unready`] says what is in the way.
    pub async fn check(&self) -> Result<(), Unready> {
        let mut connection = tokio::time::timeout(CHECK_WITHIN, self.app.acquire())
            .await
            .map_err(|_| self.unreachable())?
            .map_err(|error| match error {
                sqlx::Error::PoolTimedOut => self.unreachable(),
                _ => Unready::Away,
            })?;
        let asked = connection.execute("select 1");
        tokio::time::timeout(CHECK_WITHIN, asked)
            .await
            .map_err(|_| Unready::Away)?
            .map_err(|_| Unready::Away)?;
        drop(connection);
        let (found, wanted) = self.schema().await.map_err(|_| Unready::Away)?;
        if found < wanted { Err(Unready::Behind { found, wanted }) } else { Ok(()) }
    }

    /// Nothing came out of the pool: because all of it is in use, or because no connection can be made.
    fn unreachable(&self) -> Unready {
        let (used, _) = self.connections();
        if used >= self.app.options().get_max_connections() { Unready::Exhausted } else { Unready::Away }
    }

    /// The newest migration that the database has, and the newest that this program knows; 0 for none.
    ///
    /// # Errors
    /// If the database refuses, or was never migrated.
    pub async fn schema(&self) -> Result<(i64, i64), StoreError> {
        // Not checked at compile time: the table is sqlx's own and no migration makes it.
        let asked =
            sqlx::query_scalar::<_, Option<i64>>("select max(version) from _sqlx_migrations where success");
        let newest = asked.fetch_one(&self.owner).await.doing("reading the schema's version")?;
        let wanted = MIGRATIONS.iter().map(|migration| migration.version).max();
        Ok((newest.unwrap_or(0), wanted.unwrap_or(0)))
    }

    /// Connections of the everyday pool that are in use, and that are idle.
    pub fn connections(&self) -> (u32, u32) {
        let idle = u32::try_from(self.app.num_idle()).unwrap_or(u32::MAX);
        (self.app.size().saturating_sub(idle), idle)
    }

    pub(crate) fn pool(&self) -> &PgPool {
        &self.app
    }

    pub(crate) fn owner_pool(&self) -> &PgPool {
        &self.owner
    }

    /// Begins a transaction.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn begin(&self) -> Result<Transaction, StoreError> {
        self.app.begin().await.doing("beginning a transaction")
    }

    /// Begins a transaction whose statements read by an index that has their order. Pages of a long way are read so: to sort what
    /// is left looks cheaper where the page is a good part of it, and would be done again for each page.
    ///
    /// # Errors
    /// If there is no connection.
    pub(crate) async fn begin_in_order(&self) -> Result<Transaction, StoreError> {
        let mut transaction = self.begin().await?;
        let settings = "set local enable_sort = off; set local enable_incremental_sort = off";
        transaction.execute(settings).await.doing("beginning to read in order")?;
        Ok(transaction)
    }

    /// Begins a transaction of the role that removes values.
    ///
    /// # Errors
    /// If there is no connection.
    pub async fn begin_as_keeper(&self) -> Result<Transaction, StoreError> {
        self.keeper.begin().await.doing("beginning a transaction")
    }

    /// The roles that statements should run under and do not, since the migrations could not make them.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn check_roles(&self) -> Result<Vec<&'static str>, StoreError> {
        let mut missing = Vec::new();
        for (pool, role) in [(&self.app, APP_ROLE), (&self.keeper, KEEPER_ROLE)] {
            let current = sqlx::query_scalar!(r#"select current_user::text as "role!""#)
                .fetch_one(pool)
                .await
                .doing("reading the role")?;
            if current != role {
                missing.push(role);
            }
        }
        Ok(missing)
    }

    /// Closes every connection.
    pub async fn close(&self) {
        self.app.close().await;
        self.keeper.close().await;
        self.owner.close().await;
        if let Some(behind) = &self.behind {
            behind.close().await;
        }
        if let Some(replica) = &self.replica {
            replica.pool.close().await;
        }
    }
}

fn ours(options: &PgConnectOptions) -> PgConnectOptions {
    options.clone().application_name("edgetrail").statement_cache_capacity(200)
}

/// Connections that add and read.
fn everyday_pool(options: &PgConnectOptions, max_connections: u32) -> PgPool {
    PgPoolOptions::new()
        .max_connections(max_connections)
        .acquire_timeout(ACQUIRE_WITHIN)
        .after_connect(|connection, _| Box::pin(become_everyday(connection)))
        .connect_lazy_with(options.clone())
}

async fn become_everyday(connection: &mut PgConnection) -> Result<(), sqlx::Error> {
    let timeouts = "set statement_timeout = '30s'; set idle_in_transaction_session_timeout = '60s'";
    become_role(connection, timeouts, "set role edgetrail_app").await
}

/// The code of an error that a cluster met while it moved rows to a node: it keeps the node's words, and gives the code of a
/// failing disk.
fn moved_code(message: &str) -> Option<&'static str> {
    [("duplicate key value violates unique constraint", "23505"), ("no partition of relation", "23514")]
        .into_iter()
        .find_map(|(words, code)| message.starts_with(words).then_some(code))
}

async fn become_role(
    connection: &mut PgConnection,
    timeouts: &'static str,
    role: &'static str,
) -> Result<(), sqlx::Error> {
    connection.execute(timeouts).await?;
    // In a transaction of its own, so that a refusal leaves the connection usable. The role is missing before the
    // first migration and where the operator's role may not make it.
    let mut attempt = connection.begin().await?;
    match attempt.execute(role).await {
        Ok(_) => attempt.commit().await,
        Err(sqlx::Error::Database(_)) => attempt.rollback().await,
        Err(error) => Err(error),
    }
}

/// Commits, with words.
pub(crate) async fn commit(transaction: Transaction) -> Result<(), StoreError> {
    transaction.commit().await.doing("committing")
}

/// Takes a transaction back, at once.
pub(crate) async fn roll_back(transaction: Transaction) -> Result<(), StoreError> {
    transaction.rollback().await.doing("taking a transaction back")
}
