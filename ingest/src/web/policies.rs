//! Versions of the tenant's rule packs: what each changes, and the second person who agrees.

use std::collections::BTreeMap;

use askama::Template;
use axum::extract::Path;
use axum::http::StatusCode;
use axum::response::{IntoResponse as _, Redirect, Response};
use serde::Deserialize;

use super::failure::Failure;
use super::frame::{Frame, Section, page};
use super::reader::Visitor;
use super::url;
use crate::auth::Capability;

#[derive(Debug, Deserialize)]
struct Policies {
    policies: Vec<Policy>,
}

/// A version as the API tells it.
#[derive(Debug, Deserialize)]
struct Policy {
    version: i64,
    state: String,
    proposed_by: String,
    proposed_at: String,
    decided_by: Option<String>,
    decided_at: Option<String>,
    rolls_back_to: Option<i64>,
}

/// What a version does to a pack, against the active one.
#[derive(Debug, Deserialize)]
struct Change {
    pack: String,
    added: Vec<String>,
    removed: Vec<String>,
    changed: Vec<String>,
}

impl Policy {
    fn url(&self) -> String {
        url::under(&["policies", &self.version.to_string()])
    }

    fn action(&self, verb: &str) -> String {
        url::under(&["policies", &self.version.to_string(), verb])
    }
}

impl Change {
    fn is_none(&self) -> bool {
        self.pack == "kept" && self.added.is_empty() && self.removed.is_empty() && self.changed.is_empty()
    }

    /// Its rules with what becomes of each.
    fn rules(&self) -> Vec<(&'static str, &str)> {
        let lists = [("added", &self.added), ("removed", &self.removed), ("changed", &self.changed)];
        lists.into_iter().flat_map(|(word, ids)| ids.iter().map(move |id| (word, id.as_str()))).collect()
    }
}

#[derive(Debug, Template)]
#[template(path = "policies.html")]
struct PoliciesPage {
    frame: Frame,
    policies: Vec<Policy>,
}

pub(super) async fn list(visitor: Visitor) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().policies().await)?;
    let Policies { policies } =
        Policies::deserialize(&told).map_err(|error| Failure::unreadable(&error, visitor.shown.clone()))?;
    let frame = Frame::new("Policies", Some(Section::Policies), &visitor.shown);
    Ok(page(StatusCode::OK, &PoliciesPage { frame, policies }))
}

#[derive(Debug, Template)]
#[template(path = "policy.html")]
struct PolicyPage {
    frame: Frame,
    policy: Policy,
    changes: BTreeMap<String, Change>,
    packs: String,
    may_decide: bool,
}

pub(super) async fn show(visitor: Visitor, Path(version): Path<String>) -> Result<Response, Failure> {
    let told = visitor.or_failure(visitor.answers().policy(&version).await)?;
    let unreadable = |error| Failure::unreadable(&error, visitor.shown.clone());
    let policy = Policy::deserialize(&told).map_err(unreadable)?;
    let mut changes = BTreeMap::<String, Change>::deserialize(&told["changes"]).map_err(unreadable)?;
    changes.retain(|_, change| !change.is_none());
    let found = PolicyPage {
        frame: Frame::new(format!("Policy {}", policy.version), Some(Section::Policies), &visitor.shown),
        may_decide: visitor.reader.role.can(Capability::Policy) && policy.state == "proposed",
        packs: serde_json::to_string_pretty(&told["packs"]).unwrap_or_default(),
        policy,
        changes,
    };
    Ok(page(StatusCode::OK, &found))
}

pub(super) async fn approve(visitor: Visitor, Path(version): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().approve_policy(&version).await)?;
    Ok(Redirect::to("/policies").into_response())
}

pub(super) async fn refuse(visitor: Visitor, Path(version): Path<String>) -> Result<Response, Failure> {
    visitor.or_failure(visitor.answers().refuse_policy(&version).await)?;
    Ok(Redirect::to("/policies").into_response())
}
