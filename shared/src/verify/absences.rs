//! What is missing, held against the lists of absences and the records that commit to them.
//!
//! A list is believed once its record has been seen in the log, which may be years after the leaves it names. So each
//! leaf is only put down under the set of lists that name it, and all is settled at the end: memory grows with the
//! lists, never with the log.

use std::collections::BTreeMap;

use serde::Deserialize;
use uuid::Uuid;

use super::record::RETENTION_DROP;
use super::report::{Counts, Finding, Kind, Report};
use crate::absence::{AbsenceError, AbsenceList, CONTEXT, Lost, Run};
use crate::bundle::LogId;
use crate::event::{Event, RetentionClass};
use crate::leaf::{Hash, Tag};

const DAY_MS: u64 = 86_400_000;
/// A leaf that something is missing of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Leaf {
    pub(super) log: LogId,
    pub(super) index: u64,
    pub(super) event: Option<Uuid>,
}

#[derive(Debug)]
struct List {
    record: Uuid,
    list: Result<AbsenceList, AbsenceError>,
    hash: Hash,
    /// By class: the newest leaf in it.
    newest: [Option<(u64, Leaf)>; 3],
    /// Leaves that lost nothing of what the list says.
    kept: u64,
}

#[derive(Debug)]
struct Record {
    event: Uuid,
    leaf: Leaf,
    drop: Option<Drop>,
    sha256: Option<Hash>,
    occurred_ms: u64,
}

#[derive(Debug)]
struct Drop {
    context: bool,
    class: Option<RetentionClass>,
    period_days: u64,
    /// Whether what was dropped went to an archive before.
    archived: bool,
}

impl Record {
    /// Whether it explains that this is missing where it is missing: what was archived is missing in the database, not in
    /// the archive, but for the context, which is never archived.
    fn explains(&self, lost: u16, archive: bool) -> bool {
        let archived = archive && self.drop.as_ref().is_some_and(|drop| drop.archived);
        !archived || lost & !Lost::fields(&CONTEXT).bits() == 0
    }
}

/// The lists, the records, and what is missing.
#[derive(Debug, Default)]
pub(super) struct Absences {
    lists: Vec<List>,
    records: Vec<Record>,
    /// The runs of the log at hand, by first leaf; and those that reach the leaf at hand.
    runs: Vec<(Run, usize)>,
    next: usize,
    active: Vec<(Run, usize)>,
    /// By the lists that name them and what is missing: how many, and the first.
    missing: BTreeMap<(Vec<usize>, u16), (u64, Leaf)>,
    /// By the lists that name them: events of which some fields are left.
    remnants: BTreeMap<Vec<usize>, u64>,
    /// Whether an archive is verified.
    archive: bool,
}

impl Absences {
    /// What is verified is an archive: it holds what the database let go.
    pub(super) fn of_archive(&mut self) {
        self.archive = true;
    }

    /// Whether an archive is verified.
    pub(super) fn is_archive(&self) -> bool {
        self.archive
    }

    pub(super) fn add(&mut self, record: Uuid, bytes: &[u8]) {
        let list = AbsenceList::decode(bytes);
        let hash = list.as_ref().map_or([0; 32], AbsenceList::hash);
        self.lists.push(List { record, list, hash, newest: [None; 3], kept: 0 });
    }

    /// Goes to the first leaf of a log.
    pub(super) fn begin(&mut self, log: LogId) {
        self.runs.clear();
        self.active.clear();
        self.next = 0;
        for (at, list) in self.lists.iter().enumerate() {
            let runs = list.list.iter().flat_map(AbsenceList::runs);
            self.runs.extend(runs.filter(|run| run.log == log.0).map(|run| (*run, at)));
        }
        self.runs.sort_unstable();
    }

    /// Goes to a leaf; leaves are visited in order.
    pub(super) fn visit(&mut self, leaf: Leaf, class: RetentionClass, received_ms: u64) {
        let index = leaf.index;
        self.active.retain(|(run, _)| index - run.first < u64::from(run.count));
        while let Some(entry) = self.runs.get(self.next).filter(|(run, _)| run.first <= index) {
            // The first leaf that is visited may be beyond it.
            if index - entry.0.first < u64::from(entry.0.count) {
                self.active.push(*entry);
            }
            self.next += 1;
        }
        for (_, at) in &self.active {
            let newest = &mut self.lists[*at].newest[usize::from(class.byte()).min(2)];
            if newest.is_none_or(|(at, _)| at < received_ms) {
                *newest = Some((received_ms, leaf));
            }
        }
    }

