//! The one statement that is built at run time: a page of a tenant's events, newest first.

use chrono::{DateTime, Utc};
use shared::event::{Outcome, Severity};
use sqlx::{Postgres, QueryBuilder};
use uuid::Uuid;

use super::events::StoredEvent;
use super::{Doing as _, Store, StoreError};
use crate::receive::rollup::COVERAGE_RECORDED;

/// What a page may show.
#[derive(Debug, Clone)]
pub struct Search {
    /// Whose events.
    pub tenant: String,
    /// Filed at or after.
    pub from: DateTime<Utc>,
    /// Filed before.
    pub to: Option<DateTime<Utc>>,
    /// Any of these actions; if empty all but [`COVERAGE_RECORDED`].
    pub actions: Vec<ActionFilter>,
    /// The actor's id or address.
    pub actor: Option<String>,
    /// The entity's type.
    pub entity_type: Option<String>,
    /// The entity's id.
    pub entity_id: Option<String>,
    /// The severity.
    pub severity: Option<SeverityFilter>,
    /// The outcome.
    pub outcome: Option<Outcome>,
    /// Only events after this one in the list.
    pub after: Option<Position>,
    /// How many at most.
    pub limit: i64,
}

/// An action, or the beginning of several.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ActionFilter {
    /// This one.
    Exactly(String),
    /// All that begin so.
    Prefix(String),
}

/// A severity, or one and all above it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeverityFilter {
    /// This one.
    Exactly(Severity),
    /// This one and all above.
    AtLeast(Severity),
}

/// An event's place in the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// The partition key.
    pub filed_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
}

/// The page.
///
/// # Errors
/// If the database refuses.
pub async fn page(store: &Store, search: &Search) -> Result<Vec<StoredEvent>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select id, filed_at, received_at, opening, case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
         from events where tenant_id = ",
    );
    sql.push_bind(&search.tenant);
    sql.push(" and filed_at >= ").push_bind(search.from);
    if let Some(to) = search.to {
        sql.push(" and filed_at < ").push_bind(to);
    }
    if let Some(after) = search.after {
        // A row comparison alone prunes no partition.
        sql.push(" and filed_at <= ").push_bind(after.filed_at);
        sql.push(" and (filed_at, id) < (")
            .push_bind(after.filed_at)
            .push(", ")
            .push_bind(after.id)
            .push(")");
    }
    if search.actions.is_empty() {
        // The edge's own counts are read as coverage.
        sql.push(" and action <> ").push_bind(COVERAGE_RECORDED);
    } else {
        sql.push(" and (");
        for (at, action) in search.actions.iter().enumerate() {
            if at > 0 {
                sql.push(" or ");
            }
            match action {
                ActionFilter::Exactly(action) => sql.push("action = ").push_bind(action),
                ActionFilter::Prefix(prefix) => sql.push("starts_with(action, ").push_bind(prefix).push(")"),
            };
        }
        sql.push(")");
    }
    if let Some(actor) = &search.actor {
        sql.push(" and (actor_id = ").push_bind(actor);
        sql.push(" or actor_email = ").push_bind(actor).push(")");
    }
    if let Some(kind) = &search.entity_type {
        sql.push(" and entity_type = ").push_bind(kind);
    }
    if let Some(id) = &search.entity_id {
        sql.push(" and entity_id = ").push_bind(id);
    }
    match search.severity {
        Some(SeverityFilter::Exactly(severity)) => {
            sql.push(" and severity = ").push_bind(i16::from(severity.byte()));
        }
        Some(SeverityFilter::AtLeast(severity)) => {
            sql.push(" and severity >= ").push_bind(i16::from(severity.byte()));
        }
        None => {}
    }
    if let Some(outcome) = search.outcome {
        sql.push(" and outcome = ").push_bind(i16::from(outcome.byte()));
    }
    sql.push(" order by filed_at desc, id desc limit ").push_bind(search.limit);
    sql.build_query_as().fetch_all(store.pool()).await.doing("searching events")
}
