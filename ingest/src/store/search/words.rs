//! Words without a field: compared with openings here and not in the database, which takes longer to make a text of an opening than
//! to find and send it.
//!
//! The window is looked through from its end: what is frequent fills a page from the newest part. What is left for what is
//! rare is looked through on several connections. A month that has an index of words is asked by it, once a look at its newest
//! events has not filled the page.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering::Relaxed};

use chrono::{DateTime, TimeDelta, Utc};
use memchr::memmem;
use shared::search::{Expr, Pattern, Query, Term};
use sqlx::{PgConnection, Postgres, QueryBuilder};
use tokio::task::JoinSet;
use uuid::Uuid;

use super::bundle::{self, Bundle};
use super::chosen::{Choice, chosen};
use super::condition::json_escaped;
use super::{Position, Scope};
use crate::receive::rollup::COVERAGE_RECORDED;
use crate::store::events::{self, StoredEvent};
use crate::store::text_index::{self, Month, State};
use crate::store::{Doing as _, Store, StoreError};

/// Parts of a window: they are looked through together, the newest by itself before them unless its newest events have none. So many
/// that those who look through them end at the same time.
const PARTS: i32 = 33;
/// Connections on which parts are looked through together, the newest first; at most half of the pool.
const SCANS: u32 = 8;
/// Events that are looked at first: what is frequent is among them.
const FIRST_TOGETHER: usize = 500;
/// Events that are read at once: 5 MB of usual ones.
const TOGETHER: usize = 8_000;
/// Bundles of events that are looked at before an index is asked: in what has none of so many, no index finds many.
const PEEK: usize = 2;

/// Words that an event must have, and the rest of a search.
#[derive(Debug, Clone)]
pub(super) struct Words {
    all: Vec<Needle>,
    /// What an index can look for of them.
    choice: Option<Choice>,
    rest: Scope,
}

/// A part of a window; in the whole of it there is an index of words, or nowhere.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stretch {
    from: DateTime<Utc>,
    /// The newest event is at most so new, but for those that are filed ahead of time.
    end: DateTime<Utc>,
    /// What is filed then is not in it; none if all that follows is.
    to: Option<DateTime<Utc>>,
    month: Option<Month>,
}

impl Stretch {
    fn touches(&self, month: &Month) -> bool {
        let (start, end) = month.span();
        start < self.end && self.from < end
    }

    /// Its own stretches, newest first, by the months that have an index, oldest first.
    fn cut(self, months: &[Month]) -> Vec<Self> {
        let mut stretches = Vec::new();
        let mut rest = self;
        let mut take = |rest: &mut Self, from, month| {
            stretches.push(Self { from, month, ..*rest });
            (rest.end, rest.to) = (from, Some(from));
        };
        for month in months.iter().rev().filter(|month| self.touches(month)) {
            let (start, end) = month.span();
            if end < rest.end {
                take(&mut rest, end, None);
            }
            take(&mut rest, start.max(self.from), Some(*month));
        }
        if rest.from < rest.end || months.is_empty() {
            take(&mut rest, self.from, None);
        }
        stretches
    }
}

/// What a scan found, and behind which place it goes on if it stopped before the end of its part.
#[derive(Debug)]
struct Scanned {
    found: Vec<StoredEvent>,
    stopped_at: Option<Position>,
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

    /// Its spellings in small letters, each as the texts between its wildcards.
    fn spellings(&self) -> Vec<Vec<&[u8]>> {
        self.0.iter().map(|parts| parts.iter().map(memmem::Finder::needle).collect()).collect()
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
        let all: Vec<_> = words.into_iter().filter_map(needle).collect();
        let choice = Choice::of(all.iter().map(Needle::spellings));
        Some(Self { all, choice, rest: Scope { query: rest, ..scope.clone() } })
    }

    /// Whether an opening has all of them; `lower` is memory for its texts.
    fn are_in(&self, opening: &[u8], lower: &mut Vec<u8>) -> bool {
        lower.clear();
        lower.extend_from_slice(texts(opening));
        lower.make_ascii_lowercase();
        self.all.iter().all(|needle| needle.is_in(lower))
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
        // What is filed at the place itself may stand behind it.
        let end = if after.is_some() { end + TimeDelta::microseconds(1) } else { end };
        let window = Stretch { from: scope.from, end, to: scope.to, month: None };
        let mut found: Vec<StoredEvent> = Vec::new();
        let mut may_be_frequent = true;
        for stretch in window.cut(&self.indexed(store, &window).await?) {
            let wanted = limit - found.len();
            let more = match &stretch.month {
                Some(month) => {
                    let peek = std::mem::take(&mut may_be_frequent);
                    self.ask(store, month, &stretch, after, wanted, peek).await?
                }
                None => self.look_through(store, &stretch, after, wanted).await?,
            };
            found.extend(more);
            if found.len() >= limit {
                break;
            }
        }
        Ok(found)
    }

