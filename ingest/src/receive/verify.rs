//! Whom to believe: framing, note, signature, header and the digests it binds. Nothing of a batch is looked at before
//! its signature holds, and a batch that fails here leaves no trace in the store.

use shared::batch::{Body, Framed, Header, events_hash};
use shared::event::TenantId;
use shared::note::Note;

use crate::auth::{Signer, SignerLookup, Signers};
use crate::store::StoreError;

/// A batch whose signature and digests hold.
#[derive(Debug)]
pub struct Verified<'a> {
    /// What was signed.
    pub header: Header,
    /// The signed note as received.
    pub note: String,
    /// The digests, which the header binds, and the events, which nothing vouches for yet.
    pub body: Body<'a>,
}

/// Why a batch is refused as a whole.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// Over the limit.
    #[error("batch is over the limit")]
    Oversized,
    /// Note, header or body cannot be read.
    #[error("{0}")]
    Unreadable(String),
    /// No signature of a registered key verifies.
    #[error("the key is unknown or revoked, or its signature does not verify")]
    Signature,
    /// The key signs for other tenants.
    #[error("tenant {0}")]
    ForeignTenant(TenantId),
    /// The body's digests are not those of the header.
    #[error("{0}")]
    Digests(&'static str),
    /// Keys cannot be looked up.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Checks a batch.
///
/// # Errors
/// [`Refusal`] says which check failed; the first in the order of this text.
pub async fn verify<'a>(signers: &Signers, framed: Framed<'a>) -> Result<Verified<'a>, Refusal> {
    if framed.is_oversized() {
        return Err(Refusal::Oversized);
    }
    let unreadable = |error: &dyn std::fmt::Display| Refusal::Unreadable(error.to_string());
    let note = Note::parse(framed.note).map_err(|error| unreadable(&error))?;
    let tenants = signed_for(signers, &note).await?;
    let header: Header = note.text().parse().map_err(|error| unreadable(&error))?;
    // One text for one header: otherwise two texts with one meaning would have two hashes.
    if header.to_string() != note.text() {
        return Err(Refusal::Unreadable("header is not canonical".to_owned()));
    }
    if !tenants.contains(&header.tenant) {
        return Err(Refusal::ForeignTenant(header.tenant));
    }
    let body = Body::parse(framed.body).map_err(|error| unreadable(&error))?;
    if body.digests.len() != usize::from(header.count) {
        return Err(Refusal::Digests("count differs from the header's"));
    }
    if events_hash(&body.digests) != header.events {
        return Err(Refusal::Digests("digests differ from the header's"));
    }
    Ok(Verified { header, body, note: String::from_utf8_lossy(framed.note).into_owned() })
}

/// The tenants of every registered key that signed this note.
async fn signed_for(signers: &Signers, note: &Note) -> Result<Vec<TenantId>, Refusal> {
    let mut tenants = Vec::new();
    for signature in note.signatures().iter().take(MAX_SIGNATURES) {
        let SignerLookup::Known(signer) = signers.find(&signature.name, signature.key_id).await? else {
            continue;
        };
        if holds(&signer, note.text(), &signature.bytes) {
            tenants.extend(signer.tenants.iter().cloned());
        }
    }
    if tenants.is_empty() { Err(Refusal::Signature) } else { Ok(tenants) }
}

/// A producer signs once, with two keys while they rotate.
const MAX_SIGNATURES: usize = 4;

fn holds(signer: &Signer, text: &str, signature: &[u8]) -> bool {
    let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else {
        return false;
    };
    signer.public.verify_strict(text.as_bytes(), &signature).is_ok()
}
