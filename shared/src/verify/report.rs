//! What a verification found.

use core::fmt;
use std::collections::BTreeMap;

use serde::Serialize;
use uuid::Uuid;

use crate::bundle::LogId;

/// Findings that are told one by one; the rest is only counted.
pub const MAX_FINDINGS: usize = 1000;

/// What kind of damage a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// An event's opening does not hash to its entry.
    Edited,
    /// An event is gone, and no record says why.
    Deleted,
    /// An event stands in the place of another.
    Reordered,
    /// Two events claim one leaf.
    Duplicated,
    /// A column of the store does not say what the opening says.
    ColumnEdited,
    /// A log entry is not the one under the signed root.
    EntryEdited,
    /// A stored hash tile is not the one under the signed root.
    TileEdited,
    /// Entries that a head covers are missing.
    Truncated,
    /// A restored backup closed a log: entries are missing, as the log that goes on admits.
    Restored,
    /// The tree is another one than a known head signs, and so is the key.
    ReChained,
    /// The tree is another one than a known head signs, under the same key.
    Forked,
    /// The entries do not give the root that is signed.
    RootMismatch,
    /// No signature by a key that is trusted.
    UnknownKey,
    /// A signature that does not hold.
    BadSignature,
    /// There is no signed head.
    HeadMissing,
    /// The signed head is of another log.
    HeadElsewhere,
    /// A log that must be here is not.
    LogMissing,
    /// The first leaf of a year does not name the last head of the year before.
    SuccessionBroken,
    /// A list of absences is not the one that its record commits to.
    AbsencesEdited,
    /// A list of absences that no record commits to.
    AbsencesUnrecorded,
    /// Events were dropped before their time.
    DroppedEarly,
    /// A drop took more than it said.
    DroppedTooMuch,
    /// A proof does not hold.
    ProofInvalid,
    /// Bytes that cannot be read as what they should be.
    Unreadable,
}

impl Kind {
    /// In words.
    pub fn words(self) -> &'static str {
        match self {
            Self::Edited => "edited",
            Self::Deleted => "deleted",
            Self::Reordered => "reordered",
            Self::Duplicated => "duplicated",
            Self::ColumnEdited => "column edited",
            Self::EntryEdited => "log entry edited",
            Self::TileEdited => "tile edited",
            Self::Truncated => "truncated",
            Self::Restored => "lost in a restore",
            Self::ReChained => "re-chained",
            Self::Forked => "forked",
            Self::RootMismatch => "root mismatch",
            Self::UnknownKey => "unknown key",
            Self::BadSignature => "bad signature",
            Self::HeadMissing => "head missing",
            Self::HeadElsewhere => "head of another log",
            Self::LogMissing => "log missing",
            Self::SuccessionBroken => "succession broken",
            Self::AbsencesEdited => "list of absences edited",
            Self::AbsencesUnrecorded => "list of absences without a record",
            Self::DroppedEarly => "dropped early",
            Self::DroppedTooMuch => "dropped too much",
            Self::ProofInvalid => "proof invalid",
            Self::Unreadable => "unreadable",
        }
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What kind.
    pub kind: Kind,
    /// In which log.
    pub log: Option<LogId>,
    /// At which leaf.
    pub index: Option<u64>,
    /// Which event, as far as it is known.
    pub event: Option<Uuid>,
    /// In words.
    pub detail: String,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.kind.words())?;
        if let Some(event) = self.event {
            write!(f, ": event {event}")?;
        }
        if let Some(index) = self.index {
            write!(f, "{} leaf {index}", if self.event.is_some() { "," } else { ":" })?;
        }
        if let Some(log) = self.log {
            write!(f, " of log {log}")?;
        }
        write!(f, ": {}", self.detail)
    }
}

/// How one kind of check ended. What was skipped did not succeed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Check {
    /// There was nothing to check it against.
    #[default]
    Skipped,
    /// It holds.
    Passed,
    /// It does not.
    Failed,
}

impl Check {
    pub(super) fn note(&mut self, holds: bool) {
        *self = match (*self, holds) {
            (Self::Failed, _) | (_, false) => Self::Failed,
            _ => Self::Passed,
        };
    }
}

/// The checks of one log, each by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct LogReport {
    /// The log.
    pub log: LogId,
    /// Entries under its head.
    pub size: u64,
    /// Its head is signed by its key, and by a trusted one where some are given.
    pub signature: Check,
    /// Its entries give the signed root.
    pub tree: Check,
    /// Its hash tiles are those of the tree.
    pub tiles: Check,
    /// It continues the heads that are known.
    pub consistency: Check,
    /// Its first leaf names the last head of the log before.
    pub succession: Check,
    /// Its openings hash to its entries.
    pub openings: Check,
    /// In a selection: the proofs lead to the signed root.
    pub inclusion: Check,
}

