//! Explained absence: which leaves of a log lost what, as a list that a record in the log commits to.
//!
//! An erasure or a drop removes values, never leaves. Its record (an event of class permanent) carries the hash of the list;
//! the list itself is kept beside the log and exported with it. It names places and fields only, so it holds no personal
//! data. A value that is missing and stands in no list of a record is an unexplained absence.
//!
//! ```text
//! run  = log_id[16] | first u64be | count u32be | lost u16be        count consecutive leaves that lost the same
//! lost = 0x8000: the whole opening; else bit n - 1 for the erased field with tag 0x8000 + n
//! hash = SHA256("audit/absence/v1\0" | runs)                        runs strictly ascending by (log_id, first), disjoint
//! ```

use sha2::{Digest as _, Sha256};

use crate::leaf::{Hash, Tag};

/// The personal context of an event, whose period is never longer than that of the event.
pub const CONTEXT: [Tag; 4] = [Tag::IP, Tag::USER_AGENT, Tag::SESSION, Tag::PLACE];

/// Bytes of one run.
pub const RUN_LEN: usize = 30;

const DOMAIN: &[u8] = b"audit/absence/v1\0";
const WHOLE: u16 = 0x8000;

/// What a leaf lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lost(u16);

impl Lost {
    /// The whole opening.
    pub const EVENT: Self = Self(WHOLE);

    /// These fields; structural ones cannot be lost alone and are left out.
    pub fn fields(tags: &[Tag]) -> Self {
        let bit = |tag: &Tag| match tag.number().checked_sub(0x8001) {
            Some(bit @ 0..15) => 1 << bit,
            _ => 0,
        };
        Self(tags.iter().map(bit).fold(0, |all: u16, bit| all | bit))
    }

    /// Whether the opening is gone as a whole.
    pub fn is_event(self) -> bool {
        self.0 & WHOLE != 0
    }

    /// Whether this explains that the field is missing.
    pub fn covers(self, tag: Tag) -> bool {
        self.is_event() || Self::fields(&[tag]).0 & self.0 != 0
    }

    fn and(self, more: Self) -> Self {
        if self.is_event() || more.is_event() { Self::EVENT } else { Self(self.0 | more.0) }
    }

    /// The two bytes as a number.
    pub fn bits(self) -> u16 {
        self.0
    }
}

/// Consecutive leaves that lost the same.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Run {
    /// The log's id.
    pub log: [u8; 16],
    /// The first leaf.
    pub first: u64,
    /// How many, at least one.
    pub count: u32,
    /// What each lost.
    pub lost: Lost,
}

/// Why bytes are not a list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AbsenceError {
    /// Not a whole number of runs.
    #[error("an absence list of {0} bytes is cut")]
    Cut(usize),
    /// A run of nothing, or one beyond the end of numbers.
    #[error("run {0} of an absence list is malformed")]
    Malformed(usize),
    /// Runs overlap or do not ascend.
    #[error("run {0} of an absence list is out of order")]
    Order(usize),
}

/// A list of runs, ascending and disjoint.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AbsenceList {
    runs: Vec<Run>,
}

impl AbsenceList {
    /// The list of these leaves `(log, index, lost)`, in any order. Of a leaf that is named twice both losses count.
    pub fn of(mut leaves: Vec<([u8; 16], u64, Lost)>) -> Self {
        leaves.sort_unstable();
        let mut runs: Vec<Run> = Vec::new();
        let mut leaves = leaves.into_iter().peekable();
        while let Some((log, index, mut lost)) = leaves.next() {
            while let Some((_, _, more)) = leaves.next_if(|next| (next.0, next.1) == (log, index)) {
                lost = lost.and(more);
            }
            match runs.last_mut() {
                Some(run)
                    if run.log == log
                        && run.lost == lost
                        && run.first + u64::from(run.count) == index
                        && run.count < u32::MAX =>
                {
                    run.count += 1;
                }
                _ => runs.push(Run { log, first: index, count: 1, lost }),
            }
        }
        Self { runs }
    }

    /// The list of these runs of distinct leaves, in any order.
    pub fn of_runs(mut runs: Vec<Run>) -> Self {
        runs.sort_unstable();
        let mut joined: Vec<Run> = Vec::with_capacity(runs.len());
        for run in runs {
            match joined.last_mut() {
                Some(last)
                    if last.log == run.log
                        && last.lost == run.lost
                        && last.first + u64::from(last.count) == run.first
                        && last.count.checked_add(run.count).is_some() =>
                {
                    last.count += run.count;
                }
                _ => joined.push(run),
            }
        }
        Self { runs: joined }
    }

    /// The runs.
    pub fn runs(&self) -> &[Run] {
        &self.runs
    }

    /// The leaves in it.
    pub fn leaves(&self) -> u64 {
        self.runs.iter().map(|run| u64::from(run.count)).sum()
    }

