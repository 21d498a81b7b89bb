//! The order of the checks: from what this machine has to what the internet shows.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Utc};
use futures_util::StreamExt as _;
use futures_util::future::join_all;
use shared::event::TenantId;
use shared::note::SignerKey;
use sqlx::Connection as _;

use super::edge::{self, EdgeConfig};
use super::judge::{self, Answered, KeyFile, Probed};
use super::{Finding, probe};
use crate::clock::Clock;
use crate::config::{self, Config};
use crate::integrity::Kind;
use crate::postgres::Neighbour;
use crate::serve::Database;
use crate::storage;
use crate::store::{Store, StoreError, api_keys, log, publications, signing_keys, vitals};

/// What object storage and watched databases may take.
const REACHED_WITHIN: Duration = Duration::from_secs(15);

/// How much is looked at.
#[derive(Debug, Clone)]
pub struct Extent {
    /// The configuration's file, where there is one.
    pub config: Option<PathBuf>,
    /// What the Worker is configured to do, if that is known here.
    pub edge: Option<EdgeConfig>,
    /// How long a request of ours may take to be counted; none sends none.
    pub patience: Option<Duration>,
}

/// Looks at everything.
pub async fn examine(config: &Config, extent: &Extent, clock: &Clock) -> Vec<Finding> {
    let mut findings = key_files(config);
    findings.extend(private_files(config, extent));
    findings.extend(backend(config, extent, clock).await);
    match opened(config).await {
        Ok(database) => {
            match inside(&database.store, config, extent, clock).await {
                Ok(found) => findings.extend(found),
                Err(error) => findings.push(unreadable(&error.to_string())),
            }
            database.close().await;
        }
        Err(reason) => findings.push(unreadable(&reason)),
    }
    findings.extend(storages(config).await);
    findings
}

fn unreadable(reason: &str) -> Finding {
    let advice = "does PostgreSQL run, is database.url right, and does its role have the right to read?";
    Finding::failed("database", reason, advice)
}

/// The private server is joined or started, never made.
async fn opened(config: &Config) -> Result<Database, String> {
    if config.database.url.is_none() && !config.database.data_dir.join("PG_VERSION").exists() {
        let dir = config.database.data_dir.display();
        return Err(format!("there is no database.url, and no private PostgreSQL in {dir}"));
    }
    Database::as_it_is(config, Neighbour::Join).await.map_err(|error| error.to_string())
}

fn key_files(config: &Config) -> Vec<Finding> {
    let beside = |name: &str| config.log.key_file.with_file_name(name);
    [
        ("log.key_file", config.log.key_file.clone()),
        ("policy.key_file", config.policy.key_file.clone()),
        ("own.key", beside("own.key")),
    ]
    .map(|(setting, path)| judge::key_file(setting, &path, &key_file(&path)))
    .into()
}

/// What of this machine's files holds people's data or secrets, as far as it is there.
fn private_files(config: &Config, extent: &Extent) -> Vec<Finding> {
    let beside = |name: &str| config.log.key_file.with_file_name(name);
    let directory = |storage: Option<&config::Storage>| {
        storage.and_then(|storage| storage.url.strip_prefix("file://")).map(PathBuf::from)
    };
    let archive = config.archive.as_ref().map(|archive| &archive.storage);
    let places = [
        ("configuration", extent.config.clone().filter(|file| config::holds_secrets(file))),
        ("private PostgreSQL", config.database.url.is_none().then(|| config.database.data_dir.clone())),
        ("erasure.key", Some(beside("erasure.key"))),
        ("privacy.key", Some(beside("privacy.key"))),
        ("sinks.key_file", config.sinks.key_file.clone()),
        ("fingerprint.key_file", config.hash_key_file.clone()),
        ("exports", Some(beside("exports"))),
        ("certificates", Some(config.privacy.certificates.clone())),
        ("archive", directory(archive)),
    ];
    let is_there = |(what, path): (&str, Option<PathBuf>)| {
        let path = path?;
        let mode = std::fs::metadata(&path).ok()?.permissions().mode() & 0o777;
        Some(judge::private(what, &path, mode))
    };
    places.into_iter().filter_map(is_there).collect()
}

fn key_file(path: &Path) -> KeyFile {
    let read = std::fs::metadata(path).and_then(|meta| Ok((meta, std::fs::read_to_string(path)?)));
    match read {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => KeyFile::Missing,
        Err(error) => KeyFile::Unreadable(error.to_string()),
        Ok((_, text)) if text.lines().any(|line| line.trim().parse::<SignerKey>().is_err()) => {
            KeyFile::Unreadable("is not a key in each line".to_owned())
        }
        Ok((meta, _)) => KeyFile::There { mode: meta.permissions().mode() & 0o777 },
    }
}

