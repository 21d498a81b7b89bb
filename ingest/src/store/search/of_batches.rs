//! What of some batches a search finds, for those who follow the log.

use futures_util::TryStreamExt as _;
use shared::event::Timestamp;
use shared::search::Query;
use sqlx::{Postgres, QueryBuilder};

use super::{Swept, push_query};
use crate::store::{Doing as _, Store, StoreError};

/// The events of batches that a search finds, in the order in which the batches are named and of their places in them: until
/// openings of so many bytes were read. Also whether there may be more.
///
/// # Errors
/// If the database refuses.
pub async fn of_batches(
    store: &Store,
    tenant: &str,
    (query, now): (&Query, Timestamp),
    batches: &[i64],
    max_len: usize,
) -> Result<(Vec<Swept>, bool), StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select id, filed_at, received_at, opening,
         case when get_byte(opening, 0) = 2 then actor_id end as pseudonym, batch_id, position from events where tenant_id = ",
    );
    sql.push_bind(tenant.to_owned());
    sql.push(" and batch_id = any(").push_bind(batches.to_vec()).push(")");
    push_query(&mut sql, query.conjuncts().iter(), now);
    sql.push(" order by array_position(").push_bind(batches.to_vec()).push(", batch_id), position");
    let mut rows = sql.build_query_as::<Swept>().fetch(store.pool());
    let (mut found, mut len) = (Vec::new(), 0);
    while let Some(row) = rows.try_next().await.doing("reading what is forwarded")? {
        len += row.opening.len();
        found.push(row);
        if len >= max_len {
            return Ok((found, true));
        }
    }
    Ok((found, false))
}
