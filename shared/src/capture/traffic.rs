//! Every request counted by method and route, whether a rule is about it or not: what is not captured is visible.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::{Draft, Mount};
use crate::event::Timestamp;
use crate::policy::fold_path;

/// Routes that are told apart within one record; requests on others are counted together.
const MAX_ROUTES: usize = 1_000;

/// Routes in one event: at most 180 bytes each, within the size of an event's details.
const ROUTES_PER_EVENT: usize = 80;

/// Bytes of one route that are kept.
const MAX_ROUTE: usize = 120;

/// The requests of one mount since the last record.
#[derive(Debug, Default)]
pub struct Traffic {
    since: Option<Timestamp>,
    routes: BTreeMap<String, Vec<Seen>>,
    distinct: usize,
    overflow: u64,
}

#[derive(Debug)]
struct Seen {
    method: String,
    mapped: bool,
    count: u64,
    first: Timestamp,
    last: Timestamp,
}

impl Traffic {
    /// Counts a request. `mapped` is the path template of the rules about it; without one the path is folded.
    pub fn count(&mut self, method: &str, path: &str, mapped: Option<&str>, at: Timestamp) {
        self.since.get_or_insert(at);
        let folded;
        let route = match mapped {
            Some(route) => route,
            None => {
                folded = fold_path(path);
                folded.as_str()
            }
        };
        let seen = self.routes.get_mut(route).and_then(|methods| {
            methods.iter_mut().find(|seen| seen.method == method && seen.mapped == mapped.is_some())
        });
        match seen {
            Some(seen) => {
                seen.count += 1;
                seen.last = at;
            }
            None if self.distinct >= MAX_ROUTES => self.overflow += 1,
            None => {
                self.distinct += 1;
                let method = method.chars().take(16).collect();
                let seen = Seen { method, mapped: mapped.is_some(), count: 1, first: at, last: at };
                self.routes.entry(route.to_owned()).or_default().push(seen);
            }
        }
    }

    /// Whether anything was counted.
    pub fn is_empty(&self) -> bool {
        self.distinct == 0
    }

    /// The events that record what was counted, which begins anew. `resets` is how often counts were lost since then.
    pub fn drain(&mut self, mount: &Mount, until: Timestamp, resets: u32) -> Vec<Draft> {
        let Self { since, routes, overflow, .. } = core::mem::take(self);
        let since = since.unwrap_or(until);
        let rows: Vec<(String, Seen)> = routes
            .into_iter()
            .flat_map(|(route, methods)| methods.into_iter().map(move |seen| (route.clone(), seen)))
            .collect();
        let mut told = (resets, overflow);
        rows.chunks(ROUTES_PER_EVENT)
            .map(|rows| {
                let routes: Vec<Value> = rows
                    .iter()
                    .map(|(route, seen)| {
                        let route: String = route.chars().take(MAX_ROUTE).collect();
                        json!([
                            seen.method,
                            route,
                            seen.mapped,
                            seen.count,
                            seen.first.millis(),
                            seen.last.millis()
                        ])
                    })
                    .collect();
                let (resets, overflow) = core::mem::take(&mut told);
                let details = json!({
                    "since_ms": since.millis(), "until_ms": until.millis(), "host": mount.host,
                    "resets": resets, "overflow": overflow, "routes": routes,
                });
                Draft::of_traffic(mount, until, details)
            })
            .collect()
    }
}
