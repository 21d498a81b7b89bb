//! A bundle in a tar, read in slices: what is held is the list of names and one piece at a time.

use std::collections::BTreeMap;

use shared::bundle::tar::{self, BLOCK, Member, TarError};
use shared::bundle::{ABSENCES, MAX_LINE_LEN, OPENINGS};
use shared::verify::Source;
use uuid::Uuid;

/// Members of a bundle: a log of ten million events has some eighty thousand tiles.
const MAX_MEMBERS: usize = 2_000_000;

/// Bytes that are read ahead of the openings.
const PIECE: usize = 1 << 16;

/// Why a file was not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ArchiveError {
    /// A header that is none.
    #[error("this is no tar: {0}")]
    Header(#[from] TarError),
    /// It breaks off.
    #[error("the file ends inside {0}")]
    Cut(String),
    /// Too many members.
    #[error("the file holds over {MAX_MEMBERS} members")]
    TooMany,
    /// The page could not read it.
    #[error("the file could not be read at byte {0}")]
    Unread(u64),
}

/// Bytes at any place.
pub(crate) trait Bytes {
    /// How many there are.
    fn size(&self) -> u64;

    /// `len` bytes from there.
    fn read(&self, from: u64, len: usize) -> Result<Vec<u8>, ArchiveError>;
}

#[cfg(test)]
impl Bytes for Vec<u8> {
    fn size(&self) -> u64 {
        self.len() as u64
    }

    fn read(&self, from: u64, len: usize) -> Result<Vec<u8>, ArchiveError> {
        let from_here = usize::try_from(from).ok().and_then(|from| self.get(from..from + len));
        from_here.map(<[u8]>::to_vec).ok_or(ArchiveError::Unread(from))
    }
}

/// A tar with its table of contents.
pub(crate) struct Archive<B> {
    bytes: B,
    /// Name to place and size.
    members: BTreeMap<String, (u64, u64)>,
    /// Where the next piece of the openings stands, and what of them is read and not given yet.
    ahead: Option<(u64, Vec<u8>)>,
}

impl<B: Bytes> Archive<B> {
    pub(crate) fn open(bytes: B) -> Result<Self, ArchiveError> {
        let mut members = BTreeMap::new();
        let mut at = 0;
        while at < bytes.size() {
            if bytes.size() - at < BLOCK as u64 {
                return Err(ArchiveError::Cut("a header".to_owned()));
            }
            let header: [u8; BLOCK] =
                bytes.read(at, BLOCK)?.try_into().map_err(|_| ArchiveError::Unread(at))?;
            at += BLOCK as u64;
            let (name, size) = match tar::read(&header)? {
                Member::End => break,
                Member::File(name, size) => (Some(name), size),
                Member::Other(size) => (None, size),
            };
            if size > bytes.size() - at {
                return Err(ArchiveError::Cut(name.unwrap_or_else(|| "a member".to_owned())));
            }
            if let Some(name) = name {
                members.insert(name, (at, size));
            }
            if members.len() > MAX_MEMBERS {
                return Err(ArchiveError::TooMany);
            }
            at += size + tar::padding(size) as u64;
        }
        Ok(Self { bytes, members, ahead: None })
    }
}

impl<B: Bytes> Source for Archive<B> {
    type Error = ArchiveError;

    fn file(&mut self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some((at, size)) = self.members.get(path).copied() else { return Ok(None) };
        let len = usize::try_from(size).unwrap_or(usize::MAX).min(limit);
        self.bytes.read(at, len).map(Some)
    }

    fn absences(&mut self) -> Result<Vec<Uuid>, ArchiveError> {
        let records = self.members.keys().filter_map(|name| name.strip_prefix(ABSENCES)?.strip_prefix('/'));
        Ok(records.filter_map(|name| Uuid::parse_str(name).ok()).collect())
    }

    fn has_openings(&mut self) -> Result<bool, ArchiveError> {
        Ok(self.members.contains_key(OPENINGS))
    }

    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, ArchiveError> {
        let Some((start, size)) = self.members.get(OPENINGS).copied() else { return Ok(None) };
        let (mut at, mut held) = self.ahead.take().unwrap_or((start, Vec::new()));
        let end = start + size;
        loop {
            let line_end = held.iter().position(|byte| *byte == b'\n');
            if let Some(line_end) = line_end {
                let rest = held.split_off(line_end + 1);
                held.pop();
                self.ahead = Some((at, rest));
                return Ok(Some(held));
            }
            if held.len() > MAX_LINE_LEN || at == end {
                self.ahead = Some((at, Vec::new()));
                return Ok(Some(held).filter(|line| !line.is_empty()));
            }
            let len = usize::try_from(end - at).unwrap_or(usize::MAX).min(PIECE);
            held.extend(self.bytes.read(at, len)?);
            at += len as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(files: &[(&str, &[u8])]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for (name, text) in files {
            bytes.extend(tar::header(name, text.len() as u64).expect("a short name"));
            bytes.extend_from_slice(text);
            bytes.resize(bytes.len().next_multiple_of(BLOCK), 0);
        }
        bytes.resize(bytes.len() + 2 * BLOCK, 0);
        bytes
    }

    #[test]
    fn files_are_found_by_name_and_lines_come_one_by_one() {
        let long = "x".repeat(3 * PIECE / 2);
        let lines = format!("one\n{long}\n\nlast");
        let bytes = archive(&[("a", b"12345"), (OPENINGS, lines.as_bytes())]);
        let mut archive = Archive::open(bytes).expect("a tar");
        assert_eq!(archive.file("a", 3), Ok(Some(b"123".to_vec())));
        assert_eq!(archive.file("b", 3), Ok(None));
        let mut line = || archive.next_opening().expect("readable").map(|line| line.len());
        assert_eq!(
            [line(), line(), line(), line(), line()],
            [Some(3), Some(long.len()), Some(0), Some(4), None]
        );
    }

    #[test]
    fn a_tar_that_breaks_off_says_where() {
        let bytes = archive(&[("first", &[1; 600])]);
        let cut = Archive::open(bytes[..700].to_vec()).err().expect("refused");
        assert_eq!(cut.to_string(), "the file ends inside first");
    }
}
