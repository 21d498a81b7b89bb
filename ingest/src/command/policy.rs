//! `edgetrail policy`: what packs of rules make of traffic, before anybody relies on them; and versions of them, over the API.
//!
//! Nothing here needs a database, a Worker or a configuration. The packs that are compiled into the Worker are those of
//! this build too.

mod draft;
mod packs;
mod report;
mod sign;
mod trial;
mod versions;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};

use super::{CommandError, print};
use packs::PackFile;
use trial::{Options, Trial};

#[derive(Debug, Subcommand)]
pub(super) enum PolicyCommand {
    /// Prints the events that a recording would give.
    Try(TryArguments),
    /// Reads and checks packs, and prints what is wrong with its place.
    Check {
        /// Packs of rules.
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Checks packs and prints them as a signed policy.
    Sign(sign::SignArguments),
    /// Versions, newest first.
    List(versions::ListArguments),
    /// A version with its rules.
    Show(versions::VersionArguments),
    /// What a version changes of the active one, rule by rule.
    Diff(versions::VersionArguments),
    /// Proposes packs, to which another admin must agree; or hands in a signed policy, which is active at once.
    Propose(versions::ProposeArguments),
    /// Agrees to a version that another admin proposed: it is active.
    Approve(versions::VersionArguments),
    /// Turns a proposed version down.
    Refuse(versions::VersionArguments),
    /// Proposes what was active at an earlier version.
    Rollback(versions::VersionArguments),
    /// Keys that sign policies offline.
    #[command(subcommand)]
    Key(sign::PolicyKeyCommand),
}

#[derive(Debug, Args)]
pub(super) struct TryArguments {
    /// A recording: HAR, or one exchange a line.
    file: PathBuf,
    /// A pack: it replaces the compiled-in one of its name, or comes before the one that it extends, or before all.
    #[arg(long = "pack")]
    packs: Vec<PathBuf>,
    /// Whose rules apply.
    #[arg(long, default_value = "auto")]
    mount: MountChoice,
    /// Prints JSON.
    #[arg(long)]
    json: bool,
    /// Looks at metadata only, and proposes rules for what no rule names.
    #[arg(long)]
    shadow: bool,
}

/// Which packs stand in front of a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum MountChoice {
    /// By the path: Supabase's services have prefixes of their own, such as /rest/v1.
    Auto,
    /// The application's.
    App,
    /// Supabase's.
    Supabase,
    /// None but those given by --pack.
    Own,
}

pub(super) async fn run(command: PolicyCommand) -> Result<(), CommandError> {
    match command {
        PolicyCommand::List(arguments) => versions::list(arguments).await,
        PolicyCommand::Show(arguments) => versions::show(arguments).await,
        PolicyCommand::Diff(arguments) => versions::diff(arguments).await,
        PolicyCommand::Propose(arguments) => versions::propose(arguments).await,
        PolicyCommand::Approve(arguments) => versions::decide(arguments, "approve").await,
        PolicyCommand::Refuse(arguments) => versions::decide(arguments, "refuse").await,
        PolicyCommand::Rollback(arguments) => versions::decide(arguments, "rollback").await,
        PolicyCommand::Try(arguments) => attempt(&arguments),
        PolicyCommand::Check { files } => check(&files),
        PolicyCommand::Sign(arguments) => sign::print_signed(arguments),
        PolicyCommand::Key(command) => sign::keys(command),
    }
}

fn attempt(arguments: &TryArguments) -> Result<(), CommandError> {
    let text = read(&arguments.file)?;
    let recording = shared::recording::parse_any(&text).map_err(|error| refused(&arguments.file, &error))?;
    let own = arguments
        .packs
        .iter()
        .map(|path| PackFile::parse(&read(path)?).map_err(|flaw| refused(path, &flaw)))
        .collect::<Result<Vec<_>, _>>()?;
    let options = Options { mount: arguments.mount, shadow: arguments.shadow };
    let trial = Trial::run(&recording, own, options).map_err(CommandError::Usage)?;
    if arguments.json { print(&report::json(&trial)) } else { print(&report::text(&trial)) }
}

fn check(files: &[PathBuf]) -> Result<(), CommandError> {
    let mut wrong = 0;
    for path in files {
        let pack = read(path).and_then(|text| PackFile::parse(&text).map_err(|flaw| refused(path, &flaw)));
        match pack {
            Ok(pack) => print(&format!("{}: ok, {} rules", path.display(), pack.0.rules.len()))?,
            Err(refused) => {
                wrong += 1;
                print(&refused.to_string())?;
            }
        }
    }
    match wrong {
        0 => Ok(()),
        wrong => Err(CommandError::Usage(format!("{wrong} of {} packs cannot be used", files.len()))),
    }
}

fn read(path: &Path) -> Result<String, CommandError> {
    let bytes = std::fs::read(path).map_err(|error| refused(path, &error))?;
    String::from_utf8(bytes).map_err(|error| {
        let upto = error.utf8_error().valid_up_to();
        refused(path, &format_args!("it is not UTF-8 text: byte {}", upto + 1))
    })
}

/// `file:line:column: reason`, as compilers write it.
fn refused(path: &Path, reason: &dyn Placed) -> CommandError {
    CommandError::Usage(format!("{}:{}", path.display(), reason.placed()))
}

/// What is wrong with a file, with its place where it has one.
trait Placed {
    fn placed(&self) -> String;
}

impl Placed for packs::Flaw {
    fn placed(&self) -> String {
        format!("{}:{}: {}", self.line, self.column, self.reason)
    }
}

impl Placed for shared::recording::RecordingError {
    fn placed(&self) -> String {
        format!("{}:{}: {}", self.line, self.column, self.reason)
    }
}

impl Placed for std::io::Error {
    fn placed(&self) -> String {
        format!(" {self}")
    }
}

impl Placed for std::fmt::Arguments<'_> {
    fn placed(&self) -> String {
        format!(" {self}")
    }
}
