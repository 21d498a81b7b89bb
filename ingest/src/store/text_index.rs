//! The index of words, for whoever wants it: one for each closed month, never for the parent, so that nothing that stores events
//! waits for it.
//!
//! It holds runs of three letters of what is stored (`pg_trgm`), and only preselects: [`super::search`] compares. It is made
//! while everybody reads and writes on. A month that retention swaps is without one until it is made anew, since making one is
//! no matter of milliseconds. No list of late entries is kept beside it (`fastupdate`), so that an erasure has one place less to
//! reach.

use std::time::{Duration, Instant};

use chrono::{DateTime, Months, NaiveDate, NaiveTime, TimeDelta, Utc};
use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection};

use super::partitions::{month_of, name_of};
use super::{Doing as _, Store, StoreError};

/// What is indexed of an event: its texts without the random seed, as ASCII, the letters A-Z folded. By no language's rules,
/// or a database of another language would fold otherwise than this program does. The index knows it by these very words.
pub(super) const TEXT: &str = "lower(encode(substr(opening, \
    case when substr(opening, 1, 1) = '\\x01'::bytea then 35 else 3 end), 'escape') collate \"C\")";

/// What is filed in a month is nearly all there a day after its end.
const CLOSED_AFTER: TimeDelta = TimeDelta::days(1);
/// Any number, the same in every process: an index that is not valid is either being made or left over.
const LOCK: i64 = 0x6564_6765_776f_7264;
/// A client that is gone stops the work; memory that is only taken while it is done.
const SETTINGS: &str = "set statement_timeout = 0; set client_connection_check_interval = '5s'; set maintenance_work_mem = '256MB'";

/// What there is of a month's index.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum State {
    /// Nothing.
    Missing,
    /// All of it.
    Ready,
    /// What an interrupted creation left, or what is being made now; no search asks it.
    Unfinished,
}

/// A month and its index.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Month {
    /// Its first day.
    pub month: NaiveDate,
    /// What there is of its index.
    pub state: State,
    /// The size of the index in bytes.
    pub bytes: i64,
    /// About how many events the month has; 0 if the database does not know yet.
    pub events: f32,
}

impl Month {
    /// When it begins, and when the next one does.
    pub fn span(&self) -> (DateTime<Utc>, DateTime<Utc>) {
        (start_of(self.month), start_of(self.month + Months::new(1)))
    }

    /// Whether it is over, but for what arrives late.
    pub fn is_closed(&self, now: DateTime<Utc>) -> bool {
        self.span().1 + CLOSED_AFTER <= now
    }
}

fn start_of(month: NaiveDate) -> DateTime<Utc> {
    month.and_time(NaiveTime::MIN).and_utc()
}

/// Why an index was not made or taken away.
#[derive(Debug, thiserror::Error)]
pub enum TextIndexError {
    /// The contrib modules are not installed.
    #[error(
        "this PostgreSQL does not have the extension pg_trgm: install its contrib modules \
         (the package is often called postgresql-contrib), then try again"
    )]
    NoExtension,
    /// This role may not create the extension.
    #[error(
        "the role that edgetrail connects as may not create the extension pg_trgm: let the owner of the database \
         run `create extension pg_trgm`, then try again"
    )]
    MayNotCreate,
    /// Another process is at it.
    #[error("another process makes or removes such an index just now: try again later")]
    Busy,
    /// Nobody tried it there.
    #[error("a cluster has no index of words: it was never tried on one")]
    Cluster,
    /// There is no such month.
    #[error("there is no month {}", .0.format("%Y-%m"))]
    NoMonth(NaiveDate),
    /// Events are still filed in it.
    #[error("the month {} is not over since a day: what is stored would wait for the index", .0.format("%Y-%m"))]
    Open(NaiveDate),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Every month there is and its index, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn months(connection: &mut PgConnection) -> Result<Vec<Month>, StoreError> {
    let rows = sqlx::query!(
        r#"select c.relname as "table!", c.reltuples as "events!", x.indisvalid as "is_valid?",
               coalesce(pg_relation_size(n.oid), 0) as "bytes!"
           from pg_inherits i join pg_class c on c.oid = i.inhrelid
           left join (pg_index x join pg_class n on n.oid = x.indexrelid)
               on x.indrelid = c.oid and n.relname = c.relname || '_words'
           where i.inhparent = 'events'::regclass
           order by c.relname"#
    )
    .fetch_all(connection)
    .await
    .doing("looking for indexes of words")?;
    let month = |table: &str, is_valid: Option<bool>, bytes, events: f32| {
        let state = match is_valid {
            None => State::Missing,
            Some(true) => State::Ready,
            Some(false) => State::Unfinished,
        };
        Some(Month { month: month_of(table)?, state, bytes, events: events.max(0.0) })
    };
    Ok(rows.iter().filter_map(|row| month(&row.table, row.is_valid, row.bytes, row.events)).collect())
}

/// Every month there is and its index, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn list(store: &Store) -> Result<Vec<Month>, StoreError> {
    let doing = "looking for indexes of words";
    months(&mut *store.owner_pool().acquire().await.doing(doing)?).await
}

/// An index that was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Made {
    /// Of which month.
    pub month: NaiveDate,
    /// Its size in bytes.
    pub bytes: i64,
    /// How long it took.
    pub took: Duration,
}

/// The one process that makes indexes of words, or takes them away.
#[derive(Debug)]
pub struct Maker {
    /// Of its own, for the lock lives as long as it does.
    connection: PgConnection,
}

