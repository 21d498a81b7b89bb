//! One log: entries to root, and each opening to its entry.

use uuid::Uuid;

use super::absences::{Absences, Leaf};
use super::head::{KnownHead, Trust, own_part, read, signed};
use super::record::{LOG_REOPENED, is_record, own};
use super::report::{Check, Finding, Kind, LogReport, Report};
use super::restores::Restores;
use crate::bundle::{LogId, LogItem, OpeningLine, entries_of};
use crate::event::{RetentionClass, TenantId};
use crate::leaf::{ENTRY_LEN, Glance, Hash};
use crate::note::Checkpoint;
use crate::tree::{CompactRange, TILE_WIDTH, TileRef, leaf_hash, succession_digest};

/// Openings that hash to another leaf, and leaves without their own: kept to find out who was swapped with whom.
const MAX_STRAYS: usize = 10_000;

/// What is held of a leaf's event.
#[derive(Debug, Clone, Copy)]
pub enum Held<'a> {
    /// A line of the openings.
    Line(&'a OpeningLine),
    /// No line, where there should be one.
    Nothing,
    /// Nobody asked for openings.
    NotAsked,
}

/// A leaf and a digest: of its entry, or of what stands in its place.
#[derive(Debug, Clone, Copy)]
struct Stray {
    leaf: Leaf,
    digest: Hash,
    /// Whether something stands there at all.
    held: bool,
}

/// The head that a log must lead to.
#[derive(Debug, Clone)]
struct Head {
    checkpoint: Checkpoint,
    /// The note as the log itself signed it.
    own: Vec<u8>,
}

/// The last head of a log that was verified.
#[derive(Debug)]
struct LastHead {
    item: LogItem,
    head: Option<Head>,
    /// Known heads of it that cover more.
    beyond: Vec<KnownHead>,
}

/// Verifies logs one after the other, the oldest first: [`Self::begin`], entry by entry, [`Self::end`], and at last
/// [`Self::finish`].
#[derive(Debug)]
pub struct Verifier {
    tenant: Option<TenantId>,
    trust: Trust,
    report: Report,
    absences: Absences,
    restores: Restores,
    /// Last heads of the logs before.
    heads: Vec<LastHead>,
    strays: Vec<Stray>,
    unmatched: u64,
    log: Option<LogState>,
}

#[derive(Debug)]
struct LogState {
    item: LogItem,
    report: LogReport,
    head: Option<Head>,
    /// The head of the log before that leaf 0 is said to name.
    named: Option<Vec<u8>>,
    /// The leaf at which it begins.
    first: u64,
    range: CompactRange,
    /// The tree over the stored tiles, from the first tile on that is another than the entries'.
    tiled: Option<CompactRange>,
    differing: Option<u64>,
    known: Vec<KnownHead>,
    /// Level 1 upwards: hashes of the tile that is being filled.
    levels: Vec<Vec<Hash>>,
}

/// A hash tile of the tree, to be held against the stored one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TreeTile {
    /// Which.
    pub tile: TileRef,
    /// Its hashes.
    pub hashes: Vec<u8>,
}

impl Verifier {
    /// A verifier of a tenant's logs; without a tenant it does not look whose events they are.
    pub fn new(tenant: Option<TenantId>, trust: Trust) -> Self {
        Self {
            tenant,
            trust,
            report: Report::default(),
            absences: Absences::default(),
            restores: Restores::default(),
            heads: Vec::new(),
            strays: Vec::new(),
            unmatched: 0,
            log: None,
        }
    }

    /// What is verified is an archive: of the events it holds those that the database let go.
    pub fn of_archive(&mut self) {
        self.absences.of_archive();
    }

    /// A list of absences and the record that it is said to belong to. All lists come before the first log.
    pub fn absences(&mut self, record: Uuid, bytes: &[u8]) {
        self.absences.add(record, bytes);
    }

    /// Something that is wrong with what is not a log's.
    pub fn find(&mut self, finding: Finding) {
        self.report.find(finding);
    }

    /// A record among the events of a leaf that is not visited. Whoever hands it in has held it against its entry.
    pub fn record(&mut self, log: LogId, index: u64, opening: &[u8]) {
        self.note_record(Leaf { log, index, event: None }, opening);
    }

