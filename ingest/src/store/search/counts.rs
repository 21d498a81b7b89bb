//! What a search adds up to: over time, and by the values of its fields.
//!
//! A search that names nothing but a time is answered from sums ([`crate::tally`]), as far as they go: hours in which a window
//! or a bucket begins, and hours whose events changed, are counted from the events, in the same snapshot.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};
use shared::search::Term;
use sqlx::{Executor as _, PgConnection, Postgres, QueryBuilder};

use super::Scope;
use crate::receive::rollup::COVERAGE_RECORDED;
use crate::store::tallies::{self, Span, Sum};
use crate::store::{Doing as _, Store, StoreError, commit};
use crate::tally::combination::{self, COMBINED, Combination};
use crate::tally::follow::{floored, hour_from};
use crate::tally::{DAY_MS, HOUR_MS, Kind, Tally, of_cell};

/// Later than every event: they are filed five minutes ahead at most.
const END_OF_TIME: DateTime<Utc> = DateTime::from_timestamp(253_402_300_799, 0).expect("the year 9999");

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

    /// What stands for it in a tally.
    pub fn code(self) -> u8 {
        match self {
            Self::Action => 1,
            Self::Actor => 2,
            Self::Entity => 3,
            Self::Severity => 4,
            Self::Outcome => 5,
            Self::Trust => 6,
            Self::Country => 7,
            Self::Host => 8,
            Self::Method => 9,
            Self::Route => 10,
            Self::Rule => 11,
            Self::Status => 12,
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

/// Counts in buckets of some milliseconds from the scope's beginning on.
///
/// # Errors
/// If the database refuses.
pub async fn histogram(store: &Store, scope: &Scope, width_ms: i64) -> Result<Vec<Cell>, StoreError> {
    let width_ms = width_ms.max(1);
    let Some(to) = scope.to.filter(|to| scope.is_only_time() && *to > scope.from) else {
        let mut sql = QueryBuilder::<Postgres>::new("select div(extract(epoch from filed_at - ");
        sql.push_bind(scope.from).push(") * 1000, ").push_bind(width_ms);
        sql.push(")::bigint as bucket, outcome, severity, count(*) as count from events");
        scope.push(&mut sql);
        sql.push(" group by 1, 2, 3 order by 1, 2, 3");
        return sql.build_query_as().fetch_all(store.pool()).await.doing("counting events over time");
    };
    let mut transaction = tallies::begin(store).await?;
    let tenant = scope.tenant.as_str();
    // An hour tells of a bucket if it lies in it as a whole.
    let mut cuts = vec![];
    let mut edge = scope.from;
    while edge < to {
        cuts.push(edge);
        edge += TimeDelta::milliseconds(width_ms);
    }
    cuts.push(to);
    let cut = cuts.iter().filter(|at| hour_from(**at) != **at);
    let cut = cut.map(|at| (floored(*at, HOUR_MS), hour_from(*at)));
    let whole = (hour_from(scope.from), floored(to, HOUR_MS));
    let stale = tallies::stale_within(&mut transaction, tenant, (scope.from, to)).await?;
    let from_events = joined(cut.chain(stale).collect(), (scope.from, to));
    let from_sums = without((scope.from, to), &from_events);
    let mut sums = tallies::hours(&mut transaction, tenant, Kind::Outcomes, &from_sums).await?;
    let deltas = tallies::deltas(&mut transaction, tenant, Kind::Outcomes, whole).await?;
    sums.extend(deltas.into_iter().filter(|delta| is_in(&from_sums, delta.start)));
    let mut cells = counted_cells(&mut transaction, scope, &from_events, width_ms).await?;
    commit(transaction).await?;

    for sum in &sums {
        let bucket = (sum.start - scope.from).num_milliseconds() / width_ms;
        let mut tally = Tally::default();
        tally.add_encoded(&sum.counts).ok_or(StoreError::Damaged("tally"))?;
        for (_, value, count) in tally.iter() {
            let (outcome, severity) = value.and_then(of_cell).ok_or(StoreError::Damaged("tally"))?;
            let count = i64::try_from(count.events).unwrap_or(i64::MAX);
            cells.push(Cell { bucket, outcome, severity, count });
        }
    }
    Ok(added(cells))
}

/// Each bucket, outcome and severity once, in their order.
fn added(mut cells: Vec<Cell>) -> Vec<Cell> {
    let key = |cell: &Cell| (cell.bucket, cell.outcome, cell.severity);
    cells.sort_unstable_by_key(key);
    let mut all: Vec<Cell> = Vec::new();
    for cell in cells {
        match all.last_mut() {
            Some(last) if key(last) == key(&cell) => last.count += cell.count,
            _ => all.push(cell),
        }
    }
    all
}

/// The same from the events of some spans.
async fn counted_cells(
    connection: &mut PgConnection,
    scope: &Scope,
    spans: &[Span],
    width_ms: i64,
) -> Result<Vec<Cell>, StoreError> {
    let mut cells = Vec::new();
    // Each span is a range of the index; all of them in one statement are planned as a look at the whole window.
    for (from, to) in spans {
        let mut sql = QueryBuilder::<Postgres>::new("select div(extract(epoch from filed_at - ");
        sql.push_bind(scope.from).push(") * 1000, ").push_bind(width_ms);
        sql.push(")::bigint as bucket, outcome, severity, count(*) as count from events where tenant_id = ");
        sql.push_bind(scope.tenant.clone()).push(" and action <> ").push_bind(COVERAGE_RECORDED);
        sql.push(" and filed_at >= ").push_bind(*from).push(" and filed_at < ").push_bind(*to);
        sql.push(" group by 1, 2, 3");
        let counted = sql.build_query_as::<Cell>().fetch_all(&mut *connection).await;
        cells.extend(counted.doing("counting events over time")?);
    }
    Ok(cells)
}

/// The most frequent values of some fields, and the sum of all events. The events are read once, if at all.
///
/// # Errors
/// If the database refuses.
pub async fn facets(
    store: &Store,
    scope: &Scope,
    fields: &[FacetField],
    top: i64,
) -> Result<Vec<FacetRow>, StoreError> {
    if scope.is_only_time() {
        return facets_of_time(store, scope, fields, top).await;
    }
    if combination::is_enough_for(&scope.query)
        && let Some(rows) = facets_of_combinations(store, scope, fields, top).await?
    {
        return Ok(rows);
    }
    // Few combinations of the other values occur, so that they are counted once and added up; people are many. Where each
    // look at an event is dear, each is looked at once.
    let reads_openings =
        scope.query.mentions(|term| matches!(term, Term::Words(_) | Term::Has(_) | Term::Is(_)));
    let mut sql = QueryBuilder::<Postgres>::new("with ");
    if reads_openings {
        sql.push("base as materialized (select action, actor_id, actor_email, entity_type, severity, outcome, trust,");
        sql.push(" country, host, method, route, rule, status from events");
        scope.push(&mut sql);
        sql.push("), ");
    }
    let source = |sql: &mut QueryBuilder<Postgres>| {
        if reads_openings {
            sql.push(" from base");
        } else {
            sql.push(" from events");
            scope.push(sql);
        }
    };
    let combined: Vec<FacetField> = fields.iter().copied().filter(|it| *it != FacetField::Actor).collect();
    sql.push("combined as materialized (select count(*) as events");
    for field in &combined {
        sql.push(", ").push(field.column()).push(" as of_").push(field.name());
    }
    source(&mut sql);
    for (at, field) in combined.iter().enumerate() {
        sql.push(if at == 0 { " group by " } else { ", " }).push(field.column());
    }
    sql.push(") select '' as field, null::text as value, null::text as label,");
    sql.push(" coalesce(sum(events), 0)::bigint as count from combined");
    for field in fields {
        sql.push(" union all (select ").push_bind(field.name());
        if *field == FacetField::Actor {
            sql.push("::text, actor_id, max(actor_email), count(*)");
            source(&mut sql);
            sql.push(" group by actor_id");
        } else {
            let name = field.name();
            sql.push("::text, of_")
                .push(name)
                .push("::text, null::text, sum(events)::bigint from combined group by of_");
            sql.push(name);
        }
        sql.push(" order by 4 desc, 2 limit ").push_bind(top).push(")");
    }
    let doing = "counting values";
    let mut transaction = store.begin().await?;
    // Hashed, not sorted in files.
    transaction.execute("set local work_mem = '64MB'").await.doing(doing)?;
    let rows = sql.build_query_as().fetch_all(&mut *transaction).await.doing(doing)?;
    commit(transaction).await?;
    Ok(rows)
}

/// The same where no event needs to be looked at for what it is, but for when.
async fn facets_of_time(
    store: &Store,
    scope: &Scope,
    fields: &[FacetField],
    top: i64,
) -> Result<Vec<FacetRow>, StoreError> {
    let mut transaction = tallies::begin(store).await?;
    let summed = Summed::read(&mut transaction, scope, Kind::Values).await?;
    commit(transaction).await?;
    Ok(most_frequent(&summed.tally()?, fields, usize::try_from(top).unwrap_or(0)))
}

/// The same where the search names nothing but what is summed up in combinations: only people are counted in the events. None
/// where a combination cannot be read.
async fn facets_of_combinations(
    store: &Store,
    scope: &Scope,
    fields: &[FacetField],
    top: i64,
) -> Result<Option<Vec<FacetRow>>, StoreError> {
    let doing = "counting values";
    let mut transaction = tallies::begin(store).await?;
    let summed = Summed::read(&mut transaction, scope, Kind::Combinations).await?;
    let people = if fields.contains(&FacetField::Actor) {
        // Hashed, not sorted in files.
        transaction.execute("set local work_mem = '64MB'").await.doing(doing)?;
        people(&mut transaction, scope, top).await.doing(doing)?
    } else {
        Vec::new()
    };
    commit(transaction).await?;

    let combined = summed.tally()?;
    let mut tally = Tally::default();
    for (_, text, count) in combined.iter() {
        let Some(values) = text.and_then(Combination::read) else { return Ok(None) };
        if values.is_found_by(&scope.query) {
            for field in COMBINED {
                tally.add(field.code(), values.facet(field), None, count.events);
            }
        }
    }
    let others: Vec<FacetField> = fields.iter().copied().filter(|it| *it != FacetField::Actor).collect();
    let mut rows = most_frequent(&tally, &others, usize::try_from(top).unwrap_or(0));
    rows.extend(people);
    Ok(Some(rows))
}

/// The most frequent actors of what a search finds, each with the newest of its addresses: to look for an address in every
/// event takes as long again as half of the counting.
async fn people(
    connection: &mut PgConnection,
    scope: &Scope,
    top: i64,
) -> Result<Vec<FacetRow>, sqlx::Error> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "select most.field, most.value, newest.actor_email as label, most.count from (select ",
    );
    sql.push_bind(FacetField::Actor.name());
    sql.push("::text as field, actor_id as value, count(*) as count from events");
    scope.push(&mut sql);
    sql.push(" group by actor_id order by 3 desc, 2 limit ").push_bind(top);
    sql.push(") most left join lateral (select actor_email from events");
    scope.push(&mut sql);
    sql.push(
        " and actor_id = most.value and actor_email is not null order by filed_at desc, id desc limit 1) newest on true
         order by most.count desc, most.value",
    );
    sql.build_query_as().fetch_all(connection).await
}

