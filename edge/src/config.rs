//! The Worker's configuration: one JSON document in the variable `EDGETRAIL_CONFIG`.

use std::cell::RefCell;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use shared::capture::{Mount, REQUEST_HEADERS, RESPONSE_HEADERS, Traffic};
use shared::event::TenantId;
use shared::note::{MAX_NOTE_LEN, Note, VerifierKey};
use shared::policy::served::{self, Served};
use shared::policy::{FailMode, Pack, Plan, Prepared, Router};

/// The rule packs that are compiled in, prepared.
const PACKS: &[(&str, &str)] = &[
    ("app", include_str!(concat!(env!("OUT_DIR"), "/app.pack"))),
    ("supabase", include_str!(concat!(env!("OUT_DIR"), "/supabase.pack"))),
];

/// What a record of the traffic waits for at most: `waitUntil` ends after 30 s.
const LONGEST_COVERAGE: u32 = 25;

/// The document.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mounts: Vec<Mount>,
    delivery: Delivery,
    /// Packs of the operator's own.
    #[serde(default)]
    packs: Vec<Value>,
    /// Whose served policies are believed; without it none is asked for.
    #[serde(default)]
    policy: Option<Policy>,
    /// Seconds of traffic that one record counts, up to [`LONGEST_COVERAGE`].
    #[serde(default = "longest_coverage")]
    coverage_seconds: u32,
    /// Metadata only, whatever the rules ask for: for trying it out.
    #[serde(default)]
    shadow: bool,
}

/// Where policies come from.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    /// The keys whose signatures count.
    keys: Vec<String>,
    /// Milliseconds between two questions, at most a minute.
    #[serde(default = "a_minute")]
    every_ms: u32,
}

/// How batches reach the backend.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Delivery {
    mode: Mode,
    /// The backend's address, without a path.
    ingest_url: String,
    /// Milliseconds that events gather before a batch is sealed, up to 5,000.
    #[serde(default = "default_linger")]
    linger_ms: u32,
}

impl Delivery {
    fn batches_url(&self) -> String {
        format!("{}/v1/batches", self.ingest_url.trim_end_matches('/'))
    }

    fn policy_url(&self) -> String {
        format!("{}/v1/policy/", self.ingest_url.trim_end_matches('/'))
    }
}

fn default_linger() -> u32 {
    100
}

fn longest_coverage() -> u32 {
    LONGEST_COVERAGE
}

fn a_minute() -> u32 {
    60_000
}

/// The way of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Mode {
    /// Through the queue bound as `EVENTS`.
    Queue,
    /// By a request to the backend.
    Direct,
}

/// A mount with its compiled rules.
#[derive(Debug)]
pub(crate) struct Compiled {
    pub(crate) mount: Mount,
    pub(crate) router: Router,
    pub(crate) traffic: RefCell<Traffic>,
    pub(crate) hash_key: Option<Vec<u8>>,
}

/// What stands ready to serve.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) mounts: Vec<Compiled>,
    config: Config,
    keys: Vec<VerifierKey>,
    /// The versions in force of served policies.
    versions: Vec<(TenantId, u64)>,
}

impl Edge {
    /// Reads and compiles a configuration.
    ///
    /// # Errors
    /// One line that names the member that is wrong.
    pub(crate) fn configure(text: &str, hash_key: &str) -> Result<Self, String> {
        let config: Config =
            serde_json::from_str(text).map_err(|error| format!("EDGETRAIL_CONFIG: {error}"))?;
        if config.mounts.is_empty() {
            return Err("EDGETRAIL_CONFIG: mounts is empty".to_owned());
        }
        if config.delivery.linger_ms > 5_000 {
            return Err("EDGETRAIL_CONFIG: delivery.linger_ms is over 5000".to_owned());
        }
        if !(1..=LONGEST_COVERAGE).contains(&config.coverage_seconds) {
            return Err(format!("EDGETRAIL_CONFIG: coverage_seconds is not 1 to {LONGEST_COVERAGE}"));
        }
        check_hosts(&config.mounts)?;
        let keys = config.policy.iter().flat_map(|policy| &policy.keys);
        let keys = keys
            .map(|key| key.parse().map_err(|error| format!("EDGETRAIL_CONFIG: policy.keys: {error}")))
            .collect::<Result<Vec<VerifierKey>, String>>()?;
        let hash_key = (!hash_key.is_empty()).then(|| hash_key.as_bytes().to_vec());
        let mounts = config
            .mounts
            .iter()
            .map(|mount| {
                let router = compile(mount, &config.packs, &[])?;
                let traffic = RefCell::default();
                Ok(Compiled { mount: mount.clone(), router, traffic, hash_key: hash_key.clone() })
            })
            .collect::<Result<Vec<_>, String>>()?;
        Ok(Self { mounts, config, keys, versions: Vec::new() })
    }