    /// A line for a leaf that has its own.
    pub fn duplicated(&mut self, line: &OpeningLine) {
        self.find(Finding {
            kind: Kind::Duplicated,
            log: line.place.map(|(log, _)| log),
            index: line.place.map(|(_, index)| index),
            event: line.id,
            detail: "another event claims the same leaf".to_owned(),
        });
    }

    /// Something that a reader should know.
    pub fn note(&mut self, note: String) {
        self.report.notes.push(note);
    }

    /// An event that waits for its place.
    pub fn waiting(&mut self) {
        self.report.counts.not_yet_sequenced += 1;
    }

    /// Begins a log with its signed head, if there is one. Gives the size that the head covers.
    pub fn begin(&mut self, item: &LogItem, checkpoint: Option<&[u8]>) -> u64 {
        self.absences.begin(item.log_id);
        let mut report = LogReport::new(item.log_id);
        let mut wrong = |kind, detail: String| {
            report.signature = Check::Failed;
            self.report.find(Finding { kind, log: Some(item.log_id), index: None, event: None, detail });
        };
        let mut head = None;
        match checkpoint.map(|bytes| (bytes, read(bytes))) {
            None => wrong(Kind::HeadMissing, "its checkpoint is not found".to_owned()),
            Some((_, Err(error))) => wrong(Kind::Unreadable, format!("its checkpoint: {error}")),
            Some((bytes, Ok((note, checkpoint)))) => {
                if checkpoint.origin == item.origin {
                    match signed(&note, item, &self.trust) {
                        Ok(()) => report.signature = Check::Passed,
                        Err((kind, detail)) => wrong(kind, detail),
                    }
                } else {
                    let detail =
                        format!("its checkpoint is of {}, not of {}", checkpoint.origin, item.origin);
                    wrong(Kind::HeadElsewhere, detail);
                }
                let own = own_part(&note, bytes, &item.origin);
                head = Some(Head { checkpoint, own });
            }
        }
        let mut known: Vec<KnownHead> = self
            .trust
            .heads
            .iter()
            .filter(|head| head.checkpoint.origin == item.origin && head.checkpoint.size > 0)
            .cloned()
            .collect();
        known.sort_by_key(|head| std::cmp::Reverse(head.checkpoint.size));
        let size = head.as_ref().map_or(item.size, |head| head.checkpoint.size);
        report.size = size;
        self.log = Some(LogState { head, known, ..LogState::new(item, report) });
        size
    }

    /// Begins at a leaf in the middle of a log: what is held of the leaves is checked, the tree over them is not.
    pub fn begin_at(&mut self, item: &LogItem, first: u64) {
        self.absences.begin(item.log_id);
        self.log = Some(LogState { first, ..LogState::new(item, LogReport::new(item.log_id)) });
    }

    /// The signed head of the log before that leaf 0 of the log at hand is said to name.
    pub fn names(&mut self, note: Vec<u8>) {
        if let Some(log) = self.log.as_mut() {
            log.named = Some(note);
        }
    }

    /// The leaf of the log at hand that comes next.
    pub fn position(&self) -> u64 {
        self.log.as_ref().map_or(0, LogState::position)
    }

    /// Takes in an entry bundle. `tile` is the stored hash tile over the same leaves, if it is there; `lines` has one place
    /// for each leaf, or nobody asked. Gives the tiles of higher levels that are now full; nothing if the bytes are no
    /// bundle.
    pub fn bundle(
        &mut self,
        bytes: &[u8],
        tile: Option<&[u8]>,
        lines: Option<&[Option<OpeningLine>]>,
    ) -> Option<Vec<TreeTile>> {
        let entries = entries_of(bytes)?;
        self.tile_begins(tile, &entries);
        let mut hashes = Vec::with_capacity(entries.len());
        for (at, entry) in entries.into_iter().enumerate() {
            let held = match lines {
                None => Held::NotAsked,
                Some(lines) => lines.get(at).and_then(Option::as_ref).map_or(Held::Nothing, Held::Line),
            };
            hashes.push(self.leaf(entry, held));
        }
        Some(self.tile_ends(&hashes))
    }

