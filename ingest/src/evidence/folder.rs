//! A bundle in a folder.

use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _};
use std::path::{Path, PathBuf};

use shared::bundle::{ABSENCES, OPENINGS};
use uuid::Uuid;

use super::{EvidenceError, capped_line, io};

/// The folder and the openings being read.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
    openings: Option<BufReader<File>>,
}

impl Folder {
    /// The bundle in a folder.
    pub fn new(root: &Path) -> Self {
        Self { root: root.to_owned(), openings: None }
    }

    pub(super) fn name(&self) -> String {
        self.root.display().to_string()
    }

    pub(super) fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EvidenceError> {
        let path = self.root.join(path);
        let file = match File::open(&path) {
            Ok(file) => file,
            Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
                return Ok(None);
            }
            Err(error) => return Err(io(&path)(error)),
        };
        let mut bytes = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(io(&path))?;
        Ok(Some(bytes))
    }

    pub(super) fn absences(&self) -> Result<Vec<Uuid>, EvidenceError> {
        let path = self.root.join(ABSENCES);
        let entries = match std::fs::read_dir(&path) {
            Ok(entries) => entries,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(io(&path)(error)),
        };
        let mut records = Vec::new();
        for entry in entries {
            let name = entry.map_err(io(&path))?.file_name();
            records.extend(name.to_str().and_then(|name| name.parse::<Uuid>().ok()));
        }
        records.sort_unstable();
        Ok(records)
    }

    pub(super) fn has_openings(&self) -> bool {
        self.root.join(OPENINGS).is_file()
    }

    pub(super) fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        let path = self.root.join(OPENINGS);
        let reader = match &mut self.openings {
            Some(reader) => reader,
            none => none.insert(BufReader::new(File::open(&path).map_err(io(&path))?)),
        };
        capped_line(reader).map_err(io(&path))
    }
}
