//! A bundle in a tar: its members are found once, then read where they are.

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, ErrorKind, Read as _, Seek as _, SeekFrom, Take};
use std::path::{Path, PathBuf};

use shared::bundle::{ABSENCES, OPENINGS, tar};
use uuid::Uuid;

use super::{EvidenceError, capped_line, io};

/// The tar, where its members are, and the openings being read.
#[derive(Debug)]
pub struct Tar {
    path: PathBuf,
    file: File,
    members: HashMap<String, (u64, u64)>,
    openings: Option<Take<BufReader<File>>>,
}

impl Tar {
    /// Reads the headers of a tar.
    ///
    /// # Errors
    /// If it cannot be read, or is no tar.
    pub fn open(path: &Path) -> Result<Self, EvidenceError> {
        let malformed = |reason: String| EvidenceError::Tar { path: path.to_owned(), reason };
        let file = File::open(path).map_err(io(path))?;
        let mut reader = BufReader::new(file.try_clone().map_err(io(path))?);
        let mut members = HashMap::new();
        let mut at = 0;
        loop {
            let mut header = [0; tar::BLOCK];
            match reader.read_exact(&mut header) {
                Ok(()) => {}
                // A tar without its last blocks: what is missing will be missed.
                Err(error) if error.kind() == ErrorKind::UnexpectedEof => break,
                Err(error) => return Err(io(path)(error)),
            }
            at += tar::BLOCK as u64;
            let member = tar::read(&header).map_err(|error| malformed(format!("not a tar: {error}")))?;
            let size = match member {
                tar::Member::End => break,
                tar::Member::Other(size) => size,
                tar::Member::File(name, size) => {
                    if members.insert(name.clone(), (at, size)).is_some() {
                        return Err(malformed(format!("it holds {name} twice")));
                    }
                    size
                }
            };
            let skip = size + tar::padding(size) as u64;
            at += skip;
            let skip = i64::try_from(skip).map_err(|_| malformed("a member is too large".to_owned()))?;
            reader.seek_relative(skip).map_err(io(path))?;
        }
        Ok(Self { path: path.to_owned(), file, members, openings: None })
    }

    pub(super) fn name(&self) -> String {
        self.path.display().to_string()
    }

    pub(super) fn file(&mut self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EvidenceError> {
        let Some((at, size)) = self.members.get(path) else { return Ok(None) };
        self.file.seek(SeekFrom::Start(*at)).map_err(io(&self.path))?;
        let mut bytes = Vec::new();
        let len = (*size).min(limit as u64 + 1);
        (&mut self.file).take(len).read_to_end(&mut bytes).map_err(io(&self.path))?;
        Ok(Some(bytes))
    }

    pub(super) fn absences(&self) -> Vec<Uuid> {
        let names = self.members.keys().filter_map(|name| name.strip_prefix(ABSENCES)?.strip_prefix('/'));
        let mut records: Vec<Uuid> = names.filter_map(|name| name.parse().ok()).collect();
        records.sort_unstable();
        records
    }

    pub(super) fn has_openings(&self) -> bool {
        self.members.contains_key(OPENINGS)
    }

    pub(super) fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        let reader = match &mut self.openings {
            Some(reader) => reader,
            none => {
                let Some((at, size)) = self.members.get(OPENINGS) else { return Ok(None) };
                // A handle of its own: a cloned one would share its place in the file.
                let mut file = File::open(&self.path).map_err(io(&self.path))?;
                file.seek(SeekFrom::Start(*at)).map_err(io(&self.path))?;
                none.insert(BufReader::new(file).take(*size))
            }
        };
        capped_line(reader).map_err(io(&self.path))
    }
}