    /// Puts a served policy into force, whose signature was checked. All of its tenant's mounts compile, or none changes.
    ///
    /// # Errors
    /// One line that says why it may not be.
    pub(crate) fn adopt(&mut self, tenant: &str, note: &str) -> Result<(), String> {
        let note = policy_note(note).ok_or("the served policy is not a signed note")?;
        let served: Served = note.text().parse().map_err(|error| format!("the served policy: {error}"))?;
        if served.tenant.as_str() != tenant {
            return Err(format!("the served policy is of tenant {}", served.tenant));
        }
        let known = self.versions.iter().position(|(tenant, _)| *tenant == served.tenant);
        if known.is_some_and(|at| self.versions[at].1 > served.version) {
            return Err(format!(
                "the served policy's version {} is older than the one in force",
                served.version
            ));
        }
        let mut routers = Vec::new();
        for (at, Compiled { mount, .. }) in self.mounts.iter().enumerate() {
            if mount.tenant != served.tenant {
                continue;
            }
            let bounds = served::Bounds { compiled_in: None, allow_closed: mount.allow_closed };
            served::check(&served.document, bounds).map_err(|error| format!("the served policy: {error}"))?;
            routers.push((at, compile(mount, &self.config.packs, served.document.packs())?));
        }
        for (at, router) in routers {
            self.mounts[at].router = router;
        }
        match known {
            Some(at) => self.versions[at].1 = served.version,
            None => self.versions.push((served.tenant, served.version)),
        }
        Ok(())
    }

    /// Where batches are posted to.
    pub(crate) fn batches_url(&self) -> String {
        self.config.delivery.batches_url()
    }

    /// The keys whose signatures under a policy count.
    pub(crate) fn policy_keys(&self) -> impl Iterator<Item = &VerifierKey> {
        self.keys.iter()
    }

    /// The part of the configuration that JavaScript acts on, as JSON.
    pub(crate) fn plan(&self) -> String {
        let Config { delivery, policy, coverage_seconds, shadow, .. } = &self.config;
        let policy = policy.as_ref().filter(|policy| !policy.keys.is_empty());
        let whole = WholePlan {
            mounts: self.mounts.iter().map(|compiled| MountPlan::of(compiled, *shadow)).collect(),
            delivery: DeliveryPlan {
                direct: delivery.mode == Mode::Direct,
                url: delivery.batches_url(),
                content_type: shared::batch::CONTENT_TYPE,
                linger_ms: delivery.linger_ms,
                max_events: shared::batch::MAX_EVENTS_PER_BATCH,
            },
            policy: policy.map(|policy| PolicyPlan { url: delivery.policy_url(), every_ms: policy.every_ms }),
            coverage_ms: coverage_seconds * 1_000,
        };
        serde_json::to_string(&whole).expect("a plan is plain data")
    }
}

/// What JavaScript acts on. It is written for the first request of each instance, so no JSON values are made of it.
#[derive(Serialize)]
struct WholePlan<'a> {
    mounts: Vec<MountPlan<'a>>,
    delivery: DeliveryPlan,
    policy: Option<PolicyPlan>,
    coverage_ms: u32,
}

#[derive(Serialize)]
struct DeliveryPlan {
    direct: bool,
    url: String,
    content_type: &'static str,
    linger_ms: u32,
    max_events: usize,
}

#[derive(Serialize)]
struct PolicyPlan {
    url: String,
    every_ms: u32,
}

