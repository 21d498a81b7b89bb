//! Which controls of a framework the log holds evidence for, where it has holes, and how far it is proven.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query};
use axum::http::StatusCode;
use axum::response::Response;
use chrono::{SecondsFormat, TimeDelta};
use serde::Deserialize;
use shared::event::Timestamp;

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::search::between;
use super::url;
use crate::compliance::Framework;

/// Windows that are offered, in days.
const WINDOWS: [u16; 3] = [30, 90, 365];

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    days: String,
}

/// A report as the API tells it.
#[derive(Debug, Deserialize)]
struct Report {
    framework: String,
    title: String,
    window: Span,
    flag: Flag,
    controls: Vec<Control>,
    gaps: Gaps,
    proof: Proof,
}

#[derive(Debug, Deserialize)]
struct Span {
    from: String,
    to: String,
}

#[derive(Debug, Deserialize)]
struct Flag {
    name: String,
    events: i64,
}

#[derive(Debug, Deserialize)]
struct Control {
    id: String,
    title: String,
    actions: Vec<String>,
    events: i64,
    failures: i64,
    last: Option<String>,
    found: BTreeMap<String, i64>,
}

#[derive(Debug, Deserialize)]
struct Gaps {
    controls_without_events: Vec<String>,
    events: BTreeMap<String, i64>,
    requests_mapped: i64,
    requests_unmapped: i64,
    routes_unmapped: i64,
}

#[derive(Debug, Deserialize)]
struct Proof {
    logs: Vec<Log>,
}

#[derive(Debug, Deserialize)]
struct Log {
    log_id: String,
    size: i64,
    published_size: i64,
    verified_at: Option<String>,
    findings: i64,
}

impl Report {
    /// A search within the report's window.
    fn search(&self, q: &str) -> String {
        let time = |text: &str| {
            let at = chrono::DateTime::parse_from_rfc3339(text).ok()?;
            Some(Timestamp::from(at.to_utc()))
        };
        let narrowed = time(&self.window.from).zip(time(&self.window.to));
        url::search(&narrowed.map_or_else(|| q.to_owned(), |(from, to)| between(q, from, to)))
    }

    fn of_control(&self, control: &Control) -> String {
        self.search(&format!("action:{}", control.actions.join(",")))
    }

    fn failures_of(&self, control: &Control) -> String {
        self.search(&format!("action:{} is:failed", control.actions.join(",")))
    }

    fn of_action(&self, action: &str) -> String {
        self.search(&format!("action:{action}"))
    }

    fn flagged(&self) -> String {
        self.search(&format!("compliance:{}", self.flag.name))
    }

    fn with_events(&self) -> usize {
        self.controls.len() - self.gaps.controls_without_events.len()
    }

    fn url(&self) -> String {
        url::under(&["compliance", &self.framework])
    }

    /// The same counts as a table of another program.
    fn csv(&self) -> String {
        let path = url::under(&["v1", "compliance", &self.framework]);
        url::with(&path, &[("from", &self.window.from), ("to", &self.window.to), ("format", "csv")])
    }
}

#[derive(Debug, Template)]
#[template(path = "compliance.html")]
struct CompliancePage {
    frame: Frame,
    reports: Vec<Report>,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let mut reports = Vec::new();
    for framework in Framework::ALL {
        reports.push(report(&visitor, framework.word(), &[]).await?);
    }
    let frame = Frame::new("Compliance", Some(Section::Compliance), &visitor.shown);
    Ok(page(StatusCode::OK, &CompliancePage { frame, reports }))
}

#[derive(Debug, Template)]
#[template(path = "framework.html")]
struct FrameworkPage {
    frame: Frame,
    report: Report,
    windows: Vec<(u16, String)>,
    days: u16,
}

pub(super) async fn show(
    visitor: Visitor,
    Path(name): Path<String>,
    Query(asked): Query<Asked>,
) -> Result<Response, Failure> {
    let days = WINDOWS.into_iter().find(|days| days.to_string() == asked.days).unwrap_or(WINDOWS[1]);
    let now = visitor.answers().state.clock.now().to_utc();
    let from = now - TimeDelta::days(i64::from(days));
    let (from, to) =
        (from.to_rfc3339_opts(SecondsFormat::Secs, true), now.to_rfc3339_opts(SecondsFormat::Secs, true));
    let report = report(&visitor, &name, &[("from", &from), ("to", &to)]).await?;
    let windows = WINDOWS.map(|days| (days, url::with(&report.url(), &[("days", &days.to_string())])));
    let frame = Frame::new(&*report.title, Some(Section::Compliance), &visitor.shown);
    Ok(page(StatusCode::OK, &FrameworkPage { frame, report, windows: windows.into(), days }))
}

async fn report(visitor: &Visitor, name: &str, asked: &[(&str, &str)]) -> Result<Report, Failure> {
    let told = visitor.or_failure(visitor.answers().compliance(name, asked).await)?;
    Report::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))
}
