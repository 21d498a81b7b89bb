//! Evidence: bundles where they lie, in a folder, in a tar, or behind the URL of a backend, and writing them down.
//!
//! What the bytes mean is read in [`shared::bundle`] and judged in [`shared::verify`]; here they are only fetched, each
//! within its limit.

mod archive;
mod folder;
mod remote;
mod writer;

pub use archive::Archive;
pub use folder::Folder;
pub use remote::Remote;
pub use writer::{Writer, copy};

use std::io::{BufRead, Read as _};
use std::path::{Path, PathBuf};

use shared::bundle::{MANIFEST, MAX_LINE_LEN, MAX_MANIFEST_LEN, Manifest, ManifestError};
use shared::verify::Source;
use uuid::Uuid;

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
    Archive(Archive),
    /// Behind a URL.
    Remote(Box<Remote>),
}

impl Evidence {
    /// A folder or a tar.
    ///
    /// # Errors
    /// If it cannot be read, or is neither.
    pub fn at(path: &Path) -> Result<Self, EvidenceError> {
        if std::fs::metadata(path).map_err(io(path))?.is_dir() {
            Ok(Self::Folder(Folder::new(path)))
        } else {
            Ok(Self::Archive(Archive::open(path)?))
        }
    }

    /// Its manifest.
    ///
    /// # Errors
    /// If there is none, or it is malformed.
    pub fn manifest(&mut self) -> Result<Manifest, EvidenceError> {
        let name = match self {
            Self::Folder(folder) => folder.name(),
            Self::Archive(archive) => archive.name(),
            Self::Remote(remote) => return Ok(remote.manifest().clone()),
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
            Self::Archive(archive) => archive.file(path, limit),
            Self::Remote(remote) => remote.file(path, limit),
        }
    }

    fn absences(&mut self) -> Result<Vec<Uuid>, EvidenceError> {
        match self {
            Self::Folder(folder) => folder.absences(),
            Self::Archive(archive) => Ok(archive.absences()),
            Self::Remote(remote) => remote.absences(),
        }
    }

    fn has_openings(&mut self) -> Result<bool, EvidenceError> {
        match self {
            Self::Folder(folder) => Ok(folder.has_openings()),
            Self::Archive(archive) => Ok(archive.has_openings()),
            Self::Remote(remote) => remote.has_openings(),
        }
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        match self {
            Self::Folder(folder) => folder.next_opening(),
            Self::Archive(archive) => archive.next_opening(),
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
