//! Making, registering and revoking keys. A secret is printed once and stored nowhere.

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use shared::event::TenantId;
use shared::note::{KeyId, SignerKey, VerifierKey};
use uuid::Uuid;

use super::{AdminCommand, ApiKeyCommand, CommandError, SignerCommand, print};
use crate::api;
use crate::auth::{ApiKey, ApiKeyText, COMMAND_LINE, Role, Tenure, person};
use crate::clock::random;
use crate::config::Config;
use crate::postgres::Neighbour;
use crate::serve::Database;
use crate::store::access::Grant;
use crate::store::api_keys::ListedKey;
use crate::store::{api_keys, signing_keys};

pub(super) async fn api_key(config: &Config, command: ApiKeyCommand) -> Result<(), CommandError> {
    let mut holder = None;
    if let ApiKeyCommand::Create { role, expires, person: named, .. } = &command {
        tenure(*role, *expires)?;
        let named = named.as_deref().map(person).transpose();
        holder = named.map_err(|reason| CommandError::Usage(format!("--person: {reason}")))?;
    }
    let database = Database::open(config, Neighbour::Join).await?;
    let store = &database.store;
    let line = match command {
        ApiKeyCommand::Create { tenant, name, role, expires, .. } => {
            let text = ApiKeyText::mint(random(), random());
            let tenure = tenure(role, expires)?;
            let (id, sha256) = (text.id().to_owned(), text.sha256().to_vec());
            let key = ApiKey { id, tenant, tenure, person: holder, sha256 };
            let registered = api_keys::upsert(store, &key, &name).await;
            registered.map(|()| text.reveal().to_owned())
        }
        ApiKeyCommand::List { tenant } => {
            let keys = api_keys::list(store, tenant.as_ref().map(TenantId::as_str)).await;
            keys.map(|keys| keys.iter().map(listed).collect::<Vec<_>>().join("\n"))
        }
        ApiKeyCommand::Revoke { id } => {
            let revoked = api_keys::revoke(store, &id).await;
            revoked.map(|found| if found { format!("revoked {id}") } else { String::new() })
        }
    };
    finish(database, line).await
}

/// A key in a line: id, tenant, role, person, state and name.
fn listed(key: &ListedKey) -> String {
    let state = match (key.revoked_at, key.expires_at) {
        (Some(at), _) => format!("revoked {}", at.format("%Y-%m-%d")),
        (None, Some(end)) if end <= Utc::now() => format!("expired {}", end.format("%Y-%m-%d")),
        (None, Some(end)) => format!("until {}", end.format("%Y-%m-%d")),
        (None, None) => "good".to_owned(),
    };
    let person = key.person.as_deref().unwrap_or("-");
    format!("{}  {}  {}  {person}  {state}  {}", key.id, key.tenant_id, key.role, key.name)
}

fn tenure(role: Role, expires: Option<DateTime<Utc>>) -> Result<Tenure, CommandError> {
    Tenure::new(role, expires).map_err(|error| CommandError::Usage(format!("--expires: {error}")))
}

pub(super) async fn admin(config: &Config, command: AdminCommand) -> Result<(), CommandError> {
    let AdminCommand::Grant { tenant, email, role, expires } = command;
    let tenure = tenure(role, expires)?;
    let who = person(&email).map_err(|reason| CommandError::Usage(format!("--email: {reason}")))?;
    let grant = Grant {
        grant_id: Uuid::from_bytes(random()),
        tenant,
        who,
        tenure,
        granted_by: COMMAND_LINE.to_owned(),
        granted_at: Utc::now(),
        revoked_by: None,
        revoked_at: None,
    };
    let database = Database::open(config, Neighbour::Join).await?;
    let granted = api::grant(&database.store, &grant).await;
    finish(database, granted.map(|()| format!("{} is {role} of {}", grant.who, grant.tenant))).await
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