    /// Takes in one leaf and gives its hash.
    pub fn leaf(&mut self, entry: &[u8; ENTRY_LEN], held: Held<'_>) -> Hash {
        let hash = leaf_hash(entry);
        let Some(log) = self.log.as_mut() else { return hash };
        let leaf = Leaf { log: log.item.log_id, index: log.position(), event: None };
        log.range.append(hash);
        self.report.counts.entries += 1;
        log.compare_known(&mut self.report);
        self.event(entry, held, leaf);
        hash
    }

    fn event(&mut self, entry: &[u8; ENTRY_LEN], held: Held<'_>, leaf: Leaf) {
        let class = RetentionClass::from_byte(entry[1]).filter(|_| entry[0] == 1);
        let Some(class) = class else {
            self.wrong(Kind::EntryEdited, leaf, "it is no entry of this log's version".to_owned());
            return;
        };
        let received_ms = u64::from_be_bytes(*entry[2..].first_chunk().expect("42 bytes"));
        let digest: &Hash = entry[10..].first_chunk().expect("42 bytes");
        self.absences.visit(leaf, class, received_ms);
        if leaf.index == 0 && self.succession(digest) {
            return;
        }
        match held {
            Held::NotAsked => {}
            Held::Nothing => self.gone(leaf, digest),
            Held::Line(line) => {
                let leaf = Leaf { event: line.id, ..leaf };
                match &line.opening {
                    Some(opening) => self.opening(line, opening, digest, class, leaf),
                    None if line.set_aside.is_some() => self.set_aside(class, leaf, digest),
                    None => self.gone(leaf, digest),
                }
                for (column, says) in &line.columns {
                    let says = says.as_deref().unwrap_or("nothing");
                    self.wrong(Kind::ColumnEdited, leaf, format!("column {column} says {says:?}"));
                }
            }
        }
    }

    fn gone(&mut self, leaf: Leaf, digest: &Hash) {
        if self.absences.explains_event() {
            self.absences.missing_event(leaf);
            self.passes(true);
        } else if self.absences.is_archive() {
            self.report.counts.in_database += 1;
        } else {
            self.stray(Stray { leaf, digest: *digest, held: false });
        }
    }

    fn opening(
        &mut self,
        line: &OpeningLine,
        opening: &[u8],
        digest: &Hash,
        class: RetentionClass,
        leaf: Leaf,
    ) {
        let glance = match Glance::at(opening) {
            Ok(glance) if glance.digest == *digest => glance,
            // What arrived broken is kept as it came; its leaf is of the class that is kept for long.
            _ if line.set_aside.is_some() => return self.set_aside(class, leaf, digest),
            Ok(glance) => return self.stray_opening(leaf, digest, glance.digest),
            Err(error) => {
                self.wrong(Kind::Edited, leaf, format!("its opening cannot be read: {error}"));
                return;
            }
        };
        self.passes(true);
        if line.set_aside.is_some() {
            self.report.counts.set_aside += 1;
            return;
        }
        let id = glance.structural(2).and_then(|id| Uuid::from_slice(id).ok());
        if id != line.id {
            let detail = format!("the opening is of event {}", id.unwrap_or_default());
            self.wrong(Kind::ColumnEdited, leaf, format!("column id does not say so: {detail}"));
        }
        if glance.structural(8) != Some(&[class.byte()]) {
            self.wrong(Kind::EntryEdited, leaf, "its class is not the event's".to_owned());
        }
        let tenant = glance.structural(1);
        if self.tenant.as_ref().is_some_and(|ours| tenant != Some(ours.as_str().as_bytes())) {
            self.wrong(Kind::Edited, leaf, "it is an event of another tenant".to_owned());
        }
        if glance.erased.is_empty() {
            self.report.counts.whole += 1;
        } else {
            self.absences.missing_fields(leaf, &glance.erased);
        }
        self.absences.there(&glance.present);
        if glance.structural(4).is_some_and(is_record) {
            self.note_record(leaf, opening);
        }
    }

