//! Openings against entries: what a leaf commits to is still there, or is missing as a record says.
//!
//! The rules are those of [`shared::verify`], so that the backend finds by itself what an auditor would find in a bundle. Only
//! the tree is another matter (`super::tree`): here the leaves may begin in the middle of a log, and the records that
//! explain what is missing may stand far from them.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use shared::absence::AbsenceList;
use shared::bundle::{LogId, LogItem, OpeningLine};
use shared::event::TenantId;
use shared::leaf::{ENTRY_LEN, Glance};
use shared::tree::succession_digest;
use shared::verify::{Finding, Held, Kind, Report, Trust, Verifier};
use sqlx::PgConnection;
use uuid::Uuid;

use crate::ledger::openings::{MAX_LEAVES, lines_beside};
use crate::ledger::{key, tiles};
use crate::store::log::{self, LogRow};
use crate::store::{Store, StoreError, absences, openings};

/// Batches without a place in a log among which a record is looked for.
const WAITING: i64 = 100;

/// What was found among some leaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Tally {
    /// Whole openings that match.
    pub open: i64,
    /// Openings that match although fields are erased, as is on record.
    pub erased: i64,
    /// Openings that are gone or were set aside, as is on record.
    pub dropped: i64,
    /// Leaves that lost something without a record.
    pub unexplained: i64,
    /// How much else is wrong: openings that are not what the leaf commits to, columns, lists, drops.
    pub mismatched: i64,
    /// What is wrong: the first of each kind.
    pub finding: Option<String>,
}

impl From<Report> for Tally {
    fn from(report: Report) -> Self {
        let count = |number: u64| i64::try_from(number).unwrap_or(i64::MAX);
        let counts = &report.counts;
        let deleted = report.totals.get(&Kind::Deleted).copied().unwrap_or(0);
        let mut kinds = BTreeSet::new();
        let firsts = report.findings.iter().filter(|finding| kinds.insert(finding.kind));
        let words = firsts.map(ToString::to_string).collect::<Vec<_>>().join("; ");
        Self {
            open: count(counts.whole),
            erased: count(counts.erased_in_part + counts.context_dropped),
            dropped: count(counts.dropped + counts.erased + counts.set_aside),
            unexplained: count(counts.unexplained),
            mismatched: count(report.wrong() - deleted),
            finding: (!report.is_valid()).then_some(words),
        }
    }
}

/// Compares the leaves `from..to` of a log with what is held of them.
///
/// # Errors
/// If the store cannot be read.
pub(super) async fn compare(
    store: &Store,
    connection: &mut PgConnection,
    log: &LogRow,
    (from, to): (i64, i64),
) -> Result<Tally, StoreError> {
    let follows = log::succession(connection, &log.log_id).await?;
    // Leaf 0 of a log that follows another has no event.
    let first = if follows.is_some() { from.max(1) } else { from };
    let mut lists = absences::raw(store, &log.tenant_id, None).await?;
    let mut tally = loop {
        let tally: Tally = judge(store, connection, log, &lists, (first, to)).await?.into();
        if tally.finding.is_none() {
            break tally;
        }
        // What went while it was looked at stands in a list that came with it.
        let newer = absences::raw(store, &log.tenant_id, None).await?;
        if newer.len() == lists.len() {
            break tally;
        }
        lists = newer;
    };
    if let Some((_, note)) = follows.filter(|_| from == 0 && to > 0) {
        let entries = tiles::entries(connection, log.key(), 0, 1).await;
        if entries.is_ok_and(|entries| entries[0][10..] == succession_digest(note.as_bytes())) {
            tally.open += 1;
        } else {
            tally.mismatched += 1;
            let words = "leaf 0: it does not commit to the head of the log before";
            tally.finding.get_or_insert_with(|| words.to_owned());
        }
    }
    Ok(tally)
}

async fn judge(
    store: &Store,
    connection: &mut PgConnection,
    log: &LogRow,
    lists: &[(Uuid, Vec<u8>)],
    (from, to): (i64, i64),
) -> Result<Report, StoreError> {
    let item = item(log)?;
    let tenant =
        TenantId::try_from(log.tenant_id.clone()).map_err(|_| StoreError::Damaged("tenant of a log"))?;
    let (from, to) = (place(from)?, place(to)?);
    let mut verifier = Verifier::new(Some(tenant), Trust::default());
    let mut decoded = Vec::new();
    for (record, bytes) in lists {
        let list = AbsenceList::decode(bytes);
        if list.as_ref().map_or(true, |list| touches(list, item.log_id, (from, to))) {
            verifier.absences(*record, bytes);
            hand_in(store, &mut verifier, &item, *record, &log.tenant_id).await?;
        }
        decoded.extend(list);
    }
    verifier.begin_at(&item, from);
    let mut at = from;
    while at < to {
        let end = to.min(at + MAX_LEAVES);
        match entries(connection, log, at, end).await? {
            Some(entries) => {
                let lines = lines_beside(store, &log.tenant_id, item.log_id, (at, end), &decoded).await?;
                page(&mut verifier, &entries, lines, at);
            }
            None => {
                verifier.find(Finding {
                    kind: Kind::Truncated,
                    log: Some(item.log_id),
                    index: Some(at),
                    event: None,
                    detail: format!("of the entries up to {end} some are gone"),
                });
                verifier.end(None);
                verifier.begin_at(&item, end);
            }
        }
        at = end;
    }
    verifier.end(None);
    Ok(verifier.finish())
}

