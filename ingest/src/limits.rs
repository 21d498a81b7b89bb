//! How many events a tenant and a source may send: token buckets in memory, checked after the signature.
//!
//! A batch over the limit is held back, not lost: nothing of it is stored and its sender sends it again. That it
//! happened is an event, at most once a minute for each tenant.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::json;
use shared::batch::{Header, StreamId};
use shared::event::{Severity, TenantId, Timestamp};

use crate::config;
use crate::own::OwnEvent;

/// Seconds of the limit that may come at once.
const BURST_SECONDS: u64 = 10;
/// How often a tenant is told, in milliseconds.
const TELL_EVERY: u64 = 60_000;
/// Buckets kept before the full ones, which say nothing, are thrown away.
const KEEP: usize = 10_000;

/// The limits. Clones share their buckets.
#[derive(Debug, Clone)]
pub struct Limits {
    rates: config::Limits,
    state: Arc<Mutex<State>>,
}

#[derive(Debug, Default)]
struct State {
    tenants: HashMap<TenantId, Bucket>,
    sources: HashMap<(TenantId, StreamId), Bucket>,
    held_back: HashMap<TenantId, HeldBack>,
}

/// Batches of a tenant that were held back and not told yet.
#[derive(Debug, Clone, Copy, Default)]
struct HeldBack {
    batches: u64,
    since: Option<Timestamp>,
    told_at: Option<Timestamp>,
}

/// Thousandths of events that may come; below zero after a batch larger than the burst.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i64,
    at: u64,
}

impl Limits {
    /// Limits with full buckets.
    pub fn new(rates: config::Limits) -> Self {
        Self { rates, state: Arc::default() }
    }

    /// Whether a batch may pass; if so its events count.
    pub fn admit(&self, header: &Header, now: Timestamp) -> bool {
        let config::Limits { tenant, source } = self.rates;
        if tenant == 0 && source == 0 {
            return true;
        }
        let events = u64::from(header.count);
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        let of_source = (header.tenant.clone(), header.stream);
        let passes = fits(&mut state.tenants, &header.tenant, tenant, events, now)
            && fits(&mut state.sources, &of_source, source, events, now);
        if passes {
            take(&mut state.tenants, &header.tenant, events);
            take(&mut state.sources, &of_source, events);
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

/// Whether events fit into a bucket, which is filled up first. What is larger than the burst fits into a full one.
fn fits<K: Eq + Hash + Clone>(
    buckets: &mut HashMap<K, Bucket>,
    key: &K,
    per_second: u32,
    events: u64,
    now: Timestamp,
) -> bool {
    if per_second == 0 {
        return true;
    }
    let rate = i64::from(per_second);
    let full = rate * (BURST_SECONDS * 1_000).cast_signed();
    // One event a second is one thousandth in a millisecond.
    let filled = |bucket: &Bucket| {
        let millis = now.millis().saturating_sub(bucket.at).cast_signed();
        bucket.level.saturating_add(millis.saturating_mul(rate)).min(full)
    };
    if buckets.len() > KEEP {
        buckets.retain(|_, bucket| filled(bucket) < full);
    }
    let level = match buckets.entry(key.clone()) {
        Entry::Occupied(mut known) => {
            let level = filled(known.get());
            known.insert(Bucket { level, at: now.millis() });
            level
        }
        Entry::Vacant(new) => new.insert(Bucket { level: full, at: now.millis() }).level,
    };
    level >= cost(events).min(full)
}

fn take<K: Eq + Hash>(buckets: &mut HashMap<K, Bucket>, key: &K, events: u64) {
    if let Some(bucket) = buckets.get_mut(key) {
        bucket.level -= cost(events);
    }
}

fn cost(events: u64) -> i64 {
    events.cast_signed().saturating_mul(1_000)
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let limits = Limits::new(config::Limits { tenant: 0, source: 5 });
        assert!(limits.admit(&header("demo", 1, 50), at(0)));
        assert!(!limits.admit(&header("demo", 1, 1), at(199)));
        assert!(limits.admit(&header("demo", 1, 1), at(200)));
        assert!(limits.admit(&header("demo", 2, 50), at(200)), "another source has its own");
    }

    #[test]
    fn a_batch_larger_than_the_burst_passes_a_full_bucket() {
        let limits = Limits::new(config::Limits { tenant: 1, source: 0 });
        assert!(limits.admit(&header("demo", 1, 100), at(0)));
        assert!(!limits.admit(&header("demo", 2, 1), at(90_000)));
        assert!(limits.admit(&header("demo", 2, 1), at(91_000)));
        assert!(limits.admit(&header("other", 2, 100), at(0)));
    }

    #[test]
    fn held_back_batches_are_told_once_a_minute() {
        let limits = Limits::new(config::Limits { tenant: 1, source: 0 });
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
