//! Verification: does a log say what it said when its heads were signed, and is everything there that should be.
//!
//! Nothing is believed because somebody returned it. The entries are hashed up to the root that the head signs, every
//! opening is hashed down to its entry, and whatever is missing must be named by a record in the same log. What the keys
//! are worth stands outside: [`Trust`] holds keys and heads that the verifier kept.
//!
//! [`verify`] reads a whole bundle from a [`Source`], with 256 events in memory at a time; [`Verifier`] is the same for who
//! has the entries at hand. [`verify_proof`] is for one event.

mod absences;
mod head;
mod log;
mod record;
mod report;
mod restores;
mod selection;

pub use head::{KnownHead, Trust};
pub use log::{Held, TreeTile, Verifier};
pub use record::{ERASURE, LOG_REOPENED, RETENTION_DROP};
pub use report::{Check, Counts, Finding, Kind, LogReport, MAX_FINDINGS, Report, Verdict};
pub use selection::{ProvenError, verify_proof};

use uuid::Uuid;

use crate::bundle::{
    self, LogItem, MAX_ABSENCES_LEN, MAX_CHECKPOINT_LEN, MAX_TILE_LEN, Manifest, OpeningLine,
    checkpoint_path, previous_path, tile_path,
};
use crate::leaf::ENTRY_LEN;
use crate::tree::{TILE_WIDTH, TileRef};

/// Where a bundle's files come from.
pub trait Source {
    /// Why a file could not be read although it may be there.
    type Error;

