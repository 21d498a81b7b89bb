//! The directory of certificates, outside the database: what a restored copy of the database does not know.
//!
//! Files are only added. `{request}.{n}.certificate` is a signed note, `{request}.names` the hashes of what the person was
//! known by, which say nothing without `privacy.key`.

use std::fs;
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use shared::leaf::Hash;
use uuid::Uuid;

use super::certificate::MAX_CERTIFICATE_LEN;

/// The directory.
#[derive(Debug, Clone)]
pub(super) struct Shelf(PathBuf);

impl Shelf {
    /// A directory, made when something is put into it.
    pub(super) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    /// Puts a certificate there and the hashes beside it; durable when it returns.
    pub(super) fn put(&self, request: Uuid, note: &str, hashes: &[Hash]) -> io::Result<()> {
        fs::create_dir_all(&self.0)?;
        if !hashes.is_empty() {
            let lines: String = hashes.iter().map(|hash| hex::encode(hash) + "\n").collect();
            self.write(&format!("{request}.names"), &lines)?;
        }
        if self.notes()?.iter().any(|known| known == note) {
            return Ok(());
        }
        let free = |n: &u32| !self.0.join(format!("{request}.{n}.certificate")).exists();
        let n = (1..=u32::MAX).find(free).unwrap_or(u32::MAX);
        self.write(&format!("{request}.{n}.certificate"), note)
    }

    /// All certificates, in the order of their names.
    pub(super) fn notes(&self) -> io::Result<Vec<String>> {
        let entries = match fs::read_dir(&self.0) {
            Ok(entries) => entries,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(error),
        };
        let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<io::Result<_>>()?;
        paths.retain(|path| path.extension().is_some_and(|end| end == "certificate"));
        paths.sort();
        let readable =
            |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() <= MAX_CERTIFICATE_LEN as u64);
        paths.iter().filter(|path| readable(path)).map(fs::read_to_string).collect()
    }

    /// The hashes of what the person of a request was known by.
    pub(super) fn hashes(&self, request: Uuid) -> io::Result<Vec<Hash>> {
        let text = match fs::read_to_string(self.0.join(format!("{request}.names"))) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(error),
        };
        let hash = |line: &str| {
            let mut hash = [0; 32];
            hex::decode_to_slice(line, &mut hash).ok().map(|()| hash)
        };
        Ok(text.lines().filter_map(hash).collect())
    }

    fn write(&self, name: &str, text: &str) -> io::Result<()> {
        let (path, draft) = (self.0.join(name), self.0.join(format!("{name}.new")));
        let mut file = fs::File::create(&draft)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        fs::rename(&draft, &path)?;
        sync_dir(&self.0)
    }
}

fn sync_dir(path: &Path) -> io::Result<()> {
    fs::File::open(path)?.sync_all()
}
