//! What arrives after its person was erased: a Worker's queue tries for days. What happened before the erasure goes as well,
//! whenever it comes; what happens later is new, and nobody asked to erase it.

use std::collections::{HashMap, HashSet};

use chrono::{DateTime, TimeDelta, Utc};
use shared::event::{Event, TenantId};
use shared::leaf::Hash;
use uuid::Uuid;

use super::erase::theirs;
use super::find::{Found, open};
use super::person::{Who, judge};
use super::{Privacy, PrivacyError};
use crate::correlate::feed::Page;
use crate::store::erasures::{self, Request};
use crate::store::{self, StoreError, executions, subjects};

/// What the backend derived from an event shortly before it was erased may be recorded shortly after.
const DERIVED_WITHIN: TimeDelta = TimeDelta::hours(1);

/// Somebody who was erased.
struct Erased {
    request: Request,
    until: DateTime<Utc>,
    who: Who,
}

impl Privacy {
    /// Looks at all arrivals since the last time.
    pub(super) async fn follow(&self) -> Result<(), PrivacyError> {
        let mut tenants = Vec::new();
        for slug in erasures::tenants(&self.store).await? {
            let tenant = TenantId::try_from(slug).map_err(|_| StoreError::Damaged("tenant of an erasure"))?;
            tenants.push((self.erased(&tenant).await?, tenant));
        }
        while let Some(page) = Page::next(&self.store, "erasure").await? {
            for (erased, tenant) in &tenants {
                let batches = &page.batches;
                let arrived = subjects::of_batches(&self.store, tenant.as_str(), batches).await?;
                let mut late: HashMap<Uuid, Found> = HashMap::new();
                for placed in &arrived {
                    let (_, event) = open(&placed.opening)?;
                    for one in erased.iter().filter(|one| one.came_before(&event)) {
                        if let Some(finding) = judge(&event, &one.who) {
                            late.entry(one.request.id).or_default().add(placed, None, &finding);
                        }
                    }
                }
                for one in erased {
                    if let Some(found) = late.remove(&one.request.id) {
                        self.remove(tenant, &one.request, &found.losses).await?;
                        self.forget_runs(tenant, one).await?;
                        if one.request.state == "done" {
                            self.certify(tenant, &one.request).await?;
                        }
                    }
                }
            }
            page.finish().await?;
        }
        Ok(())
    }

    /// Who joins runs may have read an event before it was erased.
    async fn forget_runs(&self, tenant: &TenantId, one: &Erased) -> Result<(), PrivacyError> {
        let mut transaction = subjects::begin_removing(&self.store).await?;
        subjects::lock_removal(&mut transaction, tenant.as_str()).await?;
        subjects::hold_followers(&mut transaction).await?;
        let theirs = |texts: &[Option<&str>]| theirs(&one.who, texts);
        executions::forget(&mut transaction, tenant.as_str(), Some(one.until), &theirs).await?;
        Ok(store::commit(transaction).await?)
    }

    async fn erased(&self, tenant: &TenantId) -> Result<Vec<Erased>, PrivacyError> {
        let mut hashes: HashMap<Uuid, HashSet<Hash>> = HashMap::new();
        for name in erasures::names(&self.store, tenant.as_str()).await? {
            hashes.entry(name.request_id).or_default().insert(name.hash);
        }
        let mut erased = Vec::with_capacity(hashes.len());
        for (id, hashes) in hashes {
            let request = self.look(tenant, id).await?;
            let until = request.until.ok_or(StoreError::Damaged("time of an erasure"))?;
            let who = Who::Hashed { key: self.hashes.clone(), tenant: tenant.clone(), hashes };
            erased.push(Erased { request, until, who });
        }
        Ok(erased)
    }
}

impl Erased {
    fn came_before(&self, event: &Event) -> bool {
        let slack = if event.request.host == "ingest" { DERIVED_WITHIN } else { TimeDelta::zero() };
        event.occurred_at.to_utc() <= self.until + slack
    }
}
