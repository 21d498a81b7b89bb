//! The certificate of an erasure: a signed note that says what was erased on which ground, and names no person.
//!
//! ```text
//! edgetrail erasure certificate v1
//! tenant <slug>
//! request <uuid>
//! mode erase | pseudonymise | keep
//! legal-basis <text>
//! requested <key id> <time>
//! approved <key id> <time>                absent after a notice of seven days
//! pseudonym anon-<32 hex>                 where one stands for the person
//! carried-out <time>
//! events <n>
//! record <event id> <sha256 of its list> <time>
//! run <log id> <first leaf> <leaves> <lost, 4 hex>      the list of the record above (shared::absence)
//! ```
//!
//! It holds everything that is needed to carry the erasure out again on an older copy of the database, since leaves keep
//! their places.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use shared::absence::{AbsenceList, RUN_LEN};
use shared::event::TenantId;

use crate::store::erasures::{Pass, Request};
use crate::view::time;

const HEAD: &str = "edgetrail erasure certificate v1";
/// 60 bytes for each run: those of a million scattered events, and more than a process should read at once.
pub(super) const MAX_CERTIFICATE_LEN: usize = 64 * 1024 * 1024;

/// Why a text is not a certificate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {0} of a certificate is malformed or missing")]
pub struct CertificateError(usize);

/// A certificate.
#[derive(Debug, Clone)]
pub struct Certificate {
    /// The request it is of, without whom it is about.
    pub request: Request,
    /// The tenant, checked.
    pub tenant: TenantId,
    /// What was done.
    pub passes: Vec<Pass>,
}

impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let request = &self.request;
        writeln!(f, "{HEAD}\ntenant {}\nrequest {}\nmode {}", self.tenant, request.id, request.mode)?;
        writeln!(f, "legal-basis {}", request.legal_basis)?;
        writeln!(f, "requested {} {}", request.requested_by, time(request.requested_at))?;
        if let Some((by, at)) = request.approved_by.as_ref().zip(request.approved_at) {
            writeln!(f, "approved {by} {}", time(at))?;
        }
        if let Some(pseudonym) = &request.pseudonym {
            writeln!(f, "pseudonym {pseudonym}")?;
        }
        if let Some(at) = request.until {
            writeln!(f, "carried-out {}", time(at))?;
        }
        writeln!(f, "events {}", self.passes.iter().map(|pass| pass.events).sum::<i64>())?;
        for pass in &self.passes {
            writeln!(f, "record {} {} {}", pass.record_id, hex::encode(pass.list.hash()), time(pass.at))?;
            for run in pass.list.runs() {
                let log = hex::encode(run.log);
                writeln!(f, "run {log} {} {} {:04x}", run.first, run.count, run.lost.bits())?;
            }
        }
        Ok(())
    }
}

impl FromStr for Certificate {
    type Err = CertificateError;

    fn from_str(text: &str) -> Result<Self, CertificateError> {
        let mut lines = text.lines().enumerate().map(|(at, line)| (at + 1, line)).peekable();
        let mut value =
            |key: &str, must: bool| match lines.next_if(|(_, line)| line.split(' ').next() == Some(key)) {
                Some((_, line)) => Ok(line.get(key.len() + 1..).map(str::to_owned)),
                None if must => Err(CertificateError(lines.peek().map_or(0, |(at, _)| *at))),
                None => Ok(None),
            };
        let head = value("edgetrail", true)?;
        let mut must = |key: &str| value(key, true)?.ok_or(CertificateError(1));
        if head.as_deref() != HEAD.strip_prefix("edgetrail ") {
            return Err(CertificateError(1));
        }
        let tenant: TenantId = must("tenant")?.parse().map_err(|_| CertificateError(2))?;
        let id = must("request")?.parse().map_err(|_| CertificateError(3))?;
        let mode = must("mode")?;
        let legal_basis = must("legal-basis")?;
        let (requested_by, requested_at) = who_when(&must("requested")?).ok_or(CertificateError(6))?;
        let approved = value("approved", false)?.map(|text| who_when(&text).ok_or(CertificateError(7)));
        let approved = approved.transpose()?;
        let pseudonym = value("pseudonym", false)?;
        let until =
            value("carried-out", false)?.map(|text| at(&text).ok_or(CertificateError(8))).transpose()?;
        value("events", true)?;
        let mut passes: Vec<(Pass, Vec<u8>)> = Vec::new();
        for (number, line) in lines {
            let bad = CertificateError(number);
            match line.split_once(' ').ok_or(bad.clone())? {
                ("record", rest) => {
                    let mut words = rest.split(' ');
                    let record_id = words.next().and_then(|id| id.parse().ok()).ok_or(bad.clone())?;
                    let at = words.nth(1).and_then(at).ok_or(bad)?;
                    let pass = Pass { record_id, events: 0, at, list: AbsenceList::default() };
                    passes.push((pass, Vec::new()));
                }
                ("run", rest) => {
                    let (_, bytes) = passes.last_mut().ok_or(bad.clone())?;
                    bytes.extend(run(rest).ok_or(bad)?);
                }
                _ => return Err(bad),
            }
        }
        let passes = passes
            .into_iter()
            .map(|(pass, bytes)| {
                let list = AbsenceList::decode(&bytes).map_err(|_| CertificateError(0))?;
                Ok(Pass { events: i64::try_from(list.leaves()).unwrap_or(i64::MAX), list, ..pass })
            })
            .collect::<Result<_, _>>()?;
        let request = Request {
            tenant_id: tenant.to_string(),
            id,
            mode,
            legal_basis,
            state: "running".to_owned(),
            subject: None,
            names: Vec::new(),
            pseudonym,
            requested_by,
            requested_at,
            approved_by: approved.as_ref().map(|(by, _)| by.clone()),
            approved_at: approved.map(|(_, at)| at),
            not_before: until,
            until,
            closed_by: None,
            closed_at: None,
        };
        Ok(Self { request, tenant, passes })
    }
}

