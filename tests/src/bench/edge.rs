//! The Worker beside a bare pass-through and beside a JavaScript worker that does the same work, in one workerd.
//!
//! Closed-loop load on four connections, in short runs that alternate between the variants; each round gives one ratio
//! for each pair, and the median of the rounds counts. The origin, the backend's stand-in (it acknowledges whatever
//! comes) and the load share the machine with workerd, so only ratios mean anything.

use std::fmt::Write as _;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;

use super::load::{Found, Message, load, serve};
use super::process::cpu_seconds;
use super::report::median;
use super::{BenchError, Extent, Report};
use crate::keys::{Alg, ISSUER, Keys};
use crate::replay::Session;
use crate::stack::{
    DeliveryMode, EdgeConfig, Module, ModuleKind, Process, SigningKey, edge_bundle, free_port, workerd_bin,
};

const CONNECTIONS: usize = 4;

/// What is measured: where, and in which words.
struct Variant {
    name: &'static str,
    address: SocketAddr,
    host: String,
}

/// The kinds of requests.
struct Requests {
    unaudited: Arc<[u8]>,
    forwarding: Arc<[u8]>,
    audited: Arc<[u8]>,
}

/// Runs the comparison.
///
/// # Errors
/// [`BenchError`] if a part does not start, or an answer is not a 2xx.
pub async fn run(extent: Extent) -> Result<Report, BenchError> {
    let (rounds, time) = match extent {
        Extent::Quick => (5, Duration::from_millis(1_000)),
        Extent::Full => (9, Duration::from_secs(2)),
    };
    let dir = tempfile::tempdir().map_err(io("making a folder"))?;
    let keys = Keys::generate();
    let origin = serve(origin_answer(&keys)).map_err(io("serving an origin"))?;
    let backend = serve(backend_answer).map_err(io("serving a backend"))?;
    let (mut workerd, variants) = start(dir.path(), &keys, origin, backend).await?;
    let pid = workerd.pid();
    let mut report = Report::default();
    report.row("edge", format!("{rounds} rounds of {time:?} a variant, {CONNECTIONS} connections"));
    for kind in [Kind::Unaudited, Kind::Forwarding, Kind::Audited] {
        let measured = measure(&variants, &keys, kind, rounds, time, pid)?;
        tell(&mut report, kind, &measured);
    }
    report.figure("edge.wasm_gzip_bytes", gzip_len(&edge_bundle()?.join("index_bg.wasm"))?);
    workerd.stop();
    Ok(report)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// A route that no rule is about.
    Unaudited,
    /// The same on a mount that names the client to the origin.
    Forwarding,
    /// A route that is audited with both bodies.
    Audited,
}

/// One variant's rounds.
struct Measured {
    name: &'static str,
    runs: Vec<Found>,
    /// CPU time of workerd for each request, in seconds.
    cpu: Vec<f64>,
}

fn measure(
    variants: &[Variant],
    keys: &Keys,
    kind: Kind,
    rounds: usize,
    time: Duration,
    pid: u32,
) -> Result<Vec<Measured>, BenchError> {
    let requests: Vec<Requests> = variants.iter().map(|variant| requests(&variant.host, keys)).collect();
    let request = |at: usize| match kind {
        Kind::Unaudited => &requests[at].unaudited,
        Kind::Forwarding => &requests[at].forwarding,
        Kind::Audited => &requests[at].audited,
    };
    let mut measured: Vec<Measured> = variants
        .iter()
        .map(|variant| Measured { name: variant.name, runs: Vec::new(), cpu: Vec::new() })
        .collect();
    for round in 0..=rounds {
        for step in 0..variants.len() {
            // Each round begins with another variant.
            let at = (round + step) % variants.len();
            let before = cpu_seconds(pid);
            let found =
                load(variants[at].address, request(at), CONNECTIONS, time).map_err(io("sending requests"))?;
            // What goes on after the last response belongs to the variant, too.
            std::thread::sleep(Duration::from_millis(300));
            let cpu = cpu_seconds(pid) - before;
            if round > 0 {
                #[expect(clippy::cast_precision_loss, reason = "far below 2^52 requests")]
                measured[at].cpu.push(cpu / found.requests as f64);
                measured[at].runs.push(found);
            }
        }
    }
    Ok(measured)
}

