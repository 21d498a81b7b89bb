//! Which events rules of detection look for, and what is like them.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use shared::event::Timestamp;
use shared::search::Query;
use sqlx::{PgConnection, Postgres, QueryBuilder};
use uuid::Uuid;

use super::condition;
use crate::store::tallies::Span;
use crate::store::{Doing as _, StoreError};

/// What the server itself says when a rule fires: no rule finds it, or one would find its own alerts for ever.
pub const SECURITY_ALERT_RAISED: &str = "SECURITY_ALERT_RAISED";

/// In what events are alike.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Likeness {
    /// The account, proven or tried: an address where one is known, an id otherwise; else the user that was acted upon.
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
            Self::Account => {
                "coalesce(lower(actor_email), lower(claimed_user), actor_id, case entity_type when 'user' then entity_id end)"
            }
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
    /// Whether the bytes of what is found are read as well.
    pub reads_opening: bool,
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
    /// Its stored bytes, if one of these rules reads them.
    pub opening: Option<Vec<u8>>,
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
    Batches(&'a [i64]),
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
        "select tenant_id, filed_at, id, values, found, case when true = any(array[false",
    );
    for (at, _) in wanted.iter().enumerate().filter(|(_, one)| one.reads_opening) {
        // Arrays begin at 1.
        sql.push(format!(", found[{}]", at + 1));
    }
    sql.push("]) then opening end as opening from (select tenant_id, filed_at, id, opening, array[");
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
        Among::Batches(batches) => {
            sql.push("batch_id = any(").push_bind(batches.to_vec()).push(")");
        }
        Among::Filed(tenant, (from, to)) => {
            sql.push("tenant_id = ").push_bind(tenant.to_owned());
            sql.push(" and filed_at >= ").push_bind(from).push(" and filed_at < ").push_bind(to);
        }
    }
    sql.push(") e where true = any(found) order by filed_at, id limit ").push_bind(limit);
    sql.build_query_as().fetch_all(connection).await.doing("looking for what rules look for")
}

/// A question for events of some likeness.
#[derive(Debug, Clone)]
pub struct Question {
    /// Whose.
    pub tenant: String,
    /// The values, one for each likeness that is asked about.
    pub key: Vec<String>,
    /// Between which times, both included.
    pub span: (DateTime<Utc>, DateTime<Utc>),
}

/// What is read of an event beside its time and id.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reading {
    /// Nothing.
    Nothing,
    /// What it is like.
    Value(Likeness),
    /// Its stored bytes.
    Opening,
}

/// An event that is like others.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Alike {
    /// When it is filed.
    pub filed_at: DateTime<Utc>,
    /// Its id.
    pub id: Uuid,
    /// What was read of it, if it has that.
    pub value: Option<String>,
    /// Its stored bytes, if they were read.
    pub opening: Option<Vec<u8>>,
}

/// Most of the answers to questions that are asked together: the newest events, and none without a value where one is read.
#[derive(Debug, Clone, Copy)]
pub struct Most(pub i64);

#[derive(sqlx::FromRow)]
struct Answer {
    at: i32,
    filed_at: DateTime<Utc>,
    id: Uuid,
    value: Option<String>,
    opening: Option<Vec<u8>>,
}

/// The answers to some questions about the same likenesses, in their order, each oldest first: one statement for each tenant,
/// however many questions there are.
///
/// Where an index knows the likeness, or little is wanted of each, it is looked for each by itself; otherwise the spans are
/// read once for all questions together.
///
/// # Errors
/// If the database refuses.
pub async fn alike(
    connection: &mut PgConnection,
    wanted: &Wanted<'_>,
    by: &[Likeness],
    questions: &[Question],
    reading: Reading,
    most: Most,
) -> Result<Vec<Vec<Alike>>, StoreError> {
    let mut answers = vec![Vec::new(); questions.len()];
    let mut by_tenant: BTreeMap<&str, Vec<(usize, &Question)>> = BTreeMap::new();
    for (at, question) in questions.iter().enumerate() {
        by_tenant.entry(&question.tenant).or_default().push((at, question));
    }
    for (tenant, asked) in by_tenant {
        let mut sql = alike_statement(wanted, by, (tenant, &asked), reading, most);
        let rows: Vec<Answer> =
            sql.build_query_as().fetch_all(&mut *connection).await.doing("looking for alike events")?;
        for Answer { at, filed_at, id, value, opening } in rows {
            let of = usize::try_from(at).ok().and_then(|at| answers.get_mut(at));
            of.ok_or(StoreError::Damaged("question"))?.push(Alike { filed_at, id, value, opening });
        }
    }
    Ok(answers)
}