impl Maker {
    /// Becomes it.
    ///
    /// # Errors
    /// [`TextIndexError::Busy`] if another process is, [`TextIndexError::Cluster`] in a cluster, or the database refuses.
    pub async fn begin(store: &Store) -> Result<Self, TextIndexError> {
        let doing = "beginning to index words";
        let mut connection = store.owner_pool().acquire().await.doing(doing)?.detach();
        connection.execute(SETTINGS).await.doing(doing)?;
        // Tried and not waited for: who waits for a lock would be waited for in turn.
        let is_free = sqlx::query_scalar!(r#"select pg_try_advisory_lock($1) as "is_free!""#, LOCK)
            .fetch_one(&mut connection)
            .await
            .doing(doing)?;
        if !is_free {
            return Err(TextIndexError::Busy);
        }
        if extension(&mut connection, "citus").await?.is_some() {
            return Err(TextIndexError::Cluster);
        }
        Ok(Self { connection })
    }

    /// Months and their indexes; what is unfinished now was left over.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn months(&mut self) -> Result<Vec<Month>, StoreError> {
        months(&mut self.connection).await
    }

    /// Makes the index of a closed month, unless it is there.
    ///
    /// # Errors
    /// [`TextIndexError`]; what was begun then stays unfinished, and the next attempt begins anew.
    pub async fn make(&mut self, month: NaiveDate, now: DateTime<Utc>) -> Result<Made, TextIndexError> {
        let there = self.find(month).await?;
        if !there.is_closed(now) {
            return Err(TextIndexError::Open(month));
        }
        let started = Instant::now();
        if there.state != State::Ready {
            let schema = self.trigrams().await?;
            if there.state == State::Unfinished {
                self.remove(month).await?;
            }
            let name = name_of(month);
            let create = format!(
                "create index concurrently {name}_words on {name}
                 using gin ({TEXT} {schema}.gin_trgm_ops) with (fastupdate = off)"
            );
            self.connection.execute(AssertSqlSafe(create)).await.doing("indexing the words of a month")?;
        }
        let bytes = self.find(month).await?.bytes;
        Ok(Made { month, bytes, took: started.elapsed() })
    }

    /// Takes the index of a month away; false if there is none.
    ///
    /// # Errors
    /// [`TextIndexError`].
    pub async fn drop(&mut self, month: NaiveDate) -> Result<bool, TextIndexError> {
        let was_there = self.find(month).await?.state != State::Missing;
        if was_there {
            self.remove(month).await?;
        }
        Ok(was_there)
    }

    /// Lets another process become it.
    ///
    /// # Errors
    /// If the connection does not end as it should.
    pub async fn end(self) -> Result<(), StoreError> {
        self.connection.close().await.doing("ending the indexing of words")
    }

    async fn find(&mut self, month: NaiveDate) -> Result<Month, TextIndexError> {
        let months = self.months().await?;
        months.into_iter().find(|it| it.month == month).ok_or(TextIndexError::NoMonth(month))
    }

    async fn remove(&mut self, month: NaiveDate) -> Result<(), StoreError> {
        let drop = format!("drop index concurrently {}_words", name_of(month));
        self.connection.execute(AssertSqlSafe(drop)).await.doing("removing an index of words")?;
        Ok(())
    }

    /// The schema of the extension, which is created where it is missing.
    async fn trigrams(&mut self) -> Result<String, TextIndexError> {
        let doing = "creating the extension pg_trgm";
        if let Some(schema) = extension(&mut self.connection, "pg_trgm").await? {
            return Ok(schema);
        }
        let is_installed = sqlx::query_scalar!(
            r#"select exists (select from pg_available_extensions where name = 'pg_trgm') as "is_there!""#
        )
        .fetch_one(&mut self.connection)
        .await
        .doing(doing)?;
        if !is_installed {
            return Err(TextIndexError::NoExtension);
        }
        match self.connection.execute("create extension if not exists pg_trgm").await.doing(doing) {
            Ok(_) => {}
            Err(error) if error.code().as_deref() == Some("42501") => {
                return Err(TextIndexError::MayNotCreate);
            }
            Err(error) => return Err(error.into()),
        }
        extension(&mut self.connection, "pg_trgm").await?.ok_or(TextIndexError::NoExtension)
    }
}

/// The schema of an extension, as it is written in a statement; none if the database does not have it.
async fn extension(connection: &mut PgConnection, name: &str) -> Result<Option<String>, StoreError> {
    sqlx::query_scalar!(
        r#"select extnamespace::regnamespace::text as "schema!" from pg_extension where extname = $1"#,
        name
    )
    .fetch_optional(connection)
    .await
    .doing("looking for an extension")
}

/// Makes the indexes that closed months lack, the newest month first.
///
/// # Errors
/// [`TextIndexError`]; those made until then stay.
pub async fn make_missing(store: &Store, now: DateTime<Utc>) -> Result<Vec<Made>, TextIndexError> {
    let is_due = |it: &Month| it.state != State::Ready && it.is_closed(now);
    if !list(store).await?.iter().any(is_due) {
        return Ok(Vec::new());
    }
    let mut maker = Maker::begin(store).await?;
    let mut made = Vec::new();
    for due in maker.months().await?.iter().rev().filter(|it| is_due(it)) {
        made.push(maker.make(due.month, now).await?);
    }
    maker.end().await?;
    Ok(made)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_closed_a_day_after_its_end() {
        let october = Month {
            month: NaiveDate::from_ymd_opt(2026, 10, 1).expect("a date"),
            state: State::Missing,
            bytes: 0,
            events: 0.0,
        };
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        assert!(!october.is_closed(at("2026-11-01T23:59:59Z")));
        assert!(october.is_closed(at("2026-11-02T00:00:00Z")));
    }
}