    /// Whether a list says that the leaf at hand lost its whole opening.
    pub(super) fn explains_event(&self) -> bool {
        self.active.iter().any(|(run, _)| run.lost.is_event())
    }

    /// The opening of the leaf at hand is gone.
    pub(super) fn missing_event(&mut self, leaf: Leaf) {
        self.missing_part(leaf, Lost::EVENT, |run| run.lost.is_event());
    }

    /// These fields of the leaf at hand are gone.
    pub(super) fn missing_fields(&mut self, leaf: Leaf, tags: &[Tag]) {
        for tag in tags {
            self.missing_part(leaf, Lost::fields(&[*tag]), |run| run.lost.covers(*tag));
        }
        let mut lists: Vec<usize> = self.active.iter().map(|(_, at)| *at).collect();
        lists.sort_unstable();
        lists.dedup();
        *self.remnants.entry(lists).or_default() += 1;
    }

    fn missing_part(&mut self, leaf: Leaf, lost: Lost, covers: impl Fn(&Run) -> bool) {
        let mut lists: Vec<usize> =
            self.active.iter().filter(|(run, _)| covers(run)).map(|(_, at)| *at).collect();
        lists.sort_unstable();
        lists.dedup();
        self.missing.entry((lists, lost.bits())).or_insert((0, leaf)).0 += 1;
    }

    /// These fields of the leaf at hand are there.
    pub(super) fn there(&mut self, tags: &[Tag]) {
        for (run, at) in &self.active {
            if tags.iter().any(|tag| *tag != Tag::STRUCTURE && run.lost.covers(*tag)) {
                self.lists[*at].kept += 1;
            }
        }
    }

    /// Takes in a record of ours.
    pub(super) fn record(&mut self, leaf: Leaf, event: &Event) {
        let details =
            event.details.as_ref().and_then(|text| serde_json::from_str::<Details>(text.as_str()).ok());
        let details = details.unwrap_or_default();
        let sha256 = details.absence.and_then(|absence| {
            let mut hash = [0; 32];
            hex::decode_to_slice(&absence.sha256, &mut hash).ok().map(|()| hash)
        });
        let drop = (event.action.as_str() == RETENTION_DROP).then(|| Drop {
            context: details.what.as_deref() == Some("context"),
            class: match details.class.as_deref() {
                Some("standard") => Some(RetentionClass::Standard),
                Some("critical") => Some(RetentionClass::Critical),
                _ => None,
            },
            period_days: details.period_days.unwrap_or(u64::MAX),
            archived: details.archive.is_some(),
        });
        let occurred_ms = event.occurred_at.millis();
        self.records.push(Record { event: event.id.uuid(), leaf, drop, sha256, occurred_ms });
    }

    /// Settles all of it.
    pub(super) fn settle(mut self, report: &mut Report) {
        report.counts.records = self.records.len() as u64;
        self.records.sort_by_key(|record| record.event);
        let lists = std::mem::take(&mut self.lists);
        let standing: Vec<Option<&Record>> = lists.iter().map(|list| self.judge(list, report)).collect();
        let announced = self
            .records
            .iter()
            .filter(|record| record.sha256.is_some() && lists.iter().all(|list| list.record != record.event));
        for record in announced {
            let (at, log) = (record.leaf.index, record.leaf.log);
            report.notes.push(format!(
                "announced, not carried out: record {} (leaf {at} of log {log}) has no list of absences, so it removed nothing",
                record.event
            ));
        }
        let archived = |at: usize| {
            let drop = standing[at].and_then(|record| record.drop.as_ref());
            self.archive && drop.is_some_and(|drop| drop.archived)
        };
        for (_, list) in lists.iter().enumerate().filter(|(at, list)| list.kept > 0 && !archived(*at)) {
            report.notes.push(format!(
                "announced, not carried out: {} events still hold what record {} says was removed; was a backup restored?",
                list.kept, list.record
            ));
        }
        for (named, count) in &self.remnants {
            let mut records = named.iter().filter_map(|at| standing[*at]).peekable();
            if records.peek().is_some() {
                let erased = records.any(|record| record.drop.is_none());
                let counts = &mut report.counts;
                *(if erased { &mut counts.erased_in_part } else { &mut counts.context_dropped }) += count;
            }
        }
        for ((named, lost), (count, first)) in &self.missing {
            let records = named.iter().filter_map(|at| standing[*at]);
            let record = records.clone().find(|record| record.explains(*lost, self.archive));
            let why = match records.clone().next() {
                Some(_) => "the record of its drop says that it was archived",
                None => "no record of an erasure or a drop explains it",
            };
            match record {
                Some(record) => count_explained(&mut report.counts, *lost, *count, record.drop.as_ref()),
                None => {
                    report.counts.unexplained += count;
                    let what = if *lost == Lost::EVENT.bits() {
                        "its opening is gone".to_owned()
                    } else {
                        format!("field {:#06x} is gone", 0x8001 + lost.trailing_zeros())
                    };
                    let more =
                        if *count > 1 { format!(", and of {} more", count - 1) } else { String::new() };
                    report.find(Finding {
                        kind: Kind::Deleted,
                        log: Some(first.log),
                        index: Some(first.index),
                        event: first.event,
                        detail: format!("{what}{more}, and {why}"),
                    });
                }
            }
        }
    }

