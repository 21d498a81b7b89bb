//! What an operator does to logs: goes on with a new origin after a restore, and rotates the key with overlap.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;
use shared::note::{KeyName, Note, signature_line};
use shared::verify::LOG_REOPENED;
use sqlx::PgConnection;

use super::{CommandError, print};
use crate::clock::Clock;
use crate::config::Config;
use crate::integrity::done_to_log;
use crate::ledger::key::verifier;
use crate::ledger::keyring::{self, Keyring};
use crate::ledger::publication::{authorities, newest_head};
use crate::ledger::sequencer::{fresh_log, open_log};
use crate::ledger::startup;
use crate::own::outbox;
use crate::postgres::Neighbour;
use crate::serve::Database;
use crate::store::log::LogRow;
use crate::store::{Store, StoreError, commit, log, log_keys, publications};

/// Who does it, in the log.
const OPERATOR: &str = "operator";

#[derive(Debug, Subcommand)]
pub(super) enum LogCommand {
    /// Goes on with a new origin whose first leaf is the old head, after a restored backup.
    Reopen {
        /// The log that is not signed any more.
        #[arg(long)]
        log: String,
        /// A checkpoint of it that is known elsewhere, if neither a witness nor the copies show the newest.
        #[arg(long)]
        head: Option<PathBuf>,
    },
    /// Makes a new key that signs beside the old one from the next start on.
    RotateKey {
        /// Leave the logs that grow as they are: the new key opens the logs of next year.
        #[arg(long, conflicts_with = "finish")]
        at_next_year: bool,
        /// End the overlap: only the newest key signs from the next start on.
        #[arg(long)]
        finish: bool,
    },
}

pub(super) async fn run(config: &Config, command: LogCommand) -> Result<(), CommandError> {
    let database = Database::open(config, Neighbour::Join).await?;
    let done = match command {
        LogCommand::Reopen { log, head } => reopen(config, &database.store, &log, head).await,
        LogCommand::RotateKey { finish: true, .. } => finish(config, &database.store).await,
        LogCommand::RotateKey { at_next_year, .. } => rotate(config, &database.store, at_next_year).await,
    };
    database.close().await;
    for line in done? {
        print(&line)?;
    }
    Ok(())
}

async fn reopen(
    config: &Config,
    store: &Store,
    log_id: &str,
    head: Option<PathBuf>,
) -> Result<Vec<String>, CommandError> {
    use chrono::Datelike as _;
    let old = log::find(store, log_id).await?.ok_or_else(|| usage(format!("there is no log {log_id}")))?;
    let grows = log::list(store, Some(&old.tenant_id)).await?;
    if grows.first().is_none_or(|newest| newest.log_id != old.log_id) {
        return Err(usage(format!("log {log_id} does not grow any more: another one follows it")));
    }
    let keys = Keyring::load_or_create(&config.log.key_file, &config.log.origin)
        .map_err(crate::serve::ServeError::from)?;
    let (size, note) = known_head(config, store, &old, head).await?;
    let mut connection = store.begin().await?;
    let own = newest_head(&mut connection, &old).await?;
    drop(connection);
    let witnessed = match &own {
        Some(own) => {
            let authorities = authorities(&config.publication).map_err(crate::serve::ServeError::from)?;
            authorities.ahead(store, own, &Clock::system()).await?
        }
        None => None,
    };
    let published = publications::published_size(store, &old.log_id).await?.unwrap_or(old.size);
    let now = Clock::system().now();
    let year = now.to_utc().year().max(old.year);
    let part = if year == old.year { old.part + 1 } else { 0 };
    let fresh = fresh_log(&config.log.origin, &old.tenant_id, year, part, keys.newest());
    let mut transaction = store.begin().await?;
    let previous = Some((old.log_id.as_str(), note.as_str()));
    if !open_log(&mut transaction, &fresh, previous, now, config.publication.waits()).await? {
        return Err(usage(format!("another process has opened a log after {log_id} just now")));
    }
    // What a verifier holds the end of the old log against.
    let details = json!({
        "previous": old.log_id, "head_size": size, "database_size": old.size, "published_size": published,
        "witnessed_size": witnessed, "origin": fresh.origin,
    });
    tell(&mut transaction, (&old.tenant_id, &fresh.log_id), LOG_REOPENED, details).await?;
    commit(transaction).await?;
    let key = verifier(&fresh.origin, &fresh.public_key).ok_or(StoreError::Damaged("origin of a log"))?;
    let mut lines = vec![format!("log {} follows log {log_id} at {size} entries", fresh.log_id)];
    let lost = size.saturating_sub(u64::try_from(published).unwrap_or(0));
    if lost > 0 {
        lines.push(format!("{lost} entries are lost with the backup; every verification will say so"));
    }
    if let Some(seen) = witnessed.filter(|seen| *seen > size) {
        lines.push(format!(
            "a witness has seen {seen} entries, and nobody shows that head: every verification will call log {log_id} truncated"
        ));
    }
    lines.push(key.to_string());
    Ok(lines)
}

