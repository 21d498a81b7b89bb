//! After a restore: certificates that this database does not know were made after the copy it comes from. They are carried
//! out again, by the leaves they list, which keep their places, and by the hashes of names for what arrived otherwise.

use std::collections::HashMap;

use shared::absence::Run;
use shared::leaf::Tag;
use shared::note::Note;

use super::certificate::{Certificate, MAX_CERTIFICATE_LEN};
use super::find::Loss;
use super::person::Who;
use super::{Privacy, PrivacyError, sha256};
use crate::store::{self, StoreError, erasures, subjects};

/// What can be lost alone.
const FIELDS: [Tag; 9] = [
    Tag::ACTOR,
    Tag::CLAIMED_USER,
    Tag::TARGET,
    Tag::IP,
    Tag::USER_AGENT,
    Tag::SESSION,
    Tag::PLACE,
    Tag::DETAILS,
    Tag::CHANGES,
];
/// What tells who acted, and from where.
const ORIGIN: [Tag; 5] = [Tag::ACTOR, Tag::IP, Tag::USER_AGENT, Tag::SESSION, Tag::PLACE];
/// Leaves that are looked up at a time.
const STEP: u64 = 5_000;

impl Privacy {
    /// Carries out again what this database does not know of.
    pub(super) async fn reapply(&self) -> Result<(), PrivacyError> {
        let shelf = self.shelf.clone();
        let notes = tokio::task::spawn_blocking(move || shelf.notes())
            .await
            .expect("reading files does not panic")?;
        for text in notes {
            let Some(certificate) = self.ours(&text) else {
                tracing::warn!("a certificate is not of this installation and is left alone");
                continue;
            };
            let (tenant, id) = (&certificate.tenant, certificate.request.id);
            let known = erasures::has_certificate(&self.store, tenant.as_str(), id, &sha256(&text)).await?;
            if !known && certificate.request.until.is_some() {
                self.again(&certificate, &text).await?;
            }
        }
        Ok(())
    }

    fn ours(&self, text: &str) -> Option<Certificate> {
        let note = Note::parse_within(text.as_bytes(), MAX_CERTIFICATE_LEN).ok()?;
        let signed = self.key.sign_note(note.text(), &self.name);
        // Signatures are deterministic: what we signed is what we would sign.
        (signed == text).then(|| note.text().parse().ok()).flatten()
    }

    async fn again(&self, certificate: &Certificate, text: &str) -> Result<(), PrivacyError> {
        let (tenant, id) = (&certificate.tenant, certificate.request.id);
        tracing::warn!(request = %id, "this database does not know of an erasure, it is carried out again");
        let shelf = self.shelf.clone();
        let hashes = tokio::task::spawn_blocking(move || shelf.hashes(id))
            .await
            .expect("reading a file does not panic")?;
        let mut transaction = self.store.begin().await?;
        let mut request = match erasures::lock(&mut transaction, tenant.as_str(), id).await? {
            Some(mut known) => {
                known.state = "running".to_owned();
                known.until = certificate.request.until;
                erasures::update(&mut transaction, &known).await?;
                known
            }
            None => {
                erasures::insert(&mut transaction, &certificate.request).await?;
                certificate.request.clone()
            }
        };
        erasures::add_names(&mut transaction, tenant.as_str(), id, &hashes).await?;
        store::commit(transaction).await?;

        let mut losses = Vec::new();
        for run in certificate.passes.iter().flat_map(|pass| pass.list.runs()) {
            self.losses_of(certificate, run, &mut losses).await?;
        }
        let hashes = hashes.into_iter().collect();
        let who = Who::Hashed { key: self.hashes.clone(), tenant: tenant.clone(), hashes };
        // What stands for the person stays the same.
        request.pseudonym.clone_from(&certificate.request.pseudonym);
        self.remove_all(tenant, &request, &who, losses).await?;
        let mut transaction = self.store.begin().await?;
        let now = self.clock.now().to_utc();
        erasures::add_certificate(&mut transaction, tenant.as_str(), id, &sha256(text), text, now).await?;
        store::commit(transaction).await?;
        self.finish(tenant, request).await
    }

    /// The events of a run's leaves, as far as this copy of the log has them.
    async fn losses_of(
        &self,
        certificate: &Certificate,
        run: &Run,
        losses: &mut Vec<Loss>,
    ) -> Result<(), PrivacyError> {
        let tenant = certificate.tenant.as_str();
        let number = |n: u64| i64::try_from(n).map_err(|_| StoreError::Damaged("place in a log"));
        let tags: Vec<Tag> = match run.lost.is_event() {
            true => Vec::new(),
            false => FIELDS.into_iter().filter(|tag| run.lost.covers(*tag)).collect(),
        };
        let end = run.first + u64::from(run.count);
        let mut from = run.first;
        while from < end {
            let to = end.min(from + STEP);
            let log = hex::encode(run.log);
            let batches =
                subjects::batches_of_leaves(&self.store, tenant, &log, number(from)?, number(to)?).await?;
            if !batches.is_empty() {
                let starts: HashMap<i64, i64> =
                    batches.iter().map(|batch| (batch.batch_id, batch.first_index)).collect();
                let ids: Vec<i64> = starts.keys().copied().collect();
                let inside = number(from)?..number(to)?;
                for placed in subjects::of_batches(&self.store, tenant, &ids).await? {
                    let leaf = starts.get(&placed.batch_id).map(|first| first + i64::from(placed.position));
                    if leaf.is_some_and(|leaf| inside.contains(&leaf)) {
                        losses.push(Loss {
                            leaf: (placed.batch_id, placed.position),
                            event: Some((placed.filed_at, placed.id)),
                            // Only of acts of theirs does it go where they came from.
                            by: tags.iter().any(|tag| ORIGIN.contains(tag)),
                            tags: tags.clone(),
                            part: None,
                        });
                    }
                }
            }
            from = to;
        }
        Ok(())
    }
}
