//! The binary `edgetrail`.

use std::process::ExitCode;

use clap::Parser as _;
use clap::error::ErrorKind;
use ingest::command::{Cli, run};
use ingest::private;

/// An event is many short texts: allocation is much of what it costs to read and write one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    private::files_of_this_process();
    start()
}

#[tokio::main]
async fn start() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) => {
            error.exit()
        }
        Err(error) => {
            let text = error.to_string();
            let lines: Vec<_> = text
                .lines()
                .map(str::trim)
                .take_while(|line| !line.starts_with("Usage:") && !line.starts_with("For more"))
                .filter(|line| !line.is_empty())
                .collect();
            let line = lines.join(" ");
            // It quotes what was typed, which may be a key in the wrong place.
            eprintln!("edgetrail: {}", shared::redact::scrub(line.trim_start_matches("error: ")));
            return ExitCode::from(2);
        }
    };
    match Box::pin(run(cli)).await {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let text = error.to_string();
            let line = text.split_whitespace().collect::<Vec<_>>().join(" ");
            eprintln!("edgetrail: {line}");
            ExitCode::from(error.exit_code())
        }
    }
}
