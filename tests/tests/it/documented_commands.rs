//! The commands of README.md and docs/*.md: each is run here, by a test that is named, or needs what this machine does not have.
//!
//! A fenced `sh` block stands behind `<!-- run by: FILE::TEST -->`, whose test must exist, or `<!-- needs: WHAT -->`; or it is one of
//! [`RUN_HERE`], whose lines are run in a clean directory beside a running backend, with the addresses and ids of that backend in the
//! place of those of the text.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use serde_json::Value;
use tests::keys::Keys;
use tests::stack::{
    Api, Ingest, IngestSpec, Process, QueueOptions, SigningKey, Worker, edge_bundle, edgetrail_bin,
    free_port, workspace_root,
};
use tests::wire::send;

use crate::scene::{creating_application, creation};

/// Files whose unmarked blocks the tests below run.
const RUN_HERE: [&str; 3] = ["docs/access.md", "docs/own-pack.md", "docs/verify.md"];
/// What may be missing on a machine that runs the tests.
const NEEDS: [&str; 4] =
    ["cloudflare", "a second build of the backend", "a Citus cluster", "a quiet machine for hours"];

/// A fenced block of commands.
#[derive(Debug)]
struct Block {
    file: String,
    line: usize,
    /// Comments right before it.
    marks: Vec<String>,
    commands: Vec<String>,
}

fn pages() -> Vec<String> {
    let docs = fs::read_dir(workspace_root().join("docs")).expect("docs").flatten();
    let names = docs.filter_map(|entry| entry.file_name().into_string().ok());
    let mut pages: Vec<String> =
        names.filter(|name| name.ends_with(".md")).map(|name| format!("docs/{name}")).collect();
    pages.push("README.md".to_owned());
    pages.sort();
    pages
}