    /// Months of a window whose index can be asked for them, oldest first.
    async fn indexed(&self, store: &Store, window: &Stretch) -> Result<Vec<Month>, StoreError> {
        if self.choice.is_none() {
            return Ok(Vec::new());
        }
        let mut connection = store.pool().acquire().await.doing("looking for words")?;
        let mut months = text_index::months(&mut connection).await?;
        months.retain(|it| it.state == State::Ready && window.touches(it));
        Ok(months)
    }

    /// The newest events of a stretch that has an index, from behind a place on. With `peek` it is asked only if a look at the newest
    /// ones does not fill the page. What it does not answer is looked through.
    async fn ask(
        &self,
        store: &Store,
        month: &Month,
        stretch: &Stretch,
        mut after: Option<Position>,
        limit: usize,
        peek: bool,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let mut found = Vec::new();
        if peek {
            let part = (stretch.from, stretch.to);
            let scanned = self.scan(store, part, after, limit, PEEK).await?;
            found = scanned.found;
            match scanned.stopped_at {
                Some(place) if found.len() < limit => after = Some(place),
                _ => return Ok(found),
            }
        }
        let wanted = limit - found.len();
        let scope = Scope { from: stretch.from, to: stretch.to, ..self.rest.clone() };
        let answer = match &self.choice {
            Some(choice) => chosen(store, &scope, month, choice, after).await?,
            None => None,
        };
        let more = match answer {
            Some(mut events) => {
                let mut lower = Vec::new();
                events.retain(|event| self.are_in(&event.opening, &mut lower));
                events.truncate(wanted);
                events
            }
            None => self.look_through(store, stretch, after, wanted).await?,
        };
        found.extend(more);
        Ok(found)
    }

    /// The newest events of a stretch, from behind a place on, by looking at all of them.
    async fn look_through(
        &self,
        store: &Store,
        &Stretch { from, end, to, .. }: &Stretch,
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let part = (end - from) / PARTS;
        let edge = move |at: i32| if at == PARTS { from } else { end - part * at };
        let newest = (edge(1), to);
        let Scanned { mut found, stopped_at } = self.scan(store, newest, after, limit, PEEK).await?;
        let (first, after) = match stopped_at {
            // None in so many: the rest is looked through together, that of the newest part as well.
            Some(place) if found.is_empty() => (0, Some(place)),
            Some(place) => {
                let wanted = limit - found.len();
                found.extend(self.scan(store, newest, Some(place), wanted, usize::MAX).await?.found);
                (1, Some(place))
            }
            None => (1, after),
        };
        if found.len() >= limit {
            return Ok(found);
        }
        let (next, end) = (Arc::new(AtomicI32::new(first)), Arc::new(AtomicI32::new(PARTS)));
        let wanted = limit - found.len();
        let mut scans = JoinSet::new();
        for _ in 0..SCANS.min(store.pool().options().get_max_connections() / 2) {
            let (words, store, next, end) = (self.clone(), store.clone(), next.clone(), end.clone());
            scans.spawn(async move {
                let mut looked = Vec::new();
                loop {
                    let at = next.fetch_add(1, Relaxed);
                    if at >= end.load(Relaxed) {
                        return Ok::<_, StoreError>(looked);
                    }
                    let part = (edge(at + 1), if at == 0 { to } else { Some(edge(at)) });
                    let found = words.whole(&store, part, after, wanted).await?;
                    if found.len() >= wanted {
                        end.fetch_min(at + 1, Relaxed);
                    }
                    looked.push((at, found));
                }
            });
        }
        let mut parts = Vec::new();
        while let Some(looked) = scans.join_next().await {
            parts.extend(looked.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))?);
        }
        parts.sort_unstable_by_key(|(at, _)| *at);
        found.extend(parts.into_iter().flat_map(|(_, page)| page));
        found.truncate(limit);
        Ok(found)
    }

    /// The newest events of a part of the window that have all of them, where few have: the part is read to its end.
    async fn whole(
        &self,
        store: &Store,
        (from, to): (DateTime<Utc>, Option<DateTime<Utc>>),
        after: Option<Position>,
        limit: usize,
    ) -> Result<Vec<StoredEvent>, StoreError> {
        let scope = Scope { from, to, ..self.rest.clone() };
        if !scope.is_only_time() {
            return Ok(self.scan(store, (from, to), after, limit, usize::MAX).await?.found);
        }
        let (mut ids, mut lower) = (Vec::new(), Vec::new());
        let mut transaction = store.begin_in_order().await?;
        let take = |opening: &[u8]| {
            if ids.len() < limit && self.are_in(opening, &mut lower) {
                let event = events::read(opening).ok_or(StoreError::Damaged("event"))?;
                if event.action.as_str() != COVERAGE_RECORDED {
                    ids.push(event.id.uuid());
                }
            }
            Ok(())
        };
        bundle::each(&mut transaction, &scope, after, take).await?;
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        let found = those(&mut transaction, &scope, after, &ids).await?;
        if ids.len() == limit && found.len() < limit {
            // Some have gone before they were read, and what follows them was not looked at.
            return Ok(self.scan(store, (from, to), after, limit, usize::MAX).await?.found);
        }
        Ok(found)
    }

    /// The newest events of a part of the window that have all of them, among so many bundles.
    async fn scan(
        &self,
        store: &Store,
        (from, to): (DateTime<Utc>, Option<DateTime<Utc>>),
        mut after: Option<Position>,
        limit: usize,
        mut bundles: usize,
    ) -> Result<Scanned, StoreError> {
        let scope = Scope { from, to, ..self.rest.clone() };
        let (mut found, mut lower) = (Vec::new(), Vec::new());
        let mut size = FIRST_TOGETHER;
        let mut transaction = store.begin_in_order().await?;
        let mut bundle = Bundle::default();
        loop {
            bundle.read(&mut transaction, &scope, after, size).await?;
            let mut ids = Vec::new();
            for opening in bundle.openings() {
                if self.are_in(opening, &mut lower) {
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
                return Ok(Scanned { found, stopped_at: None });
            };
            if !ids.is_empty() {
                found.extend(
                    events::those(&mut transaction, scope.tenant.as_str(), &ids, (oldest.filed_at, to))
                        .await?,
                );
            }
            if found.len() >= limit || is_last && !is_full {
                return Ok(Scanned { found, stopped_at: None });
            }
            match found.last() {
                // What was found may have gone before it was read: the rest of this bundle was not looked through.
                Some(last) if is_full => after = Some(Position { filed_at: last.filed_at, id: last.id }),
                None if is_full => {}
                _ => {
                    after = Some(oldest);
                    bundles -= 1;
                    if bundles == 0 {
                        return Ok(Scanned { found, stopped_at: after });
                    }
                }
            }
            size = TOGETHER;
        }
    }
}