/// The backend as this machine, its readers and the Worker reach it.
async fn backend(config: &Config, extent: &Extent, clock: &Clock) -> Vec<Finding> {
    let mut listen = config.http.listen;
    if listen.ip().is_unspecified() {
        listen.set_ip(std::net::Ipv4Addr::LOCALHOST.into());
    }
    let public = config.access.public_url.as_ref().map(|url| url.as_str().trim_end_matches('/').to_owned());
    let edge = extent.edge.as_ref().map(|edge| edge.delivery.ingest_url.trim_end_matches('/').to_owned());
    let mut places = vec![format!("http://{listen}")];
    places.extend(public);
    places.extend(edge);
    places.dedup();
    let mut findings = Vec::new();
    for place in places {
        let (answered, theirs) = probe::ask(&format!("{place}/readyz")).await;
        findings.push(judge::backend(&place, &answered));
        findings.extend(theirs.map(|theirs| judge::clock(&place, theirs, clock.now().to_utc())));
    }
    findings
}

/// What the database says, and what has to be held against it.
async fn inside(
    store: &Store,
    config: &Config,
    extent: &Extent,
    clock: &Clock,
) -> Result<Vec<Finding>, StoreError> {
    let now = clock.now().to_utc();
    let mut findings = judge::database(&vitals::server(store).await?, now);
    // Where there is no table of migrations yet, it cannot be read.
    let (found, wanted) = store.schema().await.unwrap_or((0, i64::MAX));
    let schema = if wanted == i64::MAX {
        Finding::failed(
            "schema",
            "the database was never migrated",
            "run `edgetrail migrate`, or start `edgetrail serve`",
        )
    } else {
        judge::schema(found, wanted)
    };
    let is_behind = schema.is_failed();
    findings.push(schema);
    if is_behind {
        return Ok(findings);
    }
    findings.push(judge::roles(&store.check_roles().await?));
    findings.extend(keys(store, extent, now).await?);
    findings.extend(mounts(store, extent, clock).await?);
    for tenant in vitals::edges(store, now).await? {
        findings.extend(judge::edges(&tenant));
    }
    let (pending, oldest) = log::backlog(store).await?;
    findings.push(judge::sequencer(pending, oldest.map_or(0.0, |at| age(at, now))));
    for verification in vitals::verifications(store, now).await? {
        let kind = Kind::ALL.into_iter().find(|kind| kind.word() == verification.kind);
        let every = kind.map_or(config.integrity.everything, |kind| kind.every(&config.integrity));
        findings.push(judge::verification(&verification, every));
    }
    for follower in vitals::followers(store, now).await? {
        findings.push(judge::follower(&follower));
    }
    if config.database.read_url.is_some() {
        findings.extend(replica(store, config, clock).await);
    }
    if config.publication.waits() {
        let waiting = publications::waiting(store).await?;
        let oldest = waiting.iter().map(|head| age(head.signed_at, now)).fold(0.0, f64::max);
        findings.push(judge::publication(waiting.len(), oldest));
    }
    Ok(findings)
}

