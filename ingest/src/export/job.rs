//! Exports that are made in the background, one at a time for each tenant, into files that go after a day.
//!
//! A job is a row: whoever takes it works on it, and if that one stops or dies it is begun again, from the same snapshot.

use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::fs::{self, File, OpenOptions};
use tokio::io::AsyncWriteExt as _;
use tokio::sync::watch;
use uuid::Uuid;

use super::{ExportError, Exports, KEEP_FOR, Order, STALE_AFTER, Sink, Told, file_name};
use crate::store::exports::{self, ExportRow};

/// How often jobs are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// A file that is written until the backend stops, and gets its name once it is whole.
struct Growing {
    file: File,
    path: PathBuf,
    whole: PathBuf,
    stopped: watch::Receiver<bool>,
}

impl Sink for Growing {
    async fn put(&mut self, bytes: Vec<u8>) -> Result<(), ExportError> {
        if *self.stopped.borrow() {
            return Err(ExportError::Stopping);
        }
        let wrong = |source| ExportError::File { path: self.path.clone(), source };
        self.file.write_all(&bytes).await.map_err(wrong)
    }

    async fn end(&mut self) -> Result<(), ExportError> {
        let wrong = |source| ExportError::File { path: self.path.clone(), source };
        self.file.sync_all().await.map_err(wrong)?;
        fs::rename(&self.path, &self.whole).await.map_err(wrong)
    }
}

impl Exports {
    /// Asks for an export in the background.
    ///
    /// # Errors
    /// Why it could not be recorded.
    pub async fn ask(&self, order: &Order) -> Result<Uuid, ExportError> {
        self.begin(order, true).await
    }

    /// Makes what was asked for until it is told to stop.
    pub async fn run(self: Arc<Self>, mut stopped: watch::Receiver<bool>) {
        loop {
            if let Err(error) = self.turn(&stopped).await {
                tracing::error!(%error, "exports in the background are not made");
            }
            tokio::select! {
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    /// Lets old files go and makes what waits.
    async fn turn(&self, stopped: &watch::Receiver<bool>) -> Result<(), ExportError> {
        let now = self.clock.now().to_utc();
        for row in exports::expire(&self.store, now - KEEP_FOR).await? {
            let path = self.file(&row);
            match fs::remove_file(&path).await {
                Err(source) if source.kind() != io::ErrorKind::NotFound => {
                    return Err(ExportError::File { path, source });
                }
                _ => {}
            }
        }
        while !*stopped.borrow() {
            let now = self.clock.now().to_utc();
            let Some(row) = exports::claim(&self.store, now, now - STALE_AFTER).await? else { break };
            match self.work(&row, stopped).await {
                Ok(()) => {}
                Err(ExportError::Stopping) => {
                    let waits = Told { rows: 0, bytes: 0 }.progress("queued", None, now);
                    exports::progress(&self.store, &row.tenant_id, row.export_id, waits).await?;
                }
                Err(error) => tracing::warn!(%error, id = %row.export_id, "an export was cut off"),
            }
        }
        Ok(())
    }

    async fn work(&self, row: &ExportRow, stopped: &watch::Receiver<bool>) -> Result<(), ExportError> {
        let order = Order::of(row)?;
        let folder = self.folder();
        let path = folder.join(format!("{}.part", file_name(row)));
        let wrong = |source| ExportError::File { path: path.clone(), source };
        fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).await.map_err(wrong)?;
        let mut options = OpenOptions::new();
        options.write(true).create(true).truncate(true).mode(0o600);
        let file = options.open(&path).await.map_err(wrong)?;
        let whole = self.file(row);
        let mut growing = Growing { file, path: path.clone(), whole, stopped: stopped.clone() };
        let made = self.make(&order, row.export_id, &mut growing).await;
        if made.is_err() {
            // What is left of it helps nobody.
            let _ = fs::remove_file(&path).await;
        }
        made.map(|_| ())
    }
}
