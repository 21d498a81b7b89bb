//! Carrying an erasure out: the record first, then, in one transaction for each record, its list and the values.

use std::collections::HashMap;
use std::sync::PoisonError;
use std::time::Duration;

use serde_json::json;
use shared::absence::{AbsenceList, Lost};
use shared::event::{RetentionClass, Severity, TenantId};
use shared::leaf::{Hash, StoredOpening, Tag};
use uuid::Uuid;

use super::find::{self, Extent, Loss};
use super::person::{Names, Who};
use super::{Privacy, PrivacyError, certificate::Certificate};
use crate::own::OwnEvent;
use crate::store::erasures::{self, Request};
use crate::store::subjects::{self, Left};
use crate::store::{self, StoreError, absences};
use crate::tally;

/// Events under one record: what one transaction changes in about a second.
const TOGETHER: usize = 5_000;
/// How long the sequencer is waited for.
const SEQUENCED_WITHIN: u32 = 100;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Privacy {
    /// Carries out a request whose time has come. Safe to begin again after a stop at any point.
    pub(super) async fn carry_out(&self, request: &Request) -> Result<(), PrivacyError> {
        let tenant = tenant_of(request)?;
        let request = self.begin(&tenant, request).await?;
        let who = Who::Named(Names::of(&request.names));
        self.remove_all(&tenant, &request, &who, Vec::new()).await?;
        self.finish(&tenant, request).await
    }

    /// From here on it cannot be cancelled: what the person is known by is kept as hashes before anything is looked for, so
    /// that what arrives meanwhile is erased by those who follow the arrivals.
    async fn begin(&self, tenant: &TenantId, request: &Request) -> Result<Request, PrivacyError> {
        let (id, known) = (request.id, request.state.as_str());
        let missing = PrivacyError::Missing;
        let names: Vec<String> = match (&request.subject, known) {
            (Some(subject), "approved") => {
                let names =
                    find::names(&self.store, self.archive.as_ref(), tenant, subject, &request.names, None)
                        .await?;
                names.iter().map(str::to_owned).collect()
            }
            _ => request.names.clone(),
        };
        if known == "approved" {
            let holds = self.holds(tenant).await?;
            if !holds.is_empty() {
                let who = Who::Named(Names::of(&names));
                let found = self.search(tenant, &who, &holds, Extent::All).await?;
                found.held.map_or(Ok(()), |hold| Err(PrivacyError::held(hold)))?;
            }
        }
        let mut transaction = self.store.begin().await?;
        let mut request = erasures::lock(&mut transaction, tenant.as_str(), id).await?.ok_or(missing)?;
        if request.state == "approved" {
            request.state = "running".to_owned();
            request.until = Some(self.clock.now().to_utc());
            request.names = names;
            let hashes: Vec<Hash> = request.names.iter().map(|name| self.hashes.hash(tenant, name)).collect();
            erasures::add_names(&mut transaction, tenant.as_str(), id, &hashes).await?;
            erasures::update(&mut transaction, &request).await?;
        } else if request.state != "running" || known == "approved" {
            return Err(PrivacyError::State { id, state: request.state });
        }
        store::commit(transaction).await?;
        self.begun.lock().unwrap_or_else(PoisonError::into_inner).insert(id);
        Ok(request)
    }

    /// Removes whatever is found of the person, and more that is known already.
    pub(super) async fn remove_all(
        &self,
        tenant: &TenantId,
        request: &Request,
        who: &Who,
        known: Vec<Loss>,
    ) -> Result<(), PrivacyError> {
        let found = self.search(tenant, who, &[], Extent::All).await?;
        let mut losses = known;
        losses.extend(found.losses.into_iter().filter(|loss| loss.part.is_none()));
        losses.extend(find::annotations(&self.store, tenant, &found.spreads).await?);
        self.remove(tenant, request, &losses).await?;

        let mut transaction = subjects::begin_removing(&self.store).await?;
        subjects::lock_removal(&mut transaction, tenant.as_str()).await?;
        subjects::hold_followers(&mut transaction).await?;
        let beside =
            subjects::clear_beside(&mut transaction, tenant.as_str(), |texts| theirs(who, texts)).await?;
        store::commit(transaction).await?;
        tracing::info!(request = %request.id, events = losses.len(), ?beside, "values were erased");
        // A follower may have recorded what it had read before; from now on it reads what is left.
        let late = find::annotations(&self.store, tenant, &found.spreads).await?;
        if !late.is_empty() {
            self.remove(tenant, request, &late).await?;
        }
        // What went to the archive while the database was looked at is there by now.
        self.remove_archived(tenant, request, who, &found.spreads).await
    }

    /// Records what goes and removes it. At least one record is made, of nothing if nothing was found.
    pub(super) async fn remove(
        &self,
        tenant: &TenantId,
        request: &Request,
        losses: &[Loss],
    ) -> Result<(), PrivacyError> {
        let mut losses = losses.chunks(TOGETHER).peekable();
        let first: &[Loss] = losses.next().unwrap_or_default();
        for some in [first].into_iter().chain(losses) {
            let list = self.list(tenant, some).await?;
            let record = self.record(tenant, request, &list).await?;
            self.take_out(tenant, request, some, &list, record).await?;
        }
        // Sums name values too.
        Ok(tally::follow::settle(&self.store, &self.clock, tenant.as_str()).await?)
    }

    /// The list of what is about to go, once every event has its leaf.
    async fn list(&self, tenant: &TenantId, losses: &[Loss]) -> Result<AbsenceList, PrivacyError> {
        let places: Vec<_> = losses.iter().map(|loss| loss.leaf).collect();
        for _ in 0..SEQUENCED_WITHIN {
            let mut transaction = self.store.begin().await?;
            let leaves = absences::leaves_of(&mut transaction, tenant.as_str(), &places).await?;
            store::commit(transaction).await?;
            if leaves.len() == losses.len() {
                let lost = |loss: &Loss| match loss.tags.as_slice() {
                    [] => Lost::EVENT,
                    tags => Lost::fields(tags),
                };
                let leaves = leaves.into_iter().zip(losses);
                return Ok(AbsenceList::of(leaves.map(|((log, at), loss)| (log, at, lost(loss))).collect()));
            }
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        Err(PrivacyError::NotSequenced)
    }

    pub(super) async fn record(
        &self,
        tenant: &TenantId,
        request: &Request,
        list: &AbsenceList,
    ) -> Result<Uuid, PrivacyError> {
        let details = json!({
            "absence": {
                "sha256": hex::encode(list.hash()), "leaves": list.leaves(), "runs": list.runs().len(),
            },
            "mode": request.mode,
            "legal_basis": request.legal_basis,
            "requested_by": request.requested_by,
            "approved_by": request.approved_by,
        });
        let event = OwnEvent {
            severity: Severity::Critical,
            class: RetentionClass::Permanent,
            details: Some(details),
            ..OwnEvent::new(
                tenant,
                "ERASURE",
                "ingest/privacy",
                self.clock.now(),
                "erasure",
                &request.id.to_string(),
            )
        };
        let ids = self.recorder.record(vec![event]).await?;
        Ok(ids.first().ok_or(StoreError::Damaged("record of an erasure"))?.uuid())
    }

    async fn take_out(
        &self,
        tenant: &TenantId,
        request: &Request,
        losses: &[Loss],
        list: &AbsenceList,
        record: Uuid,
    ) -> Result<(), PrivacyError> {
        let owner = tenant.as_str();
        let mut transaction = subjects::begin_removing(&self.store).await?;
        // Retention removes values too: what one has read the other must not write back.
        subjects::lock_removal(&mut transaction, owner).await?;
        absences::insert(&mut transaction, owner, record, list).await?;
        let count = i64::try_from(losses.len()).unwrap_or(i64::MAX);
        let now = self.clock.now().to_utc();
        erasures::add_pass(&mut transaction, owner, request.id, record, count, now).await?;

        let whole: Vec<_> =
            losses.iter().filter(|loss| loss.tags.is_empty()).filter_map(|loss| loss.event).collect();
        let aside: Vec<_> = losses.iter().filter(|loss| loss.event.is_none()).map(|loss| loss.leaf).collect();
        // An event may stand in the losses twice: by itself and as a remark on another.
        let mut parts: HashMap<Uuid, (Loss, Vec<Tag>)> = HashMap::new();
        for loss in losses.iter().filter(|loss| !loss.tags.is_empty()) {
            if let Some((_, id)) = loss.event {
                parts.entry(id).or_insert_with(|| (loss.clone(), Vec::new())).1.extend(&loss.tags);
            }
        }
        let keys: Vec<_> = parts.values().filter_map(|(loss, _)| loss.event).collect();
        let openings = subjects::openings(&mut transaction, owner, &keys).await?;
        let mut left = Vec::with_capacity(parts.len());
        for (id, (loss, tags)) in &parts {
            let (Some(bytes), Some((filed_at, _))) = (openings.get(id), loss.event) else { continue };
            let opening = StoredOpening::decode(bytes).map_err(|_| StoreError::Damaged("event"))?;
            let Some(remnant) = opening.erase(tags) else { continue };
            let pseudonym = request.pseudonym.clone().filter(|_| loss.by);
            left.push(Left {
                filed_at,
                id: *id,
                opening: remnant.encode(),
                cleared: cleared(tags),
                pseudonym,
            });
        }
        subjects::erase_fields(&mut transaction, owner, &left).await?;
        subjects::erase_events(&mut transaction, owner, &whole).await?;
        subjects::erase_set_aside(&mut transaction, owner, &aside).await?;
        store::commit(transaction).await?;
        metrics::counter!("edgetrail_erased_events_total").increment(losses.len() as u64);
        Ok(())
    }

    /// Closes a request that was carried out: whom it was about is forgotten, the certificate stays.
    pub(super) async fn finish(&self, tenant: &TenantId, request: Request) -> Result<(), PrivacyError> {
        self.mirror(tenant).await;
        let certificate = self.certify(tenant, &request).await?;
        let details = json!({
            "certificate_sha256": hex::encode(super::sha256(&certificate)),
            "mode": request.mode,
            "legal_basis": request.legal_basis,
        });
        self.tell(tenant, "ERASURE_COMPLETED", request.id, None, details).await?;
        let mut transaction = self.store.begin().await?;
        let locked = erasures::lock(&mut transaction, tenant.as_str(), request.id).await?;
        let mut request = locked.ok_or(PrivacyError::Missing)?;
        request.state = "done".to_owned();
        request.subject = None;
        request.names = Vec::new();
        request.closed_at = Some(self.clock.now().to_utc());
        erasures::update(&mut transaction, &request).await?;
        store::commit(transaction).await?;
        Ok(())
    }

    /// Signs what was done so far, in the directory of certificates first: a database that is restored knows nothing of it.
    pub(super) async fn certify(&self, tenant: &TenantId, request: &Request) -> Result<String, PrivacyError> {
        let passes = erasures::passes(&self.store, tenant.as_str(), request.id).await?;
        let hashes: Vec<Hash> = erasures::names(&self.store, tenant.as_str())
            .await?
            .into_iter()
            .filter(|name| name.request_id == request.id)
            .map(|name| name.hash)
            .collect();
        let certificate = Certificate { request: request.clone(), tenant: tenant.clone(), passes };
        let note = self.key.sign_note(&certificate.to_string(), &self.name);
        let shelf = self.shelf.clone();
        let (id, text) = (request.id, note.clone());
        tokio::task::spawn_blocking(move || shelf.put(id, &text, &hashes))
            .await
            .expect("writing a file does not panic")?;
        let mut transaction = self.store.begin().await?;
        let now = self.clock.now().to_utc();
        erasures::add_certificate(
            &mut transaction,
            tenant.as_str(),
            request.id,
            &super::sha256(&note),
            &note,
            now,
        )
        .await?;
        store::commit(transaction).await?;
        Ok(note)
    }
}

pub(super) fn tenant_of(request: &Request) -> Result<TenantId, PrivacyError> {
    let tenant = TenantId::try_from(request.tenant_id.clone());
    Ok(tenant.map_err(|_| StoreError::Damaged("tenant of an erasure"))?)
}

/// Whether a row beside the events is the person's: its texts, and last a route, which names somebody only if nobody else
/// could be meant.
pub(super) fn theirs(who: &Who, texts: &[Option<&str>]) -> bool {
    match texts {
        [None, None, Some(route)] => who.within_structure(route),
        texts => texts.iter().flatten().any(|text| who.within(text)),
    }
}

/// The columns that were read out of fields.
fn cleared(tags: &[Tag]) -> Vec<&'static str> {
    let columns = |tag: &Tag| -> &'static [&'static str] {
        match *tag {
            Tag::ACTOR => &["actor_id", "actor_email"],
            Tag::CLAIMED_USER => &["claimed_user"],
            Tag::TARGET => &["entity_id", "entity_name"],
            Tag::IP => &["ip"],
            Tag::SESSION => &["session_id"],
            Tag::PLACE => &["country"],
            _ => &[],
        }
    };
    tags.iter().flat_map(columns).copied().collect()
}
