//! Producers' keys in memory: looked up for every batch, read from the store every few seconds.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};
use std::time::{Duration, Instant};

use ed25519_dalek::VerifyingKey;
use shared::event::TenantId;
use shared::note::{KeyId, KeyName};
use tokio::sync::Mutex;

use crate::store::{Store, StoreError, signing_keys};

/// A revocation takes effect within this time.
const FRESH_FOR: Duration = Duration::from_secs(5);
/// An unknown key asks the store again, though not more often than this: unknown keys cost the sender nothing.
const ASK_AGAIN_AFTER: Duration = Duration::from_millis(200);

/// A producer that may send.
#[derive(Debug, Clone)]
pub struct Signer {
    /// Its public key.
    pub public: VerifyingKey,
    /// The tenants it may sign for.
    pub tenants: Vec<TenantId>,
}

/// What is known of a key.
#[derive(Debug, Clone)]
pub enum SignerLookup {
    /// It may send.
    Known(Arc<Signer>),
    /// Never registered, or revoked.
    Unknown,
}

type Keys = HashMap<(KeyName, KeyId), Arc<Signer>>;

/// The cache.
#[derive(Debug)]
pub struct Signers {
    store: Store,
    cached: RwLock<Cached>,
    refreshing: Mutex<()>,
}

#[derive(Debug, Default)]
struct Cached {
    keys: Keys,
    read_at: Option<Instant>,
}

impl Signers {
    /// An empty cache over a store.
    pub fn new(store: Store) -> Self {
        Self { store, cached: RwLock::default(), refreshing: Mutex::default() }
    }

    /// Looks a key up. While the store is away, keys that were known stay known: what they send is refused later if it
    /// cannot be stored.
    ///
    /// # Errors
    /// If the key is not known and the store cannot be asked.
    pub async fn find(&self, name: &KeyName, id: KeyId) -> Result<SignerLookup, StoreError> {
        let (found, age) = self.cached_key(name, id);
        match found {
            Some(signer) if age.is_some_and(|age| age < FRESH_FOR) => Ok(SignerLookup::Known(signer)),
            Some(signer) => match self.refresh(FRESH_FOR).await {
                Ok(()) => Ok(self.lookup(name, id)),
                Err(error) => {
                    tracing::warn!(%error, "signing keys are not fresh");
                    Ok(SignerLookup::Known(signer))
                }
            },
            None => {
                self.refresh(ASK_AGAIN_AFTER).await?;
                Ok(self.lookup(name, id))
            }
        }
    }

    /// Reads the store again: what was registered just now is known from here on.
    ///
    /// # Errors
    /// If the store cannot be asked.
    pub async fn renew(&self) -> Result<(), StoreError> {
        self.refresh(Duration::ZERO).await
    }

    fn lookup(&self, name: &KeyName, id: KeyId) -> SignerLookup {
        match self.cached_key(name, id).0 {
            Some(signer) => SignerLookup::Known(signer),
            None => SignerLookup::Unknown,
        }
    }

    fn cached_key(&self, name: &KeyName, id: KeyId) -> (Option<Arc<Signer>>, Option<Duration>) {
        let cached = self.cached.read().expect("no panic while locked");
        let found = cached.keys.get(&(name.clone(), id)).cloned();
        (found, cached.read_at.map(|at| at.elapsed()))
    }

    /// Reads the store unless somebody did so within `max_age`.
    async fn refresh(&self, max_age: Duration) -> Result<(), StoreError> {
        let _one_at_a_time = self.refreshing.lock().await;
        let age = self.cached.read().expect("no panic while locked").read_at;
        if age.is_some_and(|at| at.elapsed() < max_age) {
            return Ok(());
        }
        let started = Instant::now();
        let mut keys = Keys::new();
        for registered in signing_keys::all(&self.store).await? {
            let id = registered.key.id();
            match VerifyingKey::from_bytes(&registered.key.public) {
                Ok(public) => {
                    let tenants = registered.tenants;
                    keys.insert((registered.key.name, id), Arc::new(Signer { public, tenants }));
                }
                Err(_) => {
                    tracing::warn!(name = %registered.key.name, %id, "registered key is no curve point");
                }
            }
        }
        let mut cached = self.cached.write().expect("no panic while locked");
        cached.keys = keys;
        cached.read_at = Some(started);
        Ok(())
    }
}
