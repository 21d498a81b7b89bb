//! `edgetrail verify` and `edgetrail bundle`: does a log say what it said, for anybody, with or without a network.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::json;
use shared::bundle::{Kind, LogId, LogItem, MAX_CHECKPOINT_LEN, MAX_PROOF_LEN, Manifest, OpeningLine};
use shared::leaf::Glance;
use shared::note::VerifierKey;
use shared::verify::{Check, Finding, KnownHead, Report, Source, Trust, Verdict, verify};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::connection::Access;
use super::{CommandError, print};
use crate::clock::Clock;
use crate::evidence::{Evidence, EvidenceError, Remote, Stored, Writer, copy};
use crate::storage;

/// The largest proof of one event that is read: its opening and its proof, in JSON.
const MAX_PROVEN_LEN: usize = (256 << 10) + MAX_PROOF_LEN;
/// Findings that are printed; all of them stand in the JSON.
const PRINTED: usize = 20;

#[derive(Debug, Args)]
pub(super) struct VerifyArguments {
    /// The URL of a backend, a bundle (a folder or a tar), a tenant's archive (a folder or s3://bucket/prefix/tenant), or the
    /// proof of one event.
    target: String,
    /// A signed checkpoint that was kept: the log must continue it. Repeat for more.
    #[arg(long = "checkpoint", value_name = "FILE")]
    checkpoints: Vec<PathBuf>,
    /// A key that is trusted, name+id+base64, or a file with one on each line. Repeat for more.
    #[arg(long = "key", value_name = "KEY|FILE")]
    keys: Vec<String>,
    /// Only this log, of a backend. Repeat for more.
    #[arg(long = "log", value_name = "ID")]
    logs: Vec<LogId>,
    /// Print the whole report as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    access: Access,
}

#[derive(Debug, Args)]
pub(super) struct BundleArguments {
    /// The URL of a backend.
    url: String,
    /// Where to write: a tar if the name ends in .tar, else a new folder.
    #[arg(long, value_name = "DIR|FILE.tar")]
    out: PathBuf,
    /// Only this log. Repeat for more.
    #[arg(long = "log", value_name = "ID")]
    logs: Vec<LogId>,
    #[command(flatten)]
    access: Access,
}

pub(super) async fn run(arguments: VerifyArguments) -> Result<(), CommandError> {
    blocking(move |runtime| {
        let trust = trust(&arguments)?;
        let no_anchor = trust.keys.is_empty() && trust.heads.is_empty();
        let mut source = open(&arguments, runtime)?;
        let manifest = source.manifest()?;
        let bar = arguments.access.bar("entries");
        let mut report = verify(&mut source, &manifest, trust, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        bar.finish_and_clear();
        if no_anchor && !manifest.logs.is_empty() {
            report.notes.push(
                "nothing outside vouches for the logs' keys: keep a checkpoint or a key, and give it next time".to_owned(),
            );
        }
        tell(&arguments, &report)
    })
    .await
}

pub(super) async fn bundle(arguments: BundleArguments) -> Result<(), CommandError> {
    blocking(move |runtime| {
        let key = arguments.access.key()?;
        let now = Clock::system().now();
        let remote = Remote::open(runtime, &arguments.url, key, &arguments.logs, now)?;
        let mut writer = Writer::create(&arguments.out)?;
        let bar = arguments.access.bar("files");
        let missing = copy(&mut Evidence::Remote(Box::new(remote)), &mut writer, &mut |done, total| {
            bar.set_length(total);
            bar.set_position(done);
        })?;
        writer.finish()?;
        bar.finish_and_clear();
        match missing.first() {
            None => print(&format!("{}: complete", arguments.out.display())),
            Some(first) => {
                let more = if missing.len() > 1 {
                    format!(" and {} more", missing.len() - 1)
                } else {
                    String::new()
                };
                Err(CommandError::Incomplete(format!("the backend did not give {first}{more}")))
            }
        }
    })
    .await
}

async fn blocking(
    work: impl FnOnce(Handle) -> Result<(), CommandError> + Send + 'static,
) -> Result<(), CommandError> {
    let runtime = Handle::current();
    let done = tokio::task::spawn_blocking(move || work(runtime)).await;
    done.unwrap_or_else(|error| std::panic::resume_unwind(error.into_panic()))
}

fn trust(arguments: &VerifyArguments) -> Result<Trust, CommandError> {
    let mut trust = Trust::default();
    for path in &arguments.checkpoints {
        let bytes = read_capped(path, MAX_CHECKPOINT_LEN)?;
        let name = path.display().to_string();
        let head = KnownHead::read(&name, &bytes);
        trust
            .heads
            .push(head.map_err(|reason| CommandError::Usage(format!("--checkpoint {name}: {reason}")))?);
    }
    for key in &arguments.keys {
        let text = if key.contains('+') { key.clone() } else { read_text(Path::new(key))? };
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            let parsed: Result<VerifierKey, _> = line.parse();
            trust.keys.push(parsed.map_err(|error| CommandError::Usage(format!("--key: {error}")))?);
        }
    }
    Ok(trust)
}

