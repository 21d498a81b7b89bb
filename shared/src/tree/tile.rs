//! Tiles: 256 hashes each, and their paths (c2sp.org/tlog-tiles, "Merkle Tree" and "Log Entries").

use core::fmt;
use core::str::FromStr;

/// Hashes in a full tile and entries in a full bundle.
pub const TILE_WIDTH: u64 = 256;

/// Why a path is not a tile's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a tile path: {0}")]
pub struct TileError(&'static str);

/// A tile or entry bundle as a path names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TileRef {
    /// The level, 0 to 63; none for an entry bundle.
    pub level: Option<u8>,
    /// The index within the level.
    pub index: u64,
    /// Hashes or entries asked for: 1 to 255 for a partial one, 256 for a full one.
    pub width: u16,
}

impl TileRef {
    /// The index of the first leaf under the tile.
    pub fn first_leaf(&self) -> Option<u64> {
        let level = u32::from(self.level.unwrap_or(0));
        self.index.checked_mul(TILE_WIDTH)?.checked_mul(TILE_WIDTH.checked_pow(level)?)
    }

    /// How wide the tile is in a tree of `size` leaves, 0 to 256.
    pub fn width_at(&self, size: u64) -> u16 {
        let level = u32::from(self.level.unwrap_or(0));
        let Some(per_hash) = TILE_WIDTH.checked_pow(level) else {
            return 0;
        };
        let Some(first) = self.index.checked_mul(TILE_WIDTH) else {
            return 0;
        };
        let width = (size / per_hash).saturating_sub(first).min(TILE_WIDTH);
        u16::try_from(width).expect("at most 256")
    }
}

impl fmt::Display for TileRef {
    /// The path below the log's prefix, such as `tile/0/x001/067.p/3`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.level {
            Some(level) => write!(f, "tile/{level}/")?,
            None => f.write_str("tile/entries/")?,
        }
        let mut groups = vec![self.index % 1000];
        let mut rest = self.index / 1000;
        while rest > 0 {
            groups.push(rest % 1000);
            rest /= 1000;
        }
        for group in groups[1..].iter().rev() {
            write!(f, "x{group:03}/")?;
        }
        write!(f, "{:03}", groups[0])?;
        if u64::from(self.width) < TILE_WIDTH {
            write!(f, ".p/{}", self.width)?;
        }
        Ok(())
    }
}

impl FromStr for TileRef {
    type Err = TileError;

    fn from_str(path: &str) -> Result<Self, TileError> {
        let rest = path.strip_prefix("tile/").ok_or(TileError("it does not begin with tile/"))?;
        let (level, rest) = rest.split_once('/').ok_or(TileError("it has no index"))?;
        let level = match level {
            "entries" => None,
            number => Some(
                number
                    .parse::<u8>()
                    .ok()
                    .filter(|level| *level <= 63 && level.to_string() == number)
                    .ok_or(TileError("its level is not 0 to 63"))?,
            ),
        };
        let (rest, width) = match rest.split_once(".p/") {
            Some((rest, width)) => {
                let number: u16 = width.parse().map_err(|_| TileError("its width is not 1 to 255"))?;
                if !(1..=255).contains(&number) || number.to_string() != width {
                    return Err(TileError("its width is not 1 to 255"));
                }
                (rest, number)
            }
            None => (rest, 256),
        };
        let mut index = 0_u64;
        let groups: Vec<&str> = rest.split('/').collect();
        for (at, group) in groups.iter().enumerate() {
            let last = at + 1 == groups.len();
            let digits = if last { Some(*group) } else { group.strip_prefix('x') };
            let digits = digits
                .filter(|digits| digits.len() == 3 && digits.bytes().all(|byte| byte.is_ascii_digit()))
                .ok_or(TileError("its index is not groups of three digits"))?;
            if at == 0 && !last && digits == "000" {
                return Err(TileError("its index has leading zeros"));
            }
            index = index
                .checked_mul(1000)
                .and_then(|index| index.checked_add(digits.parse().expect("three digits")))
                .ok_or(TileError("its index is too large"))?;
        }
        Ok(Self { level, index, width })
    }
}

/// An entry bundle: each entry with its length as u16be before it.
pub fn encode_bundle<'a>(entries: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut bundle = Vec::new();
    for entry in entries {
        let len = u16::try_from(entry.len()).expect("entries are 42 bytes");
        bundle.extend_from_slice(&len.to_be_bytes());
        bundle.extend_from_slice(entry);
    }
    bundle
}
