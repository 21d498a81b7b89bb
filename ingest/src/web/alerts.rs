//! What rules of detection found and nobody has closed, and what the server raised by itself: its own warnings and critical
//! events, and identities that do not fit, by kind.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::{Path, Query, Request};
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use shared::search;

use super::event::Row;
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{act, term, url};
use crate::auth::Capability;

const ALERTS: &str = "(is:own severity:>=warning) OR is:mismatch last:30d";

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integrity,
    Loss,
    Identity,
    Unexplained,
    Found,
    Forwarding,
    Decision,
}

impl Kind {
    const ALL: [Self; 7] = [
        Self::Integrity,
        Self::Loss,
        Self::Identity,
        Self::Unexplained,
        Self::Found,
        Self::Forwarding,
        Self::Decision,
    ];

    fn of(action: &str) -> Self {
        match action {
            "INTEGRITY_VIOLATED" => Self::Integrity,
            "EDGE_GAP" | "EDGE_GAP_CLOSED" | "EVENTS_DROPPED" | "STREAM_ENDED" | "RATE_LIMITED" => Self::Loss,
            "IDENTITY_MISMATCH" | "ADMIN_SIGN_IN_FAILED" => Self::Identity,
            "WRITE_UNATTRIBUTED" | "APP_AUDIT_ONLY" | "INTENT_ORPHANED" => Self::Unexplained,
            "SECURITY_ALERT_RAISED" => Self::Found,
            "SINK_FAILING" | "SINK_RECOVERED" | "SINK_EVENTS_SKIPPED" => Self::Forwarding,
            _ => Self::Decision,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Integrity => "Integrity",
            Self::Loss => "Losses",
            Self::Identity => "Identity and sign-in",
            Self::Unexplained => "Not explained",
            Self::Found => "Found by rules",
            Self::Forwarding => "Forwarding",
            Self::Decision => "Decisions and their effects",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Integrity => "A check of the log found something.",
            Self::Loss => "Batches are missing, or events were given up.",
            Self::Identity => "Somebody is not who they say, or was locked out.",
            Self::Unexplained => "Something happened of which no event tells why.",
            Self::Found => "A rule of detection fired.",
            Self::Forwarding => "A receiver of events does not take them, or does again.",
            Self::Decision => "What admins changed, looked at or took away.",
        }
    }
}

/// What a rule of detection found, as the API tells it.
#[derive(Debug, Deserialize)]
struct Finding {
    id: String,
    rule: String,
    title: String,
    severity: Option<String>,
    /// What its events have in common; none once it was erased.
    alike: Option<BTreeMap<String, String>>,
    events: i64,
    first_at: String,
    last_at: String,
    evidence: Vec<String>,
}

impl Finding {
    fn close(&self) -> String {
        url::under(&["alerts", &self.id, "close"])
    }

    fn severity(&self) -> &str {
        self.severity.as_deref().unwrap_or("unknown")
    }

    /// The search for the events that it names.
    fn search(&self) -> String {
        url::search(&format!("id:{}", self.evidence.join(",")))
    }
}

/// The alerts of one kind.
#[derive(Debug)]
struct Group {
    kind: Kind,
    actions: Vec<Counted>,
}

impl Group {
    fn total(&self) -> i64 {
        self.actions.iter().map(|action| action.count).sum()
    }
}

#[derive(Debug)]
struct Counted {
    action: String,
    count: i64,
    url: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct Asked {
    #[serde(default)]
    cursor: String,
}

#[derive(Debug, Template)]
#[template(path = "alerts.html")]
struct AlertsPage {
    frame: Frame,
    open: Vec<Finding>,
    may_close: bool,
    groups: Vec<Group>,
    search: String,
    rows: Vec<Row>,
    next: Option<String>,
}

pub(super) async fn list(visitor: Visitor, Query(asked): Query<Asked>) -> Result<Response, Failure> {
    let answers = visitor.answers();
    let mut of_page = vec![("q", ALERTS), ("limit", "50")];
    if !asked.cursor.is_empty() {
        of_page.push(("cursor", &*asked.cursor));
    }
    let of_facets = [("q", ALERTS), ("fields", "action"), ("top", "50")];
    let told = tokio::try_join!(
        answers.alerts(&[("state", "open")]),
        answers.events(&of_page),
        answers.facets(&of_facets)
    );
    let (open, events, facets) = visitor.or_failure(told)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let next = events["next_cursor"].as_str();
    let found = AlertsPage {
        frame: Frame::new("Alerts", Some(Section::Alerts), &visitor.shown),
        open: Vec::deserialize(&open["alerts"]).map_err(unreadable)?,
        may_close: visitor.reader.role.can(Capability::Alerts),
        groups: groups(&facets["facets"]["action"]),
        search: url::search(ALERTS),
        rows: Row::list(&events["events"]).map_err(unreadable)?,
        next: next.map(|cursor| url::with("/alerts", &[("cursor", cursor)])),
    };
    Ok(page(StatusCode::OK, &found))
}

pub(super) async fn close(
    visitor: Visitor,
    Path(id): Path<String>,
    request: Request,
) -> Result<Response, Failure> {
    let fields = visitor.or_failure(act::form(request).await)?;
    let note = act::value(&fields, "note").map(str::trim).filter(|note| !note.is_empty());
    visitor.or_failure(visitor.answers().close_alert(&id, &json!({"note": note})).await)?;
    Ok(Redirect::to("/alerts").into_response())
}

fn groups(told: &Value) -> Vec<Group> {
    let values = told["values"].as_array().map(Vec::as_slice).unwrap_or_default();
    let counted = |value: &Value| {
        let action = value["value"].as_str()?.to_owned();
        let url = term::of_facet(value).map(|term| url::search(&search::add(ALERTS, &term)));
        Some(Counted { action, count: value["count"].as_i64().unwrap_or_default(), url })
    };
    let of_kind = |kind| {
        let actions = values.iter().filter_map(counted).filter(|it| Kind::of(&it.action) == kind);
        Group { kind, actions: actions.collect() }
    };
    Kind::ALL.map(of_kind).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_search_of_alerts_is_understood_whole_also_with_a_term_more() {
        let action = search::parse("action:EDGE_GAP").query.conjuncts()[0].clone();
        for q in [ALERTS.to_owned(), search::add(ALERTS, &action)] {
            assert!(search::parse(&q).diagnostics.is_empty(), "{q}");
        }
        assert_eq!(search::parse(ALERTS).query.conjuncts().len(), 2);
        assert_eq!(search::parse(&search::add(ALERTS, &action)).query.conjuncts().len(), 3);
    }
}