/// The statement that answers a tenant's questions, each with its place.
fn alike_statement(
    wanted: &Wanted<'_>,
    by: &[Likeness],
    (tenant, asked): (&str, &[(usize, &Question)]),
    reading: Reading,
    Most(most): Most,
) -> QueryBuilder<Postgres> {
    let mut sql = QueryBuilder::<Postgres>::new("with asked as (select * from unnest(");
    push_questions(&mut sql, by.len(), asked);
    sql.push(") select at, filed_at, id, value, opening from ");
    let is_indexed = by.iter().any(|it| matches!(it, Likeness::Actor | Likeness::Entity));
    if is_indexed || most == 1 {
        sql.push("asked a cross join lateral (select filed_at, id, ");
        push_reading(&mut sql, reading);
        sql.push(" from events where tenant_id = ").push_bind(tenant.to_owned());
        sql.push(" and filed_at >= a.from_at and filed_at <= a.to_at");
        for (place, likeness) in by.iter().enumerate() {
            match likeness {
                // As the index has them; a type has no slash.
                Likeness::Entity => sql.push(format!(
                    " and entity_type = split_part(a.k{place}, '/', 1) \
                      and entity_id = substr(a.k{place}, strpos(a.k{place}, '/') + 1)"
                )),
                _ => sql.push(" and ").push(likeness.expression()).push(format!(" = a.k{place}")),
            };
        }
        push_wanted(&mut sql, wanted, reading);
        sql.push(" order by filed_at desc, id desc limit ").push_bind(most).push(") e");
    } else {
        sql.push("(select a.at, e.*, row_number() over (partition by a.at order by e.filed_at desc, e.id desc) as place from unnest(");
        push_spans(&mut sql, asked);
        sql.push(") s (from_at, to_at) cross join lateral (select filed_at, id, ");
        push_reading(&mut sql, reading);
        for (place, likeness) in by.iter().enumerate() {
            sql.push(", ").push(likeness.expression()).push(format!(" as k{place}"));
        }
        sql.push(" from events where tenant_id = ").push_bind(tenant.to_owned());
        sql.push(" and filed_at >= s.from_at and filed_at <= s.to_at");
        push_wanted(&mut sql, wanted, reading);
        sql.push(" offset 0) e join asked a on e.filed_at >= a.from_at and e.filed_at <= a.to_at");
        for place in 0..by.len() {
            sql.push(format!(" and a.k{place} = e.k{place}"));
        }
        sql.push(") counted where place <= ").push_bind(most);
    }
    sql.push(" order by at, filed_at, id");
    sql
}

fn push_questions(sql: &mut QueryBuilder<Postgres>, likenesses: usize, asked: &[(usize, &Question)]) {
    let places: Vec<i32> = asked.iter().map(|(at, _)| i32::try_from(*at).unwrap_or(i32::MAX)).collect();
    sql.push_bind(places).push("::int[], ");
    sql.push_bind(asked.iter().map(|(_, it)| it.span.0).collect::<Vec<_>>()).push("::timestamptz[], ");
    sql.push_bind(asked.iter().map(|(_, it)| it.span.1).collect::<Vec<_>>()).push("::timestamptz[]");
    for place in 0..likenesses {
        let values: Vec<Option<String>> = asked.iter().map(|(_, it)| it.key.get(place).cloned()).collect();
        sql.push(", ").push_bind(values).push("::text[]");
    }
    sql.push(") as asked (at, from_at, to_at");
    for place in 0..likenesses {
        sql.push(format!(", k{place}"));
    }
    sql.push(")");
}

