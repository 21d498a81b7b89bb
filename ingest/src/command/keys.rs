//! Making, registering and revoking keys. A secret is printed once and stored nowhere.

use ed25519_dalek::SigningKey;
use shared::note::{KeyId, SignerKey, VerifierKey};

use super::{ApiKeyCommand, CommandError, SignerCommand, print};
use crate::auth::{ApiKey, ApiKeyText};
use crate::clock::random;
use crate::config::Config;
use crate::postgres::Neighbour;
use crate::serve::Database;
use crate::store::{api_keys, signing_keys};

pub(super) async fn api_key(config: &Config, command: ApiKeyCommand) -> Result<(), CommandError> {
    let database = Database::open(config, Neighbour::Join).await?;
    let store = &database.store;
    let line = match command {
        ApiKeyCommand::New { tenant, name, role } => {
            let text = ApiKeyText::mint(random(), random());
            let key = ApiKey { id: text.id().to_owned(), tenant, role, sha256: text.sha256().to_vec() };
            let registered = api_keys::upsert(store, &key, &name).await;
            registered.map(|()| text.reveal().to_owned())
        }
        ApiKeyCommand::Revoke { id } => {
            let revoked = api_keys::revoke(store, &id).await;
            revoked.map(|found| if found { format!("revoked {id}") } else { String::new() })
        }
    };
    finish(database, line).await
}

pub(super) async fn signer(config: &Config, command: SignerCommand) -> Result<(), CommandError> {
    if let SignerCommand::Revoke { id, .. } = &command {
        parse_id(id)?;
    }
    let database = Database::open(config, Neighbour::Join).await?;
    let store = &database.store;
    let line = match command {
        SignerCommand::New { name, tenants } => {
            let pair = SigningKey::from_bytes(&random());
            let public = VerifierKey { name, public: pair.verifying_key().to_bytes() };
            let private = SignerKey { name: public.name.clone(), id: public.id(), seed: pair.to_bytes() };
            let registered = signing_keys::upsert(store, &public, &tenants).await;
            registered.map(|()| private.reveal())
        }
        SignerCommand::Add { key, tenants } => {
            let registered = signing_keys::upsert(store, &key, &tenants).await;
            registered.map(|()| format!("registered {} {}", key.name, key.id()))
        }
        SignerCommand::Revoke { name, id } => {
            let revoked = signing_keys::revoke(store, &name, parse_id(&id)?).await;
            revoked.map(|found| if found { format!("revoked {name} {id}") } else { String::new() })
        }
    };
    finish(database, line).await
}

fn parse_id(text: &str) -> Result<KeyId, CommandError> {
    let mut id = [0; 4];
    hex::decode_to_slice(text, &mut id)
        .map_err(|_| CommandError::Usage(format!("{text:?} is not eight hex digits")))?;
    Ok(KeyId(id))
}

/// Closes the database whatever happened, then prints; an empty line stands for nothing found.
async fn finish(
    database: Database,
    line: Result<String, crate::store::StoreError>,
) -> Result<(), CommandError> {
    database.close().await;
    let line = line?;
    if line.is_empty() {
        return Err(CommandError::NoSuchKey);
    }
    print(&line)
}
