//! What is held of each leaf, as lines of a bundle: the opening, or what was set aside, and every column of the store that
//! says otherwise.
//!
//! A row that somebody moved is still found by its digest, so that a verifier can tell a moved event from a missing one.

use std::collections::{BTreeMap, HashMap};

use chrono::{DateTime, Datelike as _, TimeDelta, Timelike as _, Utc};
use ipnetwork::IpNetwork;
use shared::absence::AbsenceList;
use shared::bundle::{LogId, OpeningLine};
use shared::event::{ComplianceFlag, Event};
use shared::leaf::{ENTRY_LEN, Glance, Hash, StoredOpening, Tag};

use crate::store::log::{self, LogKey};
use crate::store::openings::{self, FiledRow};
use crate::store::{Store, StoreError, absences};

/// Leaves of one answer: with their openings some eight megabytes.
pub const MAX_LEAVES: u64 = 4096;
/// Rows that are looked at when leaves are without theirs.
const MAX_LOOK: i64 = 10_000;
/// Batches that wait; a sequencer that stands still is another alarm's matter.
const MAX_WAITING: i64 = 100;
/// As on arrival: an event from a fast clock is filed no later than this after it.
const FILED_AHEAD: TimeDelta = TimeDelta::minutes(5);

/// A leaf and what is known of it from the log alone.
struct Leaf {
    index: u64,
    batch: i64,
    position: i16,
    entry: [u8; ENTRY_LEN],
    rows: Vec<FiledRow>,
}

impl Leaf {
    fn digest(&self) -> &[u8] {
        &self.entry[10..]
    }

