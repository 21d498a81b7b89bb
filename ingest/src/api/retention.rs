//! `/v1/retention…`: how long a tenant's events are kept, what would go now, and what went.

use axum::Json;
use axum::extract::Request;
use serde_json::{Value, json};
use shared::problem::Problem;

use super::path::Path;
use super::reader::{Admin, Reader};
use super::{Answer, Shared, body};
use crate::retention::{Periods, RetentionError};
use crate::store::retention::{PeriodsRow, RunRow, drops};
use crate::view::time;

const LISTED: i64 = 200;

pub(super) async fn read(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let (in_force, versions) = state.retention.periods(&reader.tenant).await?;
    let drops = drops(&state.store, reader.tenant.as_str(), LISTED).await?;
    Ok(Json(json!({
        "in_force": in_force,
        "versions": versions.iter().map(version).collect::<Vec<_>>(),
        "drops": drops.iter().map(dropped).collect::<Vec<_>>(),
    })))
}

pub(super) async fn preview(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    Ok(Json(state.retention.preview(&reader.tenant).await?.to_json()))
}

pub(super) async fn propose(state: Shared, admin: Admin, request: Request) -> Result<Json<Value>, Answer> {
    let text = body::text(&state, request).await?;
    let unreadable = Problem::new(400, "unreadable-periods", "These are no periods");
    let periods: Periods = body::read(&text, unreadable)?;
    let version = state.retention.propose(admin.who(), periods).await?;
    described(&state, &admin.0, version).await
}

pub(super) async fn approve(
    state: Shared,
    admin: Admin,
    Path(version): Path<String>,
) -> Result<Json<Value>, Answer> {
    let version = number(&version)?;
    state.retention.approve(admin.who(), version).await?;
    described(&state, &admin.0, version).await
}

pub(super) async fn refuse(
    state: Shared,
    admin: Admin,
    Path(version): Path<String>,
) -> Result<Json<Value>, Answer> {
    let version = number(&version)?;
    state.retention.refuse(admin.who(), version).await?;
    described(&state, &admin.0, version).await
}

async fn described(state: &Shared, reader: &Reader, number: i64) -> Result<Json<Value>, Answer> {
    let (_, versions) = state.retention.periods(&reader.tenant).await?;
    let row = versions.iter().find(|row| row.version == number);
    Ok(Json(version(row.ok_or_else(missing)?)))
}

fn version(row: &PeriodsRow) -> Value {
    json!({
        "version": row.version,
        "state": row.state,
        "periods": Periods::from(row),
        "proposed_by": row.proposed_by,
        "proposed_at": time(row.proposed_at),
        "decided_by": row.decided_by,
        "decided_at": row.decided_at.map(time),
        "effective_at": row.effective_at.map(time),
    })
}

fn dropped(run: &RunRow) -> Value {
    json!({
        "month": run.month.format("%Y-%m").to_string(),
        "what": run.what,
        "class": match run.class { 0 => "standard", 1 => "critical", _ => "any" },
        "at": time(run.ran_at),
        "leaves": run.leaves,
        "held": run.held,
        "record": run.record_id,
    })
}

fn number(text: &str) -> Result<i64, Answer> {
    text.parse().map_err(|_| missing())
}

fn missing() -> Answer {
    Answer::not_found("no periods of this version")
}

impl From<RetentionError> for Answer {
    fn from(error: RetentionError) -> Self {
        let problem = match &error {
            RetentionError::Periods(_) => {
                Problem::new(422, "periods-refused", "These periods are out of bounds")
            }
            RetentionError::NoCondition => {
                Problem::new(422, "hold-refused", "The hold would cover everything")
            }
            RetentionError::Missing => Problem::new(404, "not-found", "There is no such thing"),
            RetentionError::Second(_) => Problem::new(403, "second-person", "This takes two people"),
            RetentionError::Announced(_) => {
                Problem::new(403, "announced", "This is announced first, as there is no second admin")
            }
            RetentionError::Decided { .. } | RetentionError::Overtaken(_) | RetentionError::Released => {
                Problem::new(409, "retention-conflict", "This cannot be changed so")
            }
            RetentionError::Store(_) | RetentionError::Own(_) | RetentionError::Archive(_) => {
                Problem::new(500, "internal", "Something broke on our side")
            }
        };
        match error {
            RetentionError::Store(error) => Self::from(error),
            RetentionError::Own(_) | RetentionError::Archive(_) => {
                tracing::error!(%error, "a request failed");
                Self(problem)
            }
            error => Self(problem.detail(error)),
        }
    }
}
