//! Searches as statements: the one place where a query becomes SQL. Every text is bound; what is written into a statement
//! is this program's own text, here and there a time that the planner has to know, and in a copy the tenant as the database quotes it.

mod bundle;
mod chosen;
mod condition;
mod counts;
mod hits;
mod of_batches;
mod people;
mod sweep;
mod words;

pub use counts::{Cell, Counted, FacetField, FacetRow, counted_apart, facets, histogram};
pub use hits::{
    Alike, Among, Hit, HourCount, Likeness, Most, Question, Reading, SECURITY_ALERT_RAISED, Wanted, alike,
    hits, hours,
};
pub use of_batches::of_batches;
pub use people::{Figure, Person, figures, person};
pub use sweep::{Sweep, Swept};

use chrono::{DateTime, Utc};
use shared::event::Timestamp;
use shared::search::{Expr, Query, Term, TextField};
use sqlx::{Executor as _, Postgres, QueryBuilder};
use uuid::Uuid;

use self::words::Words;
use super::events::StoredEvent;
use super::{Doing as _, Store, StoreError};
use crate::receive::rollup::COVERAGE_RECORDED;

/// What a page tells of events.
const PAGE: &str = "select id, filed_at, received_at, opening, \
    case when get_byte(opening, 0) = 2 then actor_id end as pseudonym from events";

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
        self.query.conjuncts().iter().all(is_time)
    }

    /// The `where` of a statement over `events`.
    fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        self.push_behind(sql, None);
    }

    /// The same of what stands behind a place in the list.
    fn push_behind(&self, sql: &mut QueryBuilder<Postgres>, after: Option<Position>) {
        self.push_times(sql, after);
        push_query(sql, self.query.conjuncts().iter().filter(|expr| !is_time(expr)), self.now);
    }

    /// Of that, whose events and when.
    fn push_times(&self, sql: &mut QueryBuilder<Postgres>, after: Option<Position>) {
        let bounds = self.bounds(after);
        sql.push(" where tenant_id = ").push_bind(self.tenant.clone());
        sql.push(" and filed_at >= ").push_bind(bounds.from);
        match bounds.end {
            End::Open => {}
            End::Before(to) => {
                sql.push(" and filed_at < ").push_bind(to);
            }
            End::Behind(Position { filed_at, id }) => {
                // A row comparison alone prunes no partition.
                sql.push(" and filed_at <= ").push_bind(filed_at);
                sql.push(" and (filed_at, id) < (").push_bind(filed_at).push(", ").push_bind(id).push(")");
            }
        }
    }

    /// Its time and that of its query as one, with one end: beside the comparison of a row, PostgreSQL 18 walks an index from
    /// another end to the row, one entry after the other.
    fn bounds(&self, after: Option<Position>) -> Bounds {
        let asked = self.query.window(self.now);
        let from = asked.from.map_or(self.from, |from| from.to_utc().max(self.from));
        let to = [self.to, asked.to.map(Timestamp::to_utc)].into_iter().flatten().min();
        let end = match (after, to) {
            (Some(place), Some(to)) if to <= place.filed_at => End::Before(to),
            (Some(place), _) => End::Behind(place),
            (None, Some(to)) => End::Before(to),
            (None, None) => End::Open,
        };
        Bounds { from, end }
    }
}

/// When the events of a search are filed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Bounds {
    from: DateTime<Utc>,
    end: End,
}

/// Where a search ends that goes back in time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Open,
    Before(DateTime<Utc>),
    Behind(Position),
}

fn is_time(expr: &Expr) -> bool {
    matches!(expr, Expr::Term(Term::When(_)))
}

/// What holds of events, as further conditions of a statement.
fn push_query<'a>(
    sql: &mut QueryBuilder<Postgres>,
    conjuncts: impl Iterator<Item = &'a Expr> + Clone,
    now: Timestamp,
) {
    // The edge's own counts are read as coverage, unless somebody asks for them.
    let names_events =
        |term: &Term| matches!(term, Term::Text(TextField::Action, _) | Term::Id(_) | Term::Batch(_));
    if !conjuncts.clone().any(|expr| expr.mentions(names_events)) {
        sql.push(" and action <> ").push_bind(COVERAGE_RECORDED);
    }
    for expr in conjuncts {
        sql.push(" and ");
        condition::push(sql, expr, now);
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
    if let Some(words) = Words::of(scope) {
        return words.page(store, after, usize::try_from(limit).unwrap_or(0)).await;
    }
    let mut sql = QueryBuilder::<Postgres>::new(PAGE);
    scope.push_behind(&mut sql, after);
    sql.push(" order by filed_at desc, id desc limit ").push_bind(limit);
    sql.build_query_as().fetch_all(store.pool()).await.doing("searching events")
}

/// The newest events that may have altered what they are about, newest first: those with changes, and deletions. For an entity
/// there is an index of them alone, so that what was merely used a thousand times since is not looked at. That index tells since
/// when there are as many as are wanted; then they are fetched in the order of their pages, which PostgreSQL reads ahead.
///
/// # Errors
/// If the database refuses.
pub async fn altering(store: &Store, scope: &Scope, limit: i64) -> Result<Vec<StoredEvent>, StoreError> {
    let doing = "reading what altered an entity";
    let mut transaction = store.begin().await?;
    let mut sql = QueryBuilder::<Postgres>::new("select min(filed_at) from (select filed_at from events");
    push_altering(&mut sql, scope, limit);
    sql.push(") as newest");
    let since: Option<DateTime<Utc>> =
        sql.build_query_scalar().fetch_one(&mut *transaction).await.doing(doing)?;
    let mut found = Vec::new();
    if let Some(since) = since {
        transaction.execute("set local enable_indexscan = off").await.doing(doing)?;
        let mut sql = QueryBuilder::<Postgres>::new(PAGE);
        push_altering(&mut sql, &Scope { from: since, ..scope.clone() }, limit);
        found = sql.build_query_as().fetch_all(&mut *transaction).await.doing(doing)?;
    }
    transaction.commit().await.doing(doing)?;
    Ok(found)
}

/// Which events of a scope may have altered something, the newest of them: nothing but what their index has.
fn push_altering(sql: &mut QueryBuilder<Postgres>, scope: &Scope, limit: i64) {
    scope.push_times(sql, None);
    for expr in scope.query.conjuncts().iter().filter(|expr| !is_time(expr)) {
        sql.push(" and ");
        condition::push(sql, expr, scope.now);
    }
    sql.push(r" and (change_quality is not null or action like '%\_DELETED')");
    sql.push(" order by filed_at desc, id desc limit ").push_bind(limit);
}