/// The spans of the questions, those that meet as one.
fn push_spans(sql: &mut QueryBuilder<Postgres>, asked: &[(usize, &Question)]) {
    let (from, to): (Vec<_>, Vec<_>) = merged(asked).into_iter().unzip();
    sql.push_bind(from).push("::timestamptz[], ").push_bind(to).push("::timestamptz[]");
}

/// The spans of questions, of which no two meet.
fn merged(asked: &[(usize, &Question)]) -> Vec<Span> {
    let mut spans: Vec<_> = asked.iter().map(|(_, it)| it.span).collect();
    spans.sort_unstable();
    let mut merged: Vec<Span> = Vec::new();
    for (from, to) in spans {
        match merged.last_mut() {
            Some((_, end)) if from <= *end => *end = to.max(*end),
            _ => merged.push((from, to)),
        }
    }
    merged
}

fn push_reading(sql: &mut QueryBuilder<Postgres>, reading: Reading) {
    match reading {
        Reading::Nothing => sql.push("null::text as value, null::bytea as opening"),
        Reading::Value(likeness) => sql.push(likeness.expression()).push(" as value, null::bytea as opening"),
        Reading::Opening => sql.push("null::text as value, opening"),
    };
}

fn push_wanted(sql: &mut QueryBuilder<Postgres>, wanted: &Wanted<'_>, reading: Reading) {
    if let Reading::Value(likeness) = reading {
        sql.push(" and ").push(likeness.expression()).push(" is not null");
    }
    sql.push(" and ");
    wanted.push(sql);
}

/// Events of an hour that have some values in common.
#[derive(Debug, Clone, PartialEq, Eq, sqlx::FromRow)]
pub struct HourCount {
    /// The values.
    pub key: Vec<String>,
    /// When the hour begins.
    pub hour: DateTime<Utc>,
    /// How many.
    pub events: i64,
}

/// How many events of a tenant's lie in each hour of some spans, by what they have in common; none is no row.
///
/// # Errors
/// If the database refuses.
pub async fn hours(
    connection: &mut PgConnection,
    tenant: &str,
    wanted: &Wanted<'_>,
    by: &[Likeness],
    spans: &[(DateTime<Utc>, DateTime<Utc>)],
) -> Result<Vec<HourCount>, StoreError> {
    let (from, to): (Vec<_>, Vec<_>) = spans.iter().copied().unzip();
    let mut sql = QueryBuilder::<Postgres>::new("select key, hour, count(*) as events from unnest(");
    sql.push_bind(from).push("::timestamptz[], ").push_bind(to);
    sql.push("::timestamptz[]) s (from_at, to_at) cross join lateral (select array[");
    for (place, likeness) in by.iter().enumerate() {
        sql.push(if place > 0 { ", " } else { "" }).push(likeness.expression());
    }
    sql.push("]::text[] as key, date_trunc('hour', filed_at, 'UTC') as hour from events where tenant_id = ");
    sql.push_bind(tenant.to_owned()).push(" and filed_at >= s.from_at and filed_at < s.to_at and ");
    wanted.push(&mut sql);
    sql.push(") e where array_position(key, null) is null group by key, hour order by key, hour");
    sql.build_query_as().fetch_all(connection).await.doing("counting the events of hours")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_that_meet_are_read_once() {
        let at = |second| DateTime::from_timestamp(second, 0).expect("a time");
        let question =
            |from, to| Question { tenant: "a".to_owned(), key: Vec::new(), span: (at(from), at(to)) };
        let questions = [question(5, 9), question(0, 5), question(20, 30)];
        let asked: Vec<_> = questions.iter().enumerate().collect();
        assert_eq!(merged(&asked), [(at(0), at(9)), (at(20), at(30))]);
    }
}
