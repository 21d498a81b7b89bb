//! Making, registering and revoking keys. A secret is printed once and stored nowhere.

use chrono::{DateTime, Utc};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use shared::event::{Severity, TenantId};
use shared::note::{KeyId, SignerKey, VerifierKey};
use sqlx::PgConnection;
use uuid::Uuid;

use super::{AdminCommand, ApiKeyCommand, CommandError, SignerCommand, print};
use crate::api;
use crate::auth::{ApiKey, ApiKeyText, COMMAND_LINE, Notice, Role, Tenure, person};
use crate::clock::{Clock, random};
use crate::config::Config;
use crate::postgres::Neighbour;
use crate::serve::Database;
use crate::store::access::Grant;
use crate::store::api_keys::ListedKey;
use crate::store::{Store, StoreError, api_keys, commit, signing_keys};
use crate::view::time;

pub(super) async fn api_key(config: &Config, command: ApiKeyCommand) -> Result<(), CommandError> {
    if let ApiKeyCommand::Create { role, expires, person, .. } = &command {
        tenure(*role, *expires)?;
        holder(person.as_deref())?;
    }
    let database = Database::open(config, Neighbour::Join).await?;
    let said = said(&database.store, command).await;
    database.close().await;
    print(&said?)
}

async fn said(store: &Store, command: ApiKeyCommand) -> Result<String, CommandError> {
    match command {
        ApiKeyCommand::Create { tenant, name, role, expires, person, json } => {
            let made = Made::mint(tenant, name, tenure(role, expires)?, holder(person.as_deref())?);
            let mut transaction = store.begin().await?;
            made.keep(&mut transaction, None).await?;
            commit(transaction).await?;
            Ok(made.said(json))
        }
        ApiKeyCommand::List { tenant, json } => {
            let keys = api_keys::list(store, tenant.as_ref().map(TenantId::as_str)).await?;
            let lines = keys.iter().map(|key| if json { shown(key).to_string() } else { listed(key) });
            Ok(lines.collect::<Vec<_>>().join("\n"))
        }
        ApiKeyCommand::Rotate { id, expires, json } => {
            let mut transaction = store.begin().await?;
            let old = revoked(&mut transaction, &id).await?;
            let role: Role = old.role.parse().map_err(|_| StoreError::Damaged("role"))?;
            let tenant = old.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of an API key"))?;
            let tenure = tenure(role, expires.or(old.expires_at))?;
            let made = Made::mint(tenant, old.name, tenure, old.person);
            made.keep(&mut transaction, Some(&id)).await?;
            commit(transaction).await?;
            Ok(made.said(json))
        }
        ApiKeyCommand::Revoke { id, json } => {
            let mut transaction = store.begin().await?;
            let key = revoked(&mut transaction, &id).await?;
            commit(transaction).await?;
            Ok(if json { shown(&key).to_string() } else { format!("revoked {id}") })
        }
    }
}

/// A key that was just made; its text is known now and never again.
struct Made {
    text: ApiKeyText,
    key: ApiKey,
    name: String,
}

impl Made {
    fn mint(tenant: TenantId, name: String, tenure: Tenure, person: Option<String>) -> Self {
        let text = ApiKeyText::mint(random(), random());
        let (id, sha256) = (text.id().to_owned(), text.sha256().to_vec());
        let key = ApiKey { id, tenant, tenure, person, sha256 };
        Self { text, key, name }
    }

    /// Registers it, with the notice of it.
    async fn keep(&self, connection: &mut PgConnection, replaces: Option<&str>) -> Result<(), StoreError> {
        api_keys::register(connection, &self.key, &self.name).await?;
        let details = json!({
            "name": self.name,
            "role": self.key.tenure.role().word(),
            "person": self.key.person,
            "expires_at": self.key.tenure.until().map(time),
            "replaces": replaces,
        });
        notice(&self.key.tenant, "ACCESS_API_KEY_CREATED", &self.key.id, details).keep(connection).await
    }

    fn said(&self, json: bool) -> String {
        if !json {
            return self.text.reveal().to_owned();
        }
        json!({
            "id": self.key.id,
            "tenant": self.key.tenant,
            "name": self.name,
            "role": self.key.tenure.role().word(),
            "person": self.key.person,
            "expires_at": self.key.tenure.until().map(time),
            "key": self.text.reveal(),
        })
        .to_string()
    }
}

/// Revokes a key, with the notice of it.
async fn revoked(connection: &mut PgConnection, id: &str) -> Result<ListedKey, CommandError> {
    let key = api_keys::revoke(connection, id).await?.ok_or(CommandError::NoSuchKey)?;
    let tenant = key.tenant_id.parse().map_err(|_| StoreError::Damaged("tenant of an API key"))?;
    let details = json!({"name": key.name, "role": key.role});
    notice(&tenant, "ACCESS_API_KEY_REVOKED", id, details).keep(connection).await?;
    Ok(key)
}

fn notice(tenant: &TenantId, action: &str, id: &str, details: Value) -> Notice {
    Notice::new(tenant, action, COMMAND_LINE, ("api_key", id.to_owned()), Clock::system().now())
        .with(Severity::Critical, details)
}

/// A key as JSON; its text is nowhere.
fn shown(key: &ListedKey) -> Value {
    json!({
        "id": key.id,
        "tenant": key.tenant_id,
        "name": key.name,
        "role": key.role,
        "person": key.person,
        "created_at": time(key.created_at),
        "expires_at": key.expires_at.map(time),
        "revoked_at": key.revoked_at.map(time),
    })
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
    if expires.is_some_and(|end| end <= Utc::now()) {
        return Err(CommandError::Usage("--expires: it is over".to_owned()));
    }
    Tenure::new(role, expires).map_err(|error| CommandError::Usage(format!("--expires: {error}")))
}

/// Who answers for a key.
fn holder(named: Option<&str>) -> Result<Option<String>, CommandError> {
    let named = named.map(person).transpose();
    named.map_err(|reason| CommandError::Usage(format!("--person: {reason}")))
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
        .map_err(|_| CommandError::Usage("the id is not eight hex digits".to_owned()))?;
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
