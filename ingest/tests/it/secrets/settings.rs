//! What the backend is configured with, and whom it sends to.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest as _, Sha256};

use super::Seeded;
use crate::support::receiver::{Manner, Receiver, Syslog};
use crate::support::scan::Scan;
use crate::support::{Guarded, IdentityProvider};

/// Whoever events and traces are sent to.
pub(super) struct Receivers {
    pub(super) hook: Receiver,
    pub(super) ocsf: Receiver,
    pub(super) otlp: Receiver,
    pub(super) s3: Receiver,
    pub(super) refusing: Receiver,
    pub(super) application: Receiver,
    pub(super) collector: Receiver,
    pub(super) syslog: Syslog,
}

impl Receivers {
    pub(super) async fn start() -> Self {
        Self {
            hook: Receiver::start(Manner::Takes).await,
            ocsf: Receiver::start(Manner::Takes).await,
            otlp: Receiver::start(Manner::Answers("{}")).await,
            s3: Receiver::start(Manner::Takes).await,
            refusing: Receiver::start(Manner::Refuses(500)).await,
            application: Receiver::start(Manner::Takes).await,
            collector: Receiver::start(Manner::Takes).await,
            syslog: Syslog::start().await,
        }
    }
}

pub(super) fn borrowed<'v>(variables: &'v [(&'static str, String)]) -> Vec<(&'v str, &'v str)> {
    variables.iter().map(|(name, value)| (*name, value.as_str())).collect()
}

/// What the environment holds of the configuration.
pub(super) fn variables(seeded: &Seeded, receivers: &Receivers) -> Vec<(&'static str, String)> {
    vec![
        ("EDGETRAIL__ACCESS__APP__HS256_KEY", seeded.project.clone()),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", receivers.collector.url("")),
        ("OTEL_EXPORTER_OTLP_HEADERS", format!("authorization=Bearer {}", seeded.collector)),
        ("OTEL_BSP_SCHEDULE_DELAY", "200".to_owned()),
    ]
}

/// A configuration with a secret of its own wherever there may be one.
pub(super) fn configuration(
    scan: &mut Scan,
    home: &Path,
    seeded: &Seeded,
    receivers: &Receivers,
    provider: &IdentityProvider,
    database: &Guarded,
) -> String {
    let edge_key = scan.secrets.mint("the key of fingerprints");
    std::fs::write(home.join("hash.key"), edge_key).expect("written");
    let mut secret = |name: &str| scan.secrets.mint(name);
    let (copy, watched) = (secret("the copy's password"), secret("the watched database's password"));
    let (client, archive) = (secret("the client's secret"), secret("the archive's access key"));
    let (told, hidden) =
        (secret("the secret of the application's webhook"), secret("the key in its address"));
    let toml = format!(
        "[database]\nurl = '{url}'\ndata_dir = '{home}/pg'\nread_url = 'postgres://reader:{copy}@127.0.0.1:1/x'\n\
         [access]\npublic_url = 'http://localhost:9'\nreads_window_ms = 500\n\
         [access.app]\nissuer = 'https://ref.example/auth/v1'\ntenant = 'demo'\n\
         [access.oidc]\nissuer = '{issuer}'\nclient_id = 'edgetrail'\nclient_secret = '{client}'\n\
         [own_activity.webhook]\nurl = '{application}'\nsecret = 'whsec_{told}'\nallow_private = true\n\
         [sinks]\nkey_file = '{home}/sinks.key'\nca_file = '{authority}'\nallow_private = true\n\
         retry_ms = 100\nmax_retry_ms = 400\ntimeout_ms = 2000\nfailing_after_ms = 1000\n\
         [fingerprint]\nkey_file = '{home}/hash.key'\n\
         [archive]\nurl = 'file://{home}/archive'\nsecret_access_key = '{archive}'\n\
         [worm]\nurl = 'file://{home}/heads'\n\
         [retention]\nautomatic = false\n[limits]\nreader_requests_per_second = 0\n\
         [privacy]\ncool_off_ms = 1\nsweep_ms = 100\n\
         [[witness]]\ntenant = 'demo'\ndatabase_url = 'postgres://watch:{watched}@127.0.0.1:1/x'\ntables = {{ a = 'agent' }}\n\
         {keys}",
        url = database.url,
        home = home.display(),
        issuer = provider.issuer(),
        application = receivers.application.url(&format!("/told?key={hidden}")),
        authority = receivers.syslog.authority.display(),
        keys = registered("ops", "admin", &seeded.admin) + &registered("stray", "viewer", &seeded.stray_key),
    );
    scan.secrets.add("the secret of the application's webhook", &STANDARD.decode(told).expect("base64"));
    toml
}

/// A key as the configuration registers it.
fn registered(id: &str, role: &str, key: &str) -> String {
    let hash = hex::encode(Sha256::digest(key));
    format!(
        "[[api_keys]]\nid = '{id}'\ntenant = 'demo'\nrole = '{role}'\nperson = '{id}@example.com'\nsha256 = '{hash}'\n"
    )
}
