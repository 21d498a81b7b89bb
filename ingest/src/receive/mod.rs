//! From framed bytes to stored batches: [`verify`] decides whom to believe, [`examine`] looks at each event,
//! [`write`] makes it durable before anybody is told so.

pub mod backlog;
mod bookkeeping;
pub mod examine;
pub mod rollup;
mod rush;
pub mod verify;
pub mod write;

use std::time::Duration;

use chrono::{DateTime, Utc};
use shared::batch::Framed;
use shared::problem::Problem;

use crate::auth::Signers;
use crate::clock::Clock;
use crate::limits::Limits;
use backlog::{Backlog, Held};
use examine::Horizon;
use verify::{Refusal, Verified};
use write::{Outcome, QueueFull, Writer};

/// Everything a batch passes on its way in.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Whom to believe.
    pub signers: std::sync::Arc<Signers>,
    /// How much of it.
    pub limits: Limits,
    /// How much at one time.
    pub backlog: Backlog,
    /// Where it goes.
    pub writer: Writer,
    /// When it arrives.
    pub clock: Clock,
    /// The start of the oldest month that takes events.
    pub oldest: std::sync::Arc<std::sync::atomic::AtomicI64>,
}

/// What became of a batch.
#[derive(Debug, Clone)]
pub struct Receipt {
    /// The producer's stream, in hex.
    pub stream: String,
    /// The batch's place in it.
    pub seq: u64,
    /// Events that are new in the store.
    pub stored: usize,
    /// Positions and reasons of those that went to quarantine.
    pub quarantined: Vec<(i16, String)>,
    /// Whether the batch had been stored before.
    pub duplicate: bool,
}

/// A batch that was checked, or why it was refused; waits for the writer when awaited.
#[derive(Debug)]
pub enum Accepted {
    /// In the writer's queue.
    Queued {
        /// The producer's stream, in hex.
        stream: String,
        /// The batch's place in it.
        seq: u64,
        /// The writer's answer.
        answer: tokio::sync::oneshot::Receiver<Outcome>,
    },
    /// Refused.
    Refused(Problem),
}

impl Receiver {
    /// Checks a batch and hands it to the writer, without waiting for it.
    pub async fn accept(&self, framed: Framed<'_>) -> Accepted {
        match verify::verify(&self.signers, framed).await {
            Ok(verified) => self.submit(&verified, None),
            Err(refusal) => Accepted::Refused(problem_of(&refusal)),
        }
    }

    /// The same for a producer's batch, which is held back if it is over a limit. Its request's room is held until it is written.
    pub async fn accept_within_limits(&self, framed: Framed<'_>, held: &Held) -> Accepted {
        match verify::verify(&self.signers, framed).await {
            Ok(verified) if self.limits.admit(&verified.header, self.clock.now()) => {
                let age = self.clock.now().millis().saturating_sub(verified.header.sent.millis());
                metrics::histogram!("edgetrail_delivery_seconds").record(Duration::from_millis(age));
                self.submit(&verified, Some(held.clone()))
            }
            Ok(_) => Accepted::Refused(
                Problem::new(429, "rate-limited", "More events arrive than are allowed")
                    .detail("send the same bytes again later"),
            ),
            Err(refusal) => Accepted::Refused(problem_of(&refusal)),
        }
    }

    fn submit(&self, verified: &Verified<'_>, held: Option<Held>) -> Accepted {
        let (stream, seq) = (verified.header.stream.to_string(), verified.header.seq);
        let horizon = Horizon { now: self.clock.now(), oldest: self.oldest() };
        let prepared = examine::prepare(verified, horizon);
        match self.writer.submit(prepared, held) {
            Ok(answer) => Accepted::Queued { stream, seq, answer },
            Err(QueueFull) => Accepted::Refused(
                Problem::new(429, "busy", "The store does not keep up")
                    .detail("send the same bytes again later"),
            ),
        }
    }

    /// The start of the oldest month that takes events.
    pub fn oldest(&self) -> DateTime<Utc> {
        let micros = self.oldest.load(std::sync::atomic::Ordering::Acquire);
        DateTime::from_timestamp_micros(micros).unwrap_or_default()
    }
}

impl Accepted {
    /// What became of it, once it is durable.
    ///
    /// # Errors
    /// The problem to answer with.
    pub async fn receipt(self) -> Result<Receipt, Problem> {
        let (stream, seq, answer) = match self {
            Self::Queued { stream, seq, answer } => (stream, seq, answer),
            Self::Refused(problem) => return Err(problem),
        };
        let receipt =
            |stored, quarantined, duplicate| Receipt { stream, seq, stored, quarantined, duplicate };
        match answer.await.unwrap_or(Outcome::Unavailable) {
            Outcome::Stored { stored, quarantined } => Ok(receipt(stored, quarantined, false)),
            Outcome::Duplicate => Ok(receipt(0, Vec::new(), true)),
            Outcome::Equivocation => Err(Problem::new(
                409,
                "equivocation",
                "Another batch was signed for this place in the stream",
            )
            .detail(format_args!("stream {} seq {seq}", receipt(0, Vec::new(), false).stream))),
            Outcome::Unavailable => Err(Problem::new(503, "store-unavailable", "The store is not available")
                .detail("nothing of the batch was acknowledged; send the same bytes again later")),
            Outcome::Failed => Err(Problem::new(500, "store-refused", "The store refused the batch")),
        }
    }
}

fn problem_of(refusal: &Refusal) -> Problem {
    let problem = match refusal {
        Refusal::Oversized => {
            return Problem::new(413, "batch-too-large", "The batch is over the limit of bytes")
                .limit(shared::batch::MAX_BATCH_LEN);
        }
        Refusal::Unreadable(_) => Problem::new(400, "unreadable-batch", "The batch is unreadable"),
        Refusal::Signature => Problem::new(401, "bad-signature", "No signature of a registered key verifies"),
        Refusal::ForeignTenant(_) => {
            Problem::new(403, "foreign-tenant", "The key is not registered for this tenant")
        }
        Refusal::Digests(_) => {
            Problem::new(400, "digests-do-not-match", "The body is not the one the header was signed for")
        }
        Refusal::Store(error) => {
            tracing::warn!(%error, "signing keys cannot be read");
            return Problem::new(503, "store-unavailable", "The store is not available");
        }
    };
    problem.detail(refusal)
}
