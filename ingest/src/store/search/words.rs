//! Words without a field: compared with openings here and not in the database, which takes seven times as long to make a text of
//! an opening as to send it.
//!
//! The window is looked through from its end, in parts that grow: what is frequent fills a page from the first ones. What is
//! left for what is rare is looked through on several connections. No part is sorted by the database or held as a whole.

use chrono::{DateTime, Utc};
use futures_util::TryStreamExt as _;
use memchr::memmem;
use shared::search::{Expr, Pattern, Query, Term};
use sqlx::{FromRow as _, Postgres, QueryBuilder, Row as _};
use tokio::task::JoinSet;

use super::condition::json_escaped;
use super::{Position, Scope, push_after};
use crate::store::events::StoredEvent;
use crate::store::{Doing as _, Store, StoreError};

/// Where the first parts of a window end, in 64ths of it.
const EDGES: [i32; 5] = [0, 1, 3, 7, 15];
const WHOLE: i32 = 64;
/// Connections on which the rest is looked through.
const SCANS: i32 = 4;

/// Words that an event must have, and the rest of a search.
#[derive(Debug, Clone)]
pub(super) struct Words {
    all: Vec<Needle>,
    rest: Scope,
}

/// One word or phrase: one of its spellings, each as the texts between its wildcards.
#[derive(Debug, Clone)]
struct Needle(Vec<Vec<memmem::Finder<'static>>>);

impl Needle {
    fn of(pattern: &Pattern) -> Self {
        let finders = |escape: fn(&str) -> String| {
            let parts = pattern.parts().iter();
            parts.map(|part| memmem::Finder::new(&escape(part).to_ascii_lowercase()).into_owned()).collect()
        };
        let mut spellings: Vec<Vec<_>> = vec![finders(str::to_owned), finders(json_escaped)];
        spellings.dedup_by(|one, other| {
            one.len() == other.len()
                && one.iter().zip(&*other).all(|(one, other)| one.needle() == other.needle())
        });
        Self(spellings)
    }

    fn is_in(&self, lower: &[u8]) -> bool {
        self.0.iter().any(|parts| {
            let mut rest = lower;
            parts.iter().all(|part| match part.find(rest) {
                Some(at) => {
                    rest = &rest[at + part.needle().len()..];
                    true
                }
                None => false,
            })
        })
    }
}

/// Where the texts of an opening begin: the random seed of a whole one is no text.
fn texts(opening: &[u8]) -> &[u8] {
    let skipped = if opening.first() == Some(&1) { 34 } else { 2 };
    opening.get(skipped..).unwrap_or_default()
}

impl Words {
    /// The words of a search; none if it has none, or one that need not occur.
    pub(super) fn of(scope: &Scope) -> Option<Self> {
        let (words, rest): (Vec<_>, Vec<_>) =
            scope.query.conjuncts().iter().partition(|expr| matches!(expr, Expr::Term(Term::Words(_))));
        let rest = Query::of(rest.into_iter().cloned().collect());
        if words.is_empty() || rest.mentions(|term| matches!(term, Term::Words(_))) {
            return None;
        }
        let needle = |expr: &Expr| match expr {
            Expr::Term(Term::Words(pattern)) => Some(Needle::of(pattern)),
            _ => None,
        };
        let all = words.into_iter().filter_map(needle).collect();
        Some(Self { all, rest: Scope { query: rest, ..scope.clone() } })
    }

    /// A page of events that have all of them, newest first, from behind a place on.
    ///
    /// # Errors
    /// If the database refuses.
    pub(super) async fn page(
        self,
        store: &Store,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let scope = &self.rest;
        let end = scope.to.unwrap_or_else(|| scope.now.to_utc());
        let end = after.map_or(end, |after| end.min(after.filed_at)).max(scope.from);
        let length = end - scope.from;
        let edge = |at: i32| if at == WHOLE { scope.from } else { end - length * at / WHOLE };
        let mut found = Vec::new();
        for pair in EDGES.windows(2) {
            let to = if pair[0] == 0 { scope.to } else { Some(edge(pair[0])) };
            let part = self.clone().scan(store.clone(), (edge(pair[1]), to), after, limit - found.len());
            found.extend(part.await?);
            if found.len() >= limit {
                return Ok(found);
            }
        }
        let first = EDGES[EDGES.len() - 1];
        let edges: Vec<i32> = (0..=SCANS).map(|at| first + (WHOLE - first) * at / SCANS).collect();
        let mut scans = JoinSet::new();
        for (at, pair) in edges.windows(2).enumerate() {
            let (store, words, limit) = (store.clone(), self.clone(), limit - found.len());
            let span = (edge(pair[1]), Some(edge(pair[0])));
            scans.spawn(async move { words.scan(store, span, after, limit).await.map(|page| (at, page)) });
        }
        let mut parts = Vec::new();
        while let Some(part) = scans.join_next().await {
            parts.push(part.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
        }
        parts.sort_unstable_by_key(|(at, _)| *at);
        found.extend(parts.into_iter().flat_map(|(_, page)| page));
        found.truncate(limit);
        Ok(found)
    }

    /// The newest events of a part of the window that have all of them.
    async fn scan(
        self,
        store: Store,
        (from, to): (DateTime<Utc>, Option<DateTime<Utc>>),
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let doing = "looking for words";
        let mut sql = QueryBuilder::<Postgres>::new(
            "select opening, id, filed_at, received_at,
                 case when get_byte(opening, 0) = 2 then actor_id end as pseudonym
             from events",
        );
        Scope { from, to, ..self.rest }.push(&mut sql);
        push_after(&mut sql, after);
        let mut rows = sql.build().fetch(store.pool());
        let (mut found, mut lower) = (Vec::<StoredEvent>::new(), Vec::new());
        while let Some(row) = rows.try_next().await.doing(doing)? {
            lower.clear();
            lower.extend_from_slice(texts(row.try_get(0).doing(doing)?));
            lower.make_ascii_lowercase();
            if self.all.iter().all(|needle| needle.is_in(&lower)) {
                found.push(StoredEvent::from_row(&row).doing(doing)?);
                if found.len() >= limit * 4 {
                    newest(&mut found, limit);
                }
            }
        }
        newest(&mut found, limit);
        Ok(found)
    }
}

fn newest(found: &mut Vec<StoredEvent>, limit: usize) {
    found.sort_unstable_by_key(|event| std::cmp::Reverse((event.filed_at, event.id)));
    found.truncate(limit);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_in(parts: &[&str], text: &[u8]) -> bool {
        let pattern = Pattern::of(parts.iter().map(|part| (*part).to_owned()).collect()).expect("a pattern");
        Needle::of(&pattern).is_in(&text.to_ascii_lowercase())
    }

    #[test]
    fn a_word_is_found_anywhere_in_any_case_of_its_letters_and_as_json_writes_it() {
        assert!(is_in(&["InVoice"], b"\xff an INVOICE\0"));
        assert!(is_in(&["inv", "bot"], b"the invoice bot"));
        assert!(!is_in(&["bot", "inv"], b"the invoice bot"));
        assert!(!is_in(&["aba", "ba"], b"caba"), "nothing is counted twice");
        assert!(is_in(&["say \"hi\""], br#"{"a":"Say \"Hi\""}"#));
        assert!(is_in(&["50%_"], b"at 50%_") && !is_in(&["50%_"], b"at 50xx"));
        assert!(is_in(&["Zo\u{eb}"], "zo\u{eb}".as_bytes()) && !is_in(&["Zo\u{cb}"], "zo\u{eb}".as_bytes()));
        assert!(!is_in(&["x"], b""));
    }

    #[test]
    fn the_seed_of_an_opening_is_no_text() {
        let mut opening = vec![1];
        opening.extend([b'7'; 32]);
        opening.extend(*b"\x01text");
        assert_eq!(texts(&opening), b"text");
        assert_eq!(texts(b"\x02\x01text"), b"text");
        assert_eq!((texts(b""), texts(b"\x01x")), (&b""[..], &b""[..]));
    }
}
