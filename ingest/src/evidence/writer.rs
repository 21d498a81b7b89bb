//! Writing a bundle down: into a folder, or into one tar.

use std::fs::{self, File};
use std::io::{BufReader, BufWriter, Read, Write as _};
use std::path::{Path, PathBuf};

use shared::bundle::{
    LogItem, MANIFEST, MAX_ABSENCES_LEN, MAX_CHECKPOINT_LEN, MAX_TILE_LEN, OPENINGS, absence_path,
    checkpoint_path, previous_path, tar, tile_path, tiles_of,
};
use shared::verify::Source as _;

use super::{Evidence, EvidenceError, io};

/// Where a bundle is written to.
#[derive(Debug)]
pub enum Writer {
    /// A folder, made for it.
    Folder(PathBuf),
    /// A tar.
    Tar(PathBuf, BufWriter<File>),
}

impl Writer {
    /// A tar if the name ends so, else a folder. Nothing that is there is written over.
    ///
    /// # Errors
    /// If there is something already, or it cannot be made.
    pub fn create(path: &Path) -> Result<Self, EvidenceError> {
        if path.extension().is_some_and(|extension| extension == "tar") {
            let file = File::create_new(path).map_err(io(path))?;
            Ok(Self::Tar(path.to_owned(), BufWriter::new(file)))
        } else {
            fs::create_dir(path).map_err(io(path))?;
            Ok(Self::Folder(path.to_owned()))
        }
    }

    /// Writes a file.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn put(&mut self, name: &str, bytes: &[u8]) -> Result<(), EvidenceError> {
        self.stream(name, bytes.len() as u64, bytes)
    }

    /// Writes a file of a size that is known, as it is read.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn stream(&mut self, name: &str, size: u64, mut from: impl Read) -> Result<(), EvidenceError> {
        match self {
            Self::Folder(root) => {
                let path = root.join(name);
                if let Some(parent) = path.parent() {
                    fs::create_dir_all(parent).map_err(io(parent))?;
                }
                let mut file = File::create_new(&path).map_err(io(&path))?;
                std::io::copy(&mut from, &mut file).map_err(io(&path))?;
            }
            Self::Tar(path, out) => {
                let header = tar::header(name, size).ok_or_else(|| EvidenceError::Tar {
                    path: path.clone(),
                    reason: format!("{name} of {size} bytes does not fit a tar; write a folder"),
                })?;
                out.write_all(&header).map_err(io(path))?;
                std::io::copy(&mut from.take(size), out).map_err(io(path))?;
                out.write_all(&vec![0; tar::padding(size)]).map_err(io(path))?;
            }
        }
        Ok(())
    }

    /// Ends the bundle.
    ///
    /// # Errors
    /// If it cannot be written.
    pub fn finish(self) -> Result<(), EvidenceError> {
        if let Self::Tar(path, mut out) = self {
            out.write_all(&[0; 2 * tar::BLOCK]).map_err(io(&path))?;
            out.into_inner().map_err(|error| io(&path)(error.into_error()))?.sync_all().map_err(io(&path))?;
        }
        Ok(())
    }

    /// A folder on the same disk, for what has to be measured before it is written.
    fn beside(&self) -> &Path {
        match self {
            Self::Folder(root) => root,
            Self::Tar(path, _) => {
                path.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."))
            }
        }
    }
}

/// Copies a whole bundle as it is, also a damaged one. Gives the paths that were not given; `progress` hears of files.
///
/// # Errors
/// If it cannot be read or written.
pub fn copy(
    from: &mut Evidence,
    to: &mut Writer,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Vec<String>, EvidenceError> {
    let manifest = from.manifest()?;
    let mut missing = Vec::new();
    to.put(MANIFEST, manifest.to_json().as_bytes())?;
    let heads = |log: &LogItem| 1 + u64::from(log.previous.is_some());
    let total: u64 = manifest.logs.iter().map(|log| heads(log) + tiles_of(log.size).count() as u64).sum();
    let mut done = 0;
    for log in &manifest.logs {
        let head = (checkpoint_path(log.log_id), MAX_CHECKPOINT_LEN);
        let tiles = tiles_of(log.size).map(|tile| (tile_path(log.log_id, tile), MAX_TILE_LEN));
        let named = log.previous.map(|_| (previous_path(log.log_id), MAX_CHECKPOINT_LEN));
        for (path, limit) in std::iter::once(head).chain(named).chain(tiles) {
            match from.file(&path, limit)? {
                Some(bytes) => to.put(&path, &bytes)?,
                None => missing.push(path),
            }
            done += 1;
            progress(done, total);
        }
    }
    for record in from.absences()? {
        let path = absence_path(record);
        match from.file(&path, MAX_ABSENCES_LEN)? {
            Some(bytes) => to.put(&path, &bytes)?,
            None => missing.push(path),
        }
    }
    if from.has_openings()? {
        let kept = to.beside().join(format!(".{OPENINGS}.{}", std::process::id()));
        let written = openings(from, &kept).and_then(|size| {
            let file = File::open(&kept).map_err(io(&kept))?;
            to.stream(OPENINGS, size, BufReader::new(file))
        });
        let removed = fs::remove_file(&kept).map_err(io(&kept));
        written.and(removed)?;
    } else {
        missing.push(OPENINGS.to_owned());
    }
    Ok(missing)
}

fn openings(from: &mut Evidence, path: &Path) -> Result<u64, EvidenceError> {
    let mut out = BufWriter::new(File::create(path).map_err(io(path))?);
    let mut size = 0;
    while let Some(line) = from.next_opening()? {
        out.write_all(&line).and_then(|()| out.write_all(b"\n")).map_err(io(path))?;
        size += line.len() as u64 + 1;
    }
    out.flush().map_err(io(path))?;
    Ok(size)
}
