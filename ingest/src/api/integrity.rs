//! `GET /v1/integrity`: what continuous verification found, and how far the logs are published.

use axum::Json;
use serde_json::{Value, json};

use super::reader::Reader;
use super::{Answer, Shared};
use crate::store::integrity::{self, ResultRow};
use crate::store::{log, publications};
use crate::view::time;

/// Past findings that are shown.
const FINDINGS: i64 = 50;

pub(super) async fn read(state: Shared, reader: Reader) -> Result<Json<Value>, Answer> {
    let tenant = reader.tenant.as_str();
    let latest = integrity::latest(&state.store, tenant).await?;
    let failures = integrity::failures(&state.store, tenant, FINDINGS).await?;
    let mut logs = Vec::new();
    for log in log::list(&state.store, Some(tenant)).await? {
        let checks: serde_json::Map<String, Value> = latest
            .iter()
            .filter(|row| row.log_id == log.log_id)
            .map(|row| (row.kind.clone(), shown(row)))
            .collect();
        let signed_at = log::head_signed_at(&state.store, &log.log_id).await?;
        let published = publications::published_size(&state.store, &log.log_id).await?;
        logs.push(json!({
            "log_id": log.log_id,
            "size": log.size,
            "published_size": published.unwrap_or(log.size),
            "head_signed_at": signed_at.map(time),
            "signing": state.sequencer.standing(&log).err().map_or_else(|| json!("ok"), |why| json!(why.to_string())),
            "checks": checks,
        }));
    }
    // A look at new leaves is not repeated: what it found stands until everything was looked at again.
    let settled = |row: &ResultRow| {
        let after = |other: &&ResultRow| {
            other.log_id == row.log_id
                && other.finished_at > row.finished_at
                && (other.kind == row.kind && row.kind != "openings" || other.kind == "everything")
        };
        latest.iter().filter(after).any(|other| other.finding.is_none())
    };
    let sound = failures.iter().all(settled);
    let findings: Vec<Value> = failures.iter().map(shown).collect();
    Ok(Json(json!({"sound": sound, "logs": logs, "findings": findings})))
}

fn shown(row: &ResultRow) -> Value {
    json!({
        "log_id": row.log_id,
        "kind": row.kind,
        "started_at": time(row.started_at),
        "finished_at": time(row.finished_at),
        "from": row.from_index,
        "verified_to": row.size,
        "open": row.open,
        "erased": row.erased,
        "dropped": row.dropped,
        "unexplained": row.unexplained,
        "mismatched": row.mismatched,
        "finding": row.finding,
    })
}