/// What a window adds up to: sums of its days and hours, and what of it was counted.
#[derive(Debug)]
struct Summed {
    kind: Kind,
    sums: Vec<Sum>,
    counted: Vec<Counted>,
}

impl Summed {
    /// Reads a kind of sums of a scope's window, and counts where a sum cannot tell.
    async fn read(connection: &mut PgConnection, scope: &Scope, kind: Kind) -> Result<Self, StoreError> {
        let tenant = scope.tenant.as_str();
        let window = (scope.from, scope.to.unwrap_or(END_OF_TIME).max(scope.from));
        let whole = (hour_from(window.0), floored(window.1, HOUR_MS));
        let mut from_events = tallies::stale_within(connection, tenant, window).await?;
        if whole.0 < whole.1 {
            from_events.push((window.0, whole.0));
            from_events.extend(scope.to.map(|to| (whole.1, to)));
        } else {
            from_events.push(window);
        }
        let from_events = joined(from_events, window);
        let from_sums = without(window, &from_events);
        let mut sums = tallies::days(connection, tenant, kind, whole).await?;
        sums.retain(|day| from_sums.iter().any(|span| span.0 <= day.start && day_end(day) <= span.1));
        let days = joined(sums.iter().map(|day| (day.start, day_end(day))).collect(), window);
        let by_hour: Vec<Span> = from_sums.iter().flat_map(|span| without(*span, &days)).collect();
        sums.extend(tallies::hours(connection, tenant, kind, &by_hour).await?);
        let deltas = tallies::deltas(connection, tenant, kind, whole).await?;
        sums.extend(deltas.into_iter().filter(|delta| is_in(&from_sums, delta.start)));
        let mut counted = Vec::new();
        for (from, to) in from_events {
            counted.extend(counted_apart(connection, tenant, from, to).await?);
        }
        Ok(Self { kind, sums, counted })
    }

