//! Looking for a person: first for what they are known by, then for every event, and everything kept beside events, that is
//! theirs. One pass over the tenant's events, since free text is under no index.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::event::{Event, JsonText, TenantId, Trust};
use shared::leaf::{StoredOpening, Tag};
use uuid::Uuid;

use super::PrivacyError;
use super::person::{Finding, Names, PEOPLE, Relation, Who, judge};
use crate::archive::part::Row;
use crate::archive::{Archive, PartName};
use crate::store::holds::Hold;
use crate::store::subjects::{self, PlacedEvent, Tie};
use crate::store::{Store, StoreError, events};

const PAGE: i64 = 1_000;
/// Events about a person that are read for the names they were shown under.
const ABOUT: i64 = 1_000;

/// What a person is known by: the id, addresses and sessions that verified events tie to it, and the names that events about
/// them show.
pub(super) async fn names(
    store: &Store,
    archive: Option<&Archive>,
    tenant: &TenantId,
    subject: &str,
    emails: &[String],
    until: Option<Instant>,
) -> Result<Names, PrivacyError> {
    let mut ids: BTreeSet<String> = [subject.to_owned()].into();
    let mut known: BTreeSet<String> = emails.iter().map(|email| super::person::fold(email)).collect();
    if subject.contains('@') {
        known.insert(super::person::fold(subject));
    }
    let mut found = Names::default();
    let list = |set: &BTreeSet<String>| set.iter().cloned().collect::<Vec<_>>();
    let mut ties = Vec::new();
    if !known.is_empty() {
        ties = subjects::ties_of_emails(store, tenant.as_str(), &list(&known)).await?;
        ids.extend(ties.iter().filter_map(|tie| tie.actor_id.clone()));
    }
    if let Some(archive) = archive {
        for tie in archived_ties(archive, tenant, until).await? {
            let email = tie.actor_email.as_deref().map(super::person::fold);
            let tied = tie.actor_id.clone().filter(|_| email.is_some_and(|email| known.contains(&email)));
            ids.extend(tied);
            ties.push(tie);
        }
        ties.retain(|tie| tie.actor_id.as_ref().is_some_and(|id| ids.contains(id)));
    }
    ties.extend(subjects::ties_of_ids(store, tenant.as_str(), &list(&ids)).await?);
    for tie in &ties {
        [&tie.actor_email, &tie.session_id].into_iter().flatten().for_each(|text| found.add(text));
    }
    let mut about = Vec::new();
    for opening in subjects::about(store, tenant.as_str(), &PEOPLE, &list(&ids), ABOUT).await? {
        about.push(events::read(&opening).ok_or(StoreError::Damaged("event"))?);
    }
    if let Some(archive) = archive {
        about.extend(archived_about(archive, tenant, &ids, until).await?);
    }
    for event in about {
        if let Some(name) = event.entity.as_ref().and_then(|entity| entity.name.as_deref()) {
            found.add_called(name);
        }
        event.details.as_ref().map(JsonText::value).iter().for_each(|value| called(value, false, &mut found));
        let changes = event.changes.as_ref().map(|changes| changes.fields.value());
        changes.iter().for_each(|value| called(value, false, &mut found));
    }
    ids.iter().chain(&known).for_each(|text| found.add(text));
    Ok(found)
}

/// What verified events in the archive say of their actors. Sessions are not archived.
async fn archived_ties(
    archive: &Archive,
    tenant: &TenantId,
    until: Option<Instant>,
) -> Result<Vec<Tie>, PrivacyError> {
    let mut ties = BTreeSet::new();
    each_archived(archive, tenant, until, |event| {
        if let Some(actor) = event.actor.filter(|_| event.trust == Trust::Verified) {
            ties.insert((actor.id, actor.email));
        }
        true
    })
    .await?;
    let tie = |(id, actor_email)| Tie { actor_id: Some(id), actor_email, session_id: None };
    Ok(ties.into_iter().map(tie).collect())
}

/// Events in the archive about people of these ids.
async fn archived_about(
    archive: &Archive,
    tenant: &TenantId,
    ids: &BTreeSet<String>,
    until: Option<Instant>,
) -> Result<Vec<Event>, PrivacyError> {
    let mut about = Vec::new();
    each_archived(archive, tenant, until, |event| {
        let entity = event.entity.as_ref();
        let kind = entity.is_some_and(|entity| PEOPLE.contains(&entity.kind.as_str()));
        if kind && entity.and_then(|entity| entity.id.as_ref()).is_some_and(|id| ids.contains(id)) {
            about.push(event);
        }
        i64::try_from(about.len()).is_ok_and(|n| n < ABOUT)
    })
    .await?;
    Ok(about)
}