    /// The record that a list stands on, if it does.
    fn judge(&self, list: &List, report: &mut Report) -> Option<&Record> {
        let wrong = |kind, leaf: Option<Leaf>, detail: String| Finding {
            kind,
            log: leaf.map(|leaf| leaf.log),
            index: leaf.map(|leaf| leaf.index),
            event: leaf.map_or(Some(list.record), |leaf| leaf.event.or(Some(list.record))),
            detail,
        };
        let absences = match &list.list {
            Ok(absences) => absences,
            Err(error) => {
                report.find(wrong(Kind::AbsencesEdited, None, error.to_string()));
                return None;
            }
        };
        let Ok(at) = self.records.binary_search_by_key(&list.record, |record| record.event) else {
            let detail = "no event of this id in the logs commits to a list".to_owned();
            report.find(wrong(Kind::AbsencesUnrecorded, None, detail));
            return None;
        };
        let record = &self.records[at];
        if record.sha256 != Some(list.hash) {
            let detail = "it is not the list that its record commits to".to_owned();
            report.find(wrong(Kind::AbsencesEdited, None, detail));
            return None;
        }
        let Some(drop) = &record.drop else { return Some(record) };
        let extra = absences.runs().iter().find(|run| {
            let allowed = Lost::fields(&CONTEXT).bits();
            drop.context && (run.lost.is_event() || run.lost.bits() & !allowed != 0)
        });
        if let Some(run) = extra {
            let leaf = Leaf { log: LogId(run.log), index: run.first, event: None };
            let detail = "a drop of personal context took more than context".to_owned();
            report.find(wrong(Kind::DroppedTooMuch, Some(leaf), detail));
            return None;
        }
        let mut holds = true;
        for &class in RetentionClass::ALL {
            let Some((received, leaf)) = list.newest[usize::from(class.byte()).min(2)] else { continue };
            if !drop.context && drop.class != Some(class) {
                let detail = format!("it is of class {class:?}, and the record says another");
                report.find(wrong(Kind::DroppedTooMuch, Some(leaf), detail));
                holds = false;
                continue;
            }
            let due = drop.period_days.checked_mul(DAY_MS).and_then(|period| period.checked_add(received));
            if due.is_none_or(|due| due > record.occurred_ms) {
                let detail = format!("it was dropped before its {} days were over", drop.period_days);
                report.find(wrong(Kind::DroppedEarly, Some(leaf), detail));
                holds = false;
            }
        }
        holds.then_some(record)
    }
}

fn count_explained(counts: &mut Counts, lost: u16, count: u64, drop: Option<&Drop>) {
    let whole = lost == Lost::EVENT.bits();
    match drop {
        Some(drop) if whole => {
            counts.dropped += count;
            if drop.archived {
                counts.archived += count;
            }
        }
        None if whole => counts.erased += count,
        // An event of which something is left is counted once, not for each field.
        _ => {}
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Details {
    absence: Option<DetailsAbsence>,
    what: Option<String>,
    class: Option<String>,
    period_days: Option<u64>,
    archive: Option<String>,
}

#[derive(Debug, Deserialize)]
struct DetailsAbsence {
    sha256: String,
}