    fn tally(&self) -> Result<Tally<'_>, StoreError> {
        let mut tally = Tally::default();
        for sum in &self.sums {
            tally.add_encoded(&sum.counts).ok_or(StoreError::Damaged("tally"))?;
        }
        for one in self.counted.iter().filter(|one| one.kind == self.kind) {
            let (value, label) = (one.value.as_deref(), one.label.as_deref());
            tally.add(one.field, value.map(Cow::Borrowed), label.map(Cow::Borrowed), one.events);
        }
        Ok(tally)
    }
}

fn day_end(day: &Sum) -> DateTime<Utc> {
    day.start + TimeDelta::milliseconds(DAY_MS)
}

/// The first values of each field, the most frequent first, and the sum of all.
fn most_frequent(tally: &Tally<'_>, fields: &[FacetField], top: usize) -> Vec<FacetRow> {
    let number = |events: u64| i64::try_from(events).unwrap_or(i64::MAX);
    // Every event has an action.
    let all = tally.iter().filter(|(field, _, _)| *field == FacetField::Action.code());
    let total = all.map(|(_, _, count)| count.events).sum();
    let mut rows = vec![FacetRow { field: String::new(), value: None, label: None, count: number(total) }];
    for field in fields {
        let mut values: Vec<_> = tally.iter().filter(|(code, _, _)| *code == field.code()).collect();
        // Those without a value come last among equals, as they do in the database.
        values.sort_unstable_by_key(|(_, value, count)| {
            (std::cmp::Reverse(count.events), value.is_none(), *value)
        });
        rows.extend(values.into_iter().take(top).map(|(_, value, count)| FacetRow {
            field: field.name().to_owned(),
            value: value.map(str::to_owned),
            label: count.label.as_deref().map(str::to_owned),
            count: number(count.events),
        }));
    }
    rows
}

