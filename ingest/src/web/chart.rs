//! Counts over time as bars, each of which leads to its time, with their numbers as a table.

use askama::Template;
use askama::filters::HtmlSafe;
use serde::Deserialize;
use serde_json::Value;
use shared::event::{Outcome, Severity, Timestamp};
use shared::search::{self, Expr, OneOf, Range, Term};

use super::search::{between, timeless};
use super::url;

/// Height of the drawing, in its own units.
const HEIGHT: f64 = 100.0;
/// Of what is there at all, so that one event among thousands is seen.
const LEAST: f64 = 2.0;

/// What a bar is cut into, from the bottom up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Split {
    Outcome,
    Severity,
}

/// A chart of a search's events.
#[derive(Debug, Template)]
#[template(path = "chart.html")]
pub(super) struct Chart {
    /// What it is of; a chart with a title shows its numbers as well.
    title: Option<&'static str>,
    keys: Vec<Key>,
    bars: Vec<Bar>,
    total: i64,
    all: String,
    most: i64,
    from: String,
    to: String,
    /// The search without times, to which a brush adds some.
    timeless: String,
}

impl HtmlSafe for Chart {}

/// A kind of events: the word for it and its colour.
#[derive(Debug)]
struct Key {
    word: &'static str,
    total: i64,
    url: String,
}

#[derive(Debug)]
struct Bar {
    at: usize,
    from: String,
    to: String,
    count: i64,
    url: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
struct Part {
    word: &'static str,
    count: i64,
    y: f64,
    height: f64,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    from: String,
    to: String,
    count: i64,
    outcome: Value,
    severity: Value,
}

impl Split {
    /// The kinds with the terms that find them.
    fn kinds(self) -> Vec<(&'static str, Term)> {
        let outcome = |it: Outcome| Term::Outcome(OneOf::one(it));
        let severity = |it: Severity| Term::Severity(OneOf::one(Range::Exactly(it)));
        match self {
            Self::Outcome => vec![
                ("success", outcome(Outcome::Success)),
                ("failure", outcome(Outcome::Failure)),
                ("unknown", outcome(Outcome::Unknown)),
            ],
            Self::Severity => vec![
                ("info", severity(Severity::Info)),
                ("warning", severity(Severity::Warning)),
                ("critical", severity(Severity::Critical)),
            ],
        }
    }

    fn count(self, bucket: &Bucket, word: &str) -> i64 {
        let counts = match self {
            Self::Outcome => &bucket.outcome,
            Self::Severity => &bucket.severity,
        };
        counts[word].as_i64().unwrap_or_default()
    }
}

impl Chart {
    /// The chart of a histogram's answer.
    pub(super) fn read(q: &str, told: &Value, split: Split) -> Result<Self, serde_json::Error> {
        let buckets = Vec::<Bucket>::deserialize(&told["buckets"])?;
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
        let end = |bucket: Option<&Bucket>, read: fn(&Bucket) -> &String| {
            bucket.map(read).cloned().unwrap_or_default()
        };
        let keys = split.kinds().into_iter().map(|(word, term)| Key {
            word,
            total: buckets.iter().map(|bucket| split.count(bucket, word)).sum(),
            url: url::search(&search::add(q, &Expr::Term(term))),
        });
        Ok(Self {
            title: None,
            keys: keys.collect(),
            total: buckets.iter().map(|bucket| bucket.count).sum(),
            all: url::search(q),
            most,
            from: end(buckets.first(), |bucket| &bucket.from),
            to: end(buckets.last(), |bucket| &bucket.to),
            timeless: timeless(q),
            bars: buckets.into_iter().enumerate().map(|(at, it)| bar(q, at, it, most, split)).collect(),
        })
    }

    /// The same under a title, with its numbers.
    pub(super) fn titled(self, title: &'static str) -> Self {
        Self { title: Some(title), ..self }
    }

    /// Events of one kind.
    pub(super) fn of(&self, word: &str) -> i64 {
        self.keys.iter().find(|key| key.word == word).map_or(0, |key| key.total)
    }

    /// All events.
    pub(super) fn total(&self) -> i64 {
        self.total
    }
}

impl Bar {
    /// What it says to who cannot see it.
    fn told(&self) -> String {
        let counted = self.parts.iter().filter(|part| part.count > 0);
        counted.map(|part| format!("{} {}", part.count, part.word)).collect::<Vec<_>>().join(", ")
    }
}

fn bar(q: &str, at: usize, bucket: Bucket, most: i64, split: Split) -> Bar {
    let time = |text: &str| {
        let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        Some(Timestamp::from(at.to_utc()))
    };
    let narrowed = time(&bucket.from).zip(time(&bucket.to)).map(|(from, to)| between(q, from, to));
    let mut y = HEIGHT;
    let parts = split.kinds().into_iter().map(|(word, _)| {
        let count = split.count(&bucket, word);
        let share = count as f64 / most.max(1) as f64;
        let height = if count == 0 { 0.0 } else { (share * HEIGHT).max(LEAST) };
        y -= height;
        Part { word, count, y, height }
    });
    Bar {
        at,
        parts: parts.collect(),
        count: bucket.count,
        url: url::search(&narrowed.unwrap_or_default()),
        from: bucket.from,
        to: bucket.to,
    }
}
