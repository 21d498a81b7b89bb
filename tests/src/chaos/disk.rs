//! A disk that can be filled: a file system in memory, so that nobody else's disk is full.

use std::fs::{self, File};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;

use super::ChaosError;

/// A new cluster takes 100 MB; what else is written in a long run stays below this.
const SIZE: &str = "1g";

/// The file system; it is taken away when this is dropped.
#[derive(Debug)]
pub struct Disk {
    dir: PathBuf,
}

impl Disk {
    /// Puts it over a folder, which only root may.
    ///
    /// # Errors
    /// Why not.
    pub fn mount(dir: &Path) -> Result<Self, ChaosError> {
        fs::create_dir_all(dir).map_err(ChaosError::file(dir))?;
        let options = format!("size={SIZE},mode=755");
        let output = Command::new("mount")
            .args(["-t", "tmpfs", "-o", &options, "edgetrail-chaos"])
            .arg(dir)
            .output()
            .map_err(|error| ChaosError::Disk(format!("mount: {error}")))?;
        if output.status.success() {
            Ok(Self { dir: dir.to_path_buf() })
        } else {
            Err(ChaosError::Disk(String::from_utf8_lossy(&output.stderr).trim().to_owned()))
        }
    }

    /// Leaves no byte free.
    ///
    /// # Errors
    /// It cannot be written to for another reason.
    pub fn fill(&self) -> Result<(), ChaosError> {
        let path = self.ballast();
        let mut file = File::create(&path).map_err(ChaosError::file(&path))?;
        let block = vec![0; 64 << 10];
        loop {
            match file.write_all(&block) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::StorageFull => return Ok(()),
                Err(error) => return Err(ChaosError::file(&path)(error)),
            }
        }
    }

    /// Makes room again.
    ///
    /// # Errors
    /// What filled it is gone.
    pub fn free(&self) -> Result<(), ChaosError> {
        let path = self.ballast();
        fs::remove_file(&path).map_err(ChaosError::file(&path))
    }

    fn ballast(&self) -> PathBuf {
        self.dir.join("ballast")
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a process that ends late may still have a file open. If it fails, the folder stays with its disk.
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_disk_takes_nothing_until_it_is_freed() {
        let dir = tempfile::tempdir().expect("a folder");
        let disk = match Disk::mount(dir.path()) {
            Ok(disk) => disk,
            Err(error) => return println!("left out: {error}"),
        };
        disk.fill().expect("it can be filled");
        let refused = fs::write(dir.path().join("more"), vec![0; 128 << 10]).expect_err("it is full");
        assert_eq!(refused.kind(), io::ErrorKind::StorageFull);
        disk.free().expect("it can be freed");
        fs::write(dir.path().join("more"), vec![0; 128 << 10]).expect("there is room");
    }
}
