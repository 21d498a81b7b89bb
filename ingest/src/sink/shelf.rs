//! Batches that were read for one sink, for the others of its tenant that want the same of them.
//!
//! Sinks that follow the log's end read the same events one after the other. What the first has read lies here for a moment: the others,
//! which are spared the reading, come up with it and stay there.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use super::feed::Batch;

/// For so long something lies here: an erasure reaches what was not read yet.
pub(super) const KEPT: Duration = Duration::from_secs(2);
/// Bytes of openings that lie here at most.
const MAX_LEN: usize = 8 << 20;

/// Whose events, and which: a tenant and the text of a search.
pub(super) type Wanted = Arc<(String, String)>;

/// What was read a moment ago.
#[derive(Debug, Default)]
pub(super) struct Shelf(Mutex<Lying>);

#[derive(Debug, Default)]
struct Lying {
    batches: HashMap<(Wanted, i64), Arc<Batch>>,
    /// The one that was read first in front.
    order: VecDeque<(Wanted, i64)>,
    len: usize,
}

impl Lying {
    fn drop_old(&mut self) {
        while let Some(key) = self.order.front() {
            let first = self.batches.get(key);
            if self.len <= MAX_LEN && first.is_some_and(|batch| batch.read.elapsed() < KEPT) {
                return;
            }
            self.len -= first.map_or(0, |batch| batch.len);
            self.batches.remove(key);
            self.order.pop_front();
        }
    }
}

impl Shelf {
    /// Of some batches those at the beginning that lie here.
    pub(super) fn first_of(&self, wanted: &Wanted, batches: &[i64]) -> Vec<Arc<Batch>> {
        let lying = self.swept();
        let found = batches.iter().map_while(|id| lying.batches.get(&(Arc::clone(wanted), *id)).cloned());
        found.collect()
    }

    /// Lays down what was read whole.
    pub(super) fn put(&self, wanted: &Wanted, batches: &[Arc<Batch>]) {
        let mut lying = self.swept();
        for batch in batches {
            let key = (Arc::clone(wanted), batch.id);
            if !lying.batches.contains_key(&key) {
                lying.batches.insert(key.clone(), Arc::clone(batch));
                lying.order.push_back(key);
                lying.len += batch.len;
            }
        }
        lying.drop_old();
    }

    /// Takes away what has lain here for long enough.
    pub(super) fn sweep(&self) {
        drop(self.swept());
    }

    fn swept(&self) -> MutexGuard<'_, Lying> {
        let mut lying = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        lying.drop_old();
        lying
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn batch(id: i64, len: usize, read: Instant) -> Arc<Batch> {
        Arc::new(Batch { id, events: Vec::new(), damaged: Vec::new(), len, read })
    }

    fn wanted(tenant: &str, query: &str) -> Wanted {
        Arc::new((tenant.to_owned(), query.to_owned()))
    }

    fn ids(shelf: &Shelf, wanted: &Wanted, asked: &[i64]) -> Vec<i64> {
        shelf.first_of(wanted, asked).iter().map(|batch| batch.id).collect()
    }

    #[test]
    fn batches_lie_there_for_who_wants_the_same_of_them_up_to_the_first_that_does_not() {
        let (shelf, now) = (Shelf::default(), Instant::now());
        let all = wanted("one", "");
        shelf.put(&all, &[batch(1, 1, now), batch(2, 1, now), batch(4, 1, now)]);
        assert_eq!(ids(&shelf, &wanted("one", ""), &[1, 2, 3, 4]), [1, 2]);
        assert_eq!(ids(&shelf, &all, &[3, 1]), [0; 0]);
        assert_eq!(ids(&shelf, &wanted("two", ""), &[1]), [0; 0]);
        assert_eq!(ids(&shelf, &wanted("one", "severity:critical"), &[1]), [0; 0]);
    }

    #[test]
    fn what_was_read_two_seconds_ago_is_gone_and_so_is_the_first_of_too_much() {
        let (shelf, now) = (Shelf::default(), Instant::now());
        let all = wanted("one", "");
        let old = now.checked_sub(KEPT).expect("a clock that has run for two seconds");
        shelf.put(&all, &[batch(1, 1, old)]);
        assert_eq!(ids(&shelf, &all, &[1]), [0; 0]);
        shelf.put(&all, &[batch(2, MAX_LEN, now), batch(3, 1, now), batch(3, 1, now)]);
        assert_eq!(ids(&shelf, &all, &[2]), [0; 0]);
        assert_eq!(ids(&shelf, &all, &[3]), [3]);
        assert_eq!(shelf.0.lock().expect("no panic").len, 1);
    }
}
