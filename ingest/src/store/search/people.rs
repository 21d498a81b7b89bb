//! What one actor did, at a glance.

use chrono::{DateTime, Utc};
use sqlx::{Postgres, QueryBuilder};

use super::Scope;
use crate::store::{Doing as _, Store, StoreError};

/// An actor's events as a whole.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Person {
    /// How many.
    pub events: i64,
    /// Those that failed.
    pub failed: i64,
    /// The first.
    pub first_seen: Option<DateTime<Utc>>,
    /// The last.
    pub last_seen: Option<DateTime<Utc>>,
}

/// A value that occurs in an actor's events.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct Figure {
    /// Of what: `id`, `email`, `session`, `ip`, `country`, `action` or `entity`.
    pub kind: String,
    /// The value.
    pub value: String,
    /// In how many events.
    pub events: i64,
    /// In the first of them.
    pub first_seen: DateTime<Utc>,
    /// In the last of them.
    pub last_seen: DateTime<Utc>,
}

const KINDS: [(&str, &str); 7] = [
    ("id", "actor_id"),
    ("email", "actor_email"),
    ("session", "session_id"),
    ("ip", "host(ip)"),
    ("country", "country"),
    ("action", "action"),
    ("entity", "entity_type || '/' || entity_id"),
];

/// The events of a scope as a whole.
///
/// # Errors
/// If the database refuses.
pub async fn person(store: &Store, scope: &Scope) -> Result<Person, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select count(*) as events, count(*) filter (where outcome = 2) as failed, min(filed_at) as first_seen,
             max(filed_at) as last_seen from events",
    );
    scope.push(&mut sql);
    sql.build_query_as().fetch_one(store.pool()).await.doing("adding up an actor's events")
}

/// The values in the events of a scope, of each kind those seen last.
///
/// # Errors
/// If the database refuses.
pub async fn figures(store: &Store, scope: &Scope, top: i64) -> Result<Vec<Figure>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "with base as materialized (select filed_at, actor_id, actor_email, session_id, ip, country, action,
             entity_type, entity_id from events",
    );
    scope.push(&mut sql);
    sql.push(")");
    for (at, (kind, column)) in KINDS.into_iter().enumerate() {
        sql.push(if at > 0 { " union all (select " } else { " (select " }).push_bind(kind);
        sql.push("::text as kind, (").push(column).push(")::text as value, count(*) as events,");
        sql.push(" min(filed_at) as first_seen, max(filed_at) as last_seen from base where (").push(column);
        sql.push(") is not null group by 2 order by 5 desc, 2 limit ").push_bind(top).push(")");
    }
    sql.build_query_as().fetch_all(store.pool()).await.doing("listing an actor's values")
}
