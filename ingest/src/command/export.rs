//! `edgetrail export`: everything that a query finds, into a file that is held against its manifest.
//!
//! The file has its name only once it is whole: what was cut off leaves nothing that looks like an export.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use clap::Args;
use flate2::write::GzDecoder;
use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::connection::{Backend, Connection, chunk};
use super::shown::understood;
use super::{CommandError, print};
use crate::export::Format;

#[derive(Debug, Args)]
pub(super) struct ExportArguments {
    /// What to look for, in the search grammar.
    #[arg(default_value = "")]
    query: String,
    /// The file; its manifest is written beside it, as FILE.manifest.json.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// ndjson, csv, parquet or ocsf.
    #[arg(long, default_value_t = Format::Ndjson)]
    format: Format,
    /// Compress the file.
    #[arg(long)]
    gzip: bool,
    /// With each event the bytes and the proof that it is in the log; of ndjson, with an admin's key.
    #[arg(long)]
    proofs: bool,
    /// Print the manifest as JSON.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    connection: Connection,
}

pub(super) async fn run(arguments: ExportArguments) -> Result<(), CommandError> {
    understood(&arguments.query)?;
    let backend = Backend::open(&arguments.connection)?;
    let part = beside(&arguments.out, ".part");
    let made = fetch(&backend, &arguments, &part).await;
    let manifest = match made {
        Ok(manifest) => manifest,
        Err(error) => {
            // What is left of it helps nobody.
            let _ = fs::remove_file(&part);
            return Err(error);
        }
    };
    fs::write(beside(&arguments.out, ".manifest.json"), format!("{manifest:#}\n"))?;
    fs::rename(&part, &arguments.out)?;
    if arguments.json {
        return print(&manifest.to_string());
    }
    print(&format!("{}: {} events", arguments.out.display(), manifest["rows"]))
}

/// Writes what comes, and gives the manifest that it agrees with.
async fn fetch(backend: &Backend, arguments: &ExportArguments, part: &Path) -> Result<Value, CommandError> {
    let flag = |flag: bool| if flag { "1" } else { "0" };
    let parameters = [
        ("q", arguments.query.as_str()),
        ("format", arguments.format.word()),
        ("gzip", flag(arguments.gzip)),
        ("proofs", flag(arguments.proofs)),
    ];
    let mut answer = backend.get(&["v1", "events", "export"], &parameters).await?;
    let id = answer.headers().get("x-edgetrail-export").and_then(|id| id.to_str().ok());
    let id = id.ok_or_else(|| CommandError::Backend("it does not say which export it is".to_owned()))?;
    let id = id.to_owned();
    let mut file = File::create(part)?;
    let mut hash = Hashing::new(arguments.gzip);
    let bar = arguments.connection.access.bytes();
    while let Some(piece) = chunk(&mut answer).await? {
        file.write_all(&piece)?;
        hash.take(&piece)?;
        bar.inc(piece.len() as u64);
    }
    bar.finish_and_clear();
    file.sync_all()?;
    let manifest = backend.json(&["v1", "exports", &id, "manifest"], &[]).await?;
    if manifest["complete"] != true {
        return Err(CommandError::Incomplete("the export was cut off".to_owned()));
    }
    if manifest["sha256"] != hex::encode(hash.finish()?) {
        return Err(CommandError::Incomplete("what came is not what the manifest says".to_owned()));
    }
    Ok(manifest)
}

/// The SHA-256 of what is written to it.
struct Hashed(Sha256);

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// The SHA-256 of what is under a compression.
enum Hashing {
    Plain(Hashed),
    Packed(Box<GzDecoder<Hashed>>),
}

impl Hashing {
    fn new(gzip: bool) -> Self {
        let hashed = Hashed(Sha256::new());
        if gzip { Self::Packed(Box::new(GzDecoder::new(hashed))) } else { Self::Plain(hashed) }
    }

    fn take(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Plain(hashed) => hashed.write_all(bytes),
            Self::Packed(packed) => packed.write_all(bytes),
        }
    }

    fn finish(self) -> io::Result<[u8; 32]> {
        let hashed = match self {
            Self::Plain(hashed) => hashed,
            Self::Packed(packed) => packed.finish()?,
        };
        Ok(hashed.0.finalize().into())
    }
}

fn beside(path: &Path, more: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(more);
    PathBuf::from(name)
}
