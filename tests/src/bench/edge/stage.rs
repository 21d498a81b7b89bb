//! workerd with the variants, each on a port of its own, and what all of them are asked.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::super::BenchError;
use super::io;
use crate::keys::{Alg, ISSUER, Keys};
use crate::replay::Session;
use crate::stack::{
    DeliveryMode, EdgeConfig, Module, ModuleKind, Process, SigningKey, StackError, edge_bundle, free_port,
    workerd_bin,
};

/// What a variant is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Part {
    /// The pass-through.
    Bare,
    /// The same work in JavaScript.
    Capture,
    /// The Worker, sending batches directly.
    Direct,
    /// The Worker, through the durable queue.
    Queue,
    /// Another build of the Worker, sending directly.
    Beside(PathBuf),
}

impl Part {
    pub(super) fn name(&self) -> String {
        match self {
            Self::Bare => "bare JS".to_owned(),
            Self::Capture => "JS capture".to_owned(),
            Self::Direct => "worker, direct".to_owned(),
            Self::Queue => "worker, queue".to_owned(),
            Self::Beside(bundle) => bundle.display().to_string(),
        }
    }
}

/// A variant, and where it listens.
#[derive(Debug)]
pub(super) struct Variant {
    pub(super) part: Part,
    pub(super) address: SocketAddr,
    host: String,
}

impl Variant {
    pub(super) fn new(part: Part) -> Result<Self, BenchError> {
        let port = free_port(None)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        Ok(Self { part, address, host: format!("app.localhost:{port}") })
    }
}

/// Whom the variants talk to.
#[derive(Clone, Copy)]
pub(super) struct Peers<'a> {
    pub(super) keys: &'a Keys,
    pub(super) origin: SocketAddr,
    pub(super) backend: SocketAddr,
}

/// A directory from which workerd can be started.
#[derive(Debug)]
pub(super) struct Stage {
    dir: PathBuf,
    pub(super) variants: Vec<Variant>,
}

impl Stage {
    /// Writes modules and configuration of some parts into a new directory.
    pub(super) fn write(
        dir: &Path,
        parts: impl IntoIterator<Item = Part>,
        peers: Peers<'_>,
        v8_flags: &[&str],
    ) -> Result<Self, BenchError> {
        fs::create_dir_all(dir.join("state")).map_err(io("making a folder"))?;
        let variants = parts.into_iter().map(Variant::new).collect::<Result<Vec<_>, _>>()?;
        let mut text = String::from("using Workerd = import \"/workerd/workerd.capnp\";\n");
        let flags: Vec<String> = v8_flags.iter().map(|flag| quoted(flag)).collect();
        let _ =
            writeln!(text, "const config :Workerd.Config = (v8Flags = [{}], services = [", flags.join(", "));
        let signing = SigningKey::generate();
        for (at, variant) in variants.iter().enumerate() {
            let folder = format!("modules-{at}");
            let modules = modules(&variant.part, &dir.join(&folder))?;
            text.push_str(&service(variant, &folder, &modules, &bindings(variant, peers, &signing)));
        }
        if variants.iter().any(|variant| variant.part == Part::Queue) {
            text.push_str(&queue_service());
        }
        text.push_str(
            "(name = \"net\", network = (allow = [\"public\", \"private\", \"local\"]))], sockets = [\n",
        );
        for Variant { part, address, .. } in &variants {
            let name = quoted(&part.name());
            let _ = writeln!(text, "(name = {name}, address = \"{address}\", http = (), service = {name}),");
        }
        text.push_str("]);\n");
        fs::write(dir.join("bench.capnp"), text).map_err(io("writing the configuration"))?;
        Ok(Self { dir: dir.to_path_buf(), variants })
    }

    /// Starts workerd without waiting for it.
    pub(super) fn launch(&self) -> Result<Process, BenchError> {
        let mut command = Command::new(workerd_bin()?);
        command.args(["serve", "--experimental", "bench.capnp"]).current_dir(&self.dir);
        Ok(Process::start("workerd", command, &self.dir.join("workerd.log"))?)
    }