    fn note_record(&mut self, leaf: Leaf, opening: &[u8]) {
        let Some(event) = own(opening) else { return };
        if event.action.as_str() == LOG_REOPENED {
            self.restores.record(leaf, &event);
        } else {
            self.absences.record(leaf, &event);
        }
    }

    /// Something arrived that could not be stored as an event. If it is unreadable, its leaf says critical.
    fn set_aside(&mut self, class: RetentionClass, leaf: Leaf, digest: &Hash) {
        if class == RetentionClass::Critical {
            self.report.counts.set_aside += 1;
        } else {
            self.stray(Stray { leaf, digest: *digest, held: false });
        }
    }

    fn stray_opening(&mut self, leaf: Leaf, entry: &Hash, found: Hash) {
        self.stray(Stray { leaf, digest: found, held: true });
        // Its own leaf may be looking for another opening, too.
        self.bare(leaf, entry);
    }

    fn bare(&mut self, leaf: Leaf, digest: &Hash) {
        if self.strays.len() < MAX_STRAYS {
            self.strays.push(Stray { leaf: Leaf { event: None, ..leaf }, digest: *digest, held: false });
        }
    }

    fn stray(&mut self, stray: Stray) {
        self.passes(false);
        if self.strays.len() < MAX_STRAYS {
            self.strays.push(stray);
        } else {
            self.unmatched += 1;
        }
    }

    /// Whether the first leaf of the log is the one that names the head of the log before.
    fn succession(&mut self, digest: &Hash) -> bool {
        let Some(log) = self.log.as_mut() else { return false };
        let Some(previous) = log.item.previous else { return false };
        self.report.counts.successions += 1;
        let id = log.item.log_id;
        let Some(before) = self.heads.iter().find(|before| before.item.log_id == previous) else {
            log.report.succession = Check::Failed;
            self.report.find(Finding {
                kind: Kind::LogMissing,
                log: Some(previous),
                index: None,
                event: None,
                detail: format!("log {id} follows it, and it is not here"),
            });
            return true;
        };
        // That there is no head was found before.
        let Some(head) = &before.head else { return true };
        let named = if succession_digest(&head.own) == *digest {
            Ok(None)
        } else {
            larger(&before.item, head, log.named.as_deref(), digest, &self.trust).map(Some)
        };
        log.report.succession.note(named.is_ok());
        match named {
            Ok(lost) => self.restores.follows(id, previous, head.checkpoint.size, lost),
            Err(detail) => {
                let (kind, log) = (Kind::SuccessionBroken, Some(id));
                self.report.find(Finding { kind, log, index: Some(0), event: None, detail });
            }
        }
        true
    }

    fn passes(&mut self, holds: bool) {
        if let Some(log) = self.log.as_mut() {
            log.report.openings.note(holds);
        }
    }

    fn wrong(&mut self, kind: Kind, leaf: Leaf, detail: String) {
        self.passes(false);
        self.report.find(Finding {
            kind,
            log: Some(leaf.log),
            index: Some(leaf.index),
            event: leaf.event,
            detail,
        });
    }

    fn tile_begins(&mut self, tile: Option<&[u8]>, entries: &[&[u8; ENTRY_LEN]]) {
        let Some(log) = self.log.as_mut() else { return };
        let (hashes, rest) = tile.unwrap_or_default().as_chunks::<32>();
        if tile.is_none() && log.tiled.is_none() {
            return;
        }
        let whole = rest.is_empty() && hashes.len() == entries.len();
        let same = whole && hashes.iter().zip(entries).all(|(hash, entry)| *hash == leaf_hash(*entry));
        if tile.is_some() {
            log.report.tiles.note(same);
        }
        if !same && log.differing.is_none() {
            let at = hashes.iter().zip(entries).position(|(hash, entry)| *hash != leaf_hash(*entry));
            log.differing = Some(log.range.size() + at.unwrap_or(0) as u64);
            log.tiled = Some(log.range.clone());
        }
        if let Some(tiled) = log.tiled.as_mut() {
            // Where no tile is stored, the entries stand for it.
            let stored = if tile.is_some() { hashes.to_vec() } else { Vec::new() };
            let made = entries.iter().skip(stored.len()).map(|entry| leaf_hash(*entry));
            stored.iter().copied().chain(made).take(entries.len()).for_each(|hash| tiled.append(hash));
        }
    }

