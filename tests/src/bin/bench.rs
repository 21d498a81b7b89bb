//! `cargo xtask bench`: the figures that steer the work.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};
use tests::bench::{
    BenchError, Extent, Report, edge, export, growth, ingest, insight, log, peers, publish, retention,
    search, streams, tenants, verify,
};

#[derive(Debug, Parser)]
#[command(about = "Ratios of the Worker and of the backend against baselines in the same run")]
struct Arguments {
    /// End within three minutes.
    #[arg(long)]
    quick: bool,
    /// Write the figures as one flat JSON object.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Add the figures to those of this directory of documentation, and make its table and drawing anew.
    #[arg(long, value_name = "DIR", num_args = 0..=1, default_missing_value = "docs")]
    publish: Option<PathBuf>,
    /// Only one side.
    #[arg(long, value_enum)]
    only: Option<Side>,
    /// Events that are searched: 10,000,000 unless said, 300,000 with --quick.
    #[arg(long, value_name = "COUNT")]
    rows: Option<usize>,
    /// Keep the events that are searched in this directory, and find them there the next time.
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Search only with 50 tenants, or with 1.
    #[arg(long, value_name = "COUNT")]
    tenants: Option<usize>,
    /// Minutes for which a stream is paused: 60 unless said, 1 with --quick.
    #[arg(long, value_name = "MINUTES")]
    minutes: Option<u64>,
    /// Put another build of the Worker beside the one that is measured, to measure one change.
    #[arg(long, value_name = "DIR")]
    beside: Vec<PathBuf>,
    /// Watch the Worker's memory over so many requests: 1,000,000 unless said, 20,000 with --quick.
    #[arg(long, value_name = "COUNT")]
    soak: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Side {
    Edge,
    Export,
    /// Searches of 1, 3, 10 and 30 million events.
    Growth,
    Ingest,
    Insight,
    /// The Worker's, over many requests.
    Memory,
    /// For a table of what was found before.
    Nothing,
    Peers,
    Search,
    Streams,
    Tenants,
    Verify,
    Retention,
}

#[tokio::main]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments).await {
        Ok(report) => {
            print!("{report}");
            let extent = extent(&arguments);
            if let Some(docs) = &arguments.publish
                && let Err(error) = publish::publish(&report, extent, docs)
            {
                eprintln!("bench: {error}");
                return ExitCode::FAILURE;
            }
            if let Some(path) = &arguments.json
                && let Err(error) = std::fs::write(path, report.json())
            {
                eprintln!("bench: {}: {error}", path.display());
                return ExitCode::FAILURE;
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn extent(arguments: &Arguments) -> Extent {
    if arguments.quick { Extent::Quick } else { Extent::Full }
}

async fn run(arguments: &Arguments) -> Result<Report, BenchError> {
    let extent = extent(arguments);
    let mut report = Report::default();
    let asked = |side| arguments.only.is_none_or(|only| only == side);
    if asked(Side::Edge) {
        report.extend(edge::run(extent, &arguments.beside).await?);
    }
    if asked(Side::Memory) {
        report.extend(edge::memory(extent, arguments.soak).await?);
    }
    if asked(Side::Export) {
        report.extend(export::run(extent).await?);
    }
    if asked(Side::Ingest) {
        report.extend(ingest::run(extent).await?);
        report.extend(log::run(extent).await?);
    }
    if asked(Side::Insight) {
        report.extend(insight::run(extent).await?);
    }
    if asked(Side::Peers) {
        report.extend(peers::run(extent).await?);
    }
    if asked(Side::Tenants) {
        report.extend(tenants::run(extent).await?);
    }
    // These take longer than all others together.
    if arguments.only == Some(Side::Streams) {
        report.extend(streams::run(extent, arguments.minutes).await?);
    }
    if arguments.only == Some(Side::Search) {
        let usual = search::Size::of(extent);
        let size = search::Size {
            rows: arguments.rows.unwrap_or(usual.rows),
            dir: arguments.data.clone(),
            tenants: arguments.tenants,
        };
        report.extend(search::run(&size).await?);
    }
    if arguments.only == Some(Side::Growth) {
        for rows in growth::SIZES.into_iter().filter(|rows| arguments.rows.is_none_or(|only| only == *rows)) {
            let dir = arguments.data.as_ref().map(|dir| dir.join(rows.to_string()));
            report.extend(search::run(&search::Size { rows, dir, tenants: Some(50) }).await?);
        }
    }
    if asked(Side::Verify) {
        report.extend(verify::run(extent)?);
    }
    if asked(Side::Retention) {
        report.extend(retention::run(extent).await?);
    }
    Ok(report)
}
