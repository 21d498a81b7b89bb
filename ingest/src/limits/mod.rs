//! How many events a tenant and a source may send, checked after the signature, and how many requests a reader may make.
//!
//! A batch over the limit is held back, not lost: nothing of it is stored and its sender sends it again. That it
//! happened is an event, at most once a minute for each tenant.

mod buckets;
mod readers;

pub use readers::Readers;

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use shared::batch::{Header, StreamId};
use shared::event::{Severity, TenantId, Timestamp};

use crate::config;
use crate::own::OwnEvent;
use buckets::Buckets;

/// How often a tenant is told, in milliseconds.
const TELL_EVERY: u64 = 60_000;

/// The limits. Clones share their buckets.
#[derive(Debug, Clone)]
pub struct Limits {
    state: Arc<Mutex<State>>,
}

#[derive(Debug)]
struct State {
    tenants: Buckets<TenantId>,
    sources: Buckets<(TenantId, StreamId)>,
    held_back: HashMap<TenantId, HeldBack>,
}

/// Batches of a tenant that were held back and not told yet.
#[derive(Debug, Clone, Copy, Default)]
struct HeldBack {
    batches: u64,
    since: Option<Timestamp>,
    told_at: Option<Timestamp>,
}

impl Limits {
    /// Limits with full buckets.
    pub fn new(rates: config::Limits) -> Self {
        let (tenants, sources) = (Buckets::new(rates.tenant), Buckets::new(rates.source));
        Self { state: Arc::new(Mutex::new(State { tenants, sources, held_back: HashMap::new() })) }
    }

    /// Whether a batch may pass; if so its events count.
    pub fn admit(&self, header: &Header, now: Timestamp) -> bool {
        let events = u64::from(header.count);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = (header.tenant.clone(), header.stream);
        let passes = state.tenants.wait(&header.tenant, events, now) == 0
            && state.sources.wait(&of_source, events, now) == 0;
        if passes {
            state.tenants.take(&header.tenant, events);
            state.sources.take(&of_source, events);
        } else {
            let held_back = state.held_back.entry(header.tenant.clone()).or_default();
            held_back.batches += 1;
            held_back.since.get_or_insert(now);
        }
        passes
    }

    /// What is to be told now. It counts as told.
    pub fn report(&self, now: Timestamp) -> Vec<OwnEvent> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |told: &HeldBack| {
            told.told_at.is_some_and(|told| now.millis().saturating_sub(told.millis()) < TELL_EVERY)
        };
        state.held_back.retain(|_, held_back| held_back.batches > 0 || quiet(held_back));
        let mut events = Vec::new();
        for (tenant, held_back) in &mut state.held_back {
            let Some(since) = held_back.since.filter(|_| !quiet(held_back)) else { continue };
            let event =
                OwnEvent::new(tenant, "RATE_LIMITED", "ingest/limits", now, "tenant", tenant.as_str());
            events.push(OwnEvent {
                severity: Severity::Warning,
                details: Some(json!({"refused_batches": held_back.batches, "since": since.to_string()})),
                ..event
            });
            *held_back = HeldBack { told_at: Some(now), ..HeldBack::default() };
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: config::Limits = config::Limits { tenant: 0, source: 0, reader: 0 };

    fn header(tenant: &str, stream: u8, count: u16) -> Header {
        Header {
            tenant: tenant.parse().expect("a slug"),
            stream: StreamId([stream; 16]),
            seq: 0,
            prev: [0; 32],
            sent: at(0),
            count,
            dropped: 0,
            events: [0; 32],
        }
    }

    fn at(millis: u64) -> Timestamp {
        Timestamp::try_from(1_700_000_000_000 + millis).expect("a time")
    }

    #[test]
    fn ten_seconds_may_come_at_once_and_then_the_rate() {
        let limits = Limits::new(config::Limits { source: 5, ..NONE });
        assert!(limits.admit(&header("demo", 1, 50), at(0)));
        assert!(!limits.admit(&header("demo", 1, 1), at(199)));
        assert!(limits.admit(&header("demo", 1, 1), at(200)));
        assert!(limits.admit(&header("demo", 2, 50), at(200)), "another source has its own");
    }

    #[test]
    fn a_batch_larger_than_the_burst_passes_a_full_bucket() {
        let limits = Limits::new(config::Limits { tenant: 1, ..NONE });
        assert!(limits.admit(&header("demo", 1, 100), at(0)));
        assert!(!limits.admit(&header("demo", 2, 1), at(90_000)));
        assert!(limits.admit(&header("demo", 2, 1), at(91_000)));
        assert!(limits.admit(&header("other", 2, 100), at(0)));
    }

    #[test]
    fn held_back_batches_are_told_once_a_minute() {
        let limits = Limits::new(config::Limits { tenant: 1, ..NONE });
        assert!(limits.admit(&header("demo", 1, 100), at(0)));
        assert!(limits.report(at(0)).is_empty());
        for _ in 0..3 {
            assert!(!limits.admit(&header("demo", 1, 1), at(1)));
        }
        let told = limits.report(at(2));
        assert_eq!(told.len(), 1);
        let details = told[0].details.as_ref().expect("details");
        assert_eq!((&details["refused_batches"], &details["since"]), (&json!(3), &json!(at(1).to_string())));
        assert!(!limits.admit(&header("demo", 1, 1), at(3)));
        assert!(limits.report(at(60_001)).is_empty());
        assert_eq!(limits.report(at(60_002)).len(), 1);
        assert!(limits.report(at(200_000)).is_empty());
    }
}