/// Events of an hour that have a value.
#[derive(Debug)]
pub struct Counted {
    /// What is counted.
    pub kind: Kind,
    /// The hour.
    pub hour: DateTime<Utc>,
    /// The field, as tallies name it.
    pub field: u8,
    /// The value.
    pub value: Option<String>,
    /// Its label.
    pub label: Option<String>,
    /// How many.
    pub events: u64,
}

type CountedRow = (i16, DateTime<Utc>, i16, Option<String>, Option<String>, i64);

/// What a tenant's events of a span add up to, counted one by one, each hour for itself: what a tally must say.
///
/// # Errors
/// If the database refuses.
pub async fn counted_apart(
    connection: &mut PgConnection,
    tenant: &str,
    from: DateTime<Utc>,
    to: DateTime<Utc>,
) -> Result<Vec<Counted>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(
        "with base as materialized (select date_trunc('hour', filed_at, 'UTC') as hour, action, actor_id, actor_email,
             entity_type, severity, outcome, trust, country, host, method, route, rule, status, action <> ",
    );
    sql.push_bind(COVERAGE_RECORDED).push(" as is_listed from events where tenant_id = ");
    sql.push_bind(tenant).push(" and filed_at >= ").push_bind(from);
    sql.push(" and filed_at < ").push_bind(to).push(
        ") select 0::smallint as kind, hour, 0::smallint as field, outcome || ' ' || severity as value,
              null::text as label, count(*) as events from base where is_listed group by hour, outcome, severity",
    );
    for field in FacetField::ALL {
        let column = field.column();
        sql.push(" union all select 1::smallint, hour, ").push(i16::from(field.code())).push("::smallint, (");
        sql.push(column).push(")::text, ").push(match field {
            FacetField::Actor => "max(actor_email)",
            _ => "null::text",
        });
        sql.push(", count(*) from base where is_listed group by hour, ").push(column);
    }
    sql.push(" union all select 2::smallint, hour, 0::smallint, ");
    for (at, field) in COMBINED.into_iter().enumerate() {
        let column = if field == FacetField::Status { "status" } else { field.column() };
        sql.push(if at > 0 { " || chr(31) || " } else { "" });
        sql.push("coalesce('=' || ").push(column).push(", '')");
    }
    sql.push(", null::text, count(*) from base group by hour, 4");
    let rows: Vec<CountedRow> =
        sql.build_query_as().fetch_all(connection).await.doing("counting values by hour")?;
    let read = |(kind, hour, field, value, label, events): CountedRow| {
        Some(Counted {
            kind: Kind::ALL.into_iter().find(|known| known.code() == kind)?,
            hour,
            field: u8::try_from(field).ok()?,
            value,
            label,
            events: u64::try_from(events).ok()?,
        })
    };
    Ok(rows.into_iter().filter_map(read).collect())
}

/// Spans in their order, without overlap, cut at the ends of another.
fn joined(mut spans: Vec<Span>, within: Span) -> Vec<Span> {
    spans.sort_unstable();
    let mut all: Vec<Span> = Vec::new();
    for (from, to) in spans {
        let (from, to) = (from.max(within.0), to.min(within.1));
        match all.last_mut() {
            Some(last) if from <= last.1 => last.1 = last.1.max(to),
            _ if from < to => all.push((from, to)),
            _ => {}
        }
    }
    all
}

/// What is left of a span without others, which are in their order and do not overlap.
fn without(span: Span, others: &[Span]) -> Vec<Span> {
    let mut left = Vec::new();
    let mut from = span.0;
    for (begin, end) in others {
        if *begin > from {
            left.push((from, (*begin).min(span.1)));
        }
        from = from.max(*end);
        if from >= span.1 {
            return left;
        }
    }
    left.push((from, span.1));
    left.retain(|(from, to)| from < to);
    left
}

fn is_in(spans: &[Span], at: DateTime<Utc>) -> bool {
    spans.iter().any(|(from, to)| *from <= at && at < *to)
}
