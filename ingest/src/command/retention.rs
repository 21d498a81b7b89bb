//! Retention by hand: what would go, and letting it go now.

use std::sync::Arc;
use std::sync::atomic::AtomicI64;

use clap::Subcommand;
use shared::event::TenantId;
use tokio::sync::{Notify, watch};

use super::{CommandError, print};
use crate::archive::Archive;
use crate::auth::Signers;
use crate::clock::Clock;
use crate::config::Config;
use crate::limits::Limits;
use crate::own::Recorder;
use crate::postgres::Neighbour;
use crate::receive::Receiver;
use crate::receive::backlog::Backlog;
use crate::receive::write::Writer;
use crate::retention::{Retention, RetentionError};
use crate::serve::{Database, ServeError};
use crate::store::partitions;

/// What to do about events whose time is over.
#[derive(Debug, Subcommand)]
pub(super) enum RetentionCommand {
    /// Says in words and counts what would go now. Nothing is changed.
    Preview {
        /// Whose events.
        #[arg(long)]
        tenant: TenantId,
        /// The counts as JSON.
        #[arg(long)]
        json: bool,
    },
    /// Lets go what is due, of every tenant, as the running backend does by itself.
    Run,
}

pub(super) async fn run(config: Config, command: RetentionCommand) -> Result<(), CommandError> {
    let clock = Clock::system();
    let database = Database::open(&config, Neighbour::Join).await?;
    let store = database.store.clone();
    let (stop, stopped) = watch::channel(false);
    let (writer, writing) = Writer::start(store.clone(), Arc::new(Notify::new()), stopped);
    let said = async {
        let oldest = partitions::ensure(&store, clock.now().to_utc()).await?;
        let receiver = Receiver {
            signers: Arc::new(Signers::new(store.clone())),
            limits: Limits::new(config.limits),
            backlog: Backlog::new(config.http.max_backlog_bytes),
            writer,
            clock: clock.clone(),
            oldest: Arc::new(AtomicI64::new(oldest.timestamp_micros())),
        };
        let recorder =
            Recorder::new(store.clone(), receiver, clock.clone(), &config.log.key_file, &config.log.origin)
                .map_err(ServeError::from)?;
        let archive = config.archive.as_ref().map(|it| Archive::open(it, store.clone())).transpose();
        let archive = archive.map_err(RetentionError::from)?;
        let retention = Retention::new(store.clone(), recorder, clock).archiving(archive);
        said(&retention, command).await
    }
    .await;
    let _ = stop.send(true);
    let _ = writing.await;
    database.close().await;
    print(&said?)
}

async fn said(retention: &Retention, command: RetentionCommand) -> Result<String, CommandError> {
    match command {
        RetentionCommand::Preview { tenant, json } => {
            let preview = retention.preview(&tenant, None).await?;
            Ok(if json { format!("{:#}", preview.to_json()) } else { preview.words().join("\n") })
        }
        RetentionCommand::Run => {
            let done = retention.pass().await?;
            let words = done.iter().map(|done| {
                format!(
                    "{}: {} events went, {} lost their context, {} are there; exclusive for {} ms, accounted for in {} ms of {} ms",
                    done.month.format("%B %Y"),
                    done.dropped,
                    done.context,
                    done.kept,
                    done.exclusive.as_millis(),
                    done.accounting.as_millis(),
                    done.took.as_millis()
                )
            });
            let words: Vec<String> = words.collect();
            Ok(if words.is_empty() { "Nothing is due.".to_owned() } else { words.join("\n") })
        }
    }
}

impl From<RetentionError> for CommandError {
    fn from(error: RetentionError) -> Self {
        Self::Retention(Box::new(error))
    }
}
