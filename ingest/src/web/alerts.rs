//! What the server raised by itself: its own warnings and critical events, and identities that do not fit, by kind.

use askama::Template;
use axum::extract::Query;
use axum::http::StatusCode;
use axum::response::Response;
use serde::Deserialize;
use serde_json::Value;
use shared::search;

use super::event::Row;
use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::{term, url};

const ALERTS: &str = "(is:own severity:>=warning) OR is:mismatch last:30d";

/// What an alert is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Integrity,
    Loss,
    Identity,
    Unexplained,
    Decision,
}

impl Kind {
    const ALL: [Self; 5] = [Self::Integrity, Self::Loss, Self::Identity, Self::Unexplained, Self::Decision];

    fn of(action: &str) -> Self {
        match action {
            "INTEGRITY_VIOLATED" => Self::Integrity,
            "EDGE_GAP" | "EDGE_GAP_CLOSED" | "EVENTS_DROPPED" | "STREAM_ENDED" | "RATE_LIMITED" => Self::Loss,
            "IDENTITY_MISMATCH" | "ADMIN_SIGN_IN_FAILED" => Self::Identity,
            "WRITE_UNATTRIBUTED" | "APP_AUDIT_ONLY" | "INTENT_ORPHANED" => Self::Unexplained,
            _ => Self::Decision,
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Integrity => "Integrity",
            Self::Loss => "Losses",
            Self::Identity => "Identity and sign-in",
            Self::Unexplained => "Not explained",
            Self::Decision => "Decisions and their effects",
        }
    }

    fn words(self) -> &'static str {
        match self {
            Self::Integrity => "A check of the log found something.",
            Self::Loss => "Batches are missing, or events were given up.",
            Self::Identity => "Somebody is not who they say, or was locked out.",
            Self::Unexplained => "Something happened of which no event tells why.",
            Self::Decision => "What admins changed, looked at or took away.",
        }
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
    let told = tokio::try_join!(answers.events(&of_page), answers.facets(&of_facets));
    let (events, facets) = visitor.or_failure(told)?;
    let next = events["next_cursor"].as_str();
    let found = AlertsPage {
        frame: Frame::new("Alerts", Some(Section::Alerts), &visitor.shown),
        groups: groups(&facets["facets"]["action"]),
        search: url::search(ALERTS),
        rows: Row::list(&events["events"])
            .map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?,
        next: next.map(|cursor| url::with("/alerts", &[("cursor", cursor)])),
    };
    Ok(page(StatusCode::OK, &found))
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
