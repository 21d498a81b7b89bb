//! Evidence: bundles where they lie, in a folder, in a tar, in an archive, or behind the URL of a backend, and writing them
//! down.
//!
//! What the bytes mean is read in [`shared::bundle`] and judged in [`shared::verify`]; here they are only fetched, each
//! within its limit.

mod folder;
mod remote;
mod stored;
mod tar;
mod writer;

pub use folder::Folder;
pub use remote::Remote;
pub use stored::Stored;
pub use tar::Tar;
pub use writer::{Writer, copy};

use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

use shared::bundle::{Kind, MANIFEST, MAX_LINE_LEN, MAX_MANIFEST_LEN, Manifest, ManifestError};
use shared::verify::Source;
use tokio::runtime::Handle;
use uuid::Uuid;

use crate::archive::ArchiveError;
use crate::storage::{self, StorageError};

/// Why evidence could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum EvidenceError {
    /// A file.
    #[error("{}: {source}", path.display())]
    Io {
        /// Which.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// A tar that is none.
    #[error("{}: {reason}", path.display())]
    Tar {
        /// Which.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There is no manifest.
    #[error("{0}: there is no {MANIFEST} in it")]
    NoManifest(String),
    /// The manifest.
    #[error(transparent)]
    Manifest(#[from] ManifestError),
    /// The URL.
    #[error("{0}")]
    Url(String),
    /// Object storage.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// An archive.
    #[error(transparent)]
    Archive(#[from] Box<ArchiveError>),
    /// The backend's answer.
    #[error("{path}: {reason}")]
    Http {
        /// What was asked for.
        path: String,
        /// What came back.
        reason: String,
    },
}

fn io(path: &Path) -> impl Fn(std::io::Error) -> EvidenceError {
    let path = path.to_owned();
    move |source| EvidenceError::Io { path: path.clone(), source }
}

/// A bundle, wherever it is.
#[derive(Debug)]
pub enum Evidence {
    /// In a folder.
    Folder(Folder),
    /// In a tar.
    Tar(Tar),
    /// In an archive.
    Stored(Box<Stored>),
    /// Behind a URL.
    Remote(Box<Remote>),
}

impl Evidence {
    /// A folder, a tar, or an archive in a folder.
    ///
    /// # Errors
    /// If it cannot be read, or is none of them.
    pub fn at(runtime: Handle, path: &Path) -> Result<Self, EvidenceError> {
        if std::fs::metadata(path).map_err(io(path))?.is_dir() {
            let mut folder = Self::Folder(Folder::new(path));
            if folder.manifest().is_ok_and(|manifest| manifest.kind == Kind::Archive) {
                return Ok(Self::Stored(Box::new(Stored::open(runtime, &storage::directory(path)?)?)));
            }
            Ok(folder)
        } else {
            Ok(Self::Tar(Tar::open(path)?))
        }
    }

    /// Its manifest.
    ///
    /// # Errors
    /// If there is none, or it is malformed.
    pub fn manifest(&mut self) -> Result<Manifest, EvidenceError> {
        let name = match self {
            Self::Folder(folder) => folder.name(),
            Self::Tar(tar) => tar.name(),
            Self::Remote(remote) => return Ok(remote.manifest().clone()),
            Self::Stored(stored) => return Ok(stored.manifest().clone()),
        };
        let bytes = self.file(MANIFEST, MAX_MANIFEST_LEN + 1)?.ok_or(EvidenceError::NoManifest(name))?;
        Ok(Manifest::parse(&bytes)?)
    }
}

impl Source for Evidence {
    type Error = EvidenceError;

    fn file(&mut self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EvidenceError> {
        match self {
            Self::Folder(folder) => folder.file(path, limit),
            Self::Tar(tar) => tar.file(path, limit),
            Self::Stored(stored) => stored.file(path, limit),
            Self::Remote(remote) => remote.file(path, limit),
        }
    }

    fn absences(&mut self) -> Result<Vec<Uuid>, EvidenceError> {
        match self {
            Self::Folder(folder) => folder.absences(),
            Self::Tar(tar) => Ok(tar.absences()),
            Self::Stored(stored) => stored.absences(),
            Self::Remote(remote) => remote.absences(),
        }
    }

    fn has_openings(&mut self) -> Result<bool, EvidenceError> {
        match self {
            Self::Folder(folder) => Ok(folder.has_openings()),
            Self::Tar(tar) => Ok(tar.has_openings()),
            Self::Stored(_) => Ok(true),
            Self::Remote(remote) => remote.has_openings(),
        }
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        match self {
            Self::Folder(folder) => folder.next_opening(),
            Self::Tar(tar) => tar.next_opening(),
            Self::Stored(stored) => stored.next_opening(),
            Self::Remote(remote) => remote.next_opening(),
        }
    }
}

/// The next line without its newline; of one that is too long as much as shows that.
fn capped_line(reader: &mut impl BufRead) -> std::io::Result<Option<Vec<u8>>> {
    let mut line = Vec::new();
    let limit = MAX_LINE_LEN as u64 + 2;
    if reader.by_ref().take(limit).read_until(b'\n', &mut line)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
    } else if line.len() as u64 == limit {
        skip_line(reader)?;
    }
    Ok(Some(line))
}

fn skip_line(reader: &mut impl BufRead) -> std::io::Result<()> {
    loop {
        let buffer = reader.fill_buf()?;
        let len = buffer.len();
        match buffer.iter().position(|byte| *byte == b'\n') {
            Some(at) => {
                reader.consume(at + 1);
                return Ok(());
            }
            None if len == 0 => return Ok(()),
            None => reader.consume(len),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_without_end_is_cut_and_the_next_one_is_read() {
        let text = [vec![b'x'; MAX_LINE_LEN * 2], b"\nshort\n\nlast".to_vec()].concat();
        let mut reader = text.as_slice();
        let mut next = || capped_line(&mut reader).expect("in memory").map(|line| line.len());
        assert_eq!((next(), next(), next()), (Some(MAX_LINE_LEN + 2), Some(5), Some(0)));
        assert_eq!((next(), next()), (Some(4), None));
    }
}
