//! The Worker's configuration: one JSON document in the variable `EDGETRAIL_CONFIG`.

use std::collections::BTreeSet;

use serde::Deserialize;
use serde_json::{Value, json};
use shared::capture::{Mount, REQUEST_HEADERS, RESPONSE_HEADERS};
use shared::policy::{Pack, Router, Source};

/// The rule packs that are compiled in.
const PACKS: &[(&str, &str)] =
    &[("app", include_str!("../packs/app.json")), ("supabase", include_str!("../packs/supabase.json"))];

/// The document.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    mounts: Vec<Mount>,
    delivery: Delivery,
}

/// How batches reach the backend.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Delivery {
    mode: Mode,
    /// The backend's address, without a path.
    ingest_url: String,
    /// Milliseconds that events gather before a batch is sealed, up to 5,000.
    #[serde(default = "default_linger")]
    linger_ms: u32,
}

impl Config {
    /// Where batches are posted to.
    pub(crate) fn ingest_url(&self) -> String {
        self.delivery.batches_url()
    }
}

impl Delivery {
    fn batches_url(&self) -> String {
        format!("{}/v1/batches", self.ingest_url.trim_end_matches('/'))
    }
}

fn default_linger() -> u32 {
    100
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
}

/// What stands ready to serve.
#[derive(Debug)]
pub(crate) struct Edge {
    pub(crate) mounts: Vec<Compiled>,
    /// The part of the configuration that JavaScript acts on, as JSON.
    pub(crate) plan: String,
}

impl Edge {
    /// Reads and compiles a configuration.
    ///
    /// # Errors
    /// One line that names the member that is wrong.
    pub(crate) fn configure(text: &str) -> Result<Self, String> {
        let config: Config =
            serde_json::from_str(text).map_err(|error| format!("EDGETRAIL_CONFIG: {error}"))?;
        if config.mounts.is_empty() {
            return Err("EDGETRAIL_CONFIG: mounts is empty".to_owned());
        }
        if config.delivery.linger_ms > 5_000 {
            return Err("EDGETRAIL_CONFIG: delivery.linger_ms is over 5000".to_owned());
        }
        check_hosts(&config.mounts)?;
        let mounts = config.mounts.into_iter().map(Compiled::new).collect::<Result<Vec<_>, _>>()?;
        let plan = plan(&mounts, &config.delivery).to_string();
        Ok(Self { mounts, plan })
    }
}

impl Compiled {
    fn new(mount: Mount) -> Result<Self, String> {
        let host = mount.host.clone();
        let packs = mount.packs.iter().map(|name| compiled_in(name)).collect::<Result<Vec<_>, _>>()?;
        let router = Router::compile(packs).map_err(|error| format!("mount {host}: {error}"))?;
        Ok(Self { mount, router })
    }
}

fn compiled_in(name: &str) -> Result<Pack, String> {
    let known = PACKS.iter().find(|(known, _)| *known == name);
    let (_, text) = known.ok_or_else(|| format!("EDGETRAIL_CONFIG: there is no pack {name:?}"))?;
    Pack::parse(text).map_err(|error| format!("pack {name}: {error}"))
}

/// A host is served once, and no upstream leads back to a host that is served: that would loop for ever.
fn check_hosts(mounts: &[Mount]) -> Result<(), String> {
    for (at, mount) in mounts.iter().enumerate() {
        let upstream = mount
            .upstream
            .strip_prefix("https://")
            .or_else(|| mount.upstream.strip_prefix("http://"))
            .filter(|host| !host.is_empty() && !host.contains(['/', '?', '#', '@']))
            .ok_or_else(|| format!("mount {}: upstream is not http(s)://host[:port]", mount.host))?;
        if mounts.iter().any(|other| other.host.eq_ignore_ascii_case(upstream)) {
            return Err(format!("mount {}: upstream {upstream} is a mount itself", mount.host));
        }
        if mounts[..at].iter().any(|other| other.host.eq_ignore_ascii_case(&mount.host)) {
            return Err(format!("mount {}: the host is mounted twice", mount.host));
        }
    }
    Ok(())
}

fn plan(mounts: &[Compiled], delivery: &Delivery) -> Value {
    let mounts: Vec<Value> = mounts
        .iter()
        .map(|Compiled { mount, router }| {
            let headers = Headers::wanted(router);
            json!({
                "host": mount.host.to_ascii_lowercase(),
                "upstream": mount.upstream,
                "tenant": mount.tenant,
                "plans": router
                    .plans()
                    .map(|(path, plan)| json!([plan.request_bytes, plan.response_bytes, path]))
                    .collect::<Vec<_>>(),
                "request_headers": headers.request,
                "response_headers": headers.response,
                "forward_client_ip": mount.forward_client_ip,
                "address_headers": Mount::ADDRESS_SOURCES,
                "strip": mount.stripped_headers(),
                "jwks_url": mount.auth.jwks_url,
                "hs256_secret": mount.auth.hs256_secret,
            })
        })
        .collect();
    json!({
        "mounts": mounts,
        "delivery": {
            "direct": delivery.mode == Mode::Direct,
            "url": delivery.batches_url(),
            "content_type": shared::batch::CONTENT_TYPE,
            "linger_ms": delivery.linger_ms,
            "max_events": shared::batch::MAX_EVENTS_PER_BATCH,
        },
    })
}

/// The headers that rules and context ask for; no others enter the core.
struct Headers {
    request: BTreeSet<String>,
    response: BTreeSet<String>,
}

impl Headers {
    fn wanted(router: &Router) -> Self {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        let mut wanted = Self { request: owned(REQUEST_HEADERS), response: owned(RESPONSE_HEADERS) };
        for source in router.sources() {
            match source {
                Source::RequestHeader(name) => wanted.request.insert(name.clone()),
                Source::ResponseHeader(name) => wanted.response.insert(name.clone()),
                _ => false,
            };
        }
        wanted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configured(mounts: &str) -> Result<Edge, String> {
        Edge::configure(&format!(
            r#"{{"mounts":{mounts},"delivery":{{"mode":"queue","ingest_url":"http://127.0.0.1:9200/"}}}}"#
        ))
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
        let plan: Value = serde_json::from_str(&edge.plan).expect("JSON");
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
