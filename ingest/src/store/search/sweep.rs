//! Everything that a search finds, for exports: in pages that are bounded by rows and by bytes.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::{Position, Scope};
use crate::store::{Doing as _, Store, StoreError, commit};

/// Events of one page at most.
const PAGE_ROWS: usize = 4_000;
/// Bytes of openings after which a page ends, at its next event.
const PAGE_LEN: usize = 4 << 20;

/// An event, and where its batch put it.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Swept {
    /// Its id.
    pub id: Uuid,
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// When it arrived.
    pub received_at: DateTime<Utc>,
    /// The committed bytes, or what erasure left of them.
    pub opening: Vec<u8>,
    /// What stands for an actor that was erased, if anything does.
    pub pseudonym: Option<String>,
    /// Its batch.
    pub batch_id: i64,
    /// Its place there.
    pub position: i16,
}

/// A way through everything that a search finds, newest first, as far as it had arrived by a time.
#[derive(Debug)]
pub struct Sweep {
    store: Store,
    scope: Scope,
    until: DateTime<Utc>,
    after: Option<Position>,
    ended: bool,
}

impl Sweep {
    /// One that begins at the newest event that had arrived by `until`.
    pub fn new(store: Store, scope: Scope, until: DateTime<Utc>) -> Self {
        Self { store, scope, until, after: None, ended: false }
    }

    /// The next events; none behind the last.
    ///
    /// # Errors
    /// If the database refuses.
    pub async fn next(&mut self) -> Result<Vec<Swept>, StoreError> {
        if self.ended {
            return Ok(Vec::new());
        }
        let mut sql = QueryBuilder::<Postgres>::new(
            "select id, filed_at, received_at, opening,
             case when get_byte(opening, 0) = 2 then actor_id end as pseudonym, batch_id, position from events",
        );
        self.scope.push_behind(&mut sql, self.after);
        sql.push(" and received_at <= ").push_bind(self.until);
        let limit = i64::try_from(PAGE_ROWS).unwrap_or(i64::MAX);
        sql.push(" order by filed_at desc, id desc limit ").push_bind(limit);
        let mut transaction = self.store.begin_in_order().await?;
        let mut rows = sql.build_query_as::<Swept>().fetch(&mut *transaction);
        let (mut page, mut len) = (Vec::new(), 0);
        while let Some(row) = rows.try_next().await.doing("reading what is exported")? {
            len += row.opening.len();
            page.push(row);
            if len >= PAGE_LEN {
                break;
            }
        }
        drop(rows);
        commit(transaction).await?;
        self.ended = page.len() < PAGE_ROWS && len < PAGE_LEN;
        self.after = page.last().map(|last| Position { filed_at: last.filed_at, id: last.id });
        Ok(page)
    }
}