/// Takes in leaves with the lines that are held of them.
fn page(verifier: &mut Verifier, entries: &[[u8; ENTRY_LEN]], lines: Vec<OpeningLine>, first: u64) {
    let mut lines = lines.into_iter().peekable();
    for (index, entry) in (first..).zip(entries) {
        let mut next = || lines.next_if(|line| line.place.is_some_and(|(_, at)| at == index));
        let line = next();
        verifier.leaf(entry, line.as_ref().map_or(Held::Nothing, Held::Line));
        while let Some(more) = next() {
            verifier.duplicated(&more);
        }
    }
}

/// The entries `from..to`; none if some of them are gone.
async fn entries(
    connection: &mut PgConnection,
    log: &LogRow,
    from: u64,
    to: u64,
) -> Result<Option<Vec<[u8; ENTRY_LEN]>>, StoreError> {
    let bound = |index: u64| i64::try_from(index).map_err(|_| StoreError::Damaged("place in a log"));
    match tiles::entries(connection, log.key(), bound(from)?, bound(to)?).await {
        Ok(entries) => Ok(Some(entries)),
        Err(StoreError::Damaged(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a list is to be judged with these leaves: it names one of them, or none at all.
fn touches(list: &AbsenceList, log: LogId, (from, to): (u64, u64)) -> bool {
    let mut runs = list.runs().iter().filter(|run| run.log == log.0);
    list.runs().is_empty()
        || runs.any(|run| run.first < to && run.first.saturating_add(u64::from(run.count)) > from)
}

/// Hands in the record of a list, if it is the leaf that it says, or waits for its place.
async fn hand_in(
    store: &Store,
    verifier: &mut Verifier,
    item: &LogItem,
    record: Uuid,
    tenant: &str,
) -> Result<(), StoreError> {
    let (from, to) = around(record);
    let Some((batch, position, opening)) = openings::stored(store, tenant, record, from, to).await? else {
        return Ok(());
    };
    let Some(place) = openings::place_of(store, tenant, batch).await? else {
        let waiting = openings::waiting(store, tenant, WAITING).await?;
        if waiting.contains(&batch) {
            verifier.record(item.log_id, item.size, &opening);
        }
        return Ok(());
    };
    let (entries, _) = place.entries.as_chunks::<ENTRY_LEN>();
    let entry = usize::try_from(position).ok().and_then(|at| entries.get(at));
    let digest = Glance::at(&opening).ok().map(|glance| glance.digest);
    if let Some(entry) = entry
        && digest.is_some_and(|digest| entry[10..] == digest)
        && let (Ok(log), Ok(index)) =
            (place.log_id.parse(), u64::try_from(place.first_index + i64::from(position)))
    {
        verifier.record(log, index, &opening);
    }
    Ok(())
}

/// An event's id tells when it happened; it is filed within a day of that or of its arrival.
fn around(id: Uuid) -> (DateTime<Utc>, DateTime<Utc>) {
    let (seconds, _) = id.get_timestamp().map_or((0, 0), |at| at.to_unix());
    let at = DateTime::from_timestamp(i64::try_from(seconds).unwrap_or(0), 0).unwrap_or_default();
    (at - chrono::TimeDelta::days(1), at + chrono::TimeDelta::days(1))
}

fn item(log: &LogRow) -> Result<LogItem, StoreError> {
    Ok(LogItem {
        log_id: log.log_id.parse().map_err(|_| StoreError::Damaged("id of a log"))?,
        origin: log.origin.clone(),
        key: key::verifier(&log.origin, &log.public_key).ok_or(StoreError::Damaged("key of a log"))?,
        others: Vec::new(),
        size: place(log.size)?,
        previous: None,
    })
}

fn place(index: i64) -> Result<u64, StoreError> {
    u64::try_from(index).map_err(|_| StoreError::Damaged("place in a log"))
}