fn who_when(text: &str) -> Option<(String, DateTime<Utc>)> {
    let (by, when) = text.split_once(' ')?;
    Some((by.to_owned(), at(when)?))
}

fn at(text: &str) -> Option<DateTime<Utc>> {
    DateTime::parse_from_rfc3339(text).ok().map(|at| at.to_utc())
}

/// A run's line in the bytes of a list.
fn run(text: &str) -> Option<Vec<u8>> {
    let mut words = text.split(' ');
    let mut bytes = Vec::with_capacity(RUN_LEN);
    bytes.extend(hex::decode(words.next()?).ok().filter(|log| log.len() == 16)?);
    bytes.extend(words.next()?.parse::<u64>().ok()?.to_be_bytes());
    bytes.extend(words.next()?.parse::<u32>().ok()?.to_be_bytes());
    bytes.extend(u16::from_str_radix(words.next()?, 16).ok()?.to_be_bytes());
    words.next().is_none().then_some(bytes)
}

#[cfg(test)]
mod tests {
    use shared::absence::Lost;
    use shared::leaf::Tag;
    use uuid::Uuid;

    use super::*;

    fn certificate() -> Certificate {
        let now = at("2026-02-03T04:05:06.007Z").expect("a time");
        let list = AbsenceList::of(vec![
            ([1; 16], 7, Lost::fields(&[Tag::ACTOR, Tag::IP])),
            ([1; 16], 8, Lost::fields(&[Tag::ACTOR, Tag::IP])),
            ([2; 16], 0, Lost::EVENT),
        ]);
        let request = Request {
            tenant_id: "demo".to_owned(),
            id: Uuid::from_u128(5),
            mode: "pseudonymise".to_owned(),
            legal_basis: "Art. 17(1)(a) GDPR".to_owned(),
            state: "running".to_owned(),
            subject: None,
            names: Vec::new(),
            pseudonym: Some(format!("anon-{}", "0".repeat(32))),
            requested_by: "k1".to_owned(),
            requested_at: now,
            approved_by: Some("k2".to_owned()),
            approved_at: Some(now),
            not_before: Some(now),
            until: Some(now),
            closed_by: None,
            closed_at: None,
        };
        let passes = vec![Pass { record_id: Uuid::from_u128(6), events: 3, at: now, list }];
        Certificate { tenant: "demo".parse().expect("a slug"), request, passes }
    }

    #[test]
    fn a_certificate_reads_back() {
        let text = certificate().to_string();
        let read: Certificate = text.parse().expect("its own text");
        assert_eq!(read.to_string(), text);
        assert_eq!(read.passes[0].list, certificate().passes[0].list);
    }

    #[test]
    fn a_line_that_is_wrong_is_named_and_nothing_panics() {
        let text = certificate().to_string();
        for cut in 0..text.lines().count() {
            let less: String = text
                .lines()
                .enumerate()
                .filter(|(at, _)| *at != cut)
                .map(|(_, line)| format!("{line}\n"))
                .collect();
            let _ = less.parse::<Certificate>();
        }
        for bad in
            ["", "edgetrail", "edgetrail \n", &text.replace("run ", "run x"), &text.replace("record", "note")]
        {
            assert!(bad.parse::<Certificate>().is_err(), "{bad}");
        }
    }
}
