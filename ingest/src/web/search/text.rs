//! The text of a search in its parts: what can be taken out of it, and what was not understood.

use shared::event::Timestamp;
use shared::search::{self, Diagnostic, Expr, Moment, Term, When};

use crate::web::url;

/// A condition, and the search without it.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::web) struct Chip {
    pub(in crate::web) text: String,
    pub(in crate::web) without: String,
}

/// A part of the text.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::web) struct Piece {
    pub(in crate::web) text: String,
    /// What is wrong with it, if anything is.
    pub(in crate::web) wrong: Option<String>,
}

pub(super) fn chips(q: &str, chips: &[search::Chip]) -> Vec<Chip> {
    chips
        .iter()
        .map(|chip| Chip {
            text: q.get(chip.start..chip.end).unwrap_or_default().to_owned(),
            without: url::search(&search::remove(q, &chip.expr)),
        })
        .collect()
}

/// The text cut where something was not understood.
pub(super) fn pieces(q: &str, diagnostics: &[Diagnostic]) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut done = 0;
    let mut push = |text: Option<&str>, wrong: Option<String>| match text {
        Some(text) if !text.is_empty() => pieces.push(Piece { text: text.to_owned(), wrong }),
        _ => {}
    };
    for told in diagnostics {
        let start = told.start.max(done);
        push(q.get(done..start), None);
        push(q.get(start..told.end), Some(told.message.clone()));
        done = told.end.max(start);
    }
    push(q.get(done..), None);
    pieces
}

/// The search without its times.
pub(in crate::web) fn timeless(q: &str) -> String {
    let timed =
        search::parse(q).chips.into_iter().filter(|chip| matches!(chip.expr, Expr::Term(Term::When(_))));
    timed.fold(q.to_owned(), |text, chip| search::remove(&text, &chip.expr))
}

/// The search over the last so long.
pub(super) fn within(q: &str, last: &str) -> String {
    let text = timeless(q);
    let space = if text.is_empty() { "" } else { " " };
    format!("{text}{space}last:{last}")
}

/// The search between two times.
pub(in crate::web) fn between(q: &str, from: Timestamp, to: Timestamp) -> String {
    let after = Expr::Term(Term::When(When::After(Moment::At(from))));
    let before = Expr::Term(Term::When(When::Before(Moment::At(to))));
    search::add(&search::add(&timeless(q), &after), &before)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(millis: u64) -> Timestamp {
        Timestamp::try_from(millis).expect("a time")
    }

    #[test]
    fn a_window_takes_the_place_of_another() {
        assert_eq!(within("last:7d is:failed", "24h"), "is:failed last:24h");
        assert_eq!(within("", "24h"), "last:24h");
        let q = between("after:2026-01-01 is:failed", at(1_795_400_000_000), at(1_795_400_060_000));
        assert_eq!(timeless(&q), "is:failed");
        assert_eq!(search::parse(&q).chips.len(), 3, "{q}");
    }

    #[test]
    fn what_was_not_understood_stands_in_its_place() {
        let q = "colour:red is:failed";
        let told = search::parse(q).diagnostics;
        let pieces = pieces(q, &told);
        let texts: String = pieces.iter().map(|piece| piece.text.as_str()).collect();
        assert_eq!(texts, q);
        assert_eq!(pieces.iter().filter(|piece| piece.wrong.is_some()).count(), told.len());
        assert!(!told.is_empty());
    }
}