    /// What a leaf lost by this list.
    pub fn lost(&self, log: &[u8; 16], index: u64) -> Option<Lost> {
        let at = self.runs.partition_point(|run| (&run.log, run.first) <= (log, index)).checked_sub(1)?;
        let run = &self.runs[at];
        (run.log == *log && index - run.first < u64::from(run.count)).then_some(run.lost)
    }

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(self.runs.len() * RUN_LEN);
        for run in &self.runs {
            bytes.extend_from_slice(&run.log);
            bytes.extend_from_slice(&run.first.to_be_bytes());
            bytes.extend_from_slice(&run.count.to_be_bytes());
            bytes.extend_from_slice(&run.lost.0.to_be_bytes());
        }
        bytes
    }

    /// Reads the bytes.
    ///
    /// # Errors
    /// [`AbsenceError`] names the first run that is wrong, from 0.
    pub fn decode(bytes: &[u8]) -> Result<Self, AbsenceError> {
        let (chunks, rest) = bytes.as_chunks::<RUN_LEN>();
        if !rest.is_empty() {
            return Err(AbsenceError::Cut(bytes.len()));
        }
        let mut runs: Vec<Run> = Vec::with_capacity(chunks.len());
        for (at, chunk) in chunks.iter().enumerate() {
            let run = run(chunk).ok_or(AbsenceError::Malformed(at))?;
            let follows = runs.last().is_none_or(|last| {
                last.log < run.log || last.log == run.log && last.first + u64::from(last.count) <= run.first
            });
            if !follows {
                return Err(AbsenceError::Order(at));
            }
            runs.push(run);
        }
        Ok(Self { runs })
    }

    /// The hash that a record commits to.
    pub fn hash(&self) -> Hash {
        let mut hash = Sha256::new();
        hash.update(DOMAIN);
        hash.update(self.encode());
        hash.finalize().into()
    }
}

fn run(bytes: &[u8; RUN_LEN]) -> Option<Run> {
    let (log, rest) = bytes.split_first_chunk::<16>()?;
    let (first, rest) = rest.split_first_chunk::<8>()?;
    let (count, lost) = rest.split_first_chunk::<4>()?;
    let run = Run {
        log: *log,
        first: u64::from_be_bytes(*first),
        count: u32::from_be_bytes(*count),
        lost: Lost(u16::from_be_bytes(lost.try_into().ok()?)),
    };
    let plain = run.lost.0 != 0 && (!run.lost.is_event() || run.lost == Lost::EVENT);
    (run.count > 0 && plain && run.first.checked_add(u64::from(run.count)).is_some()).then_some(run)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn leaves() -> impl Strategy<Value = Vec<([u8; 16], u64, Lost)>> {
        let lost = prop_oneof![
            Just(Lost::EVENT),
            Just(Lost::fields(&[Tag::IP])),
            Just(Lost::fields(&[Tag::ACTOR, Tag::DETAILS]))
        ];
        proptest::collection::btree_map((0_u8..3, 0_u64..60), lost, 0..80)
            .prop_map(|all| all.into_iter().map(|((log, at), lost)| ([log; 16], at, lost)).collect())
    }

    #[test]
    fn a_run_tells_what_is_gone_and_nothing_beside_it_is_explained() {
        let list = AbsenceList::of(vec![
            ([7; 16], 5, Lost::fields(&[Tag::IP])),
            ([7; 16], 4, Lost::fields(&[Tag::IP])),
        ]);
        assert_eq!(list.runs().len(), 1);
        let lost = list.lost(&[7; 16], 5).expect("in the run");
        assert!(lost.covers(Tag::IP) && !lost.covers(Tag::ACTOR) && !lost.is_event());
        assert_eq!(
            (list.lost(&[7; 16], 3), list.lost(&[7; 16], 6), list.lost(&[8; 16], 4)),
            (None, None, None)
        );
        assert!(Lost::EVENT.covers(Tag::ACTOR) && Lost::EVENT.covers(Tag::STRUCTURE));
        assert!(!Lost::fields(&[Tag::STRUCTURE]).covers(Tag::STRUCTURE));
    }

    proptest! {
        #[test]
        fn a_list_of_single_leaves_as_runs_is_the_list_of_the_leaves(leaves in leaves()) {
            let runs = leaves.iter().rev();
            let runs = runs.map(|(log, first, lost)| Run { log: *log, first: *first, count: 1, lost: *lost });
            prop_assert_eq!(AbsenceList::of_runs(runs.collect()), AbsenceList::of(leaves));
        }

        #[test]
        fn a_list_reads_back_and_tells_each_leaf(leaves in leaves()) {
            let list = AbsenceList::of(leaves.clone());
            prop_assert_eq!(list.leaves(), leaves.len() as u64);
            for (log, index, lost) in &leaves {
                prop_assert_eq!(list.lost(log, *index), Some(*lost));
            }
            let read = AbsenceList::decode(&list.encode());
            prop_assert_eq!(read.as_ref(), Ok(&list));
            prop_assert_eq!(read.expect("just seen").hash(), list.hash());
        }

        #[test]
        fn any_bytes_are_read_or_refused_and_what_is_read_is_canonical(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
            if let Ok(list) = AbsenceList::decode(&bytes) {
                prop_assert_eq!(list.encode(), bytes);
            }
        }
    }
}