/// Shows a tenant's archived events until one is enough, or it is too late.
async fn each_archived(
    archive: &Archive,
    tenant: &TenantId,
    until: Option<Instant>,
    mut show: impl FnMut(Event) -> bool,
) -> Result<(), PrivacyError> {
    let folder = archive.folder(tenant.as_str());
    for part in folder.parts().await?.newest {
        if until.is_some_and(|until| Instant::now() >= until) {
            break;
        }
        for row in folder.load(&part).await? {
            if !show(open(&row.opening)?.1) {
                return Ok(());
            }
        }
    }
    Ok(())
}

/// Adds the texts under members that are called a name of a person, on either side of a change.
fn called(value: &Value, under_name: bool, found: &mut Names) {
    const CALLED: [&str; 7] =
        ["name", "full_name", "display_name", "first_name", "last_name", "username", "email"];
    match value {
        Value::String(text) if under_name => found.add_called(text),
        Value::Object(members) => {
            for (member, value) in members {
                let last = member.rsplit('.').next().unwrap_or(member);
                let side = under_name && ["from", "to"].contains(&last);
                called(value, side || CALLED.contains(&last), found);
            }
        }
        Value::Array(items) => items.iter().for_each(|item| called(item, false, found)),
        _ => {}
    }
}

/// Something that loses values.
#[derive(Debug, Clone)]
pub(super) struct Loss {
    /// Its batch and its place there.
    pub(super) leaf: (i64, i16),
    /// The event's key; none for what was set aside.
    pub(super) event: Option<(DateTime<Utc>, Uuid)>,
    /// The fields; all of it if none is named.
    pub(super) tags: Vec<Tag>,
    /// Whether the person did it.
    pub(super) by: bool,
    /// The part of the archive that it is in; none if it is in the database.
    pub(super) part: Option<PartName>,
}

impl Loss {
    pub(super) fn of(event: &PlacedEvent, part: Option<&PartName>, finding: &Finding) -> Self {
        Self {
            part: part.cloned(),
            leaf: (event.batch_id, event.position),
            event: Some((event.filed_at, event.id)),
            tags: if finding.whole { Vec::new() } else { finding.tags.clone() },
            by: finding.relation == Relation::Actor,
        }
    }
}

/// What was found.
#[derive(Debug, Default)]
pub(super) struct Found {
    pub(super) losses: Vec<Loss>,
    /// Events that are said more of later.
    pub(super) spreads: Vec<Uuid>,
    /// Events by what the person has to do with them.
    pub(super) relations: BTreeMap<&'static str, u64>,
    /// Fields, by name.
    pub(super) fields: BTreeMap<&'static str, u64>,
    /// Events that go as a whole, and what was set aside.
    pub(super) whole: u64,
    /// A hold that covers one of the events.
    pub(super) held: Option<Hold>,
    /// Whether everything was looked at.
    pub(super) complete: bool,
}

/// How far to look.
#[derive(Debug, Clone, Copy)]
pub(super) enum Extent {
    /// At everything.
    All,
    /// Until then.
    Until(Instant),
    /// Until then or the first that is found.
    First(Instant),
}

impl Extent {
    fn ends(self, found: &Found) -> bool {
        match self {
            Self::All => false,
            Self::Until(until) => Instant::now() >= until,
            Self::First(until) => !found.losses.is_empty() || Instant::now() >= until,
        }
    }
}

/// Some of a tenant's events.
pub(super) struct Page {
    /// The events.
    pub(super) events: Vec<PlacedEvent>,
    /// The part of the archive that they are in; none if they are in the database.
    pub(super) part: Option<PartName>,
}

/// A tenant's events one page after the other: first those of the database, then those of the archive, so that what goes there
/// meanwhile is seen all the same.
pub(super) struct Pages<'a> {
    store: &'a Store,
    archive: Option<&'a Archive>,
    tenant: &'a TenantId,
    after: (DateTime<Utc>, Uuid),
    parts: Option<std::vec::IntoIter<PartName>>,
}

impl<'a> Pages<'a> {
    pub(super) fn new(store: &'a Store, archive: Option<&'a Archive>, tenant: &'a TenantId) -> Self {
        Self { store, archive, tenant, after: (DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()), parts: None }
    }

    pub(super) async fn next(&mut self) -> Result<Option<Page>, PrivacyError> {
        let tenant = self.tenant.as_str();
        if self.parts.is_none() {
            let events = subjects::page(self.store, tenant, self.after, PAGE).await?;
            if let Some(last) = events.last() {
                self.after = (last.filed_at, last.id);
                return Ok(Some(Page { events, part: None }));
            }
        }
        let Some(archive) = self.archive else { return Ok(None) };
        let folder = archive.folder(tenant);
        let parts = match &mut self.parts {
            Some(parts) => parts,
            none => none.insert(folder.parts().await?.newest.into_iter()),
        };
        let Some(part) = parts.next() else { return Ok(None) };
        let events = folder.load(&part).await?.into_iter().map(placed).collect();
        Ok(Some(Page { events, part: Some(part) }))
    }
}

