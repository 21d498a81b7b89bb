//! Policies signed where the key is, away from any server.

use std::path::{Path, PathBuf};

use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use shared::event::TenantId;
use shared::note::{KeyName, SignerKey, VerifierKey};
use shared::policy::Pack;
use shared::policy::served::{self, Bounds, Document, MAX_VERSION, Served};

use clap::{Args, Subcommand};

use super::super::{CommandError, key_name, print};
use crate::clock::random;
use crate::ledger::key::LogKey;

#[derive(Debug, Args)]
pub(in crate::command) struct SignArguments {
    /// The file of the private key.
    #[arg(long)]
    key_file: PathBuf,
    /// Whose policy it is.
    #[arg(long)]
    tenant: TenantId,
    /// Its version, above every one there was.
    #[arg(long)]
    version: u64,
    /// Lets rules refuse requests while the audit trail is away.
    #[arg(long)]
    allow_closed: bool,
    /// The packs' files.
    #[arg(required = true)]
    packs: Vec<PathBuf>,
}

#[derive(Debug, Subcommand)]
pub(in crate::command) enum PolicyKeyCommand {
    /// Makes a key pair: prints the private key, once, and on stderr what the configuration needs.
    New {
        /// The key's name, such as acme/policy.
        #[arg(long, value_parser = key_name)]
        name: KeyName,
    },
}

/// Prints packs as a signed policy.
pub(super) fn print_signed(arguments: SignArguments) -> Result<(), CommandError> {
    let SignArguments { key_file, tenant, version, allow_closed, packs } = arguments;
    let bounds = Bounds { compiled_in: None, allow_closed };
    let note = sign(&key_file, tenant, version, &packs, bounds)?;
    print(note.trim_end_matches('\n'))
}

/// Runs a command on keys.
pub(super) fn keys(command: PolicyKeyCommand) -> Result<(), CommandError> {
    match command {
        PolicyKeyCommand::New { name } => new_key(name),
    }
}

/// The private half goes to stdout, for a file; the public one to stderr, for the configuration.
fn new_key(name: KeyName) -> Result<(), CommandError> {
    let pair = SigningKey::from_bytes(&random());
    let public = VerifierKey { name, public: pair.verifying_key().to_bytes() };
    let private = SignerKey { name: public.name.clone(), id: public.id(), seed: pair.to_bytes() };
    print(&private.reveal())?;
    eprintln!("edgetrail: verifier {public}");
    Ok(())
}

fn sign(
    key_file: &Path,
    tenant: TenantId,
    version: u64,
    packs: &[PathBuf],
    bounds: Bounds<'_>,
) -> Result<String, CommandError> {
    if !(1..=MAX_VERSION).contains(&version) {
        return Err(CommandError::Usage(format!("--version is not 1 to {MAX_VERSION}")));
    }
    let in_file = |path: &Path, reason: &dyn std::fmt::Display| {
        CommandError::Usage(format!("{}: {reason}", path.display()))
    };
    let read = |path: &Path| std::fs::read_to_string(path).map_err(|error| in_file(path, &error));
    let key: SignerKey = read(key_file)?.parse().map_err(|error| in_file(key_file, &error))?;
    let mut documents = Vec::with_capacity(packs.len());
    for path in packs {
        let text = read(path)?;
        // Each by itself first, so that an error names the file and its own line.
        Pack::parse(&text).map_err(|error| in_file(path, &error))?;
        documents.push(serde_json::from_str::<Value>(&text).map_err(|error| in_file(path, &error))?);
    }
    let refused = |error: served::ServedError| CommandError::Usage(error.to_string());
    let document = Document::parse(&json!({"packs": documents}).to_string()).map_err(refused)?;
    served::check(&document, bounds).map_err(refused)?;
    let text = Served { tenant, version, document }.to_string();
    Ok(LogKey::from_seed(&key.seed).sign_note(&text, &key.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_signed_verifies_and_what_is_refused_names_its_file() {
        let dir = tempfile::tempdir().expect("a directory");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, text).expect("written");
            path
        };
        let name = KeyName::try_from("acme/policy".to_owned()).expect("a name");
        let pair = SigningKey::from_bytes(&[7; 32]);
        let public = VerifierKey { name: name.clone(), public: pair.verifying_key().to_bytes() };
        let key = SignerKey { name, id: public.id(), seed: [7; 32] };
        let key = write("key", &key.reveal());
        let rule = json!({"id": "x", "match": {"method": "POST", "path": "/x"}, "level": "full", "action": "X",
            "severity": "info", "entity": {"type": "x"}});
        let pack = json!({"name": "app", "version": 1, "rules": [rule]}).to_string();
        let pack = write("app.json", &pack);
        let tenant: TenantId = "acme".parse().expect("a slug");
        let note = sign(&key, tenant.clone(), 3, &[pack], Bounds::default()).expect("signed");
        let read = shared::note::Note::parse(note.as_bytes()).expect("a note");
        assert_eq!(read.text().parse::<Served>().expect("a policy").version, 3);
        let signature = &read.signatures()[0];
        assert_eq!((signature.key_id, signature.bytes.len()), (public.id(), 64));

        let broken = write("broken.json", "{\"name\":\"app\",\n\"versoin\":1}");
        let error =
            sign(&key, tenant.clone(), 3, &[broken], Bounds::default()).expect_err("refused").to_string();
        assert!(error.contains("broken.json: line 2, column"), "{error}");
        assert!(sign(&key, tenant, 0, &[], Bounds::default()).is_err());
    }
}