    fn tile_ends(&mut self, hashes: &[Hash]) -> Vec<TreeTile> {
        let Some(log) = self.log.as_mut() else { return Vec::new() };
        let mut full = Vec::new();
        if hashes.len() as u64 == TILE_WIDTH {
            let mut root = root_of(hashes);
            let mut count = log.range.size() / TILE_WIDTH;
            for level in 1.. {
                if log.levels.len() < level {
                    log.levels.push(Vec::new());
                }
                let hashes = &mut log.levels[level - 1];
                hashes.push(root);
                if (hashes.len() as u64) < TILE_WIDTH {
                    break;
                }
                root = root_of(hashes);
                let tile =
                    TileRef { level: u8::try_from(level).ok(), index: count / TILE_WIDTH - 1, width: 256 };
                full.push(TreeTile { tile, hashes: std::mem::take(hashes).concat() });
                count /= TILE_WIDTH;
            }
        }
        full
    }

    /// The partial tiles of the higher levels, once all bundles are in.
    pub fn partial_tiles(&self) -> Vec<TreeTile> {
        let Some(log) = self.log.as_ref() else { return Vec::new() };
        let size = log.range.size();
        let mut tiles = Vec::new();
        for (level, hashes) in (1_u8..).zip(&log.levels).filter(|(_, hashes)| !hashes.is_empty()) {
            let width = u16::try_from(hashes.len()).unwrap_or(u16::MAX);
            let index = (size >> (8 * u32::from(level))) / TILE_WIDTH;
            tiles.push(TreeTile {
                tile: TileRef { level: Some(level), index, width },
                hashes: hashes.concat(),
            });
        }
        tiles
    }

    /// Holds a tile of a higher level against what is stored of it.
    pub fn compare_tile(&mut self, tile: &TreeTile, stored: &[u8]) {
        let Some(log) = self.log.as_mut() else { return };
        let same = tile.hashes == stored;
        log.report.tiles.note(same);
        if !same && log.differing.is_none() {
            let leaf = tile.tile.first_leaf();
            self.report.find(Finding {
                kind: Kind::TileEdited,
                log: Some(log.item.log_id),
                index: leaf,
                event: None,
                detail: format!("{} is not the tile of the tree over the entries", tile.tile),
            });
        }
    }

    /// Ends a log. `cut` says why the entries end before the head's size, if they do.
    pub fn end(&mut self, cut: Option<String>) {
        let Some(mut log) = self.log.take() else { return };
        let id = log.item.log_id;
        let whole = |kind, detail: String| Finding { kind, log: Some(id), index: None, event: None, detail };
        let size = log.range.size();
        if let Some(head) = &log.head {
            let covered = head.checkpoint.size;
            if size < covered {
                log.report.tree = Check::Failed;
                let why = cut.map(|why| format!(" ({why})")).unwrap_or_default();
                self.report.find(Finding {
                    index: Some(size),
                    ..whole(
                        Kind::Truncated,
                        format!("the head covers {covered} entries, and they end after {size}{why}"),
                    )
                });
            } else {
                let holds = log.range.root() == head.checkpoint.root;
                log.report.tree.note(holds);
                log.judge_tiles(holds, &mut self.report);
                if !holds && log.tiled.as_ref().is_none_or(|tiled| tiled.root() != head.checkpoint.root) {
                    let detail = "the entries do not give the root that the head signs".to_owned();
                    self.report.find(whole(Kind::RootMismatch, detail));
                }
            }
            if log.item.size > covered {
                log.report.consistency = Check::Failed;
                let detail =
                    format!("the bundle speaks of {} entries, its head covers {covered}", log.item.size);
                self.report.find(whole(Kind::Truncated, detail));
            }
        }
        // What is left of the known heads is beyond the end; a log after it may admit that.
        self.heads.push(LastHead { item: log.item, head: log.head, beyond: log.known });
        self.report.logs.push(log.report);
    }

