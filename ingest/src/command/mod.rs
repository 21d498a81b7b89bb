//! What an operator types.

mod completions;
mod connection;
mod coverage;
mod detection;
mod doctor;
mod export;
mod keys;
mod log;
mod policy;
mod retention;
mod search;
mod shown;
mod sinks;
mod tail;
mod text_index;
mod timeline;
mod verify;

use std::io::Write as _;
use std::path::PathBuf;

use chrono::{DateTime, Utc};
use clap::{Args, Parser, Subcommand};
use shared::event::TenantId;
use shared::note::{KeyError, KeyName, VerifierKey};
use tokio::signal::unix::{SignalKind, signal};

use crate::auth::Role;
use crate::clock::Clock;
use crate::config::{Config, ConfigError, Environment};
use crate::evidence::EvidenceError;
use crate::postgres::Neighbour;
use crate::serve::{Backend, Database, ServeError};
use crate::store::distribution::DistributionError;
use crate::store::text_index::TextIndexError;
use crate::store::{StoreError, distribution, partitions};
use crate::telemetry;

/// The audit trail's backend.
#[derive(Debug, Parser)]
#[command(name = "edgetrail", version)]
pub struct Cli {
    /// The configuration file.
    #[arg(long, global = true, env = "EDGETRAIL_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Receives, stores, sequences and answers until it is told to stop.
    Serve,
    /// Brings the database's schema up to date.
    Migrate(MigrateArguments),
    /// Reads and checks the configuration.
    CheckConfig,
    /// Checks a deployment from end to end and says what to do; status 1 if something does not work. Changes nothing.
    Doctor(doctor::DoctorArguments),
    /// Keys that read.
    #[command(subcommand, name = "keys", alias = "api-key")]
    ApiKey(ApiKeyCommand),
    /// Which people may do what.
    #[command(subcommand)]
    Admin(AdminCommand),
    /// Keys of producers.
    #[command(subcommand)]
    Signer(SignerCommand),
    /// The Merkle logs and their key.
    #[command(subcommand)]
    Log(log::LogCommand),
    /// What goes when its time is over.
    #[command(subcommand)]
    Retention(retention::RetentionCommand),
    /// The index of words that searches of closed months can have.
    #[command(subcommand)]
    TextIndex(text_index::TextIndexCommand),
    /// Proves that a log is whole and unchanged: of a backend, or of a bundle, without a network.
    ///
    /// Status 0: everything holds. 1: it could not be read. 2: wrong usage. 3: something is wrong, and what. 4: what is there
    /// holds, and a restored backup lost entries, as is on record.
    Verify(verify::VerifyArguments),
    /// Writes the logs of a backend down as a bundle, to be verified elsewhere.
    Bundle(verify::BundleArguments),
    /// Prints what a query finds, newest first.
    Search(search::SearchArguments),
    /// Prints events as they are filed, until it is stopped.
    Tail(tail::TailArguments),
    /// Writes everything that a query finds into a file, and its manifest beside it.
    Export(export::ExportArguments),
    /// Prints what happened to one entity, and what is known of it.
    Timeline(timeline::TimelineArguments),
    /// Prints how much of the traffic rules cover.
    Coverage(coverage::CoverageArguments),
    /// Where events are forwarded to, and how each sink does.
    #[command(subcommand)]
    Sinks(sinks::SinksCommand),
    /// Prints the API as a document of OpenAPI 3.1.
    #[command(name = "openapi")]
    OpenApi,
    /// Prints what a shell needs to complete these commands.
    Completions(completions::CompletionsArguments),
    /// What rules of detection found, the rules, and what a rule would have found.
    #[command(subcommand)]
    Detection(detection::DetectionCommand),
    /// Packs of rules: tried on traffic that was recorded, and proposed, agreed on and brought back over the API.
    #[command(subcommand)]
    Policy(policy::PolicyCommand),
}

