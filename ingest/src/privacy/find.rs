//! Looking for a person: first for what they are known by, then for every event, and everything kept beside events, that is
//! theirs. One pass over the tenant's events, since free text is under no index.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use chrono::{DateTime, Utc};
use serde_json::Value;
use shared::event::{Event, JsonText, TenantId};
use shared::leaf::{StoredOpening, Tag};
use uuid::Uuid;

use super::PrivacyError;
use super::person::{Finding, Names, PEOPLE, Relation, Who, judge};
use crate::store::holds::Hold;
use crate::store::subjects::{self, PlacedEvent};
use crate::store::{Store, StoreError, events};

const PAGE: i64 = 1_000;
/// Events about a person that are read for the names they were shown under.
const ABOUT: i64 = 1_000;

/// What a person is known by: the id, addresses and sessions that verified events tie to it, and the names that events about
/// them show.
pub(super) async fn names(
    store: &Store,
    tenant: &TenantId,
    subject: &str,
    emails: &[String],
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
    ties.extend(subjects::ties_of_ids(store, tenant.as_str(), &list(&ids)).await?);
    for tie in &ties {
        [&tie.actor_email, &tie.session_id].into_iter().flatten().for_each(|text| found.add(text));
    }
    for opening in subjects::about(store, tenant.as_str(), &PEOPLE, &list(&ids), ABOUT).await? {
        let event = events::read(&opening).ok_or(StoreError::Damaged("event"))?;
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
}

impl Loss {
    pub(super) fn of(event: &PlacedEvent, finding: &Finding) -> Self {
        Self {
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

/// A tenant's events one after the other, each as a page of them gives it.
pub(super) struct Pages<'a> {
    store: &'a Store,
    tenant: &'a TenantId,
    after: (DateTime<Utc>, Uuid),
}

impl<'a> Pages<'a> {
    pub(super) fn new(store: &'a Store, tenant: &'a TenantId) -> Self {
        Self { store, tenant, after: (DateTime::<Utc>::UNIX_EPOCH, Uuid::nil()) }
    }

    pub(super) async fn next(&mut self) -> Result<Vec<PlacedEvent>, StoreError> {
        let page = subjects::page(self.store, self.tenant.as_str(), self.after, PAGE).await?;
        if let Some(last) = page.last() {
            self.after = (last.filed_at, last.id);
        }
        Ok(page)
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
    tenant: &TenantId,
    who: &Who,
    holds: &[Hold],
    extent: Extent,
) -> Result<Found, PrivacyError> {
    let mut found = Found::default();
    let mut pages = Pages::new(store, tenant);
    loop {
        let page = pages.next().await?;
        if page.is_empty() {
            break;
        }
        for placed in &page {
            let (_, event) = open(&placed.opening)?;
            if let Some(finding) = judge(&event, who) {
                found.add(placed, &finding);
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
                found.losses.push(Loss { leaf, event: None, tags: Vec::new(), by: false });
            }
        }
    }
    found.complete = true;
    Ok(found)
}

impl Found {
    pub(super) fn add(&mut self, placed: &PlacedEvent, finding: &Finding) {
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
        self.losses.push(Loss::of(placed, finding));
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
                losses.push(Loss { leaf, event: Some((placed.filed_at, placed.id)), tags, by: false });
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
