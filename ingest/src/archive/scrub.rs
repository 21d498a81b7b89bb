//! What an erasure does to the archive: parts are written anew without the values, and the revisions before are deleted.

use super::part::Row;
use super::{Archive, ArchiveError, PartName};

impl Archive {
    /// The revision of a part that counts now; none if all of it is gone.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]
    pub async fn newest(&self, tenant: &str, part: &PartName) -> Result<Option<PartName>, ArchiveError> {
        let parts = self.folder(tenant).parts_of(part.month, part.shipment).await?.newest;
        Ok(parts.into_iter().find(|it| (it.log, it.first) == (part.log, part.first)))
    }

    /// Puts what is left of a part in its place. When it returns, the values are gone from the storage.
    ///
    /// # Errors
    /// [`ArchiveError`]; either revision may be there, and the newer one counts.
    pub async fn replace(&self, tenant: &str, part: &PartName, left: Vec<Row>) -> Result<(), ArchiveError> {
        let folder = self.folder(tenant);
        if !left.is_empty() {
            folder.keep_part(&part.next(), left).await?;
        }
        folder.delete(&part.to_string()).await
    }

    /// Deletes revisions that others have taken the place of, which a stop in between leaves behind.
    ///
    /// # Errors
    /// [`ArchiveError::Storage`]
    pub async fn clear_older(&self, tenant: &str) -> Result<(), ArchiveError> {
        let folder = self.folder(tenant);
        for part in folder.parts().await?.older {
            folder.delete(&part.to_string()).await?;
        }
        Ok(())
    }
}
