//! `cargo xtask dev`: the whole of Edgetrail on one machine, with a demo application in front of it to watch.
//!
//! Backend with its PostgreSQL, the Worker in workerd, the demo and its Supabase; then the demo's traffic once, and
//! the events it gave. Ports, keys and data are those of the last run, in `.edgetrail/`; a port that is taken is
//! replaced by a free one. Ctrl-C stops everything that was started.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use clap::Parser;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tests::demo::{Demo, Story, TrafficError, play};
use tests::keys::{Keys, random};
use tests::stack::{
    Api, ApiError, DeliveryMode, EdgeConfig, Ingest, IngestSpec, QueueOptions, SigningKey, StackError,
    Worker, free_port, workspace_root,
};
use tokio::signal::unix::{SignalKind, signal};

const WORKER_PORT: u16 = 8787;
const INGEST_PORT: u16 = 9200;
const APP_PORT: u16 = 9100;
const SUPABASE_PORT: u16 = 9101;

/// The queue delivers a batch that is not full after a second here; the rest is for a loaded machine.
const EVENTS_WITHIN: Duration = Duration::from_secs(60);

#[derive(Debug, Parser)]
#[command(about = "Starts backend, Worker and demo application, and plays the demo's traffic")]
struct Arguments {
    /// Stop after the first events instead of waiting for Ctrl-C; fails if there are none.
    #[arg(long)]
    once: bool,
    /// Where ports, keys, data and logs are kept; `.edgetrail` in the workspace if not given.
    #[arg(long)]
    dir: Option<PathBuf>,
}

