//! Frequent values, the most frequent first, each with its search.

use askama::Template;
use askama::filters::HtmlSafe;
use serde_json::Value;
use shared::search;

use super::{term, url};

/// A facet as a list.
#[derive(Debug, Template)]
#[template(path = "ranking.html")]
pub(super) struct Ranking {
    title: &'static str,
    values: Vec<Ranked>,
    other: i64,
}

impl HtmlSafe for Ranking {}

/// A value.
#[derive(Debug)]
struct Ranked {
    text: String,
    count: i64,
    /// Of the most frequent one, in hundredths.
    share: i64,
    url: Option<String>,
}

impl Ranking {
    /// The list of a facet of a search. What events lack is no value.
    pub(super) fn read(title: &'static str, q: &str, told: &Value) -> Self {
        let values = told["values"].as_array().map(Vec::as_slice).unwrap_or_default();
        let counted = |value: &Value| value["count"].as_i64().unwrap_or_default();
        let most = values.iter().map(counted).max().unwrap_or_default().max(1);
        let ranked = values.iter().filter_map(|value| {
            let text = value["label"].as_str().or(value["value"].as_str())?;
            let count = counted(value);
            let url = term::of_facet(value).map(|term| url::search(&search::add(q, &term)));
            Some(Ranked { text: text.to_owned(), count, share: (count * 100 / most).max(1), url })
        });
        Self { title, values: ranked.collect(), other: told["other"].as_i64().unwrap_or_default() }
    }
}
