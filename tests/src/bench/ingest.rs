//! Being written.

use super::{BenchError, Extent, Report};

/// Nothing yet.
///
/// # Errors
/// None.
#[expect(clippy::unused_async, reason = "being written")]
pub async fn run(_extent: Extent) -> Result<Report, BenchError> {
    Ok(Report::default())
}