async fn replica(store: &Store, config: &Config, clock: &Clock) -> Option<Finding> {
    // By the second look it has replayed what the first one asked for, if it keeps up. One that fails leaves nothing known.
    for _ in 0..2 {
        let _ = store.look_at_replica(clock).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    let _ = store.look_at_replica(clock).await;
    store.replica_lag(clock.now()).map(|lag| judge::replica(lag, config.database.read_max_lag))
}

fn age(at: DateTime<Utc>, now: DateTime<Utc>) -> f64 {
    (now - at).num_milliseconds().max(0) as f64 / 1000.0
}

async fn keys(store: &Store, extent: &Extent, now: DateTime<Utc>) -> Result<Vec<Finding>, StoreError> {
    let known = signing_keys::all(store).await?;
    let mut tenants: Vec<TenantId> = match &extent.edge {
        Some(edge) => edge.mounts.iter().map(|mount| mount.tenant.clone()).collect(),
        None => known.iter().flat_map(|key| key.tenants.clone()).collect(),
    };
    tenants.sort();
    tenants.dedup();
    let mut findings = Vec::new();
    for tenant in &tenants {
        let signs = |key: &&signing_keys::SigningKey| {
            !key.key.name.as_str().ends_with("/own") && key.tenants.contains(tenant)
        };
        findings.push(judge::signers(tenant, known.iter().filter(signs).count()));
    }
    for key in api_keys::list(store, None).await? {
        if key.revoked_at.is_none() {
            findings.extend(judge::api_key(&key.id, &key.name, key.expires_at, now));
        }
    }
    Ok(findings)
}

/// Names, traffic, routes and origins of the mounts: those of the Worker's configuration, else those that were ever counted.
async fn mounts(store: &Store, extent: &Extent, clock: &Clock) -> Result<Vec<Finding>, StoreError> {
    let counted = vitals::mounts(store).await?;
    let hosts: Vec<String> = match &extent.edge {
        Some(edge) => edge.mounts.iter().map(|mount| mount.host.clone()).collect(),
        None => counted.iter().map(|mount| mount.host.clone()).collect(),
    };
    let mut findings = Vec::new();
    if hosts.is_empty() {
        findings.push(Finding::failed(
            "mounts",
            "no request was ever counted on any host",
            "deploy the Worker, and give its settings to this command: --edge wrangler.toml",
        ));
    }
    for host in &hosts {
        findings.push(judge::dns(host, &probe::addresses(host).await));
    }
    if let Some(patience) = extent.patience {
        let probes = hosts.iter().map(|host| async move {
            (host, probe::count(store, host, &edge::url_of(host), patience).await)
        });
        for (host, probed) in join_all(probes).await {
            findings.push(judge::route(host, &probed));
            if !matches!(probed, Probed::Unanswered(_)) {
                let (_, theirs) = probe::ask(&edge::url_of(host)).await;
                findings.extend(theirs.map(|theirs| judge::clock(host, theirs, clock.now().to_utc())));
            }
        }
    }
    // After the requests of our own, which count as traffic: a mount that was never counted fails by its route then.
    let counted = if extent.patience.is_some() { vitals::mounts(store).await? } else { counted };
    for host in &hosts {
        let traffic = counted.iter().find(|mount| mount.host == *host);
        findings.push(judge::mount(host, traffic, clock.now().to_utc()));
    }
    for mount in extent.edge.iter().flat_map(|edge| &edge.mounts) {
        let answered: Answered = probe::ask(&mount.upstream).await.0;
        findings.push(judge::origin(&mount.upstream, &answered));
    }
    Ok(findings)
}

/// What else must be reachable: watched databases, witnesses of the log, object storage.
async fn storages(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for witness in &config.witnesses {
        let reached = within(async {
            let mut connection =
                sqlx::PgConnection::connect_with(&witness.database).await.map_err(refused)?;
            connection.ping().await.map_err(refused)
        });
        findings.push(judge::reachable(&format!("watched database of {}", witness.tenant), &reached.await));
    }
    for cosigner in &config.publication.cosigners {
        // Whatever a witness says to such a question, it is there.
        let reached = match probe::ask(&cosigner.url).await.0 {
            Answered::Status(..) => Ok(()),
            Answered::Nothing(reason) => Err(reason),
        };
        findings
            .push(judge::reachable(&format!("witness {}", shared::redact::scrub(&cosigner.url)), &reached));
    }
    let places = [
        ("worm", config.publication.worm.as_ref()),
        ("archive", config.archive.as_ref().map(|it| &it.storage)),
    ];
    for (section, place) in places {
        if let Some(place) = place {
            findings.push(judge::reachable(&format!("storage {section}"), &within(listed(place)).await));
        }
    }
    findings
}

fn refused(error: sqlx::Error) -> String {
    error.to_string()
}

async fn within(look: impl Future<Output = Result<(), String>>) -> Result<(), String> {
    tokio::time::timeout(REACHED_WITHIN, look)
        .await
        .unwrap_or_else(|_| Err(format!("no answer in {} s", REACHED_WITHIN.as_secs())))
}

/// Whether a place can be read. A directory is not made here.
async fn listed(place: &config::Storage) -> Result<(), String> {
    if let Some(dir) = place.url.strip_prefix("file://") {
        return std::fs::read_dir(dir).map(|_| ()).map_err(|error| error.to_string());
    }
    let opened = storage::open(place).map_err(|error| error.to_string())?;
    let mut listing = opened.store.list(Some(&opened.prefix));
    match listing.next().await {
        None | Some(Ok(_)) => Ok(()),
        Some(Err(error)) => Err(error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")),
    }
}