    /// Starts workerd and waits until all variants listen.
    pub(super) async fn start(&self) -> Result<Process, BenchError> {
        let mut process = self.launch()?;
        let listens = |variant: &Variant| TcpStream::connect(variant.address).is_ok();
        let ready = |_: &Process| self.variants.iter().all(listens).then_some(());
        process.wait_for(Duration::from_secs(30), ready).await?;
        Ok(process)
    }
}

/// Puts a part's modules into a folder.
fn modules(part: &Part, folder: &Path) -> Result<Vec<Module>, BenchError> {
    let script = |name: &str, text: &str| {
        fs::create_dir_all(folder).map_err(io("making a folder"))?;
        fs::write(folder.join(name), text).map_err(io("writing a module"))?;
        Ok(vec![Module { name: name.to_owned(), kind: ModuleKind::EsModule }])
    };
    let bundle = match part {
        Part::Bare => return script("bare.mjs", include_str!("../../../bench/bare.mjs")),
        Part::Capture => return script("capture.mjs", include_str!("../../../bench/capture.mjs")),
        Part::Direct | Part::Queue => edge_bundle()?,
        Part::Beside(bundle) => bundle.clone(),
    };
    let list = fs::read(bundle.join("modules.json")).map_err(io("reading modules.json"))?;
    let modules: Vec<Module> = serde_json::from_slice(&list).map_err(StackError::from)?;
    for module in &modules {
        let target = folder.join(&module.name);
        fs::create_dir_all(target.parent().unwrap_or(folder)).map_err(io("making a folder"))?;
        fs::copy(bundle.join(&module.name), target).map_err(io("copying a module"))?;
    }
    Ok(modules)
}

/// A part's text bindings.
fn bindings(variant: &Variant, peers: Peers<'_>, signing: &SigningKey) -> Vec<(&'static str, String)> {
    let Peers { keys, origin, backend } = peers;
    let mode = match variant.part {
        Part::Bare | Part::Capture => {
            let upstream = format!("http://{origin}");
            let supabase = variant.host.replace("app.", "ref.");
            return vec![
                ("HOSTS", json!({(variant.host.clone()): upstream, supabase: upstream}).to_string()),
                ("JWKS_URL", format!("http://{origin}/auth/v1/.well-known/jwks.json")),
                ("INGEST_URL", format!("http://{backend}/js")),
            ];
        }
        Part::Queue => DeliveryMode::Queue,
        Part::Direct | Part::Beside(_) => DeliveryMode::Direct,
    };
    let config = EdgeConfig::for_demo(variant.address.port(), origin, origin, backend, mode);
    vec![
        ("EDGETRAIL_CONFIG", serde_json::to_string(&config).expect("plain data")),
        ("EDGETRAIL_SIGNING_KEY", signing.signer.reveal()),
        ("SUPABASE_JWT_SECRET", keys.hs256_secret().to_owned()),
    ]
}

fn service(variant: &Variant, folder: &str, modules: &[Module], bindings: &[(&str, String)]) -> String {
    let modules: Vec<String> = modules
        .iter()
        .map(|module| {
            let kind = match module.kind {
                ModuleKind::EsModule => "esModule",
                ModuleKind::Wasm => "wasm",
            };
            let path = quoted(&format!("{folder}/{}", module.name));
            format!("(name = {}, {kind} = embed {path})", quoted(&module.name))
        })
        .collect();
    let mut bound: Vec<String> = bindings
        .iter()
        .map(|(name, value)| format!("(name = \"{name}\", text = {})", quoted(value)))
        .collect();
    if variant.part == Part::Queue {
        let audit = quoted(&json!({"queue": "audit"}).to_string());
        bound.push(format!("(name = \"EVENTS\", queue = (name = \"queues\", props = (json = {audit})))"));
    }
    format!(
        "(name = {name}, worker = (modules = [{modules}], compatibilityDate = \"2026-10-01\", \
         globalOutbound = \"net\", bindings = [{bound}])),\n",
        name = quoted(&variant.part.name()),
        modules = modules.join(", "),
        bound = bound.join(", "),
    )
}