    /// The report.
    pub fn finish(mut self) -> Report {
        let here = |head: &KnownHead| self.heads.iter().any(|log| log.item.origin == head.checkpoint.origin);
        let gone: Vec<KnownHead> = self.trust.heads.iter().filter(|head| !here(head)).cloned().collect();
        for head in gone {
            self.report.find(Finding {
                kind: Kind::LogMissing,
                log: head.checkpoint.origin.rsplit('/').next().and_then(|id| id.parse().ok()),
                index: None,
                event: None,
                detail: format!(
                    "{} knows {} entries of {}, and the whole log is gone",
                    head.name, head.checkpoint.size, head.checkpoint.origin
                ),
            });
        }
        self.settle_known();
        self.match_strays();
        let has_openings = self.report.logs.iter().any(|log| log.openings != Check::Skipped);
        self.restores.settle(has_openings, &mut self.report);
        if has_openings {
            self.absences.settle(&mut self.report);
            let unexplained = self.report.counts.unexplained;
            let lists =
                [Kind::AbsencesEdited, Kind::AbsencesUnrecorded, Kind::DroppedEarly, Kind::DroppedTooMuch];
            let wrong = lists.iter().any(|kind| self.report.totals.contains_key(kind));
            self.report.absences.note(unexplained == 0 && !wrong);
        }
        self.report
    }

    /// Known heads that cover more than there is: cut off, or lost as the log that goes on admits.
    fn settle_known(&mut self) {
        for LastHead { item, head, beyond } in std::mem::take(&mut self.heads) {
            let size = head.map_or(0, |head| head.checkpoint.size);
            let lost = self.restores.lost_head(item.log_id);
            for known in beyond {
                let (name, knows) = (&known.name, known.checkpoint.size);
                let (kind, detail) = match lost {
                    Some(lost) if knows < lost.size => {
                        self.report.notes.push(format!(
                            "{name} knows {knows} entries of log {}: they are lost, and nothing is left to compare it with",
                            item.log_id
                        ));
                        continue;
                    }
                    Some(lost) if lost.root == known.checkpoint.root && knows == lost.size => continue,
                    Some(lost) if knows == lost.size => known.other_tree(&item),
                    Some(lost) => {
                        let admits = lost.size;
                        let detail = format!(
                            "{name} knows {knows} entries of it, and the log after it admits {admits}"
                        );
                        (Kind::Truncated, detail)
                    }
                    None => {
                        let detail = format!(
                            "{name} knows {knows} entries of it, and there are {size}: what came after was cut off, or a \
                             backup was restored"
                        );
                        (Kind::Truncated, detail)
                    }
                };
                if let Some(log) = self.report.logs.iter_mut().find(|log| log.log == item.log_id) {
                    log.consistency = Check::Failed;
                }
                let log = Some(item.log_id);
                self.report.find(Finding { kind, log, index: None, event: None, detail });
            }
        }
    }

    /// Tells those that only changed places from those that were edited or are gone.
    fn match_strays(&mut self) {
        let strays = std::mem::take(&mut self.strays);
        let mut wanted: Vec<(Hash, Leaf)> =
            strays.iter().filter(|stray| !stray.held).map(|stray| (stray.digest, stray.leaf)).collect();
        wanted.sort_unstable_by_key(|(digest, leaf)| (*digest, leaf.log, leaf.index));
        let home = |digest: &Hash| {
            let at = wanted.binary_search_by_key(digest, |(wanted, _)| *wanted).ok()?;
            Some(wanted[at].1)
        };
        let mut moved = std::collections::BTreeSet::new();
        let mut occupied = std::collections::BTreeSet::new();
        let mut findings = Vec::new();
        for stray in strays.iter().filter(|stray| stray.held) {
            occupied.insert((stray.leaf.log, stray.leaf.index));
            let (kind, detail) = match home(&stray.digest) {
                Some(home) => {
                    moved.insert((home.log, home.index));
                    (Kind::Reordered, format!("what stands here is the event of leaf {}", home.index))
                }
                None => (Kind::Edited, "its opening does not hash to its entry".to_owned()),
            };
            findings.push((kind, stray.leaf, detail));
        }
        for stray in strays.iter().filter(|stray| !stray.held) {
            let place = (stray.leaf.log, stray.leaf.index);
            if occupied.contains(&place) {
                continue;
            }
            self.report.counts.unexplained += 1;
            let (kind, detail) = if moved.contains(&place) {
                (Kind::Reordered, "its event stands at another leaf".to_owned())
            } else {
                let detail = "its opening is gone, and no record of an erasure or a drop explains it";
                (Kind::Deleted, detail.to_owned())
            };
            findings.push((kind, stray.leaf, detail));
        }
        for (kind, leaf, detail) in findings {
            let (log, index) = (Some(leaf.log), Some(leaf.index));
            self.report.find(Finding { kind, log, index, event: leaf.event, detail });
        }
        if self.unmatched > 0 {
            self.report.counts.unexplained += self.unmatched;
            *self.report.totals.entry(Kind::Edited).or_default() += self.unmatched;
            self.report.notes.push(format!("{} more events are edited or gone", self.unmatched));
        }
    }
}