fn tell(report: &mut Report, kind: Kind, measured: &[Measured]) {
    let bare = &measured[0];
    let ratio =
        |of: &[f64], to: &[f64]| median(&of.iter().zip(to).map(|(of, to)| of / to).collect::<Vec<_>>());
    let rates = |of: &Measured| of.runs.iter().map(Found::rate).collect::<Vec<_>>();
    for one in measured {
        let p50 = median(&one.runs.iter().map(|run| run.p50).collect::<Vec<_>>());
        let p99 = median(&one.runs.iter().map(|run| run.p99).collect::<Vec<_>>());
        report.row(
            format!("{kind:?} {}", one.name).to_lowercase(),
            format!(
                "{:6.0} requests/s  {:.3} of bare  p50 {p50:.2} ms  p99 {p99:.2} ms  {:.0} us CPU a request, {:.2} of bare",
                median(&rates(one)),
                ratio(&rates(one), &rates(bare)),
                median(&one.cpu) * 1e6,
                ratio(&one.cpu, &bare.cpu),
            ),
        );
    }
    let of = |name: &str| measured.iter().find(|one| one.name == name);
    let mut figure = |name: &str, of: Option<&Measured>, to: &Measured| {
        if let Some(of) = of {
            report.figure(&format!("edge.{name}.rps_ratio"), ratio(&rates(of), &rates(to)));
            report.figure(&format!("edge.{name}.cpu_ratio"), ratio(&of.cpu, &to.cpu));
        }
    };
    match kind {
        Kind::Unaudited => figure("unaudited", of(DIRECT), bare),
        Kind::Forwarding => figure("unaudited_forwarding", of(DIRECT), bare),
        Kind::Audited => {
            figure("audited", of(DIRECT), bare);
            figure("audited_queue", of(QUEUE), bare);
        }
    }
    if let (Kind::Audited, Some(direct), Some(capture)) = (kind, of(DIRECT), of(CAPTURE)) {
        report.figure("edge.audited.js_capture_ratio", ratio(&rates(direct), &rates(capture)));
    }
}

const BARE: &str = "bare JS";
const CAPTURE: &str = "JS capture";
const DIRECT: &str = "worker, direct";
const QUEUE: &str = "worker, queue";

/// Starts one workerd with all variants, each on a port of its own.
async fn start(
    dir: &Path,
    keys: &Keys,
    origin: SocketAddr,
    backend: SocketAddr,
) -> Result<(Process, Vec<Variant>), BenchError> {
    let bundle = edge_bundle()?;
    let list = fs::read(bundle.join("modules.json")).map_err(io("reading modules.json"))?;
    let modules: Vec<Module> = serde_json::from_slice(&list).map_err(crate::stack::StackError::from)?;
    for module in &modules {
        let target = dir.join(&module.name);
        fs::create_dir_all(target.parent().unwrap_or(dir)).map_err(io("making a folder"))?;
        fs::copy(bundle.join(&module.name), target).map_err(io("copying a module"))?;
    }
    for (name, text) in [
        ("bare.mjs", include_str!("../../bench/bare.mjs")),
        ("capture.mjs", include_str!("../../bench/capture.mjs")),
    ] {
        fs::write(dir.join(name), text).map_err(io("writing a module"))?;
    }
    fs::create_dir_all(dir.join("state")).map_err(io("making a folder"))?;
    let mut variants = Vec::new();
    for name in [BARE, CAPTURE, DIRECT, QUEUE] {
        let port = free_port(None)?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        variants.push(Variant { name, address, host: format!("app.localhost:{port}") });
    }
    let text = capnp(&modules, &variants, keys, origin, backend);
    fs::write(dir.join("bench.capnp"), text).map_err(io("writing the configuration"))?;
    let mut command = Command::new(workerd_bin()?);
    command.args(["serve", "--experimental", "bench.capnp"]).current_dir(dir);
    let mut process = Process::start("workerd", command, &dir.join("workerd.log"))?;
    let ready = |_: &Process| {
        let all = variants.iter().all(|variant| std::net::TcpStream::connect(variant.address).is_ok());
        all.then_some(())
    };
    process.wait_for(Duration::from_secs(30), ready).await?;
    Ok((process, variants))
}

