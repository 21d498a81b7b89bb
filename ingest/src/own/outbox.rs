//! Events of our own that wait to be recorded.
//!
//! An event about a change is kept in the change's own transaction, so that there is no change without its event, and recorded
//! right after. It is recorded before it is taken away: a crash in between says it twice, never not at all.

use sqlx::PgConnection;

use super::{OwnError, OwnEvent, Recorder};
use crate::store::{self, Store, StoreError, own_events};

/// Events of one transaction.
const TOGETHER: i64 = 50;

/// Keeps an event until it is recorded.
///
/// # Errors
/// If the database refuses.
pub async fn keep(connection: &mut PgConnection, event: &OwnEvent) -> Result<(), StoreError> {
    let text = serde_json::to_string(event).expect("an event of our own is JSON");
    own_events::keep(connection, &text).await
}

/// Records what waits.
///
/// # Errors
/// If it cannot be recorded now; it waits on.
pub async fn record(store: &Store, recorder: &Recorder) -> Result<(), OwnError> {
    loop {
        let mut transaction = store.begin().await?;
        let texts = own_events::take(&mut transaction, TOGETHER).await?;
        if texts.is_empty() {
            return Ok(());
        }
        let events: Result<Vec<OwnEvent>, _> = texts.iter().map(|text| serde_json::from_str(text)).collect();
        recorder.record(events.map_err(|_| StoreError::Damaged("event of our own"))?).await?;
        store::commit(transaction).await?;
    }
}
