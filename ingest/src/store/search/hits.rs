//! Which events rules of detection look for, and what is like them.

use chrono::{DateTime, Utc};
use shared::event::Timestamp;
use shared::search::Query;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::condition;
use crate::store::{Doing as _, StoreError};

/// What the server itself says when a rule fires: no rule finds it, or one would find its own alerts for ever.
pub const SECURITY_ALERT_RAISED: &str = "SECURITY_ALERT_RAISED";

/// In what events are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// The account, proven or tried: an address where one is known, an id otherwise.
    Account,
    /// The proven actor's id.
    Actor,
    /// The address.
    Ip,
    /// The network of the address: 16 bits of IPv4, 32 of IPv6.
    Network,
    /// The country.
    Country,
    /// The session.
    Session,
    /// The entity, `type/id`.
    Entity,
    /// The mount's host.
    Host,
    /// The action.
    Action,
}

impl Likeness {
    /// Every one, in the order of [`Hit::values`].
    pub const ALL: [Self; 9] = [
        Self::Account,
        Self::Actor,
        Self::Ip,
        Self::Network,
        Self::Country,
        Self::Session,
        Self::Entity,
        Self::Host,
        Self::Action,
    ];

    /// Its name in rules.
    pub fn name(self) -> &'static str {
        match self {
            Self::Account => "account",
            Self::Actor => "actor",
            Self::Ip => "ip",
            Self::Network => "network",
            Self::Country => "country",
            Self::Session => "session",
            Self::Entity => "entity",
            Self::Host => "host",
            Self::Action => "action",
        }
    }

    fn expression(self) -> &'static str {
        match self {
            Self::Account => "coalesce(lower(actor_email), lower(claimed_user), actor_id)",
            Self::Actor => "actor_id",
            Self::Ip => "host(ip)",
            Self::Network => "network(set_masklen(ip, case family(ip) when 4 then 16 else 32 end))::text",
            Self::Country => "country",
            Self::Session => "session_id",
            Self::Entity => "entity_type || '/' || entity_id",
            Self::Host => "host",
            Self::Action => "action",
        }
    }
}

/// Events that a rule looks for.
#[derive(Debug, Clone)]
pub struct Wanted<'a> {
    /// A search.
    pub query: &'a Query,
    /// Whether the actor is also what was acted upon.
    pub on_oneself: bool,
}

impl Wanted<'_> {
    fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        sql.push("(action <> ").push_bind(SECURITY_ALERT_RAISED);
        if self.on_oneself {
            sql.push(" and actor_id = entity_id");
        }
        for expr in self.query.conjuncts() {
            sql.push(" and ");
            // Rules have no relative times.
            condition::push(sql, expr, Timestamp::from(DateTime::UNIX_EPOCH));
        }
        sql.push(")");
    }
}

/// An event that some rules look for.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Hit {
    /// Whose.
    pub tenant_id: String,
    /// When it is filed.
    pub filed_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
    /// What it is like, in the order of [`Likeness::ALL`].
    pub values: Vec<Option<String>>,
    /// Which of the rules.
    pub found: Vec<bool>,
}

impl Hit {
    /// What it is like in one way.
    pub fn value(&self, likeness: Likeness) -> Option<&str> {
        let at = Likeness::ALL.iter().position(|known| *known == likeness)?;
        self.values.get(at)?.as_deref()
    }
}

/// Where hits are looked for.
#[derive(Debug, Clone, Copy)]
pub enum Among<'a> {
    /// In batches that arrived in this span.
    Batches(&'a [i64], (DateTime<Utc>, DateTime<Utc>)),
    /// In what a tenant's events are filed between two times, the second of them not included.
    Filed(&'a str, (DateTime<Utc>, DateTime<Utc>)),
}

/// The events that some of the rules look for, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn hits(
    connection: &mut PgConnection,
    among: Among<'_>,
    wanted: &[Wanted<'_>],
    limit: i64,
) -> Result<Vec<Hit>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select tenant_id, filed_at, id, values, found from (select tenant_id, filed_at, id, array[",
    );
    for (at, likeness) in Likeness::ALL.into_iter().enumerate() {
        sql.push(if at > 0 { ", " } else { "" }).push(likeness.expression());
    }
    sql.push("]::text[] as values, array[");
    for (at, one) in wanted.iter().enumerate() {
        sql.push(if at > 0 { ", " } else { "" });
        one.push(&mut sql);
        sql.push(" is true");
    }
    sql.push("]::boolean[] as found from events where ");
    match among {
        Among::Batches(batches, (first, last)) => {
            sql.push("received_at between ").push_bind(first).push(" and ").push_bind(last);
            sql.push(" and batch_id = any(").push_bind(batches.to_vec()).push(")");
        }
        Among::Filed(tenant, (from, to)) => {
            sql.push("tenant_id = ").push_bind(tenant.to_owned());
            sql.push(" and filed_at >= ").push_bind(from).push(" and filed_at < ").push_bind(to);
        }
    }
    sql.push(") e where true = any(found) order by filed_at, id limit ").push_bind(limit);
    sql.build_query_as().fetch_all(connection).await.doing("looking for what rules look for")
}

/// An event that is like others.
#[derive(Debug, Clone, sqlx::FromRow)]
pub struct Alike {
    /// When it is filed.
    pub filed_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
    /// What it is like in the way that was asked for.
    pub value: Option<String>,
}

/// A tenant's events of some likeness between two times, both included; the newest of them, oldest first.
///
/// # Errors
/// If the database refuses.
pub async fn alike(
    connection: &mut PgConnection,
    tenant: &str,
    wanted: &Wanted<'_>,
    key: &[(Likeness, String)],
    (from, to): (DateTime<Utc>, DateTime<Utc>),
    of: Option<Likeness>,
    limit: i64,
) -> Result<Vec<Alike>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new("select filed_at, id, ");
    sql.push(of.map_or("null::text", Likeness::expression)).push(" as value from events where tenant_id = ");
    sql.push_bind(tenant.to_owned());
    sql.push(" and filed_at >= ").push_bind(from).push(" and filed_at <= ").push_bind(to);
    for (likeness, value) in key {
        sql.push(" and ").push(likeness.expression()).push(" = ").push_bind(value.clone());
    }
    sql.push(" and ");
    wanted.push(&mut sql);
    sql.push(" order by filed_at desc, id desc limit ").push_bind(limit);
    let mut found: Vec<Alike> =
        sql.build_query_as().fetch_all(connection).await.doing("looking for alike events")?;
    found.reverse();
    Ok(found)
}