/// workerd's durable queue, with the Worker as its consumer.
fn queue_service() -> String {
    let consumers =
        json!({"audit": {"consumer": "CONSUMER", "maxBatchSize": 100, "maxBatchTimeout": 1}}).to_string();
    format!(
        "(name = \"queues\", worker = (modules = [(name = \"queues.js\", bundled = \"/workerd/queues.js\")], \
         compatibilityDate = \"2026-10-01\", compatibilityFlags = [\"service_binding_extra_handlers\"], \
         bindings = [(name = \"SHARD\", durableObjectNamespace = \"QueueShard\"), \
         (name = \"CONSUMER\", service = {queue}), (name = \"CONSUMERS\", json = {consumers})], \
         durableObjectNamespaces = [(className = \"QueueShard\", uniqueKey = \"queue-shard\", enableSql = true)], \
         durableObjectStorage = (localDisk = \"storage\"))),\n\
         (name = \"storage\", disk = (path = \"state\", writable = true)),\n",
        queue = quoted(&Part::Queue.name()),
        consumers = quoted(&consumers),
    )
}

fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// The kinds of requests, as a browser sends them: with a session cookie whose token verifies.
#[derive(Debug)]
pub(super) struct Requests {
    /// A route that no rule is about.
    pub(super) unaudited: Arc<[u8]>,
    /// The same on a mount that names the client to the origin.
    pub(super) forwarding: Arc<[u8]>,
    /// A route that is audited with both bodies.
    pub(super) audited: Arc<[u8]>,
}

impl Requests {
    pub(super) fn to(variant: &Variant, keys: &Keys) -> Self {
        let now = crate::clock::unix_now();
        let claims = json!({
            "iss": ISSUER, "sub": "11111111-1111-4111-8111-111111111111", "aud": "authenticated", "exp": now + 3600,
            "iat": now, "email": "alice@example.com", "role": "authenticated", "aal": "aal1",
            "amr": [{"method": "password", "timestamp": now}], "session_id": "5ba8ba17-8d50-47a2-bd72-bd422cb8acb4",
            "app_metadata": {"provider": "email", "providers": ["email"]}, "user_metadata": {"full_name": "Alice Doe"},
        });
        let token = keys.sign(&claims, Alg::Es256);
        let session =
            json!({"access_token": token, "refresh_token": "rmf0ibmboiz_", "user": {"id": claims["sub"]}});
        let cookie = Session::new("sb-ref-auth-token", session.to_string());
        let cookies: Vec<String> =
            cookie.cookies().iter().map(|(name, value)| format!("{name}={value}")).collect();
        let head = format!(
            "host: {}\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\naccept: application/json\r\n\
             cookie: {}\r\n",
            variant.host,
            cookies.join("; ")
        );
        let body = json!({"agent": {
            "agent_name": "Invoice chaser", "description": "Chases", "user_prompt": "Chase unpaid invoices",
            "system_prompt": "You are helpful", "mode": "scheduled", "schedule_cron": "0 8 * * *",
            "plugins_required": ["google-mail", "stripe"], "status": "draft",
            "workflow_steps": [{"id": "s1", "type": "action", "plugin": "google-mail", "action": "search_emails"}],
        }, "sessionId": "sess-1", "input_values": {"days": 14}})
        .to_string();
        let get = format!("GET /api/v2/agents?includeInactive=true HTTP/1.1\r\n{head}\r\n");
        let forwarding = get.replace("host: app.", "host: ref.");
        let post = format!(
            "POST /api/create-agent HTTP/1.1\r\n{head}content-type: application/json\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        Self {
            unaudited: get.into_bytes().into(),
            forwarding: forwarding.into_bytes().into(),
            audited: post.into_bytes().into(),
        }
    }
}
