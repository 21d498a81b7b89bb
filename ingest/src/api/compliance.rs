//! `GET /v1/compliance/{framework}`: what of a framework's controls the log holds evidence for, and where it has holes.

use axum::Json;
use axum::extract::Query;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use chrono::{DateTime, TimeDelta, Utc};
use serde_json::{Value, json};

use super::events::parse_time;
use super::path::Path;
use super::reader::Reader;
use super::writes::{Parameters, once};
use super::{Answer, Shared};
use crate::compliance::{Control, Framework};
use crate::export::csv_text;
use crate::store::compliance::{ActionCount, actions};
use crate::store::{coverage, integrity, log, publications};
use crate::view::time;

const DEFAULT_WINDOW: TimeDelta = TimeDelta::days(90);
/// What tells of holes in what was captured.
const HOLES: [&str; 4] = ["EDGE_GAP", "EVENTS_DROPPED", "UNMAPPED_MUTATION", "WRITE_UNATTRIBUTED"];

/// A control and what was counted for it.
struct Counted<'a> {
    control: &'a Control,
    events: i64,
    failures: i64,
    first: Option<DateTime<Utc>>,
    last: Option<DateTime<Utc>>,
    found: Vec<&'a ActionCount>,
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    Path(name): Path<String>,
    parameters: Parameters,
) -> Result<Response, Answer> {
    let framework: Framework = name.parse().map_err(|_| Answer::not_found("no framework of this name"))?;
    let Query(parameters) = parameters.map_err(|error| Answer::parameter("query", error.body_text()))?;
    once(&parameters)?;
    let now = state.clock.now().to_utc();
    let (mut from, mut to, mut as_csv) = (now - DEFAULT_WINDOW, now, false);
    for (name, value) in &parameters {
        match (name.as_str(), value.as_str()) {
            ("from", value) => from = parse_time(value).map_err(|why| Answer::parameter("from", why))?,
            ("to", value) => to = parse_time(value).map_err(|why| Answer::parameter("to", why))?,
            ("format", "json") => as_csv = false,
            ("format", "csv") => as_csv = true,
            ("format", _) => return Err(Answer::parameter("format", "is not json or csv")),
            _ => return Err(Answer::parameter(name, "is unknown")),
        }
    }
    if from >= to {
        return Err(Answer::parameter("to", "is not after from"));
    }
    let known = framework.controls();
    let tenant = reader.tenant.as_str();
    let found = actions(&state.store, tenant, &known.flag, from, to).await?;
    let counted: Vec<Counted<'_>> = known.controls.iter().map(|control| counted(control, &found)).collect();
    if as_csv {
        return csv(framework, &counted);
    }
    let hosts = coverage::totals(&state.store, &reader.tenant, None).await?;
    let holes: serde_json::Map<String, Value> = HOLES
        .iter()
        .map(|hole| {
            let count = found.iter().find(|it| it.action == *hole).map_or(0, |it| it.events);
            ((*hole).to_owned(), Value::from(count))
        })
        .collect();
    Ok(Json(json!({
        "framework": framework.word(),
        "title": known.title,
        "window": {"from": time(from), "to": time(to)},
        "flag": {"name": known.flag, "events": found.iter().map(|it| it.flagged).sum::<i64>()},
        "controls": counted.iter().map(shown).collect::<Vec<_>>(),
        "gaps": {
            "controls_without_events":
                counted.iter().filter(|it| it.events == 0).map(|it| &it.control.id).collect::<Vec<_>>(),
            "events": holes,
            "requests_mapped": hosts.iter().map(|host| host.mapped).sum::<i64>(),
            "requests_unmapped": hosts.iter().map(|host| host.unmapped).sum::<i64>(),
            "routes_unmapped": hosts.iter().map(|host| host.routes_unmapped).sum::<i64>(),
        },
        "proof": proof(&state, tenant).await?,
    }))
    .into_response())
}

fn counted<'a>(control: &'a Control, all: &'a [ActionCount]) -> Counted<'a> {
    let found: Vec<&ActionCount> = all.iter().filter(|it| control.covers(&it.action)).collect();
    Counted {
        control,
        events: found.iter().map(|it| it.events).sum(),
        failures: found.iter().map(|it| it.failures).sum(),
        first: found.iter().map(|it| it.first).min(),
        last: found.iter().map(|it| it.last).max(),
        found,
    }
}

fn shown(it: &Counted<'_>) -> Value {
    let actions: serde_json::Map<String, Value> =
        it.found.iter().map(|found| (found.action.clone(), Value::from(found.events))).collect();
    json!({
        "id": it.control.id,
        "title": it.control.title,
        "actions": it.control.actions,
        "events": it.events,
        "failures": it.failures,
        "first": it.first.map(time),
        "last": it.last.map(time),
        "found": actions,
    })
}

/// How far the logs are signed and verified.
async fn proof(state: &super::State, tenant: &str) -> Result<Value, Answer> {
    let latest = integrity::latest(&state.store, tenant).await?;
    let mut logs = Vec::new();
    for log in log::list(&state.store, Some(tenant)).await? {
        let published = publications::published_size(&state.store, &log.log_id).await?;
        let of_log = || latest.iter().filter(|row| row.log_id == log.log_id);
        logs.push(json!({
            "log_id": log.log_id,
            "size": log.size,
            "published_size": published.unwrap_or(log.size),
            "verified_at": of_log().map(|row| row.finished_at).max().map(time),
            "findings": of_log().filter(|row| row.finding.is_some()).count(),
        }));
    }
    Ok(json!({"logs": logs}))
}

fn csv(framework: Framework, counted: &[Counted<'_>]) -> Result<Response, Answer> {
    let mut rows = vec![
        ["framework", "control", "title", "events", "failures", "first", "last", "actions"]
            .map(str::to_owned)
            .to_vec(),
    ];
    rows.extend(counted.iter().map(|it| {
        vec![
            framework.word().to_owned(),
            it.control.id.clone(),
            it.control.title.clone(),
            it.events.to_string(),
            it.failures.to_string(),
            it.first.map(time).unwrap_or_default(),
            it.last.map(time).unwrap_or_default(),
            it.control.actions.join(" "),
        ]
    }));
    let text = csv_text(&rows)?;
    let headers = [
        (header::CONTENT_TYPE, "text/csv; charset=utf-8; header=present".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}.csv\"", framework.word())),
        (header::CACHE_CONTROL, "no-store".to_owned()),
    ];
    Ok((headers, text).into_response())
}