/// What is verified.
enum Target {
    Bundle(Evidence),
    Proof(Proven),
}

fn open(arguments: &VerifyArguments, runtime: Handle) -> Result<Target, CommandError> {
    let target = &arguments.target;
    if target.starts_with("http://") || target.starts_with("https://") {
        let key = arguments.access.key()?;
        let remote = Remote::open(runtime, target, key, &arguments.logs, Clock::system().now())?;
        return Ok(Target::Bundle(Evidence::Remote(Box::new(remote))));
    }
    if !arguments.logs.is_empty() {
        return Err(CommandError::Usage(
            "--log is for a backend; a bundle is verified as a whole".to_owned(),
        ));
    }
    if target.starts_with("s3://") {
        let opened = storage::from_environment(target).map_err(EvidenceError::from)?;
        return Ok(Target::Bundle(Evidence::Stored(Box::new(Stored::open(runtime, &opened)?))));
    }
    let path = Path::new(target);
    if path.is_file() && read_capped(path, 0)?.first() == Some(&b'{') {
        return Ok(Target::Proof(Proven::read(path)?));
    }
    Ok(Target::Bundle(Evidence::at(runtime, path)?))
}

impl Target {
    fn manifest(&mut self) -> Result<Manifest, CommandError> {
        match self {
            Self::Bundle(evidence) => Ok(evidence.manifest()?),
            Self::Proof(proven) => Ok(proven.manifest.clone()),
        }
    }
}

impl Source for Target {
    type Error = EvidenceError;

    fn file(&mut self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EvidenceError> {
        match self {
            Self::Bundle(evidence) => evidence.file(path, limit),
            Self::Proof(_) => Ok(None),
        }
    }

    fn absences(&mut self) -> Result<Vec<Uuid>, EvidenceError> {
        match self {
            Self::Bundle(evidence) => evidence.absences(),
            Self::Proof(_) => Ok(Vec::new()),
        }
    }

    fn has_openings(&mut self) -> Result<bool, EvidenceError> {
        match self {
            Self::Bundle(evidence) => evidence.has_openings(),
            Self::Proof(_) => Ok(true),
        }
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        match self {
            Self::Bundle(evidence) => evidence.next_opening(),
            Self::Proof(proven) => Ok(proven.line.take()),
        }
    }
}

/// The answer of `GET /v1/events/{id}/proof` in a file.
struct Proven {
    manifest: Manifest,
    line: Option<Vec<u8>>,
}

#[derive(Deserialize)]
struct Named {
    origin: String,
    verifier_keys: Vec<String>,
}

impl Proven {
    fn read(path: &Path) -> Result<Self, CommandError> {
        let bytes = read_capped(path, MAX_PROVEN_LEN)?;
        let wrong = |reason: String| {
            let path = path.to_owned();
            CommandError::Evidence(EvidenceError::Tar {
                path,
                reason: format!("not a proof of an event: {reason}"),
            })
        };
        let named: Named = serde_json::from_slice(&bytes).map_err(|error| wrong(error.to_string()))?;
        let line = OpeningLine::parse(&bytes).map_err(|error| wrong(error.to_string()))?;
        let parsed: Result<Vec<VerifierKey>, _> = named.verifier_keys.iter().map(|key| key.parse()).collect();
        let mut keys = parsed.map_err(|error| wrong(error.to_string()))?.into_iter();
        let (key, (log_id, _)) =
            keys.next().zip(line.place).ok_or_else(|| wrong("it names no log or no key".to_owned()))?;
        let tenant = line
            .opening
            .as_deref()
            .and_then(|opening| Glance::at(opening).ok()?.structural(1).map(<[u8]>::to_vec))
            .and_then(|tenant| String::from_utf8(tenant).ok()?.parse().ok());
        let manifest = Manifest {
            kind: Kind::Selection,
            tenant: tenant.ok_or_else(|| wrong("its opening is no event's".to_owned()))?,
            made_at: String::new(),
            logs: vec![LogItem {
                log_id,
                origin: named.origin,
                key,
                others: keys.collect(),
                size: 0,
                previous: None,
            }],
        };
        Ok(Self { manifest, line: Some(line.to_json().trim_end().as_bytes().to_vec()) })
    }
}

fn tell(arguments: &VerifyArguments, report: &Report) -> Result<(), CommandError> {
    if arguments.json {
        let value = json!({
            "verdict": verdict(report),
            "first": report.first(),
            "report": report,
        });
        print(&format!("{value:#}"))?;
    } else {
        print(words(report).trim_end())?;
    }
    let first = || {
        let first =
            report.first().map_or_else(|| "more is wrong than was told".to_owned(), Finding::to_string);
        let more = report.wrong().saturating_sub(1);
        if more > 0 { format!("{first} (and {more} more)") } else { first }
    };
    match report.verdict() {
        Verdict::Nothing | Verdict::Valid => Ok(()),
        Verdict::Restored => Err(CommandError::Lost(first())),
        Verdict::Invalid => Err(CommandError::Wrong(first())),
    }
}

fn verdict(report: &Report) -> &'static str {
    match report.verdict() {
        Verdict::Nothing => "nothing to verify",
        Verdict::Valid => "valid",
        Verdict::Restored => "valid but for a restore",
        Verdict::Invalid => "INVALID",
    }
}