#[derive(Serialize)]
struct MountPlan<'a> {
    host: String,
    upstream: &'a str,
    tenant: &'a TenantId,
    /// Each way of capturing once.
    plans: Vec<CapturePlan>,
    /// Which of them the plan of a number is.
    plan_of: Vec<usize>,
    request_headers: Vec<String>,
    response_headers: Vec<String>,
    forward_client_ip: Option<&'a str>,
    address_headers: &'static [&'static str],
    strip: Vec<String>,
    jwks_url: Option<&'a str>,
    hs256_secret: Option<&'a str>,
}

/// A way of capturing.
#[derive(Serialize, Clone, Copy, PartialEq, Eq)]
struct CapturePlan {
    request: usize,
    response: usize,
    stream: bool,
    before: bool,
    fail: &'static str,
}

/// The rules of a mount: of each pack that it names, first those that a served pack adds, then the served pack of that
/// name, the operator's own or the one that is compiled in.
fn compile(mount: &Mount, own: &[Value], served: &[Pack]) -> Result<Router, String> {
    let mut packs = Vec::new();
    for name in &mount.packs {
        let extending = served.iter().filter(|pack| pack.extends.as_deref() == Some(name)).cloned();
        packs.extend(extending.map(Prepared::from));
        let replaced = served.iter().find(|pack| pack.extends.is_none() && pack.name == *name);
        packs.push(match replaced {
            Some(pack) => pack.clone().into(),
            None => pack_named(name, own)?,
        });
    }
    for (rule, mode) in &mount.fail {
        let is_set = packs.iter_mut().any(|pack| {
            let id = rule.strip_prefix(&pack.name).and_then(|rest| rest.strip_prefix('/'));
            id.is_some_and(|id| pack.set_fail(id, *mode))
        });
        if !is_set {
            return Err(format!("mount {}: fail: there is no rule {rule:?}", mount.host));
        }
    }
    Router::of(packs).map_err(|error| format!("mount {}: {error}", mount.host))
}

fn pack_named(name: &str, own: &[Value]) -> Result<Prepared, String> {
    let own = own.iter().find(|pack| pack["name"] == name);
    let pack = match (own, PACKS.iter().find(|(known, _)| *known == name)) {
        (Some(pack), _) => Pack::parse(&pack.to_string()).map(Prepared::from),
        (None, Some((_, text))) => Prepared::read(text),
        (None, None) => return Err(format!("EDGETRAIL_CONFIG: there is no pack {name:?}")),
    };
    pack.map_err(|error| format!("pack {name}: {error}"))
}

/// A served policy as it is signed; none if it is not a note.
pub(crate) fn policy_note(text: &str) -> Option<Note> {
    Note::parse_within(text.as_bytes(), served::MAX_POLICY_LEN + MAX_NOTE_LEN).ok()
}

/// A host is served once, and no upstream leads back to a host that is served: that would loop for ever.
fn check_hosts(mounts: &[Mount]) -> Result<(), String> {
    for (at, mount) in mounts.iter().enumerate() {
        let plain = |url: &str| {
            let host = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
            (!host.is_empty() && !host.contains(['/', '?', '#', '@'])).then(|| host.to_owned())
        };
        let upstream = plain(&mount.upstream)
            .ok_or_else(|| format!("mount {}: upstream is not http(s)://host[:port]", mount.host))?;
        let project =
            match &mount.supabase {
                Some(supabase) => Some(plain(supabase.url.trim_end_matches('/')).ok_or_else(|| {
                    format!("mount {}: supabase.url is not http(s)://host[:port]", mount.host)
                })?),
                None => None,
            };
        for target in core::iter::once(&upstream).chain(&project) {
            if mounts.iter().any(|other| other.host.eq_ignore_ascii_case(target)) {
                return Err(format!("mount {}: upstream {target} is a mount itself", mount.host));
            }
        }
        if mounts[..at].iter().any(|other| other.host.eq_ignore_ascii_case(&mount.host)) {
            return Err(format!("mount {}: the host is mounted twice", mount.host));
        }
    }
    Ok(())
}

