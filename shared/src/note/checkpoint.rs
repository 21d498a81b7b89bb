//! Checkpoints of a log (c2sp.org/tlog-checkpoint): origin, size and root on three lines.

use core::fmt;
use core::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;

use crate::leaf::Hash;

/// Why a text is not a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("checkpoint has no well-formed {0}")]
pub struct CheckpointError(&'static str);

/// The head of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's origin, such as `audit.example.com/log/3f…`.
    pub origin: String,
    /// How many entries it holds.
    pub size: u64,
    /// The root of the tree over them.
    pub root: Hash,
}

impl fmt::Display for Checkpoint {
    /// The note's text.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}\n{}\n", self.origin, self.size, BASE64.encode(self.root))
    }
}

impl FromStr for Checkpoint {
    type Err = CheckpointError;

    /// Reads a note's text; extension lines are allowed and ignored.
    fn from_str(text: &str) -> Result<Self, CheckpointError> {
        let mut lines = text.split('\n');
        let origin = lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError("origin"))?;
        let size = lines.next().ok_or(CheckpointError("size"))?;
        let size: u64 = size
            .parse()
            .ok()
            .filter(|number: &u64| number.to_string() == size)
            .ok_or(CheckpointError("size"))?;
        let root = lines.next().and_then(|line| BASE64.decode(line).ok()).ok_or(CheckpointError("root"))?;
        let root = root.try_into().map_err(|_| CheckpointError("root"))?;
        Ok(Self { origin: origin.to_owned(), size, root })
    }
}
