//! The text of workerd's configuration.
//!
//! The Worker, workerd's own durable queue beside it, a disk for the queue's storage, a network that may reach
//! loopback, and one socket. `embed` paths are relative to the file, so the modules lie beside it.

use std::fmt::Write as _;

use serde::{Deserialize, Serialize};
use serde_json::json;

/// The runtime's behaviour is that of this day.
const COMPATIBILITY_DATE: &str = "2026-10-01";

/// Tells a queue's numbers. Asking also makes the queue look for what is due: a dead letter that came while its queue
/// had no consumer set no alarm, so it would wait for the next one although it has a consumer now.
const BACKLOG: &str = "export default {
  async fetch(request, env) {
    const queue = env[new URL(request.url).pathname.slice(1)];
    return Response.json(await queue.metrics());
  },
};
";

/// How a module is loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ModuleKind {
    /// JavaScript.
    #[serde(rename = "esModule")]
    EsModule,
    /// WebAssembly.
    #[serde(rename = "wasm")]
    Wasm,
}

/// A module of the Worker, as in `modules.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Module {
    /// Its name, which is also its path below the bundle.
    pub name: String,
    /// Its kind.
    pub kind: ModuleKind,
}

/// How the queue delivers.
#[derive(Debug, Clone, Copy)]
pub struct QueueOptions {
    /// Messages in one delivery, at most.
    pub max_batch_size: u32,
    /// Seconds until a delivery that is not full goes out.
    pub max_batch_timeout: u32,
    /// Deliveries of one message before it counts as dead.
    pub max_retries: u32,
    /// Whether the Worker also consumes the dead letters. Otherwise they wait in their queue, for four days from when
    /// they were first sent, which is the longest that workerd keeps a message.
    pub replay_dead_letters: bool,
}

impl Default for QueueOptions {
    fn default() -> Self {
        Self { max_batch_size: 100, max_batch_timeout: 5, max_retries: 100, replay_dead_letters: false }
    }
}

/// What the configuration is made from.
#[derive(Debug, Clone)]
pub struct WorkerSpec {
    /// The loopback port to listen on.
    pub port: u16,
    /// The loopback port that tells how many messages wait in a queue.
    pub backlog_port: u16,
    /// Modules, the entry first.
    pub modules: Vec<Module>,
    /// Text bindings.
    pub vars: Vec<(String, String)>,
    /// The queue bound as `EVENTS`.
    pub queue: QueueOptions,
    /// Flags of the JavaScript engine, such as a limit of its heap.
    pub v8_flags: Vec<String>,
}

impl WorkerSpec {
    /// The configuration file; modules lie in `modules/`, storage in `state/`.
    pub fn capnp(&self) -> String {
        let modules = self.modules.iter().map(|module| {
            let kind = match module.kind {
                ModuleKind::EsModule => "esModule",
                ModuleKind::Wasm => "wasm",
            };
            let path = text(&format!("modules/{}", module.name));
            format!("(name = {}, {kind} = embed {path})", text(&module.name))
        });
        let vars =
            self.vars.iter().map(|(name, value)| format!("(name = {}, text = {})", text(name), text(value)));
        let queue = |binding: &str, queue: &str| {
            let props = text(&json!({ "queue": queue }).to_string());
            format!("(name = \"{binding}\", queue = (name = \"queues\", props = (json = {props})))")
        };
        let backlog = [queue("audit", "audit"), queue("audit-dlq", "audit-dlq")];
        let v8_flags: Vec<String> = self.v8_flags.iter().map(|flag| text(flag)).collect();
        format!(
            r#"using Workerd = import "/workerd/workerd.capnp";

const config :Workerd.Config = (
  v8Flags = [{v8_flags}],
  services = [
    (name = "edge", worker = (
      modules = [
        {modules}
      ],
      compatibilityDate = "{COMPATIBILITY_DATE}",
      globalOutbound = "network",
      bindings = [
        {bindings}
      ],
    )),
    (name = "queues", worker = (
      modules = [(name = "queues.js", bundled = "/workerd/queues.js")],
      compatibilityDate = "{COMPATIBILITY_DATE}",
      compatibilityFlags = ["service_binding_extra_handlers"],
      bindings = [
        (name = "SHARD", durableObjectNamespace = "QueueShard"),
        (name = "EDGE", service = "edge"),
        (name = "CONSUMERS", json = {consumers}),
      ],
      durableObjectNamespaces = [(className = "QueueShard", uniqueKey = "queue-shard", enableSql = true)],
      durableObjectStorage = (localDisk = "state"),
    )),
    (name = "backlog", worker = (
      modules = [(name = "backlog.mjs", esModule = {backlog_module})],
      compatibilityDate = "{COMPATIBILITY_DATE}",
      bindings = [
        {backlog}
      ],
    )),
    (name = "state", disk = (path = "state", writable = true)),
    (name = "network", network = (
      allow = ["public", "private", "local"],
      tlsOptions = (trustBrowserCas = true),
    )),
  ],
  sockets = [
    (name = "http", address = "127.0.0.1:{port}", http = (), service = "edge"),
    (name = "backlog", address = "127.0.0.1:{backlog_port}", http = (), service = "backlog"),
  ],
);
"#,
            modules = modules.collect::<Vec<_>>().join(",\n        "),
            bindings = vars.chain([queue("EVENTS", "audit")]).collect::<Vec<_>>().join(",\n        "),
            backlog_module = text(BACKLOG),
            backlog = backlog.join(",\n        "),
            backlog_port = self.backlog_port,
            v8_flags = v8_flags.join(", "),
            consumers = text(&self.consumers().to_string()),
            port = self.port,
        )
    }