#[derive(Debug, Args)]
struct MigrateArguments {
    /// Spreads the tables over the Citus cluster that the database is the coordinator of. No backend may run meanwhile.
    #[arg(long)]
    citus: bool,
}

#[derive(Debug, Subcommand)]
enum ApiKeyCommand {
    /// Makes a key and prints it, once.
    #[command(alias = "new")]
    Create {
        /// Whose events it reads.
        #[arg(long)]
        tenant: TenantId,
        /// What it is for.
        #[arg(long)]
        name: String,
        /// What it may do.
        #[arg(long)]
        role: Role,
        /// When it ends, such as 2026-01-31T12:00:00Z; an auditor's key must end.
        #[arg(long)]
        expires: Option<DateTime<Utc>>,
        /// Who answers for it, by address or subject; without one it takes no part in what takes two people.
        #[arg(long)]
        person: Option<String>,
        /// Prints it with what it is, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Keys, newest first; their texts are nowhere.
    List {
        /// Of this tenant only.
        #[arg(long)]
        tenant: Option<TenantId>,
        /// Prints JSON, a key on each line.
        #[arg(long)]
        json: bool,
    },
    /// Makes a key in place of another, which is revoked: the same tenant, name, role and end.
    Rotate {
        /// The part of the old key between the underscores.
        id: String,
        /// Another end.
        #[arg(long)]
        expires: Option<DateTime<Utc>>,
        /// Prints it with what it is, as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Revokes a key; sessions that stand on it end at once.
    Revoke {
        /// The part of the key between the underscores.
        id: String,
        /// Prints JSON.
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Subcommand)]
enum AdminCommand {
    /// Gives a person a role, in place of the one they had: how the first admin comes to be.
    Grant {
        /// Where.
        #[arg(long)]
        tenant: TenantId,
        /// Their e-mail address, or the subject of their tokens.
        #[arg(long)]
        email: String,
        /// What they may do.
        #[arg(long)]
        role: Role,
        /// When it ends, such as 2026-01-31T12:00:00Z; an auditor's access must end.
        #[arg(long)]
        expires: Option<DateTime<Utc>>,
    },
}

#[derive(Debug, Subcommand)]
enum SignerCommand {
    /// Makes a key pair, registers the public key and prints the private one, once.
    New {
        /// The key's name, such as edge/dev.
        #[arg(long, value_parser = key_name)]
        name: KeyName,
        /// A tenant it may sign for; repeat for more.
        #[arg(long = "tenant", required = true)]
        tenants: Vec<TenantId>,
    },
    /// Registers a public key.
    Add {
        /// name+id+base64.
        #[arg(long)]
        key: VerifierKey,
        /// A tenant it may sign for; repeat for more.
        #[arg(long = "tenant", required = true)]
        tenants: Vec<TenantId>,
    },
    /// Revokes a key.
    Revoke {
        /// Its name.
        #[arg(value_parser = key_name)]
        name: KeyName,
        /// Its id, eight hex digits.
        id: String,
    },
}

fn key_name(text: &str) -> Result<KeyName, KeyError> {
    KeyName::try_from(text.to_owned())
}

/// Why a command failed.
#[derive(Debug, thiserror::Error)]
pub enum CommandError {
    /// It was typed wrong.
    #[error("{0}")]
    Usage(String),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The backend or its database.
    #[error(transparent)]
    Serve(#[from] ServeError),
    /// The store.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The cluster.
    #[error(transparent)]
    Distribution(#[from] DistributionError),
    /// Retention.
    #[error(transparent)]
    Retention(Box<crate::retention::RetentionError>),
    /// The index of words.
    #[error(transparent)]
    TextIndex(#[from] TextIndexError),
    /// Nothing to revoke.
    #[error("there is no such key, or it was revoked before")]
    NoSuchKey,
    /// Evidence that cannot be read or written.
    #[error(transparent)]
    Evidence(#[from] EvidenceError),
    /// The backend that was asked.
    #[error("the backend: {0}")]
    Backend(String),
    /// A bundle was written, and something is missing in it.
    #[error("{0}")]
    Incomplete(String),
    /// What was verified does not hold.
    #[error("INVALID: {0}")]
    Wrong(String),
    /// What was verified holds, and entries are missing that a restored backup lost.
    #[error("LOSS: {0}")]
    Lost(String),
    /// Checks of a deployment that failed.
    #[error("{0} of {1} checks failed")]
    Unwell(usize, usize),
    /// The terminal or a signal.
    #[error(transparent)]
    Io(#[from] std::io::Error),
}

impl CommandError {
    /// 2 for what the operator has to change, 3 for evidence that does not hold, 4 for a loss that is on record, 1 for what
    /// failed.
    pub fn exit_code(&self) -> u8 {
        match self {
            Self::Usage(_) | Self::Config(_) => 2,
            Self::Wrong(_) => 3,
            Self::Lost(_) => 4,
            _ => 1,
        }
    }
}

/// Runs a command.
///
/// # Errors
/// [`CommandError`] in one line.
pub async fn run(cli: Cli) -> Result<(), CommandError> {
    // Policies are tried where there is no backend, and so no configuration of one.
    let config = || Config::load(cli.config.as_deref(), &Environment::of_process());
    match cli.command {
        Command::Serve => serve(config()?).await,
        Command::CheckConfig => {
            config()?;
            print("configuration: ok")
        }
        Command::Migrate(arguments) => migrate(&config()?, &arguments).await,
        Command::Doctor(arguments) => doctor::run(config(), cli.config.clone(), arguments).await,
        Command::ApiKey(command) => keys::api_key(&config()?, command).await,
        Command::Admin(command) => keys::admin(&config()?, command).await,
        Command::Signer(command) => keys::signer(&config()?, command).await,
        Command::Log(command) => log::run(&config()?, command).await,
        Command::Retention(command) => retention::run(config()?, command).await,
        Command::TextIndex(command) => text_index::run(&config()?, command).await,
        Command::Verify(arguments) => verify::run(arguments).await,
        Command::Bundle(arguments) => verify::bundle(arguments).await,
        Command::Search(arguments) => search::run(arguments).await,
        Command::Tail(arguments) => tail::run(arguments).await,
        Command::Export(arguments) => export::run(arguments).await,
        Command::Timeline(arguments) => timeline::run(arguments).await,
        Command::Coverage(arguments) => coverage::run(arguments).await,
        Command::Sinks(command) => sinks::run(command).await,
        Command::OpenApi => print(crate::api::openapi::written().trim_end()),
        Command::Completions(arguments) => completions::run(&arguments),
        Command::Detection(command) => detection::run(command).await,
        Command::Policy(command) => policy::run(command).await,
    }
}

async fn migrate(config: &Config, arguments: &MigrateArguments) -> Result<(), CommandError> {
    let database = Database::open(config, Neighbour::Join).await?;
    let store = &database.store;
    let spread = if arguments.citus { distribution::spread(store).await.map(Some) } else { Ok(None) };
    let oldest = partitions::ensure(store, Clock::system().now().to_utc()).await;
    database.close().await;
    let spread = spread?;
    oldest?;
    print("schema: up to date")?;
    match spread.as_deref() {
        None => Ok(()),
        Some([]) => print("citus: every table is where it belongs"),
        Some(tables) => print(&format!("citus: spread {}", tables.join(", "))),
    }
}

async fn serve(config: Config) -> Result<(), CommandError> {
    telemetry::start_logging();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let backend = Backend::start(config, Clock::system()).await?;
    print(&format!("edgetrail: listening on http://{}", backend.address))?;
    let told = async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
    };
    backend.run(told).await;
    telemetry::stop();
    Ok(())
}

/// A line on stdout, out at once also when it is a pipe.
fn print(line: &str) -> Result<(), CommandError> {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}")?;
    out.flush()?;
    Ok(())
}