fn placed(row: Row) -> PlacedEvent {
    PlacedEvent {
        id: row.id,
        filed_at: row.filed_at,
        received_at: row.received_at,
        batch_id: row.batch_id,
        position: row.position,
        opening: row.opening,
        pseudonym: row.pseudonym,
    }
}

/// An event out of its opening.
pub(super) fn open(bytes: &[u8]) -> Result<(StoredOpening, Event), StoreError> {
    let damaged = || StoreError::Damaged("event");
    let opening = StoredOpening::decode(bytes).map_err(|_| damaged())?;
    let event = Event::from_fields(&opening.fields()).map_err(|_| damaged())?;
    Ok((opening, event))
}

/// Everything of a tenant that is the person's.
pub(super) async fn search(
    store: &Store,
    archive: Option<&Archive>,
    tenant: &TenantId,
    who: &Who,
    holds: &[Hold],
    extent: Extent,
) -> Result<Found, PrivacyError> {
    let mut found = Found::default();
    let mut pages = Pages::new(store, archive, tenant);
    while let Some(page) = pages.next().await? {
        for placed in &page.events {
            let (_, event) = open(&placed.opening)?;
            if let Some(finding) = judge(&event, who) {
                found.add(placed, page.part.as_ref(), &finding);
                if found.held.is_none() {
                    found.held = holds.iter().find(|hold| covers(hold, &event)).cloned();
                }
            }
        }
        if extent.ends(&found) {
            return Ok(found);
        }
    }
    let mut after = (i64::MIN, i16::MIN);
    loop {
        let page = subjects::set_aside(store, tenant.as_str(), after, PAGE).await?;
        let Some(last) = page.last() else { break };
        after = (last.batch_id, last.position);
        for row in &page {
            if who.within(&row.reason) || row.raw.as_ref().is_some_and(|raw| who.within_bytes(raw)) {
                found.whole += 1;
                let leaf = (row.batch_id, row.position);
                found.losses.push(Loss { leaf, event: None, tags: Vec::new(), by: false, part: None });
            }
        }
    }
    found.complete = true;
    Ok(found)
}

impl Found {
    pub(super) fn add(&mut self, placed: &PlacedEvent, part: Option<&PartName>, finding: &Finding) {
        *self.relations.entry(finding.relation.word()).or_default() += 1;
        if finding.whole {
            self.whole += 1;
        }
        for tag in &finding.tags {
            *self.fields.entry(crate::view::field(*tag)).or_default() += 1;
        }
        if finding.spreads {
            self.spreads.push(placed.id);
        }
        self.losses.push(Loss::of(placed, part, finding));
    }
}

/// What was recorded later about events that say something of the person: their free text is about them too.
pub(super) async fn annotations(
    store: &Store,
    tenant: &TenantId,
    events: &[Uuid],
) -> Result<Vec<Loss>, PrivacyError> {
    let mut losses = Vec::new();
    for some in events.chunks(1_000) {
        for placed in subjects::annotations(store, tenant.as_str(), some).await? {
            let (opening, _) = open(&placed.opening)?;
            let free = [Tag::DETAILS, Tag::CHANGES];
            let tags: Vec<Tag> =
                opening.fields().iter().map(|field| field.tag).filter(|tag| free.contains(tag)).collect();
            if !tags.is_empty() {
                let leaf = (placed.batch_id, placed.position);
                losses.push(Loss {
                    leaf,
                    event: Some((placed.filed_at, placed.id)),
                    tags,
                    by: false,
                    part: None,
                });
            }
        }
    }
    Ok(losses)
}

/// Whether a hold covers an event: all of its conditions are fulfilled.
fn covers(hold: &Hold, event: &Event) -> bool {
    let is = |wanted: &Option<String>, there: Option<&str>| {
        wanted.as_deref().is_none_or(|wanted| there == Some(wanted))
    };
    let entity = event.entity.as_ref();
    let actor = event.actor.as_ref().map(|actor| actor.id.as_str());
    let claimed = event.claimed_user.as_ref().map(|claimed| claimed.id.as_str());
    let action = |wanted: &str| match wanted.strip_suffix('*') {
        Some(start) => event.action.as_str().starts_with(start),
        None => event.action.as_str() == wanted,
    };
    let at = event.occurred_at.to_utc();
    is(&hold.entity_type, entity.map(|entity| entity.kind.as_str()))
        && is(&hold.entity_id, entity.and_then(|entity| entity.id.as_deref()))
        && (is(&hold.actor_id, actor) || is(&hold.actor_id, claimed))
        && hold.action.as_deref().is_none_or(action)
        && hold.from_at.is_none_or(|from| from <= at)
        && hold.to_at.is_none_or(|to| to > at)
}