    fn consumers(&self) -> serde_json::Value {
        let queue = &self.queue;
        let mut consumers = json!({ "audit": {
            "consumer": "EDGE",
            "maxBatchSize": queue.max_batch_size,
            "maxBatchTimeout": queue.max_batch_timeout,
            "maxRetries": queue.max_retries,
            "deadLetterQueue": "audit-dlq",
        }});
        if queue.replay_dead_letters {
            consumers["audit-dlq"] = json!({
                "consumer": "EDGE",
                "maxBatchSize": queue.max_batch_size,
                "maxBatchTimeout": queue.max_batch_timeout,
                "maxRetries": queue.max_retries,
                // Without one, a message that fails too often here as well would be deleted.
                "deadLetterQueue": "audit",
            });
        }
        consumers
    }
}

/// A capnp string: C's escapes.
fn text(value: &str) -> String {
    let mut out = String::from("\"");
    for char in value.chars() {
        match char {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            control if control.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strings_are_escaped() {
        assert_eq!(text("a \"b\" \\ c\n\t\u{e9}\u{7f}"), "\"a \\\"b\\\" \\\\ c\\n\\x09\u{e9}\\x7f\"");
    }

    #[test]
    fn the_configuration_names_all_parts() {
        let spec = WorkerSpec {
            port: 8787,
            backlog_port: 8788,
            modules: vec![
                Module { name: "edge.mjs".to_owned(), kind: ModuleKind::EsModule },
                Module { name: "edge_bg.wasm".to_owned(), kind: ModuleKind::Wasm },
            ],
            vars: vec![("EDGETRAIL_CONFIG".to_owned(), r#"{"a":"b"}"#.to_owned())],
            queue: QueueOptions::default(),
            v8_flags: vec!["--max-heap-size=64".to_owned()],
        };
        let text = spec.capnp();
        for part in [
            r#"(name = "edge.mjs", esModule = embed "modules/edge.mjs")"#,
            r#"(name = "edge_bg.wasm", wasm = embed "modules/edge_bg.wasm")"#,
            r#"(name = "EDGETRAIL_CONFIG", text = "{\"a\":\"b\"}")"#,
            r#"props = (json = "{\"queue\":\"audit\"}")"#,
            r#"\"maxRetries\":100"#,
            r#"address = "127.0.0.1:8787""#,
            r#"v8Flags = ["--max-heap-size=64"]"#,
        ] {
            assert!(text.contains(part), "{part} is not in {text}");
        }
        assert!(!text.contains(r#"\"audit-dlq\":{"#));
    }
}
