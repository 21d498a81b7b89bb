//! How long what is kept, what went, and the forms to change it: one admin proposes, another one agrees.

use askama::Template;
use axum::extract::{Path, Query, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, url};
use crate::auth::Capability;

/// The periods as forms name them.
const PERIODS: [&str; 3] = ["standard_days", "critical_days", "context_days"];

#[derive(Debug, Deserialize)]
struct Retention {
    in_force: Periods,
    versions: Vec<Version>,
    drops: Vec<Drop>,
}

#[derive(Debug, Clone, Deserialize)]
struct Periods {
    standard_days: i64,
    critical_days: i64,
    context_days: i64,
}

#[derive(Debug, Deserialize)]
struct Version {
    version: i64,
    state: String,
    periods: Periods,
    proposed_by: String,
    proposed_at: String,
    decided_by: Option<String>,
    effective_at: Option<String>,
}

impl Version {
    fn action(&self, verb: &str) -> String {
        url::under(&["retention", "periods", &self.version.to_string(), verb])
    }

    /// What it would let go now.
    fn preview(&self) -> String {
        let Periods { standard_days, critical_days, context_days } = &self.periods;
        let (standard, critical, context) =
            (standard_days.to_string(), critical_days.to_string(), context_days.to_string());
        url::with(
            "/retention",
            &[("standard_days", &standard), ("critical_days", &critical), ("context_days", &context)],
        )
    }

    /// Whether it does not count yet; times in one format have the order of their texts.
    fn waits(&self, now: &str) -> bool {
        self.effective_at.as_ref().is_some_and(|effective| effective.as_str() > now)
    }

    /// Whether it can still be turned down.
    fn is_open(&self, now: &str) -> bool {
        self.state == "proposed" || self.state == "approved" && self.waits(now)
    }
}

#[derive(Debug, Deserialize)]
struct Drop {
    month: String,
    what: String,
    class: String,
    at: String,
    leaves: i64,
    held: i64,
    record: Option<String>,
}

/// What would go now, in words.
#[derive(Debug, Deserialize)]
struct Preview {
    periods: Periods,
    words: Vec<String>,
    active_holds: i64,
}

#[derive(Debug, Template)]
#[template(path = "retention.html")]
struct RetentionPage {
    frame: Frame,
    retention: Retention,
    preview: Option<Preview>,
    /// Whether the preview is of other periods than those in force.
    is_trial: bool,
    may_change: bool,
    now: String,
}

pub(super) async fn show(
    visitor: Visitor,
    Query(asked): Query<Vec<(String, String)>>,
) -> Result<Response, Failure> {
    let answers = visitor.answers();
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let told = visitor.or_failure(answers.retention().await)?;
    let trial: Vec<(&str, &str)> =
        PERIODS.into_iter().filter_map(|name| Some((name, act::value(&asked, name)?))).collect();
    let preview = if visitor.reader.role.can(Capability::Oversee) {
        let told = visitor.or_failure(answers.retention_preview(&trial).await)?;
        Some(Preview::deserialize(&told).map_err(unreadable)?)
    } else {
        None
    };
    let found = RetentionPage {
        frame: Frame::new("Retention", Some(Section::Retention), &visitor.shown),
        retention: Retention::deserialize(&told).map_err(unreadable)?,
        preview,
        is_trial: !trial.is_empty(),
        may_change: visitor.reader.role.can(Capability::Retention),
        now: crate::view::time(answers.state.clock.now().to_utc()),
    };
    Ok(page(StatusCode::OK, &found))
}

pub(super) async fn propose(visitor: Visitor, request: Request) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let given = PERIODS.into_iter().filter_map(|name| {
        let value = act::value(&fields, name)?.trim();
        // What is no number is refused by the endpoint, with its name.
        let value = value.parse::<u32>().map_or_else(|_| Value::from(value), Value::from);
        Some((name.to_owned(), value))
    });
    let wanted = Value::Object(given.collect::<Map<_, _>>());
    visitor.or_failure(visitor.answers().propose_periods(&wanted).await)?;
    Ok(Redirect::to("/retention").into_response())
}

pub(super) async fn approve(visitor: Visitor, Path(version): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().approve_periods(&version).await)?;
    Ok(Redirect::to("/retention").into_response())
}

pub(super) async fn refuse(visitor: Visitor, Path(version): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().refuse_periods(&version).await)?;
    Ok(Redirect::to("/retention").into_response())
}
