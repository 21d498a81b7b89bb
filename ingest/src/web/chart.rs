//! Counts over time as bars.

use askama::Template;
use askama::filters::HtmlSafe;
use serde::Deserialize;
use serde_json::Value;
use shared::event::Timestamp;

use super::search::{between, timeless};
use super::url;

/// Height of the drawing, in its own units.
const HEIGHT: f64 = 100.0;
/// Of what is there at all, so that one event among thousands is seen.
const LEAST: f64 = 2.0;

/// A chart of a search's events.
#[derive(Debug, Template)]
#[template(path = "chart.html")]
pub(super) struct Chart {
    bars: Vec<Bar>,
    total: i64,
    failed: i64,
    most: i64,
    from: String,
    to: String,
    /// The search without times, to which a brush adds some.
    timeless: String,
}

impl HtmlSafe for Chart {}

#[derive(Debug)]
struct Bar {
    at: usize,
    from: String,
    to: String,
    count: i64,
    failed: i64,
    url: String,
    /// From the top down: unknown, failure, success; where each begins and how high it is.
    parts: [Part; 3],
}

#[derive(Debug)]
struct Part {
    class: &'static str,
    y: f64,
    height: f64,
}

#[derive(Debug, Deserialize)]
struct Bucket {
    from: String,
    to: String,
    count: i64,
    outcome: Outcomes,
}

#[derive(Debug, Clone, Copy, Deserialize)]
struct Outcomes {
    success: i64,
    failure: i64,
    unknown: i64,
}

impl Chart {
    /// The chart of a histogram's answer.
    pub(super) fn read(q: &str, told: &Value) -> Result<Self, serde_json::Error> {
        let buckets = Vec::<Bucket>::deserialize(&told["buckets"])?;
        let most = buckets.iter().map(|bucket| bucket.count).max().unwrap_or_default();
        let end = |bucket: Option<&Bucket>, read: fn(&Bucket) -> &String| {
            bucket.map(read).cloned().unwrap_or_default()
        };
        Ok(Self {
            total: buckets.iter().map(|bucket| bucket.count).sum(),
            failed: buckets.iter().map(|bucket| bucket.outcome.failure).sum(),
            most,
            from: end(buckets.first(), |bucket| &bucket.from),
            to: end(buckets.last(), |bucket| &bucket.to),
            timeless: timeless(q),
            bars: buckets.into_iter().enumerate().map(|(at, bucket)| bar(q, at, bucket, most)).collect(),
        })
    }
}

fn bar(q: &str, at: usize, bucket: Bucket, most: i64) -> Bar {
    let time = |text: &str| {
        let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
        Some(Timestamp::from(at.to_utc()))
    };
    let narrowed = time(&bucket.from).zip(time(&bucket.to)).map(|(from, to)| between(q, from, to));
    Bar {
        at,
        count: bucket.count,
        failed: bucket.outcome.failure,
        url: url::search(&narrowed.unwrap_or_default()),
        parts: parts(bucket.outcome, most),
        from: bucket.from,
        to: bucket.to,
    }
}

fn parts(outcome: Outcomes, most: i64) -> [Part; 3] {
    let mut y = HEIGHT;
    [("success", outcome.success), ("failure", outcome.failure), ("unknown", outcome.unknown)].map(
        |(class, count)| {
            let share = count as f64 / most.max(1) as f64;
            let height = if count == 0 { 0.0 } else { (share * HEIGHT).max(LEAST) };
            y -= height;
            Part { class, y, height }
        },
    )
}
