//! Logs that a restored backup closed, and what was lost with it.
//!
//! A restore loses the end of a log, and so does whoever cuts it off. What tells them apart is what the log that goes on says
//! of itself: its leaf 0 names a head of the old log that is larger than what is left, that head is here and the old log
//! signed it, and a record in the log says the same. So nobody can claim a restore without showing how much is missing,
//! and a claim is a loss that is counted, never a success.

use serde::Deserialize;
use uuid::Uuid;

use super::absences::Leaf;
use super::report::{Finding, Kind, Report};
use crate::bundle::LogId;
use crate::event::{Event, JsonText};
use crate::note::Checkpoint;

/// How a log follows another.
#[derive(Debug)]
struct Follows {
    log: LogId,
    previous: LogId,
    /// Entries under the head that is held of the log before.
    held: u64,
    /// The head that leaf 0 names, if it is larger.
    lost: Option<Checkpoint>,
}

/// A record that a log was reopened.
#[derive(Debug)]
struct Reopened {
    event: Uuid,
    leaf: Leaf,
    log: LogId,
    previous: LogId,
    /// Entries under the head that leaf 0 names.
    known: u64,
    /// Entries that somebody is known to have seen.
    seen: u64,
    /// Entries under the head that was served from the backup.
    held: u64,
}

/// The logs that follow others, and the records about them.
#[derive(Debug, Default)]
pub(super) struct Restores {
    follows: Vec<Follows>,
    records: Vec<Reopened>,
}

#[derive(Debug, Deserialize)]
struct Details {
    previous: LogId,
    head_size: u64,
    database_size: u64,
    published_size: Option<u64>,
    witnessed_size: Option<u64>,
}

impl Restores {
    /// Leaf 0 of `log` names the head of `held` entries that is here of the log before, or one that is larger.
    pub(super) fn follows(&mut self, log: LogId, previous: LogId, held: u64, lost: Option<Checkpoint>) {
        self.follows.push(Follows { log, previous, held, lost });
    }

    /// Takes in a record of ours.
    pub(super) fn record(&mut self, leaf: Leaf, event: &Event) {
        let details = event.details.as_ref().map(JsonText::as_str);
        let details = details.and_then(|text| serde_json::from_str::<Details>(text).ok());
        let log = event.entity.as_ref().and_then(|entity| entity.id.as_ref()?.parse().ok());
        let Some((details, log)) = details.zip(log) else { return };
        self.records.push(Reopened {
            event: event.id.uuid(),
            leaf,
            log,
            previous: details.previous,
            known: details.head_size,
            seen: details.head_size.max(details.witnessed_size.unwrap_or(0)),
            held: details.published_size.unwrap_or(details.database_size),
        });
    }

    /// The largest head of a log that a log after it names.
    pub(super) fn lost_head(&self, log: LogId) -> Option<&Checkpoint> {
        let heads = self.follows.iter().filter(|follows| follows.previous == log);
        heads.filter_map(|follows| follows.lost.as_ref()).max_by_key(|head| head.size)
    }

    /// Settles all of it. Records are only there where openings are.
    pub(super) fn settle(&self, has_openings: bool, report: &mut Report) {
        for follows in &self.follows {
            let about = |record: &&Reopened| (record.log, record.previous) == (follows.log, follows.previous);
            let records: Vec<&Reopened> = self.records.iter().filter(about).collect();
            let mut wrong = |event, detail: String| {
                let (log, index) = (Some(follows.previous), Some(follows.held));
                report.find(Finding { kind: Kind::Truncated, log, index, event, detail });
            };
            let held = follows.held;
            let admitted = follows.lost.as_ref().map_or(held, |lost| lost.size);
            if let Some(record) = records.iter().find(|record| record.seen > admitted) {
                let detail = format!(
                    "the record says that {} entries of it were seen, and leaf 0 of log {} admits only {admitted}",
                    record.seen, follows.log
                );
                wrong(Some(record.event), detail);
                continue;
            }
            let Some(known) = follows.lost.as_ref().map(|lost| lost.size) else { continue };
            let record = records.iter().find(|record| record.known == known);
            match record {
                Some(record) if record.held > held => {
                    let detail = format!(
                        "the record (leaf {} of log {}) says that the restored backup held {} entries, and {held} are here",
                        record.leaf.index, record.leaf.log, record.held
                    );
                    wrong(Some(record.event), detail);
                }
                None if has_openings => {
                    let detail = format!(
                        "log {} follows it from a head of {known} entries, {held} are here, and no record says that a \
                         backup was restored",
                        follows.log
                    );
                    wrong(None, detail);
                }
                _ => {
                    report.counts.lost = report.counts.lost.saturating_add(known - held);
                    report.find(Finding {
                        kind: Kind::Restored,
                        log: Some(follows.previous),
                        index: Some(held),
                        event: None,
                        detail: format!(
                            "closed by a restore: the backup holds {held} of {known} leaves; leaves {held}..{known} are \
                             missing since the head of {known} entries that log {} names",
                            follows.log
                        ),
                    });
                    if record.is_none() {
                        report.notes.push(format!(
                            "without openings it was not checked that log {} has a record of the restore",
                            follows.log
                        ));
                    }
                }
            }
        }
    }
}