/// The largest head of a log that anybody knows, as the log signed it: without cosignatures.
async fn known_head(
    config: &Config,
    store: &Store,
    log: &LogRow,
    given: Option<PathBuf>,
) -> Result<(u64, String), CommandError> {
    let mut connection = store.begin().await?;
    let own = log::newest_checkpoint(&mut connection, &log.log_id).await?;
    let mut best = own.and_then(|head| Some((u64::try_from(head.size).ok()?, head.note)));
    let mut offer = |head: Option<(u64, String)>| {
        if let Some(head) = head
            && best.as_ref().is_none_or(|best| best.0 < head.0)
        {
            best = Some(head);
        }
    };
    if let Some(path) = given {
        let note = std::fs::read_to_string(&path)?;
        let checkpoint = startup::signed(&mut connection, log, &note).await?;
        let refused = || usage(format!("{} is no checkpoint that log {} signed", path.display(), log.log_id));
        offer(Some((checkpoint.ok_or_else(refused)?.size, note)));
    }
    let authorities = authorities(&config.publication).map_err(crate::serve::ServeError::from)?;
    offer(authorities.largest(store, log).await?);
    let (size, note) = best.ok_or_else(|| usage(format!("log {} has no head to go on from", log.log_id)))?;
    let parsed = Note::parse_within(note.as_bytes(), 64 * 1024).map_err(|error| usage(error.to_string()))?;
    let own = parsed.signatures().iter().filter(|line| line.name.as_str() == log.origin);
    let lines: String = own.map(|line| signature_line(&line.name, line.key_id, &line.bytes)).collect();
    Ok((size, format!("{}\n{lines}", parsed.text())))
}

async fn rotate(config: &Config, store: &Store, at_next_year: bool) -> Result<Vec<String>, CommandError> {
    let (path, host) = (&config.log.key_file, &config.log.origin);
    let failed = |error| CommandError::from(crate::serve::ServeError::from(error));
    let keys = Keyring::load_or_create(path, host).map_err(failed)?;
    let mut transaction = store.begin().await?;
    let logs = growing(store).await?;
    // A key that was made before and that no log names yet is taken: a try that broke off leaves no third key.
    let mut fresh = keys.newest().public();
    let used = |named: &[log_keys::NamedKey]| named.iter().any(|named| named.public_key == fresh);
    let mut taken = logs.is_empty();
    for log in &logs {
        taken |= used(&log_keys::of(&mut transaction, &log.log_id).await?);
    }
    if taken {
        fresh = keyring::add(path, host).map_err(failed)?.public();
    }
    let mut lines = Vec::new();
    if at_next_year {
        lines.push("the new key opens the logs of next year, after a restart".to_owned());
        return Ok(lines);
    }
    let now = Clock::system().now().to_utc();
    for log in &logs {
        log_keys::name(&mut transaction, &log.log_id, &fresh, now).await?;
        let key = verifier(&log.origin, &fresh).ok_or(StoreError::Damaged("origin of a log"))?.to_string();
        tell(&mut transaction, (&log.tenant_id, &log.log_id), "LOG_KEY_NAMED", json!({"key": key})).await?;
        lines.push(key);
    }
    commit(transaction).await?;
    lines.push("both keys sign after a restart; give the new one to witnesses and verifiers".to_owned());
    Ok(lines)
}

async fn finish(config: &Config, store: &Store) -> Result<Vec<String>, CommandError> {
    let (path, host): (_, &KeyName) = (&config.log.key_file, &config.log.origin);
    let failed = |error| CommandError::from(crate::serve::ServeError::from(error));
    let newest = Keyring::load_or_create(path, host).map_err(failed)?.newest().public();
    let mut transaction = store.begin().await?;
    let now = Clock::system().now().to_utc();
    for log in &growing(store).await? {
        let named = log_keys::of(&mut transaction, &log.log_id).await?;
        if !named.iter().any(|named| named.public_key == newest && named.retired_at.is_none()) {
            let hint = "rotate the key first, or wait for next year's log";
            return Err(usage(format!("log {} does not name the newest key: {hint}", log.log_id)));
        }
        for public in log_keys::retire_others(&mut transaction, &log.log_id, &newest, now).await? {
            let key = verifier(&log.origin, &public).map(|key| key.to_string());
            tell(&mut transaction, (&log.tenant_id, &log.log_id), "LOG_KEY_RETIRED", json!({"key": key}))
                .await?;
        }
    }
    commit(transaction).await?;
    keyring::keep_newest(path).map_err(failed)?;
    Ok(vec!["only the newest key signs after a restart".to_owned()])
}

/// The log that grows, of each tenant.
async fn growing(store: &Store) -> Result<Vec<LogRow>, StoreError> {
    let mut logs = log::list(store, None).await?;
    logs.dedup_by(|next, kept| next.tenant_id == kept.tenant_id);
    Ok(logs)
}

async fn tell(
    connection: &mut PgConnection,
    (tenant, log_id): (&str, &str),
    action: &str,
    details: serde_json::Value,
) -> Result<(), StoreError> {
    let tenant = tenant.parse().map_err(|_| StoreError::Damaged("tenant of a log"))?;
    let now = Clock::system().now();
    outbox::keep(connection, &done_to_log(&tenant, action, log_id, OPERATOR, details, now)).await
}

fn usage(words: String) -> CommandError {
    CommandError::Usage(words)
}