#[derive(Debug, thiserror::Error)]
enum DevError {
    #[error(transparent)]
    Stack(#[from] StackError),
    #[error(transparent)]
    Traffic(#[from] TrafficError),
    #[error(transparent)]
    Api(#[from] ApiError),
    #[error("{0}: {1}")]
    File(String, std::io::Error),
    #[error("dev-keys.json: {0}")]
    Keys(#[from] serde_json::Error),
    #[error("the signing key's seed in dev-keys.json is not 32 bytes in hex")]
    Seed,
    #[error("no event came within {} s", EVENTS_WITHIN.as_secs())]
    NoEvents,
}

/// The secrets of this checkout's development stack.
#[derive(Serialize, Deserialize)]
struct Secrets {
    issuer_seed: String,
    signing_seed: String,
    api_key: String,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // Dropping the future drops the processes in it, which stops them.
    tokio::select! {
        result = run(arguments) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("dev: {error}");
                ExitCode::FAILURE
            }
        },
        () = asked_to_stop() => {
            println!("\ndev: stopped");
            ExitCode::SUCCESS
        }
    }
}

async fn asked_to_stop() {
    let Ok(mut term) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        _ = term.recv() => {}
    }
}

async fn run(arguments: Arguments) -> Result<(), DevError> {
    let dir = arguments.dir.unwrap_or_else(|| workspace_root().join(".edgetrail"));
    fs::create_dir_all(&dir).map_err(|error| DevError::File(dir.display().to_string(), error))?;
    // PostgreSQL runs as another user when this runs as root, and has to pass through; what is secret is a file for
    // its owner only.
    fs::set_permissions(&dir, fs::Permissions::from_mode(0o711))
        .map_err(|error| DevError::File(dir.display().to_string(), error))?;
    let secrets = secrets(&dir.join("dev-keys.json"))?;
    let issuer = Keys::from_seed(&secrets.issuer_seed);
    let seed: [u8; 32] = hex::decode(&secrets.signing_seed)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(DevError::Seed)?;
    let key = SigningKey::from_seed(seed);

    say("backend", "starting; the first start makes a PostgreSQL cluster");
    let spec = IngestSpec {
        port: port("backend", INGEST_PORT)?,
        key: key.clone(),
        api_key: secrets.api_key,
        more: String::new(),
    };
    let api_key = spec.api_key.clone();
    let ingest = Ingest::start(&dir.join("ingest"), spec).await?;
    say("backend", &format!("http://{}", ingest.address()));

    let demo = Demo::start(issuer.clone(), Some(port("demo", APP_PORT)?), Some(port("demo", SUPABASE_PORT)?))
        .await
        .map_err(|error| DevError::File("starting the demo".to_owned(), error))?;
    say("demo", &format!("http://{} and its Supabase http://{}", demo.app(), demo.supabase()));

    let worker_port = port("worker", WORKER_PORT)?;
    let config =
        EdgeConfig::for_demo(worker_port, demo.app(), demo.supabase(), ingest.address(), DeliveryMode::Queue);
    let queue = QueueOptions { max_batch_timeout: 1, replay_dead_letters: true, ..QueueOptions::default() };
    let worker =
        Worker::start(&dir.join("worker"), worker_port, &config, &key, issuer.hs256_secret(), queue).await?;
    say("worker", &format!("http://{} for both hosts", worker.address()));

    let api = ingest.api();
    let before = ids(&api.events(100).await?);
    let (app, supabase) = (config.app_host(), config.supabase_host());
    let story = play(worker.address(), &app, &supabase, &issuer.api_key("anon")).await?;
    say("traffic", &format!("{} requests, {} of them mutations", story.requests, story.mutations));
    let events = new_events(&api, &before, story).await?;

    println!("\n{}\n", tests::table::events(&events));
    println!("Application through the Worker   http://{app}/");
    println!("Supabase through the Worker      http://{supabase}/auth/v1/.well-known/jwks.json");
    println!(
        "Events   curl -H 'Authorization: Bearer {api_key}' 'http://{}/v1/events?limit=20'",
        ingest.address()
    );
    println!("Logs     {}/{{ingest/edgetrail.log,worker/workerd.log}}", dir.display());
    if !arguments.once {
        println!("\nRunning. Ctrl-C stops everything.");
        std::future::pending::<()>().await;
    }
    drop(worker);
    drop(demo);
    drop(ingest);
    Ok(())
}

/// The events of this run, oldest first: as many as there were mutations, or what came in time.
async fn new_events(api: &Api, before: &BTreeSet<String>, story: Story) -> Result<Vec<Value>, DevError> {
    let start = Instant::now();
    loop {
        let mut events = api.events(100).await?;
        events.retain(|event| event["id"].as_str().is_none_or(|id| !before.contains(id)));
        if events.len() >= story.mutations || start.elapsed() > EVENTS_WITHIN {
            if events.is_empty() {
                return Err(DevError::NoEvents);
            }
            if events.len() < story.mutations {
                say("events", &format!("only {} came for {} mutations", events.len(), story.mutations));
            }
            events.reverse();
            return Ok(events);
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

fn ids(events: &[Value]) -> BTreeSet<String> {
    events.iter().filter_map(|event| event["id"].as_str()).map(str::to_owned).collect()
}

fn port(what: &str, wished: u16) -> Result<u16, StackError> {
    let port = free_port(Some(wished))?;
    if port != wished {
        say(what, &format!("port {wished} is taken, so it is {port}"));
    }
    Ok(port)
}

fn say(what: &str, text: &str) {
    println!("{what:>8}  {text}");
}

/// The kept secrets, or new ones, in a file for its owner only.
fn secrets(path: &Path) -> Result<Secrets, DevError> {
    let failed = |error| DevError::File(path.display().to_string(), error);
    match fs::read(path) {
        Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let secrets = Secrets {
                issuer_seed: hex::encode(random::<16>()),
                signing_seed: hex::encode(random::<32>()),
                api_key: format!("etk_dev_{}", hex::encode(random::<20>())),
            };
            let file =
                fs::File::options().create_new(true).write(true).mode(0o600).open(path).map_err(failed)?;
            serde_json::to_writer_pretty(file, &secrets)?;
            Ok(secrets)
        }
        Err(error) => Err(failed(error)),
    }
}
