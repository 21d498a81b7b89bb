//! Tiles and their paths, held against `tlog_tiles`.

use proptest::prelude::*;
use shared::tree::{TILE_WIDTH, TileRef, encode_bundle};

fn tile(level: u8, index: u64, width: u16) -> TileRef {
    TileRef { level: Some(level), index, width }
}

fn parse(path: &str) -> Option<TileRef> {
    path.parse().ok()
}

#[test]
fn paths_are_written_as_the_specification_says() {
    for (tile, path) in [
        (tile(0, 0, 256), "tile/0/000"),
        (tile(63, 999, 1), "tile/63/999.p/1"),
        (tile(1, 1000, 255), "tile/1/x001/000.p/255"),
        (tile(0, 1_234_067, 256), "tile/0/x001/x234/067"),
        (TileRef { level: None, ..tile(0, 5, 3) }, "tile/entries/005.p/3"),
        (tile(0, u64::MAX, 256), "tile/0/x018/x446/x744/x073/x709/x551/615"),
    ] {
        assert_eq!(tile.to_string(), path);
        assert_eq!(parse(path), Some(tile));
    }
}

#[test]
fn what_is_no_path_is_refused() {
    for path in [
        "",
        "tile",
        "tile/",
        "tile/0",
        "tile/0/",
        "/tile/0/000",
        "tiles/0/000",
        "checkpoint",
        // Levels.
        "tile/64/000",
        "tile/00/000",
        "tile/01/000",
        "tile/-1/000",
        "tile/+1/000",
        "tile/256/000",
        "tile//000",
        "tile/data/000",
        "tile/Entries/000",
        // Indexes.
        "tile/0/0",
        "tile/0/00",
        "tile/0/0000",
        "tile/0/0a0",
        "tile/0/x000",
        "tile/0/x000/000",
        "tile/0/x000/x001/000",
        "tile/0/001/000",
        "tile/0/x001/x000",
        "tile/0/x1/000",
        "tile/0/X001/000",
        "tile/0/x001//000",
        "tile/0/000/",
        "tile/0/+00",
        "tile/0/\u{663}\u{663}\u{663}",
        "tile/0/x018/x446/x744/x073/x709/x551/616",
        "tile/0/x001/x000/x000/x000/x000/x000/x000/000",
        // Widths.
        "tile/0/000.p/0",
        "tile/0/000.p/256",
        "tile/0/000.p/257",
        "tile/0/000.p/01",
        "tile/0/000.p/+1",
        "tile/0/000.p/",
        "tile/0/000.p",
        "tile/0/000.p/1/",
        "tile/0/000.p/1.p/1",
        "tile/0/x001.p/1/000",
        "tile/0/000.p/65537",
    ] {
        assert_eq!(parse(path), None, "{path}");
    }
}

#[test]
fn inner_groups_may_be_zeros() {
    assert_eq!(parse("tile/0/x001/x000/000"), Some(tile(0, 1_000_000, 256)));
}

#[test]
fn a_tile_is_as_wide_as_the_tree_has_filled_it() {
    for (level, index, size, width) in [
        (0, 0, 0, 0),
        (0, 0, 1, 1),
        (0, 0, 255, 255),
        (0, 0, 256, 256),
        (0, 0, 70_000, 256),
        (0, 1, 256, 0),
        (0, 1, 300, 44),
        (1, 0, 255, 0),
        (1, 0, 256, 1),
        (1, 0, 65_535, 255),
        (1, 0, 65_536, 256),
        (1, 1, 65_536, 0),
        (2, 0, 65_536, 1),
        (7, 0, u64::MAX, 255),
        (8, 0, u64::MAX, 0),
        (63, 0, u64::MAX, 0),
        (0, u64::MAX, u64::MAX, 0),
        (0, u64::MAX / 256, u64::MAX, 255),
    ] {
        assert_eq!(tile(level, index, 256).width_at(size), width, "{level} {index} {size}");
    }
}

#[test]
fn a_tile_begins_at_a_leaf() {
    assert_eq!(tile(0, 3, 256).first_leaf(), Some(768));
    assert_eq!(tile(2, 1, 256).first_leaf(), Some(1 << 24));
    assert_eq!(TileRef { level: None, ..tile(0, 3, 1) }.first_leaf(), Some(768));
    assert_eq!(tile(0, u64::MAX, 256).first_leaf(), None);
    assert_eq!(tile(63, 1, 256).first_leaf(), None);
}

#[test]
fn a_bundle_holds_each_entry_behind_its_length() {
    let entries = [&[7; 42][..], b"", b"ab"];
    let bundle = encode_bundle(entries.into_iter());
    let want = [&[0, 42][..], &[7; 42], &[0, 0], &[0, 2], b"ab"].concat();
    assert_eq!(bundle, want);
}

proptest! {
    #[test]
    fn a_tile_survives_its_path(level in prop::option::of(0..=63_u8), index: u64, width in 1..=256_u16) {
        let tile = TileRef { level, index, width };
        prop_assert_eq!(tile.to_string().parse(), Ok(tile));
    }

    #[test]
    fn a_path_has_no_second_spelling(path in "tile/([0-9]{1,2}|entries)(/x[0-9]{3}){0,3}/[0-9]{3}(\\.p/[0-9]{1,3})?") {
        if let Ok(tile) = path.parse::<TileRef>() {
            prop_assert_eq!(tile.to_string(), path);
        }
    }

    #[test]
    fn others_understand_our_paths(level in 0..=62_u8, index in 0..=u64::from(u32::MAX), width in 1..=256_u16, data: bool) {
        let ours = TileRef { level: (!data).then_some(level), index, width };
        // Theirs names the height of a tile as well, and entry bundles `data`.
        let path = ours.to_string().replacen("tile/", "tile/8/", 1).replace("/entries/", "/data/");
        let theirs = tlog_tiles::Tile::from_path(&path).expect("understood");
        prop_assert_eq!(theirs.level_index(), index);
        prop_assert_eq!(theirs.width(), u32::from(width));
        prop_assert_eq!(theirs.is_data(), data);
        prop_assert!(data || theirs.level() == level);
        prop_assert_eq!(theirs.path(), path);
    }

    #[test]
    fn widths_of_a_level_add_up_to_its_hashes(level in 0..3_u8, size in 0..200_000_u64) {
        let hashes = size / TILE_WIDTH.pow(u32::from(level));
        let total: u64 = (0..=hashes / TILE_WIDTH).map(|index| u64::from(tile(level, index, 256).width_at(size))).sum();
        prop_assert_eq!(total, hashes);
    }
}