impl LogReport {
    pub(super) fn new(log: LogId) -> Self {
        let skipped = Check::Skipped;
        Self {
            log,
            size: 0,
            signature: skipped,
            tree: skipped,
            tiles: skipped,
            consistency: skipped,
            succession: skipped,
            openings: skipped,
            inclusion: skipped,
        }
    }

    /// The checks with their names.
    pub fn checks(&self) -> [(&'static str, Check); 7] {
        [
            ("signature", self.signature),
            ("tree", self.tree),
            ("tiles", self.tiles),
            ("consistency", self.consistency),
            ("succession", self.succession),
            ("openings", self.openings),
            ("inclusion", self.inclusion),
        ]
    }

    /// Whether no check failed and the signature holds.
    pub fn is_valid(&self) -> bool {
        self.signature == Check::Passed && self.checks().iter().all(|(_, check)| *check != Check::Failed)
    }
}

/// How many events are what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Counts {
    /// Leaves that were looked at.
    pub entries: u64,
    /// Events that are whole and hash to their entries.
    pub whole: u64,
    /// Events with fields erased, each explained by a record.
    pub erased_in_part: u64,
    /// Events that an erasure took as a whole.
    pub erased: u64,
    /// Events whose personal context went when its time was over.
    pub context_dropped: u64,
    /// Events that were dropped when their time was over.
    pub dropped: u64,
    /// Of those that were dropped: events that went to an archive before.
    pub archived: u64,
    /// In an archive: leaves whose events are not there, since the database holds them.
    pub in_database: u64,
    /// Leaves of events that were set aside on arrival.
    pub set_aside: u64,
    /// Leaves that open a log.
    pub successions: u64,
    /// Events that are stored and stand under no head yet.
    pub not_yet_sequenced: u64,
    /// Leaves whose opening or fields are missing without a record.
    pub unexplained: u64,
    /// Entries that went with a restored backup: how many is on record, what they were is not.
    pub lost: u64,
    /// Records of removals.
    pub records: u64,
}

/// What a verification comes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// There was nothing to verify, which is no success.
    Nothing,
    /// Everything that could be checked holds.
    Valid,
    /// Everything that is there holds, and entries are missing that went with a restored backup, as is on record.
    Restored,
    /// Something is wrong.
    Invalid,
}

/// The result.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Each log.
    pub logs: Vec<LogReport>,
    /// Events by what became of them.
    pub counts: Counts,
    /// Every absence is explained by a record; skipped without openings.
    pub absences: Check,
    /// What is wrong, at most [`MAX_FINDINGS`].
    pub findings: Vec<Finding>,
    /// How much is wrong, by kind.
    pub totals: BTreeMap<Kind, u64>,
    /// What a reader should know and what is nobody's fault.
    pub notes: Vec<String>,
}

impl Report {
    pub(super) fn find(&mut self, finding: Finding) {
        *self.totals.entry(finding.kind).or_default() += 1;
        if self.findings.len() < MAX_FINDINGS {
            self.findings.push(finding);
        }
    }

    /// How much is wrong.
    pub fn wrong(&self) -> u64 {
        self.totals.values().sum()
    }

    /// Whether nothing is wrong and nothing was lost.
    pub fn is_valid(&self) -> bool {
        self.totals.is_empty()
    }

    /// What it comes to.
    pub fn verdict(&self) -> Verdict {
        match (self.is_empty(), self.is_valid()) {
            (true, _) => Verdict::Nothing,
            (false, true) => Verdict::Valid,
            (false, false) if self.totals.keys().all(|kind| *kind == Kind::Restored) => Verdict::Restored,
            (false, false) => Verdict::Invalid,
        }
    }

    /// Whether there was nothing to verify.
    pub fn is_empty(&self) -> bool {
        self.counts.entries == 0 && self.is_valid()
    }

    /// The first thing that is wrong: what is wrong with a log as a whole stands after its leaves, and what is accounted for
    /// as lost after all that is not.
    pub fn first(&self) -> Option<&Finding> {
        let place = |finding: &Finding| {
            let at = self.logs.iter().position(|log| Some(log.log) == finding.log);
            let lost = finding.kind == Kind::Restored;
            (lost, finding.index.is_none(), at.unwrap_or(usize::MAX), finding.index)
        };
        self.findings.iter().min_by_key(|finding| place(finding))
    }
}
