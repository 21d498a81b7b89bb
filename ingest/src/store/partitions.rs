//! Months of events: made ahead, never on demand, so that no insert waits for DDL.

use std::collections::BTreeSet;

use chrono::{DateTime, Datelike as _, Months, NaiveDate, Utc};
use sqlx::{AssertSqlSafe, Executor as _, PgConnection};

use super::{Doing as _, Store, StoreError};

/// How far back events are taken: 400 days reach into the 13th month before.
const MONTHS_BACK: u32 = 13;
/// A daily task that fails for two months still loses nothing.
const MONTHS_AHEAD: u32 = 3;
/// Any number, the same in every process.
const LOCK: i64 = 0x6564_6765_7061_7274;

/// Makes the months around `now` that are missing and gives the start of the oldest month there is.
///
/// # Errors
/// If the database refuses.
pub async fn ensure(store: &Store, now: DateTime<Utc>) -> Result<DateTime<Utc>, StoreError> {
    let doing = "making partitions";
    let mut transaction = store.owner_pool().begin().await.doing(doing)?;
    sqlx::query!("select pg_advisory_xact_lock($1)", LOCK).execute(&mut *transaction).await.doing(doing)?;
    let mut months = months(&mut transaction).await?;
    let current = now.date_naive().with_day(1).unwrap_or_default();
    for month in (0..=MONTHS_BACK + MONTHS_AHEAD)
        .filter_map(|step| (current - Months::new(MONTHS_BACK)).checked_add_months(Months::new(step)))
    {
        if months.insert(month) {
            let name = name_of(month);
            let end = month + Months::new(1);
            // Filled with a check and attached: that locks the parent against DDL only, where `partition of` would
            // stop every reader and writer.
            let create = format!(
                "create table {name} (like events including all,
                     constraint {name}_month check (filed_at >= '{month} 00:00Z' and filed_at < '{end} 00:00Z'))
                     with (autovacuum_vacuum_insert_scale_factor = 0.02)"
            );
            let attach = format!(
                "alter table events attach partition {name}
                     for values from ('{month} 00:00Z') to ('{end} 00:00Z')"
            );
            let loosen = format!("alter table {name} drop constraint {name}_month");
            // One by one: a cluster sends the text of a statement on as it came, and takes no several in one.
            for ddl in [create, attach, loosen] {
                transaction.execute(AssertSqlSafe(ddl)).await.doing(doing)?;
            }
        }
    }
    transaction.commit().await.doing(doing)?;
    let oldest = months.first().copied().unwrap_or(current);
    Ok(oldest.and_time(chrono::NaiveTime::MIN).and_utc())
}

/// The months there are.
///
/// # Errors
/// If the database refuses.
pub async fn months(connection: &mut PgConnection) -> Result<BTreeSet<NaiveDate>, StoreError> {
    let names = sqlx::query_scalar!(
        r#"select c.relname as "name!" from pg_inherits i
           join pg_class c on c.oid = i.inhrelid
           where i.inhparent = 'events'::regclass"#
    )
    .fetch_all(connection)
    .await
    .doing("listing the months")?;
    Ok(names.iter().filter_map(|name| month_of(name)).collect())
}

/// The table of a month.
pub(super) fn name_of(month: NaiveDate) -> String {
    format!("events_{:04}_{:02}", month.year(), month.month())
}

pub(super) fn month_of(name: &str) -> Option<NaiveDate> {
    let (year, month) = name.strip_prefix("events_")?.split_once('_')?;
    NaiveDate::from_ymd_opt(year.parse().ok()?, month.parse().ok()?, 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_read_back_from_its_partition() {
        let month = NaiveDate::from_ymd_opt(2026, 2, 1).expect("a date");
        assert_eq!(name_of(month), "events_2026_02");
        assert_eq!(month_of("events_2026_02"), Some(month));
        assert_eq!(month_of("events_archive"), None);
    }
}
