//! Saved searches, as the search page lists and keeps them.

use axum::extract::{Path, Request};
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};

use super::failure::Failure;
use super::reader::Visitor;
use super::{act, url};

/// A saved search as the API tells it.
#[derive(Debug, Deserialize)]
pub(super) struct SavedSearch {
    id: String,
    pub(super) name: String,
    pub(super) query: String,
    masked: bool,
    pub(super) shared: bool,
    pub(super) own: bool,
    pub(super) by: String,
}

impl SavedSearch {
    /// Those of an answer.
    pub(super) fn list(told: &Value) -> Result<Vec<Self>, serde_json::Error> {
        Vec::deserialize(&told["searches"])
    }

    /// Its search; none if parts of it are masked.
    pub(super) fn url(&self) -> Option<String> {
        (!self.masked).then(|| url::search(&self.query))
    }

    pub(super) fn remove(&self) -> String {
        url::under(&["searches", &self.id, "remove"])
    }
}

/// Saves a search; what the person has under that name gives way to it.
pub(super) async fn save(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let of = |name| act::value(&fields, name).unwrap_or_default().trim();
    let wanted = json!({"name": of("name"), "q": of("q"), "shared": act::value(&fields, "shared").is_some()});
    let answers = visitor.answers();
    let known = visitor.or_failure(answers.saved_searches().await)?;
    let known =
        SavedSearch::list(&known).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let saved = match known.iter().find(|search| search.own && search.name == of("name")) {
        Some(search) => answers.replace_search(&search.id, &wanted).await,
        None => answers.save_search(&wanted).await,
    };
    let saved = visitor.or_failure(saved)?;
    Ok(Redirect::to(&url::search(saved["query"].as_str().unwrap_or_default())).into_response())
}

pub(super) async fn remove(visitor: Visitor, Path(id): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().remove_search(&id).await)?;
    Ok(Redirect::to("/").into_response())
}