fn words(report: &Report) -> String {
    let mut out = String::new();
    let check = |check: Check| match check {
        Check::Passed => "ok",
        Check::Failed => "FAILED",
        Check::Skipped => "skipped",
    };
    for log in &report.logs {
        let _ = writeln!(out, "log {}: {} entries", log.log, log.size);
        for (name, result) in log.checks() {
            let _ = writeln!(out, "  {name:12} {}", check(result));
        }
    }
    let _ = writeln!(out, "absences       {}", check(report.absences));
    let counts = &report.counts;
    let rows = [
        ("whole", counts.whole),
        ("erased in part", counts.erased_in_part),
        ("erased", counts.erased),
        ("without context (its time was over)", counts.context_dropped),
        ("dropped (their time was over)", counts.dropped),
        ("of these in an archive", counts.archived),
        ("not in this archive (the database holds them)", counts.in_database),
        ("set aside on arrival", counts.set_aside),
        ("not yet sequenced", counts.not_yet_sequenced),
        ("missing without a record", counts.unexplained),
        ("LOST with a restored backup", counts.lost),
    ];
    for (name, count) in rows.into_iter().filter(|(name, count)| *count > 0 || *name == "whole") {
        let _ = writeln!(out, "events {name}: {count}");
    }
    for note in &report.notes {
        let _ = writeln!(out, "note: {note}");
    }
    for finding in report.findings.iter().take(PRINTED) {
        let how = if finding.kind == shared::verify::Kind::Restored { "LOSS" } else { "INVALID" };
        let _ = writeln!(out, "{how}: {finding}");
    }
    let rest = report.wrong().saturating_sub(PRINTED as u64);
    if rest > 0 {
        let _ = writeln!(out, "{rest} more, see --json");
    }
    let valid = report.logs.iter().filter(|log| log.is_valid()).count();
    let all = report.logs.len();
    if report.is_empty() {
        let _ = writeln!(out, "warning: nothing to verify, there is no entry");
    } else {
        let invalid = if valid < all { format!(", {}/{all} INVALID", all - valid) } else { String::new() };
        let lost = if counts.lost > 0 { format!(", {} LOST", counts.lost) } else { String::new() };
        let _ = writeln!(
            out,
            "{}: {valid}/{all} logs valid{invalid}, {} entries{lost}",
            verdict(report),
            counts.entries
        );
    }
    out
}

fn read_text(path: &Path) -> Result<String, CommandError> {
    let bytes = read_capped(path, MAX_CHECKPOINT_LEN)?;
    String::from_utf8(bytes).map_err(|_| CommandError::Usage(format!("{}: not text", path.display())))
}

fn read_capped(path: &Path, limit: usize) -> Result<Vec<u8>, CommandError> {
    let failed = |source| CommandError::Evidence(EvidenceError::Io { path: path.to_owned(), source });
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}