fn capnp(
    modules: &[Module],
    variants: &[Variant],
    keys: &Keys,
    origin: SocketAddr,
    backend: SocketAddr,
) -> String {
    let text = |value: &str| serde_json::Value::from(value).to_string();
    let jwks = format!("http://{origin}/auth/v1/.well-known/jwks.json");
    let listed: Vec<String> = modules
        .iter()
        .map(|module| {
            let kind = match module.kind {
                ModuleKind::EsModule => "esModule",
                ModuleKind::Wasm => "wasm",
            };
            format!("(name = {0}, {kind} = embed {0})", text(&module.name))
        })
        .collect();
    let signing = SigningKey::generate();
    let mut services = String::new();
    let mut sockets = String::new();
    for variant in variants {
        let upstream = format!("http://{origin}");
        let hosts =
            json!({(variant.host.clone()): upstream, (variant.host.replace("app.", "ref.")): upstream})
                .to_string();
        let (modules, bindings) = match variant.name {
            BARE => {
                ("(name = \"bare.mjs\", esModule = embed \"bare.mjs\")".to_owned(), vec![("HOSTS", hosts)])
            }
            CAPTURE => (
                "(name = \"capture.mjs\", esModule = embed \"capture.mjs\")".to_owned(),
                vec![
                    ("HOSTS", hosts),
                    ("JWKS_URL", jwks.clone()),
                    ("INGEST_URL", format!("http://{backend}/js")),
                ],
            ),
            name => {
                let mode = if name == DIRECT { DeliveryMode::Direct } else { DeliveryMode::Queue };
                let config = EdgeConfig::for_demo(variant.address.port(), origin, origin, backend, mode);
                let config = serde_json::to_string(&config).expect("plain data");
                (
                    listed.join(", "),
                    vec![
                        ("EDGETRAIL_CONFIG", config),
                        ("EDGETRAIL_SIGNING_KEY", signing.signer.reveal()),
                        ("SUPABASE_JWT_SECRET", keys.hs256_secret().to_owned()),
                    ],
                )
            }
        };
        let mut bound: Vec<String> = bindings
            .iter()
            .map(|(name, value)| format!("(name = \"{name}\", text = {})", text(value)))
            .collect();
        if variant.name == QUEUE {
            bound.push("(name = \"EVENTS\", queue = (name = \"queues\", props = (json = \"{\\\"queue\\\": \\\"audit\\\"}\")))".to_owned());
        }
        let _ = write!(
            services,
            "    (name = {0}, worker = (modules = [{modules}], compatibilityDate = \"2026-10-01\",\n      \
             globalOutbound = \"net\", bindings = [{bindings}])),\n",
            text(variant.name),
            bindings = bound.join(", "),
        );
        let _ = writeln!(
            sockets,
            "    (name = {0}, address = \"{1}\", http = (), service = {0}),",
            text(variant.name),
            variant.address
        );
    }
    let consumers =
        json!({"audit": {"consumer": "CONSUMER", "maxBatchSize": 100, "maxBatchTimeout": 1}}).to_string();
    format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (\n  services = [\n{services}    \
         (name = \"queues\", worker = (modules = [(name = \"queues.js\", bundled = \"/workerd/queues.js\")],\n      \
         compatibilityDate = \"2026-10-01\", compatibilityFlags = [\"service_binding_extra_handlers\"],\n      \
         bindings = [(name = \"SHARD\", durableObjectNamespace = \"QueueShard\"), (name = \"CONSUMER\", service = {queue}),\n        \
         (name = \"CONSUMERS\", json = {consumers})],\n      \
         durableObjectNamespaces = [(className = \"QueueShard\", uniqueKey = \"queue-shard\", enableSql = true)],\n      \
         durableObjectStorage = (localDisk = \"storage\"))),\n    \
         (name = \"storage\", disk = (path = \"state\", writable = true)),\n    \
         (name = \"net\", network = (allow = [\"public\", \"private\", \"local\"])),\n  ],\n  \
         sockets = [\n{sockets}  ],\n);\n",
        queue = text(QUEUE),
        consumers = text(&consumers),
    )
}

/// Requests as a browser sends them: a session cookie with a token that verifies.
fn requests(host: &str, keys: &Keys) -> Requests {
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
        "host: {host}\r\nuser-agent: Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36\r\naccept: application/json\r\n\
         cookie: {}\r\n",
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
    Requests {
        unaudited: get.into_bytes().into(),
        forwarding: forwarding.into_bytes().into(),
        audited: post.into_bytes().into(),
    }
}

/// 1.1 kB of JSON, as the application answers; and the key set.
fn origin_answer(keys: &Keys) -> impl Fn(&Message) -> (&'static str, String) + Send + Sync + 'static {
    let jwks = keys.jwks().to_string();
    let agent = json!({"success": true, "agent": {
        "id": "822ea53d-eb27-4f01-948b-dbaa0680b6f6", "created_at": "2026-11-23T03:21:57.319Z",
        "description": "Chases", "user_prompt": "Chase unpaid invoices", "system_prompt": "You are helpful",
        "mode": "scheduled", "schedule_cron": "0 8 * * *", "next_run": null, "timezone": "Europe/Zurich",
        "status": "draft", "is_archived": false, "plugins_required": ["google-mail", "stripe"],
        "connected_plugins": null, "pilot_steps": null, "agent_config": {"ai_context": {"confidence": 0.9}},
        "workflow_steps": [{"id": "s1", "type": "action", "plugin": "google-mail", "action": "search_emails"}],
        "production_ready": false, "insights_enabled": true, "deleted_at": null,
        "updated_at": "2026-11-23T03:21:57.319Z", "user_id": "11111111-1111-4111-8111-111111111111",
        "agent_name": "Invoice chaser", "created_from_prompt": null, "input_schema": null, "output_schema": null,
        "generated_plan": null, "detected_categories": null, "trigger_conditions": null, "ai_reasoning": null,
    }, "message": "Agent created successfully", "inputsSaved": true})
    .to_string();
    move |message| {
        let jwks_wanted = message.head.starts_with("GET /auth/v1/.well-known/jwks.json");
        ("200 OK", if jwks_wanted { jwks.clone() } else { agent.clone() })
    }
}

/// Acknowledges each batch of a request.
fn backend_answer(message: &Message) -> (&'static str, String) {
    let batches = shared::batch::unframe(&message.body).map_or(1, |frames| frames.len());
    ("200 OK", format!("[{}]", vec![r#"{"status":200}"#; batches].join(",")))
}

/// The size that the runtime's own limit speaks of, by the system's gzip.
fn gzip_len(path: &Path) -> Result<f64, BenchError> {
    let output = Command::new("gzip").arg("-9c").arg(path).output().map_err(io("running gzip"))?;
    let bytes = u32::try_from(output.stdout.len()).map_err(|error| BenchError::Answer(error.to_string()))?;
    Ok(f64::from(bytes))
}

fn io(what: &'static str) -> impl FnOnce(std::io::Error) -> BenchError {
    move |source| BenchError::Io { what, source }
}
