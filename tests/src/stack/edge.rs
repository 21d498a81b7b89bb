//! The Worker's configuration, `EDGETRAIL_CONFIG`.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::Serialize;

use crate::keys::ISSUER;

/// The whole of it.
#[derive(Debug, Clone, Serialize)]
pub struct EdgeConfig {
    /// Which hosts it serves.
    pub mounts: Vec<Mount>,
    /// Where the events go.
    pub delivery: Delivery,
    /// Seconds of traffic that one record counts; the Worker's own default if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coverage_seconds: Option<u32>,
}

/// A host and what stands behind it.
#[derive(Debug, Clone, Serialize)]
pub struct Mount {
    /// The `Host`, with its port.
    pub host: String,
    /// The origin.
    pub upstream: String,
    /// Whose events these are.
    pub tenant: String,
    /// Policy packs, first match wins.
    pub packs: Vec<String>,
    /// Where the Worker runs, which says whose word on the client's address counts.
    pub platform: String,
    /// Proxies whose `X-Forwarded-For` counts.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub trusted_proxies: Vec<String>,
    /// The header in which the origin is told the client's address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub forward_client_ip: Option<String>,
    /// The Supabase project behind the application, for old sides.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub supabase: Option<Supabase>,
    /// What happens to requests of a rule, `pack/rule`, without an audit trail: `open`, `intent` or `closed`.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub fail: BTreeMap<String, String>,
    /// How people are known.
    pub auth: Auth,
}

/// A Supabase project as its clients know it.
#[derive(Debug, Clone, Serialize)]
pub struct Supabase {
    /// Scheme and host.
    pub url: String,
    /// The key that every browser has.
    pub publishable_key: String,
}

/// How tokens are verified.
#[derive(Debug, Clone, Serialize)]
pub struct Auth {
    /// The `iss` that counts.
    pub issuer: String,
    /// The `aud` that counts.
    pub audience: String,
    /// Where the public keys are.
    pub jwks_url: String,
    /// The binding that holds the shared secret.
    pub hs256_secret: String,
}

/// Where the events go.
#[derive(Debug, Clone, Serialize)]
pub struct Delivery {
    /// How.
    pub mode: DeliveryMode,
    /// To whom in the end.
    pub ingest_url: String,
    /// Milliseconds that events gather before a batch is sealed; the Worker's own default if none.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub linger_ms: Option<u32>,
}

/// How batches reach ingest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum DeliveryMode {
    /// Through the durable queue.
    Queue,
    /// By POST from the request's own `waitUntil`.
    Direct,
}

impl EdgeConfig {
    /// Two mounts for an application and its Supabase project, on `app.localhost` and `ref.localhost`.
    pub fn for_demo(
        worker_port: u16,
        app: SocketAddr,
        supabase: SocketAddr,
        ingest: SocketAddr,
        mode: DeliveryMode,
    ) -> Self {
        let mount = |name: &str, upstream: SocketAddr, pack: &str| Mount {
            host: format!("{name}.localhost:{worker_port}"),
            upstream: format!("http://{upstream}"),
            tenant: "demo".to_owned(),
            packs: vec![pack.to_owned()],
            platform: "workerd".to_owned(),
            trusted_proxies: vec!["127.0.0.1".to_owned()],
            forward_client_ip: None,
            supabase: None,
            fail: BTreeMap::new(),
            auth: Auth {
                issuer: ISSUER.to_owned(),
                audience: "authenticated".to_owned(),
                jwks_url: format!("http://{supabase}/auth/v1/.well-known/jwks.json"),
                hs256_secret: "SUPABASE_JWT_SECRET".to_owned(),
            },
        };
        Self {
            mounts: vec![
                mount("app", app, "app"),
                Mount {
                    forward_client_ip: Some("x-forwarded-for".to_owned()),
                    ..mount("ref", supabase, "supabase")
                },
            ],
            delivery: Delivery { mode, ingest_url: format!("http://{ingest}"), linger_ms: None },
            coverage_seconds: None,
        }
    }

    /// The `Host` of the application.
    pub fn app_host(&self) -> String {
        self.mounts[0].host.clone()
    }

    /// The `Host` of the Supabase project.
    pub fn supabase_host(&self) -> String {
        self.mounts[1].host.clone()
    }
}
