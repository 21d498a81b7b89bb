//! `GET /v1/coverage/tables` and `GET /v1/writes`: what the watched databases saw written, and how much of it an event
//! tells.

use std::collections::BTreeSet;
use std::time::Duration;

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use chrono::{DateTime, Utc};
use serde_json::{Value, json};

use super::events::parse_time;
use super::reader::Reader;
use super::{Answer, Shared};
use crate::store::writes::{self, TableCoverage};
use crate::view::time;

/// As for events: every list has a window.
const DEFAULT_WINDOW: Duration = Duration::from_hours(30 * 24);
const LIMIT: i64 = 200;
const STATES: [&str; 4] = ["pending", "explained", "system", "unattributed"];

pub(super) type Parameters = Result<Query<Vec<(String, String)>>, QueryRejection>;

pub(super) async fn coverage(
    state: Shared,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Value>, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let (from, to) = range(&parameters, state.clock.now().to_utc(), &[])?;
    let tables = writes::coverage(&state.store, reader.tenant.as_str(), from, to).await?;
    let tables: Vec<Value> = tables
        .into_iter()
        .map(|table| {
            json!({
                "table": table.table_name,
                "writes": table.writes,
                "pending": table.pending,
                "explained": table.explained,
                "system": table.system,
                "unattributed": table.unattributed,
                "percentage": percentage(&table),
            })
        })
        .collect();
    Ok(Json(json!({"from": time(from), "to": time(to), "tables": tables})))
}

pub(super) async fn list(
    state: Shared,
    reader: Reader,
    parameters: Parameters,
) -> Result<Json<Value>, Answer> {
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    let (from, to) = range(&parameters, state.clock.now().to_utc(), &["state"])?;
    let wanted = parameters
        .iter()
        .find(|(name, _)| name == "state")
        .map_or("unattributed", |(_, value)| value.as_str());
    if !STATES.contains(&wanted) {
        return Err(Answer::parameter("state", format!("is not one of {}", STATES.join(", "))));
    }
    let found = writes::newest(&state.store, reader.tenant.as_str(), wanted, from, to, LIMIT).await?;
    let found: Vec<Value> = found
        .into_iter()
        .map(|write| {
            json!({
                "at": time(write.at),
                "seq": write.seq,
                "table": write.table_name,
                "entity_type": write.entity_type,
                "key": write.key,
                "op": write.op,
                "txid": write.txid.to_string(),
                "uid": write.uid,
                "role": write.role_name,
                "application_name": write.application_name,
                "state": write.state,
                "event": write.event_id,
            })
        })
        .collect();
    Ok(Json(json!({"writes": found})))
}

/// How much of what is decided an event tells, in percent with one decimal, rounded down: 100 means all.
fn percentage(table: &TableCoverage) -> Option<f64> {
    let told = table.explained + table.system;
    let decided = told + table.unattributed;
    let tenths = told.checked_mul(1000)?.checked_div(decided)?;
    Some(f64::from(i32::try_from(tenths).ok()?) / 10.0)
}

/// The window that a list is asked for, and no parameter but `others` beside it.
pub(super) fn range(
    parameters: &[(String, String)],
    now: DateTime<Utc>,
    others: &[&str],
) -> Result<(DateTime<Utc>, DateTime<Utc>), Answer> {
    once(parameters)?;
    let mut range = (None, None);
    for (name, value) in parameters {
        let side = match name.as_str() {
            "from" => &mut range.0,
            "to" => &mut range.1,
            other if others.contains(&other) => continue,
            _ => return Err(Answer::parameter(name, "is unknown".to_owned())),
        };
        *side = Some(parse_time(value).map_err(|reason| Answer::parameter(name, reason))?);
    }
    let to = range.1.unwrap_or(now);
    Ok((range.0.unwrap_or(to - DEFAULT_WINDOW), to))
}

/// Refuses a parameter that is given twice: which of the two counts would be a guess.
pub(super) fn once(parameters: &[(String, String)]) -> Result<(), Answer> {
    let mut seen = BTreeSet::new();
    match parameters.iter().find(|(name, _)| !seen.insert(name.as_str())) {
        Some((name, _)) => Err(Answer::parameter(name, "is given twice")),
        None => Ok(()),
    }
}
