//! Holes in streams: recorded once they are old, closed as far as they are filled.

use chrono::{DateTime, Utc};
use serde_json::json;
use shared::event::{RetentionClass, Severity};

use super::{AT_ONCE, Accountant};
use crate::own::{OwnError, OwnEvent};
use crate::store::commit;
use crate::store::streams::{self, Gap, Hole, Range, StreamKey};

impl Accountant {
    pub(super) async fn gaps(&self) -> Result<(), OwnError> {
        let mut after: Option<StreamKey> = None;
        loop {
            let Some(mut transaction) = self.lead().await? else { return Ok(()) };
            let keys = streams::unsettled(&mut transaction, after.as_ref(), AT_ONCE).await?;
            commit(transaction).await?;
            for key in &keys {
                self.settle(key).await?;
            }
            match keys.last() {
                Some(last) => after = Some(last.clone()),
                None => return Ok(()),
            }
        }
    }

    async fn settle(&self, key: &StreamKey) -> Result<(), OwnError> {
        let Some(mut transaction) = self.lead().await? else { return Ok(()) };
        let (batches, holes) = streams::holes(&mut transaction, key).await?;
        let recorded = streams::open_gaps(&mut transaction, key).await?;
        let found = compare(&recorded, &holes, self.before(self.ages.gap_after));
        if !found.new.is_empty() || !found.filled.is_empty() {
            let mut events = Vec::new();
            for (action, severity, ranges) in [
                ("EDGE_GAP", Severity::Warning, found.new.iter().map(|hole| hole.range).collect::<Vec<_>>()),
                ("EDGE_GAP_CLOSED", Severity::Info, found.filled.iter().map(|gap| gap.hole.range).collect()),
            ] {
                for Range { first, last } in ranges {
                    let details = json!({"first_seq": first, "last_seq": last, "count": last - first + 1});
                    events.push(OwnEvent {
                        severity,
                        class: RetentionClass::Permanent,
                        details: Some(details),
                        ..self.about_stream(action, key)?
                    });
                }
            }
            self.recorder.record(events).await?;
            let now = self.clock.now().to_utc();
            let new = found.new.iter().map(|hole| Gap {
                stream: key.stream.clone(),
                hole: *hole,
                recorded_at: now,
                closed_at: None,
            });
            let filled = found.filled.into_iter().map(|gap| Gap { closed_at: Some(now), ..gap });
            let rows: Vec<_> = found.open.into_iter().chain(filled).chain(new).collect();
            streams::replace_open_gaps(&mut transaction, key, &rows).await?;
        }
        if found.young == 0 {
            streams::settle(&mut transaction, key, batches).await?;
        }
        commit(transaction).await?;
        Ok(())
    }
}

/// What a look at a stream found.
#[derive(Debug, Default)]
struct Found {
    /// Recorded and still a hole.
    open: Vec<Gap>,
    /// Recorded and filled.
    filled: Vec<Gap>,
    /// Old and not recorded.
    new: Vec<Hole>,
    /// How many are not old yet.
    young: usize,
}

/// Compares what is recorded with what is missing, both in order. A hole never grows: what arrived stays.
fn compare(recorded: &[Gap], holes: &[Hole], old: DateTime<Utc>) -> Found {
    let mut found = Found::default();
    for gap in recorded {
        let Range { first, last } = gap.hole.range;
        let part = |range| Gap { hole: Hole { range, ..gap.hole }, ..gap.clone() };
        let mut next = first;
        for missing in within(holes, gap.hole.range) {
            if missing.first > next {
                found.filled.push(part(Range { first: next, last: missing.first - 1 }));
            }
            found.open.push(part(missing));
            next = missing.last + 1;
        }
        if next <= last {
            found.filled.push(part(Range { first: next, last }));
        }
    }
    for hole in holes {
        if recorded.iter().any(|gap| overlap(gap.hole.range, hole.range).is_some()) {
            continue;
        }
        if hole.noticed_at <= old {
            found.new.push(*hole);
        } else {
            found.young += 1;
        }
    }
    found
}

/// The parts of holes that lie in a range.
fn within(holes: &[Hole], range: Range) -> impl Iterator<Item = Range> {
    let from = holes.partition_point(|hole| hole.range.last < range.first);
    holes[from..].iter().map_while(move |hole| overlap(hole.range, range))
}

fn overlap(one: Range, other: Range) -> Option<Range> {
    let range = Range { first: one.first.max(other.first), last: one.last.min(other.last) };
    (range.first <= range.last).then_some(range)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(seconds, 0).expect("a time")
    }

    fn hole(first: i64, last: i64, noticed: i64) -> Hole {
        Hole { range: Range { first, last }, noticed_at: at(noticed) }
    }

    fn gap(first: i64, last: i64) -> Gap {
        Gap { stream: vec![1], hole: hole(first, last, 0), recorded_at: at(0), closed_at: None }
    }

    fn ranges(gaps: &[Gap]) -> Vec<(i64, i64)> {
        gaps.iter().map(|gap| (gap.hole.range.first, gap.hole.range.last)).collect()
    }

    #[test]
    fn only_old_holes_are_recorded() {
        let found = compare(&[], &[hole(0, 0, 5), hole(3, 4, 11)], at(10));
        assert_eq!((found.new, found.young), (vec![hole(0, 0, 5)], 1));
    }

    #[test]
    fn what_arrives_in_the_middle_splits_a_gap() {
        let found = compare(&[gap(3, 7)], &[hole(3, 4, 0), hole(6, 7, 0)], at(10));
        assert_eq!(ranges(&found.open), [(3, 4), (6, 7)]);
        assert_eq!(ranges(&found.filled), [(5, 5)]);
        assert!(found.new.is_empty() && found.young == 0);
    }

    #[test]
    fn a_filled_gap_is_closed_beside_an_open_one() {
        let found = compare(&[gap(1, 2), gap(5, 9)], &[hole(7, 9, 0), hole(11, 11, 0)], at(10));
        assert_eq!(ranges(&found.open), [(7, 9)]);
        assert_eq!(ranges(&found.filled), [(1, 2), (5, 6)]);
        assert_eq!(found.new, [hole(11, 11, 0)]);
    }

    #[test]
    fn the_highest_place_ends_no_arithmetic() {
        let found = compare(&[gap(1, i64::MAX - 1)], &[hole(1, i64::MAX - 1, 0)], at(10));
        assert_eq!(ranges(&found.open), [(1, i64::MAX - 1)]);
    }
}
