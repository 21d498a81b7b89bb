//! `GET /v1/executions` and `GET /v1/executions/{id}`: runs of agents, newest first.

use axum::Json;
use axum::extract::Query;
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::cursor::Cursor;
use super::events::{Paging, parse_time};
use super::path::Path;
use super::reader::Reader;
use super::writes::{Parameters, once};
use super::{Answer, Shared};
use crate::execution::{Execution, Status};
use crate::store::executions::{self, Wanted};
use crate::store::search::Position;
use crate::view::time;

/// As for events: every list has a window.
const DEFAULT_WINDOW: TimeDelta = TimeDelta::days(30);

pub(super) async fn list(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    let Query(parameters) = asked.map_err(|error| Answer::parameter("query", error.body_text()))?;
    once(&parameters)?;
    let mut paging = Paging::new();
    let mut wanted = Wanted::default();
    let mut window = (None, None);
    for (name, value) in &parameters {
        let text = || Some(value.clone());
        match name.as_str() {
            "agent" => wanted.agent = text(),
            "user" => wanted.user = text(),
            "trigger" => wanted.trigger = text(),
            "status" => {
                let status = Status::of(value);
                wanted.status = Some(status.ok_or_else(|| Answer::parameter(name, one_of_them()))?.word());
            }
            "from" => window.0 = Some(parse_time(value).map_err(|why| Answer::parameter(name, why))?),
            "to" => window.1 = Some(parse_time(value).map_err(|why| Answer::parameter(name, why))?),
            _ if paging.take(name, value).map_err(|why| Answer::parameter(name, why))? => {}
            _ => return Err(Answer::parameter(name, "is unknown")),
        }
    }
    let of = format!("executions {wanted:?} {window:?}");
    let cursor = paging.cursor(&state, &reader, &of)?;
    let now = cursor.map_or_else(|| state.clock.now(), |cursor| cursor.now);
    // What is filed at this very millisecond counts.
    wanted.to = window.1.unwrap_or(now.to_utc() + TimeDelta::milliseconds(1));
    wanted.from = window.0.unwrap_or(wanted.to - DEFAULT_WINDOW);
    let after = cursor.map(|cursor| (cursor.after.filed_at, cursor.after.id));
    let limit = paging.limit();
    let mut runs =
        executions::list(&state.store, reader.tenant.as_str(), &wanted, after, i64::from(limit) + 1).await?;
    let more = runs.len() > usize::from(limit);
    runs.truncate(usize::from(limit));
    let next = runs.last().filter(|_| more).map(|last| {
        let after = Position { filed_at: last.started_at, id: last.first_event };
        state.cursors.sign(&reader.tenant, &of, Cursor { now, after })
    });
    Ok(Json(json!({
        "executions": runs.iter().map(|run| view(run, &reader)).collect::<Vec<_>>(),
        "next_cursor": next,
        "window": window_view((wanted.from, wanted.to)),
    })))
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(id): Path<String>,
) -> Result<Json<Value>, Answer> {
    let found = executions::find(&state.store, reader.tenant.as_str(), &id).await?;
    let run = found.ok_or_else(|| Answer::not_found("no run of this id"))?;
    Ok(Json(view(&run, &reader)))
}

/// A window as answers tell it.
pub(super) fn window_view((from, to): (DateTime<Utc>, DateTime<Utc>)) -> Value {
    json!({"from": time(from), "to": time(to)})
}

fn one_of_them() -> String {
    format!("is not one of {}", Status::ALL.map(Status::word).join(", "))
}

/// A run as a reader may see it.
fn view(run: &Execution, reader: &Reader) -> Value {
    let text = |text: &Option<String>| text.as_deref().map(|text| reader.text(text));
    json!({
        "id": run.execution_key,
        "execution_id": run.execution_id,
        "agent": {"id": text(&run.agent_id), "name": text(&run.agent_name)},
        "user": text(&run.user_id),
        "status": run.status,
        "trigger": run.trigger,
        "type": run.execution_type,
        "started_at": time(run.started_at),
        "ended_at": run.ended_at.map(time),
        "duration_ms": run.duration_ms,
        "duration_from": run.duration_from,
        "tokens": {
            "input": run.tokens_in,
            "output": run.tokens_out,
            "total": run.tokens_total,
            "total_from": run.tokens_from,
            "adjusted": run.tokens_adjusted,
        },
        "steps": {"completed": run.steps_completed, "failed": run.steps_failed, "total": run.steps_total},
        "iterations": run.iterations,
        "tool_calls": run.tool_calls,
        "error": {"kind": run.error_kind, "text": text(&run.error)},
        "events": run.events,
        "masked": reader.is_masked,
    })
}
