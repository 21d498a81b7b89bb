//! `GET /v1/events/histogram`: how many events a search finds, over time.

use axum::Json;
use chrono::TimeDelta;
use serde_json::{Map, Value, json};
use shared::event::{Outcome, Severity};

use super::reader::Reader;
use super::search;
use super::writes::Parameters;
use super::{Answer, Shared, as_of};
use crate::store::search::{Cell, Scope, histogram};
use crate::view::time;

const DEFAULT_BUCKETS: u8 = 48;
const MAX_BUCKETS: u8 = 200;

pub(super) async fn read(state: Shared, reader: Reader, asked: Parameters) -> Result<Json<Value>, Answer> {
    let mut buckets = DEFAULT_BUCKETS;
    let search = search::read(asked, |name, value| {
        if name == "buckets" {
            let count = value.parse().ok().filter(|count| (1..=MAX_BUCKETS).contains(count));
            buckets = count.ok_or_else(|| format!("is not 1 to {MAX_BUCKETS}"))?;
        }
        Ok(name == "buckets")
    })?;
    search.check(&reader)?;
    let now = state.clock.now();
    let mut looked = search.scope(&state, &reader, now);
    // An open end is now; what is filed at this very millisecond counts.
    let to = looked.scope.to.unwrap_or(now.to_utc() + TimeDelta::milliseconds(1));
    looked.scope.to = Some(to);
    let length = (to - looked.scope.from).num_milliseconds().max(1);
    let width = divided(length, i64::from(buckets));
    let cells = histogram(&as_of::reading(&state), &looked.scope, width).await?;
    let count = divided(length, width);
    let buckets: Vec<Value> = (0..count).map(|at| bucket(at, &looked.scope, width, &cells)).collect();
    Ok(Json(json!({
        "buckets": buckets,
        "total": cells.iter().map(|cell| cell.count).sum::<i64>(),
        "query": search.view(),
        "window": looked.window(),
        "notice": looked.notice(&state, &reader).await?,
    })))
}

/// Rounds up; both are above 0.
fn divided(length: i64, by: i64) -> i64 {
    (length + by - 1) / by
}

fn bucket(at: i64, scope: &Scope, width_ms: i64, cells: &[Cell]) -> Value {
    let width = TimeDelta::milliseconds(width_ms);
    let from = scope.from + TimeDelta::milliseconds(at * width_ms);
    let here = || cells.iter().filter(|cell| cell.bucket == at);
    let sum = |is_counted: &dyn Fn(&Cell) -> bool| -> i64 {
        here().filter(|cell| is_counted(cell)).map(|cell| cell.count).sum()
    };
    let outcomes: Map<String, Value> = Outcome::ALL
        .iter()
        .map(|it| (it.to_string(), sum(&|cell| cell.outcome == i16::from(it.byte())).into()))
        .collect();
    let severities: Map<String, Value> = Severity::ALL
        .iter()
        .map(|it| (it.to_string(), sum(&|cell| cell.severity == i16::from(it.byte())).into()))
        .collect();
    json!({
        "from": time(from),
        "to": time(scope.to.map_or(from + width, |to| to.min(from + width))),
        "count": sum(&|_| true),
        "outcome": outcomes,
        "severity": severities,
    })
}