impl LogState {
    fn new(item: &LogItem, report: LogReport) -> Self {
        Self {
            item: item.clone(),
            report,
            head: None,
            named: None,
            first: 0,
            range: CompactRange::default(),
            tiled: None,
            differing: None,
            known: Vec::new(),
            levels: Vec::new(),
        }
    }

    fn position(&self) -> u64 {
        self.first + self.range.size()
    }

    /// Holds the tree of this size against the heads that are known of it.
    fn compare_known(&mut self, report: &mut Report) {
        while let Some(known) = self.known.pop_if(|known| known.checkpoint.size <= self.range.size()) {
            if known.checkpoint.size == 0 {
                continue;
            }
            let holds = known.checkpoint.root == self.range.root();
            self.report.consistency.note(holds);
            let same_key = known.is_signed_by(&self.item);
            if holds && !same_key {
                report
                    .notes
                    .push(format!("{} was signed with another key than the log names now", known.name));
            }
            if !holds {
                let (kind, detail) = known.other_tree(&self.item);
                report.find(Finding { kind, log: Some(self.item.log_id), index: None, event: None, detail });
            }
        }
    }

    /// Entries and tiles differ: the root tells which of them was changed.
    fn judge_tiles(&self, entries_hold: bool, report: &mut Report) {
        let (Some(tiled), Some(at), Some(head)) = (&self.tiled, self.differing, &self.head) else { return };
        let (kind, detail) = if entries_hold {
            (Kind::TileEdited, "the stored hash tile over it is not the one of the tree")
        } else if tiled.root() == head.checkpoint.root {
            (Kind::EntryEdited, "its log entry is not the one that the stored tiles and the head sign")
        } else {
            (
                Kind::TileEdited,
                "the stored hash tile over it is not the one of the entries, and neither gives the root",
            )
        };
        report.find(Finding {
            kind,
            log: Some(self.item.log_id),
            index: Some(at),
            event: None,
            detail: detail.to_owned(),
        });
    }
}

fn root_of(hashes: &[Hash]) -> Hash {
    let mut range = CompactRange::default();
    hashes.iter().for_each(|hash| range.append(*hash));
    range.root()
}

/// The head that leaf 0 of the next log names instead of the one that is left: larger, and signed by the log itself. It says
/// in words why it is none.
fn larger(
    before: &LogItem,
    left: &Head,
    named: Option<&[u8]>,
    digest: &Hash,
    trust: &Trust,
) -> Result<Checkpoint, String> {
    let id = before.log_id;
    let Some(bytes) = named else {
        return Err(format!(
            "it does not name the head of log {id}, which was changed after its last day, and what it names is not here"
        ));
    };
    if succession_digest(bytes) != *digest {
        return Err(format!("it names neither the head of log {id} nor the one that it is said to name"));
    }
    let (note, named) = read(bytes).map_err(|error| format!("the head that it names: {error}"))?;
    if named.origin != before.origin {
        return Err(format!("it names a head of {}, and follows log {id}", named.origin));
    }
    signed(&note, before, trust).map_err(|(_, detail)| format!("the head that it names: {detail}"))?;
    let held = left.checkpoint.size;
    if named.size <= held {
        let size = named.size;
        return Err(format!(
            "it names another head of log {id}, of {size} entries, than the one of {held} that is here"
        ));
    }
    Ok(named)
}
