//! How many requests a reader may make: one who asks too much is told to wait, and keeps nobody else from reading.

use std::sync::{Arc, Mutex, PoisonError};

use shared::event::{TenantId, Timestamp};

use super::buckets::Buckets;

/// The limit of each reader. Clones share it.
#[derive(Debug, Clone)]
pub struct Readers(Arc<Mutex<Buckets<(TenantId, String)>>>);

impl Readers {
    /// So many requests in a second for each key or person; 0 for no limit.
    pub fn new(per_second: u32) -> Self {
        Self(Arc::new(Mutex::new(Buckets::new(per_second))))
    }

    /// Counts a request.
    ///
    /// # Errors
    /// The seconds to wait, at least one, if it is one too many; it does not count then.
    pub fn admit(&self, tenant: &TenantId, who: &str, now: Timestamp) -> Result<(), u64> {
        let key = (tenant.clone(), who.to_owned());
        let mut buckets = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match buckets.wait(&key, 1, now) {
            0 => {
                buckets.take(&key, 1);
                Ok(())
            }
            millis => Err(millis.div_ceil(1_000)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reader_waits_and_others_do_not() {
        let readers = Readers::new(2);
        let (demo, other): (TenantId, TenantId) =
            ("demo".parse().expect("a slug"), "other".parse().expect("a slug"));
        let at = |millis: u64| Timestamp::try_from(1_700_000_000_000 + millis).expect("a time");
        for _ in 0..20 {
            assert_eq!(readers.admit(&demo, "k", at(0)), Ok(()));
        }
        assert_eq!(readers.admit(&demo, "k", at(0)), Err(1));
        assert_eq!(readers.admit(&demo, "k", at(499)), Err(1));
        assert_eq!(readers.admit(&demo, "k", at(500)), Ok(()));
        assert_eq!(readers.admit(&demo, "l", at(500)), Ok(()));
        assert_eq!(readers.admit(&other, "k", at(500)), Ok(()));
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let readers = Readers::new(0);
        let demo = "demo".parse().expect("a slug");
        let now = Timestamp::try_from(1_700_000_000_000).expect("a time");
        assert!((0..1_000).all(|_| readers.admit(&demo, "k", now).is_ok()));
    }
}