    fn arrived(&self) -> DateTime<Utc> {
        let ms = u64::from_be_bytes(*self.entry[2..].first_chunk().expect("42 bytes"));
        i64::try_from(ms).ok().and_then(DateTime::from_timestamp_millis).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

/// The lines of the leaves `from..to` of a log, ascending.
///
/// # Errors
/// If the store cannot be read.
pub async fn lines(
    store: &Store,
    tenant: &str,
    log: LogId,
    from: u64,
    to: u64,
) -> Result<Vec<OpeningLine>, StoreError> {
    let lists = absences::raw(store, tenant, None).await?;
    let lists: Vec<_> = lists.iter().filter_map(|(_, bytes)| AbsenceList::decode(bytes).ok()).collect();
    lines_beside(store, tenant, log, (from, to), &lists).await
}

/// [`lines`] beside the tenant's lists of absences, for who reads many pages: events are not looked for where a list says that
/// they are gone.
///
/// # Errors
/// If the store cannot be read.
pub(crate) async fn lines_beside(
    store: &Store,
    tenant: &str,
    log: LogId,
    (from, to): (u64, u64),
    lists: &[AbsenceList],
) -> Result<Vec<OpeningLine>, StoreError> {
    let mut leaves = leaves(store, tenant, log, from, to).await?;
    let mut batches: Vec<i64> = leaves.iter().map(|leaf| leaf.batch).collect();
    batches.dedup();
    if batches.is_empty() {
        return Ok(Vec::new());
    }
    let rows = openings::of_batches(store, tenant, &batches).await?;
    let mut aside: HashMap<(i64, i16), _> = openings::set_aside(store, tenant, &batches)
        .await?
        .into_iter()
        .map(|row| ((row.batch_id, row.position), row))
        .collect();
    settle(&mut leaves, rows);
    let explained = |index: u64| {
        lists.iter().any(|list| list.lost(&log.0, index).is_some_and(shared::absence::Lost::is_event))
    };
    let bare: Vec<usize> = (0..leaves.len())
        .filter(|at| {
            let leaf = &leaves[*at];
            leaf.rows.is_empty()
                && !aside.contains_key(&(leaf.batch, leaf.position))
                && !explained(leaf.index)
        })
        .collect();
    if !bare.is_empty() {
        let batches: Vec<i64> = bare.iter().map(|at| leaves[*at].batch).collect();
        let arrivals: Vec<_> = bare.iter().map(|at| leaves[*at].arrived()).collect();
        let found = openings::anywhere(store, tenant, &batches, &arrivals, MAX_LOOK).await?;
        let by_digest: HashMap<Vec<u8>, usize> =
            bare.iter().map(|at| (leaves[*at].digest().to_vec(), *at)).collect();
        for row in found {
            if let Some(at) = digest(&row).and_then(|digest| by_digest.get(digest.as_slice()))
                && leaves[*at].rows.is_empty()
            {
                leaves[*at].rows.push(row);
            }
        }
    }
    let mut lines = Vec::with_capacity(leaves.len());
    for leaf in leaves {
        let place = Some((log, leaf.index));
        for row in &leaf.rows {
            lines.push(OpeningLine {
                place,
                id: Some(row.id),
                columns: columns(row, &leaf),
                opening: Some(row.opening.clone()),
                ..OpeningLine::default()
            });
        }
        if let Some(row) = aside.remove(&(leaf.batch, leaf.position)).filter(|_| leaf.rows.is_empty()) {
            let set_aside = Some(row.reason);
            lines.push(OpeningLine { place, opening: row.raw, set_aside, ..OpeningLine::default() });
        }
    }
    Ok(lines)
}

/// The events of a tenant that are stored and have no place in a log yet.
///
/// # Errors
/// If the store cannot be read.
pub async fn waiting(store: &Store, tenant: &str) -> Result<Vec<OpeningLine>, StoreError> {
    let batches = openings::waiting(store, tenant, MAX_WAITING).await?;
    let mut rows = openings::of_batches(store, tenant, &batches).await?;
    rows.sort_by_key(|row| (row.batch_id, row.position));
    let line = |row: FiledRow| OpeningLine {
        id: Some(row.id),
        opening: Some(row.opening),
        ..OpeningLine::default()
    };
    Ok(rows.into_iter().map(line).collect())
}

async fn leaves(
    store: &Store,
    tenant: &str,
    log: LogId,
    from: u64,
    to: u64,
) -> Result<Vec<Leaf>, StoreError> {
    let log_id = log.to_string();
    let mut connection = store.begin().await?;
    let bound = |index: u64| i64::try_from(index).unwrap_or(i64::MAX);
    let mut leaves = Vec::new();
    for round in
        log::rounds(&mut connection, LogKey { tenant, log_id: &log_id }, bound(from), bound(to)).await?
    {
        // The first leaf of a year has no event.
        let Some(batch) = round.batch_id else { continue };
        let (entries, _) = round.entries.as_chunks::<ENTRY_LEN>();
        for ((position, index), entry) in (0_i16..).zip(round.first_index..).zip(entries) {
            let Ok(index) = u64::try_from(index) else { continue };
            if (from..to).contains(&index) {
                leaves.push(Leaf { index, batch, position, entry: *entry, rows: Vec::new() });
            }
        }
    }
    Ok(leaves)
}

/// Puts each row to its leaf: where it says, if that is its digest; else to the leaf of its digest, if nothing else is
/// there; else where it says.
fn settle(leaves: &mut [Leaf], rows: Vec<FiledRow>) {
    let places: HashMap<(i64, i16), usize> =
        leaves.iter().enumerate().map(|(at, leaf)| ((leaf.batch, leaf.position), at)).collect();
    let digests: HashMap<Vec<u8>, usize> =
        leaves.iter().enumerate().map(|(at, leaf)| (leaf.digest().to_vec(), at)).collect();
    let mut strays = Vec::new();
    for row in rows {
        let says = places.get(&(row.batch_id, row.position)).copied();
        let found = digest(&row);
        match says.filter(|at| found.as_ref().is_some_and(|found| found == leaves[*at].digest())) {
            Some(at) => leaves[at].rows.push(row),
            None => strays.push((row, says, found)),
        }
    }
    for (row, says, found) in strays {
        let free = says.filter(|at| leaves[*at].rows.is_empty());
        let home = found.and_then(|digest| digests.get(digest.as_slice()).copied());
        // Two that changed places both find theirs free: they stay, and the verifier says so.
        let home = home.filter(|at| leaves[*at].rows.is_empty() && free.is_none());
        if let Some(at) = home.or(says) {
            leaves[at].rows.push(row);
        }
    }
}

fn digest(row: &FiledRow) -> Option<Hash> {
    Glance::at(&row.opening).ok().map(|glance| glance.digest)
}

/// The columns that do not say what opening and entry say, with what they say.
fn columns(row: &FiledRow, leaf: &Leaf) -> BTreeMap<String, Option<String>> {
    let mut differing = BTreeMap::new();
    // An opening that is not this leaf's says nothing about the columns.
    let stored = StoredOpening::decode(&row.opening).ok().filter(|it| it.digest() == leaf.digest());
    let Some(stored) = stored else { return differing };
    let Ok(event) = Event::from_fields(&stored.fields()) else { return differing };
    let mut compare = |name: &str, says: Option<String>, should: Option<String>| {
        if says != should {
            differing.insert(name.to_owned(), says);
        }
    };
    let text = |text: &str| Some(text.to_owned());
    let code = |byte: u8| Some(byte.to_string());
    let time = |at: DateTime<Utc>| Some(at.to_rfc3339());
    let (entity, context, request) = (event.entity.as_ref(), &event.context, &event.request);
    compare("occurred_at", time(row.occurred_at), time(event.occurred_at.to_utc()));
    compare("received_at", time(row.received_at), time(leaf.arrived()));
    if !is_filed(row.filed_at, event.occurred_at.to_utc(), leaf.arrived()) {
        compare("filed_at", time(row.filed_at), None);
    }
    compare("class", Some(row.class.to_string()), code(event.class.byte()));
    compare("severity", Some(row.severity.to_string()), code(event.severity.byte()));
    compare("outcome", Some(row.outcome.to_string()), code(event.outcome.byte()));
    compare("trust", Some(row.trust.to_string()), code(event.trust.byte()));
    compare("action", text(&row.action), text(event.action.as_str()));
    // A pseudonym may stand for an actor that was erased.
    if !stored.erased().contains(&Tag::ACTOR) {
        compare("actor_id", row.actor_id.clone(), event.actor.as_ref().map(|actor| actor.id.clone()));
    }
    let email = event.actor.as_ref().and_then(|actor| actor.email.clone());
    compare("actor_email", row.actor_email.clone(), email);
    compare(
        "claimed_user",
        row.claimed_user.clone(),
        event.claimed_user.as_ref().map(|user| user.id.clone()),
    );
    compare("entity_type", row.entity_type.clone(), entity.map(|entity| entity.kind.to_string()));
    compare("entity_id", row.entity_id.clone(), entity.and_then(|entity| entity.id.clone()));
    compare("entity_name", row.entity_name.clone(), entity.and_then(|entity| entity.name.clone()));
    let network = |network: IpNetwork| network.to_string();
    compare("ip", row.ip.map(network), context.ip.map(|ip| network(ip.into())));
    compare("session_id", row.session_id.clone(), context.session.clone());
    compare("country", row.country.clone(), context.place.as_ref().and_then(|place| place.country.clone()));
    compare("host", text(&row.host), text(&request.host));
    compare("method", text(&row.method), text(&request.method));
    compare("route", text(&row.route), text(&request.route));
    compare("rule", text(&row.rule), text(&request.rule));
    compare("status", row.status.map(|it| it.to_string()), request.status.map(|it| it.to_string()));
    compare("reason", row.reason.clone(), event.reason.clone());
    compare(
        "duration_ms",
        row.duration_ms.map(|it| it.to_string()),
        event.duration_ms.map(|it| it.to_string()),
    );
    let quality = event.changes.as_ref().map(|changes| changes.quality.byte().to_string());
    // Erased changes leave their quality behind.
    if !stored.erased().contains(&Tag::CHANGES) {
        compare("change_quality", row.change_quality.map(|it| it.to_string()), quality);
    }
    let flags: Vec<_> = event.compliance.iter().map(ComplianceFlag::as_str).collect();
    compare("compliance", Some(row.compliance.join(",")), Some(flags.join(",")));
    compare("batch_id", Some(row.batch_id.to_string()), Some(leaf.batch.to_string()));
    compare("position", Some(row.position.to_string()), Some(leaf.position.to_string()));
    differing
}

/// Whether an event may stand under this time: its own, no later than soon after its arrival, and no earlier than the
/// oldest month there was.
fn is_filed(at: DateTime<Utc>, occurred: DateTime<Utc>, arrived: DateTime<Utc>) -> bool {
    let newest = arrived + FILED_AHEAD;
    let starts_a_month = at.day() == 1 && at.num_seconds_from_midnight() == 0 && at.nanosecond() == 0;
    at == occurred.min(newest) || (at > occurred && starts_a_month)
}
