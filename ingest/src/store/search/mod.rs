//! Searches as statements: the one place where a query becomes SQL. Every value is bound; what is written into a statement
//! is this program's own text.

mod condition;
mod counts;
mod people;
mod sweep;

pub use counts::{Cell, Counted, FacetField, FacetRow, counted_apart, facets, histogram};
pub use people::{Figure, Person, figures, person};
pub use sweep::{Sweep, Swept};

use chrono::{DateTime, Utc};
use futures_util::future::try_join_all;
use shared::event::Timestamp;
use shared::search::{Expr, Query, Term, TextField};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::events::StoredEvent;
use super::{Doing as _, Store, StoreError};
use crate::receive::rollup::COVERAGE_RECORDED;

/// Parts of a window in which words are looked for, of which the newest comes first.
const PARTS: i32 = 9;
/// Connections on which words are looked for in the other parts.
const SCANS: i32 = 4;

/// Which events.
#[derive(Debug, Clone)]
pub struct Scope {
    /// Whose.
    pub tenant: String,
    /// Filed at or after: every search prunes.
    pub from: DateTime<Utc>,
    /// Filed before.
    pub to: Option<DateTime<Utc>>,
    /// What holds of them.
    pub query: Query,
    /// The time that relative times of the query count from.
    pub now: Timestamp,
}

/// An event's place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

impl Scope {
    /// Whether it asks for nothing but a time, which `from` and `to` say as a whole.
    fn is_only_time(&self) -> bool {
        self.query.conjuncts().iter().all(|expr| matches!(expr, Expr::Term(Term::When(_))))
    }

    /// The `where` of a statement over `events`.
    fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push(" where tenant_id = ").push_bind(self.tenant.clone());
        sql.push(" and filed_at >= ").push_bind(self.from);
        if let Some(to) = self.to {
            sql.push(" and filed_at < ").push_bind(to);
        }
        // The edge's own counts are read as coverage, unless somebody asks for them.
        let names_events =
            |term: &Term| matches!(term, Term::Text(TextField::Action, _) | Term::Id(_) | Term::Batch(_));
        if !self.query.mentions(names_events) {
            sql.push(" and action <> ").push_bind(COVERAGE_RECORDED);
        }
        for expr in self.query.conjuncts() {
            sql.push(" and ");
            condition::push(sql, expr, self.now);
        }
    }
}

/// A page of events, newest first, from behind a place on.
///
/// # Errors
/// If the database refuses.
pub async fn page(
    store: &Store,
    scope: &Scope,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    if scope.query.mentions(|term| matches!(term, Term::Words(_))) {
        return page_of_words(store, scope, after, limit).await;
    }
    page_at_once(store, scope, after, limit).await
}

async fn page_at_once(
    store: &Store,
    scope: &Scope,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select id, filed_at, received_at, opening, case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events",
    );
    scope.push(&mut sql);
    if let Some(after) = after {
        // A row comparison alone prunes no partition.
        sql.push(" and filed_at <= ").push_bind(after.filed_at);
        sql.push(" and (filed_at, id) < (").push_bind(after.filed_at);
        sql.push(", ").push_bind(after.id).push(")");
    }
    sql.push(" order by filed_at desc, id desc limit ").push_bind(limit);
    sql.build_query_as().fetch_all(store.pool()).await.doing("searching events")
}

/// Words are compared with every opening until the page is full. Frequent ones fill it from the newest part of the window;
/// what is left for rare ones is compared on several connections.
async fn page_of_words(
    store: &Store,
    scope: &Scope,
    after: Option<Position>,
    limit: i64,
) -> Result<Vec<StoredEvent>, StoreError> {
    let end = scope.to.unwrap_or_else(|| scope.now.to_utc());
    let end = after.map_or(end, |after| end.min(after.filed_at)).max(scope.from);
    let part = (end - scope.from) / PARTS;
    let edge = |at: i32| end - part * at;
    let of = |from, to| Scope { from, to, ..scope.clone() };
    let newest = of(edge(1), scope.to);
    let mut found = page_at_once(store, &newest, after, limit).await?;
    let missing = limit - i64::try_from(found.len()).unwrap_or(limit);
    if missing <= 0 {
        return Ok(found);
    }
    // Each takes as many of the other parts as the next.
    let others: Vec<Scope> = (0..SCANS)
        .map(|at| {
            let (first, last) = (1 + (PARTS - 1) * at / SCANS, 1 + (PARTS - 1) * (at + 1) / SCANS);
            let from = if last == PARTS { scope.from } else { edge(last) };
            of(from, Some(edge(first)))
        })
        .collect();
    let pages = others.iter().map(|part| page_at_once(store, part, None, missing));
    for page in try_join_all(pages).await? {
        found.extend(page);
    }
    found.truncate(usize::try_from(limit).unwrap_or(0));
    Ok(found)
}
