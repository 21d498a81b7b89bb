//! Single events, each with its own proof.

use super::head::{read, signed};
use super::report::{Finding, Kind, LogReport, Report};
use super::{Source, Trust};
use crate::bundle::{LogId, LogItem, Manifest, OpeningLine, ProofFile};
use crate::leaf::{ENTRY_LEN, Glance};
use crate::note::Checkpoint;

/// Why an event is not proven.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProvenError {
    /// The proof file.
    #[error("{0}")]
    Unreadable(String),
    /// The signature under its checkpoint.
    #[error("{1}")]
    Signature(Kind, String),
    /// The hashes.
    #[error("{0}")]
    Inclusion(#[from] crate::tree::ProofError),
    /// The opening.
    #[error("the opening does not hash to the entry")]
    Opening,
}

/// Checks one event: its opening hashes to the entry, the entry is a leaf of the tree, and the tree's head is signed by the
/// key, and by a trusted one where some are given. Gives the head.
///
/// # Errors
/// [`ProvenError`] says what does not hold.
pub fn verify_proof(
    proof: &str,
    entry: &[u8; ENTRY_LEN],
    opening: Option<&[u8]>,
    item: &LogItem,
    trust: &Trust,
) -> Result<Checkpoint, ProvenError> {
    let proof: ProofFile = proof
        .parse()
        .map_err(|error: crate::bundle::ProofFileError| ProvenError::Unreadable(error.to_string()))?;
    let (note, head) = read(proof.checkpoint.as_bytes()).map_err(ProvenError::Unreadable)?;
    if head.origin != item.origin {
        let detail = format!("the checkpoint is of {}, not of {}", head.origin, item.origin);
        return Err(ProvenError::Signature(Kind::HeadElsewhere, detail));
    }
    signed(&note, item, trust).map_err(|(kind, detail)| ProvenError::Signature(kind, detail))?;
    proof.verify(entry, &head)?;
    if let Some(opening) = opening {
        // One that cannot be read is no longer what was committed to, whatever else it is.
        let glance = Glance::at(opening).map_err(|_| ProvenError::Opening)?;
        if glance.digest != entry[10..] {
            return Err(ProvenError::Opening);
        }
    }
    Ok(head)
}

pub(super) fn verify<S: Source>(
    source: &mut S,
    manifest: &Manifest,
    trust: Trust,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Report, S::Error> {
    let logs = manifest.logs.iter().map(|log| LogReport::new(log.log_id)).collect();
    let mut report = Report { logs, ..Report::default() };
    let mut number = 0;
    while let Some(bytes) = source.next_opening()? {
        number += 1;
        match OpeningLine::parse(&bytes) {
            Ok(line) => one(&mut report, manifest, &trust, &line),
            Err(error) => report.find(Finding {
                kind: Kind::Unreadable,
                log: None,
                index: None,
                event: None,
                detail: format!("{}, line {number}: {error}", crate::bundle::OPENINGS),
            }),
        }
        progress(number, number);
    }
    Ok(report)
}

fn one(report: &mut Report, manifest: &Manifest, trust: &Trust, line: &OpeningLine) {
    let Some((log, index)) = line.place else {
        report.counts.not_yet_sequenced += 1;
        return;
    };
    report.counts.entries += 1;
    let mut wrong = |kind, detail: String| {
        report.find(Finding { kind, log: Some(log), index: Some(index), event: line.id, detail });
    };
    let Some(item) = manifest.logs.iter().find(|item| item.log_id == log) else {
        return wrong(Kind::Unreadable, "it is of a log that the manifest does not name".to_owned());
    };
    let (Some(entry), Some(proof)) = (&line.entry, &line.proof) else {
        return wrong(Kind::ProofInvalid, "it has no proof".to_owned());
    };
    let proven = verify_proof(proof, entry, line.opening.as_deref(), item, trust);
    let at = proof.parse::<ProofFile>().map_or(index, |proof| proof.index);
    if at != index {
        wrong(Kind::ProofInvalid, format!("its proof is of leaf {at}"));
    }
    let proven = match proven {
        Ok(head) => Ok(head),
        Err(error) => {
            let kind = match &error {
                ProvenError::Unreadable(_) => Kind::Unreadable,
                ProvenError::Signature(kind, _) => *kind,
                ProvenError::Inclusion(_) => Kind::ProofInvalid,
                ProvenError::Opening => Kind::Edited,
            };
            wrong(kind, error.to_string());
            Err(error)
        }
    };
    note(report, log, &proven, line.opening.is_some());
    if proven.is_ok() {
        let erased = line.opening.as_deref().and_then(|opening| Glance::at(opening).ok());
        match erased {
            Some(glance) if glance.erased.is_empty() => report.counts.whole += 1,
            Some(_) => report.counts.erased_in_part += 1,
            None => report.counts.erased += 1,
        }
    }
}

fn note(report: &mut Report, log: LogId, proven: &Result<Checkpoint, ProvenError>, opened: bool) {
    let Some(checks) = report.logs.iter_mut().find(|checks| checks.log == log) else { return };
    let mut opening = |holds| {
        if opened {
            checks.openings.note(holds);
        }
    };
    match proven {
        Ok(head) => {
            opening(true);
            checks.size = checks.size.max(head.size);
            checks.signature.note(true);
            checks.inclusion.note(true);
        }
        Err(ProvenError::Opening) => opening(false),
        Err(ProvenError::Inclusion(_) | ProvenError::Unreadable(_)) => checks.inclusion.note(false),
        Err(ProvenError::Signature(..)) => checks.signature.note(false),
    }
}
