//! Token buckets in memory, one for each of some senders or readers.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::hash::Hash;

use shared::event::Timestamp;

/// Seconds of the limit that may come at once.
const BURST_SECONDS: u64 = 10;
/// Buckets kept before the full ones, which say nothing, are thrown away.
const KEEP: usize = 10_000;

/// Buckets of one rate.
#[derive(Debug)]
pub(super) struct Buckets<K> {
    per_second: u32,
    levels: HashMap<K, Bucket>,
}

/// Thousandths that may come; below zero after more than the burst at once.
#[derive(Debug, Clone, Copy)]
struct Bucket {
    level: i64,
    at: u64,
}

impl<K: Eq + Hash + Clone> Buckets<K> {
    /// Full buckets; 0 for no limit.
    pub(super) fn new(per_second: u32) -> Self {
        Self { per_second, levels: HashMap::new() }
    }

    /// How many milliseconds until so many fit into the bucket, which is filled up first; 0 if they fit now. What is larger
    /// than the burst fits into a full one.
    pub(super) fn wait(&mut self, key: &K, count: u64, now: Timestamp) -> u64 {
        let rate = i64::from(self.per_second);
        if rate == 0 {
            return 0;
        }
        let full = rate * (BURST_SECONDS * 1_000).cast_signed();
        // One a second is one thousandth in a millisecond.
        let filled = |bucket: &Bucket| {
            let millis = now.millis().saturating_sub(bucket.at).cast_signed();
            bucket.level.saturating_add(millis.saturating_mul(rate)).min(full)
        };
        if self.levels.len() > KEEP {
            self.levels.retain(|_, bucket| filled(bucket) < full);
        }
        let level = match self.levels.entry(key.clone()) {
            Entry::Occupied(mut known) => {
                let level = filled(known.get());
                known.insert(Bucket { level, at: now.millis() });
                level
            }
            Entry::Vacant(new) => new.insert(Bucket { level: full, at: now.millis() }).level,
        };
        let missing = cost(count).min(full).saturating_sub(level).max(0).cast_unsigned();
        missing.div_ceil(rate.cast_unsigned())
    }

    /// Takes so many out.
    pub(super) fn take(&mut self, key: &K, count: u64) {
        if let Some(bucket) = self.levels.get_mut(key) {
            bucket.level -= cost(count);
        }
    }
}

fn cost(count: u64) -> i64 {
    count.cast_signed().saturating_mul(1_000)
}
