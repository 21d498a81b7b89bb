//! `GET /v1/coverage`: how much of the traffic rules cover, by route and by host.

use axum::Json;
use axum::extract::Query;
use axum::extract::rejection::QueryRejection;
use serde::Deserialize;
use serde_json::{Value, json};

use super::reader::Reader;
use super::{Answer, Shared};
use crate::store::coverage::{self, HostTotal};
use crate::view::time;

/// More routes than an application has; the busiest come first.
const LIMIT: i64 = 2_000;

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Filter {
    host: Option<String>,
    mapped: Option<bool>,
}

pub(super) async fn read(
    state: Shared,
    reader: Reader,
    filter: Result<Query<Filter>, QueryRejection>,
) -> Result<Json<Value>, Answer> {
    let Query(filter) = filter.map_err(|error| Answer::parameter("query", error.body_text()))?;
    if filter.host.as_ref().is_some_and(|host| host.contains('\0')) {
        return Err(Answer::parameter("host", "holds a NUL"));
    }
    let host = filter.host.as_deref();
    let mut routes = coverage::routes(&state.store, &reader.tenant, host, filter.mapped, LIMIT + 1).await?;
    let limit = usize::try_from(LIMIT).unwrap_or(usize::MAX);
    let more = routes.len() > limit;
    routes.truncate(limit);
    let routes: Vec<Value> = routes
        .iter()
        .map(|route| {
            json!({
                "host": route.host,
                "method": route.method,
                "route": route.route,
                "mapped": route.mapped,
                "count": route.count,
                "first_seen": time(route.first_seen),
                "last_seen": time(route.last_seen),
            })
        })
        .collect();
    let hosts = coverage::totals(&state.store, &reader.tenant, host).await?;
    let sum = |read: fn(&HostTotal) -> i64| hosts.iter().map(read).sum::<i64>();
    let mut totals = figures(&HostTotal {
        host: String::new(),
        mapped: sum(|host| host.mapped),
        unmapped: sum(|host| host.unmapped),
        unlisted: sum(|host| host.unlisted),
        routes_mapped: sum(|host| host.routes_mapped),
        routes_unmapped: sum(|host| host.routes_unmapped),
    });
    let by_host: serde_json::Map<String, Value> =
        hosts.iter().map(|host| (host.host.clone(), figures(host))).collect();
    totals["hosts"] = Value::Object(by_host);
    Ok(Json(json!({"routes": routes, "more": more, "totals": totals})))
}

fn figures(total: &HostTotal) -> Value {
    let requests = total.mapped.saturating_add(total.unmapped);
    // Rounded down to a tenth: 100 means all.
    let percent =
        (requests > 0).then(|| (i128::from(total.mapped) * 1000 / i128::from(requests)) as f64 / 10.0);
    json!({
        "requests": requests,
        "requests_mapped": total.mapped,
        "requests_unmapped": total.unmapped,
        "requests_unlisted": total.unlisted,
        "routes_mapped": total.routes_mapped,
        "routes_unmapped": total.routes_unmapped,
        "percent_mapped": percent,
    })
}