fn read(file: &str) -> String {
    fs::read_to_string(workspace_root().join(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}

/// The blocks of a page in their order.
fn blocks(file: &str) -> Vec<Block> {
    let text = read(file);
    let (mut found, mut marks, mut open) = (Vec::new(), Vec::new(), None::<Block>);
    for (at, line) in text.lines().enumerate() {
        match (&mut open, line.trim()) {
            (Some(_), "```") => found.extend(open.take()),
            (Some(block), line) => block.commands.push(line.to_owned()),
            (None, "```sh" | "```bash" | "```console" | "```shell") => {
                let marks = std::mem::take(&mut marks);
                open = Some(Block { file: file.to_owned(), line: at + 1, marks, commands: Vec::new() });
            }
            (None, "") => {}
            (None, line) => match line.strip_prefix("<!--").and_then(|rest| rest.strip_suffix("-->")) {
                Some(mark) => marks.push(mark.trim().to_owned()),
                None => marks.clear(),
            },
        }
    }
    found
}

#[test]
fn every_block_of_commands_is_run_by_a_test_or_says_what_it_needs() {
    let mut run_here = BTreeSet::new();
    for block in pages().iter().flat_map(|page| blocks(page)) {
        let place = format!("{}:{}", block.file, block.line);
        for mark in &block.marks {
            if let Some(test) = mark.strip_prefix("run by: ") {
                let (file, name) =
                    test.split_once("::").unwrap_or_else(|| panic!("{place}: {test} names no test"));
                assert!(read(file).contains(&format!("fn {name}(")), "{place}: {file} has no {name}");
            } else if let Some(what) = mark.strip_prefix("needs: ") {
                assert!(NEEDS.contains(&what), "{place}: {what} is none of {NEEDS:?}");
            } else {
                panic!("{place}: {mark:?} is no mark of ours");
            }
        }
        if block.marks.is_empty() {
            assert!(RUN_HERE.contains(&block.file.as_str()), "{place}: nobody runs {:?}", block.commands);
            run_here.insert(block.file);
        }
    }
    assert_eq!(run_here, RUN_HERE.map(str::to_owned).into(), "of each something is run");
}

/// A clean directory in which the commands of a page are run.
struct Desk {
    dir: tempfile::TempDir,
    variables: Vec<(&'static str, String)>,
}

impl Desk {
    fn new() -> Self {
        let dir = tempfile::Builder::new().prefix("edgetrail").tempdir().expect("a folder");
        // PostgreSQL runs as another user where the tests run as root.
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).expect("our own folder");
        let bin = edgetrail_bin().expect("a built backend").with_file_name("");
        let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap_or_default());
        Self { dir, variables: vec![("PATH", path)] }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        fs::write(self.file(name), text).expect("our own folder");
    }

    fn shell(&self, line: &str) -> Command {
        let mut shell = Command::new("sh");
        shell.args(["-euc", line]).current_dir(self.dir.path()).envs(self.variables.clone());
        shell
    }

    /// Runs a line as a person would type it.
    async fn run(&self, line: &str) -> Output {
        let mut shell = self.shell(line);
        tokio::task::spawn_blocking(move || shell.output()).await.expect("no panic").expect("sh runs")
    }

    /// The same; it must succeed.
    async fn must(&self, line: &str) -> String {
        let output = self.run(line).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{line}\n{said}{}", String::from_utf8_lossy(&output.stdout));
        String::from_utf8(output.stdout).expect("text")
    }
}

/// A block's lines without those that are empty.
fn lines(block: &Block) -> impl Iterator<Item = &str> {
    block.commands.iter().map(String::as_str).filter(|line| !line.is_empty())
}

#[tokio::test]
async fn the_other_pages_commands_do_what_they_say() {
    let keys = Keys::generate();
    let (_server, upstream) = creating_application().await;
    let mut desk = Desk::new();
    let port = free_port(None).expect("a port");
    let signing = SigningKey::generate();
    let spec = IngestSpec {
        port,
        key: signing.clone(),
        api_key: format!("etk_dev_{}", "0123456789abcdef".repeat(4)),
        more: String::new(),
    };
    let ingest = Ingest::start(&desk.file("ingest"), spec).await.expect("a backend");
    desk.variables.push(("EDGETRAIL_CONFIG", desk.file("ingest/edgetrail.toml").display().to_string()));
    desk.variables.push(("EDGETRAIL_API_KEY", ingest.api_key().to_owned()));

    // An event, so that there is something to verify.
    let worker_port = free_port(None).expect("a port");
    let address = upstream.trim_start_matches("http://").parse().expect("an address");
    let mode = tests::stack::DeliveryMode::Direct;
    let config = tests::stack::EdgeConfig::for_demo(worker_port, address, address, ingest.address(), mode);
    let queue = QueueOptions::default();
    let worker =
        Worker::start(&desk.file("worker"), worker_port, &config, &signing, keys.hs256_secret(), queue)
            .await
            .expect("a worker");
    let (_, call) = creation("first");
    assert_eq!(send(worker.address(), &config.app_host(), &call).await.expect("an answer").status, 201);
    ingest.api().wait_for_events(1, Duration::from_secs(30)).await.expect("it is stored");

    let soon = chrono::Utc::now() + chrono::TimeDelta::days(30);
    let soon = soon.to_rfc3339_opts(chrono::SecondsFormat::Secs, true);
    // docs/access.md: keys are made, listed, rotated and revoked; ID is that of the newest.
    for block in unmarked("docs/access.md") {
        for line in lines(&block) {
            let listed = desk.must("edgetrail keys list --tenant demo --json").await;
            let newest = listed.lines().find_map(|line| {
                let key: Value = serde_json::from_str(line).expect("JSON");
                (key["id"] != "dev" && key["revoked_at"].is_null())
                    .then(|| key["id"].as_str().expect("an id").to_owned())
            });
            let line = line.replace("--tenant acme", "--tenant demo").replace("2027-01-01T00:00:00Z", &soon);
            let line = match (line.contains(" ID"), newest) {
                (true, Some(id)) => line.replace(" ID", &format!(" {id}")),
                _ => line,
            };
            desk.must(&line).await;
        }
    }

    // docs/own-pack.md: its first pack, and a recording.
    let pack = read("docs/own-pack.md");
    let (_, pack) = pack.split_once("```json\n").expect("a pack");
    desk.write("billing.json", pack.split_once("```").expect("its end").0);
    desk.write("traffic.har", include_str!("traffic.har"));
    let mut tried = Vec::new();
    for block in unmarked("docs/own-pack.md") {
        for line in lines(&block) {
            tried.push(desk.must(line).await);
        }
    }
    assert!(tried[0].contains("billing.json: ok, 1 rule"), "{tried:?}");
    assert!(tried[1].contains("INVOICE_CREATED"), "{tried:?}");

    // docs/verify.md: a bundle of the running backend, held against a head and a key that were kept.
    let logs = ingest.api().get("/v1/logs").await.expect("an answer").json();
    let log = &logs["logs"][0];
    desk.write("log.pub", log["verifier_key"].as_str().expect("a key"));
    let id = log["log_id"].as_str().expect("an id").to_owned();
    let head = ingest.api().get(&format!("/log/{id}/checkpoint")).await.expect("an answer");
    desk.write("2026-11-25.txt", &head.text());
    let url = format!("http://{}", ingest.address());
    let mut said = String::new();
    for block in unmarked("docs/verify.md") {
        for line in lines(&block) {
            said = desk.must(&line.replace("https://audit.example.com", &url)).await;
        }
    }
    assert!(said.contains("valid"), "{said}");
}

fn unmarked(file: &str) -> Vec<Block> {
    blocks(file).into_iter().filter(|block| block.marks.is_empty()).collect()
}

/// The guide's blocks in order, in a clean directory: what its toml says is its configuration, what it types is typed. Only what is
/// not this machine's is another: the addresses, the folder of keys, and the Worker, which runs in workerd with the mounts of
/// `wrangler.toml` in front of an application of ours.
#[tokio::test]
async fn the_deployment_guide_works_as_it_stands() {
    let guide = read("docs/deployment.md");
    let desk = Desk::new();
    let (port, worker_port) = (free_port(None).expect("a port"), free_port(None).expect("a port"));
    let (_server, upstream) = creating_application().await;
    let here = format!("http://127.0.0.1:{port}");
    let local = |text: &str| {
        text.replace("127.0.0.1:9200", &format!("127.0.0.1:{port}"))
            .replace("/var/lib/edgetrail", &desk.file("keys").display().to_string())
    };
    let (_, toml) = guide.split_once("```toml\n").expect("a configuration");
    let toml = local(toml.split_once("```").expect("its end").0);
    // Nobody answers under the guide's name here.
    desk.write("edgetrail.toml", &toml.replace("public_url = \"https://audit.example.com\"", ""));

    let mut serving = None;
    let mut worker = None;
    let mut typed = 0;
    for block in blocks("docs/deployment.md") {
        if block.marks.iter().any(|mark| mark == "needs: cloudflare") && worker.is_none() {
            worker = Some(deployed(&desk, worker_port, &here, &upstream).await);
            let host = format!("app.localhost:{worker_port}");
            let (_, call) = creation("first");
            let running = worker.as_ref().map(Worker::address).expect("just started");
            assert_eq!(send(running, &host, &call).await.expect("an answer").status, 201);
        }
        if !block.marks.iter().any(|mark| mark.contains("documented_commands.rs")) {
            continue;
        }
        for line in lines(&block) {
            typed += 1;
            let line = local(line).replace("https://audit.example.com", &here);
            if let Some((command, _)) = line.split_once(" & ").or_else(|| line.split_once(" &\n")) {
                let shell = desk.shell(&format!("exec {}", command.trim()));
                let mut process =
                    Process::start("edgetrail", shell, &desk.file("serve.log")).expect("it starts");
                let ready = |process: &Process| process.output().contains("listening on").then_some(());
                process.wait_for(Duration::from_secs(120), ready).await.expect("it listens");
                serving = Some(process);
            } else {
                desk.must(&line).await;
            }
        }
    }
    assert!(typed >= 6 && serving.is_some(), "{typed} commands were typed");

    // What step 4 promises: the event is there, and somebody who is an admin now may read it.
    let key = desk
        .must("edgetrail keys create --config edgetrail.toml --tenant acme --name me --role viewer")
        .await;
    let key = key.split_whitespace().find(|word| word.starts_with("etk_")).expect("a key").to_owned();
    let api = Api::new(format!("127.0.0.1:{port}").parse().expect("an address"), &key);
    let events = api.wait_for_events(1, Duration::from_secs(30)).await.expect("it is stored");
    assert!(events.iter().any(|event| event["action"] == "AGENT_CREATED"), "{events:?}");
}

/// The Worker of `wrangler.toml` in workerd: its hosts are this machine's, its origins an application of ours, its key the one that the
/// guide had made.
async fn deployed(desk: &Desk, port: u16, ingest: &str, upstream: &str) -> Worker {
    let settings: toml::Table = read("wrangler.toml").parse().expect("settings");
    let config = settings["vars"]["EDGETRAIL_CONFIG"].as_str().expect("a configuration");
    let config = config
        .replace("https://audit.example.com", ingest)
        .replace("https://your-app.vercel.app", upstream)
        .replace(
            "\"upstream\": \"https://your-project-ref.supabase.co\"",
            &format!("\"upstream\": \"{upstream}\""),
        )
        .replace("app.example.com", &format!("app.localhost:{port}"))
        .replace("your-project-ref.example.com", &format!("ref.localhost:{port}"))
        .replace("\"platform\": \"cloudflare\"", "\"platform\": \"workerd\"");
    desk.write("wrangler.toml", &format!("[vars]\nEDGETRAIL_CONFIG = '''{config}'''\n"));
    let key = fs::read_to_string(desk.file("signing.key")).expect("the guide had it made");
    let vars = vec![
        ("EDGETRAIL_CONFIG".to_owned(), config),
        ("EDGETRAIL_SIGNING_KEY".to_owned(), signing_key(&key)),
        ("EDGETRAIL_HASH_KEY".to_owned(), "0f".repeat(32)),
    ];
    let queue = QueueOptions { max_batch_timeout: 1, ..QueueOptions::default() };
    let folder: &Path = &desk.file("worker");
    Worker::start_bundle(folder, &edge_bundle().expect("a built worker"), port, vars, queue)
        .await
        .expect("a worker")
}

/// The secret as `wrangler secret put < signing.key` takes it: the whole file.
fn signing_key(file: &str) -> String {
    file.trim().to_owned()
}
