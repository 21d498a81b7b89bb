//! What a search adds up to: over time, and by the values of its fields.

use sqlx::{Postgres, QueryBuilder};

use super::Scope;
use crate::store::{Doing as _, Store, StoreError};

/// Events of one kind in one bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq, sqlx::FromRow)]
pub struct Cell {
    /// The bucket, from 0.
    pub bucket: i64,
    /// The byte of their outcome.
    pub outcome: i16,
    /// The byte of their severity.
    pub severity: i16,
    /// How many.
    pub count: i64,
}

/// Counts in buckets of some milliseconds from the scope's beginning on.
///
/// # Errors
/// If the database refuses.
pub async fn histogram(store: &Store, scope: &Scope, width_ms: i64) -> Result<Vec<Cell>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new("select div(extract(epoch from filed_at - ");
    sql.push_bind(scope.from).push(") * 1000, ").push_bind(width_ms.max(1));
    sql.push(")::bigint as bucket, outcome, severity, count(*) as count from events");
    scope.push(&mut sql);
    sql.push(" group by 1, 2, 3 order by 1, 2, 3");
    sql.build_query_as().fetch_all(store.pool()).await.doing("counting events over time")
}

/// A field whose values are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FacetField {
    /// The action.
    Action,
    /// The proven actor.
    Actor,
    /// The entity's type.
    Entity,
    /// The severity.
    Severity,
    /// The outcome.
    Outcome,
    /// How sure we are of the actor.
    Trust,
    /// The country.
    Country,
    /// The mount's host.
    Host,
    /// The method.
    Method,
    /// The route.
    Route,
    /// The rule.
    Rule,
    /// The status in hundreds.
    Status,
}

impl FacetField {
    /// Every field, in the order in which they are shown.
    pub const ALL: [Self; 12] = [
        Self::Action,
        Self::Actor,
        Self::Entity,
        Self::Severity,
        Self::Outcome,
        Self::Trust,
        Self::Country,
        Self::Host,
        Self::Method,
        Self::Route,
        Self::Rule,
        Self::Status,
    ];

    /// Its name in searches.
    pub fn name(self) -> &'static str {
        match self {
            Self::Action => "action",
            Self::Actor => "actor",
            Self::Entity => "entity",
            Self::Severity => "severity",
            Self::Outcome => "outcome",
            Self::Trust => "trust",
            Self::Country => "country",
            Self::Host => "host",
            Self::Method => "method",
            Self::Route => "route",
            Self::Rule => "rule",
            Self::Status => "status",
        }
    }

    fn column(self) -> &'static str {
        match self {
            Self::Actor => "actor_id",
            Self::Entity => "entity_type",
            Self::Status => "status / 100",
            other => other.name(),
        }
    }
}

/// A value and how many events have it.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct FacetRow {
    /// The field's name; empty for the sum of all.
    pub field: String,
    /// The value as text, closed sets as their byte; none for events without one.
    pub value: Option<String>,
    /// An actor's address.
    pub label: Option<String>,
    /// How many.
    pub count: i64,
}

/// The most frequent values of some fields, and the sum of all events. The events are read once.
///
/// # Errors
/// If the database refuses.
pub async fn facets(
    store: &Store,
    scope: &Scope,
    fields: &[FacetField],
    top: i64,
) -> Result<Vec<FacetRow>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "with base as materialized (select action, actor_id, actor_email, entity_type, severity, outcome, trust,
             country, host, method, route, rule, status from events",
    );
    scope.push(&mut sql);
    sql.push(") select '' as field, null::text as value, null::text as label, count(*) as count from base");
    for field in fields {
        let column = field.column();
        sql.push(" union all (select ").push_bind(field.name()).push("::text, (").push(column);
        sql.push(")::text, ").push(match field {
            FacetField::Actor => "max(actor_email)",
            _ => "null::text",
        });
        sql.push(", count(*) from base group by ").push(column);
        sql.push(" order by count(*) desc, 2 limit ").push_bind(top).push(")");
    }
    sql.build_query_as().fetch_all(store.pool()).await.doing("counting values")
}