    /// A file by its path, if it is there. One over the limit may be cut right after it.
    ///
    /// # Errors
    /// If it cannot be told.
    fn file(&mut self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, Self::Error>;

    /// The records whose lists of absences are there.
    ///
    /// # Errors
    /// If it cannot be told.
    fn absences(&mut self) -> Result<Vec<Uuid>, Self::Error>;

    /// Whether there are openings at all.
    ///
    /// # Errors
    /// If it cannot be told.
    fn has_openings(&mut self) -> Result<bool, Self::Error>;

    /// The next line of the openings, without its newline. One over [`bundle::MAX_LINE_LEN`] may be cut right after it.
    ///
    /// # Errors
    /// If it cannot be read.
    fn next_opening(&mut self) -> Result<Option<Vec<u8>>, Self::Error>;
}

/// Verifies a bundle. `progress` hears of entries: how many are done, and of how many.
///
/// # Errors
/// If the source cannot be read. Whatever is wrong with what was read stands in the report.
pub fn verify<S: Source>(
    source: &mut S,
    manifest: &Manifest,
    trust: Trust,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, S::Error> {
    if manifest.kind == bundle::Kind::Selection {
        return selection::verify(source, manifest, trust, progress);
    }
    let mut verifier = Verifier::new(Some(manifest.tenant.clone()), trust);
    if manifest.kind == bundle::Kind::Archive {
        verifier.of_archive();
    }
    for record in source.absences()? {
        let bytes = source.file(&bundle::absence_path(record), MAX_ABSENCES_LEN)?;
        verifier.absences(record, &bytes.unwrap_or_default());
    }
    let has_openings = source.has_openings()?;
    if !has_openings {
        verifier.note("there are no openings here: events were not checked, only entries".to_owned());
    }
    let mut lines = Lines { asked: has_openings, ..Lines::default() };
    let total = manifest.logs.iter().map(|log| log.size).sum();
    let mut done = 0;
    for (number, item) in manifest.logs.iter().enumerate() {
        let checkpoint = source.file(&checkpoint_path(item.log_id), MAX_CHECKPOINT_LEN + 1)?;
        let size = verifier.begin(item, checkpoint.as_deref());
        if item.previous.is_some()
            && let Some(note) = source.file(&previous_path(item.log_id), MAX_CHECKPOINT_LEN + 1)?
        {
            verifier.names(note);
        }
        let mut cut = None;
        while verifier.position() < size && cut.is_none() {
            cut = one_bundle(source, &mut verifier, &mut lines, (item, number), size, manifest)?;
            progress(done + verifier.position(), total);
        }
        for tile in verifier.partial_tiles() {
            compare(source, &mut verifier, item, &tile)?;
        }
        done += verifier.position();
        lines.leave(source, &mut verifier, number, size, manifest)?;
        verifier.end(cut);
    }
    lines.leave(source, &mut verifier, usize::MAX, u64::MAX, manifest)?;
    Ok(verifier.finish())
}

/// Takes in the next entry bundle; gives the reason if there is none.
fn one_bundle<S: Source>(
    source: &mut S,
    verifier: &mut Verifier,
    lines: &mut Lines,
    (item, number): (&LogItem, usize),
    size: u64,
    manifest: &Manifest,
) -> Result<Option<String>, S::Error> {
    let first = verifier.position();
    let of = |level: Option<u8>| {
        let tile = TileRef { level, index: first / TILE_WIDTH, width: 0 };
        TileRef { width: tile.width_at(size), ..tile }
    };
    let path = tile_path(item.log_id, of(None));
    let Some(bytes) = source.file(&path, MAX_TILE_LEN + 1)? else {
        return Ok(Some(format!("{path} is missing")));
    };
    let width = usize::from(of(None).width);
    let tile = source.file(&tile_path(item.log_id, of(Some(0))), MAX_TILE_LEN + 1)?;
    let held = lines.take(source, verifier, number, first..first + width as u64, manifest)?;
    let Some(full) = verifier.bundle(&bytes, tile.as_deref(), held.as_deref()) else {
        return Ok(Some(format!("{path} is not a bundle of entries")));
    };
    for tile in full {
        compare(source, verifier, item, &tile)?;
    }
    let here = bytes.len() / (2 + ENTRY_LEN);
    Ok((here != width).then(|| format!("{path} holds {here} entries instead of {width}")))
}

fn compare<S: Source>(
    source: &mut S,
    verifier: &mut Verifier,
    item: &LogItem,
    tile: &TreeTile,
) -> Result<(), S::Error> {
    if let Some(stored) = source.file(&tile_path(item.log_id, tile.tile), MAX_TILE_LEN + 1)? {
        verifier.compare_tile(tile, &stored);
    }
    Ok(())
}

/// The lines of the openings, in the order of the leaves.
#[derive(Default)]
struct Lines {
    asked: bool,
    ended: bool,
    number: u64,
    ahead: Option<OpeningLine>,
    /// The place of the last line that had one.
    last: Option<(usize, u64)>,
}

impl Lines {
    /// The lines of these leaves of a log, one place for each; none if nobody asked.
    fn take<S: Source>(
        &mut self,
        source: &mut S,
        verifier: &mut Verifier,
        log: usize,
        leaves: core::ops::Range<u64>,
        manifest: &Manifest,
    ) -> Result<Option<Vec<Option<OpeningLine>>>, S::Error> {
        if !self.asked {
            return Ok(None);
        }
        let mut held: Vec<Option<OpeningLine>> = Vec::new();
        held.resize_with(usize::try_from(leaves.end - leaves.start).unwrap_or(0), || None);
        while let Some((place, line)) = self.next(source, verifier, manifest)? {
            if place.is_some_and(|place| place >= (log, leaves.end)) || place.is_none() {
                self.ahead = Some(line);
                break;
            }
            let at = place.and_then(|(_, index)| usize::try_from(index.checked_sub(leaves.start)?).ok());
            match at.and_then(|at| held.get_mut(at)) {
                Some(slot) if slot.is_none() => *slot = Some(line),
                _ => verifier.duplicated(&line),
            }
        }
        Ok(Some(held))
    }

    /// Skips what is left of a log: events beyond its head.
    fn leave<S: Source>(
        &mut self,
        source: &mut S,
        verifier: &mut Verifier,
        log: usize,
        size: u64,
        manifest: &Manifest,
    ) -> Result<(), S::Error> {
        if !self.asked {
            return Ok(());
        }
        while let Some((place, line)) = self.next(source, verifier, manifest)? {
            match place {
                Some((of, index)) if of <= log => {
                    if index >= size {
                        verifier.waiting();
                    }
                }
                None if log == usize::MAX => verifier.waiting(),
                _ => {
                    self.ahead = Some(line);
                    break;
                }
            }
        }
        Ok(())
    }

    /// The next line that can be read, with the number of its log and its index.
    #[expect(clippy::type_complexity, reason = "a place and what stands there")]
    fn next<S: Source>(
        &mut self,
        source: &mut S,
        verifier: &mut Verifier,
        manifest: &Manifest,
    ) -> Result<Option<(Option<(usize, u64)>, OpeningLine)>, S::Error> {
        let place_of = |line: &OpeningLine| match line.place {
            Some((log, index)) => {
                let number = manifest.logs.iter().position(|item| item.log_id == log);
                number.map(|number| Some((number, index)))
            }
            None => Some(None),
        };
        if let Some(line) = self.ahead.take() {
            return Ok(place_of(&line).map(|place| (place, line)));
        }
        while !self.ended {
            let Some(bytes) = source.next_opening()? else {
                self.ended = true;
                break;
            };
            self.number += 1;
            let unreadable = |detail: String| Finding {
                kind: Kind::Unreadable,
                log: None,
                index: None,
                event: None,
                detail: format!("{}, line {}: {detail}", bundle::OPENINGS, self.number),
            };
            let line = match OpeningLine::parse(&bytes) {
                Ok(line) => line,
                Err(error) => {
                    verifier.find(unreadable(error.to_string()));
                    continue;
                }
            };
            match place_of(&line) {
                None => {
                    verifier.find(unreadable("it is of a log that the manifest does not name".to_owned()));
                }
                Some(Some(place)) if self.last.is_some_and(|last| last > place) => {
                    verifier.find(unreadable("it stands after a later leaf".to_owned()));
                }
                Some(Some(place)) if self.last == Some(place) => verifier.duplicated(&line),
                Some(place) => {
                    self.last = place.or(self.last);
                    return Ok(Some((place, line)));
                }
            }
        }
        Ok(None)
    }
}