impl<'a> MountPlan<'a> {
    fn of(compiled: &'a Compiled, shadow: bool) -> Self {
        let Compiled { mount, router, .. } = compiled;
        let headers = Headers::wanted(router);
        let mut plans: Vec<CapturePlan> = Vec::new();
        let plan_of = router.plans().map(|(_, plan)| {
            let plan = CapturePlan::of(if shadow { Plan::default() } else { plan });
            plans.iter().position(|known| *known == plan).unwrap_or_else(|| {
                plans.push(plan);
                plans.len() - 1
            })
        });
        let plan_of = plan_of.collect();
        Self {
            host: mount.host.to_ascii_lowercase(),
            upstream: &mount.upstream,
            tenant: &mount.tenant,
            plans,
            plan_of,
            request_headers: headers.request,
            response_headers: headers.response,
            forward_client_ip: mount.forward_client_ip.as_deref(),
            address_headers: Mount::ADDRESS_SOURCES,
            strip: mount.stripped_headers(),
            jwks_url: mount.auth.jwks_url.as_deref(),
            hs256_secret: mount.auth.hs256_secret.as_deref(),
        }
    }
}

impl CapturePlan {
    fn of(plan: Plan) -> Self {
        Self {
            request: plan.request_bytes,
            response: plan.response_bytes,
            stream: plan.stream,
            before: plan.before,
            fail: match plan.fail {
                FailMode::Open => "open",
                FailMode::Intent => "intent",
                FailMode::Closed => "closed",
            },
        }
    }
}

/// The headers that rules and context ask for; no others enter the core.
struct Headers {
    request: Vec<String>,
    response: Vec<String>,
}

impl Headers {
    fn wanted(router: &Router) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut wanted = Self { request: owned(REQUEST_HEADERS), response: owned(RESPONSE_HEADERS) };
        for headers in router.headers() {
            for (names, more) in
                [(&mut wanted.request, &headers.request), (&mut wanted.response, &headers.response)]
            {
                for name in more {
                    if !names.iter().any(|known| known == name) {
                        names.push(name.clone().into_owned());
                    }
                }
            }
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(mounts: &str) -> Result<Edge, String> {
        Edge::configure(
            &format!(
                r#"{{"mounts":{mounts},"delivery":{{"mode":"queue","ingest_url":"http://127.0.0.1:9200/"}}}}"#
            ),
            "",
        )
    }

    fn mount(host: &str, upstream: &str, pack: &str) -> String {
        format!(
            r#"{{"host":"{host}","upstream":"{upstream}","tenant":"acme","packs":["{pack}"],"platform":"workerd"}}"#
        )
    }

    #[test]
    fn the_packs_that_are_compiled_in_compile() {
        let mounts =
            format!("[{},{}]", mount("a", "https://x", "app"), mount("b", "https://y:8443", "supabase"));
        let edge = configured(&mounts).expect("a good configuration");
        let plan: Value = serde_json::from_str(&edge.plan()).expect("JSON");
        assert_eq!(plan["delivery"]["url"], "http://127.0.0.1:9200/v1/batches");
        assert!(
            plan["mounts"][1]["response_headers"]
                .as_array()
                .is_some_and(|all| all.contains(&"sb-auth-user-id".into()))
        );
    }

    #[test]
    fn a_wrong_configuration_is_refused_by_name() {
        for (mounts, want) in [
            ("[]".to_owned(), "mounts is empty"),
            (format!("[{}]", mount("a", "https://x", "nope")), "there is no pack \"nope\""),
            (format!("[{}]", mount("a", "x", "app")), "mount a: upstream is not http(s)://host[:port]"),
            (format!("[{}]", mount("a", "https://A", "app")), "mount a: upstream A is a mount itself"),
            (
                format!("[{},{}]", mount("a", "https://x", "app"), mount("A", "https://x", "app")),
                "mount A: the host is mounted twice",
            ),
            (format!("[{}]", mount("a", "https://x/path", "app")), "upstream is not"),
            ("[{\"hots\":1}]".to_owned(), "unknown field `hots`"),
        ] {
            let error = configured(&mounts).expect_err("refused");
            assert!(error.contains(want), "{error}");
        }
    }
}