/// Events of a scope by their ids, newest first, from behind a place on.
async fn those(
    connection: &mut PgConnection,
    scope: &Scope,
    after: Option<Position>,
    ids: &[Uuid],
) -> Result<Vec<StoredEvent>, StoreError> {
    let mut sql = QueryBuilder::<Postgres>::new(super::PAGE);
    scope.push_behind(&mut sql, after);
    sql.push(" and id = any(").push_bind(ids).push(") order by filed_at desc, id desc");
    sql.build_query_as().fetch_all(connection).await.doing("looking for words")
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
    fn a_window_is_cut_where_months_with_an_index_begin_and_end() {
        let at = |text: &str| text.parse::<DateTime<Utc>>().expect("a time");
        let month = |text: &str| Month {
            month: text.parse().expect("a date"),
            state: State::Ready,
            bytes: 0,
            events: 0.0,
        };
        let (august, october) = (month("2026-08-01"), month("2026-10-01"));
        let cut = |from: &str, end: &str, months: &[Month]| {
            let window = Stretch { from: at(from), end: at(end), to: None, month: None };
            let cut = window.cut(months).into_iter().map(|it| (it.from, it.to, it.month.map(|it| it.month)));
            cut.collect::<Vec<_>>()
        };
        let (first, last) = ("2026-08-30T12:00:00Z", "2026-11-02T00:00:00Z");
        let edges = ["2026-11-01T00:00:00Z", "2026-10-01T00:00:00Z", "2026-09-01T00:00:00Z"].map(at);
        assert_eq!(
            cut(first, last, &[august, october]),
            [
                (edges[0], None, None),
                (edges[1], Some(edges[0]), Some(october.month)),
                (edges[2], Some(edges[1]), None),
                (at(first), Some(edges[2]), Some(august.month)),
            ]
        );
        let (first, last) = ("2026-10-05T00:00:00Z", "2026-10-06T00:00:00Z");
        assert_eq!(cut(first, last, &[august, october]), [(at(first), None, Some(october.month))]);
        assert_eq!(cut(first, last, &[]), [(at(first), None, None)]);
        assert_eq!(cut(first, first, &[]), [(at(first), None, None)], "what is filed ahead of time");
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
