//! A path below a log's prefix.
#![no_main]

use libfuzzer_sys::fuzz_target;
use shared::tree::{TILE_WIDTH, TileRef};

fuzz_target!(|path: &str| {
    let Ok(tile) = path.parse::<TileRef>() else {
        return;
    };
    assert_eq!(tile.to_string(), path, "one spelling per tile");
    assert!(tile.level.is_none_or(|level| level <= 63));
    assert!((1..=TILE_WIDTH).contains(&u64::from(tile.width)));
    tile.first_leaf();
    for size in [0, 1, 256, u64::from(u32::MAX), u64::MAX] {
        assert!(u64::from(tile.width_at(size)) <= TILE_WIDTH);
    }
});
