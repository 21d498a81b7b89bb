//! Words without a field: compared with openings here and not in the database, which takes seven times as long to make a text of
//! an opening as to send it.
//!
//! The window is looked through from its end: what is frequent fills a page from the newest part. What is left for what is
//! rare is looked through on several connections.

use chrono::{DateTime, Utc};
use memchr::memmem;
use shared::search::{Expr, Pattern, Query, Term};
use tokio::task::JoinSet;

use super::bundle::Bundle;
use super::condition::json_escaped;
use super::{Position, Scope};
use crate::store::events::{self, StoredEvent};
use crate::store::{Store, StoreError};

/// Parts of a window: the newest is looked through by itself, the others together.
const PARTS: i32 = 9;
/// Connections on which the others are looked through.
const SCANS: i32 = 4;
/// Events that are looked at first: what is frequent is among them.
const FIRST_TOGETHER: usize = 500;
/// Events that are read at once: 5 MB of usual ones.
const TOGETHER: usize = 8_000;

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
        let part = (end - scope.from) / PARTS;
        let edge = |at: i32| if at == PARTS { scope.from } else { end - part * at };
        let newest = (edge(1), scope.to);
        let mut found = self.clone().scan(store.clone(), newest, after, limit).await?;
        if found.len() >= limit {
            return Ok(found);
        }
        let mut scans = JoinSet::new();
        for at in 0..SCANS {
            let (first, last) = (1 + (PARTS - 1) * at / SCANS, 1 + (PARTS - 1) * (at + 1) / SCANS);
            let scan =
                self.clone().scan(store.clone(), (edge(last), Some(edge(first))), after, limit - found.len());
            scans.spawn(async move { scan.await.map(|page| (at, page)) });
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
        mut after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let scope = Scope { from, to, ..self.rest.clone() };
        let (mut found, mut lower) = (Vec::new(), Vec::new());
        let mut size = FIRST_TOGETHER;
        let mut transaction = store.begin_in_order().await?;
        let mut bundle = Bundle::default();
        loop {
            bundle.read(&mut transaction, &scope, after, size).await?;
            let mut ids = Vec::new();
            for opening in bundle.openings() {
                lower.clear();
                lower.extend_from_slice(texts(opening));
                lower.make_ascii_lowercase();
                if self.all.iter().all(|needle| needle.is_in(&lower)) {
                    let event = events::read(opening).ok_or(StoreError::Damaged("event"))?;
                    ids.push(event.id.uuid());
                    if found.len() + ids.len() >= limit {
                        break;
                    }
                }
            }
            let is_last = bundle.count() < size;
            let is_full = found.len() + ids.len() >= limit;
            let Some(oldest) = bundle.oldest(&mut transaction, &scope, after).await? else {
                return Ok(found);
            };
            if !ids.is_empty() {
                found.extend(
                    events::those(&mut transaction, scope.tenant.as_str(), &ids, (oldest.filed_at, to))
                        .await?,
                );
            }
            if found.len() >= limit || is_last && !is_full {
                return Ok(found);
            }
            match found.last() {
                // What was found may have gone before it was read: the rest of this bundle was not looked through.
                Some(last) if is_full => after = Some(Position { filed_at: last.filed_at, id: last.id }),
                None if is_full => {}
                _ => after = Some(oldest),
            }
            size = TOGETHER;
        }
    }
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
