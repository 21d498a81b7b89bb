//! Events of a month that its index of words chooses ([`text_index`]). It says which may have the words, and the comparison of
//! [`super::words`] decides.
//!
//! An index answers fast what is rare. What it has too much of, or what it takes too long for, is looked through instead: for
//! what is frequent that is the shorter way.

use std::time::Duration;

use sqlx::postgres::PgRow;
use sqlx::{Executor as _, FromRow as _, Postgres, QueryBuilder, Row as _};

use super::condition::{byte_escaped, like_escaped};
use super::{Position, Scope};
use crate::store::events::StoredEvent;
use crate::store::text_index::{Month, TEXT};
use crate::store::{Doing as _, Store, StoreError, roll_back};

/// Events of all tenants that an index may choose in a month.
const MOST: i64 = 2_000;
/// What an index may take, and how much more for each event of its month: a fraction of what looking through it takes.
const PATIENCE: Duration = Duration::from_millis(200);
const PATIENCE_EACH: Duration = Duration::from_nanos(200);
/// Letters or digits in a row that the index knows.
const RUN: usize = 3;

/// Words that an index can look for, each as patterns of LIKE of which one must match.
#[derive(Debug, Clone)]
pub(super) struct Choice(Vec<Vec<String>>);

impl Choice {
    /// Those of some words that an index can look for: each as its spellings, and these as the texts between wildcards, in small
    /// letters. None if there is no such word.
    pub(super) fn of<'a>(words: impl Iterator<Item = Vec<Vec<&'a [u8]>>>) -> Option<Self> {
        let known = words.filter_map(|spellings| spellings.iter().map(|parts| pattern(parts)).collect());
        let known: Vec<_> = known.collect();
        (!known.is_empty()).then_some(Self(known))
    }

    fn push(&self, sql: &mut QueryBuilder<Postgres>) {
        for spellings in &self.0 {
            for (at, pattern) in spellings.iter().enumerate() {
                sql.push(if at == 0 { " and (" } else { " or " }).push(TEXT).push(" like ");
                sql.push_bind(pattern.clone());
            }
            sql.push(")");
        }
    }
}

/// A pattern over what is indexed; none if no part of it has a run that the index knows.
fn pattern(parts: &[&[u8]]) -> Option<String> {
    let escaped: Vec<_> = parts.iter().map(|part| byte_escaped(part)).collect();
    let has_run =
        |text: &String| text.split(|sign: char| !sign.is_ascii_alphanumeric()).any(|run| run.len() >= RUN);
    let inner = || escaped.iter().map(|part| like_escaped(part)).collect::<Vec<_>>().join("%");
    escaped.iter().any(has_run).then(|| format!("%{}%", inner()))
}

/// What a month's index chooses of a scope, newest first, from behind a place on; none if that is too much, or takes too long.
///
/// # Errors
/// If the database refuses.
pub(super) async fn chosen(
    store: &Store,
    scope: &Scope,
    month: &Month,
    choice: &Choice,
    after: Option<Position>,
) -> Result<Option<Vec<StoredEvent>>, StoreError> {
    let doing = "asking an index of words";
    let patience = PATIENCE + PATIENCE_EACH.saturating_mul(month.events as u32);
    let mut transaction = store.begin().await?;
    // What is left of ways to read a month is its index of words.
    let settings = format!(
        "set local enable_seqscan = off; set local enable_indexscan = off; set local statement_timeout = {}",
        patience.as_millis()
    );
    transaction.execute(sqlx::AssertSqlSafe(settings)).await.doing(doing)?;
    let (start, end) = month.span();
    // The times stand in the statement: other months are left out before there is a plan. They are all that is asked beside the
    // words, or another index would seem the better way.
    let mut sql = QueryBuilder::<Postgres>::new(format!(
        "with events as materialized (
             select * from events where filed_at >= '{}' and filed_at < '{}'",
        start.to_rfc3339(),
        end.to_rfc3339()
    ));
    choice.push(&mut sql);
    sql.push(" limit ").push_bind(MOST + 1);
    sql.push(
        ") select (select count(*) from events) as chosen, found.* from (select 1) one left join lateral (
             select id, filed_at, received_at, opening, case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
             from events",
    );
    scope.push_behind(&mut sql, after);
    sql.push(") found on true order by found.filed_at desc, found.id desc");
    // Planned for these words: a plan for any words may be another one.
    let asked = sql.build().persistent(false).fetch_all(&mut *transaction).await.doing(doing);
    roll_back(transaction).await?;
    let rows = match asked {
        Err(error) if error.code().as_deref() == Some("57014") => return Ok(None),
        asked => asked?,
    };
    let event = |row: &PgRow| match row.try_get::<Option<uuid::Uuid>, _>("id") {
        Ok(None) => None,
        Ok(Some(_)) => Some(StoredEvent::from_row(row)),
        Err(error) => Some(Err(error)),
    };
    let is_too_many = match rows.first() {
        Some(row) => row.try_get::<i64, _>("chosen").doing(doing)? > MOST,
        None => false,
    };
    if is_too_many {
        return Ok(None);
    }
    rows.iter().filter_map(event).collect::<Result<_, _>>().doing(doing).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pattern_is_of_what_is_indexed_and_only_where_the_index_knows_a_run_of_it() {
        let of = |parts: &[&str]| pattern(&parts.iter().map(|part| part.as_bytes()).collect::<Vec<_>>());
        assert_eq!(of(&["invoice"]).as_deref(), Some("%invoice%"));
        assert_eq!(of(&["inv", "", "50%_"]).as_deref(), Some(r"%inv%%50\%\_%"));
        assert_eq!(of(&["m\u{fc}ller\\"]).as_deref(), Some(r"%m\\303\\274ller\\\\%"));
        assert_eq!(of(&["ab", "cd"]), None, "no run of three");
        assert_eq!(of(&["a_b-c d"]), None);
        assert_eq!(of(&["", ""]), None);
    }

    #[test]
    fn a_word_of_which_one_spelling_is_too_short_is_not_asked_for() {
        let words = vec![vec![vec![&b"abc"[..]], vec![&b"ab"[..]]], vec![vec![&b"whole"[..]]]];
        let choice = Choice::of(words.into_iter()).expect("one is known");
        assert_eq!(choice.0, [["%whole%"]]);
        assert!(Choice::of([vec![vec![&b"ab"[..]]]].into_iter()).is_none());
    }
}
