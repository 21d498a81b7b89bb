//! A tenant's archive in object storage: the bundle's files as they lie there, the openings out of its parts.
//!
//! A part holds leaves of one log, ascending, and its path tells the first. So parts are read when their first leaf is next:
//! only those of months that overlap are in memory at a time.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

use shared::bundle::{ABSENCES, LogId, MANIFEST, MAX_MANIFEST_LEN, Manifest, OPENINGS, OpeningLine};
use tokio::runtime::Handle;
use uuid::Uuid;

use super::EvidenceError;
use crate::archive::part::Row;
use crate::archive::{ArchiveError, Folder, PartName};
use crate::storage::Opened;

/// The openings of records: some hundred bytes each, a few a month.
const MAX_RECORDS_LEN: usize = 256 << 20;

/// The archive and where its reading is. Blocks; to be used outside of asynchronous code.
#[derive(Debug)]
pub struct Stored {
    folder: Folder,
    runtime: Handle,
    manifest: Manifest,
    openings: Option<Openings>,
}

/// Openings in the order of their leaves: each source stands under its next leaf.
#[derive(Debug)]
struct Openings {
    numbers: HashMap<LogId, usize>,
    parts: Vec<PartName>,
    /// What was read of a part and is still to be given.
    loaded: HashMap<usize, std::vec::IntoIter<Row>>,
    records: std::vec::IntoIter<Vec<u8>>,
    next: BinaryHeap<Reverse<(usize, u64, Next)>>,
}

/// What stands next in a source.
#[derive(Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Next {
    /// The line of a record.
    Line(Vec<u8>),
    /// A part, not read yet.
    Part(usize),
    /// The event of a part, as its line.
    Event(usize, Vec<u8>),
}

impl Stored {
    /// The archive in a folder of the storage.
    ///
    /// # Errors
    /// If it cannot be read, or is none.
    pub fn open(runtime: Handle, opened: &Opened) -> Result<Self, EvidenceError> {
        let folder = Folder::at(opened);
        let bytes = runtime.block_on(folder.file(MANIFEST, MAX_MANIFEST_LEN)).map_err(failed)?;
        let bytes = bytes.ok_or_else(|| EvidenceError::NoManifest("the archive".to_owned()))?;
        let manifest = Manifest::parse(&bytes)?;
        Ok(Self { folder, runtime, manifest, openings: None })
    }

    pub(super) fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub(super) fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, EvidenceError> {
        self.runtime.block_on(self.folder.file(path, limit)).map_err(failed)
    }

    pub(super) fn absences(&self) -> Result<Vec<Uuid>, EvidenceError> {
        let paths = self.runtime.block_on(self.folder.list(ABSENCES)).map_err(failed)?;
        let name = |path: &String| path.rsplit('/').next().and_then(|name| name.parse().ok());
        let mut records: Vec<Uuid> = paths.iter().filter_map(name).collect();
        records.sort_unstable();
        Ok(records)
    }

    pub(super) fn next_opening(&mut self) -> Result<Option<Vec<u8>>, EvidenceError> {
        if self.openings.is_none() {
            self.openings = Some(self.begin()?);
        }
        let Some(openings) = self.openings.as_mut() else { return Ok(None) };
        while let Some(Reverse((_, _, next))) = openings.next.pop() {
            match next {
                Next::Line(line) => {
                    openings.stand_record();
                    return Ok(Some(line));
                }
                Next::Part(at) => {
                    let rows =
                        self.runtime.block_on(self.folder.load(&openings.parts[at])).map_err(failed)?;
                    openings.loaded.insert(at, rows.into_iter());
                    openings.stand_event(at);
                }
                Next::Event(at, line) => {
                    openings.stand_event(at);
                    return Ok(Some(line));
                }
            }
        }
        Ok(None)
    }

    fn begin(&self) -> Result<Openings, EvidenceError> {
        let parts = self.runtime.block_on(self.folder.parts()).map_err(failed)?.newest;
        let records = self.file(OPENINGS, MAX_RECORDS_LEN)?.unwrap_or_default();
        let records: Vec<Vec<u8>> = records
            .split(|byte| *byte == b'\n')
            .filter(|line| !line.is_empty())
            .map(<[u8]>::to_vec)
            .collect();
        let numbers = self.manifest.logs.iter().zip(0..).map(|(log, number)| (log.log_id, number)).collect();
        let mut openings = Openings {
            numbers,
            loaded: HashMap::new(),
            records: records.into_iter(),
            next: BinaryHeap::new(),
            parts,
        };
        for (at, part) in openings.parts.iter().enumerate() {
            openings.next.push(Reverse((openings.number(part.log), part.first, Next::Part(at))));
        }
        openings.stand_record();
        Ok(openings)
    }
}

impl Openings {
    /// The place of a log among the others; one that is not named stands last, and the verifier says so.
    fn number(&self, log: LogId) -> usize {
        self.numbers.get(&log).copied().unwrap_or(usize::MAX)
    }

    fn stand_record(&mut self) {
        if let Some(line) = self.records.next() {
            let place = OpeningLine::parse(&line).ok().and_then(|line| line.place);
            // What cannot be read is given at once, for the verifier to judge.
            let (number, leaf) = place.map_or((0, 0), |(log, leaf)| (self.number(log), leaf));
            self.next.push(Reverse((number, leaf, Next::Line(line))));
        }
    }

    fn stand_event(&mut self, at: usize) {
        match self.loaded.get_mut(&at).and_then(Iterator::next) {
            Some(row) => {
                let line = OpeningLine {
                    place: Some((row.log, row.leaf)),
                    id: Some(row.id),
                    opening: Some(row.opening),
                    ..OpeningLine::default()
                };
                let mut line = line.to_json().into_bytes();
                line.pop();
                self.next.push(Reverse((self.number(row.log), row.leaf, Next::Event(at, line))));
            }
            None => {
                self.loaded.remove(&at);
            }
        }
    }
}

fn failed(error: ArchiveError) -> EvidenceError {
    EvidenceError::Archive(Box::new(error))
}
